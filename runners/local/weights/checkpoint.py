"""`Checkpoint`: a model's config and named tensors on disk, in any format."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

CPU = torch.device("cpu")
TensorSlice = tuple[slice, ...]
"""One slice per leading dimension; empty for the whole tensor."""


class Checkpoint(Protocol):
    """Tensors under the names of Hugging Face transformers."""

    config_file: Path
    """The file that the config was read from."""
    config: Mapping[str, Any]
    """The fields of config.json, or their equivalent."""

    def shapes(self) -> Mapping[str, Sequence[int]]:
        """Shapes of all tensors, by name."""

    def tensor(self, name: str, part: TensorSlice = (), device: torch.device = CPU) -> Tensor:
        """A tensor, or a part of it; `device` is where it will be used, and where dequantisation may run."""

    def check(self, names: Collection[str]) -> None:
        """RunnerError if one of these tensors has an unsupported number format."""


def first_line(error: Exception) -> str:
    """The first line of an error's message, printable and cut to 200 characters."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return line if line.isprintable() else repr(line)
