"""Plans made real: the model, its memory and the rows' own numbers on one device.

The last token, its place and how it is drawn stay on the device, so a step of drawing needs nothing that the step
before found: it is launched while that one still runs, on a GPU as one CUDA graph. Graphs read only the memory given to
them here, and rows that fill a batch up write to a spare block and a spare state.
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
"""Places whose next token is scored at once; each costs a row of the whole vocabulary."""
SMALL_PREFILL, SMALL_PREFILL_LENGTH = 256, 2048
"""So many given tokens are computed as rows, when none stands farther on than that."""


class ModelRunner:
    """Runs plans of up to `rows` sequences of up to `window` tokens.

    `graphs`: by CUDA graphs where the step is small. `invariant`: all steps of drawing have the same shape, so that no
    library chooses other products, and so other roundings, because of what else is in the batch. `shard`: the part of
    the model that is here; all ranks must run the same plans.
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
        self.decode_sizes = (
            [max_num_seqs]
            if invariant
            else sorted({*(n for n in (1, 2, 4, 8, *range(16, max_num_seqs, 16)) if n < max_num_seqs), max_num_seqs})
        )

    @torch.inference_mode()
    def run(self, batch: ScheduledBatch) -> Callable[[], StepOutput]:
        """Start a step; the function that comes back waits for what it found. RunnerError if memory runs out."""
        try:
            return self._run(batch)
        except torch.OutOfMemoryError as error:
            tokens = sum(len(piece.token_ids) for piece in batch.chunks) or len(batch.decode_slots)
            raise RunnerError(
                f"local: {self.device} ran out of memory in a step of {tokens} tokens: lower -o chunk, -o batch or "
                f"-o memory (GiB for the cache)"
            ) from error

    def _run(self, batch: ScheduledBatch) -> Callable[[], StepOutput]:
        self._prepare_slots(batch.assignments, batch.block_table_updates)
        if batch.chunks:
            wait = (
                self._prefill_small(batch, self.graphs)
                if self.graphs and self._is_small(batch)
                else self._prefill(batch)
            )
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
        for seat in assignments:
            self.pools.load_state(seat.slot, seat.snapshot)
        if assignments:
            params = [seat.sampling_params for seat in assignments]
            ints = [(0, 0, draw.seed, 0, draw.top_k, seat.slot) for seat, draw in zip(assignments, params, strict=True)]
            reals = [(draw.temperature, draw.top_p, draw.min_p) for draw in params]
            *values, at_ = to_device(np.array(ints, dtype=np.int64).T.copy(), self.device)
            self.slot_ints[:, at_] = torch.stack(values)
            self.slot_floats[:, at_] = to_device(np.array(reals, dtype=np.float32).T.copy(), self.device)

    def _prefill(self, batch: ScheduledBatch) -> Callable[[], StepOutput]:
        chunks = batch.chunks
        step = PrefillContext(self.pools, [self._part(piece) for piece in chunks])
        ids = np.concatenate([piece.token_ids for piece in chunks])
        hidden = self.model(to_device(ids, self.device), step)
        scored = [self._score(hidden, begin, piece) for begin, piece in zip(step.begins, chunks, strict=True)]
        self._store_lengths(chunks)
        decoding = [
            (end - 1, piece.slot) for end, piece in zip(step.ends, chunks, strict=True) if piece.output_index >= 0
        ]
        if not decoding:
            return lambda: StepOutput([], [], [_likelihoods(*found) for found in scored])
        ends, rows = to_device(np.array(decoding, dtype=np.int64).T.copy(), self.device)
        tokens, logprobs = self._sample(hidden[ends], rows, greedy=batch.all_greedy, logprobs=batch.need_logprobs)
        wait = _copy_to_host(tokens, logprobs, len(decoding))
        return lambda: StepOutput(*wait(), [_likelihoods(*found) for found in scored])

    def _store_lengths(self, chunks: Sequence[PrefillChunk]) -> None:
        """Note how far the rows of these pieces are."""
        values = [(p.slot, p.start + len(p.token_ids), max(p.output_index, 0)) for p in chunks]
        rows, lengths, indices = to_device(np.array(values, dtype=np.int64).T.copy(), self.device)
        self.slot_ints[LENGTH, rows], self.slot_ints[INDEX, rows] = lengths, indices

    def _is_small(self, batch: ScheduledBatch) -> bool:
        """Whether the pieces are better computed as rows, each token one of its own: their launch is what costs."""
        tokens = sum(len(piece.token_ids) for piece in batch.chunks)
        scored = any(piece.targets for piece in batch.chunks)
        states = len(self.pools.states) > 0
        return (
            tokens <= SMALL_PREFILL
            and batch.max_seq_len <= SMALL_PREFILL_LENGTH
            and not (states or scored or self.invariant)
        )

    def _prefill_small(self, batch: ScheduledBatch, graphs: "CudaGraphs") -> Callable[[], StepOutput]:
        self._store_lengths(batch.chunks)
        columns = [
            (p.token_ids, np.full(len(p.token_ids), p.slot), np.arange(p.start, p.start + len(p.token_ids)))
            for p in batch.chunks
        ]
        tokens = np.concatenate([np.stack(each) for each in columns], 1)
        ends = np.cumsum([len(piece.token_ids) for piece in batch.chunks]) - 1
        samples = [(end, piece.slot) for end, piece in zip(ends, batch.chunks, strict=True) if piece.output_index >= 0]
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
        """Given tokens (id, row, place) [3, tokens], and a token drawn after some of them (which, row) [2, draws]."""
        ids, rows, places = tokens.unbind()
        step = DecodeContext(
            self.pools, rows, self.block_tables[rows, : max_seq_len // BLOCK_SIZE], places, distinct=False
        )
        hidden = self.model(ids, step)
        return self._sample(hidden[samples[0]], samples[1], greedy=greedy, logprobs=logprobs)

    def _part(self, piece: PrefillChunk) -> PrefillSequence:
        length = piece.start + len(piece.token_ids)
        return PrefillSequence(
            piece.slot, len(piece.token_ids), length, self.host_block_tables[piece.slot, : -(-length // BLOCK_SIZE)]
        )

    def _score(self, hidden: Tensor, begin: int, piece: PrefillChunk) -> tuple[Tensor, Tensor]:
        """Logprobs of a piece's targets, and whether each is the likeliest token."""
        first = begin + piece.first_scored
        targets = torch.tensor(piece.targets, dtype=torch.int64, device=self.device)
        logprobs, best = torch.empty(len(targets), device=self.device), torch.empty_like(targets, dtype=torch.bool)
        for at in range(0, len(targets), SCORE_CHUNK):
            wanted = targets[at : at + SCORE_CHUNK]
            scores = self.model.logits(hidden[first + at : first + at + len(wanted)])
            logprobs[at : at + SCORE_CHUNK] = _logprobs(scores, wanted)
            best[at : at + SCORE_CHUNK] = scores.argmax(-1) == wanted
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
        """One token for each of the rows [1, rows], on the device alone."""
        rows = inputs[0]
        ids, positions, tables, mapping = load_step_inputs(
            self.slot_ints, self.block_tables[:, : max_seq_len // BLOCK_SIZE], rows, BLOCK_SIZE
        )
        step = DecodeContext(self.pools, rows, tables, positions, mapping=mapping)
        return self._sample(self.model(ids, step), rows, greedy=greedy, logprobs=logprobs, added=1)

    def _sample(
        self, hidden: Tensor, rows: Tensor, *, greedy: bool, logprobs: bool, added: int = 0
    ) -> tuple[Tensor, Tensor | None]:
        """The tokens and their logprobs; the rows are noted to have drawn them and to be `longer` more."""
        scores = self.model.logits(hidden)
        if greedy:
            tokens = argmax(scores)
        else:
            _, _, seeds, indices, top_k = self.slot_ints[:, rows].unbind()
            temperature, top_p, min_p = self.slot_floats[:, rows].unbind()
            tokens = sample(scores, temperature, top_p, top_k.int(), min_p, seeds, indices)
        tokens = self.shard.broadcast(tokens)  # ranks that drew different ones would go different ways for good
        store_step_outputs(self.slot_ints, rows, tokens, self.padding_slot, added)
        return tokens, _logprobs(scores, tokens.clamp(min=0)) if logprobs else None


class GraphInput(NamedTuple):
    """Numbers that a step begins with, [fields, count]; up to `size` they are filled up with the fields of `filler`."""

    values: Array
    size: int
    padding: tuple[int, ...]

    def padded(self, count: int | None = None) -> Array:
        """[fields, size], with all of the values or only the first `count`."""
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
    """CUDA graphs of steps, one for each shape of their inputs and each setting; on a CPU the steps are just run."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.captured: dict[Any, _CapturedGraph] = {}
        self.pool: Any = torch.cuda.graph_pool_handle() if device.type == "cuda" else None

    def run(
        self, step: Callable[..., tuple[Tensor, Tensor | None]], inputs: Sequence[GraphInput], **settings: Any
    ) -> tuple[Tensor, Tensor | None]:
        """`step(*inputs, **settings)`; the tensors that come back hold until the next call."""
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
    """The numbers on the host, once the device has got there; what follows on the device does not wait."""
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
    """Logprobs of one token a row; scores [rows, vocab] fp32."""
    return scores.gather(-1, tokens[:, None]).squeeze(-1) - scores.logsumexp(-1)


def _likelihoods(logprobs: Tensor, best: Tensor) -> list[TokenLogprob]:
    return [TokenLogprob(*pair) for pair in zip(logprobs.tolist(), best.tolist(), strict=True)]


def _round_up(number: int, start: int) -> int:
    """The least of least, twice least, … that is no less than a number: few different ones, so few graphs."""
    while start < number:
        start *= 2
    return start
