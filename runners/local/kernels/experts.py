# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,import-untyped"
"""Mixtures of experts in Triton: the products themselves for few tokens, and for many all that stands around them.

A slot is one of the chosen experts of one token, counted token by token. For few slots every program finds the rows of
its expert by itself, reads its part of the expert's weights once, and an expert that nobody chose is not read at all.
For many, slots are sorted by counting: `arrange` says where each goes, `spread` copies the tokens there, and `combine`
sums what came back. Ids outside of 0 to E - 1 are experts of other ranks: nothing is computed, read or added for them.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

Tile = tuple[int, int, int, int]
"""Columns of one program, depth of one load, warps, loads under way."""

GATE_UP: Tile = (32, 128, 4, 4)
DOWN: Tile = (32, 128, 4, 4)
ROWS = 64
"""The most rows of an expert that are multiplied together."""
LEAST = 64
"""Fewer slots are looked through as if there were so many, so that one compiled kernel does for all of them."""
BLOCK, BLOCKS, TABLE = 1024, 128, 8192
"""Slots of one program and the number of programs, one of them at least; elements of a table of slots by experts."""


def few(
    x: Tensor,
    gate_up: Tensor,
    down: Tensor,
    weights: Tensor,
    ids: Tensor,
    *,
    tiles: tuple[Tile, Tile] | None = None,
) -> Tensor:
    """See `ops.experts.experts`; one program for each expert in use and each few columns."""
    up_tile, down_tile = tiles or (GATE_UP, DOWN)
    inner = torch.empty(ids.numel(), down.shape[2], dtype=x.dtype, device=x.device)
    seen = torch.empty(ids.numel(), down.shape[1], dtype=torch.float32, device=x.device)
    if len(x):
        _multiply(x, gate_up, inner, ids, up_tile, chosen=ids.shape[1], gated=True)
        _multiply(inner, down, seen, ids, down_tile, chosen=1, gated=False)
    return _combine_rows(seen, weights, ids, len(down), x.dtype, arranged=False)


def _multiply(x: Tensor, weight: Tensor, out: Tensor, ids: Tensor, tile: Tile, *, chosen: int, gated: bool) -> None:
    slots, experts = ids.numel(), len(weight)
    wide, deep, warps, stages = tile
    columns, depth = out.shape[1], weight.shape[2]
    by_slot = slots <= experts
    rows = min(max(triton.next_power_of_2(len(ids)), 16), ROWS)
    _experts[(triton.cdiv(columns, wide), slots if by_slot else experts)](
        x, weight, out, ids, slots, experts, x.stride(0), weight.stride(0), columns, depth, chosen, gated, by_slot,
        max(triton.next_power_of_2(slots), LEAST), rows, wide, deep, stages,
        tl.bfloat16 if x.is_cuda else tl.float32, num_warps=warps,
    )  # fmt: skip


@triton.jit(do_not_specialize=["slots", "experts"])
def _experts(
    x, weight, out, ids, slots, experts, x_stride, expert_stride, columns: tl.constexpr, depth: tl.constexpr,
    chosen: tl.constexpr, gated: tl.constexpr, by_slot: tl.constexpr, pad: tl.constexpr, rows: tl.constexpr,
    wide: tl.constexpr, deep: tl.constexpr, stages: tl.constexpr, operand: tl.constexpr,
):  # fmt: skip
    """Some columns of one expert: out[slot] = weight x[slot // chosen], or silu(gate) * up of the two halves of it."""
    every = tl.arange(0, pad)
    wanted = tl.load(ids + every, every < slots, -1).to(tl.int32)
    expert = tl.program_id(1)
    if by_slot:  # the first slot of an expert stands for it
        own = tl.program_id(1)
        expert = tl.load(ids + own).to(tl.int32)
        if tl.min(tl.where(wanted == expert, every, pad), 0) != own:
            return
    if (expert < 0) | (expert >= experts):
        return
    mine = wanted == expert
    rank = tl.cumsum(mine.to(tl.int32), 0)
    count = tl.sum(mine.to(tl.int32), 0)
    column = tl.program_id(0) * wide + tl.arange(0, wide)
    at = tl.arange(0, deep)
    home = weight + expert.to(tl.int64) * expert_stride + column.to(tl.int64)[:, None] * depth
    kept = x.dtype.element_ty
    for begin in tl.range(0, count, rows):
        row = begin + tl.arange(0, rows)
        slot = tl.sum(tl.where(mine[None] & (rank[None] == row[:, None] + 1), every[None], 0), 1)
        asked = x + (slot // chosen).to(tl.int64)[:, None] * x_stride
        there = (row < count)[:, None]
        sums = tl.zeros([rows, wide], tl.float32)
        ups = tl.zeros([rows, wide], tl.float32)
        for first in tl.range(0, depth, deep, num_stages=stages):
            inside = (first + at < depth)[None]
            given = tl.load(asked + first + at[None], there & inside, 0.0).to(operand)
            held = (column < columns)[:, None] & inside
            tile = tl.load(home + first + at[None], held, 0.0).to(operand)
            sums = tl.dot(given, tl.trans(tile), sums, input_precision="ieee")
            if gated:
                tile = tl.load(home + columns * depth + first + at[None], held, 0.0).to(operand)
                ups = tl.dot(given, tl.trans(tile), ups, input_precision="ieee")
        if gated:
            gate = sums.to(kept).to(tl.float32)
            active = (gate * tl.sigmoid(gate)).to(kept).to(tl.float32)
            sums = active * ups.to(kept).to(tl.float32)
        place = out + slot.to(tl.int64)[:, None] * columns + column[None]
        tl.store(place, sums.to(out.dtype.element_ty), there & (column < columns)[None])


def arrange(ids: Tensor, experts: int, *, table: int = TABLE, warps: int = 8) -> tuple[Tensor, Tensor]:
    """Where each slot goes when they are sorted by expert, tokens in order: (back [T * k] int32, ends [E] int32).

    `back` is -1 for slots of other ranks' experts; `ends[e]` is the number of slots of experts up to e.
    """
    slots = ids.numel()
    back = torch.empty(slots, dtype=torch.int32, device=ids.device)
    ends = torch.empty(experts, dtype=torch.int32, device=ids.device)
    wide = triton.next_power_of_2(experts)
    block = max(BLOCK, triton.next_power_of_2(triton.cdiv(slots, BLOCKS)))
    step = min(max(table // wide, 16), block)
    blocks = max(triton.cdiv(slots, block), 1)
    counts = torch.empty(blocks, experts, dtype=torch.int32, device=ids.device)
    _count[(blocks,)](ids, counts, slots, experts, wide, block, step, num_warps=warps)
    _place[(blocks,)](ids, counts, back, ends, slots, blocks, experts, wide, block, step, num_warps=warps)
    return back, ends


@triton.jit
def _table(ids, first, slots, experts: tl.constexpr, wide: tl.constexpr, step: tl.constexpr):
    """[step, wide] of slots by experts, 1 where a slot wants that expert."""
    slot = first + tl.arange(0, step)
    wanted = tl.load(ids + slot, slot < slots, -1)
    expert = tl.arange(0, wide)
    return ((wanted[:, None] == expert[None]) & (expert < experts)[None]).to(tl.int32)


@triton.jit(do_not_specialize=["slots"])
def _count(
    ids, counts, slots, experts: tl.constexpr, wide: tl.constexpr, block: tl.constexpr, step: tl.constexpr
):  # fmt: skip
    """How many slots of each block want each expert."""
    mine = tl.program_id(0)
    expert = tl.arange(0, wide)
    found = tl.zeros([wide], tl.int32)
    for first in tl.range(mine * block, min(mine * block + block, slots), step):
        found += tl.sum(_table(ids, first, slots, experts, wide, step), 0)
    tl.store(counts + mine * experts + expert, found, expert < experts)


@triton.jit(do_not_specialize=["slots", "blocks"])
def _place(
    ids, counts, back, ends, slots, blocks, experts: tl.constexpr, wide: tl.constexpr, block: tl.constexpr,
    step: tl.constexpr,
):  # fmt: skip
    """Each slot goes behind all of the experts before its own, and behind those before it of its own."""
    mine = tl.program_id(0)
    expert = tl.arange(0, wide)
    total = tl.zeros([wide], tl.int32)
    before = tl.zeros([wide], tl.int32)
    for first in tl.range(0, blocks, 16):
        other = first + tl.arange(0, 16)
        there = (other < blocks)[:, None] & (expert < experts)[None]
        part = tl.load(counts + other[:, None] * experts + expert[None], there, 0)
        total += tl.sum(part, 0)
        before += tl.sum(tl.where((other < mine)[:, None], part, 0), 0)
    end = tl.cumsum(total, 0)
    if mine == 0:
        tl.store(ends + expert, end, expert < experts)
    taken = end - total + before
    for first in tl.range(mine * block, min(mine * block + block, slots), step):
        wants = _table(ids, first, slots, experts, wide, step)
        place = tl.sum(wants * (taken[None] + tl.cumsum(wants, 0)), 1) - 1  # -1 where none is wanted
        slot = first + tl.arange(0, step)
        tl.store(back + slot, place, slot < slots)
        taken += tl.sum(wants, 0)


def spread(x: Tensor, back: Tensor, *, block: int = 2048, warps: int = 4) -> Tensor:
    """Each token [T, W] copied to where its slots go: [T * k, W]; rows that no slot goes to hold anything."""
    tokens, width = x.shape
    out = torch.empty(len(back), width, dtype=x.dtype, device=x.device)
    block = min(block, triton.next_power_of_2(width))
    if tokens:
        _spread[(tokens, triton.cdiv(width, block))](
            x, out, back, x.stride(0), len(back) // tokens, width, block, num_warps=warps
        )
    return out


@triton.jit
def _spread(x, out, back, stride, chosen: tl.constexpr, width: tl.constexpr, block: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * block + tl.arange(0, block)
    value = tl.load(x + token * stride + at, at < width)
    for choice in tl.static_range(chosen):
        place = tl.load(back + token * chosen + choice).to(tl.int64)
        tl.store(out + place * width + at, value, (at < width) & (place >= 0))


def combine(seen: Tensor, weights: Tensor, back: Tensor, *, block: int = 2048, warps: int = 4) -> Tensor:
    """The weighted sums [T, W] of the rows of each token: seen [T * k, W], weights [T, k] fp32, back as of `arrange`.

    Summed in fp32 in the order of the token's slots and rounded once.
    """
    return _combine_rows(seen, weights, back, len(back), seen.dtype, arranged=True, block=block, warps=warps)


def _combine_rows(
    seen: Tensor,
    weights: Tensor,
    marks: Tensor,
    limit: int,
    dtype: torch.dtype,
    *,
    arranged: bool,
    block: int = 2048,
    warps: int = 4,
) -> Tensor:
    tokens, chosen = weights.shape
    width = seen.shape[1]
    out = torch.empty(tokens, width, dtype=dtype, device=seen.device)
    block = min(block, triton.next_power_of_2(width))
    if tokens:
        _combine[(tokens, triton.cdiv(width, block))](
            seen, weights, marks, out, weights.stride(0), limit, chosen, width, block, arranged, num_warps=warps
        )
    return out


@triton.jit(do_not_specialize=["limit"])
def _combine(
    seen, weights, marks, out, stride, limit, chosen: tl.constexpr, width: tl.constexpr, block: tl.constexpr,
    arranged: tl.constexpr,
):  # fmt: skip
    """A slot's mark is its row, or where rows stand in the order of slots, its expert: there if 0 <= mark < limit."""
    token = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * block + tl.arange(0, block)
    total = tl.zeros([block], tl.float32)
    for choice in tl.static_range(chosen):
        mark = tl.load(marks + token * chosen + choice).to(tl.int64)
        there = (mark >= 0) & (mark < limit)
        share = tl.load(weights + token * stride + choice)
        row = mark if arranged else token * chosen + choice
        value = tl.load(seen + row * width + at, (at < width) & there, 0.0).to(tl.float32)
        total += tl.where(there, share * value, 0.0)
    tl.store(out + token * width + at, total.to(out.dtype.element_ty), at < width)
