"""MiniMax-M1 against the published code's logits, a plain fp64 recurrence, and the MiniMax of transformers."""

import json
import math
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import silu

from m1eval import load
from tests.local.conftest import read, save_tokenizer, scores

local = load("runners", "local")
models, layers, loader, sharding, cache_spec = (
    import_module(f"{local.__name__}.{name}")
    for name in ("models", "layers.layers", "weights.loader", "layers.sharding", "layers.cache_spec")
)
minimax_m1, minimax = (import_module(f"{models.__name__}.{name}") for name in ("minimax_m1", "minimax"))

ORACLE = Path(__file__).parents[3].parent / "shared" / "oracles" / "minimax-m1-tiny"
"""A tiny M1, and what the published remote code computes with it."""

TINY: dict[str, Any] = {
    "model_type": "minimax_m1",
    "postnorm": True,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "layernorm_full_attention_alpha": 1.75,
    "layernorm_full_attention_beta": 0.75,
    "layernorm_linear_attention_alpha": 1.5,
    "layernorm_linear_attention_beta": 1.25,
    "layernorm_mlp_alpha": 2.0,
    "layernorm_mlp_beta": 0.5,
    "shared_intermediate_size": 0,
    "max_position_embeddings": 512,
    "vocab_size": 97,
    "hidden_size": 24,
    "intermediate_size": 20,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "rotary_dim": 4,
    "attn_type_list": [0, 1, 0, 1],
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "as published": {},
    "no power of two of heads": {"num_attention_heads": 6},
    "three heads": {"num_attention_heads": 3, "num_key_value_heads": 1},
    "norms before, not on, the residual": {"postnorm": False},
    "shared expert": {"shared_intermediate_size": 12, "shared_moe_mode": "sigmoid"},
    "whole heads rotated": {"rotary_dim": 8},
    "lightning alone": {"attn_type_list": [0, 0, 0, 0]},
    "one lightning layer": {"attn_type_list": [0], "num_hidden_layers": 1},
    "MiniMax-Text-01": {"model_type": "minimax_text_01"},
}

Weights = Mapping[str, torch.Tensor]


def shapes(config: Mapping[str, Any]) -> dict[str, list[int]]:
    """The tensors of a checkpoint with MiniMax-M1's own names."""
    width, inner = config["hidden_size"], config["num_attention_heads"] * config["head_dim"]
    kv, ffn = config["num_key_value_heads"] * config["head_dim"], config["intermediate_size"]
    actual = {"model.embed_tokens": [config["vocab_size"], width], "lm_head": [config["vocab_size"], width]}
    actual["model.norm"] = [width]
    for i, kind in enumerate(config["attn_type_list"]):
        at = f"model.layers.{i}"
        actual |= {f"{at}.input_layernorm": [width], f"{at}.post_attention_layernorm": [width]}
        attention = {"q_proj": [inner, width], "k_proj": [kv, width], "v_proj": [kv, width], "o_proj": [width, inner]}
        lightning = {"qkv_proj": [3 * inner, width], "output_gate": [inner, width], "out_proj": [width, inner]}
        chosen = attention if kind else {**lightning, "norm": [inner]}
        actual |= {f"{at}.self_attn.{name}": shape for name, shape in chosen.items()}
        actual[f"{at}.block_sparse_moe.gate"] = [config["num_local_experts"], width]
        for j in range(config["num_local_experts"]):
            expert = {"w1": [ffn, width], "w2": [width, ffn], "w3": [ffn, width]}
            actual |= {f"{at}.block_sparse_moe.experts.{j}.{name}": shape for name, shape in expert.items()}
        if shared := config["shared_intermediate_size"]:
            expert = {"gate_proj": [shared, width], "up_proj": [shared, width], "down_proj": [width, shared]}
            actual |= {f"{at}.shared_mlp.{name}": shape for name, shape in expert.items()}
            actual[f"{at}.coefficient"] = [1, width]
    return {f"{name}.weight": shape for name, shape in actual.items()}


def random_weights(config: Mapping[str, Any], seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights, the norms' around 1."""
    chance = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=chance) * 0.3 + (1.0 if len(shape) == 1 else 0.0)
        for name, shape in shapes(config).items()
    }


def saved(folder: Path, config: Mapping[str, Any], weights: Weights) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(dict(weights), folder / "model.safetensors")
    save_tokenizer(folder, None)
    return folder


def rms(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight


def alibi(heads: int) -> list[float]:
    """Slopes of ALiBi (arXiv 2108.12409): between powers of two, every second one of the next power."""
    if heads & (heads - 1) == 0:
        return [2 ** (-8 * (h + 1) / heads) for h in range(heads)]
    lower = 1 << (heads.bit_length() - 1)
    return alibi(lower) + alibi(2 * lower)[::2][: heads - lower]


def naive(config: Mapping[str, Any], weights: Weights, ids: Sequence[int]) -> torch.Tensor:
    """Logits [tokens, vocab] in fp64, one token and one head at a time, from the definition and nothing else."""
    w = {name.removesuffix(".weight"): tensor.double() for name, tensor in weights.items()}
    eps, layers = config["rms_norm_eps"], config["num_hidden_layers"]
    x = w["model.embed_tokens"][list(ids)]
    for i, kind in enumerate(config["attn_type_list"]):
        at, name = f"model.layers.{i}", "full" if kind else "linear"
        n = rms(x, w[f"{at}.input_layernorm"], eps)
        part = {key.removeprefix(f"{at}.self_attn."): value for key, value in w.items() if f"{at}.self_attn." in key}
        factor = 1 - i / (layers - 1) + 1e-5 if layers > 1 else 1 + 1e-5
        seen = softmax_layer(config, part, n) if kind else lightning_layer(config, part, n, factor)
        residual = n if config["postnorm"] else x
        alpha, beta = (config[f"layernorm_{name}_attention_{greek}"] for greek in ("alpha", "beta"))
        x = alpha * residual + beta * seen
        n = rms(x, w[f"{at}.post_attention_layernorm"], eps)
        residual = n if config["postnorm"] else x
        x = config["layernorm_mlp_alpha"] * residual + config["layernorm_mlp_beta"] * sparse(config, w, at, n)
    return rms(x, w["model.norm"], eps) @ w["lm_head"].T


def lightning_layer(config: Mapping[str, Any], w: Weights, n: torch.Tensor, factor: float) -> torch.Tensor:
    heads, dim = config["num_attention_heads"], config["head_dim"]
    qkv = silu(n @ w["qkv_proj"].T).view(len(n), heads, 3, dim)
    out = torch.zeros(len(n), heads, dim, dtype=torch.float64)
    for h, slope in enumerate(alibi(heads)):
        state = torch.zeros(dim, dim, dtype=torch.float64)
        for t in range(len(n)):
            q, k, v = qkv[t, h]
            state = math.exp(-slope * factor) * state + k[:, None] * v[None]
            out[t, h] = q @ state
    gate = torch.sigmoid(n @ w["output_gate"].T)
    return (rms(out.flatten(1), w["norm"], 1e-6) * gate) @ w["out_proj"].T


def softmax_layer(config: Mapping[str, Any], w: Weights, n: torch.Tensor) -> torch.Tensor:
    heads, dim, share = (
        config["num_attention_heads"],
        config["head_dim"],
        config["num_attention_heads"] // config["num_key_value_heads"],
    )
    q, k, v = ((n @ w[f"{name}_proj"].T).view(len(n), -1, dim) for name in "qkv")
    q, k = (rotated(x, config["rotary_dim"], config["rope_theta"]) for x in (q, k))
    out = torch.zeros(len(n), heads, dim, dtype=torch.float64)
    for h in range(heads):
        for t in range(len(n)):
            chances = torch.softmax(k[: t + 1, h // share] @ q[t, h] / math.sqrt(dim), 0)
            out[t, h] = chances @ v[: t + 1, h // share]
    return out.flatten(1) @ w["o_proj"].T


def rotated(x: torch.Tensor, rotary: int, theta: float) -> torch.Tensor:
    """Dimensions i and i + rotary/2 as a plane, rotated by position * theta^(-2i/rotary)."""
    out, half = x.clone(), rotary // 2
    for t in range(len(x)):
        for i in range(half):
            angle = t * theta ** (-2 * i / rotary)
            a, b = x[t, :, i], x[t, :, i + half]
            out[t, :, i] = a * math.cos(angle) - b * math.sin(angle)
            out[t, :, i + half] = b * math.cos(angle) + a * math.sin(angle)
    return out


def sparse(config: Mapping[str, Any], w: Weights, at: str, n: torch.Tensor) -> torch.Tensor:
    out = torch.zeros_like(n)
    for t, x in enumerate(n):
        chances = torch.softmax(w[f"{at}.block_sparse_moe.gate"] @ x, 0)
        best = chances.topk(config["num_experts_per_tok"])
        for chance, j in zip(best.values / best.values.sum(), best.indices.tolist(), strict=True):
            w1, w2, w3 = (w[f"{at}.block_sparse_moe.experts.{j}.w{i}"] for i in (1, 2, 3))
            out[t] += chance * (w2 @ (silu(w1 @ x) * (w3 @ x)))
        if config["shared_intermediate_size"]:
            gate, up, down = (w[f"{at}.shared_mlp.{name}_proj"] for name in ("gate", "up", "down"))
            share = torch.sigmoid(w[f"{at}.coefficient"] @ x)
            out[t] = (1 - share) * out[t] + share * (down @ (silu(gate @ x) * (up @ x)))
    return out


IDS = torch.randint(0, 97, (70,), generator=torch.Generator().manual_seed(1)).tolist()


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_are_those_of_the_plain_recurrence(name: str, tmp_path: Path) -> None:
    config = TINY | CONFIGS[name]
    weights = random_weights(config)
    expected = naive(config, weights, IDS)
    model = read(saved(tmp_path / "m1", config, weights))
    assert expected.std() > 0.3
    for pieces in ([70], [64, 6], [7, 1, 40, 1, 1, 20], *([[1] * 70] if name == "as published" else [])):
        assert (scores(model, IDS, pieces, scattered=len(pieces) == 2) - expected).abs().max() < 2e-4, pieces


@pytest.mark.skipif(not ORACLE.is_dir(), reason="no ../shared/oracles/minimax-m1-tiny next to the project")
def test_logits_are_those_of_the_published_code(tmp_path: Path) -> None:
    model, stored = published(tmp_path)
    for ids, expected in zip(stored["ids"].tolist(), stored["logits"], strict=True):
        for pieces in ([600], [256, 256, 88], [1, 130, 3, 400, 66], [77] * 7 + [61]):
            assert (scores(model, ids, pieces) - expected).abs().max() < 5e-4, pieces
    ids, expected = stored["ids"][0, :150].tolist(), stored["logits"][0, :150]
    assert (scores(model, ids, [1] * 150) - expected).abs().max() < 5e-4


@pytest.mark.skipif(not ORACLE.is_dir(), reason="no ../shared/oracles/minimax-m1-tiny next to the project")
def test_the_greedy_continuation_is_that_of_the_published_code(tmp_path: Path) -> None:
    model, stored = published(tmp_path)
    greedy = stored["greedy"][0].tolist()
    prompt = next(
        i for i, pair in enumerate(zip(greedy, stored["ids"][0].tolist(), strict=False)) if len(set(pair)) > 1
    )
    assert len(greedy) - prompt >= 32
    actual = scores(model, greedy, [prompt] + [1] * (len(greedy) - prompt)).argmax(-1)
    assert actual[prompt - 1 : -1].tolist() == greedy[prompt:]


def published(folder: Path) -> tuple[Any, dict[str, torch.Tensor]]:
    """The oracle's model, and what was computed with it."""
    for name in ("config.json", "model.safetensors"):
        (folder / name).symlink_to(ORACLE / name)
    save_tokenizer(folder, None)
    model = read(folder)
    model.lm_head.num_tokens = None  # the model has more tokens than the tokenizer lent to it
    return model, load_file(ORACLE / "expected.safetensors")


HUGGING = {
    "head_dim": 8,
    "num_local_experts": 4,
    "block_size": 16,
    "layer_types": ["linear_attention", "full_attention", "linear_attention", "full_attention"],
    "full_attn_alpha_factor": 1.75,
    "full_attn_beta_factor": 0.75,
    "linear_attn_alpha_factor": 1.5,
    "linear_attn_beta_factor": 1.25,
    "mlp_alpha_factor": 2.0,
    "mlp_beta_factor": 0.5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    "eos_token_id": None,
    **{key: TINY[key] for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")},
    **{key: TINY[key] for key in ("num_key_value_heads", "vocab_size", "max_position_embeddings", "rms_norm_eps")},
}


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"num_attention_heads": 6},
        {"layer_types": None},
        {"tie_word_embeddings": True},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 300.0}},
    ],
    ids=["plain", "six heads", "alternating layers", "tied", "theta"],
)
def test_logits_are_those_of_transformers(changed: dict[str, Any], tmp_path: Path) -> None:
    """Without its cache and with explicit positions: else transformers counts from a lightning layer's cache."""
    from transformers import MiniMaxConfig, MiniMaxForCausalLM

    torch.manual_seed(0)
    reference: Any = MiniMaxForCausalLM(MiniMaxConfig(**HUGGING | changed))
    reference.eval()
    for name, parameter in reference.named_parameters():
        parameter.data.normal_(1.0 if "norm" in name else 0.0, 0.3 if parameter.ndim == 1 else 0.2)
    reference.save_pretrained(tmp_path)
    save_tokenizer(tmp_path, None)
    with torch.inference_mode():
        positions = torch.arange(len(IDS))[None]
        expected = reference(torch.tensor([IDS]), position_ids=positions, use_cache=False).logits[0]
    model = read(tmp_path)
    assert expected.std() > 0.3
    for pieces in ([70], [64, 6], [7, 1, 40, 1, 1, 20]):
        assert (scores(model, IDS, pieces) - expected).abs().max() < 1e-4, pieces


@pytest.mark.parametrize("said", [{"rotary_dim": 4}, {"partial_rotary_factor": 0.5}, {}])
def test_the_fields_of_transformers_mean_what_those_of_m1_mean(said: dict[str, Any], tmp_path: Path) -> None:
    """Rotated dimensions included, which transformers itself leaves out of account."""
    weights = random_weights(TINY)
    expected = naive(TINY | {"rotary_dim": 4 if said else 8}, weights, IDS)
    config = {**HUGGING, "model_type": "minimax", "num_experts_per_tok": 2, **said}
    assert (scores(read(saved(tmp_path / "hf", config, weights)), IDS) - expected).abs().max() < 2e-4
