# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,import-untyped"
"""Norms and the gated activation: one program per row, so each value is read once and written once."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .pdl import launch_options, use_pdl, wait_for_previous

PLAIN, ADDED, GATED = 0, 1, 2


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """See `ops.norm.rms_norm`."""
    return _launch(PLAIN, x, x, weight, eps, 1.0, 1.0)[0]


def add_norm(
    x: Tensor, delta: Tensor, weight: Tensor, eps: float, alpha: float = 1.0, beta: float = 1.0
) -> tuple[Tensor, Tensor]:
    """See `ops.norm.add_norm`."""
    return _launch(ADDED, x, delta, weight, eps, alpha, beta)


def gated_norm(x: Tensor, gate: Tensor, weight: Tensor, eps: float) -> Tensor:
    """See `ops.norm.gated_norm`."""
    return _launch(GATED, x, gate, weight, eps, 1.0, 1.0)[0]


def _launch(
    kind: int, x: Tensor, other: Tensor, weight: Tensor, eps: float, alpha: float, beta: float
) -> tuple[Tensor, Tensor]:
    width = x.shape[-1]
    shape = x.shape
    x, other = x.reshape(-1, width), other.reshape(-1, width)
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    total = torch.empty_like(out) if kind == ADDED else out
    block = triton.next_power_of_2(width)
    pdl = use_pdl()
    if len(x):
        _norm[(len(x),)](
            x, other, weight, out, total, eps, alpha, beta, x.stride(0), other.stride(0), width, kind, block,
            pdl, num_warps=min(max(block // 512, 1), 16), **launch_options(pdl),
        )  # fmt: skip
    return out.view(shape), total.view(shape)


@triton.jit
def _norm(
    x, other, weight, out, total, eps, alpha, beta, x_stride, other_stride, width: tl.constexpr, kind: tl.constexpr,
    block: tl.constexpr, pdl: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    offs = tl.arange(0, block)
    mask = offs < width
    scale = tl.load(weight + offs, mask, 0.0).to(tl.float32)
    wait_for_previous(pdl)
    x_value = tl.load(x + row * x_stride + offs, mask, 0.0)
    value = x_value.to(tl.float32)
    if kind == 1:
        delta = tl.load(other + row * other_stride + offs, mask, 0.0).to(tl.float32)
        x_value = (alpha * value + beta * delta).to(x_value.dtype)
        tl.store(total + row * width + offs, x_value, mask)
        value = x_value.to(tl.float32)
    inv_rms = tl.rsqrt(tl.sum(value * value, 0) / width + eps)
    normed = ((value * inv_rms).to(x_value.dtype).to(tl.float32) * scale).to(x_value.dtype)
    if kind == 2:
        gate = tl.load(other + row * other_stride + offs, mask, 0.0).to(tl.float32)
        gate_sigmoid = tl.sigmoid(gate).to(x_value.dtype).to(tl.float32)
        normed = (normed.to(tl.float32) * gate_sigmoid).to(x_value.dtype)
    tl.store(out + row * width + offs, normed, mask)


def silu_mul(gate_up: Tensor, block: int = 1024) -> Tensor:
    """See `ops.norm.silu_mul`."""
    width = gate_up.shape[-1] // 2
    flat = gate_up.reshape(-1, 2 * width)
    out = torch.empty(*gate_up.shape[:-1], width, dtype=gate_up.dtype, device=gate_up.device)
    block = min(block, triton.next_power_of_2(width))
    pdl = use_pdl()
    if len(flat):
        _silu_mul[(len(flat), triton.cdiv(width, block))](
            flat, out, flat.stride(0), width, block, pdl, num_warps=max(block // 256, 1), **launch_options(pdl)
        )
    return out


@triton.jit
def _silu_mul(gate_up, out, stride, width: tl.constexpr, block: tl.constexpr, pdl: tl.constexpr):
    wait_for_previous(pdl)
    row = tl.program_id(0).to(tl.int64)
    offs = tl.program_id(1) * block + tl.arange(0, block)
    mask = offs < width
    gate = tl.load(gate_up + row * stride + offs, mask, 0.0)
    up = tl.load(gate_up + row * stride + width + offs, mask, 0.0).to(tl.float32)
    value = gate.to(tl.float32)
    active = (value * tl.sigmoid(value)).to(gate.dtype).to(tl.float32)
    tl.store(out + row * width + offs, (active * up).to(gate.dtype), mask)
