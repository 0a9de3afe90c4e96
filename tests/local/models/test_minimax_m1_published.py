"""MiniMax-M1 in its published dimensions, split over ranks, in bf16, and configs that do not fit."""

import math
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from m1eval import RunnerError, load
from tests.local.conftest import read, scores
from tests.local.models.test_minimax_m1 import IDS, TINY, random_weights, saved, shapes

local = load("runners", "local")
models, layers, loader, sharding, cache_spec = (
    import_module(f"{local.__name__}.{name}")
    for name in ("models", "layers.layers", "weights.loader", "layers.sharding", "layers.cache_spec")
)
minimax_m1 = import_module(f"{models.__name__}.minimax_m1")


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
