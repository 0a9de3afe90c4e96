"""Rotary positions (arXiv 2104.09864, rotate-half layout) and the writing of keys and values into the cache."""

import torch
from torch import Tensor

from . import kernels
from .norm import plain_rms_norm


def cos_sin(positions: Tensor, frequencies: Tensor, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """cos and sin of positions [tokens] int64 times frequencies [turned / 2] fp32, both times scale."""
    if kernels(positions):
        from ..kernels import rope

        return rope.cos_sin(positions, frequencies, scale)
    return plain_cos_sin(positions, frequencies, scale)


def plain_cos_sin(positions: Tensor, frequencies: Tensor, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """`table` in PyTorch; frequencies may differ by token, [tokens, turned / 2]."""
    angles = positions.float()[:, None] * frequencies
    return angles.cos() * scale, angles.sin() * scale


def rope_and_cache(
    qkv: Tensor,
    heads: int,
    kv_heads: int,
    dim: int,
    cos: Tensor,
    sin: Tensor,
    keys: Tensor,
    values: Tensor,
    slots: Tensor,
    q_norm: Tensor | None = None,
    k_norm: Tensor | None = None,
    eps: float = 1e-6,
) -> Tensor:
    """Turn queries and keys to their positions, write keys and values into their pools; queries [tokens, heads, dim].

    qkv [tokens, (heads + 2 * kv_heads) * dim]: query heads, then key heads, then value heads. cos, sin
    [tokens, turned / 2] fp32: the first `turned` dims of each head are turned, in fp32. keys, values
    [blocks, block, kv_heads, dim]; slots [tokens] int64, block * size + offset. q_norm, k_norm [dim] norm each head
    before the turn.
    """
    if kernels(qkv):
        from ..kernels import rope

        return rope.rope_and_cache(qkv, heads, kv_heads, dim, cos, sin, keys, values, slots, q_norm, k_norm, eps)
    return plain_rope_and_cache(qkv, heads, kv_heads, dim, cos, sin, keys, values, slots, q_norm, k_norm, eps)


def plain_rope_and_cache(
    qkv: Tensor,
    heads: int,
    kv_heads: int,
    dim: int,
    cos: Tensor,
    sin: Tensor,
    keys: Tensor,
    values: Tensor,
    slots: Tensor,
    q_norm: Tensor | None = None,
    k_norm: Tensor | None = None,
    eps: float = 1e-6,
) -> Tensor:
    """`rope_and_cache` in PyTorch."""
    rows = qkv.view(-1, heads + 2 * kv_heads, dim)
    both, v = torch.split(rows, [heads + kv_heads, kv_heads], 1)
    if q_norm is not None or k_norm is not None:
        parts = zip(torch.split(both, [heads, kv_heads], 1), (q_norm, k_norm), strict=True)
        both = torch.cat([x if norm is None else plain_rms_norm(x, norm, eps) for x, norm in parts], 1)
    q, k = torch.split(apply_rotary(both, cos, sin), [heads, kv_heads], 1)
    keys.view(-1, kv_heads, dim).index_copy_(0, slots, k.to(keys.dtype))
    values.view(-1, kv_heads, dim).index_copy_(0, slots, v.to(values.dtype))
    return q.contiguous()


def apply_rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [tokens, heads, dim] with its first dims turned by cos, sin [tokens, turned / 2] fp32; same dtype out."""
    half = cos.shape[-1]
    cos, sin = cos[:, None], sin[:, None]
    first, second = x[..., :half], x[..., half : 2 * half]
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    out[..., :half] = torch.addcmul(first * cos, second.float(), sin, value=-1)
    out[..., half : 2 * half] = torch.addcmul(second * cos, first.float(), sin)
    if 2 * half < x.shape[-1]:
        out[..., 2 * half :] = x[..., 2 * half :]
    return out
