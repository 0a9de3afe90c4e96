"""`Checkpoint`: a model's config and named tensors on disk, in whatever format."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

CPU = torch.device("cpu")
Part = tuple[slice, ...]
"""A slice of a tensor, as far as dimensions are named; empty for all of it."""


class Checkpoint(Protocol):
    """Tensors under the names of Hugging Face transformers."""

    about: Path
    """The file that the config is from."""
    config: Mapping[str, Any]
    """What config.json says, or would say."""

    def shapes(self) -> Mapping[str, Sequence[int]]:
        """The tensors there are."""

    def tensor(self, name: str, part: Part = (), device: torch.device = CPU) -> Tensor:
        """One of them, or a part of it; `device` is where it is wanted, and where to compute if reading takes that."""

    def check(self, names: Collection[str]) -> None:
        """RunnerError if one of them is stored in numbers that cannot be read."""


def first_line(error: Exception) -> str:
    """What an error says, for a message of one line."""
    said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return said if said.isprintable() else repr(said)
