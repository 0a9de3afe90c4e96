"""SiLU (arXiv 1702.03118) in place."""

from torch import Tensor
from torch.nn import functional

from . import accelerated


@accelerated(when=lambda x: x.stride(1) == 1)
def silu_(x: Tensor) -> Tensor:
    """`x * sigmoid(x)` written over x [tokens, width], computed in fp32; rows may be slices of wider ones."""
    return functional.silu(x, inplace=True)
