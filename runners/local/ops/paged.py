"""Attention of one query per sequence over its paged cache, where long decoding spends its time."""

import torch
from torch import Tensor
from torch.nn import functional

from . import accelerated
from .layout import BlockTables, PagedCache, QKNorm, Rotary
from .rope import rope_and_cache

FUSED = 64
"""Up to this many rows the attention kernel also rotates and caches."""
FUSED_DIMS, FUSED_GROUP = (16, 32, 64, 128, 256), 64
"""Head dims that it takes, which fill whole tiles, and query heads per key head, which are all of one program."""
SHORT = 1024
"""Up to this many tokens plain products are faster on a CPU than one call of fused attention for each row."""


@accelerated
def paged_decode(queries: Tensor, cache: PagedCache, tables: BlockTables, scale: float) -> Tensor:
    """Softmax attention of each row's query over the tokens of its sequence: [rows, heads, value dim].

    queries [rows, heads, dim]. The result for rows of length 0 is finite.
    """
    if queries.is_cuda:
        return _masked(queries, cache, tables, scale)
    rows, heads, _ = queries.shape
    block, kv_heads = cache.keys.shape[1:3]
    # In fp32, as scaled queries and scores would be rounded; by one thread, as small products would wait for others.
    plain = queries.dtype == torch.float32 and torch.get_num_threads() == 1
    grouped = (queries * scale if plain else queries).reshape(rows, kv_heads, heads // kv_heads, -1)
    flat = [blocks.flatten(0, 1).transpose(0, 1) for blocks in cache]
    out = queries.new_zeros(rows, kv_heads, heads // kv_heads, cache.values.shape[-1])
    for row, (length, table) in enumerate(zip(tables.lengths.tolist(), tables.tables.tolist(), strict=True)):
        if not length:
            continue
        k, v = (_tokens(x, table[: -(-length // block)], block, length) for x in flat)
        if plain and length <= SHORT:
            torch.bmm(torch.bmm(grouped[row], k.mT).softmax(-1), v, out=out[row])
        else:
            scores_scale = 1.0 if plain else scale
            attended = functional.scaled_dot_product_attention(grouped[row][None], k[None], v[None], scale=scores_scale)
            out[row] = attended[0]
    return out.flatten(1, 2)


def _tokens(flat: Tensor, blocks: list[int], block: int, length: int) -> Tensor:
    """[kv_heads, length, dim] of these blocks: a view where they are consecutive, since a copy doubles the cost."""
    first = blocks[0]
    if blocks == list(range(first, first + len(blocks))):
        return flat[:, first * block : first * block + length]
    return flat.view(flat.shape[0], -1, block, flat.shape[2])[:, blocks].flatten(1, 2)[:, :length]


def _masked(queries: Tensor, cache: PagedCache, tables: BlockTables, scale: float) -> Tensor:
    """Attention of all rows in one batch, padded to the maximum length, without waiting for the device."""
    blocks, block = cache.keys.shape[:2]
    used = tables.tables[:, : -(-tables.max_length // block)].long().clamp(0, blocks - 1)
    k, v = (x[used].flatten(1, 2).transpose(1, 2) for x in cache)
    valid = torch.arange(k.shape[2], device=queries.device) < tables.lengths.clamp(min=1)[:, None]
    out = functional.scaled_dot_product_attention(
        queries[:, :, None],
        k,
        v,
        attn_mask=valid[:, None, None],
        scale=scale,
        enable_gqa=k.shape[1] != queries.shape[1],
    )
    return out.squeeze(2)


def can_fuse(
    qkv: Tensor,
    heads: int,
    rotary: Rotary,
    cache: PagedCache,
    slots: Tensor,
    tables: BlockTables,
    norm: QKNorm,
    scale: float,
) -> bool:
    """Whether the kernel of `rope_and_attend` takes these rows and heads."""
    kv_heads, dim = cache.keys.shape[2:]
    fits = dim == cache.values.shape[3] and dim in FUSED_DIMS and heads // kv_heads <= FUSED_GROUP
    return fits and len(qkv) <= FUSED


@accelerated(when=can_fuse)
def rope_and_attend(
    qkv: Tensor,
    heads: int,
    rotary: Rotary,
    cache: PagedCache,
    slots: Tensor,
    tables: BlockTables,
    norm: QKNorm,
    scale: float,
) -> Tensor:
    """`rope_and_cache`, then `paged_decode`, for rows of which none attends to what another one caches.

    The lengths include the tokens cached now, so none is 0; `slots` are their last places.
    """
    queries = rope_and_cache(qkv, heads, rotary, cache, slots, norm)
    return paged_decode(queries, cache, tables, scale)
