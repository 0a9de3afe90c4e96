"""Root mean square norms (arXiv 1910.07467) and the gated activation.

Computed in fp32, scaled in the dtype of the input.
"""

import torch
from torch import Tensor
from torch.nn import functional

from . import accelerated


@accelerated
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm over the last dimension; x [..., width], weight [width], same dtype out."""
    # Written out: torch's own rms_norm takes five times as long for a row on a CPU.
    wide = x.float()
    scale = wide.square().mean(-1, keepdim=True).add_(eps).rsqrt_()
    return (wide * scale).to(x.dtype) * weight


@accelerated
def add_norm(
    x: Tensor, delta: Tensor, weight: Tensor, eps: float, alpha: float = 1.0, beta: float = 1.0
) -> tuple[Tensor, Tensor]:
    """`total = alpha * x + beta * delta` in the dtype of x, and its RMSNorm: (normed, total), each [tokens, width]."""
    unweighted = alpha == beta == 1.0
    total = x + delta if unweighted else torch.add(alpha * x.float(), delta.float(), alpha=beta).to(x.dtype)
    return rms_norm.reference(total, weight, eps), total


@accelerated
def gated_norm(x: Tensor, gate: Tensor, weight: Tensor, eps: float) -> Tensor:
    """`RMSNorm(x) * sigmoid(gate)`, the output norm of lightning attention; x and gate [tokens, width]."""
    return rms_norm.reference(x, weight, eps) * gate.sigmoid()


@accelerated
def silu_mul(gate_up: Tensor) -> Tensor:
    """`silu(gate) * up` of [tokens, 2 * width], the gate first: [tokens, width]."""
    gate, up = gate_up.chunk(2, -1)
    return functional.silu(gate) * up
