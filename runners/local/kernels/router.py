# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,import-untyped"
"""Routers in Triton: tokens in bf16, scores in fp32, the best experts picked without a sort.

An fp32 weight is the exact sum of three numbers of bf16, whose products with bf16 tokens are exact in fp32: so tensor
cores do what a product in fp32 would, and tokens are read once as they are. For few tokens the width is split over
programs; `_choose` adds up the parts, always in the same order.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

Tile = tuple[int, int, int, int, int]
"""Tokens of one program, depth of one load, warps, loads under way, programs that are wanted at least."""

PICKED = 2048
"""Scores that one program picks from, of one token or several."""


def tile_for(tokens: int, weight: Tensor) -> Tile:
    """Few tokens are one row of tiles; many experts, above all in fp32, must leave room for each other."""
    rows = 16 if tokens <= 1024 else 64
    if len(weight) <= 64:
        return rows, 128, 4, 4, 128
    return rows, 64, 4 if rows == 16 else 8, 3 if weight.dtype == torch.bfloat16 else 2, 128


def logits(x: Tensor, weight: Tensor, *, tile: Tile | None = None) -> Tensor:
    """See `ops.router.logits`; x bf16, weight bf16 or fp32."""
    parts = _parts(x, weight, tile)
    return parts[0] if len(parts) == 1 else parts.sum(0)


def route(
    x: Tensor,
    weight: Tensor,
    chosen: int,
    *,
    sigmoid: bool = False,
    renormalise: bool = True,
    floor: float = 0.0,
    scaling: float = 1.0,
    tile: Tile | None = None,
) -> tuple[Tensor, Tensor]:
    """Weights fp32 and ids int64 [tokens, chosen], see `ops.router.route`; the lower id of two equal scores wins."""
    parts = _parts(x, weight, tile)
    splits, tokens, experts = parts.shape
    weights = torch.empty(tokens, chosen, dtype=torch.float32, device=x.device)
    ids = torch.empty(tokens, chosen, dtype=torch.int64, device=x.device)
    wide = triton.next_power_of_2(experts)
    rows = 1 if splits > 1 else max(PICKED // wide, 1)
    if tokens:
        _choose[(triton.cdiv(tokens, rows),)](
            parts, weights, ids, tokens, floor, scaling, splits, triton.next_power_of_2(splits), experts, chosen,
            triton.next_power_of_2(chosen), sigmoid, renormalise, rows, wide, num_warps=4,
        )  # fmt: skip
    return weights, ids


def _parts(x: Tensor, weight: Tensor, tile: Tile | None) -> Tensor:
    """Scores [splits, tokens, experts] fp32, to be summed over the splits."""
    tokens, (experts, depth) = len(x), weight.shape
    rows, deep, warps, stages, programs = tile or tile_for(tokens, weight)
    blocks = max(triton.cdiv(tokens, rows), 1)
    loads = triton.cdiv(depth, deep)
    each = triton.cdiv(loads, min(max(programs // blocks, 1), loads, 32))
    splits = triton.cdiv(loads, each)
    parts = torch.empty(splits, tokens, experts, dtype=torch.float32, device=x.device)
    if tokens:
        _logits[(blocks, splits)](
            x, weight, parts, tokens, each, x.stride(0), experts, depth, rows,
            max(triton.next_power_of_2(experts), 16), deep, stages, weight.dtype == torch.float32,
            tl.bfloat16 if x.is_cuda else tl.float32, num_warps=warps,
        )  # fmt: skip
    return parts


@triton.jit(do_not_specialize=["tokens", "each"])
def _logits(
    x, weight, parts, tokens, each, stride, experts: tl.constexpr, depth: tl.constexpr, rows: tl.constexpr,
    wide: tl.constexpr, deep: tl.constexpr, stages: tl.constexpr, exact: tl.constexpr,
    operand: tl.constexpr,
):  # fmt: skip
    """Scores of some tokens for all experts, over `each` loads of the width."""
    token = tl.program_id(0).to(tl.int64) * rows + tl.arange(0, rows)
    expert = tl.arange(0, wide)
    at = tl.arange(0, deep)
    begin = tl.program_id(1) * each * deep
    sums = tl.zeros([rows, wide], tl.float32)
    for first in tl.range(begin, begin + each * deep, deep, num_stages=stages):
        inside = (first + at < depth)[None]
        given = tl.load(x + token[:, None] * stride + first + at[None], (token < tokens)[:, None] & inside, 0.0)
        held = tl.load(weight + expert[:, None] * depth + first + at[None], (expert < experts)[:, None] & inside, 0.0)
        given = given.to(operand)
        high = held.to(tl.bfloat16)
        if exact:
            rest = held - high.to(tl.float32)
            middle = rest.to(tl.bfloat16)
            low = (rest - middle.to(tl.float32)).to(tl.bfloat16)
            sums = tl.dot(given, tl.trans(low.to(operand)), sums, input_precision="ieee")
            sums = tl.dot(given, tl.trans(middle.to(operand)), sums, input_precision="ieee")
        sums = tl.dot(given, tl.trans(high.to(operand)), sums, input_precision="ieee")
    place = parts + (tl.program_id(1).to(tl.int64) * tokens + token)[:, None] * experts + expert[None]
    tl.store(place, sums, (token < tokens)[:, None] & (expert < experts)[None])


@triton.jit(do_not_specialize=["tokens", "splits"])
def _choose(
    parts, weights, ids, tokens, floor, scaling, splits, splits_pad: tl.constexpr, experts: tl.constexpr,
    chosen: tl.constexpr, pad: tl.constexpr, sigmoid: tl.constexpr, renormalise: tl.constexpr, rows: tl.constexpr,
    wide: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64) * rows + tl.arange(0, rows)
    known = (token < tokens)[:, None]
    expert = tl.arange(0, wide)
    split = tl.arange(0, splits_pad)
    place = (split[None, :] * tokens + token[:, None])[:, :, None] * experts + expert[None, None]
    there = (known & (split < splits)[None])[:, :, None] & (expert < experts)[None, None]
    scores = tl.sum(tl.load(parts + place, there, 0.0), 1)
    real = (expert < experts)[None]
    if sigmoid:
        chances = tl.sigmoid(scores)
    else:
        scores = tl.where(real, scores, float("-inf"))
        chances = tl.exp(scores - tl.max(scores, 1)[:, None])
        chances = chances / tl.sum(chances, 1)[:, None]
    left = tl.where(real, chances, float("-inf"))
    slot = tl.arange(0, pad)[None]
    shares = tl.zeros([rows, pad], tl.float32)
    which = tl.zeros([rows, pad], tl.int64)
    total = tl.zeros([rows], tl.float32)
    for choice in tl.static_range(chosen):
        # Where scores are NaN none equals the best: the last expert then carries the NaN on.
        first = tl.min(tl.where((left == tl.max(left, 1)[:, None]) & real, expert[None], experts - 1), 1)
        mine = expert[None] == first[:, None]
        share = tl.sum(tl.where(mine, chances, 0.0), 1)
        shares = tl.where(slot == choice, share[:, None], shares)
        which = tl.where(slot == choice, first[:, None].to(tl.int64), which)
        total += share
        left = tl.where(mine, float("-inf"), left)
    if renormalise:
        shares = shares / (total + floor)[:, None]
    stored = token[:, None] * chosen + slot
    tl.store(weights + stored, shares * scaling, known & (slot < chosen))
    tl.store(ids + stored, which, known & (slot < chosen))
