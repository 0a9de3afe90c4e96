# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,import-untyped"
"""Norm of each head, turn and the writing of the cache in one kernel: qkv is read once, all else written once."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .pdl import launch_options, use_pdl, wait_for_previous


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
    *,
    pdl: bool | None = None,
    tile: int | None = None,
) -> Tensor:
    """See `ops.rope.rope_and_cache`; `tile` is how many heads a program takes."""
    tokens, half = qkv.shape[0], cos.shape[-1]
    out = torch.empty(tokens, heads, dim, dtype=qkv.dtype, device=qkv.device)
    every = heads + 2 * kv_heads
    tile = min(tile or (4 if tokens <= 64 else 16), triton.next_power_of_2(every))
    rest = dim - 2 * half
    use = use_pdl(pdl)
    if tokens:
        _rope_and_cache[(tokens, triton.cdiv(every, tile))](
            qkv, out, keys, values, slots, cos, sin,
            qkv if q_norm is None else q_norm, qkv if k_norm is None else k_norm,
            eps, qkv.stride(0), cos.stride(0), sin.stride(0), heads, kv_heads, dim, half, rest,
            q_norm is not None, k_norm is not None, tile, triton.next_power_of_2(half),
            triton.next_power_of_2(max(rest, 1)), use,
            num_warps=1 if tile * dim <= 512 else 4, **launch_options(use),
        )  # fmt: skip
    return out


def cos_sin(positions: Tensor, frequencies: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """See `ops.rope.table`."""
    shape = (len(positions), len(frequencies))
    cos, sin = (torch.empty(shape, dtype=torch.float32, device=positions.device) for _ in range(2))
    use, wide = use_pdl(), triton.next_power_of_2(shape[1])
    if shape[0]:
        _cos_sin[(shape[0],)](
            positions, frequencies, cos, sin, scale, shape[1], wide, use, num_warps=1, **launch_options(use)
        )
    return cos, sin


@triton.jit
def _cos_sin(positions, frequencies, cos, sin, scale, half: tl.constexpr, wide: tl.constexpr, pdl: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, wide)
    wait_for_previous(pdl)
    angle = tl.load(positions + token).to(tl.float32) * tl.load(frequencies + at, at < half, 0.0)
    tl.store(cos + token * half + at, tl.cos(angle) * scale, at < half)
    tl.store(sin + token * half + at, tl.sin(angle) * scale, at < half)


@triton.jit
def _rope_and_cache(
    qkv, queries, keys, values, slots, cos, sin, q_norm, k_norm, eps, stride, cos_stride, sin_stride,
    heads: tl.constexpr, kv_heads: tl.constexpr, dim: tl.constexpr, half: tl.constexpr, rest: tl.constexpr,
    norm_q: tl.constexpr, norm_k: tl.constexpr, tile: tl.constexpr, half_pad: tl.constexpr, rest_pad: tl.constexpr,
    pdl: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    head = (tl.program_id(1) * tile + tl.arange(0, tile))[:, None]
    low = tl.arange(0, half_pad)[None]
    high = half + low
    far = 2 * half + tl.arange(0, rest_pad)[None]
    is_q = head < heads
    is_k = (head >= heads) & (head < heads + kv_heads)
    is_v = (head >= heads + kv_heads) & (head < heads + 2 * kv_heads)
    there = head < heads + 2 * kv_heads
    near = there & (low < half)
    beyond = there & (far < dim)
    wait_for_previous(pdl)
    slot = tl.load(slots + token)
    c = tl.load(cos + token * cos_stride + low, low < half, 1.0)
    s = tl.load(sin + token * sin_stride + low, low < half, 0.0)
    source = qkv + token * stride + head * dim
    first = tl.load(source + low, near, 0.0)
    second = tl.load(source + high, near, 0.0)
    kind = first.dtype
    if rest > 0:
        third = tl.load(source + far, beyond, 0.0)
    if norm_q or norm_k:
        squares = tl.sum(first.to(tl.float32) * first.to(tl.float32), 1)
        squares += tl.sum(second.to(tl.float32) * second.to(tl.float32), 1)
        if rest > 0:
            squares += tl.sum(third.to(tl.float32) * third.to(tl.float32), 1)
        root = tl.rsqrt(squares / dim + eps)[:, None]
        normed = (is_q & norm_q) | (is_k & norm_k)
        first = tl.where(normed, _scaled(first, root, q_norm, k_norm, low, low < half, is_q, norm_q, norm_k), first)
        second = tl.where(normed, _scaled(second, root, q_norm, k_norm, high, low < half, is_q, norm_q, norm_k), second)
        if rest > 0:
            third = tl.where(normed, _scaled(third, root, q_norm, k_norm, far, far < dim, is_q, norm_q, norm_k), third)
    a, b = first.to(tl.float32), second.to(tl.float32)
    turned = is_q | is_k
    first = tl.where(turned, (a * c - b * s).to(kind), first)
    second = tl.where(turned, (b * c + a * s).to(kind), second)
    q_at = queries + (token * heads + head) * dim
    k_at = keys + (slot * kv_heads + head - heads) * dim
    v_at = values + (slot * kv_heads + head - heads - kv_heads) * dim
    tl.store(q_at + low, first, near & is_q)
    tl.store(q_at + high, second, near & is_q)
    tl.store(k_at + low, first.to(keys.dtype.element_ty), near & is_k)
    tl.store(k_at + high, second.to(keys.dtype.element_ty), near & is_k)
    tl.store(v_at + low, first.to(values.dtype.element_ty), near & is_v)
    tl.store(v_at + high, second.to(values.dtype.element_ty), near & is_v)
    if rest > 0:
        tl.store(q_at + far, third, beyond & is_q)
        tl.store(k_at + far, third.to(keys.dtype.element_ty), beyond & is_k)
        tl.store(v_at + far, third.to(values.dtype.element_ty), beyond & is_v)


@triton.jit
def _scaled(
    value, root, q_norm, k_norm, at, inside, is_q, norm_q: tl.constexpr, norm_k: tl.constexpr
):  # fmt: skip
    weight = tl.zeros_like(value).to(tl.float32)
    if norm_q:
        weight = tl.where(is_q, tl.load(q_norm + at, inside, 0.0).to(tl.float32), weight)
    if norm_k:
        weight = tl.where(is_q, weight, tl.load(k_norm + at, inside, 0.0).to(tl.float32))
    return ((value.to(tl.float32) * root).to(value.dtype).to(tl.float32) * weight).to(value.dtype)
