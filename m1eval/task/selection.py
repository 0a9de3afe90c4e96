"""The samples that `--limit` selects: random ones, evenly over lengths, depths and subtasks.

All samples are put into one order, and a limit takes its first ones, so that a larger limit contains a smaller one.
"""

import math
import random
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

COLUMNS = ("length", "depth", "subtask")
"""Columns of a table that the selection is stratified by."""
MAX_VALUES = 64
"""Maximum number of values of a column that are strata; more are grouped."""
MAX_CELLS = 512
"""Maximum number of strata in an incomplete grid; above, the last column is left out."""

Cell = tuple[Hashable, ...]
"""A combination of values, one of each column."""


def limited(numbers: Sequence[int], limit: int, seed: int, columns: Mapping[str, Sequence[Any]]) -> list[int]:
    """`limit` of the numbers, in their order; `columns` has the values of each column for these numbers."""
    order = list(range(len(numbers)))
    random.Random(seed).shuffle(order)
    factors = [factor for values in columns.values() if len(set(factor := _factor(values))) > 1]
    if factors:
        order = _even(order, factors, seed)
    return sorted(numbers[i] for i in order[:limit])


def unlike_columns(columns: Mapping[str, Sequence[Any]], chosen: Sequence[int]) -> list[str]:
    """The columns whose values differ in share between the chosen numbers and all, by more than one sample."""
    names = []
    for name, values in columns.items():
        factor = _factor(values)
        whole, part = Counter(factor), Counter(factor[i] for i in chosen)
        share = len(chosen) / len(factor)
        if any(abs(part[value] - number * share) > 1 for value, number in whole.items()):
            names.append(name)
    return names


def _factor(values: Sequence[Any]) -> Sequence[Hashable]:
    """The strata of a column: its values, or for many numbers their powers of two or tenths of the range."""
    texts = [value if isinstance(value, int | float | str) else repr(value) for value in values]
    if len(set(texts)) <= MAX_VALUES:
        return texts
    if not all(isinstance(value, int | float) and abs(value) < 2**63 for value in texts):
        return [""] * len(texts)
    numbers = [float(value) for value in texts]
    low, high = min(numbers), max(numbers)
    if low > 0 and high / low > 10:
        return [int(value).bit_length() for value in numbers]
    return [min(int((value - low) / (high - low) * 10), 9) for value in numbers]


def _even(order: Sequence[int], factors: Sequence[Sequence[Hashable]], seed: int) -> list[int]:
    """The order with one sample of each combination of values in turn, as long as there are any."""
    cells = _cells(order, factors)
    while len(cells) > MAX_CELLS and not _is_grid(cells):
        factors = factors[:-1]
        cells = _cells(order, factors)
    queues = [cells[cell] for cell in (_diagonals(cells, seed) if _is_grid(cells) else _rarest_first(cells))]
    return [queue[n] for n in range(max(map(len, queues))) for queue in queues if n < len(queue)]


def _cells(order: Sequence[int], factors: Sequence[Sequence[Hashable]]) -> dict[Cell, list[int]]:
    """The numbers of each combination of values that occurs, in order."""
    cells: dict[Cell, list[int]] = {}
    for i in order:
        cells.setdefault(tuple(factor[i] for factor in factors), []).append(i)
    return cells


def _is_grid(cells: Mapping[Cell, object]) -> bool:
    """Whether every combination of the values occurs."""
    return math.prod(len(set(values)) for values in zip(*cells, strict=True)) == len(cells)


def _diagonals(cells: Iterable[Cell], seed: int) -> list[Cell]:
    """All combinations of a whole grid, so that each value comes as often as the others, or once less, at any point.

    The grid is traversed along its diagonals; the values of a column are in random order.
    """
    values = [list(dict.fromkeys(column)) for column in zip(*cells, strict=True)]
    for column in values:
        random.Random(f"{seed}/{len(column)}").shuffle(column)
    sequence: list[Cell] = [()]
    for column in values:
        both = math.lcm(len(sequence), len(column))
        sequence = [
            (*sequence[i % len(sequence)], column[(i + i // both) % len(column)])
            for i in range(len(sequence) * len(column))
        ]
    return sequence


def _rarest_first(cells: Iterable[Cell]) -> list[Cell]:
    """All combinations of an incomplete grid, always followed by the one whose values are the rarest so far."""
    left = dict.fromkeys(cells)
    counts: list[Counter[Hashable]] = [Counter() for _ in next(iter(left))]
    sequence = []
    while left:
        cell = min(left, key=lambda cell: sum(count[value] for count, value in zip(counts, cell, strict=True)))
        del left[cell]
        sequence.append(cell)
        for count, value in zip(counts, cell, strict=True):
            count[value] += 1
    return sequence
