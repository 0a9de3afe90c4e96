"""Root mean square norms (arXiv 1910.07467) and the gated activation.

Computed in fp32, scaled in the dtype of the input.
"""

import torch
from torch import Tensor
from torch.nn import functional

from . import kernels


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm over the last dimension; x [tokens, width], weight [width], same dtype out."""
    if kernels(x):
        from ..kernels import norm

        return norm.rms_norm(x, weight, eps)
    return plain_rms_norm(x, weight, eps)


def add_norm(
    x: Tensor, delta: Tensor, weight: Tensor, eps: float, alpha: float = 1.0, beta: float = 1.0
) -> tuple[Tensor, Tensor]:
    """`total = alpha * x + beta * delta` in the dtype of x, and its RMSNorm: (normed, total), each [tokens, width]."""
    if kernels(x):
        from ..kernels import norm

        return norm.add_norm(x, delta, weight, eps, alpha, beta)
    return plain_add_norm(x, delta, weight, eps, alpha, beta)


def gated_norm(x: Tensor, gate: Tensor, weight: Tensor, eps: float) -> Tensor:
    """`RMSNorm(x) * sigmoid(gate)`; x and gate [tokens, width]: what lightning attention ends with."""
    if kernels(x):
        from ..kernels import norm

        return norm.gated_norm(x, gate, weight, eps)
    return plain_gated_norm(x, gate, weight, eps)


def silu_mul(gate_up: Tensor) -> Tensor:
    """`silu(gate) * up` of [tokens, 2 * width], the gate first: [tokens, width]."""
    if kernels(gate_up):
        from ..kernels import norm

        return norm.silu_mul(gate_up)
    return plain_silu_mul(gate_up)


def plain_rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """`rms_norm` in PyTorch, over any leading dimensions."""
    # Written out: torch's own rms_norm takes five times as long for a row on a CPU.
    wide = x.float()
    root = wide.square().mean(-1, keepdim=True).add_(eps).rsqrt_()
    return (wide * root).to(x.dtype) * weight


def plain_add_norm(
    x: Tensor, delta: Tensor, weight: Tensor, eps: float, alpha: float = 1.0, beta: float = 1.0
) -> tuple[Tensor, Tensor]:
    """`add_norm` in PyTorch."""
    plain = alpha == beta == 1.0
    total = x + delta if plain else torch.add(alpha * x.float(), delta.float(), alpha=beta).to(x.dtype)
    return plain_rms_norm(total, weight, eps), total


def plain_gated_norm(x: Tensor, gate: Tensor, weight: Tensor, eps: float) -> Tensor:
    """`gated_norm` in PyTorch."""
    return plain_rms_norm(x, weight, eps) * gate.sigmoid()


def plain_silu_mul(gate_up: Tensor) -> Tensor:
    """`silu_mul` in PyTorch."""
    gate, up = gate_up.chunk(2, -1)
    return functional.silu(gate) * up
