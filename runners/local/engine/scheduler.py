"""The scheduler: which sequences prefill or decode in the next step; no tensors, text or devices here.

Prompts are prefilled in order of arrival and in chunks, before anything else, so that as many sequences as possible
decode together; once half of them do, every other step decodes. A prompt that shares a prefix with one being
prefilled waits and reuses its blocks. When blocks run out, the latest sequence is preempted. When a step fails, nothing
computed so far is shared any more.
"""

import time
from collections import deque
from typing import Literal

from ..layers.cache_spec import BLOCK_SIZE
from .block_pool import BlockPool, StateSnapshots, hash_blocks
from .prefix_cache import PrefixCache
from .sequence import PrefillChunk, ScheduledBatch, Sequence, SlotAssignment, StepOutput

Scheduled = tuple[Sequence, int]
"""A sequence in a batch, and its epoch at that time."""


class Scheduler:
    """Runs at most `max_num_seqs` sequences concurrently and prefills at most `chunk_size` tokens per step.

    `has_states`: some layers keep a state per sequence. `invariant`: only one prompt is prefilled per step, and every
    token is computed in the same way whatever else runs: in the same chunk, or by a decode step.
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
        self.max_num_seqs, self.chunk_size = max_num_seqs, chunk_size
        self.has_states, self.invariant = has_states, invariant
        self.prefix_cache = PrefixCache(block_pool, snapshots, chunk_size=chunk_size, has_states=has_states)
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.num_prompt_tokens = 0
        """Prompt tokens computed so far, without cached ones."""
        self.num_preempted = 0
        self._free_slots = list(reversed(range(max_num_seqs)))
        self._decode_next = False

    @property
    def has_unfinished(self) -> bool:
        """Whether any sequence is unfinished."""
        return bool(self.waiting or self.running)

    def schedule(self) -> tuple[ScheduledBatch, list[Scheduled]] | None:
        """The next batch and its sequences, in the order of its chunks or slots; None if there is nothing to do."""
        for sequence in [s for s in self.running if s.future.cancelled()]:
            self.finish(sequence)
        batch = ScheduledBatch()
        steps = [self._schedule_prefill, self._schedule_decode]
        first, second = reversed(steps) if self._should_decode() else steps
        scheduled = first(batch) or second(batch)
        if not scheduled:
            return None
        self.prefix_cache.publish(batch)
        self._decode_next = bool(batch.chunks)
        batch.max_seq_len = max(sequence.num_computed_tokens for sequence, _ in scheduled)
        batch.all_greedy = all(sequence.sampling_params.greedy for sequence, _ in scheduled)
        batch.need_logprobs = any(sequence.logprobs for sequence, _ in scheduled)
        return batch, scheduled

    def _should_decode(self) -> bool:
        """Whether decoding goes before prefill: every other step, once at least half of the sequences decode."""
        num_decoding = sum(sequence.is_decoding for sequence in self.running)
        num_prefilling = min(len(self.running) + len(self.waiting), self.max_num_seqs) - num_decoding
        return self._decode_next and num_decoding >= num_prefilling

    def _schedule_prefill(self, batch: ScheduledBatch) -> list[Scheduled]:
        scheduled: list[Scheduled] = []
        budget = self.chunk_size
        for sequence in list(self.running):
            if not budget:
                break
            prefills = sequence.num_uncomputed and not (sequence.is_decoding or sequence.store_only)
            if prefills and self._extend_allocation(batch, sequence, budget):
                budget = self._remaining(budget - self._add_chunk(batch, sequence, budget))
                scheduled.append((sequence, sequence.epoch))
        return scheduled + self._admit(batch, budget)

    def _remaining(self, tokens: int) -> int:
        return 0 if self.invariant else tokens

    def _extend_allocation(self, batch: ScheduledBatch, sequence: Sequence, max_tokens: int) -> bool:
        """Allocate blocks for the next chunk: forced tokens may need more. False if the sequence was preempted."""
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
        """Preempt the latest sequences until `num_blocks` are available; False if this one was preempted itself.

        Sequences already in the batch are earlier ones, so they stay.
        """
        while sequence.slot >= 0 and self.block_pool.num_available < num_blocks:
            self.preempt(self.running[-1])
        return sequence.slot >= 0

    def _admit(self, batch: ScheduledBatch, budget: int) -> list[Scheduled]:
        """Start waiting sequences while there is room, except those that can soon share a prefix."""
        scheduled: list[Scheduled] = []
        prefilling = [s for s in self.running if not s.is_decoding]
        for sequence in list(self.waiting):
            if not budget or not self._free_slots:
                break
            if sequence.future.cancelled():
                self.waiting.remove(sequence)
            elif not self.prefix_cache.should_wait(sequence, prefilling):
                if not self._allocate(batch, sequence):
                    break
                budget = self._remaining(budget - self._add_chunk(batch, sequence, budget))
                scheduled.append((sequence, sequence.epoch))
                prefilling += [] if sequence.is_decoding else [sequence]
        return scheduled

    def _allocate(self, batch: ScheduledBatch, sequence: Sequence) -> bool:
        shared, snapshot = self.prefix_cache.lookup(sequence)
        num_new = -(-sequence.num_tokens // BLOCK_SIZE) - len(shared)
        num_evictable = sum(block not in self.block_pool.ref_counts for block in shared)
        if num_new + num_evictable + len(self.running) > self.block_pool.num_available and self.running:
            return False
        self.waiting.remove(sequence)
        self.running.append(sequence)
        self.block_pool.touch(shared)
        sequence.slot, sequence.blocks = self._free_slots.pop(), shared
        sequence.num_computed_tokens = len(shared) * BLOCK_SIZE
        if not sequence.started_at:
            sequence.started_at, sequence.num_cached_tokens = time.monotonic(), sequence.num_computed_tokens
        reserve = -(-(len(sequence.prompt_token_ids) + max(sequence.max_tokens, 1)) // BLOCK_SIZE)
        for _ in range(num_new):
            self._append_block(sequence, reserve)
        batch.block_table_updates.append((sequence.slot, 0, list(sequence.blocks)))
        batch.assignments.append(SlotAssignment(sequence.slot, sequence.sampling_params, snapshot))
        return True

    def _append_block(self, sequence: Sequence, reserve: int = 0) -> None:
        after = sequence.blocks[-1] if sequence.blocks else None
        sequence.blocks.append(self.block_pool.allocate(after, reserve=reserve))

    def _add_chunk(self, batch: ScheduledBatch, sequence: Sequence, max_tokens: int) -> int:
        start, total = sequence.num_computed_tokens, len(sequence.prompt_token_ids)
        end = self._chunk_end(sequence, max_tokens)
        sequence.num_computed_tokens = end
        self.num_prompt_tokens += max(min(end, total) - start, 0)
        sequence.is_decoding = end == sequence.num_tokens and sequence.max_tokens > 0
        first_scored = max(start, total - sequence.num_scored - 1)
        targets = sequence.prompt_token_ids[first_scored + 1 : end + 1] if sequence.num_scored else []
        index = sequence.num_output_tokens if sequence.is_decoding else -1
        token_ids = sequence.token_ids(start, end)
        batch.chunks.append(PrefillChunk(sequence.slot, start, token_ids, index, first_scored - start, targets))
        sequence.num_in_flight += sequence.is_decoding
        self.prefix_cache.record(sequence, start, end)
        return end - start

    def _chunk_end(self, sequence: Sequence, max_tokens: int) -> int:
        """End position of a chunk of at most `max_tokens`."""
        start = sequence.num_computed_tokens
        end = min(start + max_tokens, sequence.num_tokens)
        return min((p for p in self.prefix_cache.save_points(sequence, start) if start < p < end), default=end)

    def _schedule_decode(self, batch: ScheduledBatch) -> list[Scheduled]:
        decoding = [s for s in self.running if s.store_only or (s.is_decoding and s.num_scheduled < s.max_tokens)]
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
        """Free a sequence's slot and blocks; it is recomputed, with the tokens it has, as soon as there is room."""
        self._release(sequence)
        sequence.prompt_logprobs = []  # all of it is scored again
        # Prefilled, its output tokens would round differently than sampled one by one.
        sequence.num_replayed = len(sequence.output_token_ids) - sequence.num_initial_tokens if self.invariant else 0
        self.waiting.appendleft(sequence)
        self.num_preempted += 1

    def finish(self, sequence: Sequence) -> None:
        """Remove a sequence for good; its blocks stay cached for sequences with the same prefix."""
        if not self.has_states and sequence.num_computed_tokens > len(sequence.block_hashes) * BLOCK_SIZE:
            end = min(sequence.num_computed_tokens, sequence.num_tokens - sequence.num_in_flight)
            hashes = hash_blocks(sequence.token_ids(0, end))
            for block, block_hash in zip(sequence.blocks, hashes, strict=False):
                self.block_pool.cache(block, block_hash)
        self._release(sequence)

    def reset(self) -> list[Sequence]:
        """Remove and return all running sequences after a failed step.

        What it computed, and what later steps computed from that, may be wrong: nothing is shared any more.
        """
        running = list(self.running)
        for sequence in running:
            self._release(sequence)
        self.prefix_cache.reset()
        return running

    def _release(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self.block_pool.free(sequence.blocks)
        self._free_slots.append(sequence.slot)
        sequence.slot, sequence.blocks, sequence.num_computed_tokens, sequence.num_in_flight = -1, [], 0, 0
        sequence.is_decoding = sequence.store_only = False
        sequence.epoch += 1

    def update(self, batch: ScheduledBatch, scheduled: list[Scheduled], output: StepOutput) -> list[Sequence]:
        """Add a step's output to its sequences; returns the finished ones, whose slots and blocks are free again."""
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
            elif chunk and not sequence.max_tokens and chunk.end == len(sequence.prompt_token_ids):
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
        """Append a token and the tokens forced after it; returns the finish reason if the sequence ends."""
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
        """Prefill forced tokens next, and discard what is being sampled in their place.

        The step in flight has stored the token before them, though. With none in flight a chunk can store it as well,
        but may round differently.
        """
        sequence.store_only = self.invariant and not sequence.num_in_flight
        sequence.epoch, sequence.num_in_flight, sequence.is_decoding = sequence.epoch + 1, 0, False

    def _replay(self, sequence: Sequence, token: int) -> None:
        """Check a token sampled again after a preemption."""
        index = sequence.num_output_tokens
        if token != sequence.output_token_ids[index]:  # not reproducible on this device: prefill it instead
            self.preempt(sequence)
            sequence.num_replayed = 0
            return
        sequence.num_in_flight -= 1
        sequence.num_replayed -= 1
        if count := sequence.forced_counts.get(index):
            sequence.num_replayed -= count
            self._force(sequence)
