# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,import-untyped"
"""Head norms, rotation and the write to the cache in one kernel: qkv is read once, each result written once."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..ops.layout import NO_NORM, PagedCache, QKNorm, Rotary
from .pdl import launch_options, use_pdl, wait_for_previous


def rope_and_cache(
    qkv: Tensor,
    heads: int,
    rotary: Rotary,
    cache: PagedCache,
    slots: Tensor,
    norm: QKNorm = NO_NORM,
    *,
    pdl: bool | None = None,
    tile: int | None = None,
) -> Tensor:
    """See `ops.rope.rope_and_cache`; `tile`: heads of one program."""
    tokens, half = qkv.shape[0], rotary.cos.shape[-1]
    kv_heads, dim = cache.keys.shape[2:]
    out = torch.empty(tokens, heads, dim, dtype=qkv.dtype, device=qkv.device)
    all_heads = heads + 2 * kv_heads
    tile = min(tile or (4 if tokens <= 64 else 16), triton.next_power_of_2(all_heads))
    rest = dim - 2 * half
    use = use_pdl(pdl)
    if tokens:
        _rope_and_cache[(tokens, triton.cdiv(all_heads, tile))](
            qkv, out, *cache, slots, *rotary,
            qkv if norm.query is None else norm.query, qkv if norm.key is None else norm.key,
            norm.eps, qkv.stride(0), rotary.cos.stride(0), rotary.sin.stride(0), heads, kv_heads, dim, half, rest,
            norm.query is not None, norm.key is not None, tile, triton.next_power_of_2(half),
            triton.next_power_of_2(max(rest, 1)), use,
            num_warps=1 if tile * dim <= 512 else 4, **launch_options(use),
        )  # fmt: skip
    return out


def cos_sin(positions: Tensor, frequencies: Tensor, scale: float = 1.0) -> Rotary:
    """See `ops.rope.cos_sin`."""
    shape = (len(positions), len(frequencies))
    cos, sin = (torch.empty(shape, dtype=torch.float32, device=positions.device) for _ in range(2))
    use, pad = use_pdl(), triton.next_power_of_2(shape[1])
    if shape[0]:
        _cos_sin[(shape[0],)](
            positions, frequencies, cos, sin, scale, shape[1], pad, use, num_warps=1, **launch_options(use)
        )
    return Rotary(cos, sin)


@triton.jit
def _cos_sin(positions, frequencies, cos, sin, scale, half: tl.constexpr, pad: tl.constexpr, pdl: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    offs = tl.arange(0, pad)
    wait_for_previous(pdl)
    angle = tl.load(positions + token).to(tl.float32) * tl.load(frequencies + offs, offs < half, 0.0)
    tl.store(cos + token * half + offs, tl.cos(angle) * scale, offs < half)
    tl.store(sin + token * half + offs, tl.sin(angle) * scale, offs < half)


@triton.jit
def _rope_and_cache(
    qkv, queries, keys, values, slots, cos, sin, q_norm, k_norm, eps, stride, cos_stride, sin_stride,
    heads: tl.constexpr, kv_heads: tl.constexpr, dim: tl.constexpr, half: tl.constexpr, rest: tl.constexpr,
    has_q_norm: tl.constexpr, has_k_norm: tl.constexpr, tile: tl.constexpr, half_pad: tl.constexpr,
    rest_pad: tl.constexpr, pdl: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    head = (tl.program_id(1) * tile + tl.arange(0, tile))[:, None]
    low = tl.arange(0, half_pad)[None]
    high = half + low
    rest_offs = 2 * half + tl.arange(0, rest_pad)[None]
    is_q = head < heads
    is_k = (head >= heads) & (head < heads + kv_heads)
    is_v = (head >= heads + kv_heads) & (head < heads + 2 * kv_heads)
    is_head = head < heads + 2 * kv_heads
    rot_mask = is_head & (low < half)
    rest_mask = is_head & (rest_offs < dim)
    wait_for_previous(pdl)
    slot = tl.load(slots + token)
    c = tl.load(cos + token * cos_stride + low, low < half, 1.0)
    s = tl.load(sin + token * sin_stride + low, low < half, 0.0)
    source = qkv + token * stride + head * dim
    first = tl.load(source + low, rot_mask, 0.0)
    second = tl.load(source + high, rot_mask, 0.0)
    dtype = first.dtype
    if rest > 0:
        third = tl.load(source + rest_offs, rest_mask, 0.0)
    if has_q_norm or has_k_norm:
        squares = tl.sum(first.to(tl.float32) * first.to(tl.float32), 1)
        squares += tl.sum(second.to(tl.float32) * second.to(tl.float32), 1)
        if rest > 0:
            squares += tl.sum(third.to(tl.float32) * third.to(tl.float32), 1)
        inv_rms = tl.rsqrt(squares / dim + eps)[:, None]
        norm_mask = (is_q & has_q_norm) | (is_k & has_k_norm)
        first = _normed(first, norm_mask, inv_rms, q_norm, k_norm, low, low < half, is_q, has_q_norm, has_k_norm)
        second = _normed(second, norm_mask, inv_rms, q_norm, k_norm, high, low < half, is_q, has_q_norm, has_k_norm)
        if rest > 0:
            third = _normed(
                third, norm_mask, inv_rms, q_norm, k_norm, rest_offs, rest_offs < dim, is_q, has_q_norm, has_k_norm
            )
    a, b = first.to(tl.float32), second.to(tl.float32)
    rotates = is_q | is_k
    first = tl.where(rotates, (a * c - b * s).to(dtype), first)
    second = tl.where(rotates, (b * c + a * s).to(dtype), second)
    q_at = queries + (token * heads + head) * dim
    k_at = keys + (slot * kv_heads + head - heads) * dim
    v_at = values + (slot * kv_heads + head - heads - kv_heads) * dim
    tl.store(q_at + low, first, rot_mask & is_q)
    tl.store(q_at + high, second, rot_mask & is_q)
    tl.store(k_at + low, first.to(keys.dtype.element_ty), rot_mask & is_k)
    tl.store(k_at + high, second.to(keys.dtype.element_ty), rot_mask & is_k)
    tl.store(v_at + low, first.to(values.dtype.element_ty), rot_mask & is_v)
    tl.store(v_at + high, second.to(values.dtype.element_ty), rot_mask & is_v)
    if rest > 0:
        tl.store(q_at + rest_offs, third, rest_mask & is_q)
        tl.store(k_at + rest_offs, third.to(keys.dtype.element_ty), rest_mask & is_k)
        tl.store(v_at + rest_offs, third.to(values.dtype.element_ty), rest_mask & is_v)


@triton.jit
def _normed(
    value, norm_mask, inv_rms, q_norm, k_norm, offs, mask, is_q, has_q_norm: tl.constexpr, has_k_norm: tl.constexpr
):  # fmt: skip
    weight = tl.zeros_like(value).to(tl.float32)
    if has_q_norm:
        weight = tl.where(is_q, tl.load(q_norm + offs, mask, 0.0).to(tl.float32), weight)
    if has_k_norm:
        weight = tl.where(is_q, weight, tl.load(k_norm + offs, mask, 0.0).to(tl.float32))
    normed = ((value.to(tl.float32) * inv_rms).to(value.dtype).to(tl.float32) * weight).to(value.dtype)
    return tl.where(norm_mask, normed, value)
