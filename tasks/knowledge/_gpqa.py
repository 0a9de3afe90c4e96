"""GPQA's questions with their four options in a drawn order."""

import random
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from m1eval import Recipe


def questions(rows: Sequence[Mapping[str, Any]], *, seed: int) -> Iterator[Recipe]:
    """Rows with `question`, `options` and `answer` (a letter); the order of the options is drawn from seed and row."""
    width = len(str(len(rows)))
    for number in range(len(rows)):
        yield Recipe(id=f"gpqa_diamond-{number + 1:0{width}}", build=partial(_question, rows, number, seed))


def _question(rows: Sequence[Mapping[str, Any]], number: int, seed: int) -> dict[str, Any]:
    row = rows[number]
    right = str(row["Correct Answer"]).strip()
    options = [right, *(str(row[f"Incorrect Answer {i}"]).strip() for i in (1, 2, 3))]
    order = random.Random(f"{seed} {number}").sample(range(4), 4)
    return {
        "question": str(row["Question"]).strip(),
        "options": [options[i] for i in order],
        "answer": "ABCD"[order.index(0)],
        "domain": row.get("High-level domain", ""),
    }
