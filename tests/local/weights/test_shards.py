"""A model divided over ranks, here threads of one process that add up their summands, is the model."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

import pytest
import torch

from m1eval import RunnerError, load
from tests.local.conftest import read, scores

local = load("runners", "local")
layers = import_module(f"{local.__name__}.layers.layers")
loader = import_module(f"{local.__name__}.weights.loader")
sharding = import_module(f"{local.__name__}.layers.sharding")

IDS = torch.randint(0, 256, (80,), generator=torch.Generator().manual_seed(1)).tolist()
CONFIGS: dict[str, tuple[str, dict[str, Any], int]] = {
    "llama": ("llama", {}, 2),
    "one key head for all ranks": ("llama", {"num_key_value_heads": 1, "intermediate_size": 84}, 3),
    "two ranks a key head": ("llama", {"num_attention_heads": 8, "head_dim": 8}, 4),
    "biases": ("llama", {"attention_bias": True, "mlp_bias": True}, 2),
    "tied": ("llama", {"tie_word_embeddings": True}, 2),
    "qwen2": ("qwen2", {}, 2),
    "qwen3": ("qwen3", {}, 2),
    "experts": ("qwen3_moe", {"num_attention_heads": 8, "num_key_value_heads": 4}, 4),
    "some layers dense": ("qwen3_moe", {"mlp_only_layers": [1]}, 2),
}


class Sums:
    """An all-reduce over threads."""

    def __init__(self, size: int) -> None:
        self.parts: list[Any] = [None] * size
        self.barrier = threading.Barrier(size, timeout=20)

    def sum(self, rank: int, x: torch.Tensor) -> torch.Tensor:
        self.parts[rank] = x.clone()
        self.barrier.wait()
        x.copy_(sum(self.parts))
        self.barrier.wait()
        return x


class Thread(sharding.Shard):  # type: ignore[name-defined,misc]
    """Shard of one rank, in a thread; its group is a Sums."""

    def all_reduce(self, x: torch.Tensor) -> torch.Tensor:
        total: torch.Tensor = self.group.sum(self.rank, x)
        return total


@pytest.mark.parametrize("name", CONFIGS)
def test_ranks_together_compute_the_logits_of_transformers(name: str, tiny: Callable[..., Any]) -> None:
    kind, config, size = CONFIGS[name]
    folder, reference = tiny(kind, **config)
    with torch.inference_mode():
        expected = reference(torch.tensor([IDS])).logits[0]
    group = Sums(size)

    def rank(number: int) -> torch.Tensor:
        return scores(read(folder, shard=Thread(number, size, group)), IDS, [50, 1, 1, 28])

    with ThreadPoolExecutor(size) as threads:
        for found in threads.map(rank, range(size)):
            assert (found - expected).abs().max() < 1e-4


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "qwen3_moe"])
def test_the_slices_of_all_ranks_are_the_checkpoint(kind: str, tiny: Callable[..., Any]) -> None:
    folder, _ = tiny(kind, attention_bias=kind == "llama")
    checkpoint = loader.Safetensors(folder)
    shapes = checkpoint.shapes()
    covered = {name: torch.zeros(list(shape)) for name, shape in shapes.items()}
    for rank in range(2):
        model = read(folder, shard=sharding.Shard(rank, 2))
        for name, slot in loader.weight_slots(model, shapes).items():
            assert slot.shape == tuple(shapes[name])
            if slot.view is not None:
                assert slot.view.equal(checkpoint.tensor(name)[slot.part])
                covered[name][slot.part] += 1
    for name, count in covered.items():
        whole = any(part in name for part in ("norm", "embed", "lm_head", "mlp.gate.", "o_proj.bias"))
        assert (count == (2 if whole else 1)).all(), name


def test_a_rank_needs_its_share_of_the_memory(tiny: Callable[..., Any]) -> None:
    folder, _ = tiny("qwen3_moe", num_key_value_heads=2, vocab_size=261)
    config = loader.Safetensors(folder).config

    def needed(size: int) -> int:
        shard = sharding.Shard(0, size)
        return int(loader.weight_bytes(local.models.build(config, layers.LayerContext(torch.float32, shard))))

    assert 0.5 < needed(2) / needed(1) < 0.75
    replicated = 4 * (2 * 261 * 48 + 48 + 3 * (2 * 48 + 2 * 16 + 8 * 48))
    assert 2 * needed(2) - needed(1) == replicated


@pytest.mark.parametrize(
    ("kind", "config", "size", "said"),
    [
        ("llama", {}, 4, "6 attention heads cannot be split over 4 GPUs"),
        ("llama", {"intermediate_size": 84}, 3, "2 key and value heads cannot be split over 3 GPUs"),
        ("llama", {"intermediate_size": 81}, 2, "81 columns of an MLP cannot be split over 2 GPUs"),
        ("qwen3_moe", {"num_experts": 7}, 2, "7 experts cannot be split over 2 GPUs"),
    ],
)
def test_a_model_that_cannot_be_sharded_is_reported(
    kind: str, config: dict[str, Any], size: int, said: str, tiny: Callable[..., Any]
) -> None:
    folder = tiny(kind, **config).folder
    with pytest.raises(RunnerError, match=said):
        read(folder, shard=sharding.Shard(0, size))
