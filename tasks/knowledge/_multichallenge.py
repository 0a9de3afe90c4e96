"""MultiChallenge's conversations; the hub's copy writes its columns in capitals."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from m1eval import Recipe


def conversations(rows: Sequence[Mapping[str, Any]]) -> Iterator[Recipe]:
    """Rows with `conversation` (messages), `target_question`, `pass_criteria` and `axis`."""
    for number in range(len(rows)):
        row = rows[number]
        name = row.get("QUESTION_ID") or row.get("question_id") or number + 1
        yield Recipe(id=f"multichallenge-{name}", build=partial(_conversation, rows, number))


def _conversation(rows: Sequence[Mapping[str, Any]], number: int) -> dict[str, Any]:
    row = {key.lower(): value for key, value in rows[number].items()}
    return {name: row[name] for name in ("conversation", "target_question", "pass_criteria", "axis")}
