"""Memory planning, and one clear line when memory is too small."""

from importlib import import_module
from typing import Any

import pytest
import torch

from m1eval import RunnerError, load

local = load("runners", "local")
sizing, cache_spec = (import_module(f"{local.__name__}.{name}") for name in ("engine.memory", "layers.cache_spec"))

CPU = torch.device("cpu")
GIB = 2**30
M1 = [cache_spec.KVSpec(8, 128) if i % 8 == 7 else cache_spec.LinearStateSpec(64, 128) for i in range(80)]
R1 = [cache_spec.MLASpec(576, 512)] * 61


def fit(memory: Any, **given: Any) -> Any:
    settings = {
        "dtype": torch.bfloat16,
        "device": CPU,
        "max_num_seqs": 16,
        "window": 2**20,
        "cache_bytes": None,
        "step_bytes": 0,
    }
    return sizing.fit_capacity(memory, **{**settings, **given})


def test_the_published_models_keep_what_their_papers_say() -> None:
    assert cache_spec.block_bytes(M1, torch.bfloat16) == cache_spec.BLOCK_SIZE * 10 * 8 * 128 * 2 * 2
    assert cache_spec.state_bytes(M1) == 70 * 4 * 2**20
    assert cache_spec.block_bytes(R1, torch.bfloat16) == cache_spec.BLOCK_SIZE * 61 * 576 * 2
    assert cache_spec.state_bytes(R1) == 0


def test_what_is_planned_fits_into_the_budget_and_holds_a_whole_window() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sizing, "free_bytes", lambda device: 400 * GIB)
        for memory in (M1, R1):
            for budget in (90, 120, 180):
                room = fit(memory, cache_bytes=budget * GIB)
                blocks = room.num_blocks * cache_spec.block_bytes(memory, torch.bfloat16)
                states = (room.max_num_seqs + 1 + room.num_snapshots) * cache_spec.state_bytes(memory)
                assert blocks + states <= budget * GIB
                assert (room.num_blocks - 1) * cache_spec.BLOCK_SIZE >= 2**20
                assert 1 <= room.max_num_seqs <= 16
                assert (room.num_snapshots > 0) == (memory is M1)


def test_more_than_can_be_used_is_not_taken() -> None:
    room = fit(R1, window=1000, max_num_seqs=4, cache_bytes=GIB)
    assert room.num_blocks == 2 * 4 * (16 + 1) + 1


def test_too_little_says_how_much_is_needed_and_what_to_change() -> None:
    with pytest.raises(RunnerError, match=r"window of 1048576 tokens needs .* GiB of cache .* -o window=") as said:
        fit(M1, cache_bytes=GIB)
    assert len(str(said.value).splitlines()) == 1
    with pytest.raises(RunnerError, match=r"the weights need 931322\.6 GiB as bfloat16, and cpu has"):
        sizing.check_weights(10**15, CPU, "bfloat16")
    sizing.check_weights(10**6, CPU, "bfloat16")
