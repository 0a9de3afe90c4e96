# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,import-untyped"
"""Mixtures of experts in Triton: the products themselves for few tokens, and for many everything around them.

A pair is a token and one of its experts, counted token by token. For few pairs every program finds the rows of its
expert by itself, reads its part of the expert's weights once, and an expert that no token chose is not read at all. For
many, pairs are sorted by counting: `sort_by_expert` says where each goes, `permute` copies the tokens there, and
`unpermute` sums the outputs. Ids outside 0 to E - 1 are experts of other ranks: nothing is computed, read or added.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

Tile = tuple[int, int, int, int]
"""Columns of one program, depth of one load, warps, pipeline stages."""

GATE_UP: Tile = (32, 128, 4, 4)
DOWN: Tile = (32, 128, 4, 4)
ROWS = 64
"""Maximum number of rows of an expert that are multiplied together."""
MIN_PAIRS = 64
"""Fewer pairs are padded to this number, so that one compiled kernel serves all of them."""
BLOCK, BLOCKS, TABLE = 1024, 128, 8192
"""Minimum pairs of one program, maximum programs for that; elements of a table of pairs by experts."""


def experts(
    x: Tensor,
    gate_up: Tensor,
    down: Tensor,
    weights: Tensor,
    ids: Tensor,
    *,
    foreign: bool = False,
    tiles: tuple[Tile, Tile] | None = None,
) -> Tensor:
    """See `ops.experts.experts`, for few pairs; ids of other ranks are allowed whatever `foreign` says."""
    up_tile, down_tile = tiles or (GATE_UP, DOWN)
    inner = torch.empty(ids.numel(), down.shape[2], dtype=x.dtype, device=x.device)
    outputs = torch.empty(ids.numel(), down.shape[1], dtype=torch.float32, device=x.device)
    if len(x):
        _multiply(x, gate_up, inner, ids, up_tile, top_k=ids.shape[1], gated=True)
        _multiply(inner, down, outputs, ids, down_tile, top_k=1, gated=False)
    return _unpermute_rows(outputs, weights, ids, len(down), x.dtype, arranged=False)


def _multiply(x: Tensor, weight: Tensor, out: Tensor, ids: Tensor, tile: Tile, *, top_k: int, gated: bool) -> None:
    pairs, experts = ids.numel(), len(weight)
    columns_tile, chunk, warps, stages = tile
    columns, depth = out.shape[1], weight.shape[2]
    by_pair = pairs <= experts
    rows = min(max(triton.next_power_of_2(len(ids)), 16), ROWS)
    _experts[(triton.cdiv(columns, columns_tile), pairs if by_pair else experts)](
        x, weight, out, ids, pairs, experts, x.stride(0), weight.stride(0), columns, depth, top_k, gated, by_pair,
        max(triton.next_power_of_2(pairs), MIN_PAIRS), rows, columns_tile, chunk, stages,
        tl.bfloat16 if x.is_cuda else tl.float32, num_warps=warps,
    )  # fmt: skip


@triton.jit(do_not_specialize=["pairs", "experts"])
def _experts(
    x, weight, out, ids, pairs, experts, x_stride, expert_stride, columns: tl.constexpr, depth: tl.constexpr,
    top_k: tl.constexpr, gated: tl.constexpr, by_pair: tl.constexpr, pad: tl.constexpr, rows: tl.constexpr,
    columns_tile: tl.constexpr, chunk: tl.constexpr, stages: tl.constexpr, operand: tl.constexpr,
):  # fmt: skip
    """Some columns of one expert: out[pair] = weight x[pair // top_k], or silu(gate) * up of the two halves of it."""
    pair_ids = tl.arange(0, pad)
    experts_of_pairs = tl.load(ids + pair_ids, pair_ids < pairs, -1).to(tl.int32)
    expert = tl.program_id(1)
    if by_pair:  # the first pair of an expert computes for all of them
        first_pair = tl.program_id(1)
        expert = tl.load(ids + first_pair).to(tl.int32)
        if tl.min(tl.where(experts_of_pairs == expert, pair_ids, pad), 0) != first_pair:
            return
    if (expert < 0) | (expert >= experts):
        return
    is_ours = experts_of_pairs == expert
    rank = tl.cumsum(is_ours.to(tl.int32), 0)
    count = tl.sum(is_ours.to(tl.int32), 0)
    column = tl.program_id(0) * columns_tile + tl.arange(0, columns_tile)
    offs = tl.arange(0, chunk)
    weight_ptr = weight + expert.to(tl.int64) * expert_stride + column.to(tl.int64)[:, None] * depth
    dtype = x.dtype.element_ty
    for begin in tl.range(0, count, rows):
        row = begin + tl.arange(0, rows)
        pair = tl.sum(tl.where(is_ours[None] & (rank[None] == row[:, None] + 1), pair_ids[None], 0), 1)
        x_ptr = x + (pair // top_k).to(tl.int64)[:, None] * x_stride
        valid = (row < count)[:, None]
        sums = tl.zeros([rows, columns_tile], tl.float32)
        ups = tl.zeros([rows, columns_tile], tl.float32)
        for first in tl.range(0, depth, chunk, num_stages=stages):
            inside = (first + offs < depth)[None]
            x_tile = tl.load(x_ptr + first + offs[None], valid & inside, 0.0).to(operand)
            weight_mask = (column < columns)[:, None] & inside
            tile = tl.load(weight_ptr + first + offs[None], weight_mask, 0.0).to(operand)
            sums = tl.dot(x_tile, tl.trans(tile), sums, input_precision="ieee")
            if gated:
                tile = tl.load(weight_ptr + columns * depth + first + offs[None], weight_mask, 0.0).to(operand)
                ups = tl.dot(x_tile, tl.trans(tile), ups, input_precision="ieee")
        if gated:
            gate = sums.to(dtype).to(tl.float32)
            active = (gate * tl.sigmoid(gate)).to(dtype).to(tl.float32)
            sums = active * ups.to(dtype).to(tl.float32)
        destination = out + pair.to(tl.int64)[:, None] * columns + column[None]
        tl.store(destination, sums.to(out.dtype.element_ty), valid & (column < columns)[None])


def sort_by_expert(ids: Tensor, experts: int, *, table: int = TABLE, warps: int = 8) -> tuple[Tensor, Tensor]:
    """Positions of the pairs sorted by expert, tokens in order: (places [T * k] int32, ends [E] int32).

    `places` is -1 for pairs of other ranks' experts; `ends[e]` is the number of pairs of experts up to e.
    """
    pairs = ids.numel()
    places = torch.empty(pairs, dtype=torch.int32, device=ids.device)
    ends = torch.empty(experts, dtype=torch.int32, device=ids.device)
    experts_pad = triton.next_power_of_2(experts)
    block = max(BLOCK, triton.next_power_of_2(triton.cdiv(pairs, BLOCKS)))
    step = min(max(table // experts_pad, 16), block)
    blocks = max(triton.cdiv(pairs, block), 1)
    counts = torch.empty(blocks, experts, dtype=torch.int32, device=ids.device)
    _count[(blocks,)](ids, counts, pairs, experts, experts_pad, block, step, num_warps=warps)
    _assign[(blocks,)](ids, counts, places, ends, pairs, blocks, experts, experts_pad, block, step, num_warps=warps)
    return places, ends


@triton.jit
def _one_hot(ids, first, pairs, experts: tl.constexpr, experts_pad: tl.constexpr, step: tl.constexpr):
    """[step, experts_pad], 1 where the pair has that expert."""
    pair = first + tl.arange(0, step)
    expert_ids = tl.load(ids + pair, pair < pairs, -1)
    expert = tl.arange(0, experts_pad)
    return ((expert_ids[:, None] == expert[None]) & (expert < experts)[None]).to(tl.int32)


@triton.jit(do_not_specialize=["pairs"])
def _count(
    ids, counts, pairs, experts: tl.constexpr, experts_pad: tl.constexpr, block: tl.constexpr, step: tl.constexpr
):  # fmt: skip
    """Number of pairs of each block for each expert."""
    block_id = tl.program_id(0)
    expert = tl.arange(0, experts_pad)
    count = tl.zeros([experts_pad], tl.int32)
    for first in tl.range(block_id * block, min(block_id * block + block, pairs), step):
        count += tl.sum(_one_hot(ids, first, pairs, experts, experts_pad, step), 0)
    tl.store(counts + block_id * experts + expert, count, expert < experts)


@triton.jit(do_not_specialize=["pairs", "blocks"])
def _assign(
    ids, counts, places, ends, pairs, blocks, experts: tl.constexpr, experts_pad: tl.constexpr, block: tl.constexpr,
    step: tl.constexpr,
):  # fmt: skip
    """Position of each pair: after all pairs of earlier experts and the earlier pairs of its own expert."""
    block_id = tl.program_id(0)
    expert = tl.arange(0, experts_pad)
    total = tl.zeros([experts_pad], tl.int32)
    before = tl.zeros([experts_pad], tl.int32)
    for first in tl.range(0, blocks, 16):
        other = first + tl.arange(0, 16)
        valid = (other < blocks)[:, None] & (expert < experts)[None]
        counted = tl.load(counts + other[:, None] * experts + expert[None], valid, 0)
        total += tl.sum(counted, 0)
        before += tl.sum(tl.where((other < block_id)[:, None], counted, 0), 0)
    end = tl.cumsum(total, 0)
    if block_id == 0:
        tl.store(ends + expert, end, expert < experts)
    next_place = end - total + before
    for first in tl.range(block_id * block, min(block_id * block + block, pairs), step):
        one_hot = _one_hot(ids, first, pairs, experts, experts_pad, step)
        destination = tl.sum(one_hot * (next_place[None] + tl.cumsum(one_hot, 0)), 1) - 1  # -1 for others
        pair = first + tl.arange(0, step)
        tl.store(places + pair, destination, pair < pairs)
        next_place += tl.sum(one_hot, 0)


def permute(x: Tensor, places: Tensor, *, block: int = 2048, warps: int = 4) -> Tensor:
    """Copy each token [T, W] to the places of its pairs: [T * k, W]; rows without a pair are undefined."""
    tokens, width = x.shape
    out = torch.empty(len(places), width, dtype=x.dtype, device=x.device)
    block = min(block, triton.next_power_of_2(width))
    if tokens:
        _permute[(tokens, triton.cdiv(width, block))](
            x, out, places, x.stride(0), len(places) // tokens, width, block, num_warps=warps
        )
    return out


@triton.jit
def _permute(x, out, places, stride, top_k: tl.constexpr, width: tl.constexpr, block: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    offs = tl.program_id(1) * block + tl.arange(0, block)
    value = tl.load(x + token * stride + offs, offs < width)
    for k in tl.static_range(top_k):
        destination = tl.load(places + token * top_k + k).to(tl.int64)
        tl.store(out + destination * width + offs, value, (offs < width) & (destination >= 0))


def unpermute(outputs: Tensor, weights: Tensor, places: Tensor, *, block: int = 2048, warps: int = 4) -> Tensor:
    """The weighted sums [T, W] of each token's outputs [T * k, W], places as from `sort_by_expert`, weights fp32.

    Summed in fp32 in the order of the token's pairs and rounded once.
    """
    limit = len(places)
    return _unpermute_rows(outputs, weights, places, limit, outputs.dtype, arranged=True, block=block, warps=warps)


def _unpermute_rows(
    outputs: Tensor,
    weights: Tensor,
    marks: Tensor,
    limit: int,
    dtype: torch.dtype,
    *,
    arranged: bool,
    block: int = 2048,
    warps: int = 4,
) -> Tensor:
    tokens, top_k = weights.shape
    width = outputs.shape[1]
    out = torch.empty(tokens, width, dtype=dtype, device=outputs.device)
    block = min(block, triton.next_power_of_2(width))
    if tokens:
        _unpermute[(tokens, triton.cdiv(width, block))](
            outputs, weights, marks, out, weights.stride(0), limit, top_k, width, block, arranged, num_warps=warps
        )
    return out


@triton.jit(do_not_specialize=["limit"])
def _unpermute(
    outputs, weights, marks, out, stride, limit, top_k: tl.constexpr, width: tl.constexpr, block: tl.constexpr,
    arranged: tl.constexpr,
):  # fmt: skip
    """A pair's mark is its row, or, where rows are in the order of pairs, its expert; valid if 0 <= mark < limit."""
    token = tl.program_id(0).to(tl.int64)
    offs = tl.program_id(1) * block + tl.arange(0, block)
    total = tl.zeros([block], tl.float32)
    for k in tl.static_range(top_k):
        mark = tl.load(marks + token * top_k + k).to(tl.int64)
        valid = (mark >= 0) & (mark < limit)
        weight = tl.load(weights + token * stride + k)
        row = mark if arranged else token * top_k + k
        value = tl.load(outputs + row * width + offs, (offs < width) & valid, 0.0).to(tl.float32)
        total += tl.where(valid, weight * value, 0.0)
    tl.store(out + token * width + offs, total.to(out.dtype.element_ty), offs < width)
