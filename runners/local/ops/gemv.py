"""Matrix products for one row or a few, as in decoding: bound by reading the weights.

On a GPU one row has kernels with the norms fused in. On a CPU a few rows take a wide matrix in pieces.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from . import accelerated, use_kernels
from .norm import add_norm, silu_mul

TRANSPOSED = 4
"""On a CPU, up to this many rows (from 2) are multiplied as columns."""
FEW, WIDE, PIECE = 64, 2048, 384
"""On a CPU, up to FEW rows multiply a matrix of WIDE outputs or more in pieces of PIECE outputs."""


def use_gemv(x: Tensor, *_: Any) -> bool:
    """Whether the kernels are used for these rows: only for one, as cuBLAS is as fast or faster from two on."""
    return x.shape[0] == 1 and use_kernels(x)


@accelerated(when=use_gemv)
def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, residual: Tensor | None = None) -> Tensor:
    """`x @ weight.T + bias + residual`: x [rows, in], weight [out, in], residual [rows, out]."""
    out = _product(x, weight, bias)
    return out if residual is None else out + residual


@accelerated(when=use_gemv)
def norm_linear(
    x: Tensor,
    delta: Tensor,
    norm_weight: Tensor,
    eps: float,
    weight: Tensor,
    bias: Tensor | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """`add_norm` followed by a linear layer: (out [rows, out], total [rows, in])."""
    normed, total = add_norm.reference(x, delta, norm_weight, eps, alpha, beta)
    return _product(normed, weight, bias), total


@accelerated(when=use_gemv)
def norm_gate_up(x: Tensor, delta: Tensor, norm_weight: Tensor, eps: float, weight: Tensor) -> tuple[Tensor, Tensor]:
    """`add_norm`, the product with gate and up [2 * width, in], `silu_mul`: (out [rows, width], total [rows, in])."""
    normed, total = add_norm.reference(x, delta, norm_weight, eps)
    return silu_mul.reference(_product(normed, weight)), total


@accelerated(when=use_gemv)
def head(x: Tensor, weight: Tensor) -> Tensor:
    """`x @ weight.T` as fp32, for the language-model head: bf16 logits near 20 would be steps of 1/8."""
    if x.is_cuda and weight.dtype != torch.float32:
        return torch.mm(x, weight.t(), out_dtype=torch.float32)
    return _product(x.float(), weight.float())


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x @ weight.T + bias`, for a few rows in the forms that MKL computes fastest: in as little as half the time."""
    rows = len(x)
    if x.is_cuda or rows < 2 or rows > FEW:
        return functional.linear(x, weight, bias)
    if rows <= TRANSPOSED:
        out = (weight @ x.t()).t().contiguous()
    elif len(weight) >= WIDE and torch.get_num_threads() == 1:  # else the pieces would wait for one another
        out = x.new_empty(rows, len(weight))
        for weight_piece, out_piece in zip(torch.split(weight, PIECE), torch.split(out, PIECE, 1), strict=True):
            torch.mm(x, weight_piece.t(), out=out_piece)
    else:
        return functional.linear(x, weight, bias)
    return out if bias is None else out.add_(bias)
