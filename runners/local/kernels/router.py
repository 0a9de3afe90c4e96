# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,import-untyped"
"""Routers in Triton: tokens in bf16, scores in fp32, the best experts selected without a sort.

An fp32 weight is the exact sum of three numbers of bf16, whose products with bf16 tokens are exact in fp32: so tensor
cores do what a product in fp32 would, and tokens are read once as they are. For few tokens the width is split over
programs; `_choose` adds the parts, always in the same order.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..ops.layout import Routing

Tile = tuple[int, int, int, int, int]
"""Tokens of one program, depth of one load, warps, pipeline stages, minimum number of programs."""

SCORES = 2048
"""Scores of one program, of one token or several."""


def tile_for(tokens: int, weight: Tensor) -> Tile:
    """The tile: few tokens are one row of tiles; many experts, above all in fp32, need smaller ones."""
    rows = 16 if tokens <= 1024 else 64
    if len(weight) <= 64:
        return rows, 128, 4, 4, 128
    return rows, 64, 4 if rows == 16 else 8, 3 if weight.dtype == torch.bfloat16 else 2, 128


def logits(x: Tensor, weight: Tensor, *, tile: Tile | None = None) -> Tensor:
    """See `ops.router.logits`; x bf16, weight bf16 or fp32."""
    parts = _parts(x, weight, tile)
    return parts[0] if len(parts) == 1 else parts.sum(0)


def route(
    x: Tensor, weight: Tensor, correction: None, routing: Routing, *, tile: Tile | None = None
) -> tuple[Tensor, Tensor]:
    """See `ops.router.route`, without correction and groups; of two equal scores the lower id wins."""
    parts = _parts(x, weight, tile)
    (splits, tokens, experts), top_k = parts.shape, routing.top_k
    weights = torch.empty(tokens, top_k, dtype=torch.float32, device=x.device)
    ids = torch.empty(tokens, top_k, dtype=torch.int64, device=x.device)
    experts_pad = triton.next_power_of_2(experts)
    rows = 1 if splits > 1 else max(SCORES // experts_pad, 1)
    if tokens:
        _choose[(triton.cdiv(tokens, rows),)](
            parts, weights, ids, tokens, routing.eps, routing.scaling, splits, triton.next_power_of_2(splits), experts,
            top_k, triton.next_power_of_2(top_k), routing.scoring == "sigmoid", routing.renormalise, rows,
            experts_pad, num_warps=4,
        )  # fmt: skip
    return weights, ids


def _parts(x: Tensor, weight: Tensor, tile: Tile | None) -> Tensor:
    """Partial scores [splits, tokens, experts] fp32, to be summed over the splits."""
    tokens, (experts, depth) = len(x), weight.shape
    rows, chunk, warps, stages, programs = tile or tile_for(tokens, weight)
    blocks = max(triton.cdiv(tokens, rows), 1)
    loads = triton.cdiv(depth, chunk)
    loads_per_split = triton.cdiv(loads, min(max(programs // blocks, 1), loads, 32))
    splits = triton.cdiv(loads, loads_per_split)
    parts = torch.empty(splits, tokens, experts, dtype=torch.float32, device=x.device)
    if tokens:
        _logits[(blocks, splits)](
            x, weight, parts, tokens, loads_per_split, x.stride(0), experts, depth, rows,
            max(triton.next_power_of_2(experts), 16), chunk, stages, weight.dtype == torch.float32,
            tl.bfloat16 if x.is_cuda else tl.float32, num_warps=warps,
        )  # fmt: skip
    return parts


@triton.jit(do_not_specialize=["tokens", "loads_per_split"])
def _logits(
    x, weight, parts, tokens, loads_per_split, stride, experts: tl.constexpr, depth: tl.constexpr, rows: tl.constexpr,
    experts_pad: tl.constexpr, chunk: tl.constexpr, stages: tl.constexpr, exact: tl.constexpr,
    operand: tl.constexpr,
):  # fmt: skip
    """Scores of some tokens for all experts, over `loads_per_split` loads of the width."""
    token = tl.program_id(0).to(tl.int64) * rows + tl.arange(0, rows)
    expert = tl.arange(0, experts_pad)
    offs = tl.arange(0, chunk)
    begin = tl.program_id(1) * loads_per_split * chunk
    sums = tl.zeros([rows, experts_pad], tl.float32)
    for first in tl.range(begin, begin + loads_per_split * chunk, chunk, num_stages=stages):
        inside = (first + offs < depth)[None]
        x_tile = tl.load(x + token[:, None] * stride + first + offs[None], (token < tokens)[:, None] & inside, 0.0)
        weight_mask = (expert < experts)[:, None] & inside
        weight_tile = tl.load(weight + expert[:, None] * depth + first + offs[None], weight_mask, 0.0)
        x_tile = x_tile.to(operand)
        high = weight_tile.to(tl.bfloat16)
        if exact:
            rest = weight_tile - high.to(tl.float32)
            middle = rest.to(tl.bfloat16)
            low = (rest - middle.to(tl.float32)).to(tl.bfloat16)
            sums = tl.dot(x_tile, tl.trans(low.to(operand)), sums, input_precision="ieee")
            sums = tl.dot(x_tile, tl.trans(middle.to(operand)), sums, input_precision="ieee")
        sums = tl.dot(x_tile, tl.trans(high.to(operand)), sums, input_precision="ieee")
    pointers = parts + (tl.program_id(1).to(tl.int64) * tokens + token)[:, None] * experts + expert[None]
    tl.store(pointers, sums, (token < tokens)[:, None] & (expert < experts)[None])


@triton.jit(do_not_specialize=["tokens", "splits"])
def _choose(
    parts, weights, ids, tokens, eps, scaling, splits, splits_pad: tl.constexpr, experts: tl.constexpr,
    top_k: tl.constexpr, pad: tl.constexpr, sigmoid: tl.constexpr, renormalise: tl.constexpr, rows: tl.constexpr,
    experts_pad: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64) * rows + tl.arange(0, rows)
    is_token = (token < tokens)[:, None]
    expert = tl.arange(0, experts_pad)
    split = tl.arange(0, splits_pad)
    pointers = (split[None, :] * tokens + token[:, None])[:, :, None] * experts + expert[None, None]
    valid = (is_token & (split < splits)[None])[:, :, None] & (expert < experts)[None, None]
    scores = tl.sum(tl.load(parts + pointers, valid, 0.0), 1)
    is_expert = (expert < experts)[None]
    if sigmoid:
        probs = tl.sigmoid(scores)
    else:
        scores = tl.where(is_expert, scores, float("-inf"))
        probs = tl.exp(scores - tl.max(scores, 1)[:, None])
        probs = probs / tl.sum(probs, 1)[:, None]
    left = tl.where(is_expert, probs, float("-inf"))
    k = tl.arange(0, pad)[None]
    chosen_probs = tl.zeros([rows, pad], tl.float32)
    chosen_ids = tl.zeros([rows, pad], tl.int64)
    total = tl.zeros([rows], tl.float32)
    for i in tl.static_range(top_k):
        # Where scores are NaN none equals the best: the last expert then carries the NaN on.
        first = tl.min(tl.where((left == tl.max(left, 1)[:, None]) & is_expert, expert[None], experts - 1), 1)
        selected = expert[None] == first[:, None]
        prob = tl.sum(tl.where(selected, probs, 0.0), 1)
        chosen_probs = tl.where(k == i, prob[:, None], chosen_probs)
        chosen_ids = tl.where(k == i, first[:, None].to(tl.int64), chosen_ids)
        total += prob
        left = tl.where(selected, float("-inf"), left)
    if renormalise:
        chosen_probs = chosen_probs / (total + eps)[:, None]
    stored = token[:, None] * top_k + k
    tl.store(weights + stored, chosen_probs * scaling, is_token & (k < top_k))
    tl.store(ids + stored, chosen_ids, is_token & (k < top_k))
