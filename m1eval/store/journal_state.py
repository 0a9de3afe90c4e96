"""The state of a journal file: its lines counted, and read as records one at a time."""

import gc
import itertools
import sys
from collections import Counter
from collections.abc import Iterator, Set
from pathlib import Path
from typing import BinaryIO

from m1eval.store.deduplication import Deduplicator
from m1eval.store.reasons import Reasons
from m1eval.store.record import Record, RecordHeader, parse_header, parse_record
from m1eval.store.regrading import SHARED, journal_files
from m1eval.store.tally import Tally
from m1eval.text import display_path, is_are, plural
from m1eval.types import Usage
from m1eval.validation import COUNTS

SHOWN = 10
"""Lines that are named one by one, of those that cannot be."""


class JournalState:
    """Finished work according to a journal file; reading it changes nothing."""

    def __init__(self, path: Path, unknown_ids: Set[str] = frozenset(), committed: int | None = None) -> None:
        """Read the file; lines of `unknown_ids`, ids that are none of the task's, do not count.

        `committed`: the number of the grading that counts by run.json; by default the latest in the file.
        """
        self.path = path
        self.committed = committed
        self.unknown_ids = unknown_ids
        self.strange: list[int] = []
        """The numbers of the first lines with unknown ids."""
        self.strange_lines = 0
        """Number of lines with unknown ids."""
        self.tally = Tally()
        self.reasons = Reasons()
        """Reasons of errored samples."""
        self.cost = 0.0
        """Cost in US dollars of the answers whose price is known."""
        self.priced = 0
        """Number of answers whose price is known."""
        self.unpriced = 0
        """Answers of which the price is not known, among them those that do not say what they took."""
        self.torn: list[int] = []
        """The numbers of lines that are not records."""
        self.invalid: dict[int, str] = {}
        """Faults of invalid records by line number; the lines stay in the file and do not count."""
        self.lines = Deduplicator[RecordHeader]()
        """The lines that count."""
        self.grading = 0
        """The number of the latest grading."""
        self._superseded = 0
        self._end = 0
        if path.exists():
            self._read(path)

    def _read(self, path: Path) -> None:
        # Everything read is kept, so garbage collection would scan a million objects repeatedly for nothing.
        collects = gc.isenabled()
        gc.disable()
        try:
            self._read_lines(path)
        finally:
            if collects:
                gc.enable()

    def _read_lines(self, path: Path) -> None:
        with journal_files(path, self.committed) as files:
            for number, raw in itertools.chain.from_iterable(enumerate(file, 1) for file in files):
                line = parse_header(raw)
                if isinstance(line, str) or raw[-1:] != b"\n":
                    if line and isinstance(line, str) and raw[-1:] == b"\n":
                        self.invalid[number] = line
                    else:
                        self.torn.append(number)
                        self._superseded += raw[-1:] == b"\n"
                elif self.unknown_ids and line.id in self.unknown_ids:
                    self.strange_lines += 1
                    self.strange += [number] if self.strange_lines <= SHOWN else []
                elif not ((line.graded or self.lines.gradings) and self._is_history(line)):
                    self._count(line)
                self._end += len(raw) if raw[-1:] == b"\n" else 0

    def _is_history(self, line: RecordHeader) -> bool:
        if self.committed is not None and line.graded > self.committed:
            return True
        self.grading = max(self.grading, line.graded)
        return self.lines.is_history(line.id, line.repeat, line.graded)

    def _count(self, line: RecordHeader) -> None:
        superseded = self.lines.add(line.id, line.repeat, line, errored=line.outcome == "errored")
        if superseded is not None:
            self._superseded += 1
            if superseded is line:
                return
            self.tally.drop_error(superseded.id, superseded.usage, superseded.timing.total)
            self.reasons.drop(superseded.error or "")
            self._add_usage(superseded, -1)
        if line.outcome == "errored":
            line.error = self.reasons.add(line.error, line.id)
        self.tally.add(
            *(line.id, line.outcome, line.value or 0.0, line.usage, line.timing.total),
            cluster=line.cluster,
            group=line.group,
        )
        self._add_usage(line)

    def _add_usage(self, line: RecordHeader, sign: int = 1) -> None:
        usage = line.usage
        if usage.cost is not None:
            self.cost += sign * usage.cost
            self.priced += sign
        elif usage.prompt or usage.output or line.outcome not in {"errored", "refused_context"}:
            self.unpriced += sign

    def has(self, sample: str, repeat: int) -> bool:
        """Whether a (sample, repeat) has its score."""
        return bool(self.lines.scored.get(sample, 0) >> repeat & 1)

    def completed_mask(self, sample: str) -> int:
        """The repeats of a sample that have their score, as bits."""
        return self.lines.scored.get(sample, 0)

    def sample_ids(self) -> Iterator[str]:
        """The ids of all lines that count, some more than once."""
        yield from self.lines.scored
        yield from (name for name, _ in self.lines.errors)

    def errored(self) -> Counter[str]:
        """The samples that have errored answers, with their number."""
        return Counter(name for name, _ in self.lines.errors)

    def errored_usage(self) -> Usage:
        """Usage of the errored answers."""
        errors = self.lines.errors.values()
        return Usage(**{name: sum(getattr(line.usage, name) for line in errors) for name in COUNTS})

    def leave_out(self, unknown_ids: Set[str]) -> str:
        """Count again without the lines of unknown ids, which stay in the file; a note on them."""
        JournalState.__init__(self, self.path, unknown_ids, self.committed)
        first = ", ".join(map(str, self.strange)) + (", …" if self.strange_lines > SHOWN else "")
        some = f"{plural(self.strange_lines, 'line')} {is_are(self.strange_lines)} of no sample of the task"
        is_one = self.strange_lines == 1
        stay = "stays there and does" if is_one else "stay there and do"
        return f"{display_path(self.path)}:{first}: {some}, {stay} not count"

    def records(self) -> Iterator[Record]:
        """One record of each (sample, repeat), those that errored last, without unknown ids."""
        return deduplicated(self.path, self.unknown_ids, self.committed)


def records(path: Path) -> Iterator[Record]:
    """The records of a journal, one at a time; torn and invalid lines are skipped.

    Of a line that counts but has an invalid other field, only the fields that count are kept.
    """
    with path.open("rb") as file:
        for raw in file:
            if (record := parse_record(raw)) is not None:
                yield record


def deduplicated(path: Path, unknown_ids: Set[str] = frozenset(), committed: int | None = None) -> Iterator[Record]:
    """One record of each (sample, repeat), in one pass over the file; those that errored come last.

    `committed`: the number of the grading that counts by run.json; by default the latest in the file.
    """
    lines = Deduplicator[tuple[BinaryIO, int]]()
    latest = sys.maxsize if committed is None else committed
    newer: Record | None = None
    with journal_files(path, committed) as files:
        for file in files:
            end = file.tell()
            for raw in file:
                place, end = (file, end), end + len(raw)
                record = parse_record(raw) if raw[-1:] == b"\n" else None
                if record is None or record.id in unknown_ids:
                    continue
                if record.graded or lines.gradings or newer is not None:
                    if record.graded > latest:  # graded again since run.json was read
                        newer = newer if _is_same(newer, record) else record
                        continue
                    if lines.is_history(record.id, record.repeat, record.graded):
                        continue
                    if newer is not None and _is_same(newer, record):  # which has what both have in common
                        for name in SHARED:
                            setattr(record, name, getattr(newer, name))
                errored = record.outcome == "errored"
                if lines.add(record.id, record.repeat, place, errored=errored) != place and not errored:
                    yield record
        for file, start in sorted(lines.errors.values(), key=lambda place: (place[0] is files[-1], place[1])):
            file.seek(start)
            if (record := parse_record(file.readline())) is not None:
                yield record


def _is_same(one: Record | None, other: Record) -> bool:
    """Whether two lines are of the same (sample, repeat)."""
    return one is not None and (one.id, one.repeat) == (other.id, other.repeat)


def lines_of(path: Path) -> Iterator[tuple[bytes, RecordHeader | None]]:
    """The lines that are not torn, each with its header, or None if it is invalid."""
    with path.open("rb") as file:
        for raw in file:
            line = parse_header(raw)
            if line:
                yield raw, None if isinstance(line, str) else line
