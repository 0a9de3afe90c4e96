"""Matrix products for one row or some, as decoding has them: bound by the reading of the weights.

On a GPU one row has kernels, in which norms ride along. On a CPU some rows go through a wide matrix piece by piece.
"""

import torch
from torch import Tensor
from torch.nn import functional

from . import kernels
from .norm import plain_add_norm, plain_silu_mul

FEW = 1
"""Up to so many rows the kernels here are to be used; from two on cuBLAS is as good or better."""

TURNED = 4
"""On a CPU up to so many rows, more than one, are multiplied as columns."""
SOME, WIDE, PIECE = 64, 2048, 384
"""On a CPU more rows, up to SOME, take a matrix of WIDE outputs or more in pieces of so many of them."""


def use_gemv(x: Tensor) -> bool:
    """Whether the kernels are to be used for these rows."""
    return x.shape[0] == FEW and kernels(x)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, residual: Tensor | None = None) -> Tensor:
    """`x @ weight.T + bias + residual`: x [rows, in], weight [out, in], residual [rows, out]."""
    if use_gemv(x):
        from ..kernels import gemv

        return gemv.linear(x, weight, bias, residual)
    return plain_linear(x, weight, bias, residual)


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
    if use_gemv(x):
        from ..kernels import gemv

        return gemv.norm_linear(x, delta, norm_weight, eps, weight, bias, alpha, beta)
    return plain_norm_linear(x, delta, norm_weight, eps, weight, bias, alpha, beta)


def norm_gate_up(x: Tensor, delta: Tensor, norm_weight: Tensor, eps: float, weight: Tensor) -> tuple[Tensor, Tensor]:
    """`add_norm`, the product with gate and up [2 * width, in], `silu_mul`: (out [rows, width], total [rows, in])."""
    if use_gemv(x):
        from ..kernels import gemv

        return gemv.norm_gate_up(x, delta, norm_weight, eps, weight)
    return plain_norm_gate_up(x, delta, norm_weight, eps, weight)


def head(x: Tensor, weight: Tensor) -> Tensor:
    """`x @ weight.T` as fp32, for the language-model head: bf16 logits near 20 would be steps of 1/8."""
    if use_gemv(x):
        from ..kernels import gemv

        return gemv.head(x, weight)
    return plain_head(x, weight)


def plain_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, residual: Tensor | None = None) -> Tensor:
    """`linear` in PyTorch."""
    out = _product(x, weight, bias)
    return out if residual is None else out + residual


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x @ weight.T + bias`, for a few rows in the ways that MKL takes least time for: down to half of it."""
    rows = len(x)
    if x.is_cuda or rows < 2 or rows > SOME:
        return functional.linear(x, weight, bias)
    if rows <= TURNED:
        out = (weight @ x.t()).t().contiguous()
    elif len(weight) >= WIDE and torch.get_num_threads() == 1:  # else the pieces would wait for one another
        out = x.new_empty(rows, len(weight))
        for given, made in zip(torch.split(weight, PIECE), torch.split(out, PIECE, 1), strict=True):
            torch.mm(x, given.t(), out=made)
    else:
        return functional.linear(x, weight, bias)
    return out if bias is None else out.add_(bias)


def plain_norm_linear(
    x: Tensor,
    delta: Tensor,
    norm_weight: Tensor,
    eps: float,
    weight: Tensor,
    bias: Tensor | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """`norm_linear` in PyTorch."""
    normed, total = plain_add_norm(x, delta, norm_weight, eps, alpha, beta)
    return _product(normed, weight, bias), total


def plain_norm_gate_up(
    x: Tensor, delta: Tensor, norm_weight: Tensor, eps: float, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """`norm_gate_up` in PyTorch."""
    normed, total = plain_add_norm(x, delta, norm_weight, eps)
    return plain_silu_mul(_product(normed, weight)), total


def plain_head(x: Tensor, weight: Tensor) -> Tensor:
    """`head` in PyTorch."""
    if x.is_cuda and weight.dtype != torch.float32:
        return torch.mm(x, weight.t(), out_dtype=torch.float32)
    return _product(x.float(), weight.float())
