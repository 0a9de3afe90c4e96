"""Who computes what in the next step. It knows sequences and blocks, and no tensors, text or devices.

Prompts are read in order of arrival and in pieces, first of all, so that as many sequences as possible draw together;
when half of them do, every other step is theirs. A prompt that begins like one being read waits and takes over its
blocks. When blocks run out, the latest sequence starts again.

What a step computes can be shared from the next step on: its blocks and states are named only when its plan is whole.
The device runs plans in their order, so what a plan reads of an earlier one is there. When a step fails, nothing that
was computed is shared any more.
"""

import time
from collections import deque
from typing import Literal

from ..layers.cache_spec import BLOCK_SIZE
from .block_pool import BlockPool, StateSnapshots, hash_blocks
from .sequence import PrefillChunk, ScheduledBatch, Sequence, SlotAssignment, StepOutput

MIN_SHARED_BLOCKS = 8
"""Blocks of a prompt from which on it is worth waiting for another that begins alike."""

Scheduled = tuple[Sequence, int]
"""A sequence in a plan, and which of its turns the plan belongs to."""


class Scheduler:
    """At most `batch` sequences at once, reading at most `chunk` tokens a step.

    `states`: some layers keep a state. `alone`: no two prompts are read in one step, and every token is computed in the
    same way whatever else happens: as part of the same piece, or by a step of drawing.
    """

    def __init__(
        self,
        block_pool: BlockPool,
        snapshots: StateSnapshots,
        *,
        max_num_seqs: int,
        chunk_size: int,
        has_states: bool,
        invariant: bool = False,
    ) -> None:
        self.block_pool, self.snapshots = block_pool, snapshots
        self.max_num_seqs, self.chunk_size, self.has_states, self.invariant = (
            max_num_seqs,
            chunk_size,
            has_states,
            invariant,
        )
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.num_prompt_tokens = 0
        """Tokens computed from prompts so far, those taken over not counted."""
        self.num_preempted = 0
        self._free_slots = list(reversed(range(max_num_seqs)))
        self._decode_next = False
        self._filled_blocks: list[tuple[int, bytes]] = []
        """Blocks that the plan in the making fills, and their keys."""
        self._saved_states: list[tuple[int, bytes]] = []
        """Rows whose states it computes, and the keys of what these stand for."""
        self._upcoming_hashes: set[bytes] = set()
        """Keys with which a sequence can begin once that plan is whole, and the places they can have in a prompt."""
        self._upcoming_indices: set[int] = set()

    @property
    def has_unfinished(self) -> bool:
        """Whether any sequence is unfinished."""
        return bool(self.waiting or self.running)

    def schedule(self) -> tuple[ScheduledBatch, list[Scheduled]] | None:
        """The next step and the sequences in it, in the order of its pieces or rows; None if there is nothing to do."""
        for sequence in [s for s in self.running if s.future.cancelled()]:
            self.finish(sequence)
        batch = ScheduledBatch()
        first, second = (
            (self._schedule_decode, self._schedule_prefill)
            if self._should_decode()
            else (self._schedule_prefill, self._schedule_decode)
        )
        scheduled = first(batch) or second(batch)
        if not scheduled:
            return None
        self._publish(batch)
        self._decode_next = bool(batch.chunks)
        batch.max_seq_len = max(sequence.num_computed_tokens for sequence, _ in scheduled)
        batch.all_greedy = all(sequence.sampling_params.greedy for sequence, _ in scheduled)
        batch.need_logprobs = any(sequence.logprobs for sequence, _ in scheduled)
        return batch, scheduled

    def _should_decode(self) -> bool:
        """Whether those that draw go before further prompts: every other step, once they are as many as the others."""
        num_decoding = sum(sequence.is_decoding for sequence in self.running)
        num_prefilling = min(len(self.running) + len(self.waiting), self.max_num_seqs) - num_decoding
        return self._decode_next and num_decoding >= num_prefilling

    def _publish(self, batch: ScheduledBatch) -> None:
        """Let later plans share what this one computes."""
        for block, key in self._filled_blocks:
            self.block_pool.cache(block, key)
        for row, key in self._saved_states:
            if (slot := self.snapshots.save(key)) is not None:
                batch.state_saves.append((row, slot))
        self._clear_pending()

    def _clear_pending(self) -> None:
        for pending in (self._filled_blocks, self._saved_states, self._upcoming_hashes, self._upcoming_indices):
            pending.clear()

    def _schedule_prefill(self, batch: ScheduledBatch) -> list[Scheduled]:
        scheduled: list[Scheduled] = []
        budget = self.chunk_size
        for sequence in list(self.running):
            if not budget:
                break
            if (
                sequence.num_uncomputed
                and not (sequence.is_decoding or sequence.store_only)
                and self._extend_allocation(batch, sequence, budget)
            ):
                budget = self._remaining(budget - self._add_chunk(batch, sequence, budget))
                scheduled.append((sequence, sequence.epoch))
        return scheduled + self._admit(batch, budget)

    def _remaining(self, tokens: int) -> int:
        return 0 if self.invariant else tokens

    def _extend_allocation(self, batch: ScheduledBatch, sequence: Sequence, max_tokens: int) -> bool:
        """Get blocks for a further piece: forced tokens may need more than there are. False: it was preempted."""
        end = self._chunk_end(sequence, max_tokens)
        first, needed = len(sequence.blocks), -(-end // BLOCK_SIZE) - len(sequence.blocks)
        if needed > 0 and not self._preempt_for(sequence, needed):
            return False
        for _ in range(needed):
            self._append_block(sequence)
        if needed > 0:
            batch.block_table_updates.append((sequence.slot, first, sequence.blocks[first:]))
        return sequence.slot >= 0

    def _preempt_for(self, sequence: Sequence, num_blocks: int) -> bool:
        """Preempt the latest sequences until so many blocks can be taken; False if this one had to go itself.

        Those in the plan already came before it, and so stay.
        """
        while sequence.slot >= 0 and self.block_pool.num_available < num_blocks:
            self.preempt(self.running[-1])
        return sequence.slot >= 0

    def _admit(self, batch: ScheduledBatch, budget: int) -> list[Scheduled]:
        """Seat waiting sequences and read them, as long as there is room; those that will share soon wait."""
        scheduled: list[Scheduled] = []
        prefilling = [s for s in self.running if not s.is_decoding]
        for sequence in list(self.waiting):
            if not budget or not self._free_slots:
                break
            if sequence.future.cancelled():
                self.waiting.remove(sequence)
            elif not self._should_wait(sequence, prefilling):
                if not self._allocate(batch, sequence):
                    break
                budget = self._remaining(budget - self._add_chunk(batch, sequence, budget))
                scheduled.append((sequence, sequence.epoch))
                prefilling += [] if sequence.is_decoding else [sequence]
        return scheduled

    def _should_wait(self, sequence: Sequence, prefilling: list[Sequence]) -> bool:
        """Whether a sequence can take over more if it waits: for a long prompt, or for what the next step computes."""
        usable = self._num_shareable(sequence)
        upcoming = any(
            place < usable and sequence.block_hashes[place] in self._upcoming_hashes for place in self._upcoming_indices
        )
        return upcoming or any(_shares_half(sequence, other) for other in prefilling)

    def _allocate(self, batch: ScheduledBatch, sequence: Sequence) -> bool:
        shared, snapshot = self._cached_prefix(sequence)
        num_new = -(-sequence.num_tokens // BLOCK_SIZE) - len(shared)
        num_evictable = sum(block not in self.block_pool.ref_counts for block in shared)
        if num_new + num_evictable + len(self.running) > self.block_pool.num_available and self.running:
            return False
        self.waiting.remove(sequence)
        self.running.append(sequence)
        self.block_pool.touch(shared)
        sequence.slot, sequence.blocks, sequence.num_computed_tokens = (
            self._free_slots.pop(),
            shared,
            len(shared) * BLOCK_SIZE,
        )
        if not sequence.started_at:
            sequence.started_at, sequence.num_cached_tokens = time.monotonic(), sequence.num_computed_tokens
        reserve = -(-(len(sequence.prompt_token_ids) + max(sequence.max_tokens, 1)) // BLOCK_SIZE)
        for _ in range(num_new):
            self._append_block(sequence, reserve)
        batch.block_table_updates.append((sequence.slot, 0, list(sequence.blocks)))
        batch.assignments.append(SlotAssignment(sequence.slot, sequence.sampling_params, snapshot))
        return True

    def _cached_prefix(self, sequence: Sequence) -> tuple[list[int], int | None]:
        """The blocks, and the saved state, with which the sequence may begin; one token at least is left to compute."""
        hashes = sequence.block_hashes[: self._num_shareable(sequence)]
        blocks = self.block_pool.lookup(hashes)
        if not self.has_states:
            return blocks, None
        for count in range(len(blocks), 0, -1):
            if (snapshot := self.snapshots.find(hashes[count - 1])) is not None:
                return blocks[:count], snapshot
        return [], None

    @staticmethod
    def _num_shareable(sequence: Sequence) -> int:
        """How many blocks of its prompt a sequence may take over."""
        return min(max(sequence.num_tokens - 1 - sequence.num_scored, 0) // BLOCK_SIZE, len(sequence.block_hashes))

    def _append_block(self, sequence: Sequence, reserve: int = 0) -> None:
        after = sequence.blocks[-1] if sequence.blocks else None
        sequence.blocks.append(self.block_pool.allocate(after, reserve=reserve))

    def _add_chunk(self, batch: ScheduledBatch, sequence: Sequence, max_tokens: int) -> int:
        start, end, total = (
            sequence.num_computed_tokens,
            self._chunk_end(sequence, max_tokens),
            len(sequence.prompt_token_ids),
        )
        sequence.num_computed_tokens = end
        self.num_prompt_tokens += max(min(end, total) - start, 0)
        sequence.is_decoding = end == sequence.num_tokens and sequence.max_tokens > 0
        first_scored = max(start, total - sequence.num_scored - 1)
        targets = sequence.prompt_token_ids[first_scored + 1 : end + 1] if sequence.num_scored else []
        index = sequence.num_output_tokens if sequence.is_decoding else -1
        batch.chunks.append(
            PrefillChunk(sequence.slot, start, sequence.token_ids(start, end), index, first_scored - start, targets)
        )
        sequence.num_in_flight += sequence.is_decoding
        self._record_shareable(sequence, start, end)
        return end - start

    def _record_shareable(self, sequence: Sequence, start: int, end: int) -> None:
        """Note what a piece makes for others."""
        full_blocks = range(start // BLOCK_SIZE, min(end // BLOCK_SIZE, len(sequence.block_hashes)))
        self._filled_blocks += [(sequence.blocks[i], sequence.block_hashes[i]) for i in full_blocks]
        if not self.has_states:
            shareable = full_blocks[:1]
        elif end in self._save_points(sequence, start) and self.snapshots.count:
            shareable = full_blocks[-1:]
            self._saved_states += [(sequence.slot, sequence.block_hashes[i]) for i in shareable]
        else:
            return
        self._upcoming_hashes.update(sequence.block_hashes[i] for i in shareable)
        self._upcoming_indices.update(shareable)

    def _chunk_end(self, sequence: Sequence, max_tokens: int) -> int:
        """Where a piece of at most so many tokens ends."""
        start, end = sequence.num_computed_tokens, min(sequence.num_computed_tokens + max_tokens, sequence.num_tokens)
        return min((boundary for boundary in self._save_points(sequence, start) if start < boundary < end), default=end)

    def _save_points(self, sequence: Sequence, start: int) -> tuple[int, ...]:
        """Where a piece must end so that its state can be saved for others: in every chunk, and at the last block."""
        last = (len(sequence.prompt_token_ids) - 1) // BLOCK_SIZE * BLOCK_SIZE
        regular = (start // self.chunk_size + 1) * self.chunk_size
        return tuple({last, min(regular, last)} - {0}) if self.has_states and sequence.block_hashes else ()

    def _schedule_decode(self, batch: ScheduledBatch) -> list[Scheduled]:
        decoding = [
            s
            for s in self.running
            if s.store_only
            or (s.is_decoding and len(s.output_token_ids) - s.num_replayed + s.num_in_flight < s.max_tokens)
        ]
        for sequence in decoding:
            if sequence.slot < 0 or sequence.num_computed_tokens < len(sequence.blocks) * BLOCK_SIZE:
                continue
            if self._preempt_for(sequence, 1):
                self._append_block(sequence)
                batch.block_table_updates.append((sequence.slot, len(sequence.blocks) - 1, sequence.blocks[-1:]))
        decoding = [s for s in decoding if s.slot >= 0]
        scheduled = [(s, -1 if s.store_only else s.epoch) for s in decoding]
        for sequence in decoding:
            sequence.num_computed_tokens += 1
            sequence.num_in_flight += not sequence.store_only
            sequence.store_only = False
        batch.decode_slots = [s.slot for s in decoding]
        return scheduled

    def preempt(self, sequence: Sequence) -> None:
        """Take back a sequence's place; it starts again, with the tokens it has, as soon as there is room."""
        self._release(sequence)
        sequence.prompt_logprobs = []  # all of it is scored again
        # Read as a prompt, its new tokens would round otherwise than sampled one by one.
        sequence.num_replayed = len(sequence.output_token_ids) - sequence.num_initial_tokens if self.invariant else 0
        self.waiting.appendleft(sequence)
        self.num_preempted += 1

    def finish(self, sequence: Sequence) -> None:
        """Take a sequence out for good; what it computed stays for those that begin like it."""
        if not self.has_states and sequence.num_computed_tokens > len(sequence.block_hashes) * BLOCK_SIZE:
            hashes = hash_blocks(
                sequence.token_ids(0, min(sequence.num_computed_tokens, sequence.num_tokens - sequence.num_in_flight))
            )
            for block, block_hash in zip(sequence.blocks, hashes, strict=False):
                self.block_pool.cache(block, block_hash)
        self._release(sequence)

    def reset(self) -> list[Sequence]:
        """Take out all that run after a step that failed; returns them.

        What it computed, and what later ones made of that, may be wrong, whoever holds it now: nothing is for others.
        """
        running = list(self.running)
        for sequence in running:
            self._release(sequence)
        self.block_pool.clear_cache()
        self.snapshots.place.clear()
        self._clear_pending()
        return running

    def _release(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self.block_pool.free(sequence.blocks)
        self._free_slots.append(sequence.slot)
        sequence.slot, sequence.blocks, sequence.num_computed_tokens, sequence.num_in_flight = -1, [], 0, 0
        sequence.is_decoding = sequence.store_only = False
        sequence.epoch += 1

    def update(self, batch: ScheduledBatch, scheduled: list[Scheduled], output: StepOutput) -> list[Sequence]:
        """Give the sequences what a step found; returns those that are finished, whose places are free again."""
        tokens, logprobs = iter(output.token_ids), iter(output.logprobs)
        finished: list[Sequence] = []
        for i, (sequence, epoch) in enumerate(scheduled):
            chunk = batch.chunks[i] if batch.chunks else None
            token = next(tokens) if chunk is None or chunk.output_index >= 0 else None
            logprob = next(logprobs, 0.0) if token is not None else 0.0
            if epoch != sequence.epoch or sequence.future.cancelled():
                continue
            if chunk:
                sequence.prompt_logprobs += output.prompt_logprobs[i] if chunk.targets else []
            if token is not None:
                self._append(sequence, token, logprob)
            elif (
                chunk
                and not sequence.max_tokens
                and chunk.start + len(chunk.token_ids) == len(sequence.prompt_token_ids)
            ):
                sequence.finish_reason = "length"
            if sequence.finish_reason or sequence.error:
                finished.append(sequence)
                self.finish(sequence)
        return finished

    def _append(self, sequence: Sequence, token: int, logprob: float) -> None:
        try:
            if sequence.num_replayed:
                self._replay(sequence, token)
            else:
                sequence.finish_reason = self._extend(sequence, token, logprob)
        except Exception as error:  # noqa: BLE001  the sample boundary: only this sequence fails
            sequence.error = error

    def _extend(self, sequence: Sequence, token: int, logprob: float) -> Literal["stop", "length"] | None:
        """Append a token, and those that must follow it, and say whether, and why, the sequence ends."""
        if token < 0:
            raise FloatingPointError("the model's logits are not finite: its weights or its dtype are broken")
        sequence.first_token_at = sequence.first_token_at or time.monotonic()
        sequence.num_in_flight -= 1
        sequence.output_token_ids.append(token)
        sequence.output_logprobs.append(logprob)
        if token in sequence.stop_token_ids or (sequence.stop_check and sequence.stop_check(token)):
            return "stop"
        if sequence.forced_tokens and (
            forced := sequence.forced_tokens(token)[: sequence.max_tokens - len(sequence.output_token_ids)]
        ):
            sequence.forced_counts[len(sequence.output_token_ids) - 1] = len(forced)
            sequence.output_token_ids += forced
            sequence.output_logprobs += [0.0] * len(forced)
            self._force(sequence)
        return "length" if len(sequence.output_token_ids) >= sequence.max_tokens else None

    def _force(self, sequence: Sequence) -> None:
        """Have the tokens that must follow computed; what is being drawn now would come too early.

        Its step has stored the token before, though. Where none is under way, a piece can do that as well, but it may
        round otherwise.
        """
        sequence.store_only = self.invariant and not sequence.num_in_flight
        sequence.epoch, sequence.num_in_flight, sequence.is_decoding = sequence.epoch + 1, 0, False

    def _replay(self, sequence: Sequence, token: int) -> None:
        """Take a token that was there before a preemption."""
        index = sequence.num_output_tokens
        if token != sequence.output_token_ids[index]:  # the device does not repeat itself: read what there is, then
            self.preempt(sequence)
            sequence.num_replayed = 0
            return
        sequence.num_in_flight -= 1
        sequence.num_replayed -= 1
        if count := sequence.forced_counts.get(index):
            sequence.num_replayed -= count
            self._force(sequence)


def _shares_half(sequence: Sequence, other: Sequence) -> bool:
    """Whether half of one's prompt is the same as in the other's, which is being read, and long enough to wait for."""
    half = len(sequence.block_hashes) // 2
    return (
        len(sequence.block_hashes) >= MIN_SHARED_BLOCKS
        and len(other.block_hashes) > half
        and sequence.block_hashes[half] == other.block_hashes[half]
    )
