"""Keys of a config.json: what would change the numbers is refused by name, what does not matter is passed over."""

import json
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from m1eval import UsageError, load
from tests.local.conftest import Tiny
from tests.local.weights.test_config_against_transformers import LLAMA3, read, refused, same, write

local = load("runners", "local")


REFUSED: dict[str, tuple[str, Any]] = {
    **{
        key: (key, value)
        for key, value in {
            "logit_scale": 0.0625,
            "logits_scaling": 8.0,
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
            "residual_multiplier": 0.22,
            "embedding_multiplier": 12.0,
            "attention_multiplier": 0.0156,
            "query_pre_attn_scalar": 256,
            "use_qk_norm": True,
            "layer_norm_type": "layernorm",
            "no_rope_layers": [1, 1, 0],
            "no_rope_layer_interval": 4,
            "sliding_window_pattern": 6,
            "attention_chunk_size": 8192,
            "dual_chunk_attention_config": {"chunk_size": 8},
            "scale_emb": 12,
            "clip_qkv": 8.0,
            "use_parallel_residual": True,
            "is_decoder": True,
            "per_layer_config": {"0": {"hidden_size": 3}},
            "vision_config": {"depth": 3},
            "a_key_of_next_year": 1,
            "quantization": {"bits": 4},
            "n_shared_experts": 1,
            "rope_interleaved": True,
            "partial_rotary_factor": 0.5,
        }.items()
    },
    "rope_scaling.alpha": ("rope_scaling", {"type": "dynamic", "factor": 2.0, "alpha": 1000.0}),
    "rope_parameters differs by layer": ("rope_parameters", {"full_attention": {"rope_type": "default"}}),
    "rope_type 'mrope'": ("rope_scaling", {"type": "mrope", "mrope_section": [1, 1, 2]}),
    "rope_type 'su'": ("rope_scaling", {"type": "su", "factor": 4.0}),
    "rope_type 'longrope'": (
        "rope_scaling",
        {"type": "longrope", "factor": 4.0, "short_factor": [1], "long_factor": [1]},
    ),
    "rope_type 'factors'": ("rope_scaling", {"type": "factors", "factor": 4.0}),
    "a factor and no rope_type": ("rope_scaling", {"factor": 4.0}),
    "rope_scaling.factor is 0": ("rope_scaling", {"type": "linear", "factor": 0}),
    "rope_scaling.factor is nine": ("rope_scaling", {"type": "linear", "factor": "nine"}),
    "rope_scaling.factor is True": ("rope_scaling", {"type": "linear", "factor": True}),
    "rope_type 'linear' needs factor": ("rope_scaling", {"type": "linear"}),
    "rope_type 'dynamic' needs factor": ("rope_scaling", {"type": "dynamic", "factor": None}),
    "rope_type 'llama3' needs": ("rope_scaling", {"type": "llama3", "factor": 8.0}),
    "high_freq_factor 1.0 must be more": ("rope_scaling", {"type": "llama3", **LLAMA3, "high_freq_factor": 1.0}),
    "rope_scaling is not an object": ("rope_scaling", [1]),
    "rope_theta is -1": ("rope_theta", -1),
    "rope_theta is []": ("rope_theta", []),
    "hidden_act 'gelu'": ("hidden_act", "gelu"),
    "hidden_act 'SiLU'": ("hidden_act", "SiLU"),
    "quantised (gptq": ("quantization_config", {"quant_method": "gptq", "bits": 4}),
    "quantised (None": ("quantization_config", {"bits": 4}),
    "quantization_config is not an object": ("quantization_config", "fp8"),
    "blocks [0, 128]": ("quantization_config", {"quant_method": "fp8", "weight_block_size": [0, 128]}),
    "cannot share 4 key and value heads": ("num_key_value_heads", 4),
    "heads have 7 dimensions": ("head_dim", 7),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return write(tmp_path_factory.mktemp("plain"), "llama", {})


def changed(plain: Tiny, folder: Path, **change: Any) -> Path:
    shutil.copytree(plain.folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    return folder


@pytest.mark.parametrize("said", REFUSED)
def test_what_would_change_the_numbers_is_refused_by_name(said: str, plain: Tiny, tmp_path: Path) -> None:
    key, value = REFUSED[said]
    assert said in refused(changed(plain, tmp_path / "model", **{key: value}))


def test_a_refused_key_is_named_with_file_value_and_remedy(plain: Tiny, tmp_path: Path) -> None:
    folder = changed(plain, tmp_path / "model", logit_scale=0.0625, new=[1])
    message = refused(folder)
    assert message.startswith(f"config.json of the model {folder / 'config.json'}: logit_scale = 0.0625, new = [1]: ")
    assert message.endswith("-o ignore_config_keys=logit_scale,new")
    same(read(folder, ignored=("logit_scale", "new")), plain.reference)
    assert "new = [1]" in refused(folder, ignored=("logit_scale",))
    assert "no key 'nope', which ignore_config_keys names" in refused(folder, ignored=("nope",))
    rope = changed(plain, tmp_path / "rope", rope_scaling={"type": "linear", "factor": 1.0, "alpha": 2})
    same(read(rope, ignored=("rope_scaling.alpha",)), plain.reference)


def test_the_option_names_keys_with_commas_or_as_a_list() -> None:
    for given in ("a,b", "a, b,", ["a", "b"]):
        assert local.Runner(device="cpu", ignore_config_keys=given).ignored_keys == ("a", "b")
    with pytest.raises(UsageError, match="ignore_config_keys is '3'"):
        local.Runner(device="cpu", ignore_config_keys=3)
    assert "ignore_config_keys" not in local.Runner.unpinned_options


HARMLESS: dict[str, Any] = {
    "final_logit_softcapping": None,
    "attn_logit_softcapping": None,
    "logit_scale": 1.0,
    "pretraining_tp": 1,
    "attention_dropout": 0.1,
    "a_key_that_is_null": None,
    "use_qk_norm": False,
    "no_rope_layers": [],
    "id2label": {"0": "LABEL_0", "1": "LABEL_1"},
    "label2id": {"LABEL_0": 0},
    "temperature": 0.6,
    "repetition_penalty": 1.1,
    "_name_or_path": "somewhere",
    "dtype": "bfloat16",
    "unsloth_version": "2025.1",
    "is_llama_config": True,
    "rope_interleaved": False,
    "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}},
    "pruned_heads": {},
    "partial_rotary_factor": 1.0,
}


def test_keys_that_do_not_matter_are_passed_over(plain: Tiny, tmp_path: Path) -> None:
    same(read(changed(plain, tmp_path / "model", **HARMLESS)), plain.reference)


def test_whatever_transformers_writes_for_any_config_is_known() -> None:
    from transformers import GenerationConfig, PreTrainedConfig

    keys = import_module(f"{local.__name__}.config.keys")
    written = {**PreTrainedConfig().to_dict(), **GenerationConfig().to_dict()}
    keys.check_keys(written, ())
    ordinary = dict.fromkeys(GenerationConfig._get_default_generation_params(), 1)
    keys.check_keys(ordinary, ())
