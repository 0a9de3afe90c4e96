"""Kernels run here as they are on a GPU, and by Triton's interpreter on a CPU elsewhere."""

import importlib
import os

import pytest
import torch

from m1eval import load

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when a kernel is defined, so before any of them is imported

interpreter = pytest.importorskip("triton.runtime.interpreter", reason="triton is not installed")


def _index_of_one_element(tensor, scope, patch=interpreter._patch_lang_tensor):
    """NumPy 2.4 no longer takes an array of one element for an integer, which the interpreter's loop bounds are."""
    patch(tensor, scope)
    scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))


interpreter._patch_lang_tensor = _index_of_one_element


@pytest.fixture
def device():
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture
def part():
    """part("kernels.norm") is that module of the runner."""
    local = load("runners", "local")
    return lambda name: importlib.import_module(f"{local.__name__}.{name}")
