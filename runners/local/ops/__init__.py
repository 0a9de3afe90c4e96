"""The operations of models, one file a subject.

Each is written in PyTorch, which runs anywhere and is the reference; where a Triton kernel is faster, `@accelerated`
finds it in `kernels/` under the same module and function name, with the same arguments.
"""

import os
from collections.abc import Callable
from functools import cache, partial, wraps
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ParamSpec, Protocol, TypeVar, overload

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


class Operation(Protocol[P, R]):
    """An operation with a kernel; its first argument's device decides between that and the reference."""

    reference: Callable[P, R]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The kernel's result where there is a GPU and the kernel takes the arguments, else the reference's."""


class Decorator(Protocol):
    """A decorator that keeps the signature of the operation."""

    def __call__(self, reference: Callable[P, R], /) -> Operation[P, R]:
        """The operation of a reference."""


@cache
def find_kernel(reference: Callable[..., Any]) -> Callable[..., Any]:
    """The kernel of an operation, imported on first use: without a GPU there may be no Triton."""
    package, _, module = reference.__module__.rpartition(".")
    kernel: Callable[..., Any] = getattr(import_module(f"..kernels.{module}", package), reference.__name__)
    return kernel


@overload
def accelerated(reference: Callable[P, R], /) -> Operation[P, R]: ...
@overload
def accelerated(*, when: Callable[..., bool]) -> Decorator: ...
def accelerated(reference: Any = None, /, *, when: Callable[..., bool] | None = None) -> Any:
    """Declare an operation that has a kernel; `when(*args)` says which arguments the kernel takes (default: all)."""
    if reference is None:
        return partial(accelerated, when=when)

    @wraps(reference)
    def operation(*args: Any, **kwargs: Any) -> Any:
        if use_kernels(args[0]) and (when is None or when(*args, **kwargs)):
            return find_kernel(reference)(*args, **kwargs)
        return reference(*args, **kwargs)

    operation.reference = reference  # type: ignore[attr-defined]
    return operation
