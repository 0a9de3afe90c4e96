"""The model runner: executes scheduled batches on one device, with the model, its KV cache and the slots' numbers.

Last tokens, lengths and sampling parameters stay on the device, so a decode step needs no output of the step before: it
is launched while that one still runs, on a GPU as one CUDA graph. Graphs read only memory allocated here, and padding
slots write to a padding block and a padding state.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from m1eval import RunnerError

from ..layers.attention_context import Array, DecodeContext, PrefillContext, PrefillSequence, to_device
from ..layers.cache_spec import BLOCK_SIZE
from ..layers.kv_cache import KVCache
from ..layers.sharding import ALONE, Shard
from ..models import CausalLM
from ..ops.experts import SEPARATE
from ..ops.layout import INDEX, LENGTH
from ..ops.sample import argmax, sample
from ..ops.slot_mapping import load_step_inputs, store_step_outputs
from .sequence import PrefillChunk, ScheduledBatch, SlotAssignment, StepOutput, TokenLogprob

SCORE_CHUNK = 256
"""Positions scored per chunk; each takes a row of logits over the whole vocabulary."""
SMALL_PREFILL, SMALL_PREFILL_LENGTH = 256, 2048
"""Maximum tokens, and maximum sequence length, of a prefill that is computed token by token in a CUDA graph."""


class ModelRunner:
    """Runs batches of up to `max_num_seqs` sequences of up to `window` tokens.

    `graphs`: small steps run as CUDA graphs. `invariant`: all decode steps have the same shape, so that no library
    chooses other matrix products, and so other roundings, because of the rest of the batch. `shard`: the part of the
    model on this device; all ranks must run the same batches.
    """

    def __init__(
        self,
        model: CausalLM,
        pools: KVCache,
        *,
        max_num_seqs: int,
        window: int,
        graphs: bool,
        invariant: bool = False,
        shard: Shard = ALONE,
    ) -> None:
        self.model, self.pools, self.device = model, pools, pools.device
        self.padding_slot, self.invariant, self.shard = max_num_seqs, invariant, shard
        self.max_blocks = -(-window // BLOCK_SIZE)
        self.host_block_tables = np.zeros((max_num_seqs + 1, self.max_blocks), dtype=np.int32)
        self.block_tables = torch.zeros(max_num_seqs + 1, self.max_blocks, dtype=torch.int32, device=self.device)
        self.slot_ints = torch.zeros(5, max_num_seqs + 1, dtype=torch.int64, device=self.device)
        self.slot_floats = torch.zeros(3, max_num_seqs + 1, device=self.device)
        self.graphs = CudaGraphs(self.device) if graphs else None
        sizes = {n for n in (1, 2, 4, 8, *range(16, max_num_seqs, 16)) if n < max_num_seqs and not invariant}
        self.decode_sizes = sorted({*sizes, max_num_seqs})

    @torch.inference_mode()
    def run(self, batch: ScheduledBatch) -> Callable[[], StepOutput]:
        """Start a step and return a function that waits for its output. RunnerError if memory runs out."""
        try:
            return self._run(batch)
        except torch.OutOfMemoryError as error:
            tokens = sum(len(chunk.token_ids) for chunk in batch.chunks) or len(batch.decode_slots)
            raise RunnerError(
                f"local: {self.device} ran out of memory in a step of {tokens} tokens: lower -o chunk, -o batch or "
                f"-o memory (GiB for the cache)"
            ) from error

    def _run(self, batch: ScheduledBatch) -> Callable[[], StepOutput]:
        self._prepare_slots(batch.assignments, batch.block_table_updates)
        if batch.chunks:
            small = self.graphs and self._is_small(batch)
            wait = self._prefill_small(batch, self.graphs) if self.graphs and small else self._prefill(batch)
        else:
            token = SEPARATE.set(self.invariant)
            try:
                wait = self._decode(batch)
            finally:
                SEPARATE.reset(token)
        for row, snapshot in batch.state_saves:
            self.pools.save_state(row, snapshot)
        return wait

    def _prepare_slots(
        self, assignments: Sequence[SlotAssignment], table_updates: Sequence[tuple[int, int, list[int]]]
    ) -> None:
        for row, at, blocks in table_updates:
            self.host_block_tables[row, at : at + len(blocks)] = blocks
        if table_updates:
            entries = [np.stack((np.full(len(b), row), np.arange(at, at + len(b)), b)) for row, at, b in table_updates]
            rows, columns, blocks_ = to_device(np.concatenate(entries, 1), self.device)
            self.block_tables[rows, columns] = blocks_.int()
        for assignment in assignments:
            self.pools.load_state(assignment.slot, assignment.snapshot)
        if assignments:
            params = [assignment.sampling_params for assignment in assignments]
            ints = [(0, 0, p.seed, 0, p.top_k, a.slot) for a, p in zip(assignments, params, strict=True)]
            floats = [(p.temperature, p.top_p, p.min_p) for p in params]
            *values, at_ = to_device(np.array(ints, dtype=np.int64).T.copy(), self.device)
            self.slot_ints[:, at_] = torch.stack(values)
            self.slot_floats[:, at_] = to_device(np.array(floats, dtype=np.float32).T.copy(), self.device)

    def _prefill(self, batch: ScheduledBatch) -> Callable[[], StepOutput]:
        chunks = batch.chunks
        step = PrefillContext(self.pools, [self._part(chunk) for chunk in chunks])
        ids = np.concatenate([chunk.token_ids for chunk in chunks])
        hidden = self.model(to_device(ids, self.device), step)
        scored = [self._score(hidden, begin, chunk) for begin, chunk in zip(step.begins, chunks, strict=True)]
        self._store_lengths(chunks)
        decoding = [
            (end - 1, chunk.slot) for end, chunk in zip(step.ends, chunks, strict=True) if chunk.output_index >= 0
        ]
        if not decoding:
            return lambda: StepOutput([], [], [_token_logprobs(*pair) for pair in scored])
        ends, rows = to_device(np.array(decoding, dtype=np.int64).T.copy(), self.device)
        tokens, logprobs = self._sample(hidden[ends], rows, greedy=batch.all_greedy, logprobs=batch.need_logprobs)
        wait = _copy_to_host(tokens, logprobs, len(decoding))
        return lambda: StepOutput(*wait(), [_token_logprobs(*pair) for pair in scored])

    def _store_lengths(self, chunks: Sequence[PrefillChunk]) -> None:
        """Store the lengths and output indices of the slots after these chunks."""
        values = [(c.slot, c.end, max(c.output_index, 0)) for c in chunks]
        rows, lengths, indices = to_device(np.array(values, dtype=np.int64).T.copy(), self.device)
        self.slot_ints[LENGTH, rows], self.slot_ints[INDEX, rows] = lengths, indices

    def _is_small(self, batch: ScheduledBatch) -> bool:
        """Whether the chunks are faster token by token in a CUDA graph, where launching kernels dominates."""
        tokens = sum(len(chunk.token_ids) for chunk in batch.chunks)
        scored = any(chunk.targets for chunk in batch.chunks)
        states = len(self.pools.states) > 0
        if states or scored or self.invariant:
            return False
        return tokens <= SMALL_PREFILL and batch.max_seq_len <= SMALL_PREFILL_LENGTH

    def _prefill_small(self, batch: ScheduledBatch, graphs: "CudaGraphs") -> Callable[[], StepOutput]:
        self._store_lengths(batch.chunks)
        columns = [
            (p.token_ids, np.full(len(p.token_ids), p.slot), np.arange(p.start, p.start + len(p.token_ids)))
            for p in batch.chunks
        ]
        tokens = np.concatenate([np.stack(each) for each in columns], 1)
        ends = np.cumsum([len(chunk.token_ids) for chunk in batch.chunks]) - 1
        samples = [(end, chunk.slot) for end, chunk in zip(ends, batch.chunks, strict=True) if chunk.output_index >= 0]
        inputs = [
            GraphInput(tokens, _round_up(tokens.shape[1], 16), (0, self.padding_slot, 0)),
            GraphInput(
                np.array(samples, dtype=np.int64).reshape(-1, 2).T, _round_up(len(samples), 4), (0, self.padding_slot)
            ),
        ]
        max_seq_len = min(SMALL_PREFILL_LENGTH, self.max_blocks * BLOCK_SIZE)
        outputs = graphs.run(
            self._prefill_by_token,
            inputs,
            max_seq_len=max_seq_len,
            greedy=batch.all_greedy,
            logprobs=batch.need_logprobs,
        )
        wait = _copy_to_host(*outputs, len(samples))
        return lambda: StepOutput(*wait(), [[] for _ in batch.chunks])

    def _prefill_by_token(
        self, tokens: Tensor, samples: Tensor, *, max_seq_len: int, greedy: bool, logprobs: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Prefill tokens (id, slot, position) [3, tokens] and sample after some of them (token, slot) [2, samples]."""
        ids, rows, places = tokens.unbind()
        step = DecodeContext(
            self.pools, rows, self.block_tables[rows, : max_seq_len // BLOCK_SIZE], places, distinct=False
        )
        hidden = self.model(ids, step)
        return self._sample(hidden[samples[0]], samples[1], greedy=greedy, logprobs=logprobs)

    def _part(self, chunk: PrefillChunk) -> PrefillSequence:
        length = chunk.start + len(chunk.token_ids)
        return PrefillSequence(
            chunk.slot, len(chunk.token_ids), length, self.host_block_tables[chunk.slot, : -(-length // BLOCK_SIZE)]
        )

    def _score(self, hidden: Tensor, begin: int, chunk: PrefillChunk) -> tuple[Tensor, Tensor]:
        """Logprobs of a chunk's targets, and whether each is the most likely token."""
        first = begin + chunk.first_scored
        targets = torch.tensor(chunk.targets, dtype=torch.int64, device=self.device)
        logprobs, best = torch.empty(len(targets), device=self.device), torch.empty_like(targets, dtype=torch.bool)
        for at in range(0, len(targets), SCORE_CHUNK):
            chunk_targets = targets[at : at + SCORE_CHUNK]
            scores = self.model.logits(hidden[first + at : first + at + len(chunk_targets)])
            logprobs[at : at + SCORE_CHUNK] = _logprobs(scores, chunk_targets)
            best[at : at + SCORE_CHUNK] = scores.argmax(-1) == chunk_targets
        return logprobs, best

    def _decode(self, batch: ScheduledBatch) -> Callable[[], StepOutput]:
        max_seq_len = self.max_blocks * BLOCK_SIZE
        if not self.invariant:
            max_seq_len = min(_round_up(batch.max_seq_len, 4 * BLOCK_SIZE), max_seq_len)
        size = next(size for size in self.decode_sizes if size >= len(batch.decode_slots))
        rows = GraphInput(np.array([batch.decode_slots], dtype=np.int64), size, (self.padding_slot,))
        if self.graphs:
            outputs = self.graphs.run(
                self._decode_step,
                [rows],
                max_seq_len=max_seq_len,
                greedy=batch.all_greedy,
                logprobs=batch.need_logprobs,
            )
        else:
            padded = to_device(rows.padded() if self.invariant else rows.values, self.device)
            outputs = self._decode_step(
                padded, max_seq_len=max_seq_len, greedy=batch.all_greedy, logprobs=batch.need_logprobs
            )
        wait = _copy_to_host(*outputs, len(batch.decode_slots))
        return lambda: StepOutput(*wait(), [])

    def _decode_step(
        self, inputs: Tensor, *, max_seq_len: int, greedy: bool, logprobs: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Sample one token for each slot of `inputs` [1, slots], without the host."""
        rows = inputs[0]
        ids, positions, tables, mapping = load_step_inputs(
            self.slot_ints, self.block_tables[:, : max_seq_len // BLOCK_SIZE], rows, BLOCK_SIZE
        )
        step = DecodeContext(self.pools, rows, tables, positions, mapping=mapping)
        return self._sample(self.model(ids, step), rows, greedy=greedy, logprobs=logprobs, added=1)

    def _sample(
        self, hidden: Tensor, rows: Tensor, *, greedy: bool, logprobs: bool, added: int = 0
    ) -> tuple[Tensor, Tensor | None]:
        """Sample tokens, with logprobs if requested, and store them; the slots become `added` tokens longer."""
        scores = self.model.logits(hidden)
        if greedy:
            tokens = argmax(scores)
        else:
            _, _, seeds, indices, top_k = self.slot_ints[:, rows].unbind()
            temperature, top_p, min_p = self.slot_floats[:, rows].unbind()
            tokens = sample(scores, temperature, top_p, top_k.int(), min_p, seeds, indices)
        tokens = self.shard.broadcast(tokens)  # ranks with different tokens would diverge for good
        store_step_outputs(self.slot_ints, rows, tokens, self.padding_slot, added)
        return tokens, _logprobs(scores, tokens.clamp(min=0)) if logprobs else None


class GraphInput(NamedTuple):
    """Input numbers of a step [fields, count], padded to `size` columns with the fields of `padding`."""

    values: Array
    size: int
    padding: tuple[int, ...]

    def padded(self, count: int | None = None) -> Array:
        """The padded array [fields, size], with all of the values or only the first `count`."""
        padded = np.repeat(np.array(self.padding, dtype=np.int64)[:, None], self.size, 1)
        values = self.values[:, :count]
        padded[:, : values.shape[1]] = values
        return padded


class _CapturedGraph(NamedTuple):
    graph: torch.cuda.CUDAGraph
    inputs: list[Tensor]
    last_values: list[Array]
    outputs: tuple[Tensor, Tensor | None]


class CudaGraphs:
    """CUDA graphs of steps, one for each input shape and setting; on a CPU the steps run directly."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.captured: dict[Any, _CapturedGraph] = {}
        self.pool: Any = torch.cuda.graph_pool_handle() if device.type == "cuda" else None

    def run(
        self, step: Callable[..., tuple[Tensor, Tensor | None]], inputs: Sequence[GraphInput], **settings: Any
    ) -> tuple[Tensor, Tensor | None]:
        """`step(*inputs, **settings)`; the returned tensors are valid until the next call."""
        if self.device.type == "cpu":
            return step(*[to_device(given.padded(), self.device) for given in inputs], **settings)
        key = (step.__name__, *(given.size for given in inputs), *settings.values())
        if key not in self.captured:
            self.captured[key] = self._capture(step, inputs, settings)
        graph, tensors, last_values, outputs = self.captured[key]
        for i, (given, tensor) in enumerate(zip(inputs, tensors, strict=True)):
            if not np.array_equal(given.values, last_values[i]):
                tensor.copy_(to_device(given.padded(), self.device))
                last_values[i] = given.values
        graph.replay()
        return outputs

    def _capture(
        self, step: Callable[..., tuple[Tensor, Tensor | None]], inputs: Sequence[GraphInput], settings: dict[str, Any]
    ) -> _CapturedGraph:
        padding = [given.padded(0) for given in inputs]
        tensors = [to_device(array, self.device) for array in padding]
        step(*tensors, **settings)  # kernels are compiled and libraries set up outside of the capture
        torch.cuda.synchronize(self.device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"):
            outputs = step(*tensors, **settings)
        return _CapturedGraph(graph, tensors, [array[:, :0] for array in padding], outputs)


def _copy_to_host(
    tokens: Tensor, logprobs: Tensor | None, count: int | None = None
) -> Callable[[], tuple[list[int], list[float]]]:
    """Copy tokens and logprobs to the host; the returned function waits for the copy, later device work does not."""
    copies = [None if x is None else x[:count] for x in (tokens, logprobs)]
    event = None
    if tokens.is_cuda:
        copies = [
            None if x is None else torch.empty_like(x, device="cpu", pin_memory=True).copy_(x, True) for x in copies
        ]
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()

    def wait() -> tuple[list[int], list[float]]:
        if event:
            event.synchronize()
        ints, reals = (None if x is None else x.tolist() for x in copies)
        return ints or [], reals or []

    return wait


def _logprobs(scores: Tensor, tokens: Tensor) -> Tensor:
    """Logprobs of one token per row; scores [rows, vocab] fp32."""
    return scores.gather(-1, tokens[:, None]).squeeze(-1) - scores.logsumexp(-1)


def _token_logprobs(logprobs: Tensor, best: Tensor) -> list[TokenLogprob]:
    return [TokenLogprob(*pair) for pair in zip(logprobs.tolist(), best.tolist(), strict=True)]


def _round_up(number: int, start: int) -> int:
    """Round up to `start`, twice `start`, and so on: few different sizes, so few graphs."""
    while start < number:
        start *= 2
    return start
