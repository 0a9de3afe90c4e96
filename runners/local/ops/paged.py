"""Attention of one query a sequence over its paged cache: what decoding spends its time on in long contexts."""

import torch
from torch import Tensor
from torch.nn import functional

from . import kernels
from .rope import rope_and_cache

FUSED = 64
"""Up to so many rows are turned and stored by the kernel that attends."""
SHORT = 1024
"""Up to so many tokens plain products are quicker on a CPU than one call of fused attention for each row."""


def paged_decode(
    queries: Tensor, keys: Tensor, values: Tensor, tables: Tensor, lengths: Tensor, scale: float, longest: int
) -> Tensor:
    """Softmax attention of each row's query over the first `lengths` tokens of its sequence: [rows, heads, value dim].

    queries [rows, heads, dim]; keys [blocks, block, kv_heads, dim]; values [blocks, block, kv_heads, value dim], which
    may be a view into keys; tables [rows, max blocks] int32, the blocks of each sequence in order; lengths [rows]
    int32, 0 for padding, whose result is finite. `longest` is known without asking the device: no length is more.
    """
    if kernels(queries):
        from ..kernels import paged

        return paged.paged_decode(queries, keys, values, tables, lengths, scale, longest)
    return plain_paged_decode(queries, keys, values, tables, lengths, scale, longest)


def rope_and_attend(
    qkv: Tensor,
    heads: int,
    cos: Tensor,
    sin: Tensor,
    keys: Tensor,
    values: Tensor,
    slots: Tensor,
    tables: Tensor,
    lengths: Tensor,
    q_norm: Tensor | None,
    k_norm: Tensor | None,
    eps: float,
    scale: float,
    longest: int,
) -> Tensor:
    """`rope.rope_and_cache`, then `paged_decode`, for rows of which none attends to what another one stores.

    `lengths` count the tokens that are stored now, so none is 0; `slots` are their last places.
    """
    if kernels(qkv):
        from ..kernels import paged

        if qkv.shape[0] <= FUSED and paged.can_fuse(heads, keys, values):
            return paged.rope_and_attend(
                qkv, heads, cos, sin, keys, values, tables, lengths, q_norm, k_norm, eps, scale, longest
            )
    kv_heads, dim = keys.shape[2:]
    queries = rope_and_cache(qkv, heads, kv_heads, dim, cos, sin, keys, values, slots, q_norm, k_norm, eps)
    return paged_decode(queries, keys, values, tables, lengths, scale, longest)


def plain_paged_decode(
    queries: Tensor, keys: Tensor, values: Tensor, tables: Tensor, lengths: Tensor, scale: float, longest: int
) -> Tensor:
    """`paged_decode` in PyTorch."""
    if queries.is_cuda:
        return _masked(queries, keys, values, tables, lengths, scale, longest)
    rows, heads, _ = queries.shape
    kv_heads, block = keys.shape[2], keys.shape[1]
    # In fp32, as scaled queries and scores would be rounded; by one thread, as small products would wait for others.
    plain = queries.dtype == torch.float32 and torch.get_num_threads() == 1
    grouped = (queries * scale if plain else queries).reshape(rows, kv_heads, heads // kv_heads, -1)
    pools = [pool.flatten(0, 1).transpose(0, 1) for pool in (keys, values)]
    out = queries.new_zeros(rows, kv_heads, heads // kv_heads, values.shape[-1])
    for row, (length, table) in enumerate(zip(lengths.tolist(), tables.tolist(), strict=True)):
        if not length:
            continue
        k, v = (_tokens(pool, table[: -(-length // block)], block, length) for pool in pools)
        if plain and length <= SHORT:
            torch.bmm(torch.bmm(grouped[row], k.mT).softmax(-1), v, out=out[row])
        else:
            rest = 1.0 if plain else scale
            out[row] = functional.scaled_dot_product_attention(grouped[row][None], k[None], v[None], scale=rest)[0]
    return out.flatten(1, 2)


def _tokens(pool: Tensor, blocks: list[int], block: int, length: int) -> Tensor:
    """[kv_heads, length, dim] of these blocks: a view where they follow one another, for a copy costs as much again."""
    first = blocks[0]
    if blocks == list(range(first, first + len(blocks))):
        return pool[:, first * block : first * block + length]
    return pool.view(pool.shape[0], -1, block, pool.shape[2])[:, blocks].flatten(1, 2)[:, :length]


def _masked(
    queries: Tensor, keys: Tensor, values: Tensor, tables: Tensor, lengths: Tensor, scale: float, longest: int
) -> Tensor:
    """All rows at once, padded to the longest: nothing is asked of the device."""
    used = tables[:, : -(-longest // keys.shape[1])].long().clamp(0, keys.shape[0] - 1)
    k, v = (pool[used].flatten(1, 2).transpose(1, 2) for pool in (keys, values))
    seen = torch.arange(k.shape[2], device=lengths.device) < lengths.clamp(min=1)[:, None]
    mask = seen[:, None, None]
    out = functional.scaled_dot_product_attention(
        queries[:, :, None], k, v, attn_mask=mask, scale=scale, enable_gqa=k.shape[1] != queries.shape[1]
    )
    return out.squeeze(2)
