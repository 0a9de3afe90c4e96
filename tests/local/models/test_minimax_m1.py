"""MiniMax-M1 against the published code's logits, a plain fp64 recurrence, and the MiniMax of transformers."""

import json
import math
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import silu

from m1eval import RunnerError, load
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


def test_slopes_are_the_published_ones() -> None:
    config = minimax_m1.Config.read(M1)
    first, last = minimax_m1.slopes(config, 0), minimax_m1.slopes(config, 78)
    assert first.dtype == torch.float32
    torch.testing.assert_close(first[:2], torch.tensor([2**-0.125, 2**-0.25]) * (1 + 1e-5))
    torch.testing.assert_close(last[-1], torch.tensor(2**-8 * (1 - 78 / 79 + 1e-5)))
    six = minimax_m1.slopes(minimax_m1.Config.read(TINY | {"num_attention_heads": 6}), 0)
    torch.testing.assert_close(six, torch.tensor([2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3]) * (1 + 1e-5))


M1: dict[str, Any] = TINY | {
    "hidden_size": 6144,
    "num_hidden_layers": 80,
    "attn_type_list": ([0] * 7 + [1]) * 10,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "rotary_dim": 64,
    "rope_theta": 10000000,
    "max_position_embeddings": 10240000,
    "intermediate_size": 9216,
    "num_local_experts": 32,
    "vocab_size": 200064,
}
"""The dimensions of the published config.json."""


def test_the_published_model_has_its_tensors_and_sizes() -> None:
    model = models.build(M1, layers.LayerContext(torch.bfloat16))
    expected = loader.weight_slots(model)
    assert {name: list(slot.shape) for name, slot in expected.items()} == shapes(M1)
    assert len(expected) == 8243
    assert sum(math.prod(slot.shape) for slot in expected.values()) == 456_089_655_296
    assert loader.weight_bytes(model) == 912_210_767_872, "bf16, and the routers in fp32"
    assert model.cache_specs == ([cache_spec.LinearStateSpec(64, 128)] * 7 + [cache_spec.KVSpec(8, 128)]) * 10
    assert model.window == 10_240_000
    assert model.lm_head.num_tokens == 200032, "the rest of the vocabulary only fills it up"


@pytest.mark.parametrize("size", [8, 16])
def test_a_rank_of_the_published_model_holds_its_share(size: int) -> None:
    model = models.build(M1, layers.LayerContext(torch.bfloat16, sharding.Shard(size - 1, size)))
    assert model.cache_specs[6:8] == [cache_spec.LinearStateSpec(64 // size, 128), cache_spec.KVSpec(1, 128)]
    held = loader.weight_bytes(model) - 2 * 2 * 200064 * 6144
    assert held < 1.02 * (912_210_767_872 - 2 * 2 * 200064 * 6144) / size


class Meeting:
    """All-reduce between the ranks of one model, each in a thread."""

    def __init__(self, size: int) -> None:
        self.barrier, self.parts = threading.Barrier(size, timeout=30), [torch.empty(0)] * size

    def sum(self, rank: int, x: torch.Tensor) -> torch.Tensor:
        self.parts[rank] = x
        self.barrier.wait()
        total = torch.stack(self.parts).sum(0)
        self.barrier.wait()
        return x.copy_(total)


def together(folder: Path, ids: Sequence[int], size: int, pieces: Sequence[int]) -> list[torch.Tensor]:
    """Logits of each of `size` ranks."""

    class Rank(sharding.Shard):  # type: ignore[misc, name-defined]
        def all_reduce(self, x: torch.Tensor) -> torch.Tensor:
            actual: torch.Tensor = self.group.sum(self.rank, x)
            return actual

    meeting = Meeting(size)
    ranks = [read(folder, shard=Rank(rank, size, meeting)) for rank in range(size)]
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(lambda model: scores(model, ids, pieces), ranks))


@pytest.mark.parametrize("size", [2, 4])
def test_ranks_together_compute_what_one_does_alone(size: int, tmp_path: Path) -> None:
    config = TINY | {"shared_intermediate_size": 12}
    folder = saved(tmp_path / "m1", config, random_weights(config))
    alone = scores(read(folder), IDS)
    for actual in together(folder, IDS, size, [40, 1, 29]):
        assert (actual - alone).abs().max() < 1e-4


def test_heads_that_ranks_cannot_share_out_are_refused() -> None:
    with pytest.raises(RunnerError, match="cannot be split over 3 GPUs"):
        models.build(TINY, layers.LayerContext(shard=sharding.Shard(0, 3)))


def test_bf16_stays_close_and_routes_in_fp32(tmp_path: Path) -> None:
    weights = {name: tensor.bfloat16().float() for name, tensor in random_weights(TINY).items()}
    folder = saved(tmp_path / "m1", TINY, weights)
    exact, model = scores(read(folder), IDS), read(folder, dtype=torch.bfloat16)
    assert model.model.layers[0].block_sparse_moe.gate.weight.dtype == torch.float32
    rough = scores(model, IDS, [40, 1, 29], dtype=torch.bfloat16)
    assert rough.dtype == torch.float32
    assert torch.nn.functional.kl_div(rough.log_softmax(-1), exact.softmax(-1), reduction="batchmean") < 0.02


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"attn_type_list": [0, 1]}, "4 layers, but 2 entries"),
        ({"attn_type_list": [0, 1, 2, 1]}, "attn_type_list"),
        ({"rotary_dim": 5}, "rotary_dim 5"),
        ({"rotary_dim": 10}, "rotary_dim 10"),
        ({"sliding_window": 64}, "sliding_window"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ({"shared_intermediate_size": 8, "shared_moe_mode": "softmax"}, "shared_moe_mode 'softmax'"),
        ({"num_local_experts": None}, "num_local_experts"),
        ({"model_type": "minimax", "layer_types": ["mamba"] * 4}, "layer_types 'mamba'"),
    ],
)
def test_configs_that_do_not_fit_are_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(RunnerError, match=said):
        models.build(TINY | changed, layers.LayerContext())
