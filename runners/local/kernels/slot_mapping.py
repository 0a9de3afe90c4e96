# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,import-untyped"
"""Loading the inputs of a decode step and storing its outputs, one kernel each instead of a dozen."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..ops.layout import INDEX, LAST, LENGTH, SlotMapping, StepInputs
from .pdl import launch_options, use_pdl, wait_for_previous


def load_step_inputs(ints: Tensor, tables: Tensor, rows: Tensor, block: int) -> StepInputs:
    """See `ops.slot_mapping.load_step_inputs`."""
    count, blocks, use = len(rows), tables.shape[1], use_pdl()
    ids, positions, slots = (torch.empty(count, dtype=torch.int64, device=ints.device) for _ in range(3))
    lengths = torch.empty(count, dtype=torch.int32, device=ints.device)
    selected = torch.empty(count, blocks, dtype=torch.int32, device=ints.device)
    if count:
        _load_step_inputs[(count,)](
            ints, tables, rows, ids, positions, selected, slots, lengths, ints.stride(0), tables.stride(0), blocks,
            block, LAST, LENGTH, 256, use, num_warps=1, **launch_options(use),
        )  # fmt: skip
    return StepInputs(ids, positions, selected, SlotMapping(slots, lengths))


@triton.jit(do_not_specialize=["blocks"])
def _load_step_inputs(
    ints, tables, rows, ids, positions, selected, slots, lengths, stride, table_stride, blocks, block: tl.constexpr,
    last: tl.constexpr, length: tl.constexpr, chunk: tl.constexpr, pdl: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0).to(tl.int64)
    wait_for_previous(pdl)
    row = tl.load(rows + index)
    position = tl.load(ints + length * stride + row)
    table = tables + row * table_stride
    tl.store(ids + index, tl.maximum(tl.load(ints + last * stride + row), 0))
    tl.store(positions + index, position)
    tl.store(lengths + index, (position + 1).to(tl.int32))
    tl.store(slots + index, tl.load(table + position // block).to(tl.int64) * block + position % block)
    for first in tl.range(0, blocks, chunk):
        column = first + tl.arange(0, chunk)
        tl.store(selected + index * blocks + column, tl.load(table + column, column < blocks, 0), column < blocks)


def store_step_outputs(ints: Tensor, rows: Tensor, tokens: Tensor, spare: int, growth: int) -> None:
    """See `ops.slot_mapping.store_step_outputs`."""
    use = use_pdl()
    if len(rows):
        _store_step_outputs[(len(rows),)](
            ints, rows, tokens, ints.stride(0), spare, growth, len(ints), LAST, LENGTH, INDEX,
            triton.next_power_of_2(len(ints)), use, num_warps=1, **launch_options(use),
        )  # fmt: skip


@triton.jit(do_not_specialize=["spare", "growth"])
def _store_step_outputs(
    ints, rows, tokens, stride, spare, growth, count: tl.constexpr, last: tl.constexpr, length: tl.constexpr,
    next_index: tl.constexpr, pad: tl.constexpr, pdl: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0)
    field = tl.arange(0, pad)
    wait_for_previous(pdl)
    row = tl.load(rows + index)
    pointer = ints + field * stride + row
    value = tl.load(pointer, field < count, 0)
    value = tl.where(field == last, tl.load(tokens + index), value)
    value += tl.where(field == next_index, 1, 0) + tl.where(field == length, growth, 0)
    tl.store(pointer, tl.where(row == spare, 0, value), field < count)
