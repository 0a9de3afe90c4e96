# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,import-untyped"
"""Drawing tokens without sorting: each filter is a cutoff score, found by narrowing an interval that must hold it.

A row is cut into chunks, a fixed number for its vocabulary. `_best` finds the maximum of each; `_narrow` counts, for a
ladder of scores across the interval, the tokens or the mass above each of its rungs, and all programs of the next pass
sum these in the same order and narrow in the same way; `_keep` sums what each chunk keeps; `_pick` finds the chunk and
then the token where the number of the row falls. Nothing is atomic, so a row's token never depends on its neighbours.
Scores are taken relative to the greatest and over temperature; more than FLOOR below it there is no mass to speak of.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..ops.sample import COLD, FIRST, GOLDEN, SECOND
from .pdl import launch_options, use_pdl, wait_for_previous

CHUNK = 4096
RUNGS = 32
PASSES = 4
FLOOR = 32.0
"""FLOOR / RUNGS ** PASSES = 3e-5: scores closer than that to a cutoff may fall on either side of it."""


def argmax(scores: Tensor, *, chunk: int | None = None, warps: int = 4) -> Tensor:
    """See `ops.sample.argmax`; `chunk` tokens are one program's."""
    rows = len(scores)
    tokens = torch.empty(rows, dtype=torch.int64, device=scores.device)
    if rows:
        best, place, _, _ = _bests(scores, chunk or (1024 if rows < 16 else CHUNK), warps)
        chunks, use = best.shape[1], use_pdl()
        pad = triton.next_power_of_2(chunks)
        _greedy[(rows,)](best, place, tokens, chunks, pad, use, num_warps=1, **launch_options(use))
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
    """See `ops.sample.sample`; `chunk` tokens are one program's."""
    rows, vocab = scores.shape
    tokens = torch.empty(rows, dtype=torch.int64, device=scores.device)
    if not rows:
        return tokens
    best, place, scores, chunk = _bests(scores, chunk, warps)
    chunks, stride = best.shape[1], scores.stride(0)
    pad = triton.next_power_of_2(chunks)
    grid, use = (rows, chunks), use_pdl()
    settings = (temperature, top_p, top_k, min_p)
    lows = torch.empty(2 * PASSES, rows, 2, dtype=torch.float32, device=scores.device)
    parts = torch.empty(2, rows, chunks, RUNGS, dtype=torch.float32, device=scores.device)
    limits = torch.empty(rows, dtype=torch.float32, device=scores.device)
    for number in range(2 * PASSES):
        _narrow[grid](
            scores, best, lows, parts, limits, *settings, stride, rows, vocab, chunks, pad, chunk, RUNGS, PASSES,
            FLOOR, COLD, use, number, num_warps=warps, **launch_options(use),
        )  # fmt: skip
    masses = torch.empty(rows, chunks, dtype=torch.float64, device=scores.device)
    cuts = torch.empty(rows, dtype=torch.float32, device=scores.device)
    _keep[grid](
        scores, best, lows, parts, limits, *settings, masses, cuts, stride, rows, vocab, chunks, pad, chunk, RUNGS,
        PASSES, FLOOR, COLD, use, num_warps=warps, **launch_options(use),
    )  # fmt: skip
    _pick[(rows,)](
        scores, best, place, *settings, masses, cuts, seeds, indices, tokens, stride, vocab, chunks, pad, chunk, COLD,
        GOLDEN, FIRST, SECOND, use, num_warps=warps, **launch_options(use),
    )  # fmt: skip
    return tokens


def _bests(scores: Tensor, chunk: int, warps: int) -> tuple[Tensor, Tensor, Tensor, int]:
    """The greatest score of each chunk and where it is, [rows, chunks]; the scores as they lie now, tokens a chunk."""
    rows, vocab = scores.shape
    scores = scores if scores.stride(1) == 1 else scores.contiguous()
    chunk = min(chunk, max(triton.next_power_of_2(vocab), 16))
    chunks, use = triton.cdiv(vocab, chunk), use_pdl()
    best = torch.empty(rows, chunks, dtype=torch.float32, device=scores.device)
    place = torch.empty(rows, chunks, dtype=torch.int32, device=scores.device)
    _best[(rows, chunks)](
        scores, best, place, scores.stride(0), vocab, chunks, chunk, use, num_warps=warps, **launch_options(use)
    )
    return best, place, scores, chunk


@triton.jit
def _best(scores, best, place, stride, vocab, chunks, chunk: tl.constexpr, pdl: tl.constexpr):
    """The greatest score of each chunk, infinite where there is NaN, and the first token that has it."""
    row = tl.program_id(0).to(tl.int64)
    number = tl.program_id(1)
    at = number * chunk + tl.arange(0, chunk)
    wait_for_previous(pdl)
    value = tl.load(scores + row * stride + at, at < vocab, float("-inf"))
    value = tl.where(value == value, value, float("inf"))  # noqa: PLR0124  NaN is not
    top = tl.max(value, 0)
    tl.store(best + row * chunks + number, top)
    tl.store(place + row * chunks + number, tl.min(tl.where((value == top) & (at < vocab), at, vocab), 0))


@triton.jit
def _top(best, row, chunks, pad: tl.constexpr):
    """The greatest score of a row, and whether it is a number."""
    at = tl.arange(0, pad)
    top = tl.max(tl.load(best + row * chunks + at, at < chunks, float("-inf")), 0)
    return top, (top < float("inf")) & (top > float("-inf"))


@triton.jit
def _argmax(best, place, row, chunks, pad: tl.constexpr):
    """The first token that has the greatest score of the row, -1 where that is no number."""
    at = tl.arange(0, pad)
    values = tl.load(best + row * chunks + at, at < chunks, float("-inf"))
    top, valid = _top(best, row, chunks, pad)
    tokens = tl.load(place + row * chunks + at, at < chunks, 0)
    token = tl.min(tl.where((values == top) & (at < chunks), tokens, 2147483647), 0)
    return tl.where(valid, token, -1).to(tl.int64)


@triton.jit
def _greedy(best, place, tokens, chunks, pad: tl.constexpr, pdl: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    wait_for_previous(pdl)
    tl.store(tokens + row, _argmax(best, place, row, chunks, pad))


@triton.jit
def _needs(temperature, top_p, top_k, row, vocab, cold: tl.constexpr):
    """Whether a row is drawn at all, is limited by top_k, and is limited by top_p."""
    k = tl.load(top_k + row)
    drawn = (tl.load(temperature + row) >= cold) & (k != 1)
    return drawn, drawn & (k > 0) & (k < vocab), drawn & (tl.load(top_p + row) < 1.0)


@triton.jit
def _rung(low, high, number, rungs: tl.constexpr):
    return low + (high - low) * (number * (1.0 / rungs))


@triton.jit
def _interval(
    lows, parts, limits, top_p, top_k, row, rows, chunks, number, by_count, by_mass, pad: tl.constexpr,
    rungs: tl.constexpr, passes: tl.constexpr, floor: tl.constexpr,
):  # fmt: skip
    """The interval of scores that holds the cutoff before pass `number`, and the mass that top_p asks for.

    Every program of a row finds the same from what the pass before left. A low end under the floor keeps every token.
    """
    low = tl.full([], -floor * 2, tl.float32)
    high = tl.zeros([], tl.float32)
    limit = tl.zeros([], tl.float32)
    if number > 0:
        if by_count | (number > passes):
            before = lows + ((number - 1) * rows + row) * 2
            low = tl.load(before)
            high = tl.load(before + 1)
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
            beyond = tl.sum((above >= limit).to(tl.int32), 0)
            bottom = _rung(low, high, (beyond - 1).to(tl.float32), rungs)
            high = tl.where(beyond < rungs, _rung(low, high, beyond.to(tl.float32), rungs), high)
            low = tl.where(beyond > 0, bottom, -floor * 2)
    if (number == 0) & by_count:
        low = tl.full([], -floor, tl.float32)
    if (number == passes) & by_mass:
        low = tl.maximum(low, -floor)
        high = tl.zeros([], tl.float32)
    return low, high, limit


@triton.jit(do_not_specialize=["number"])
def _narrow(
    scores, best, lows, parts, limits, temperature, top_p, top_k, min_p, stride, rows, vocab, chunks,
    pad: tl.constexpr, chunk: tl.constexpr, rungs: tl.constexpr, passes: tl.constexpr, floor: tl.constexpr,
    cold: tl.constexpr, pdl: tl.constexpr, number,
):  # fmt: skip
    wait_for_previous(pdl)
    row = tl.program_id(0).to(tl.int64)
    mine = tl.program_id(1)
    _drawn, by_count, by_mass = _needs(temperature, top_p, top_k, row, vocab, cold)
    top, valid = _top(best, row, chunks, pad)
    if not (valid & (by_count | (by_mass & (number >= passes)))):
        return
    low, high, limit = _interval(
        lows, parts, limits, top_p, top_k, row, rows, chunks, number, by_count, by_mass, pad, rungs, passes, floor
    )
    if mine == 0:
        tl.store(lows + (number * rows + row) * 2, low)
        tl.store(lows + (number * rows + row) * 2 + 1, high)
        if number > passes:
            tl.store(limits + row, limit)
    if (number >= passes) & (not by_mass):
        return
    at = mine * chunk + tl.arange(0, chunk)
    score = tl.load(scores + row * stride + at, at < vocab, float("-inf"))
    score = (score - top) / tl.load(temperature + row)
    weight = tl.where(number >= passes, tl.exp(score), 1.0)
    part = parts + (((number % 2) * rows + row) * chunks + mine) * rungs
    for rung in tl.static_range(rungs):
        above = tl.sum(tl.where(score > _rung(low, high, rung * 1.0, rungs), weight, 0.0), 0)
        tl.store(part + rung, above)


@triton.jit
def _kept(scores, top, temperature, min_p, low, row, at, stride, vocab):
    """The probabilities of these tokens over that of the likeliest, 0 for those not kept."""
    score = tl.load(scores + row * stride + at, at < vocab, float("-inf"))
    score = (score - top) / tl.load(temperature + row)
    least = tl.load(min_p + row)
    chance = tl.exp(score)
    return tl.where((score > low) & (chance >= least), chance, 0.0).to(tl.float64)


@triton.jit
def _keep(
    scores, best, lows, parts, limits, temperature, top_p, top_k, min_p, masses, cuts, stride, rows, vocab, chunks,
    pad: tl.constexpr, chunk: tl.constexpr, rungs: tl.constexpr, passes: tl.constexpr, floor: tl.constexpr,
    cold: tl.constexpr, pdl: tl.constexpr,
):  # fmt: skip
    wait_for_previous(pdl)
    row = tl.program_id(0).to(tl.int64)
    mine = tl.program_id(1)
    drawn, by_count, by_mass = _needs(temperature, top_p, top_k, row, vocab, cold)
    top, valid = _top(best, row, chunks, pad)
    if not (drawn & valid):
        return
    low = tl.full([], -floor * 2, tl.float32)
    if by_count | by_mass:
        low, _high, _limit = _interval(
            lows, parts, limits, top_p, top_k, row, rows, chunks, 2 * passes, by_count, by_mass, pad, rungs, passes,
            floor,
        )  # fmt: skip
    low = tl.where(low < -floor, float("-inf"), low)
    if mine == 0:
        tl.store(cuts + row, low)
    at = mine * chunk + tl.arange(0, chunk)
    tl.store(
        masses + row * chunks + mine, tl.sum(_kept(scores, top, temperature, min_p, low, row, at, stride, vocab), 0)
    )


@triton.jit
def _pick(
    scores, best, place, temperature, top_p, top_k, min_p, masses, cuts, seeds, indices, tokens, stride, vocab,
    chunks, pad: tl.constexpr, chunk: tl.constexpr, cold: tl.constexpr, golden: tl.constexpr, first: tl.constexpr,
    second: tl.constexpr, pdl: tl.constexpr,
):  # fmt: skip
    wait_for_previous(pdl)
    row = tl.program_id(0).to(tl.int64)
    drawn, _by_count, _by_mass = _needs(temperature, top_p, top_k, row, vocab, cold)
    top, valid = _top(best, row, chunks, pad)
    if not (drawn & valid):
        tl.store(tokens + row, _argmax(best, place, row, chunks, pad))
        return
    each = tl.arange(0, pad)
    mass = tl.load(masses + row * chunks + each, each < chunks, 0.0)
    goal = _number(seeds, indices, row, golden, first, second) * tl.sum(mass, 0)
    reached = tl.cumsum(mass, 0)
    last = tl.max(tl.where(mass > 0, each, 0), 0)
    mine = tl.minimum(tl.sum((reached <= goal).to(tl.int32), 0), last)
    goal -= tl.sum(tl.where(each < mine, mass, 0.0), 0)
    inner = tl.arange(0, chunk)
    low = tl.load(cuts + row)
    chance = _kept(scores, top, temperature, min_p, low, row, mine * chunk + inner, stride, vocab)
    found = tl.sum((tl.cumsum(chance, 0) <= goal).to(tl.int32), 0)
    last = tl.max(tl.where(chance > 0, inner, 0), 0)
    tl.store(tokens + row, (mine * chunk + tl.minimum(found, last)).to(tl.int64))


@triton.jit
def _number(seeds, indices, row, golden: tl.constexpr, first: tl.constexpr, second: tl.constexpr):
    """`ops.sample.number`."""
    word = _mix(tl.load(seeds + row).to(tl.uint64, bitcast=True), golden, first, second)
    word = _mix(word ^ tl.load(indices + row).to(tl.uint64, bitcast=True), golden, first, second)
    return (word >> 11).to(tl.int64).to(tl.float64) * (1.0 / 9007199254740992.0)


@triton.jit
def _mix(word, golden: tl.constexpr, first: tl.constexpr, second: tl.constexpr):
    word = word + golden
    word = (word ^ (word >> 30)) * first
    word = (word ^ (word >> 27)) * second
    return word ^ (word >> 31)
