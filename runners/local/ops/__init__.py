"""What models compute, one file a subject: each in PyTorch, which runs anywhere and is the reference, and where it pays
as a Triton kernel (in `kernels/`, same names and arguments), which `kernels(tensor)` says to take.
"""

import os
from functools import cache
from importlib.util import find_spec

from torch import Tensor

CHOICE = "M1EVAL_KERNELS"
"""Environment variable: `torch` or `triton` forces one way; tests run kernels on a CPU by it, interpreted."""


@cache
def _forced() -> str | None:
    return os.environ.get(CHOICE)


@cache
def _triton() -> bool:
    return find_spec("triton") is not None


def kernels(tensor: Tensor) -> bool:
    """Whether the Triton kernel is to be used on tensors like this one."""
    if forced := _forced():
        return forced == "triton"
    return tensor.is_cuda and _triton()
