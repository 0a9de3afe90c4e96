"""The questions of Humanity's Last Exam that need no picture."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from m1eval import Recipe

KEPT = ("question", "answer", "answer_type", "category")


def text_only(rows: Sequence[Mapping[str, Any]]) -> Iterator[Recipe]:
    """Rows without an image; the starred figures of MiniMax-M1's table are of these."""
    for number in range(len(rows)):
        row = rows[number]
        if not row.get("image"):
            yield Recipe(id=f"hle-{row.get('id', number + 1)}", build=partial(_question, rows, number))


def _question(rows: Sequence[Mapping[str, Any]], number: int) -> dict[str, Any]:
    row = rows[number]
    return {key: str(row.get(key) or "") for key in KEPT}
