"""The operations of models, one file a subject.

Each is written in PyTorch, which runs anywhere and is the reference; where a Triton kernel is faster, `@accelerated`
finds it in `kernels/` under the same module and function name, with the same arguments.
"""

import os
from collections.abc import Callable
from functools import cache, cached_property, update_wrapper
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, overload

from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")
CHOICE = "M1EVAL_KERNELS"
"""Environment variable: `torch` or `triton` forces either; tests run kernels on a CPU by it, interpreted."""


@cache
def _forced() -> str | None:
    return os.environ.get(CHOICE)


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None


def use_kernels(tensor: Tensor) -> bool:
    """Whether Triton kernels are used for tensors like this one."""
    if forced := _forced():
        return forced == "triton"
    return tensor.is_cuda and _has_triton()


class Operation(Generic[P, R]):
    """An operation with a reference implementation and a kernel; the first argument's device decides between them."""

    def __init__(self, reference: Callable[P, R], when: Callable[..., bool] | None) -> None:
        update_wrapper(self, reference)
        self.reference, self.when = reference, when

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The kernel's result where there is a GPU and `when` allows it, else the reference's."""
        first: Any = args[0]
        if use_kernels(first) and (self.when is None or self.when(*args, **kwargs)):
            return self.kernel(*args, **kwargs)
        return self.reference(*args, **kwargs)

    @cached_property
    def kernel(self) -> Callable[P, R]:
        """The kernel, imported on first use: without a GPU there may be no Triton."""
        package, _, module = self.reference.__module__.rpartition(".")
        function: Callable[P, R] = getattr(import_module(f"..kernels.{module}", package), self.reference.__name__)
        return function


class Decorator(Protocol):
    """A decorator that keeps the signature of the operation."""

    def __call__(self, reference: Callable[P, R], /) -> Operation[P, R]:
        """The operation of a reference."""


@overload
def accelerated(reference: Callable[P, R], /) -> Operation[P, R]: ...
@overload
def accelerated(*, when: Callable[..., bool]) -> Decorator: ...
def accelerated(reference: Any = None, /, *, when: Callable[..., bool] | None = None) -> Any:
    """Declare an operation that has a kernel; `when(*args)` says which arguments the kernel takes (default: all)."""
    if reference is None:
        return lambda function: Operation(function, when)
    return Operation(reference, when)
