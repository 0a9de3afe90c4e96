"""Meaning of the keys of a GGUF file: the same model with the same scaling in a config.json, or a refusal by name."""

import json
import math
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch

from m1eval import NullProgress, RunnerError, load
from tests.local.conftest import CPU, LLAMA3, Tiny, scores
from tests.local.weights.test_gguf import write_gguf

local = load("runners", "local")
IDS = torch.randint(0, 256, (150,), generator=torch.Generator().manual_seed(5)).tolist()

Keys = dict[str, Any]


def rewritten(source: Path, target: Path, architecture: str, keys: Keys) -> None:
    """A GGUF file with further keys of its architecture; None takes one away."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, architecture)
    dropped = {f"{architecture}.{key}" for key in keys} | {"GGUF.version", "GGUF.tensor_count", "GGUF.kv_count"}
    for name, field in reader.fields.items():
        if name in dropped or name == "general.architecture":
            continue
        kind = field.types[0]
        writer.add_key_value(
            name, field.contents(), kind, field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        )
    for key, value in keys.items():
        if value is not None:
            writer.add_key_value(f"{architecture}.{key}", value, kind_of(value))
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def kind_of(value: Any) -> Any:
    kinds = {str: "STRING", bool: "BOOL", float: "FLOAT32", int: "UINT32", list: "ARRAY"}
    return gguf.GGUFValueType[kinds[type(value)]]


@pytest.fixture(scope="session")
def model(tiny: Callable[..., Tiny], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, Tiny]]:
    """A folder of transformers, and the GGUF file made from it."""
    cached: dict[str, tuple[Path, Tiny]] = {}

    def make(kind: str = "llama", **config: Any) -> tuple[Path, Tiny]:
        key = json.dumps([kind, config])
        if key not in cached:
            source = tiny(kind, num_hidden_layers=2, **config)
            file = tmp_path_factory.mktemp("gguf") / "model.gguf"
            write_gguf(file, source.reference, source.folder, gguf.GGMLQuantizationType.F32)
            cached[key] = file, source
        return cached[key]

    return make


def read(source: Path, **options: Any) -> Any:
    return local.weights.loader.load(source, dtype=torch.float32, device=CPU, progress=NullProgress(), **options).model


def reference(folder: Path, place: Path, ids: list[int], scale: float = 1.0, **config: Any) -> torch.Tensor:
    """Logits of transformers, by a config with these fields; cos and sin times `scale`."""
    from transformers import AutoModelForCausalLM

    shutil.copytree(folder, place)
    file = place / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | config))
    model: Any = AutoModelForCausalLM.from_pretrained(place).eval()
    model.model.rotary_emb.attention_scaling *= scale
    with torch.inference_mode():
        logits: torch.Tensor = model(torch.tensor([ids])).logits[0]
    return logits


YARN: Keys = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 32}
SAME = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
CASES: dict[str, tuple[Keys, dict[str, Any], float]] = {
    "nothing": ({}, {}, 1.0),
    "base": ({"rope.freq_base": 500.0}, {"rope_parameters": {"rope_theta": 500.0, "rope_type": "default"}}, 1.0),
    "linear": (
        {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0},
        {"rope_scaling": {"type": "linear", "factor": 4.0}},
        1.0,
    ),
    "a factor without a type": ({"rope.scaling.factor": 4.0}, {"rope_scaling": {"type": "linear", "factor": 4.0}}, 1.0),
    "the old key": ({"rope.scale_linear": 4.0}, {"rope_scaling": {"type": "linear", "factor": 4.0}}, 1.0),
    "the old key below the new": (
        {"rope.scale_linear": 4.0, "rope.scaling.factor": 2.0},
        {"rope_scaling": {"type": "linear", "factor": 2.0}},
        1.0,
    ),
    "type none": ({"rope.scaling.type": "none", "rope.scaling.factor": 4.0}, {}, 1.0),
    "finetuned": ({"rope.scaling.finetuned": True}, {}, 1.0),
    "attention factor alone": ({"rope.scaling.attn_factor": 1.3}, {}, 1.3),
    "attention factor, linear": (
        {"rope.scaling.factor": 4.0, "rope.scaling.attn_factor": 1.3},
        {"rope_scaling": {"type": "linear", "factor": 4.0}},
        1.3,
    ),
    "yarn": (YARN, {"rope_scaling": SAME}, 1.0),
    "yarn, attention factor": ({**YARN, "rope.scaling.attn_factor": 0.8}, {"rope_scaling": SAME}, 0.8),
    "yarn, the other attention factor": ({**YARN, "rope.scaling.yarn_attn_factor": 0.8}, {"rope_scaling": SAME}, 0.8),
    "yarn, betas": (
        {**YARN, "rope.scaling.yarn_beta_fast": 8.0, "rope.scaling.yarn_beta_slow": 2.0},
        {"rope_scaling": {**SAME, "beta_fast": 8.0, "beta_slow": 2.0}},
        1.0,
    ),
    "yarn, trained as long as the context": (
        {**YARN, "rope.scaling.original_context_length": None},
        {"rope_scaling": {**SAME, "original_max_position_embeddings": 512}},
        1.0,
    ),
    "neutral keys": (
        {"logit_scale": 1.0, "expert_count": 0, "attention.scale": 8**-0.5, "rope.dimension_count": 8},
        {},
        1.0,
    ),
    "heads of keys not said": ({"attention.head_count_kv": None}, {}, 1.0),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_keys_mean_what_llama_cpp_makes_of_them(name: str, model: Any, tmp_path: Path) -> None:
    keys, config, scale = CASES[name]
    file, source = model(num_key_value_heads=6) if "heads" in name else model()
    rewritten(file, tmp_path / "changed.gguf", "llama", keys)
    # Without its base: transformers takes rope_scaling in place of rope_parameters as a whole.
    expected = reference(source.folder, tmp_path / "same", IDS, scale, **config)
    assert (scores(read(tmp_path / "changed.gguf"), IDS) - expected).abs().max() < 1e-4 * max(
        1, float(expected.abs().max())
    )
    if name not in ("nothing", "type none", "finetuned", "neutral keys", "heads of keys not said"):
        assert (expected - scores(read(file), IDS)).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rope.scaling.type", "longrope"),
        ("rope.scaling.type", 3),
        ("rope.scaling.factor", math.inf),
        ("rope.scaling.yarn_ext_factor", 0.5),
        ("rope.scaling.yarn_log_multiplier", 0.1),
        ("rope.dimension_count", 4),
        ("rope.dimension_sections", [1, 1]),
        ("attention.value_length", 16),
        ("attention.scale", 0.5),
        ("attention.clamp_kqv", 8.0),
        ("attention.max_alibi_bias", 8.0),
        ("attention.causal", False),
        ("logit_scale", 0.0625),
        ("final_logit_softcapping", 30.0),
        ("attn_logit_softcapping", 50.0),
        ("residual_scale", 0.22),
        ("embedding_scale", 12.0),
        ("expert_count", 8),
        ("expert_weights_scale", 2.5),
        ("expert_gating_func", 2),
        ("use_parallel_residual", True),
        ("a_key_of_next_year", 1),
    ],
)
def test_what_would_change_the_numbers_is_refused_by_name(key: str, value: Any, model: Any, tmp_path: Path) -> None:
    file, _ = model()
    rewritten(file, tmp_path / "changed.gguf", "llama", {key: value})
    with pytest.raises(RunnerError) as caught:
        read(tmp_path / "changed.gguf")
    message = str(caught.value)
    assert f"llama.{key}" in message
    assert str(tmp_path / "changed.gguf") in message
    assert "\n" not in message


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_a_sliding_window_computes_up_to_its_size(kind: str, model: Any, tmp_path: Path) -> None:
    file, _ = model(kind)
    rewritten(file, tmp_path / "sliding.gguf", kind, {"attention.sliding_window": 100})
    with pytest.raises(RunnerError, match=r"a sliding window of 100 tokens is not built in, .* -o window=100"):
        read(tmp_path / "sliding.gguf")
    logits = scores(read(tmp_path / "sliding.gguf", window=100), IDS[:100])
    assert torch.equal(logits, scores(read(file), IDS[:100]))


def test_factors_next_to_another_scaling_are_refused(model: Any, tmp_path: Path) -> None:
    file, _ = model(rope_parameters=LLAMA3)
    rewritten(file, tmp_path / "both.gguf", "llama", {"rope.scaling.factor": 4.0})
    with pytest.raises(RunnerError, match=r"llama\.rope\.scaling\.factor 4\.0 with rope_freqs\.weight"):
        read(tmp_path / "both.gguf")


def test_a_header_with_every_kind_of_value_is_read_back(tmp_path: Path) -> None:
    """Every kind of value, read back."""
    header = local.weights.gguf_split.gguf_header
    file = tmp_path / "kinds.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    values = {"a": 3, "b": -1.5, "c": "text", "d": True, "e": [1, 2, 3], "f": ["x", "yy"], "g": [0.5, 1.5]}
    for name, value in values.items():
        kind = kind_of(value) if not isinstance(value, list) else gguf.GGUFValueType.ARRAY
        writer.add_key_value(name, value, kind, kind_of(value[0]) if isinstance(value, list) else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    meta, tensors = header.read(file)
    assert {name: meta[name] for name in values} == values
    assert not tensors
    assert struct.unpack("<4sI", file.read_bytes()[:8]) == (b"GGUF", 3)
