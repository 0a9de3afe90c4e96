"""ZebraLogic's puzzles; the public copy of the set has blanks for solutions, by which nothing can be graded."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from m1eval import LazySample, UsageError


def puzzles(rows: Sequence[Mapping[str, Any]]) -> Iterator[LazySample]:
    """Samples of ZebraLogic: each row by its `id`, after a look at the first solution."""
    if len(rows) and _blank(rows[0]["solution"]):
        raise UsageError("the puzzles have no solutions: the cells are blanks (allenai/ZebraLogicBench is such a copy)")
    for number in range(len(rows)):
        yield LazySample(id=str(rows[number]["id"]), build=partial(_row, rows, number))


def _row(rows: Sequence[Mapping[str, Any]], number: int) -> dict[str, Any]:
    return dict(rows[number])


def _blank(solution: Mapping[str, Any]) -> bool:
    cells = [cell for row in solution["rows"] for cell in row[1:]]
    return not any(str(cell).strip("_ ") for cell in cells)
