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

from .cache import BLOCK
from .models import Language
from .ops.experts import SEPARATE
from .ops.layout import INDEX, LENGTH
from .ops.sample import argmax, sample
from .ops.slot_mapping import load_step_inputs, store_step_outputs
from .parallel import ALONE, Shard
from .sequence import Likelihood, Piece, Plan, Result, Seat
from .step import Array, Drawing, Part, Pools, Reading, send

SCORED = 256
"""Places whose next token is scored at once; each costs a row of the whole vocabulary."""
SMALL, NEAR = 256, 2048
"""So many given tokens are computed as rows, when none stands farther on than that."""


class Device:
    """Runs plans of up to `rows` sequences of up to `window` tokens.

    `graphs`: by CUDA graphs where the step is small. `invariant`: all steps of drawing have the same shape, so that no
    library chooses other products, and so other roundings, because of what else is in the batch. `shard`: the part of
    the model that is here; all ranks must run the same plans.
    """

    def __init__(
        self,
        model: Language,
        pools: Pools,
        *,
        rows: int,
        window: int,
        graphs: bool,
        invariant: bool = False,
        shard: Shard = ALONE,
    ) -> None:
        self.model, self.pools, self.device = model, pools, pools.device
        self.spare, self.invariant, self.shard = rows, invariant, shard
        self.most = -(-window // BLOCK)
        self.blocks = np.zeros((rows + 1, self.most), dtype=np.int32)
        self.tables = torch.zeros(rows + 1, self.most, dtype=torch.int32, device=self.device)
        self.ints = torch.zeros(5, rows + 1, dtype=torch.int64, device=self.device)
        self.reals = torch.zeros(3, rows + 1, device=self.device)
        self.graphs = Graphs(self.device) if graphs else None
        self.sizes = (
            [rows] if invariant else sorted({*(n for n in (1, 2, 4, 8, *range(16, rows, 16)) if n < rows), rows})
        )

    @torch.inference_mode()
    def run(self, plan: Plan) -> Callable[[], Result]:
        """Start a step; the function that comes back waits for what it found. RunnerError if memory runs out."""
        try:
            return self._run(plan)
        except torch.OutOfMemoryError as error:
            tokens = sum(len(piece.ids) for piece in plan.pieces) or len(plan.rows)
            raise RunnerError(
                f"local: {self.device} ran out of memory in a step of {tokens} tokens: lower -o chunk, -o batch or "
                f"-o memory (GiB for the cache)"
            ) from error

    def _run(self, plan: Plan) -> Callable[[], Result]:
        self._prepare(plan.seats, plan.tables)
        if plan.pieces:
            found = self._read_small(plan, self.graphs) if self.graphs and self._small(plan) else self._read(plan)
        else:
            before = SEPARATE.set(self.invariant)
            try:
                found = self._drawn(plan)
            finally:
                SEPARATE.reset(before)
        for row, snapshot in plan.saves:
            self.pools.save(row, snapshot)
        return found

    def _prepare(self, seats: Sequence[Seat], tables: Sequence[tuple[int, int, list[int]]]) -> None:
        for row, at, blocks in tables:
            self.blocks[row, at : at + len(blocks)] = blocks
        if tables:
            entries = [np.stack((np.full(len(b), row), np.arange(at, at + len(b)), b)) for row, at, b in tables]
            rows, columns, blocks_ = send(np.concatenate(entries, 1), self.device)
            self.tables[rows, columns] = blocks_.int()
        for seat in seats:
            self.pools.begin(seat.row, seat.snapshot)
        if seats:
            draws = [seat.draw for seat in seats]
            ints = [(0, 0, draw.seed, 0, draw.top_k, seat.row) for seat, draw in zip(seats, draws, strict=True)]
            reals = [(draw.temperature, draw.top_p, draw.min_p) for draw in draws]
            *values, at_ = send(np.array(ints, dtype=np.int64).T.copy(), self.device)
            self.ints[:, at_] = torch.stack(values)
            self.reals[:, at_] = send(np.array(reals, dtype=np.float32).T.copy(), self.device)

    def _read(self, plan: Plan) -> Callable[[], Result]:
        pieces = plan.pieces
        step = Reading(self.pools, [self._part(piece) for piece in pieces])
        ids = np.concatenate([piece.ids for piece in pieces])
        hidden = self.model(send(ids, self.device), step)
        scored = [self._score(hidden, begin, piece) for begin, piece in zip(step.begins, pieces, strict=True)]
        self._mark(pieces)
        ready = [(end - 1, piece.row) for end, piece in zip(step.ends, pieces, strict=True) if piece.nth >= 0]
        if not ready:
            return lambda: Result([], [], [_likelihoods(*found) for found in scored])
        ends, rows = send(np.array(ready, dtype=np.int64).T.copy(), self.device)
        tokens, logprobs = self._choose(hidden[ends], rows, greedy=plan.greedy, logprobs=plan.logprobs)
        later = _later(tokens, logprobs, len(ready))
        return lambda: Result(*later(), [_likelihoods(*found) for found in scored])

    def _mark(self, pieces: Sequence[Piece]) -> None:
        """Note how far the rows of these pieces are."""
        marks = [(p.row, p.begin + len(p.ids), max(p.nth, 0)) for p in pieces]
        rows, lengths, indices = send(np.array(marks, dtype=np.int64).T.copy(), self.device)
        self.ints[LENGTH, rows], self.ints[INDEX, rows] = lengths, indices

    def _small(self, plan: Plan) -> bool:
        """Whether the pieces are better computed as rows, each token one of its own: their launch is what costs."""
        tokens = sum(len(piece.ids) for piece in plan.pieces)
        scored = any(piece.targets for piece in plan.pieces)
        states = len(self.pools.states) > 0
        return tokens <= SMALL and plan.longest <= NEAR and not (states or scored or self.invariant)

    def _read_small(self, plan: Plan, graphs: "Graphs") -> Callable[[], Result]:
        self._mark(plan.pieces)
        pieces = [(p.ids, np.full(len(p.ids), p.row), np.arange(p.begin, p.begin + len(p.ids))) for p in plan.pieces]
        tokens = np.concatenate([np.stack(each) for each in pieces], 1)
        ends = np.cumsum([len(piece.ids) for piece in plan.pieces]) - 1
        draws = [(end, piece.row) for end, piece in zip(ends, plan.pieces, strict=True) if piece.nth >= 0]
        inputs = [
            Input(tokens, _rounded(tokens.shape[1], 16), (0, self.spare, 0)),
            Input(np.array(draws, dtype=np.int64).reshape(-1, 2).T, _rounded(len(draws), 4), (0, self.spare)),
        ]
        longest = min(NEAR, self.most * BLOCK)
        found = graphs.run(self._rows, inputs, longest=longest, greedy=plan.greedy, logprobs=plan.logprobs)
        later = _later(*found, len(draws))
        return lambda: Result(*later(), [[] for _ in plan.pieces])

    def _rows(
        self, tokens: Tensor, draws: Tensor, *, longest: int, greedy: bool, logprobs: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Given tokens (id, row, place) [3, tokens], and a token drawn after some of them (which, row) [2, draws]."""
        ids, rows, places = tokens.unbind()
        step = Drawing(self.pools, rows, self.tables[rows, : longest // BLOCK], places, apart=False)
        hidden = self.model(ids, step)
        return self._choose(hidden[draws[0]], draws[1], greedy=greedy, logprobs=logprobs)

    def _part(self, piece: Piece) -> Part:
        length = piece.begin + len(piece.ids)
        return Part(piece.row, len(piece.ids), length, self.blocks[piece.row, : -(-length // BLOCK)])

    def _score(self, hidden: Tensor, begin: int, piece: Piece) -> tuple[Tensor, Tensor]:
        """Logprobs of a piece's targets, and whether each is the likeliest token."""
        first = begin + piece.scored
        targets = torch.tensor(piece.targets, dtype=torch.int64, device=self.device)
        logprobs, best = torch.empty(len(targets), device=self.device), torch.empty_like(targets, dtype=torch.bool)
        for at in range(0, len(targets), SCORED):
            wanted = targets[at : at + SCORED]
            scores = self.model.logits(hidden[first + at : first + at + len(wanted)])
            logprobs[at : at + SCORED] = _logprobs(scores, wanted)
            best[at : at + SCORED] = scores.argmax(-1) == wanted
        return logprobs, best

    def _drawn(self, plan: Plan) -> Callable[[], Result]:
        longest = self.most * BLOCK
        if not self.invariant:
            longest = min(_rounded(plan.longest, 4 * BLOCK), longest)
        size = next(size for size in self.sizes if size >= len(plan.rows))
        rows = Input(np.array([plan.rows], dtype=np.int64), size, (self.spare,))
        if self.graphs:
            found = self.graphs.run(self._draw, [rows], longest=longest, greedy=plan.greedy, logprobs=plan.logprobs)
        else:
            filled = send(rows.filled() if self.invariant else rows.values, self.device)
            found = self._draw(filled, longest=longest, greedy=plan.greedy, logprobs=plan.logprobs)
        later = _later(*found, len(plan.rows))
        return lambda: Result(*later(), [])

    def _draw(self, inputs: Tensor, *, longest: int, greedy: bool, logprobs: bool) -> tuple[Tensor, Tensor | None]:
        """One token for each of the rows [1, rows], on the device alone."""
        rows = inputs[0]
        ids, positions, tables, places = load_step_inputs(self.ints, self.tables[:, : longest // BLOCK], rows, BLOCK)
        step = Drawing(self.pools, rows, tables, positions, places=places)
        return self._choose(self.model(ids, step), rows, greedy=greedy, logprobs=logprobs, longer=1)

    def _choose(
        self, hidden: Tensor, rows: Tensor, *, greedy: bool, logprobs: bool, longer: int = 0
    ) -> tuple[Tensor, Tensor | None]:
        """The tokens and their logprobs; the rows are noted to have drawn them and to be `longer` more."""
        scores = self.model.logits(hidden)
        if greedy:
            tokens = argmax(scores)
        else:
            _, _, seeds, indices, top_k = self.ints[:, rows].unbind()
            temperature, top_p, min_p = self.reals[:, rows].unbind()
            tokens = sample(scores, temperature, top_p, top_k.int(), min_p, seeds, indices)
        tokens = self.shard.first(tokens)  # ranks that drew different ones would go different ways for good
        store_step_outputs(self.ints, rows, tokens, self.spare, longer)
        return tokens, _logprobs(scores, tokens.clamp(min=0)) if logprobs else None


class Input(NamedTuple):
    """Numbers that a step begins with, [fields, count]; up to `size` they are filled up with the fields of `filler`."""

    values: Array
    size: int
    filler: tuple[int, ...]

    def filled(self, count: int | None = None) -> Array:
        """[fields, size], with all of the values or only the first `count`."""
        found = np.repeat(np.array(self.filler, dtype=np.int64)[:, None], self.size, 1)
        own = self.values[:, :count]
        found[:, : own.shape[1]] = own
        return found


class _Captured(NamedTuple):
    graph: torch.cuda.CUDAGraph
    inputs: list[Tensor]
    held: list[Array]
    found: tuple[Tensor, Tensor | None]


class Graphs:
    """CUDA graphs of steps, one for each shape of their inputs and each setting; on a CPU the steps are just run."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.made: dict[Any, _Captured] = {}
        self.pool: Any = torch.cuda.graph_pool_handle() if device.type == "cuda" else None

    def run(
        self, step: Callable[..., tuple[Tensor, Tensor | None]], inputs: Sequence[Input], **settings: Any
    ) -> tuple[Tensor, Tensor | None]:
        """`step(*inputs, **settings)`; the tensors that come back hold until the next call."""
        if self.device.type == "cpu":
            return step(*[send(given.filled(), self.device) for given in inputs], **settings)
        key = (step.__name__, *(given.size for given in inputs), *settings.values())
        if key not in self.made:
            self.made[key] = self._capture(step, inputs, settings)
        graph, tensors, held, found = self.made[key]
        for i, (given, tensor) in enumerate(zip(inputs, tensors, strict=True)):
            if not np.array_equal(given.values, held[i]):
                tensor.copy_(send(given.filled(), self.device))
                held[i] = given.values
        graph.replay()
        return found

    def _capture(
        self, step: Callable[..., tuple[Tensor, Tensor | None]], inputs: Sequence[Input], settings: dict[str, Any]
    ) -> _Captured:
        idle = [given.filled(0) for given in inputs]
        tensors = [send(array, self.device) for array in idle]
        step(*tensors, **settings)  # kernels are compiled and libraries set up outside of the capture
        torch.cuda.synchronize(self.device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"):
            found = step(*tensors, **settings)
        return _Captured(graph, tensors, [array[:, :0] for array in idle], found)


def _later(
    tokens: Tensor, logprobs: Tensor | None, count: int | None = None
) -> Callable[[], tuple[list[int], list[float]]]:
    """The numbers on the host, once the device has got there; what follows on the device does not wait."""
    found = [None if x is None else x[:count] for x in (tokens, logprobs)]
    event = None
    if tokens.is_cuda:
        found = [
            None if x is None else torch.empty_like(x, device="cpu", pin_memory=True).copy_(x, True) for x in found
        ]
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()

    def wait() -> tuple[list[int], list[float]]:
        if event:
            event.synchronize()
        ints, reals = (None if x is None else x.tolist() for x in found)
        return ints or [], reals or []

    return wait


def _logprobs(scores: Tensor, tokens: Tensor) -> Tensor:
    """Logprobs of one token a row; scores [rows, vocab] fp32."""
    return scores.gather(-1, tokens[:, None]).squeeze(-1) - scores.logsumexp(-1)


def _likelihoods(logprobs: Tensor, best: Tensor) -> list[Likelihood]:
    return [Likelihood(*pair) for pair in zip(logprobs.tolist(), best.tolist(), strict=True)]


def _rounded(number: int, least: int) -> int:
    """The least of least, twice least, … that is no less than a number: few different ones, so few graphs."""
    while least < number:
        least *= 2
    return least
