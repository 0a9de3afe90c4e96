"""BABILong's rows as samples: a text with facts in it, and a question."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from m1eval import Recipe

from ._gauge import user
from ._lengths import UNITS

HEAD = (
    "In the following text, facts about people, places and things are scattered among much else. "
    "Answer the question by these facts alone; where they change, the latest counts.\n\n<context>\n"
)
TAIL = "\n</context>\n\nQuestion: {question}\nAnswer with as few words as possible, and write nothing else."


def samples(
    *, table: Callable[..., Any], lengths: Sequence[str], subtasks: Sequence[str], samples: int
) -> Iterator[Recipe]:
    """The first `samples` rows of each subtask and length; columns `subtask` and `length` (tokens of GPT-2, about)."""
    for name in map(str, lengths):
        for subtask in subtasks:
            rows = table(config=name, split=subtask)
            kept = [i for i in range(len(rows)) if _is(rows[i], name, subtask)]
            for i in kept[:samples]:
                yield Recipe(id=f"{subtask}-{name}-{i + 1}", build=partial(_row, rows, i, name, subtask))


def _is(row: Mapping[str, Any], length: str, subtask: str) -> bool:
    """Whether a row is of these; in a file of one's own, columns of these names may say so."""
    return str(row.get("config", length)) == length and str(row.get("split", subtask)) == subtask


def _row(rows: Sequence[Mapping[str, Any]], i: int, name: str, subtask: str) -> dict[str, Any]:
    row = rows[i]
    text = f"{HEAD}{row['input'].strip()}{TAIL.format(question=row['question'].strip())}"
    length = int(name[:-1]) * UNITS[name[-1].lower()]
    return {
        "messages": [user(text)],
        "question": row["question"],
        "target": row["target"],
        "subtask": subtask,
        "length": length,
    }
