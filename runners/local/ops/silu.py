"""SiLU (arXiv 1702.03118) in place."""

from torch import Tensor
from torch.nn import functional

from . import kernels


def silu_(x: Tensor) -> Tensor:
    """`x * sigmoid(x)` written over x [tokens, width], computed in fp32; rows may be slices of wider ones."""
    if kernels(x) and x.stride(1) == 1:
        from ..kernels import silu

        return silu.silu_(x)
    return functional.silu(x, inplace=True)
