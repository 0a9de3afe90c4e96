"""The prefix cache: which blocks and states sequences may share, and when.

What a step computes can be shared from the next step on: its blocks and states are published only when its batch is
complete. Batches run in order, so what a batch reads from an earlier one is there.
"""

from ..layers.cache_spec import BLOCK_SIZE
from .block_pool import BlockPool, StateSnapshots
from .sequence import ScheduledBatch, Sequence

MIN_SHARED_BLOCKS = 8
"""Minimum number of prompt blocks for which waiting for another prompt with the same prefix is worthwhile."""


class PrefixCache:
    """Finds the longest cached prefix of a prompt, and publishes what each batch computes."""

    def __init__(self, block_pool: BlockPool, snapshots: StateSnapshots, *, chunk_size: int, has_states: bool) -> None:
        self.block_pool, self.snapshots = block_pool, snapshots
        self.chunk_size, self.has_states = chunk_size, has_states
        self._filled_blocks: list[tuple[int, bytes]] = []
        """Blocks that the current batch fills, and their hashes."""
        self._saved_states: list[tuple[int, bytes]] = []
        """Slots whose states it computes, and the hashes of the prefixes that these states cover."""
        self._upcoming_hashes: set[bytes] = set()
        """Hashes from which a sequence can start after that batch, and their block indices in a prompt."""
        self._upcoming_indices: set[int] = set()

    def lookup(self, sequence: Sequence) -> tuple[list[int], int | None]:
        """Cached blocks, and the saved state, from which the sequence can start; at least one token is left."""
        hashes = sequence.block_hashes[: _num_shareable(sequence)]
        blocks = self.block_pool.lookup(hashes)
        if not self.has_states:
            return blocks, None
        for count in range(len(blocks), 0, -1):
            if (snapshot := self.snapshots.find(hashes[count - 1])) is not None:
                return blocks[:count], snapshot
        return [], None

    def should_wait(self, sequence: Sequence, prefilling: list[Sequence]) -> bool:
        """Whether a sequence can share more if it waits: for a long prompt, or for what the next step computes."""
        count, hashes = _num_shareable(sequence), sequence.block_hashes
        upcoming = any(i < count and hashes[i] in self._upcoming_hashes for i in self._upcoming_indices)
        return upcoming or any(_shares_half(sequence, other) for other in prefilling)

    def record(self, sequence: Sequence, start: int, end: int) -> None:
        """Record what a chunk computes for others, until `publish`."""
        hashes = sequence.block_hashes
        full_blocks = range(start // BLOCK_SIZE, min(end // BLOCK_SIZE, len(hashes)))
        self._filled_blocks += [(sequence.blocks[i], hashes[i]) for i in full_blocks]
        if not self.has_states:
            shareable = full_blocks[:1]
        elif end in self.save_points(sequence, start) and self.snapshots.count:
            shareable = full_blocks[-1:]
            self._saved_states += [(sequence.slot, hashes[i]) for i in shareable]
        else:
            return
        self._upcoming_hashes.update(hashes[i] for i in shareable)
        self._upcoming_indices.update(shareable)

    def save_points(self, sequence: Sequence, start: int) -> tuple[int, ...]:
        """Positions where a chunk must end so that its state can be saved: every chunk, and the last block."""
        last = (len(sequence.prompt_token_ids) - 1) // BLOCK_SIZE * BLOCK_SIZE
        regular = (start // self.chunk_size + 1) * self.chunk_size
        return tuple({last, min(regular, last)} - {0}) if self.has_states and sequence.block_hashes else ()

    def publish(self, batch: ScheduledBatch) -> None:
        """Let later batches share what this one computes."""
        for block, block_hash in self._filled_blocks:
            self.block_pool.cache(block, block_hash)
        for slot, block_hash in self._saved_states:
            if (snapshot := self.snapshots.save(block_hash)) is not None:
                batch.state_saves.append((slot, snapshot))
        self._clear_pending()

    def reset(self) -> None:
        """Share nothing that was computed so far."""
        self.block_pool.clear_cache()
        self.snapshots.place.clear()
        self._clear_pending()

    def _clear_pending(self) -> None:
        for pending in (self._filled_blocks, self._saved_states, self._upcoming_hashes, self._upcoming_indices):
            pending.clear()


def _num_shareable(sequence: Sequence) -> int:
    """Number of blocks of its prompt that a sequence may share."""
    return min(max(sequence.num_tokens - 1 - sequence.num_scored, 0) // BLOCK_SIZE, len(sequence.block_hashes))


def _shares_half(sequence: Sequence, other: Sequence) -> bool:
    """Whether half of a long prompt is a prefix of another's, which is being computed."""
    hashes, half = sequence.block_hashes, len(sequence.block_hashes) // 2
    return (
        len(hashes) >= MIN_SHARED_BLOCKS and len(other.block_hashes) > half and hashes[half] == other.block_hashes[half]
    )
