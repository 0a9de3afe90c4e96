"""Meaning of a config.json: logits next to those of transformers on the same folder, for old and new spellings."""

import json
import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from m1eval import RunnerError, load
from tests.local.conftest import CPU, Tiny, save_tokenizer, scores

local = load("runners", "local")
loader = local.weights.loader
NullProgress = import_module("m1eval").NullProgress

IDS = torch.randint(0, 97, (160,), generator=torch.Generator().manual_seed(3)).tolist()
BASE: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "vocab_size": 97,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
OWN: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {"head_dim": 16},
    "qwen3_moe": {"head_dim": 16, "num_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 24},
    "deepseek_v3": {
        "num_key_value_heads": 6,
        "moe_intermediate_size": 16,
        "n_routed_experts": 16,
        "n_group": 4,
        "topk_group": 2,
        "num_experts_per_tok": 3,
        "n_shared_experts": 1,
        "first_k_dense_replace": 1,
        "q_lora_rank": 24,
        "kv_lora_rank": 16,
        "qk_rope_head_dim": 16,
        "qk_nope_head_dim": 12,
        "v_head_dim": 20,
        "routed_scaling_factor": 2.5,
        "num_nextn_predict_layers": 0,
    },
    "minimax": {
        "head_dim": 16,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "layer_types": ["linear_attention", "full_attention", "linear_attention"],
        "full_attn_alpha_factor": 1.75,
        "linear_attn_beta_factor": 1.25,
        "mlp_alpha_factor": 2.0,
    },
}
ALL = tuple(OWN)
GQA = ("llama", "qwen2", "qwen3", "qwen3_moe")

YARN = {"factor": 4.0, "original_max_position_embeddings": 64}
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
T5 = {"rope_type": "default", "rope_theta": 5e5}
"""Rope parameters as transformers 5 writes them for a model without scaling."""

ROPES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "theta": {"rope_theta": 5e5},
    "theta, a whole number": {"rope_theta": 500000, "rope_scaling": None},
    "parameters": {"rope_parameters": T5},
    "parameters without a type": {"rope_parameters": {"rope_theta": 5e5}},
    "parameters before theta": {"rope_parameters": T5, "rope_theta": 100.0},
    "null parameters": {"rope_parameters": None, "rope_theta": 5e5},
    "empty scaling": {"rope_scaling": {}, "rope_theta": 5e5},
    "linear, type": {"rope_scaling": {"type": "linear", "factor": 4.0}},
    "linear, rope_type": {"rope_scaling": {"rope_type": "linear", "factor": 4}, "rope_theta": 5e5},
    "linear, less than 1": {"rope_scaling": {"rope_type": "linear", "factor": 0.5}},
    "linear in parameters": {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5e5}},
    "dynamic, never stretched": {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
    "yarn, type": {"rope_scaling": {"type": "yarn", **YARN}},
    "yarn, rope_type": {"rope_scaling": {"rope_type": "yarn", **YARN}, "rope_theta": 5e5},
    "yarn, both": {"rope_scaling": {"rope_type": "yarn", "type": "linear", **YARN}},
    "yarn, whole factor": {"rope_scaling": {"rope_type": "yarn", **YARN, "factor": 4}},
    "yarn, null factor": {"rope_scaling": {"rope_type": "yarn", **YARN, "factor": None}},
    "yarn, nulls": {
        "rope_scaling": {"rope_type": "yarn", **YARN, "beta_fast": None, "attention_factor": None, "mscale": None}
    },
    "yarn, truncate null": {"rope_scaling": {"rope_type": "yarn", **YARN, "truncate": None}},
    "yarn, truncate false": {"rope_scaling": {"rope_type": "yarn", **YARN, "truncate": False}},
    "yarn, betas": {"rope_scaling": {"rope_type": "yarn", **YARN, "beta_fast": 8, "beta_slow": 2}},
    "yarn, attention_factor": {"rope_scaling": {"rope_type": "yarn", **YARN, "attention_factor": 1.3}},
    "yarn, mscale": {"rope_scaling": {"rope_type": "yarn", **YARN, "mscale": 0.7, "mscale_all_dim": 1.2}},
    "yarn, mscale alone": {"rope_scaling": {"rope_type": "yarn", **YARN, "mscale": 0.7}},
    "yarn, mscale_all_dim alone": {"rope_scaling": {"rope_type": "yarn", **YARN, "mscale_all_dim": 0.7}},
    "yarn, factor less than 1": {"rope_scaling": {"rope_type": "yarn", **YARN, "factor": 0.5}},
    "yarn, a ramp that is upside down": {
        "rope_scaling": {"rope_type": "yarn", **YARN, "original_max_position_embeddings": 1 << 20},
        "rope_theta": 10.0,
    },
    "yarn in parameters": {"rope_parameters": {"rope_type": "yarn", **YARN, "rope_theta": 5e5}},
    "yarn beside parameters": {"rope_parameters": T5, "rope_scaling": {"type": "yarn", **YARN}},
    "yarn beside parameters and theta": {
        "rope_parameters": T5,
        "rope_scaling": {"type": "yarn", **YARN},
        "rope_theta": 3e5,
    },
    "yarn with its theta beside parameters": {
        "rope_parameters": T5,
        "rope_scaling": {"type": "yarn", **YARN, "rope_theta": 3e5},
    },
    "null scaling beside parameters": {
        "rope_parameters": {**T5, "rope_type": "linear", "factor": 2.0},
        "rope_scaling": None,
    },
    "trained length beside": {"rope_scaling": {"type": "yarn", **YARN}, "original_max_position_embeddings": 32},
    "trained length beside alone": {
        "rope_scaling": {"type": "yarn", "factor": 4.0},
        "original_max_position_embeddings": 32,
    },
    "llama3": {"rope_scaling": {"rope_type": "llama3", **LLAMA3}, "rope_theta": 5e5},
    "llama3 in parameters": {"rope_parameters": {"rope_type": "llama3", **LLAMA3, "rope_theta": 5e5}},
    "llama3, trained length beside": {
        "rope_scaling": {"rope_type": "llama3", **LLAMA3},
        "original_max_position_embeddings": 128,
    },
    "yarn, attn_factor of a published distillation": {
        "rope_scaling": {"rope_type": "yarn", **YARN, "attn_factor": 0.878}
    },
    "keys of other types": {"rope_scaling": {"rope_type": "linear", **LLAMA3, "beta_fast": 4, "mscale": 0.5}},
    "sections, default": {"rope_scaling": {"type": "default", "mrope_section": [2, 3, 3]}, "rope_theta": 5e5},
}
REST: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "swish": (ALL, {"hidden_act": "swish"}),
    "null heads of keys": (("llama", "qwen2", "qwen3", "deepseek_v3"), {"num_key_value_heads": None}),
    "one head of keys": (GQA, {"num_key_value_heads": 1}),
    "eps": (ALL, {"rms_norm_eps": 0.1}),
    "heads of 24": (GQA, {"head_dim": 24}),
    "heads of 80": (GQA, {"head_dim": 80}),
    "heads of 96": (GQA, {"head_dim": 96}),
    "width no multiple of heads": (("qwen2", "qwen3"), {"hidden_size": 50, "head_dim": 10}),
    "null head_dim": (("llama", "minimax"), {"head_dim": None}),
    "attention_bias": (("llama", "qwen3", "qwen3_moe", "deepseek_v3"), {"attention_bias": True}),
    "biases": (("llama",), {"attention_bias": True, "mlp_bias": True}),
    "ignored pretraining_tp": (("llama", "deepseek_v3"), {"pretraining_tp": 2}),
    "all layers full": (("qwen2", "qwen3"), {"layer_types": ["full_attention"] * 3, "sliding_window": 8}),
    "all layers full, window on": (
        ("qwen2", "qwen3"),
        {
            "layer_types": ["full_attention"] * 3,
            "sliding_window": 8,
            "use_sliding_window": True,
            "max_window_layers": 0,
        },
    ),
    "full layers of llama": (("llama",), {"layer_types": ["full_attention"] * 3}),
    "window off": (("qwen2", "qwen3", "qwen3_moe"), {"sliding_window": 8, "use_sliding_window": False}),
    "window off, no layer types": (
        ("qwen2", "qwen3"),
        {"sliding_window": 8, "use_sliding_window": False, "max_window_layers": 0, "layer_types": None},
    ),
    "no layer slides": (
        ("qwen2", "qwen3"),
        {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 3, "layer_types": None},
    ),
    "null window": (("qwen2", "qwen3", "qwen3_moe"), {"use_sliding_window": True, "sliding_window": None}),
    "window that never slides": (
        ("qwen2", "qwen3", "qwen3_moe"),
        {"use_sliding_window": True, "sliding_window": 256, "max_window_layers": 1, "layer_types": None},
    ),
    "norm_topk_prob": (("qwen3_moe",), {"norm_topk_prob": True}),
    "norm_topk_prob off": (("qwen3_moe", "deepseek_v3"), {"norm_topk_prob": False}),
    "null norm_topk_prob": (("deepseek_v3",), {"norm_topk_prob": None}),
    "sparse step": (("qwen3_moe",), {"decoder_sparse_step": 2}),
    "dense layers": (("qwen3_moe",), {"mlp_only_layers": [1]}),
    "null dense layers": (("qwen3_moe",), {"mlp_only_layers": None}),
    "more dense layers": (("deepseek_v3",), {"first_k_dense_replace": 2}),
    "queries without a latent": (("deepseek_v3",), {"q_lora_rank": None}),
    "halves turned": (("deepseek_v3",), {"rope_interleave": False}),
    "null interleave": (("deepseek_v3",), {"rope_interleave": None}),
    "scaling of experts": (("deepseek_v3",), {"routed_scaling_factor": 1.0}),
    "one group": (("deepseek_v3",), {"n_group": 1, "topk_group": 1}),
    "two shared experts": (("deepseek_v3",), {"n_shared_experts": 2}),
    "heads as transformers writes them": (("deepseek_v3",), {"head_dim": 16, "qk_head_dim": 28}),
    "layers of minimax": (("minimax",), {"layer_types": None}),
    "block size": (("minimax",), {"block_size": 16}),
    "theta of minimax": (("minimax",), {"rope_theta": 1e4}),
}
CASES = [
    *[(kind, name, change) for name, change in ROPES.items() for kind in ALL if kind in ("llama", "deepseek_v3")],
    *[
        (kind, name, ROPES[name])
        for kind in ("qwen2", "qwen3", "qwen3_moe", "minimax")
        for name in ("nothing", "parameters before theta", "linear, type", "yarn, rope_type", "yarn beside parameters")
    ],
    *[(kind, name, change) for name, (kinds, change) in REST.items() for kind in kinds],
]


def write(folder: Path, kind: str, change: Mapping[str, Any]) -> Tiny:
    """Write a config.json as given, with the weights that transformers creates for it; return the model."""
    from transformers import AutoConfig, AutoModelForCausalLM

    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**BASE, **OWN[kind], "model_type": kind, **change}))
    torch.manual_seed(0)
    reference: Any = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32)
    reference.eval()
    tensors = [*reference.named_parameters(), *((n, b) for n, b in reference.named_buffers() if "correction" in n)]
    for name, tensor in tensors:
        tensor.data.normal_(1.0 if "norm" in name else 0.0, 0.3 if tensor.ndim == 1 else 0.15)
    text = (folder / "config.json").read_text()
    reference.save_pretrained(folder)
    (folder / "config.json").write_text(text)
    save_tokenizer(folder, None)
    return Tiny(folder, reference)


def wanted(reference: Any, ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        positions = torch.arange(len(ids))[None]
        logits: torch.Tensor = reference(torch.tensor([ids]), position_ids=positions, use_cache=False).logits[0]
        return logits


def read(folder: Path, **options: Any) -> Any:
    return loader.load(folder, dtype=torch.float32, device=CPU, progress=NullProgress(), **options).model


def refused(folder: Path, **options: Any) -> str:
    with pytest.raises(RunnerError) as caught:
        read(folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def same(model: Any, reference: Any, ids: list[int] = IDS) -> None:
    expected = wanted(reference, ids)
    assert expected.std() > 0.1
    apart = (scores(model, ids) - expected).abs().max()
    assert apart < 1e-4 * max(1.0, float(expected.abs().max())), float(apart)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "name", "change"), CASES, ids=[f"{kind}, {name}" for kind, name, _ in CASES])
def test_a_config_means_what_it_means_to_transformers(
    kind: str, name: str, change: dict[str, Any], tmp_path: Path
) -> None:
    folder, reference = write(tmp_path / "model", kind, change)
    same(read(folder), reference)


def test_a_sliding_window_is_exact_up_to_its_size_and_refused_beyond(tmp_path: Path) -> None:
    """Layers 1 and 2 attend to the last 40 tokens: prompts of 40 are the same as with full attention, 41 are not."""
    change = {"layer_types": ["full_attention", *["sliding_attention"] * 2], "use_sliding_window": True}
    folder, reference = write(tmp_path / "model", "qwen3", {**change, "sliding_window": 40})
    model = read(folder, window=40)
    same(model, reference, IDS[:40])
    assert (scores(model, IDS[:41]) - wanted(reference, IDS[:41])).abs().max() > 1e-3
    for window in (None, 41, 256):
        message = refused(folder, window=window)
        assert "a sliding window of 40 tokens is not built in, and layers 1, 2 have one" in message
        assert "-o window=40" in message
        assert str(folder / "config.json") in message


SLIDING: dict[str, tuple[str, dict[str, Any], str]] = {
    "fallback": ("qwen2", {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 2}, "layers 2 have"),
    "default of max_window_layers": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 9, "num_hidden_layers": 30},
        "layers 28, 29 have one",
    ),
    "default size": (
        "qwen3",
        {"use_sliding_window": True, "max_window_layers": 0, "max_position_embeddings": 8192},
        "sliding window of 4096",
    ),
    "all layers of experts": (
        "qwen3_moe",
        {"use_sliding_window": True, "sliding_window": 9},
        "layers 0, 1, 2 have one",
    ),
    "llama": ("llama", {"sliding_window": 9}, "layers 0, 1, 2 have one"),
    "llama, by layer": (
        "llama",
        {"sliding_window": 9, "layer_types": ["full_attention", "full_attention", "sliding_attention"]},
        "layers 2 have one",
    ),
    "minimax": ("minimax", {"sliding_window": 9}, "layers 1 have one"),
    "no size": ("qwen2", {"layer_types": ["sliding_attention"] * 3}, "layer_types has sliding_attention, but"),
    "switched off": (
        "qwen3",
        {"layer_types": ["sliding_attention"] * 3, "sliding_window": 9, "use_sliding_window": False},
        "use_sliding_window is off",
    ),
    "too few": (
        "qwen2",
        {"layer_types": ["full_attention"] * 2},
        "layer_types has 2 entries, but num_hidden_layers is 3",
    ),
    "too many": ("llama", {"layer_types": ["full_attention"] * 4}, "layer_types has 4 entries"),
    "chunked": (
        "llama",
        {"layer_types": ["full_attention", "chunked_attention", "full_attention"]},
        "'chunked_attention'",
    ),
    "chunked, of qwen": ("qwen3", {"layer_types": ["chunked_attention"] * 3}, "'chunked_attention' is not built in"),
    "unknown": ("qwen2", {"layer_types": ["mamba"] * 3}, "layer_types 'mamba'"),
    "no list": ("qwen2", {"layer_types": "full_attention"}, "layer_types must be a list"),
    "negative": ("llama", {"sliding_window": -1}, "sliding_window is -1"),
    "zero": ("qwen2", {"use_sliding_window": True, "sliding_window": 0}, "sliding_window is 0"),
    "text": ("llama", {"sliding_window": "9"}, "sliding_window is 9, and must be a whole number"),
}


@pytest.mark.parametrize("name", SLIDING)
def test_layers_that_slide_are_named(name: str) -> None:
    kind, change, message = SLIDING[name]
    layers = import_module(f"{local.__name__}.layers.layers")
    with pytest.raises(RunnerError, match=re.escape(message)):
        local.models.build({**BASE, **OWN[kind], "model_type": kind, **change}, layers.LayerContext())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["llama", "qwen3", "minimax", "deepseek_v3"])
@pytest.mark.parametrize("head", ["another", "the same", "none"])
def test_the_head_in_the_file_is_the_head(head: str, kind: str, tmp_path: Path) -> None:
    """The head in the file wins over tie_word_embeddings, as in transformers 5."""
    from transformers import AutoModelForCausalLM

    folder, _ = write(tmp_path / "model", kind, {"tie_word_embeddings": True})
    file = folder / "model.safetensors"
    weights = {name: tensor.clone() for name, tensor in load_file(file).items()}
    assert "lm_head.weight" not in weights
    if head != "none":
        embedding = weights["model.embed_tokens.weight"]
        weights["lm_head.weight"] = embedding.clone() if head == "the same" else embedding.flip(0)
        save_file(weights, file, metadata={"format": "pt"})
    reference: Any = AutoModelForCausalLM.from_pretrained(folder)
    if head == "another":
        assert not torch.equal(reference.lm_head.weight, reference.model.embed_tokens.weight)
    same(read(folder), reference.eval())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("said", [{"tie_word_embeddings": False}, {}])
def test_a_missing_head_that_is_not_tied_is_named(said: dict[str, Any], tmp_path: Path) -> None:
    folder, _ = write(tmp_path / "model", "llama", said)
    file = folder / "model.safetensors"
    weights = {name: tensor for name, tensor in load_file(file).items() if name != "lm_head.weight"}
    save_file(weights, file, metadata={"format": "pt"})
    assert re.search(r"tie_word_embeddings is .* no lm_head\.weight", refused(folder))
