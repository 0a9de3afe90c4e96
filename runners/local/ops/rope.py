"""Rotary positions (arXiv 2104.09864, rotate-half layout) and writing keys and values to the cache."""

import torch
from torch import Tensor

from . import accelerated
from .layout import NO_NORM, PagedCache, QKNorm, Rotary
from .norm import rms_norm


@accelerated
def cos_sin(positions: Tensor, frequencies: Tensor, scale: float = 1.0) -> Rotary:
    """cos and sin, times `scale`, of positions [tokens] int64 times frequencies [rotary dims / 2] fp32.

    The reference also takes frequencies that differ by token, [tokens, rotary dims / 2].
    """
    angles = positions.float()[:, None] * frequencies
    return Rotary(angles.cos() * scale, angles.sin() * scale)


@accelerated
def rope_and_cache(
    qkv: Tensor, heads: int, rotary: Rotary, cache: PagedCache, slots: Tensor, norm: QKNorm = NO_NORM
) -> Tensor:
    """Norm and rotate queries and keys, write keys and values to the cache; returns queries [tokens, heads, dim].

    qkv [tokens, (heads + 2 * kv_heads) * dim]: query heads, then key heads, then value heads. The first rotary dims of
    each head are rotated, in fp32. slots [tokens] int64, block * size + offset.
    """
    kv_heads, dim = cache.keys.shape[2:]
    by_head = qkv.view(-1, heads + 2 * kv_heads, dim)
    q_and_k, v = torch.split(by_head, [heads + kv_heads, kv_heads], 1)
    if norm.query is not None or norm.key is not None:
        pairs = zip(torch.split(q_and_k, [heads, kv_heads], 1), norm[:2], strict=True)
        q_and_k = torch.cat([x if w is None else rms_norm.reference(x, w, norm.eps) for x, w in pairs], 1)
    q, k = torch.split(apply_rotary(q_and_k, rotary), [heads, kv_heads], 1)
    cache.keys.view(-1, kv_heads, dim).index_copy_(0, slots, k.to(cache.keys.dtype))
    cache.values.view(-1, kv_heads, dim).index_copy_(0, slots, v.to(cache.values.dtype))
    return q.contiguous()


def apply_rotary(x: Tensor, rotary: Rotary) -> Tensor:
    """x [tokens, heads, dim] with its first rotary dims rotated; same dtype out."""
    half = rotary.cos.shape[-1]
    cos, sin = rotary.cos[:, None], rotary.sin[:, None]
    first, second = x[..., :half], x[..., half : 2 * half]
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    out[..., :half] = torch.addcmul(first * cos, second.float(), sin, value=-1)
    out[..., half : 2 * half] = torch.addcmul(second * cos, first.float(), sin)
    if 2 * half < x.shape[-1]:
        out[..., 2 * half :] = x[..., 2 * half :]
    return out
