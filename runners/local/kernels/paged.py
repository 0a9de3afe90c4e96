# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,import-untyped"
"""Decoding attention over a paged cache, split over the tokens (flash decoding: Dao and others, 2023).

A program takes one row, one key head and one split of the tokens; the query heads of the key head are the rows of its
matrix products, so that each key and value is read once. The launch fixes the number of splits, the lengths, which only
the device knows, their sizes. A second kernel merges the splits.

`rope_and_attend` starts with what `rope.rope_and_cache` does: each program rotates the queries of its heads, that of
the last split also computes the new key and value, caches them and takes them as the first token that it sees. It
loads what was cached earlier before it waits for the kernel that computes the queries (see pdl.py).
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..ops.layout import BlockTables, PagedCache, QKNorm, Rotary
from .flash_decoding import (
    accumulate,
    attend_tokens,
    load_keys,
    load_values,
    merge_splits,
    split_sizes,
    store_split,
    token_offsets,
)
from .pdl import launch_options, use_pdl, wait_for_previous

PROCESSORS = 132
WAVES = 4
SHORT, SHORTEST = 64, 256
"""Splits of fewer tokens are not worth the merge: where rows leave processors without work, and elsewhere."""
LOG2E = 1.4426950408889634
Tile = tuple[int, int, int]
"""(tokens at a time, warps, stages)."""


def paged_decode(
    queries: Tensor,
    cache: PagedCache,
    tables: BlockTables,
    scale: float,
    *,
    pdl: bool | None = None,
    tile: Tile | None = None,
    splits: int | None = None,
) -> Tensor:
    """See `ops.paged.paged_decode`."""
    heads, dim = queries.shape[1:]
    main = 1 << (dim.bit_length() - 1)
    rest = dim - main
    arguments = (queries.contiguous(), main, rest, max(triton.next_power_of_2(max(rest, 1)), 16))
    return _launch(_attend, arguments, heads, cache, tables, scale, pdl, tile, splits)


def rope_and_attend(
    qkv: Tensor,
    heads: int,
    rotary: Rotary,
    cache: PagedCache,
    slots: Tensor,
    tables: BlockTables,
    norm: QKNorm,
    scale: float,
    *,
    pdl: bool | None = None,
    tile: Tile | None = None,
    splits: int | None = None,
) -> Tensor:
    """See `ops.paged.rope_and_attend`; for what `can_fuse` allows there. The slots follow from tables and lengths."""
    norms = (qkv if norm.query is None else norm.query, qkv if norm.key is None else norm.key)
    strides = (qkv.stride(0), rotary.cos.stride(0), rotary.sin.stride(0))
    has_norms = (norm.query is not None, norm.key is not None)
    arguments = (qkv, *rotary, *norms, norm.eps, *strides, rotary.cos.shape[-1], *has_norms)
    return _launch(_rope_and_attend, arguments, heads, cache, tables, scale, pdl, tile, splits)


def _launch(
    kernel, arguments, heads: int, cache: PagedCache, tables: BlockTables, scale: float, pdl: bool | None,
    tile: Tile | None, splits: int | None,
) -> Tensor:  # fmt: skip
    source, (keys, values) = arguments[0], cache
    rows = source.shape[0]
    block, kv_heads, dim, value_dim = *keys.shape[1:], values.shape[3]
    out = torch.empty(rows, heads, value_dim, dtype=source.dtype, device=source.device)
    if not rows:
        return out
    token_bytes, group = source.element_size() * (dim + value_dim), heads // kv_heads
    tile_heads = min(max(triton.next_power_of_2(group), 16), max_heads(token_bytes))
    head_tiles = triton.cdiv(group, tile_heads)
    programs = rows * kv_heads * head_tiles
    chunk, warps, stages = tile or _tile(token_bytes, crowded=programs >= PROCESSORS)
    min_split = max(SHORT if programs < PROCESSORS else SHORTEST, chunk)
    if splits is None:
        splits = max(1, min(PROCESSORS * WAVES // programs, triton.cdiv(tables.max_length, min_split)))
    if tile is None and token_bytes <= 512 and splits > 1 and tables.max_length <= splits * chunk:
        warps, stages = 8, 2  # each split is a single chunk: there is nothing to prefetch
    value_pad = max(triton.next_power_of_2(value_dim), 16)
    partials = log_sums = out
    if splits > 1:
        partials = torch.empty(rows, heads, splits, value_dim, dtype=torch.float32, device=out.device)
        log_sums = torch.empty(rows, heads, splits, dtype=torch.float32, device=out.device)
    use = use_pdl(pdl)
    kernel[(programs, splits)](
        *arguments, keys, values, tables.tables, tables.lengths, out, partials, log_sums, scale * LOG2E,
        *keys.stride()[:3], *values.stride()[:3], tables.tables.stride(0),
        kv_heads, group, head_tiles, tile_heads, dim, value_dim, value_pad,
        block, chunk, splits == 1, min_split, use, splits,
        num_warps=warps, num_stages=stages, **launch_options(use),
    )  # fmt: skip
    if splits > 1:
        columns = min(triton.next_power_of_2(value_dim), 128)
        merge_splits[(rows * heads, triton.cdiv(value_dim, columns))](
            partials, log_sums, tables.lengths, out, heads, value_dim, columns, 32, chunk, min_split, use, splits,
            num_warps=4, **launch_options(use),
        )  # fmt: skip
    return out


def max_heads(token_bytes: int) -> int:
    """Maximum number of heads of a program, for the bytes of key and value per token."""
    return 64 if token_bytes <= 1024 else 32


def _tile(token_bytes: int, *, crowded: bool) -> Tile:
    """The tile for the bytes of key and value per token; `crowded`: there are programs for all processors and more."""
    if token_bytes <= 512:
        return (32, 2, 3) if crowded else (64, 4, 4)
    if token_bytes <= 1024:
        return 32, 4, 3
    return 32 if token_bytes <= 2304 else 16, 8, 2


@triton.jit(do_not_specialize=["splits"])
def _attend(
    queries, main: tl.constexpr, rest: tl.constexpr, rest_pad: tl.constexpr,
    keys, values, tables, lengths, out, partials, log_sums, scale,
    k_block, k_token, k_head, v_block, v_token, v_head, table_stride,
    kv_heads: tl.constexpr, group: tl.constexpr, head_tiles: tl.constexpr, tile_heads: tl.constexpr, dim: tl.constexpr,
    value_dim: tl.constexpr, value_pad: tl.constexpr, block: tl.constexpr, chunk: tl.constexpr, single: tl.constexpr,
    min_split: tl.constexpr, pdl: tl.constexpr, splits,
):  # fmt: skip
    row = (tl.program_id(0) // (kv_heads * head_tiles)).to(tl.int64)
    kv_head = tl.program_id(0) // head_tiles % kv_heads
    head_in_group = tl.program_id(0) % head_tiles * tile_heads + tl.arange(0, tile_heads)
    head = (row * kv_heads + kv_head) * group + head_in_group
    is_head = head_in_group < group
    offs = tl.arange(0, main)
    rest_offs = main + tl.arange(0, rest_pad)
    wait_for_previous(pdl)
    length = tl.load(lengths + row)
    size, used = split_sizes(length, chunk, splits, single, min_split)
    if tl.program_id(1) >= used:
        return
    begin = tl.program_id(1) * size
    end = tl.minimum(begin + size, length)
    q = tl.load(queries + head[:, None] * dim + offs[None], is_head[:, None], 0.0)
    q_rest = q
    if rest > 0:
        rest_mask = is_head[:, None] & (rest_offs < dim)[None]
        q_rest = tl.load(queries + head[:, None] * dim + rest_offs[None], rest_mask, 0.0)
    maximum = tl.full([tile_heads], float("-inf"), tl.float32)
    total = tl.zeros([tile_heads], tl.float32)
    sums = tl.zeros([tile_heads, value_pad], tl.float32)
    maximum, total, sums = attend_tokens(
        q, q_rest, maximum, total, sums, begin, end, keys + kv_head * k_head, values + kv_head * v_head,
        tables + row * table_stride, scale, k_block, k_token, v_block, v_token, dim, main, rest, rest_pad, value_dim,
        value_pad, block, chunk,
    )  # fmt: skip
    store_split(maximum, total, sums, head, is_head, out, partials, log_sums, splits, value_dim, value_pad, single)


@triton.jit(do_not_specialize=["splits"])
def _rope_and_attend(
    qkv, cos, sin, q_norm, k_norm, eps, qkv_stride, cos_stride, sin_stride,
    half: tl.constexpr, has_q_norm: tl.constexpr, has_k_norm: tl.constexpr,
    keys, values, tables, lengths, out, partials, log_sums, scale,
    k_block, k_token, k_head, v_block, v_token, v_head, table_stride,
    kv_heads: tl.constexpr, group: tl.constexpr, head_tiles: tl.constexpr, tile_heads: tl.constexpr, dim: tl.constexpr,
    value_dim: tl.constexpr, value_pad: tl.constexpr, block: tl.constexpr, chunk: tl.constexpr, single: tl.constexpr,
    min_split: tl.constexpr, pdl: tl.constexpr, splits,
):  # fmt: skip
    row = (tl.program_id(0) // kv_heads).to(tl.int64)
    kv_head = tl.program_id(0) % kv_heads
    head_in_group = tl.arange(0, tile_heads)
    head = (row * kv_heads + kv_head) * group + head_in_group
    is_head = head_in_group < group
    offs = tl.arange(0, dim)
    length = tl.load(lengths + row)
    size, used = split_sizes(length, chunk, splits, single, min_split)
    if tl.program_id(1) >= used:
        return
    begin = tl.program_id(1) * size
    end = tl.minimum(begin + size, length)
    table = tables + row * table_stride
    keys += kv_head * k_head
    values += kv_head * v_head
    k_row, v_row, inside = token_offsets(
        begin, tl.minimum(end, length - 1), table, k_block, k_token, v_block, v_token, block, chunk
    )
    k_tile = load_keys(keys, k_row, inside, dim)
    v_tile = load_values(values, v_row, inside, dim, dim)
    pair_offs = tl.where(offs < half, offs + half, tl.where(offs < 2 * half, offs - half, offs))
    q_scales = _norm_weight(q_norm, offs, has_q_norm), _norm_weight(q_norm, pair_offs, has_q_norm)
    k_scales = _norm_weight(k_norm, offs, has_k_norm), _norm_weight(k_norm, pair_offs, has_k_norm)
    wait_for_previous(pdl)
    source = qkv + row * qkv_stride
    cos += row * cos_stride
    sin += row * sin_stride
    q_from = source + (kv_head * group + head_in_group) * dim
    q = _rotated(q_from, is_head, offs, pair_offs, q_scales, cos, sin, eps, dim, half, has_q_norm)
    maximum = tl.full([tile_heads], float("-inf"), tl.float32)
    total = tl.zeros([tile_heads], tl.float32)
    sums = tl.zeros([tile_heads, dim], tl.float32)
    if end == length:
        k_from = source + (kv_heads * group + kv_head + tl.arange(0, 1)) * dim
        k = _rotated(k_from, tl.full([1], 1, tl.int1), offs, pair_offs, k_scales, cos, sin, eps, dim, half, has_k_norm)
        v = tl.load(source + (kv_heads * (group + 1) + kv_head) * dim + offs)[None]
        end = length - 1
        block_id = tl.load(table + end // block).to(tl.int64)
        k = k.to(keys.dtype.element_ty)
        v = v.to(values.dtype.element_ty)
        tl.store(keys + block_id * k_block + end % block * k_token + offs[None], k)
        tl.store(values + block_id * v_block + end % block * v_token + offs[None], v)
        maximum = tl.sum(q.to(tl.float32) * k.to(tl.float32), 1) * scale
        total = tl.full([tile_heads], 1.0, tl.float32)
        sums += v.to(tl.float32)
    logits = tl.dot(q, k_tile.to(q.dtype), input_precision="ieee")
    maximum, total, sums = accumulate(logits * scale, v_tile.to(q.dtype), inside, maximum, total, sums)
    maximum, total, sums = attend_tokens(
        q, q, maximum, total, sums, begin + chunk, end, keys, values, table, scale, k_block, k_token, v_block, v_token,
        dim, dim, 0, 16, value_dim, value_pad, block, chunk,
    )  # fmt: skip
    store_split(maximum, total, sums, head, is_head, out, partials, log_sums, splits, value_dim, value_pad, single)


@triton.jit
def _norm_weight(norm, offs, has_norm: tl.constexpr):
    """A norm's weights, or ones without a norm."""
    if has_norm:
        return tl.load(norm + offs).to(tl.float32)
    else:  # noqa: RET505  Triton returns from both branches or from none
        return tl.full(offs.shape, 1.0, tl.float32)


@triton.jit
def _rotated(
    source, valid, offs, pair_offs, scales, cos, sin, eps, dim: tl.constexpr, half: tl.constexpr, has_norm: tl.constexpr
):  # fmt: skip
    """Heads loaded from `source` [heads], normed if there is a norm and rotated to their position: [heads, dim]."""
    x = tl.load(source[:, None] + offs[None], valid[:, None], 0.0)
    pair = tl.load(source[:, None] + pair_offs[None], valid[:, None], 0.0)
    dtype = x.dtype
    if has_norm:
        wide = x.to(tl.float32)
        root = tl.rsqrt(tl.sum(wide * wide, 1) / dim + eps)[:, None]
        x = ((wide * root).to(dtype).to(tl.float32) * scales[0][None]).to(dtype)
        pair = ((pair.to(tl.float32) * root).to(dtype).to(tl.float32) * scales[1][None]).to(dtype)
    angle = tl.where(offs < half, offs, offs - half)
    c = tl.load(cos + angle, offs < 2 * half, 1.0)
    s = tl.load(sin + angle, offs < 2 * half, 0.0)
    s = tl.where(offs < half, -s, s)
    return (x.to(tl.float32) * c[None] + pair.to(tl.float32) * s[None]).to(dtype)
