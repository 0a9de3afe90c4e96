"""Why samples errored: reasons that differ only in numbers, ids or quoted text are one kind, each with its count."""

import re
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from m1eval import secrets
from m1eval.text import plural

MOST_KINDS = 100
"""Kinds that are told apart; what comes beyond goes by its first words, and beyond twice as many under one name."""
LONGEST = 300
"""Characters of a reason that are looked at and kept."""
OTHER = "other reasons"
_VARYING = re.compile(
    r"\b0x[0-9a-fA-F]+|\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b|\b(?=[\w-]*\d)[\w-]{12,}"
    r"|\d+(?:[.,:]\d+)*|'[^'\n]{0,200}'|\"[^\"\n]{0,200}\""
)
"""What varies between two errors of one kind: ids, numbers, quotations."""


class Reason(Struct):
    """One kind of error: the first that came, its sample, and how many there are."""

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
        text = secrets.redact(" ".join((error or "no reason was given")[: 4 * LONGEST].split()))
        text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
        kind = self._kind(_VARYING.sub("#", text))
        known = self._kinds.get(kind)
        if known is None:
            known = self._kinds[kind] = Reason(kind, OTHER if kind == OTHER else text, sample[:LONGEST])
        known.count += 1
        return known.kind

    def drop(self, kind: str) -> None:
        """One error of this kind has been made good."""
        known = self._kinds.get(kind)
        if known is not None:
            known.count -= 1
            if not known.count:
                del self._kinds[kind]

    def most(self, n: int | None = None) -> Sequence[Reason]:
        """The most frequent kinds."""
        return sorted(self._kinds.values(), key=lambda kind: -kind.count)[:n]

    def built(self, n: int = 10) -> list[dict[str, Any]]:
        """The most frequent kinds as `--json` prints them; what is beyond `n` of them is in the last."""
        found = [{"reason": each.reason, "count": each.count, "example": each.example} for each in self.most(n)]
        rest = self.most()[n:]
        if rest:
            count = sum(each.count for each in rest)
            found.append({"reason": _more(rest), "count": count, "example": rest[0].example})
        return found

    def lines(self, n: int = 3) -> list[str]:
        """The most frequent kinds, a line each, and how many more there are."""
        found = [f"{each.count} × {each.reason} (such as {each.example})" for each in self.most(n)]
        rest = self.most()[n:]
        if rest:
            found.append(f"{sum(each.count for each in rest)} × {_more(rest)}")
        return found

    def _kind(self, text: str) -> str:
        """The name of a kind: the text without what varies; less of it once there are many."""
        if text in self._kinds or len(self._kinds) < MOST_KINDS:
            return text
        first = " ".join(text[:60].split()[:3])
        return first if first in self._kinds or len(self._kinds) < 2 * MOST_KINDS else OTHER


def _more(rest: Sequence[Reason]) -> str:
    return plural(len(rest), "more kind")
