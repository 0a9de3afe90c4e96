"""Scores by the length of the prompt, with their intervals; length × depth; and how far a model can be trusted to read.

The length is the one a task was asked for (column `length`), else the tokens that the runner counted in the prompt.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct, field

from m1eval.errors import UsageError
from m1eval.nouns import Outcome, Timing, Usage
from m1eval.report.words import score
from m1eval.source import show
from m1eval.stats import Tally

RULER = 0.856
"""What Llama-2-7B scores at 4k: RULER (Hsieh et al. 2024, section 4) calls a length effective if a model reaches it."""
THRESHOLD = 0.85
ROWS = ("depth", "subtask")
"""Columns that make the rows of a heat map, the first that is there."""
MOST_ROWS = 21
Z = 1.959964


class Entry(Struct):
    """What of a record is needed here."""

    id: str
    outcome: Outcome
    value: float = 0.0
    usage: Usage = field(default_factory=Usage)
    timing: Timing = field(default_factory=Timing)
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Tokens of the prompt, as asked for, else as counted; 0 if nobody said."""
        asked = self.metadata.get("length")
        known = asked if isinstance(asked, int) else self.usage.prompt or self.metadata.get("tokens")
        return known if isinstance(known, int) else 0


class Band(NamedTuple):
    """The samples of one length, or of a range of lengths."""

    longest: int
    label: str
    tally: Tally


def entries(folder: Path) -> Iterator[Entry]:
    """The records of a run; UsageError if there is none."""
    journal = folder / "samples.jsonl" if folder.is_dir() else folder
    try:
        with journal.open("rb") as file:
            for raw in file:
                try:
                    yield msgspec.json.decode(raw, type=Entry)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    continue
    except OSError as error:
        raise UsageError(f"{show(folder)} is no run: {error.strerror}") from None


def bands(found: Iterable[Entry], edges: Sequence[int] = ()) -> list[Band]:
    """Samples by length: exact lengths where the task set them, else by `edges` or powers of two."""
    listed = list(found)
    asked = not edges and all(isinstance(entry.metadata.get("length"), int) for entry in listed)
    tallies: dict[int, Tally] = {}
    for entry in listed:
        longest = entry.length if asked else _edge(entry.length, edges)
        tally = tallies.setdefault(longest, Tally())
        tally.add(entry.id, entry.outcome, entry.value, entry.usage, entry.timing.total)
    ordered = sorted(tallies)
    return [Band(longest, _label(longest, edges, exact=asked), tallies[longest]) for longest in ordered]


def interval(tally: Tally) -> tuple[float, float] | None:
    """95 % interval of the mean of the samples' means, after Wilson (1927); too wide, never too narrow, for scores
    between 0 and 1. None if nothing was scored."""
    n, mean = tally.samples, tally.score
    if mean is None:
        return None
    middle, spread = mean + Z * Z / (2 * n), Z * math.sqrt(mean * (1 - mean) / n + Z * Z / (4 * n * n))
    scale = 1 + Z * Z / n
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def effective(found: Sequence[Band], threshold: float) -> int | None:
    """The largest length with a score of at least `threshold`; None if there is none."""
    good = [band.longest for band in found if band.tally.score is not None and band.tally.score >= threshold]
    return max(good, default=None)


def rows(found: Sequence[Band]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table by length."""
    head = ["prompt tokens", "score", "95 % interval", "n", "truncated", "refused"]
    lines = []
    for band in found:
        tally, bounds = band.tally, interval(band.tally)
        within = f"{bounds[0]:.3f}–{bounds[1]:.3f}" if bounds else "–"
        counts = [tally.samples, tally.outcomes["truncated"], tally.outcomes["refused_context"]]
        lines.append([band.label, score(tally.score, tally.stderr), within, *map(str, counts)])
    return head, lines


def verdict(found: Sequence[Band], threshold: float) -> str:
    """Effective context length, in a line."""
    longest = effective(found, threshold)
    rule = f"score ≥ {threshold:g}" + (", RULER's rule" if threshold == RULER else "")
    if longest is None:
        return f"effective context length: none (no length with {rule})"
    weak = [band.label for band in found if band.longest < longest and (band.tally.score or 0) < threshold]
    gaps = f"; below at {', '.join(weak)}" if weak else ""
    return f"effective context length: {longest:,} tokens (the largest with {rule}{gaps})"


class Grid(NamedTuple):
    """Scores by length (columns) and by another column of the samples (rows)."""

    name: str
    columns: list[str]
    rows: list[str]
    cells: dict[tuple[str, str], Tally]


def grid(found: Iterable[Entry], by: str | None = None, edges: Sequence[int] = ()) -> Grid | None:
    """Length × depth, or whatever other column there is; None if there is none. Many depths are put into tenths."""
    listed = list(found)
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


def _edge(length: int, edges: Sequence[int]) -> int:
    """The upper edge of the range that a length is in; beyond the last edge powers of two go on."""
    for edge in sorted(edges):
        if length <= edge:
            return edge
    return 2 ** max(0, math.ceil(math.log2(length))) if length > 1 else length


def _label(longest: int, edges: Sequence[int], *, exact: bool) -> str:
    name = tokens(longest)
    return name if exact else f"≤ {name}" if longest else "unknown"


def tokens(count: int) -> str:
    """A length in short: 4k, 128k, 1m where it is that exactly; else the number."""
    for unit, size in (("m", 2**20), ("k", 2**10)):
        if count >= size and count % size == 0:
            return f"{count // size}{unit}"
    return f"{count:,}"


def _tenth(value: float) -> str:
    low = min(90, int(value // 10) * 10)
    return f"{low}–{low + 10}"
