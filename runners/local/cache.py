"""What is kept of the past, counted in blocks: who holds which, what may be used again, what goes first. No tensors.

Tokens are kept in blocks of a fixed size. A full block is known by the hash of all tokens up to its end, so that a
later sequence which begins the same way takes it over instead of computing it again. What linear attention keeps is no
block but one state, and is only of use at the very token at which a copy was saved (a snapshot).
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np

BLOCK = 64
"""Tokens of a block."""
SPARE = 0
"""The block that nobody owns: rows that only fill up a batch write there."""


class KV(NamedTuple):
    """What a softmax layer keeps of a token: a key and a value, each [heads, dim]."""

    heads: int
    dim: int


class Latent(NamedTuple):
    """What multi-head latent attention keeps of a token: one key [dim], whose first `values` numbers are the value."""

    dim: int
    values: int


class State(NamedTuple):
    """What linear attention keeps of a whole sequence: one fp32 matrix [heads, dim, dim]."""

    heads: int
    dim: int


Memory = KV | Latent | State


def keys(tokens: Sequence[int] | np.ndarray[Any, Any], size: int = BLOCK) -> list[bytes]:
    """One key for every full block of tokens, each standing for all tokens up to the block's end."""
    found: list[bytes] = []
    flat = np.asarray(tokens, dtype=np.int32)
    for begin in range(0, len(tokens) - size + 1, size):
        before = found[-1] if found else b""
        found.append(blake2b(before + flat[begin : begin + size].tobytes(), digest_size=16).digest())
    return found


class Blocks:
    """`count` blocks; a block is held by some sequences, or kept for later ones, or free."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.held: dict[int, int] = {}
        self.free: dict[int, None] = dict.fromkeys(range(SPARE + 1, count))
        self.kept: OrderedDict[int, None] = OrderedDict()  # held by nobody, the longest unused first
        self.key: dict[int, bytes] = {}
        self.block: dict[bytes, int] = {}
        self._next = SPARE + 1

    @property
    def available(self) -> int:
        """Blocks that can be taken now, kept ones included."""
        return len(self.free) + len(self.kept)

    def take(self, after: int | None, *, apart: int = 0) -> int:
        """A block that is free, or else the longest unused of those kept; the one behind `after` if that is possible.

        Consecutive blocks are read as they lie, without a copy. A first block is taken `apart` from the last first one,
        so that a sequence of that many can grow. KeyError if there is none: see `available`.
        """
        wanted = self._start(apart) if after is None else after + 1
        if wanted in self.free:
            block = wanted
        elif self.free:
            block = next(iter(self.free))
        else:
            block, _ = self.kept.popitem(last=False)
            del self.block[self.key.pop(block)]
            self.held[block] = 1
            return block
        del self.free[block]
        self.held[block] = 1
        return block

    def _start(self, apart: int) -> int:
        if self._next + apart > self.count:
            self._next = SPARE + 1
        start = self._next
        self._next += apart
        return start

    def known(self, wanted: Sequence[bytes]) -> list[int]:
        """The blocks of the leading keys that are there; nothing is taken."""
        found: list[int] = []
        for key in wanted:
            if (block := self.block.get(key)) is None:
                break
            found.append(block)
        return found

    def share(self, blocks: Iterable[int]) -> None:
        """Hold blocks that are known by their keys."""
        for block in blocks:
            self.kept.pop(block, None)
            self.held[block] = self.held.get(block, 0) + 1

    def name(self, block: int, key: bytes) -> None:
        """Say what a full block holds, for later sequences; the first of two alike is kept."""
        if key not in self.block and block not in self.key:
            self.key[block], self.block[key] = key, block

    def forget(self) -> None:
        """What any block holds is not for later sequences."""
        self.free.update(self.kept)
        for known in (self.kept, self.key, self.block):
            known.clear()

    def give(self, blocks: Iterable[int]) -> None:
        """Let go of blocks; those with a key stay until their room is wanted, the ends of sequences first."""
        for block in reversed(list(blocks)):
            self.held[block] -= 1
            if self.held[block]:
                continue
            del self.held[block]
            if block in self.key:
                self.kept[block] = None
            else:
                self.free[block] = None


class Snapshots:
    """Which saved state stands for which tokens; at most `count`, the longest unused is given up."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.place: OrderedDict[bytes, int] = OrderedDict()

    def find(self, key: bytes) -> int | None:
        """Where the state after these tokens is saved."""
        if key in self.place:
            self.place.move_to_end(key)
        return self.place.get(key)

    def save(self, key: bytes) -> int | None:
        """Where to save the state after these tokens; None if it is there already, or nothing can be."""
        if key in self.place or not self.count:
            return None
        slot = len(self.place) if len(self.place) < self.count else self.place.popitem(last=False)[1]
        self.place[key] = slot
        return slot
