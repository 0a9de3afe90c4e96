"""Data layouts that operations and their kernels share; the only module of `ops` that kernels import."""

from typing import NamedTuple

from torch import Tensor

LAST, LENGTH, SEED, INDEX, TOP_K = range(5)
"""Rows of the `ints` tensor [5, slots] int64: last token id, length, seed, index of the next token, top_k."""


class SlotMapping(NamedTuple):
    """Where the tokens of a step are cached: slots [rows] int64, block * size + offset; lengths with them, int32."""

    slots: Tensor
    lengths: Tensor


class StepInputs(NamedTuple):
    """Inputs of a decode step: ids and positions [rows] int64, block tables [rows, blocks] int32, slot mapping."""

    ids: Tensor
    positions: Tensor
    tables: Tensor
    mapping: SlotMapping
