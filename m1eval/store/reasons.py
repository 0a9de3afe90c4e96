"""Reasons of errored samples: those that differ only in numbers, ids or quoted text are one kind, with its count."""

import re
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from m1eval import secrets
from m1eval.text import plural

MAX_KINDS = 100
"""Kinds that are told apart; what comes beyond goes by its first words, and beyond twice as many under one name."""
MAX_LENGTH = 300
"""Characters of a reason that are looked at and kept."""
OTHER = "other reasons"
_VARYING = re.compile(
    r"\b0x[0-9a-fA-F]+|\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b|\b(?=[\w-]*\d)[\w-]{12,}"
    r"|\d+(?:[.,:]\d+)*|'[^'\n]{0,200}'|\"[^\"\n]{0,200}\""
)
"""Variable parts of an error message: ids, numbers, quotations."""


class Reason(Struct):
    """One kind of error: its first message and sample, and its count."""

    kind: str
    reason: str
    example: str
    count: int = 0


class Reasons:
    """The kinds of errors of a run, in memory that does not grow with their number."""

    def __init__(self) -> None:
        self._kinds: dict[str, Reason] = {}

    def add(self, error: str | None, sample: str) -> str:
        """Count an error; the name of its kind, by which `drop` takes it out again."""
        text = _shorten(error or "no reason was given")
        kind = self._kind(_VARYING.sub("#", text))
        entry = self._kinds.get(kind)
        if entry is None:
            entry = self._kinds[kind] = Reason(kind, OTHER if kind == OTHER else text, sample[:MAX_LENGTH])
        entry.count += 1
        return entry.kind

    def drop(self, kind: str) -> None:
        """Remove an error of this kind, which a retry has replaced."""
        entry = self._kinds.get(kind)
        if entry is not None:
            entry.count -= 1
            if not entry.count:
                del self._kinds[kind]

    def most_frequent(self, n: int | None = None) -> Sequence[Reason]:
        """The most frequent kinds."""
        return sorted(self._kinds.values(), key=lambda kind: -kind.count)[:n]

    def built(self, n: int = 10) -> list[dict[str, Any]]:
        """The most frequent kinds as `--json` prints them; what is beyond `n` of them is in the last."""
        errors = [
            {"reason": each.reason, "count": each.count, "example": each.example} for each in self.most_frequent(n)
        ]
        rest = self.most_frequent()[n:]
        if rest:
            count = sum(each.count for each in rest)
            errors.append({"reason": _more(rest), "count": count, "example": rest[0].example})
        return errors

    def lines(self, n: int = 3) -> list[str]:
        """The most frequent kinds, a line each, and how many more there are."""
        lines = [f"{each.count} × {each.reason} (such as {each.example})" for each in self.most_frequent(n)]
        rest = self.most_frequent()[n:]
        if rest:
            lines.append(f"{sum(each.count for each in rest)} × {_more(rest)}")
        return lines

    def _kind(self, text: str) -> str:
        """The name of a kind: the text without what varies; less of it once there are many."""
        if text in self._kinds or len(self._kinds) < MAX_KINDS:
            return text
        first = " ".join(text[:60].split()[:3])
        return first if first in self._kinds or len(self._kinds) < 2 * MAX_KINDS else OTHER


def kind_of(error: str) -> str:
    """A reason without its variable parts, which is the same for errors that are counted together."""
    return _VARYING.sub("#", _shorten(error))


def _shorten(error: str) -> str:
    text = secrets.redact(" ".join(error[: 4 * MAX_LENGTH].split()))
    return text if len(text) <= MAX_LENGTH else f"{text[: MAX_LENGTH - 1]}…"


def _more(rest: Sequence[Reason]) -> str:
    return plural(len(rest), "more kind")
