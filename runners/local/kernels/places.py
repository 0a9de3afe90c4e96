# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,import-untyped"
"""What a step of drawing begins and ends with, one kernel each in place of a dozen."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..ops.places import INDEX, LAST, LENGTH, Places
from . import pdl as dependent
from .pdl import follow


def begun(ints: Tensor, tables: Tensor, rows: Tensor, block: int) -> tuple[Tensor, Tensor, Tensor, Places]:
    """See `ops.places.begun`."""
    count, blocks, use = len(rows), tables.shape[1], dependent.use()
    ids, positions, slots = (torch.empty(count, dtype=torch.int64, device=ints.device) for _ in range(3))
    lengths = torch.empty(count, dtype=torch.int32, device=ints.device)
    own = torch.empty(count, blocks, dtype=torch.int32, device=ints.device)
    if count:
        _begun[(count,)](
            ints, tables, rows, ids, positions, own, slots, lengths, ints.stride(0), tables.stride(0), blocks, block,
            LAST, LENGTH, 256, use, num_warps=1, **dependent.launch(use),
        )  # fmt: skip
    return ids, positions, own, Places(slots, lengths)


@triton.jit(do_not_specialize=["blocks"])
def _begun(
    ints, tables, rows, ids, positions, own, slots, lengths, stride, table_stride, blocks, block: tl.constexpr,
    last: tl.constexpr, length: tl.constexpr, wide: tl.constexpr, pdl: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64)
    follow(pdl)
    row = tl.load(rows + at)
    position = tl.load(ints + length * stride + row)
    table = tables + row * table_stride
    tl.store(ids + at, tl.maximum(tl.load(ints + last * stride + row), 0))
    tl.store(positions + at, position)
    tl.store(lengths + at, (position + 1).to(tl.int32))
    tl.store(slots + at, tl.load(table + position // block).to(tl.int64) * block + position % block)
    for first in tl.range(0, blocks, wide):
        column = first + tl.arange(0, wide)
        tl.store(own + at * blocks + column, tl.load(table + column, column < blocks, 0), column < blocks)


def ended(ints: Tensor, rows: Tensor, tokens: Tensor, spare: int, longer: int) -> None:
    """See `ops.places.ended`."""
    use = dependent.use()
    if len(rows):
        _ended[(len(rows),)](
            ints, rows, tokens, ints.stride(0), spare, longer, len(ints), LAST, LENGTH, INDEX,
            triton.next_power_of_2(len(ints)), use, num_warps=1, **dependent.launch(use),
        )  # fmt: skip


@triton.jit(do_not_specialize=["spare", "longer"])
def _ended(
    ints, rows, tokens, stride, spare, longer, count: tl.constexpr, last: tl.constexpr, length: tl.constexpr,
    index: tl.constexpr, pad: tl.constexpr, pdl: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0)
    field = tl.arange(0, pad)
    follow(pdl)
    row = tl.load(rows + at)
    where = ints + field * stride + row
    value = tl.load(where, field < count, 0)
    value = tl.where(field == last, tl.load(tokens + at), value)
    value += tl.where(field == index, 1, 0) + tl.where(field == length, longer, 0)
    tl.store(where, tl.where(row == spare, 0, value), field < count)
