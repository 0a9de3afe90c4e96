# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,import-untyped"
"""Sampling without sorting: each filter is a cutoff score, found by narrowing an interval that must contain it.

A row is cut into chunks, a fixed number for its vocabulary. `_chunk_max` finds the maximum of each; `_narrow` counts,
for a ladder of scores across the interval, the tokens or the mass above each of its rungs, and all programs of the next
pass sum these in the same order and narrow in the same way; `_chunk_mass` sums what each chunk keeps; `_select` finds
the chunk and then the token where the row's random number falls. Nothing is atomic, so a row's token never depends on
its neighbours. Scores are relative to the maximum and over temperature; mass more than FLOOR below it is negligible.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..ops.layout import GOLDEN, GREEDY, MIX_1, MIX_2
from .pdl import launch_options, use_pdl, wait_for_previous

CHUNK = 4096
RUNGS = 32
PASSES = 4
FLOOR = 32.0
"""FLOOR / RUNGS ** PASSES = 3e-5: scores closer than that to a cutoff may fall on either side of it."""


def argmax(scores: Tensor, *, chunk: int | None = None, warps: int = 4) -> Tensor:
    """See `ops.sample.argmax`; `chunk`: tokens of one program."""
    rows = len(scores)
    tokens = torch.empty(rows, dtype=torch.int64, device=scores.device)
    if rows:
        maxima, tokens_at, _, _ = _chunk_maxima(scores, chunk or (1024 if rows < 16 else CHUNK), warps)
        chunks, use = maxima.shape[1], use_pdl()
        pad = triton.next_power_of_2(chunks)
        _greedy[(rows,)](maxima, tokens_at, tokens, chunks, pad, use, num_warps=1, **launch_options(use))
    return tokens


def sample(
    scores: Tensor,
    temperature: Tensor,
    top_p: Tensor,
    top_k: Tensor,
    min_p: Tensor,
    seeds: Tensor,
    indices: Tensor,
    *,
    chunk: int = CHUNK,
    warps: int = 8,
) -> Tensor:
    """See `ops.sample.sample`; `chunk`: tokens of one program."""
    rows, vocab = scores.shape
    tokens = torch.empty(rows, dtype=torch.int64, device=scores.device)
    if not rows:
        return tokens
    maxima, tokens_at, scores, chunk = _chunk_maxima(scores, chunk, warps)
    chunks, stride = maxima.shape[1], scores.stride(0)
    pad = triton.next_power_of_2(chunks)
    grid, use = (rows, chunks), use_pdl()
    settings = (temperature, top_p, top_k, min_p)
    intervals = torch.empty(2 * PASSES, rows, 2, dtype=torch.float32, device=scores.device)
    parts = torch.empty(2, rows, chunks, RUNGS, dtype=torch.float32, device=scores.device)
    limits = torch.empty(rows, dtype=torch.float32, device=scores.device)
    for number in range(2 * PASSES):
        _narrow[grid](
            scores, maxima, intervals, parts, limits, *settings, stride, rows, vocab, chunks, pad, chunk, RUNGS,
            PASSES, FLOOR, GREEDY, use, number, num_warps=warps, **launch_options(use),
        )  # fmt: skip
    masses = torch.empty(rows, chunks, dtype=torch.float64, device=scores.device)
    cuts = torch.empty(rows, dtype=torch.float32, device=scores.device)
    _chunk_mass[grid](
        scores, maxima, intervals, parts, limits, *settings, masses, cuts, stride, rows, vocab, chunks, pad, chunk,
        RUNGS, PASSES, FLOOR, GREEDY, use, num_warps=warps, **launch_options(use),
    )  # fmt: skip
    _select[(rows,)](
        scores, maxima, tokens_at, *settings, masses, cuts, seeds, indices, tokens, stride, vocab, chunks, pad, chunk,
        GREEDY, GOLDEN, MIX_1, MIX_2, use, num_warps=warps, **launch_options(use),
    )  # fmt: skip
    return tokens


def _chunk_maxima(scores: Tensor, chunk: int, warps: int) -> tuple[Tensor, Tensor, Tensor, int]:
    """Maximum of each chunk and its token, [rows, chunks]; the scores, contiguous by row; tokens per chunk."""
    rows, vocab = scores.shape
    scores = scores if scores.stride(1) == 1 else scores.contiguous()
    chunk = min(chunk, max(triton.next_power_of_2(vocab), 16))
    chunks, use = triton.cdiv(vocab, chunk), use_pdl()
    maxima = torch.empty(rows, chunks, dtype=torch.float32, device=scores.device)
    tokens_at = torch.empty(rows, chunks, dtype=torch.int32, device=scores.device)
    _chunk_max[(rows, chunks)](
        scores, maxima, tokens_at, scores.stride(0), vocab, chunks, chunk, use, num_warps=warps, **launch_options(use)
    )
    return maxima, tokens_at, scores, chunk


@triton.jit
def _chunk_max(scores, maxima, tokens_at, stride, vocab, chunks, chunk: tl.constexpr, pdl: tl.constexpr):
    """The maximum of each chunk, infinite where there is NaN, and the first token that has it."""
    row = tl.program_id(0).to(tl.int64)
    number = tl.program_id(1)
    offs = number * chunk + tl.arange(0, chunk)
    wait_for_previous(pdl)
    value = tl.load(scores + row * stride + offs, offs < vocab, float("-inf"))
    value = tl.where(value == value, value, float("inf"))  # noqa: PLR0124  NaN is not
    top = tl.max(value, 0)
    tl.store(maxima + row * chunks + number, top)
    tl.store(tokens_at + row * chunks + number, tl.min(tl.where((value == top) & (offs < vocab), offs, vocab), 0))


@triton.jit
def _maximum(maxima, row, chunks, pad: tl.constexpr):
    """The maximum of a row, and whether it is finite."""
    offs = tl.arange(0, pad)
    top = tl.max(tl.load(maxima + row * chunks + offs, offs < chunks, float("-inf")), 0)
    return top, (top < float("inf")) & (top > float("-inf"))


@triton.jit
def _argmax(maxima, tokens_at, row, chunks, pad: tl.constexpr):
    """The first token with the maximum of the row, -1 where that is not finite."""
    offs = tl.arange(0, pad)
    values = tl.load(maxima + row * chunks + offs, offs < chunks, float("-inf"))
    top, valid = _maximum(maxima, row, chunks, pad)
    tokens = tl.load(tokens_at + row * chunks + offs, offs < chunks, 0)
    token = tl.min(tl.where((values == top) & (offs < chunks), tokens, 2147483647), 0)
    return tl.where(valid, token, -1).to(tl.int64)


@triton.jit
def _greedy(maxima, tokens_at, tokens, chunks, pad: tl.constexpr, pdl: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    wait_for_previous(pdl)
    tl.store(tokens + row, _argmax(maxima, tokens_at, row, chunks, pad))


@triton.jit
def _filters(temperature, top_p, top_k, row, vocab, greedy: tl.constexpr):
    """Whether a row is sampled at all, is limited by top_k, and is limited by top_p."""
    k = tl.load(top_k + row)
    sampled = (tl.load(temperature + row) >= greedy) & (k != 1)
    return sampled, sampled & (k > 0) & (k < vocab), sampled & (tl.load(top_p + row) < 1.0)


@triton.jit
def _rung(low, high, number, rungs: tl.constexpr):
    return low + (high - low) * (number * (1.0 / rungs))


@triton.jit
def _interval(
    intervals, parts, limits, top_p, top_k, row, rows, chunks, number, by_count, by_mass, pad: tl.constexpr,
    rungs: tl.constexpr, passes: tl.constexpr, floor: tl.constexpr,
):  # fmt: skip
    """The interval of scores that contains the cutoff before pass `number`, and the mass that top_p keeps.

    Every program of a row computes the same from the previous pass. A low end under the floor keeps every token.
    """
    low = tl.full([], -floor * 2, tl.float32)
    high = tl.zeros([], tl.float32)
    limit = tl.zeros([], tl.float32)
    if number > 0:
        if by_count | (number > passes):
            previous = intervals + ((number - 1) * rows + row) * 2
            low = tl.load(previous)
            high = tl.load(previous + 1)
        if tl.where(number <= passes, by_count, by_mass):
            chunk = tl.arange(0, pad)[:, None]
            rung = tl.arange(0, rungs)
            part = parts + ((((number - 1) % 2) * rows + row) * chunks + chunk) * rungs + rung[None]
            above = tl.sum(tl.load(part, chunk < chunks, 0.0), 0)
            if number <= passes:
                limit = tl.load(top_k + row).to(tl.float32)
            elif number == passes + 1:
                limit = tl.load(top_p + row) * tl.max(above, 0)
            else:
                limit = tl.load(limits + row)
            rungs_above = tl.sum((above >= limit).to(tl.int32), 0)
            bottom = _rung(low, high, (rungs_above - 1).to(tl.float32), rungs)
            high = tl.where(rungs_above < rungs, _rung(low, high, rungs_above.to(tl.float32), rungs), high)
            low = tl.where(rungs_above > 0, bottom, -floor * 2)
    if (number == 0) & by_count:
        low = tl.full([], -floor, tl.float32)
    if (number == passes) & by_mass:
        low = tl.maximum(low, -floor)
        high = tl.zeros([], tl.float32)
    return low, high, limit


@triton.jit(do_not_specialize=["number"])
def _narrow(
    scores, maxima, intervals, parts, limits, temperature, top_p, top_k, min_p, stride, rows, vocab, chunks,
    pad: tl.constexpr, chunk: tl.constexpr, rungs: tl.constexpr, passes: tl.constexpr, floor: tl.constexpr,
    greedy: tl.constexpr, pdl: tl.constexpr, number,
):  # fmt: skip
    wait_for_previous(pdl)
    row = tl.program_id(0).to(tl.int64)
    chunk_id = tl.program_id(1)
    _sampled, by_count, by_mass = _filters(temperature, top_p, top_k, row, vocab, greedy)
    top, valid = _maximum(maxima, row, chunks, pad)
    if not (valid & (by_count | (by_mass & (number >= passes)))):
        return
    low, high, limit = _interval(
        intervals, parts, limits, top_p, top_k, row, rows, chunks, number, by_count, by_mass, pad, rungs, passes, floor
    )
    if chunk_id == 0:
        tl.store(intervals + (number * rows + row) * 2, low)
        tl.store(intervals + (number * rows + row) * 2 + 1, high)
        if number > passes:
            tl.store(limits + row, limit)
    if (number >= passes) & (not by_mass):
        return
    offs = chunk_id * chunk + tl.arange(0, chunk)
    score = tl.load(scores + row * stride + offs, offs < vocab, float("-inf"))
    score = (score - top) / tl.load(temperature + row)
    weight = tl.where(number >= passes, tl.exp(score), 1.0)
    part = parts + (((number % 2) * rows + row) * chunks + chunk_id) * rungs
    for rung in tl.static_range(rungs):
        above = tl.sum(tl.where(score > _rung(low, high, rung * 1.0, rungs), weight, 0.0), 0)
        tl.store(part + rung, above)


@triton.jit
def _kept_probs(scores, top, temperature, min_p, low, row, offs, stride, vocab):
    """Probabilities of these tokens over the maximum, 0 for those not kept."""
    score = tl.load(scores + row * stride + offs, offs < vocab, float("-inf"))
    score = (score - top) / tl.load(temperature + row)
    floor = tl.load(min_p + row)
    prob = tl.exp(score)
    return tl.where((score > low) & (prob >= floor), prob, 0.0).to(tl.float64)


@triton.jit
def _chunk_mass(
    scores, maxima, intervals, parts, limits, temperature, top_p, top_k, min_p, masses, cuts, stride, rows, vocab,
    chunks, pad: tl.constexpr, chunk: tl.constexpr, rungs: tl.constexpr, passes: tl.constexpr, floor: tl.constexpr,
    greedy: tl.constexpr, pdl: tl.constexpr,
):  # fmt: skip
    wait_for_previous(pdl)
    row = tl.program_id(0).to(tl.int64)
    chunk_id = tl.program_id(1)
    sampled, by_count, by_mass = _filters(temperature, top_p, top_k, row, vocab, greedy)
    top, valid = _maximum(maxima, row, chunks, pad)
    if not (sampled & valid):
        return
    low = tl.full([], -floor * 2, tl.float32)
    if by_count | by_mass:
        low, _high, _limit = _interval(
            intervals, parts, limits, top_p, top_k, row, rows, chunks, 2 * passes, by_count, by_mass, pad, rungs,
            passes, floor,
        )  # fmt: skip
    low = tl.where(low < -floor, float("-inf"), low)
    if chunk_id == 0:
        tl.store(cuts + row, low)
    offs = chunk_id * chunk + tl.arange(0, chunk)
    probs = _kept_probs(scores, top, temperature, min_p, low, row, offs, stride, vocab)
    tl.store(masses + row * chunks + chunk_id, tl.sum(probs, 0))


@triton.jit
def _select(
    scores, maxima, tokens_at, temperature, top_p, top_k, min_p, masses, cuts, seeds, indices, tokens, stride, vocab,
    chunks, pad: tl.constexpr, chunk: tl.constexpr, greedy: tl.constexpr, golden: tl.constexpr, first: tl.constexpr,
    second: tl.constexpr, pdl: tl.constexpr,
):  # fmt: skip
    wait_for_previous(pdl)
    row = tl.program_id(0).to(tl.int64)
    sampled, _by_count, _by_mass = _filters(temperature, top_p, top_k, row, vocab, greedy)
    top, valid = _maximum(maxima, row, chunks, pad)
    if not (sampled & valid):
        tl.store(tokens + row, _argmax(maxima, tokens_at, row, chunks, pad))
        return
    chunk_ids = tl.arange(0, pad)
    mass = tl.load(masses + row * chunks + chunk_ids, chunk_ids < chunks, 0.0)
    target = _uniform(seeds, indices, row, golden, first, second) * tl.sum(mass, 0)
    cumulative = tl.cumsum(mass, 0)
    last = tl.max(tl.where(mass > 0, chunk_ids, 0), 0)
    chunk_id = tl.minimum(tl.sum((cumulative <= target).to(tl.int32), 0), last)
    target -= tl.sum(tl.where(chunk_ids < chunk_id, mass, 0.0), 0)
    inner = tl.arange(0, chunk)
    low = tl.load(cuts + row)
    prob = _kept_probs(scores, top, temperature, min_p, low, row, chunk_id * chunk + inner, stride, vocab)
    position = tl.sum((tl.cumsum(prob, 0) <= target).to(tl.int32), 0)
    last = tl.max(tl.where(prob > 0, inner, 0), 0)
    tl.store(tokens + row, (chunk_id * chunk + tl.minimum(position, last)).to(tl.int64))


@triton.jit
def _uniform(seeds, indices, row, golden: tl.constexpr, first: tl.constexpr, second: tl.constexpr):
    """`ops.sample.uniform`."""
    word = _mix(tl.load(seeds + row).to(tl.uint64, bitcast=True), golden, first, second)
    word = _mix(word ^ tl.load(indices + row).to(tl.uint64, bitcast=True), golden, first, second)
    return (word >> 11).to(tl.int64).to(tl.float64) * (1.0 / 9007199254740992.0)


@triton.jit
def _mix(word, golden: tl.constexpr, first: tl.constexpr, second: tl.constexpr):
    word = word + golden
    word = (word ^ (word >> 30)) * first
    word = (word ^ (word >> 27)) * second
    return word ^ (word >> 31)
