"""MultiChallenge's conversations in either form: the authors' repository has messages under columns in capitals, the
hub has small letters and two lists, of roles and of texts.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from m1eval import LazySample, UsageError

COLUMNS = ("target_question", "pass_criteria", "axis")


def conversations(rows: Sequence[Mapping[str, Any]]) -> Iterator[LazySample]:
    """Rows with `conversation` (messages), `target_question`, `pass_criteria` and `axis`."""
    for number in range(len(rows)):
        row = rows[number]
        name = row.get("QUESTION_ID") or row.get("question_id") or number + 1
        yield LazySample(id=f"multichallenge-{name}", build=partial(_conversation, rows, number))


def _conversation(rows: Sequence[Mapping[str, Any]], number: int) -> dict[str, Any]:
    row = {key.lower(): value for key, value in rows[number].items()}
    return {"conversation": _messages(row["conversation"]), **{name: row[name] for name in COLUMNS}}


def _messages(conversation: Any) -> Any:
    """Messages as they are, or made of the two lists that `datasets` gives for a sequence of structures."""
    if not isinstance(conversation, Mapping):
        return conversation
    roles, texts = conversation["role"], conversation["content"]
    if len(roles) != len(texts):
        raise UsageError(f"a conversation of {len(roles)} roles and {len(texts)} texts")
    return [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]
