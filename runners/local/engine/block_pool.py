"""The block pool: which sequence holds which blocks, what can be reused, what is evicted first. No tensors.

A full block is identified by the hash of all tokens up to its end, so that a later sequence with the same prefix
reuses it. Linear attention has no blocks but one state per sequence, which can be reused only at the very token at
which a copy (a snapshot) was saved.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np

from ..layers.cache_spec import BLOCK_SIZE

PADDING_BLOCK = 0
"""The padding block, owned by no sequence: rows that only fill up a batch write there."""


def hash_blocks(token_ids: Sequence[int] | np.ndarray[Any, Any], block_size: int = BLOCK_SIZE) -> list[bytes]:
    """One hash per full block, of all tokens up to the block's end."""
    hashes: list[bytes] = []
    array = np.asarray(token_ids, dtype=np.int32)
    for start in range(0, len(token_ids) - block_size + 1, block_size):
        parent = hashes[-1] if hashes else b""
        hashes.append(blake2b(parent + array[start : start + block_size].tobytes(), digest_size=16).digest())
    return hashes


class BlockPool:
    """`num_blocks` blocks, each referenced by sequences, cached without references (evictable), or free."""

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self.ref_counts: dict[int, int] = {}
        self.free_blocks: dict[int, None] = dict.fromkeys(range(PADDING_BLOCK + 1, num_blocks))
        self.evictable: OrderedDict[int, None] = OrderedDict()  # unreferenced cached blocks, least recently used first
        self.hash_by_block: dict[int, bytes] = {}
        self.block_by_hash: dict[bytes, int] = {}
        self._next_start = PADDING_BLOCK + 1

    @property
    def num_available(self) -> int:
        """Blocks that can be allocated now, evictable ones included."""
        return len(self.free_blocks) + len(self.evictable)

    def allocate(self, after: int | None, *, reserve: int = 0) -> int:
        """Allocate a free block, or else evict the least recently used; the one after `after` if possible.

        Consecutive blocks are read in place, without a copy. A first block is allocated `reserve` blocks after the last
        first one, so that a sequence of that length can grow. KeyError if there is none: see `num_available`.
        """
        preferred = self._reserve(reserve) if after is None else after + 1
        if preferred in self.free_blocks:
            block = preferred
        elif self.free_blocks:
            block = next(iter(self.free_blocks))
        else:
            block, _ = self.evictable.popitem(last=False)
            del self.block_by_hash[self.hash_by_block.pop(block)]
            self.ref_counts[block] = 1
            return block
        del self.free_blocks[block]
        self.ref_counts[block] = 1
        return block

    def _reserve(self, reserve: int) -> int:
        if self._next_start + reserve > self.num_blocks:
            self._next_start = PADDING_BLOCK + 1
        start = self._next_start
        self._next_start += reserve
        return start

    def lookup(self, hashes: Sequence[bytes]) -> list[int]:
        """Cached blocks for the longest prefix of `hashes`; takes no reference."""
        blocks: list[int] = []
        for block_hash in hashes:
            if (block := self.block_by_hash.get(block_hash)) is None:
                break
            blocks.append(block)
        return blocks

    def touch(self, blocks: Iterable[int]) -> None:
        """Add a reference to cached blocks."""
        for block in blocks:
            self.evictable.pop(block, None)
            self.ref_counts[block] = self.ref_counts.get(block, 0) + 1

    def cache(self, block: int, block_hash: bytes) -> None:
        """Register a full block under its hash; of two with the same hash the first is cached."""
        if block_hash not in self.block_by_hash and block not in self.hash_by_block:
            self.hash_by_block[block], self.block_by_hash[block_hash] = block_hash, block

    def clear_cache(self) -> None:
        """Forget the contents of all blocks."""
        self.free_blocks.update(self.evictable)
        for table in (self.evictable, self.hash_by_block, self.block_by_hash):
            table.clear()

    def free(self, blocks: Iterable[int]) -> None:
        """Drop a reference to blocks; cached ones stay until evicted, the ends of sequences first."""
        for block in reversed(list(blocks)):
            self.ref_counts[block] -= 1
            if self.ref_counts[block]:
                continue
            del self.ref_counts[block]
            if block in self.hash_by_block:
                self.evictable[block] = None
            else:
                self.free_blocks[block] = None


class StateSnapshots:
    """Cache of saved states by the hash of their tokens; at most `count`, least recently used evicted first."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.place: OrderedDict[bytes, int] = OrderedDict()

    def find(self, key: bytes) -> int | None:
        """Slot of the saved state after these tokens; None if there is none."""
        if key in self.place:
            self.place.move_to_end(key)
        return self.place.get(key)

    def save(self, key: bytes) -> int | None:
        """Slot to save the state after these tokens in; None if it is saved already, or nothing can be."""
        if key in self.place or not self.count:
            return None
        slot = len(self.place) if len(self.place) < self.count else self.place.popitem(last=False)[1]
        self.place[key] = slot
        return slot
