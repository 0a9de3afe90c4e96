# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,import-untyped"
"""Decoding attention over a paged cache, split over the tokens (flash decoding: Dao and others, 2023).

A program takes one row, one key head and one share of the tokens; the query heads of the key head are the rows of its
matrix products, so that each key and value is read once. How many shares there are is fixed by the launch, how long
they are by the lengths, which only the device knows. A second kernel joins the shares.

`rope_and_attend` begins with what `rope.rope_and_cache` does: each program turns the queries of its heads, that of the
last share also makes the new key and value, keeps them and has them as the first token that it sees. What was kept
earlier it asks for before it waits for the kernel that makes the queries (see pdl.py).
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .pdl import launch_options, use_pdl, wait_for_previous

PROCESSORS = 132
WAVES = 4
SHORT, SHORTEST = 64, 256
"""A share of fewer tokens is not worth the joining: where rows leave processors without work, and else."""
LOG2E = 1.4426950408889634
Tile = tuple[int, int, int]
"""(tokens at a time, warps, stages)."""


def paged_decode(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    tables: Tensor,
    lengths: Tensor,
    scale: float,
    longest: int,
    *,
    pdl: bool | None = None,
    tile: Tile | None = None,
    splits: int | None = None,
) -> Tensor:
    """See `ops.paged.paged_decode`."""
    heads, dim = queries.shape[1:]
    main = 1 << (dim.bit_length() - 1)
    rest = dim - main
    own = (queries.contiguous(), main, rest, max(triton.next_power_of_2(max(rest, 1)), 16))
    return _launch(_attend, own, heads, keys, values, tables, lengths, scale, longest, pdl, tile, splits)


def rope_and_attend(
    qkv: Tensor,
    heads: int,
    cos: Tensor,
    sin: Tensor,
    keys: Tensor,
    values: Tensor,
    tables: Tensor,
    lengths: Tensor,
    q_norm: Tensor | None,
    k_norm: Tensor | None,
    eps: float,
    scale: float,
    longest: int,
    *,
    pdl: bool | None = None,
    tile: Tile | None = None,
    splits: int | None = None,
) -> Tensor:
    """See `ops.paged.rope_and_attend`; for dims that `can_fuse` says."""
    norms = (qkv if q_norm is None else q_norm, qkv if k_norm is None else k_norm)
    own = (
        qkv, cos, sin, *norms, eps, qkv.stride(0), cos.stride(0), sin.stride(0), cos.shape[-1],
        q_norm is not None, k_norm is not None,
    )  # fmt: skip
    return _launch(_rope_and_attend, own, heads, keys, values, tables, lengths, scale, longest, pdl, tile, splits)


def can_fuse(heads: int, keys: Tensor, values: Tensor) -> bool:
    """Whether `rope_and_attend` takes heads of these dims: whole tiles, and all heads of a key head in one program."""
    dim = keys.shape[3]
    return dim == values.shape[3] and dim in {16, 32, 64, 128, 256} and heads // keys.shape[2] <= _most(4 * dim)


def _launch(
    kernel, own, heads: int, keys: Tensor, values: Tensor, tables: Tensor, lengths: Tensor, scale: float, longest: int,
    pdl: bool | None, tile: Tile | None, splits: int | None,
) -> Tensor:  # fmt: skip
    given = own[0]
    rows = given.shape[0]
    block, kv_heads, dim, value_dim = *keys.shape[1:], values.shape[3]
    out = torch.empty(rows, heads, value_dim, dtype=given.dtype, device=given.device)
    if not rows:
        return out
    wide, group = given.element_size() * (dim + value_dim), heads // kv_heads
    members = min(max(triton.next_power_of_2(group), 16), _most(wide))
    parties = triton.cdiv(group, members)
    programs = rows * kv_heads * parties
    step, warps, stages = tile or _tile(wide, crowded=programs >= PROCESSORS)
    shortest = max(SHORT if programs < PROCESSORS else SHORTEST, step)
    if splits is None:
        splits = max(1, min(PROCESSORS * WAVES // programs, triton.cdiv(longest, shortest)))
    if tile is None and wide <= 512 and splits > 1 and longest <= splits * step:
        warps, stages = 8, 2  # each share is a single step: there is nothing to ask for ahead
    value_pad = max(triton.next_power_of_2(value_dim), 16)
    shares = weights = out
    if splits > 1:
        shares = torch.empty(rows, heads, splits, value_dim, dtype=torch.float32, device=out.device)
        weights = torch.empty(rows, heads, splits, dtype=torch.float32, device=out.device)
    use = use_pdl(pdl)
    kernel[(programs, splits)](
        *own, keys, values, tables, lengths, out, shares, weights, scale * LOG2E,
        *keys.stride()[:3], *values.stride()[:3], tables.stride(0),
        kv_heads, group, parties, members, dim, value_dim, value_pad,
        block, step, splits == 1, shortest, use, splits,
        num_warps=warps, num_stages=stages, **launch_options(use),
    )  # fmt: skip
    if splits > 1:
        columns = min(triton.next_power_of_2(value_dim), 128)
        _join[(rows * heads, triton.cdiv(value_dim, columns))](
            shares, weights, lengths, out, heads, value_dim, columns, 32, step, shortest, use, splits,
            num_warps=4, **launch_options(use),
        )  # fmt: skip
    return out


def _most(wide: int) -> int:
    """The most heads of a program, for this many bytes of key and value a token."""
    return 64 if wide <= 1024 else 32


def _tile(wide: int, *, crowded: bool) -> Tile:
    """For this many bytes of key and value a token; `crowded`: there are programs for all processors and more."""
    if wide <= 512:
        return (32, 2, 3) if crowded else (64, 4, 4)
    if wide <= 1024:
        return 32, 4, 3
    return 32 if wide <= 2304 else 16, 8, 2


@triton.jit(do_not_specialize=["splits"])
def _attend(
    queries, main: tl.constexpr, rest: tl.constexpr, rest_pad: tl.constexpr,
    keys, values, tables, lengths, out, shares, weights, scale,
    k_block, k_token, k_head, v_block, v_token, v_head, table_stride,
    kv_heads: tl.constexpr, group: tl.constexpr, parties: tl.constexpr, members: tl.constexpr, dim: tl.constexpr,
    value_dim: tl.constexpr, value_pad: tl.constexpr, block: tl.constexpr, step: tl.constexpr, whole: tl.constexpr,
    shortest: tl.constexpr, pdl: tl.constexpr, splits,
):  # fmt: skip
    row = (tl.program_id(0) // (kv_heads * parties)).to(tl.int64)
    kv_head = tl.program_id(0) // parties % kv_heads
    member = tl.program_id(0) % parties * members + tl.arange(0, members)
    head = (row * kv_heads + kv_head) * group + member
    alive = member < group
    at = tl.arange(0, main)
    far = main + tl.arange(0, rest_pad)
    wait_for_previous(pdl)
    length = tl.load(lengths + row)
    size, used = _shares(length, step, splits, whole, shortest)
    if tl.program_id(1) >= used:
        return
    begin = tl.program_id(1) * size
    end = tl.minimum(begin + size, length)
    q = tl.load(queries + head[:, None] * dim + at[None], alive[:, None], 0.0)
    q_far = q
    if rest > 0:
        q_far = tl.load(queries + head[:, None] * dim + far[None], alive[:, None] & (far < dim)[None], 0.0)
    best = tl.full([members], float("-inf"), tl.float32)
    mass = tl.zeros([members], tl.float32)
    sums = tl.zeros([members, value_pad], tl.float32)
    best, mass, sums = _walk(
        q, q_far, best, mass, sums, begin, end, keys + kv_head * k_head, values + kv_head * v_head,
        tables + row * table_stride, scale, k_block, k_token, v_block, v_token, dim, main, rest, rest_pad, value_dim,
        value_pad, block, step,
    )  # fmt: skip
    _finish(best, mass, sums, head, alive, out, shares, weights, splits, value_dim, value_pad, whole)


@triton.jit(do_not_specialize=["splits"])
def _rope_and_attend(
    qkv, cos, sin, q_norm, k_norm, eps, qkv_stride, cos_stride, sin_stride,
    half: tl.constexpr, norm_q: tl.constexpr, norm_k: tl.constexpr,
    keys, values, tables, lengths, out, shares, weights, scale,
    k_block, k_token, k_head, v_block, v_token, v_head, table_stride,
    kv_heads: tl.constexpr, group: tl.constexpr, parties: tl.constexpr, members: tl.constexpr, dim: tl.constexpr,
    value_dim: tl.constexpr, value_pad: tl.constexpr, block: tl.constexpr, step: tl.constexpr, whole: tl.constexpr,
    shortest: tl.constexpr, pdl: tl.constexpr, splits,
):  # fmt: skip
    row = (tl.program_id(0) // kv_heads).to(tl.int64)
    kv_head = tl.program_id(0) % kv_heads
    member = tl.arange(0, members)
    head = (row * kv_heads + kv_head) * group + member
    alive = member < group
    at = tl.arange(0, dim)
    length = tl.load(lengths + row)
    size, used = _shares(length, step, splits, whole, shortest)
    if tl.program_id(1) >= used:
        return
    begin = tl.program_id(1) * size
    end = tl.minimum(begin + size, length)
    table = tables + row * table_stride
    keys += kv_head * k_head
    values += kv_head * v_head
    k_row, v_row, inside = _places(
        begin, tl.minimum(end, length - 1), table, k_block, k_token, v_block, v_token, block, step
    )
    earlier = _keys(keys, k_row, inside, dim)
    held = _values(values, v_row, inside, dim, dim)
    partner = tl.where(at < half, at + half, tl.where(at < 2 * half, at - half, at))
    q_scales = _scale(q_norm, at, norm_q), _scale(q_norm, partner, norm_q)
    k_scales = _scale(k_norm, at, norm_k), _scale(k_norm, partner, norm_k)
    wait_for_previous(pdl)
    own = qkv + row * qkv_stride
    cos += row * cos_stride
    sin += row * sin_stride
    q_from = own + (kv_head * group + member) * dim
    q = _turned(q_from, alive, at, partner, q_scales, cos, sin, eps, dim, half, norm_q)
    best = tl.full([members], float("-inf"), tl.float32)
    mass = tl.zeros([members], tl.float32)
    sums = tl.zeros([members, dim], tl.float32)
    if end == length:
        k_from = own + (kv_heads * group + kv_head + tl.arange(0, 1)) * dim
        k = _turned(k_from, tl.full([1], 1, tl.int1), at, partner, k_scales, cos, sin, eps, dim, half, norm_k)
        v = tl.load(own + (kv_heads * (group + 1) + kv_head) * dim + at)[None]
        end = length - 1
        number = tl.load(table + end // block).to(tl.int64)
        k = k.to(keys.dtype.element_ty)
        v = v.to(values.dtype.element_ty)
        tl.store(keys + number * k_block + end % block * k_token + at[None], k)
        tl.store(values + number * v_block + end % block * v_token + at[None], v)
        best = tl.sum(q.to(tl.float32) * k.to(tl.float32), 1) * scale
        mass = tl.full([members], 1.0, tl.float32)
        sums += v.to(tl.float32)
    logits = tl.dot(q, earlier.to(q.dtype), input_precision="ieee")
    best, mass, sums = _fold(logits * scale, held.to(q.dtype), inside, best, mass, sums)
    best, mass, sums = _walk(
        q, q, best, mass, sums, begin + step, end, keys, values, table, scale, k_block, k_token, v_block, v_token,
        dim, dim, 0, 16, value_dim, value_pad, block, step,
    )  # fmt: skip
    _finish(best, mass, sums, head, alive, out, shares, weights, splits, value_dim, value_pad, whole)


@triton.jit
def _shares(length, step: tl.constexpr, splits, whole: tl.constexpr, shortest: tl.constexpr):
    """How many tokens each share of a row has, a multiple of the step, and how many shares there are: at least one."""
    size = (length + splits - 1) // splits
    size = tl.maximum((size + step - 1) // step * step, step)
    if not whole:
        size = tl.maximum(size, (shortest + step - 1) // step * step)
    return size, tl.maximum(tl.cdiv(length, size), 1)


@triton.jit
def _scale(norm, at, normed: tl.constexpr):
    """A norm's weights, if there is one."""
    if normed:
        return tl.load(norm + at).to(tl.float32)
    else:  # noqa: RET505  Triton returns from both branches or from none
        return tl.full(at.shape, 1.0, tl.float32)


@triton.jit
def _turned(
    source, there, at, partner, scales, cos, sin, eps, dim: tl.constexpr, half: tl.constexpr, normed: tl.constexpr
):  # fmt: skip
    """Heads at `source` [heads], normed if wanted and turned to their position: [heads, dim]."""
    own = tl.load(source[:, None] + at[None], there[:, None], 0.0)
    other = tl.load(source[:, None] + partner[None], there[:, None], 0.0)
    kind = own.dtype
    if normed:
        wide = own.to(tl.float32)
        root = tl.rsqrt(tl.sum(wide * wide, 1) / dim + eps)[:, None]
        own = ((wide * root).to(kind).to(tl.float32) * scales[0][None]).to(kind)
        other = ((other.to(tl.float32) * root).to(kind).to(tl.float32) * scales[1][None]).to(kind)
    place = tl.where(at < half, at, at - half)
    c = tl.load(cos + place, at < 2 * half, 1.0)
    s = tl.load(sin + place, at < 2 * half, 0.0)
    s = tl.where(at < half, -s, s)
    return (own.to(tl.float32) * c[None] + other.to(tl.float32) * s[None]).to(kind)


@triton.jit
def _walk(
    q, q_far, best, mass, sums, begin, end, keys, values, table, scale, k_block, k_token, v_block, v_token,
    dim: tl.constexpr, main: tl.constexpr, rest: tl.constexpr, rest_pad: tl.constexpr, value_dim: tl.constexpr,
    value_pad: tl.constexpr, block: tl.constexpr, step: tl.constexpr,
):  # fmt: skip
    """The running maximum, mass and sums of values, with the tokens from `begin` to `end` added."""
    far = main + tl.arange(0, rest_pad)
    for first in tl.range(begin, end, step):
        k_row, v_row, inside = _places(first, end, table, k_block, k_token, v_block, v_token, block, step)
        logits = tl.dot(q, _keys(keys, k_row, inside, main).to(q.dtype), input_precision="ieee")
        if rest > 0:
            k_far = tl.load(keys + k_row[None] + far[:, None], inside[None] & (far < dim)[:, None], 0.0)
            logits = tl.dot(q_far, k_far.to(q.dtype), logits, input_precision="ieee")
        held = _values(values, v_row, inside, value_dim, value_pad)
        best, mass, sums = _fold(logits * scale, held.to(q.dtype), inside, best, mass, sums)
    return best, mass, sums


@triton.jit
def _places(
    first, end, table, k_block, k_token, v_block, v_token, block: tl.constexpr, step: tl.constexpr
):  # fmt: skip
    """Where the keys and values of `step` tokens from `first` on lie, and which of them come before `end`."""
    offset = tl.arange(0, step)
    inside = first + offset < end
    if block % step == 0:  # shares start at multiples of the step: one block holds all of it
        number = tl.load(table + first // block).to(tl.int64)
        place = first % block + offset
    else:
        number = tl.load(table + (first + offset) // block, inside, 0).to(tl.int64)
        place = (first + offset) % block
    return number * k_block + place * k_token, number * v_block + place * v_token, inside


@triton.jit
def _keys(keys, row, inside, dim: tl.constexpr):
    """[dim, step]."""
    return tl.load(keys + row[None] + tl.arange(0, dim)[:, None], inside[None], 0.0)


@triton.jit
def _values(values, row, inside, dim: tl.constexpr, pad: tl.constexpr):
    """[step, dim]."""
    at = tl.arange(0, pad)
    return tl.load(values + row[:, None] + at[None], inside[:, None] & (at < dim)[None], 0.0)


@triton.jit
def _fold(logits, values, inside, best, mass, sums):
    """The running numbers with some tokens added: logits [members, step] in powers of two, values [step, dim]."""
    logits = tl.where(inside[None], logits, float("-inf"))
    now = tl.maximum(best, tl.max(logits, 1))
    chances = tl.exp2(logits - now[:, None])
    shrink = tl.exp2(best - now)
    mass = mass * shrink + tl.sum(chances, 1)
    sums = tl.dot(chances.to(values.dtype), values, sums * shrink[:, None], input_precision="ieee")
    return now, mass, sums


@triton.jit
def _finish(
    best, mass, sums, head, alive, out, shares, weights, splits, value_dim: tl.constexpr, value_pad: tl.constexpr,
    whole: tl.constexpr,
):  # fmt: skip
    """Store the result of a share that is all there is, or keep it for the kernel that joins them."""
    at = tl.arange(0, value_pad)
    kept = alive[:, None] & (at < value_dim)[None]
    result = sums / tl.maximum(mass, 1e-30)[:, None]
    if whole:
        tl.store(out + head[:, None] * value_dim + at[None], result.to(out.dtype.element_ty), kept)
    else:
        number = tl.program_id(1)
        tl.store(shares + (head[:, None] * splits + number) * value_dim + at[None], result, kept)
        seen = tl.maximum(best, -1e30) + tl.log2(tl.maximum(mass, 1e-30))  # of no token at all it is finite too
        tl.store(weights + head * splits + number, seen, alive)


@triton.jit(do_not_specialize=["splits"])
def _join(
    shares, weights, lengths, out, heads: tl.constexpr, value_dim: tl.constexpr, wide: tl.constexpr,
    some: tl.constexpr, step: tl.constexpr, shortest: tl.constexpr, pdl: tl.constexpr, splits,
):  # fmt: skip
    """Join the shares, one program a head."""
    head = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * wide + tl.arange(0, wide)
    wait_for_previous(pdl)
    used = _shares(tl.load(lengths + head // heads), step, splits, False, shortest)[1]
    best = tl.full([], float("-inf"), tl.float32)
    mass = tl.zeros([], tl.float32)
    sums = tl.zeros([wide], tl.float32)
    for first in tl.range(0, used, some):
        share = first + tl.arange(0, some)
        there = share < used
        weight = tl.load(weights + head * splits + share, there, float("-inf"))
        part = tl.load(
            shares + (head * splits + share[:, None]) * value_dim + at[None],
            there[:, None] & (at < value_dim)[None], 0.0,
        )  # fmt: skip
        now = tl.maximum(best, tl.max(weight, 0))
        shrink = tl.exp2(best - now)
        factor = tl.exp2(weight - now)
        mass = mass * shrink + tl.sum(factor, 0)
        sums = sums * shrink + tl.sum(part * factor[:, None], 0)
        best = now
    tl.store(out + head * value_dim + at, (sums / mass).to(out.dtype.element_ty), at < value_dim)
