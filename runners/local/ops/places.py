"""The few numbers of each row that a step of drawing begins and ends with: last token, length, blocks."""

from typing import NamedTuple

from torch import Tensor

from . import kernels

LAST, LENGTH, SEED, INDEX, TOP_K = range(5)
"""Which of a row's integers is what."""


class Places(NamedTuple):
    """Where the tokens of a step go, [rows] each: the slot in the pools, int64; the length with the token, int32."""

    slots: Tensor
    lengths: Tensor


def placed(tables: Tensor, positions: Tensor, block: int) -> Places:
    """Of tokens at positions [rows] int64; tables [rows, blocks] int32, the blocks of each row, of `block` tokens."""
    number = tables.gather(1, (positions // block)[:, None]).squeeze(1).long()
    return Places(number * block + positions % block, (positions + 1).int())


def begun(ints: Tensor, tables: Tensor, rows: Tensor, block: int) -> tuple[Tensor, Tensor, Tensor, Places]:
    """What a step begins with: token ids and their positions, [rows] int64 each, tables [rows, blocks], and places.

    ints [5, all rows] int64; tables [all rows, blocks] int32, which may be columns of a wider one; rows int64. A last
    token below 0, which stands for none, is taken as 0.
    """
    if kernels(ints):
        from ..kernels import places

        return places.begun(ints, tables, rows, block)
    return plain_begun(ints, tables, rows, block)


def plain_begun(ints: Tensor, tables: Tensor, rows: Tensor, block: int) -> tuple[Tensor, Tensor, Tensor, Places]:
    """`begun` in PyTorch."""
    positions, own = ints[LENGTH, rows], tables[rows]
    return ints[LAST, rows].clamp(min=0), positions, own, placed(own, positions, block)


def ended(ints: Tensor, rows: Tensor, tokens: Tensor, spare: int, longer: int) -> None:
    """Note tokens [rows] int64 as the last of these rows, and that each row has drawn one more and is `longer` more.

    The row `spare`, which may stand in rows many times, stays at nought.
    """
    if kernels(ints):
        from ..kernels import places

        return places.ended(ints, rows, tokens, spare, longer)
    return plain_ended(ints, rows, tokens, spare, longer)


def plain_ended(ints: Tensor, rows: Tensor, tokens: Tensor, spare: int, longer: int) -> None:
    """`ended` in PyTorch."""
    ints[LAST, rows] = tokens
    ints[INDEX, rows] = ints[INDEX, rows] + 1
    ints[LENGTH, rows] = ints[LENGTH, rows] + longer
    ints[:, spare] = 0
