"""Gathering the inputs of a decode step from the per-row state on the device, and storing its outputs there."""

from torch import Tensor

from . import accelerated
from .layout import INDEX, LAST, LENGTH, SlotMapping, StepInputs


def slot_mapping(tables: Tensor, positions: Tensor, block: int) -> SlotMapping:
    """Cache slots of tokens at positions [rows] int64; tables [rows, blocks] int32, blocks of `block` tokens each."""
    number = tables.gather(1, (positions // block)[:, None]).squeeze(1).long()
    return SlotMapping(number * block + positions % block, (positions + 1).int())


@accelerated
def load_step_inputs(ints: Tensor, tables: Tensor, rows: Tensor, block: int) -> StepInputs:
    """Inputs of a decode step for these rows.

    ints [5, all rows] int64; tables [all rows, blocks] int32, which may be columns of a wider one; rows int64. A last
    token below 0, which means none, becomes 0.
    """
    positions, selected = ints[LENGTH, rows], tables[rows]
    return StepInputs(ints[LAST, rows].clamp(min=0), positions, selected, slot_mapping(selected, positions, block))


@accelerated
def store_step_outputs(ints: Tensor, rows: Tensor, tokens: Tensor, spare: int, growth: int) -> None:
    """Store tokens [rows] int64 as the last of these rows, advance their index by 1 and their length by `growth`.

    The row `spare`, which may occur many times in rows, stays all zero.
    """
    ints[LAST, rows] = tokens
    ints[INDEX, rows] = ints[INDEX, rows] + 1
    ints[LENGTH, rows] = ints[LENGTH, rows] + growth
    ints[:, spare] = 0
