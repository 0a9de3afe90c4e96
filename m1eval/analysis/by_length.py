"""Scores by prompt length with their intervals, by length × depth, and the effective context length.

The length is the one a task was asked for (column `length`), else the tokens that the runner counted in the prompt.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct, field

from m1eval.errors import UsageError
from m1eval.store.stored import StoredRun
from m1eval.store.tally import Tally
from m1eval.text import display_path, format_tokens
from m1eval.types import EffectiveLengthRule, Outcome, Timing, Usage

RULER = 0.856
"""Llama-2-7B's score at 4k: RULER (Hsieh et al. 2024, section 4) calls a length effective if a model reaches it."""
THRESHOLD = 0.85
ROW_COLUMNS = ("depth", "subtask")
"""Columns that make the rows of a heat map, the first that is there."""
SUBTASK = "subtask"
"""The column whose values weigh the same in the score of a length."""
MAX_ROWS = 21


class Entry(Struct):
    """The fields of a record that results by length need."""

    id: str
    outcome: Outcome
    value: float = 0.0
    usage: Usage = field(default_factory=Usage)
    timing: Timing = field(default_factory=Timing)
    metadata: dict[str, Any] = field(default_factory=dict)
    cluster: str = ""

    @property
    def length(self) -> int:
        """Tokens of the prompt, as requested, else as counted; 0 if unknown."""
        requested = self.metadata.get("length")
        length = requested if isinstance(requested, int) else self.usage.prompt or self.metadata.get("tokens")
        return length if isinstance(length, int) else 0


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
        estimate = self.tally.problems_like_these
        return estimate.interval(confidence) if estimate and self.score is not None else None

    def perfect(self) -> "Band":
        """The band if all of its answers were right."""
        return self._replace(tally=self.tally.all_right())


def read_entries(run: StoredRun) -> Iterator[Entry]:
    """The records of a run, those that errored last; UsageError if there is no journal."""
    if run.journal.exists() and not run.journal.is_file():  # a device may have no end
        raise UsageError(f"{display_path(run.path)} is not a run: {display_path(run.journal)} is not a regular file")
    for record in run.records():
        yield Entry(
            *(record.id, record.outcome, record.score, record.usage, record.timing, record.metadata, record.cluster)
        )


class RunLengths(NamedTuple):
    """A run whose samples have lengths."""

    path: Path
    task: str
    model: str
    rule: EffectiveLengthRule
    entries: list[Entry]


class NoLengths(UsageError):
    """A run in which no sample records its prompt length."""


def read(run: StoredRun, threshold: float | None = None) -> RunLengths:
    """A run by length; NoLengths if it has none. `threshold` of the effective length: None is the task's, else 0.85."""
    records = list(read_entries(run))
    if not any(entry.length for entry in records):
        raise NoLengths(f"{display_path(run.path)}: no sample says how long its prompt was")
    return RunLengths(run.path, run.task or run.path.name, run.model, _rule(run, threshold), records)


def read_if_requested(run: StoredRun) -> RunLengths | None:
    """A run by length if its task asked for prompts of some lengths, else None."""
    if not run.journal.is_file():
        return None
    records = read_entries(run)
    first = next(records, None)
    if first is None or first.outcome == "errored" or not isinstance(first.metadata.get("length"), int):
        return None
    return RunLengths(run.path, run.task, run.model, _rule(run), [first, *records])


def _rule(run: StoredRun, threshold: float | None = None) -> EffectiveLengthRule:
    """The task's rule, as the run has written it, with another threshold where one is given."""
    try:
        rule = msgspec.convert(run.meta["effective_length"], EffectiveLengthRule)
    except (KeyError, msgspec.ValidationError):
        rule = None
    if threshold is None:
        return rule or EffectiveLengthRule(THRESHOLD)
    if threshold == RULER:
        return rule if rule and rule.threshold == threshold else EffectiveLengthRule(threshold, "RULER", 13)
    return EffectiveLengthRule(threshold, rule.name if rule else "")


def benchmarks(runs: Sequence[RunLengths]) -> list[list[RunLengths]]:
    """The runs of one model on tasks of one benchmark, where there are several."""
    groups: dict[tuple[str, str], dict[str, RunLengths]] = {}
    for run in runs:
        if run.rule.name:
            groups.setdefault((run.rule.name, run.model), {}).setdefault(run.task, run)
    return [list(parts.values()) for parts in groups.values() if len(parts) > 1]


def joined(parts: Sequence[RunLengths]) -> RunLengths:
    """Several tasks as one; samples of two tasks never have the same id."""
    entries = [msgspec.structs.replace(entry, id=f"{run.task}\0{entry.id}") for run in parts for entry in run.entries]
    return parts[0]._replace(task=parts[0].rule.name, entries=entries)


def bands(entries: Iterable[Entry], edges: Sequence[int] = ()) -> list[Band]:
    """Samples by length: exact lengths where the task set them, else by `edges` or powers of two."""
    listed = _with_lengths(entries)
    is_exact = not edges and all(isinstance(entry.metadata.get("length"), int) for entry in listed)
    by_longest: dict[int, Band] = {}
    for entry in listed:
        longest = entry.length if is_exact else _edge(entry.length, edges)
        band = by_longest.setdefault(longest, Band(longest, _label(longest, edges, exact=is_exact), Tally(), {}))
        part = band.parts.setdefault(str(entry.metadata.get(SUBTASK, "")), Tally())
        group = str(entry.metadata.get(SUBTASK, ""))
        for tally in (band.tally, part):
            tally.add(
                *(entry.id, entry.outcome, entry.value, entry.usage, entry.timing.total),
                cluster=entry.cluster,
                group=group,
            )
    return [by_longest[longest] for longest in sorted(by_longest)]


class Grid(NamedTuple):
    """Scores by length (columns) and by another column of the samples (rows)."""

    name: str
    columns: list[str]
    rows: list[str]
    cells: dict[tuple[str, str], Tally]


def grid(entries: Iterable[Entry], by: str | None = None, edges: Sequence[int] = ()) -> Grid | None:
    """Length × depth, or whatever other column there is; None if there is none. Many depths are put into tenths."""
    listed = _with_lengths(entries)
    name = by or next((name for name in ROW_COLUMNS if any(name in entry.metadata for entry in listed)), None)
    if name is None:
        return None
    listed = [entry for entry in listed if name in entry.metadata]
    if not listed:
        raise UsageError(f"no sample has a column '{name}'")
    columns = {band.longest: band.label for band in bands(listed, edges)}
    is_exact = not edges and all(isinstance(entry.metadata.get("length"), int) for entry in listed)
    values = {entry.metadata[name] for entry in listed}
    numbers = all(isinstance(value, int | float) for value in values)
    tenths = numbers and len(values) > MAX_ROWS and all(0 <= value <= 100 for value in values)
    labels: dict[str, Any] = {}
    cells: dict[tuple[str, str], Tally] = {}
    for entry in listed:
        value = entry.metadata[name]
        row = _tenth(value) if tenths else f"{value:g}" if numbers else str(value)
        labels[row] = min(value, labels.get(row, value)) if numbers else str(value)
        column = columns[entry.length if is_exact else _edge(entry.length, edges)]
        cells.setdefault((row, column), Tally()).add(
            entry.id, entry.outcome, entry.value, entry.usage, entry.timing.total
        )
    return Grid(name, [columns[key] for key in sorted(columns)], sorted(labels, key=labels.__getitem__), cells)


def _with_lengths(entries: Iterable[Entry]) -> list[Entry]:
    """Samples without those that errored before their length was known, as they would hide the requested length."""
    return [entry for entry in entries if entry.outcome != "errored" or entry.length]


def _edge(length: int, edges: Sequence[int]) -> int:
    """The upper edge of the range that a length is in; beyond the last edge powers of two go on."""
    for edge in sorted(edges):
        if length <= edge:
            return edge
    return 2 ** max(0, math.ceil(math.log2(length))) if length > 1 else length


def _label(longest: int, edges: Sequence[int], *, exact: bool) -> str:
    name = format_tokens(longest)
    return name if exact else f"≤ {name}" if longest else "unknown"


def _tenth(value: float) -> str:
    low = min(90, int(value // 10) * 10)
    return f"{low}–{low + 10}"
