"""The questions of Humanity's Last Exam that need no image."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from m1eval import LazySample

COLUMNS = ("question", "answer", "answer_type", "category")


def text_only(rows: Sequence[Mapping[str, Any]], note: Callable[[str], None]) -> Iterator[LazySample]:
    """Rows without an image; the starred figures of MiniMax-M1's table are of these."""
    left_out = 0
    for number in range(len(rows)):
        row = rows[number]
        if row.get("image"):
            left_out += 1
        else:
            yield LazySample(id=f"hle-{row.get('id') or number + 1}", build=partial(_question, rows, number))
    if left_out:
        note(f"{left_out:,} of {len(rows):,} rows need an image and are left out")


def _question(rows: Sequence[Mapping[str, Any]], number: int) -> dict[str, Any]:
    row = rows[number]
    required = {key: row[key] for key in ("question", "answer")}
    return {**{key: str(row.get(key) or "") for key in COLUMNS}, **required}
