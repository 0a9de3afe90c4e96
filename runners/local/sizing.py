"""How much of a device's memory goes to what is kept of the past, and whether all of it fits."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from m1eval import RunnerError

from .cache import BLOCK, Memory, State
from .models import Language
from .step import Part, Pools, Reading, block_bytes, state_bytes

GIB = 2**30
LEFT = 0.06
"""Share of a GPU's memory that stays free: for graphs, library workspaces and fragments."""
SNAPSHOTS = 0.15
"""Share of the cache's memory for saved states, where there are states."""
MOST_SNAPSHOTS = 512


class Room(NamedTuple):
    """What fits: blocks of tokens, saved states, and sequences at once."""

    blocks: int
    snapshots: int
    rows: int


class Wanted(NamedTuple):
    """How a model is to be run: at most `rows` sequences of `window` tokens, read in steps of at most `chunk`.

    `memory` in bytes is what the user allows for the past; `ranks` share a CPU.
    """

    dtype: torch.dtype
    device: torch.device
    rows: int
    window: int
    chunk: int
    memory: int | None
    graphs: bool
    invariant: bool
    ranks: int = 1

    def room(self, model: Language) -> Room:
        """What fits on the device; on a GPU a step is computed to know."""
        used = measure(model, chunk=self.chunk, rows=self.rows, dtype=self.dtype, device=self.device)
        return fit(
            model.memory,
            dtype=self.dtype,
            device=self.device,
            rows=self.rows,
            window=self.window,
            budget=self.memory,
            used=used,
            ranks=self.ranks,
        )


def free(device: torch.device) -> int:
    """Bytes that can be had on a device now."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + _cached(device)
    with suppress(OSError, StopIteration):  # what the kernel could give, file caches included
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _cached(device: torch.device) -> int:
    return torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def check_weights(needed: int, device: torch.device, dtype: str) -> None:
    """RunnerError if weights of so many bytes do not fit on the device."""
    if needed > (there := free(device)):
        raise RunnerError(
            f"local: the weights need {needed / GIB:.1f} GiB as {dtype}, and {device} has {there / GIB:.1f} GiB free: "
            f"take a smaller dtype, more GPUs (-o gpus=2), or a smaller model"
        )


def fit(
    memory: Sequence[Memory],
    *,
    dtype: torch.dtype,
    device: torch.device,
    rows: int,
    window: int,
    budget: int | None,
    used: int,
    ranks: int = 1,
) -> Room:
    """Blocks, saved states and rows for up to `rows` sequences of `window` tokens; RunnerError if not even one fits.

    `budget` in bytes is what the user allows; else what is free less `used`, which a step takes; on a CPU half of it,
    which all `ranks` share.
    """
    there = free(device) * (1 - LEFT) - used if device.type == "cuda" else free(device) // (2 * ranks)
    allowed = int(min(there, budget or there))
    block, state = block_bytes(memory, dtype), state_bytes(memory)
    needed = -(-window // BLOCK) + 1
    rows = max(1, min(rows, int(allowed * 0.3 // state))) if state else rows
    least = needed * block + (rows + 1) * state
    if least > allowed:
        raise RunnerError(
            f"local: a window of {window} tokens needs {least / GIB:.2f} GiB of cache and {allowed / GIB:.2f} GiB are "
            f"there: lower it with -o window=…, or lower -o chunk, or take more GPUs"
        )
    snapshots = min(int((allowed - least) * SNAPSHOTS // state), MOST_SNAPSHOTS) if state else 0
    rest = allowed - (rows + 1 + snapshots) * state
    # Twice the running sequences: beyond that, what is kept for later ones has no use in an evaluation.
    blocks = min(int(rest // block) if block else 2**20, 2 * rows * needed + 1)
    return Room(blocks, snapshots, rows)


@torch.inference_mode()
def measure(model: Language, *, chunk: int, rows: int, dtype: torch.dtype, device: torch.device) -> int:
    """Bytes that a step of `chunk` tokens takes on a GPU beside weights and cache, found by computing one."""
    if device.type != "cuda":
        return 0
    blocks = -(-chunk // BLOCK) + 1
    pools = Pools(model.memory, blocks=blocks, rows=1, snapshots=0, dtype=dtype, device=device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    step = Reading(pools, [Part(0, chunk, chunk, np.arange(1, blocks))])
    hidden = model(torch.zeros(chunk, dtype=torch.int64, device=device), step)
    model.logits(hidden[-1:])
    taken = torch.cuda.max_memory_allocated(device) - before
    states = any(isinstance(kind, State) for kind in model.memory)
    del pools, step, hidden
    torch.cuda.empty_cache()
    # A piece behind a long past is attended to in two parts, joined in fp32; every row of scores is drawn from.
    return int(taken * (1.5 if states else 1.3)) + 4 * rows * model.vocab_size * 4
