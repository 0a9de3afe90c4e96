"""Minerva's problems: the dataset gives the answer as a column, or only in the box of its solution."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from m1eval import load


def problems(rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows with `problem` and `answer`."""
    boxed = load("scorers", "math").last_boxed
    for number in range(len(rows)):
        row = rows[number]
        answer = row.get("answer") or boxed(str(row["solution"]))
        yield {"problem": row.get("problem") or row["question"], "answer": str(answer), "type": row.get("type", "")}
