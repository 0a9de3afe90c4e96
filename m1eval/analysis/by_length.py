"""Scores by the length of the prompt, with their intervals; length × depth; and how far a model can be trusted to read.

The length is the one a task was asked for (column `length`), else the tokens that the runner counted in the prompt.
"""

import math
from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import Struct, field

from m1eval.errors import UsageError
from m1eval.report.words import format_interval, format_score
from m1eval.store.journal_state import deduplicated
from m1eval.store.tally import Tally
from m1eval.types import Outcome, Timing, Usage
from m1eval.yaml_file import display_path

RULER = 0.856
"""What Llama-2-7B scores at 4k: RULER (Hsieh et al. 2024, section 4) calls a length effective if a model reaches it."""
THRESHOLD = 0.85
ROWS = ("depth", "subtask")
"""Columns that make the rows of a heat map, the first that is there."""
PART = "subtask"
"""The column whose values weigh the same in the score of a length."""
MOST_ROWS = 21


class Entry(Struct):
    """What of a record is needed here."""

    id: str
    outcome: Outcome
    value: float = 0.0
    usage: Usage = field(default_factory=Usage)
    timing: Timing = field(default_factory=Timing)
    metadata: dict[str, Any] = field(default_factory=dict)
    cluster: str = ""

    @property
    def length(self) -> int:
        """Tokens of the prompt, as asked for, else as counted; 0 if nobody said."""
        asked = self.metadata.get("length")
        known = asked if isinstance(asked, int) else self.usage.prompt or self.metadata.get("tokens")
        return known if isinstance(known, int) else 0


class Band(NamedTuple):
    """The samples of one length, or of a range of lengths, in all and by subtask."""

    longest: int
    label: str
    tally: Tally
    parts: dict[str, Tally]

    @property
    def samples(self) -> int:
        """Samples with at least one score."""
        return self.tally.samples

    @property
    def score(self) -> float | None:
        """Mean over the subtasks of their scores; None if one of them has none."""
        return self.tally.score if all(part.samples for part in self.parts.values()) else None

    @property
    def stderr(self) -> float | None:
        """Standard error of the score, the subtasks being independent."""
        return self.tally.stderr if self.score is not None else None

    def bounds(self, confidence: float = 0.95) -> tuple[float, float] | None:
        """The interval of the score, as in the table of results; None if a subtask has no score."""
        found = self.tally.problems_like_these
        return found.interval(confidence) if found and self.score is not None else None

    def perfect(self) -> "Band":
        """The same samples, all right."""
        return self._replace(tally=self.tally.all_right())


def entries(folder: Path, strangers: Set[str] = frozenset()) -> Iterator[Entry]:
    """What counts in a run: one record of each (sample, repeat), without those of `strangers`.

    UsageError if there is no journal.
    """
    journal = folder / "samples.jsonl" if folder.is_dir() else folder
    if journal.exists() and not journal.is_file():  # a device may have no end, and a journal is read twice
        raise UsageError(f"{display_path(folder)} is no run: {display_path(journal)} is not a regular file")
    try:
        for record in deduplicated(journal, strangers):
            yield Entry(
                *(record.id, record.outcome, record.score, record.usage, record.timing, record.metadata, record.cluster)
            )
    except OSError as error:
        raise UsageError(f"{display_path(folder)} is no run: {error.strerror}") from None


def bands(found: Iterable[Entry], edges: Sequence[int] = ()) -> list[Band]:
    """Samples by length: exact lengths where the task set them, else by `edges` or powers of two."""
    listed = _placed(found)
    asked = not edges and all(isinstance(entry.metadata.get("length"), int) for entry in listed)
    made: dict[int, Band] = {}
    for entry in listed:
        longest = entry.length if asked else _edge(entry.length, edges)
        band = made.setdefault(longest, Band(longest, _label(longest, edges, exact=asked), Tally(), {}))
        part = band.parts.setdefault(str(entry.metadata.get(PART, "")), Tally())
        group = str(entry.metadata.get(PART, ""))
        for tally in (band.tally, part):
            tally.add(
                *(entry.id, entry.outcome, entry.value, entry.usage, entry.timing.total),
                cluster=entry.cluster,
                group=group,
            )
    return [made[longest] for longest in sorted(made)]


def rows(found: Sequence[Band]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table by length; `n` counts samples, what follows it answers."""
    several = any(band.tally.scored > band.samples for band in found)
    head = ["prompt tokens", "score", "95% interval", "n", *(["answers"] if several else []), "truncated", "refused"]
    lines = []
    for band in found:
        counts = [band.samples, *([band.tally.scored] if several else [])]
        counts += [band.tally.outcomes["truncated"], band.tally.outcomes["refused_context"]]
        lines.append([band.label, format_score(band.score), format_interval(band.bounds()), *map(str, counts)])
    return head, lines


class Grid(NamedTuple):
    """Scores by length (columns) and by another column of the samples (rows)."""

    name: str
    columns: list[str]
    rows: list[str]
    cells: dict[tuple[str, str], Tally]


def grid(found: Iterable[Entry], by: str | None = None, edges: Sequence[int] = ()) -> Grid | None:
    """Length × depth, or whatever other column there is; None if there is none. Many depths are put into tenths."""
    listed = _placed(found)
    name = by or next((name for name in ROWS if any(name in entry.metadata for entry in listed)), None)
    if name is None:
        return None
    listed = [entry for entry in listed if name in entry.metadata]
    if not listed:
        raise UsageError(f"no sample has a column '{name}'")
    columns = {band.longest: band.label for band in bands(listed, edges)}
    asked = not edges and all(isinstance(entry.metadata.get("length"), int) for entry in listed)
    values = {entry.metadata[name] for entry in listed}
    numbers = all(isinstance(value, int | float) for value in values)
    tenths = numbers and len(values) > MOST_ROWS and all(0 <= value <= 100 for value in values)
    labels: dict[str, Any] = {}
    cells: dict[tuple[str, str], Tally] = {}
    for entry in listed:
        value = entry.metadata[name]
        row = _tenth(value) if tenths else f"{value:g}" if numbers else str(value)
        labels[row] = min(value, labels.get(row, value)) if numbers else str(value)
        column = columns[entry.length if asked else _edge(entry.length, edges)]
        cells.setdefault((row, column), Tally()).add(
            entry.id, entry.outcome, entry.value, entry.usage, entry.timing.total
        )
    return Grid(name, [columns[key] for key in sorted(columns)], sorted(labels, key=labels.__getitem__), cells)


def _placed(found: Iterable[Entry]) -> list[Entry]:
    """All but those that errored before their length was known, which would hide that the others' was asked for."""
    return [entry for entry in found if entry.outcome != "errored" or entry.length]


def _edge(length: int, edges: Sequence[int]) -> int:
    """The upper edge of the range that a length is in; beyond the last edge powers of two go on."""
    for edge in sorted(edges):
        if length <= edge:
            return edge
    return 2 ** max(0, math.ceil(math.log2(length))) if length > 1 else length


def _label(longest: int, edges: Sequence[int], *, exact: bool) -> str:
    name = format_length(longest)
    return name if exact else f"≤ {name}" if longest else "unknown"


def format_length(count: int) -> str:
    """A length in short: 4k, 128k, 1m where it is that exactly; else the number."""
    for unit, size in (("m", 2**20), ("k", 2**10)):
        if count >= size and count % size == 0:
            return f"{count // size}{unit}"
    return f"{count:,}"


def _tenth(value: float) -> str:
    low = min(90, int(value // 10) * 10)
    return f"{low}–{low + 10}"
