"""Cache specs: what each layer caches of past tokens, and its size."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

BLOCK_SIZE = 64
"""Tokens of a cache block."""


class KVSpec(NamedTuple):
    """The cache of a softmax layer: a key and a value per token, each [heads, dim]."""

    heads: int
    dim: int


class MLASpec(NamedTuple):
    """The cache of multi-head latent attention: one key [dim] per token, whose first `values` numbers are the value."""

    dim: int
    values: int


class LinearStateSpec(NamedTuple):
    """The cache of linear attention: one fp32 matrix [heads, dim, dim] per sequence."""

    heads: int
    dim: int


CacheSpec = KVSpec | MLASpec | LinearStateSpec


def block_bytes(specs: Sequence[CacheSpec], dtype: torch.dtype) -> int:
    """Bytes of one block in all layers."""
    numbers = sum(spec.heads * spec.dim * 2 for spec in specs if isinstance(spec, KVSpec))
    numbers += sum(spec.dim for spec in specs if isinstance(spec, MLASpec))
    return numbers * BLOCK_SIZE * dtype.itemsize


def state_bytes(specs: Sequence[CacheSpec]) -> int:
    """Bytes of the state of one sequence in all layers."""
    return sum(spec.heads * spec.dim**2 * 4 for spec in specs if isinstance(spec, LinearStateSpec))
