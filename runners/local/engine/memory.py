"""Memory of a device: how much the KV cache gets, and whether weights and cache fit."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from m1eval import RunnerError

from ..layers.attention_context import PrefillContext, PrefillSequence
from ..layers.cache_spec import BLOCK_SIZE, CacheSpec, LinearStateSpec, block_bytes, state_bytes
from ..layers.kv_cache import KVCache
from ..models import CausalLM

GIB = 2**30
FREE_SHARE = 0.06
"""Share of a GPU's memory that stays free: for graphs, library workspaces and fragments."""
SNAPSHOT_SHARE = 0.15
"""Share of the cache's memory for saved states, where there are states."""
MAX_SNAPSHOTS = 512


class Capacity(NamedTuple):
    """Cache blocks, saved states and concurrent sequences that fit into memory."""

    num_blocks: int
    num_snapshots: int
    max_num_seqs: int


class EngineConfig(NamedTuple):
    """Engine settings: at most `max_num_seqs` sequences of `window` tokens, prefilled in steps of `chunk_size`.

    `cache_bytes` is the limit that the user sets for the cache; on a CPU `world_size` ranks share the memory.
    """

    dtype: torch.dtype
    device: torch.device
    max_num_seqs: int
    window: int
    chunk_size: int
    cache_bytes: int | None
    graphs: bool
    invariant: bool
    world_size: int = 1

    def capacity(self, model: CausalLM) -> Capacity:
        """Capacity of the device; on a GPU this runs a step to measure it."""
        used = measure_step_bytes(
            model, chunk_size=self.chunk_size, max_num_seqs=self.max_num_seqs, dtype=self.dtype, device=self.device
        )
        return fit_capacity(
            model.cache_specs,
            dtype=self.dtype,
            device=self.device,
            max_num_seqs=self.max_num_seqs,
            window=self.window,
            cache_bytes=self.cache_bytes,
            step_bytes=used,
            world_size=self.world_size,
        )


def free_bytes(device: torch.device) -> int:
    """Bytes that can be allocated on a device now."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + _reusable_bytes(device)
    with suppress(OSError, StopIteration):  # what the kernel could free, file caches included
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _reusable_bytes(device: torch.device) -> int:
    return torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def check_weights(needed: int, device: torch.device, dtype: str) -> None:
    """RunnerError if weights of `needed` bytes do not fit on the device."""
    if needed > (free := free_bytes(device)):
        raise RunnerError(
            f"local: the weights need {needed / GIB:.1f} GiB as {dtype}, and {device} has {free / GIB:.1f} GiB free: "
            f"take a smaller dtype, more GPUs (-o gpus=2), or a smaller model"
        )


def fit_capacity(
    cache_specs: Sequence[CacheSpec],
    *,
    dtype: torch.dtype,
    device: torch.device,
    max_num_seqs: int,
    window: int,
    cache_bytes: int | None,
    step_bytes: int,
    world_size: int = 1,
) -> Capacity:
    """Blocks, saved states and slots for up to `max_num_seqs` sequences; RunnerError if not even one fits.

    `cache_bytes` is the limit that the user sets; else what is free minus `step_bytes`; on a CPU half of the free
    memory, shared by all ranks.
    """
    free, on_gpu = free_bytes(device), device.type == "cuda"
    available = free * (1 - FREE_SHARE) - step_bytes if on_gpu else free // (2 * world_size)
    allowed = int(min(available, cache_bytes or available))
    per_block, per_state = block_bytes(cache_specs, dtype), state_bytes(cache_specs)
    blocks_per_seq = -(-window // BLOCK_SIZE) + 1
    max_num_seqs = max(1, min(max_num_seqs, int(allowed * 0.3 // per_state))) if per_state else max_num_seqs
    minimum = blocks_per_seq * per_block + (max_num_seqs + 1) * per_state
    if minimum > allowed:
        raise RunnerError(
            f"local: a window of {window} tokens needs {minimum / GIB:.2f} GiB of cache and {allowed / GIB:.2f} GiB "
            f"are there: lower it with -o window=…, or lower -o chunk, or take more GPUs"
        )
    num_snapshots = min(int((allowed - minimum) * SNAPSHOT_SHARE // per_state), MAX_SNAPSHOTS) if per_state else 0
    rest = allowed - (max_num_seqs + 1 + num_snapshots) * per_state
    # Twice the running sequences: a larger prefix cache has no use in an evaluation.
    num_blocks = min(int(rest // per_block) if per_block else 2**20, 2 * max_num_seqs * blocks_per_seq + 1)
    return Capacity(num_blocks, num_snapshots, max_num_seqs)


@torch.inference_mode()
def measure_step_bytes(
    model: CausalLM, *, chunk_size: int, max_num_seqs: int, dtype: torch.dtype, device: torch.device
) -> int:
    """Bytes that a step of `chunk_size` tokens takes on a GPU beyond weights and cache, measured by running one."""
    if device.type != "cuda":
        return 0
    blocks = -(-chunk_size // BLOCK_SIZE) + 1
    pools = KVCache(model.cache_specs, blocks=blocks, rows=1, snapshots=0, dtype=dtype, device=device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    step = PrefillContext(pools, [PrefillSequence(0, chunk_size, chunk_size, np.arange(1, blocks))])
    hidden = model(torch.zeros(chunk_size, dtype=torch.int64, device=device), step)
    model.logits(hidden[-1:])
    taken = torch.cuda.max_memory_allocated(device) - before
    states = any(isinstance(kind, LinearStateSpec) for kind in model.cache_specs)
    del pools, step, hidden
    torch.cuda.empty_cache()
    # A chunk after a long context attends in two parts, joined in fp32; every row of logits is sampled from.
    return int(taken * (1.5 if states else 1.3)) + 4 * max_num_seqs * model.vocab_size * 4
