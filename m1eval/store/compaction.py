"""Dropping the superseded lines of a journal, and summing up what they used."""

import os
from collections.abc import Container, Iterable, Set
from contextlib import suppress
from pathlib import Path

from m1eval.store.deduplication import Deduplicator
from m1eval.store.files import append, locked
from m1eval.store.journal_state import lines_of
from m1eval.store.record import Record, parse_header, parse_record
from m1eval.types import Usage
from m1eval.validation import add_usage, total_usage


def superseded_lines(path: Path, unknown_ids: Set[str]) -> set[int]:
    """Numbers, as in `lines_of`, of the lines that another line of the same (sample, repeat) supersedes.

    With an answer that was asked again its earlier gradings go, which would otherwise come before the new answer.
    """
    lines = Deduplicator[int]()
    numbers = set[int]()
    history: dict[tuple[str, int], list[int]] = {}
    replaced = set[tuple[str, int]]()
    for number, (_, line) in enumerate(lines_of(path)):
        if line is None or line.id in unknown_ids:
            continue
        key = line.id, line.repeat
        if lines.is_history(*key, line.graded):
            history.setdefault(key, []).append(number)
        elif (superseded := lines.add(*key, number, errored=line.outcome == "errored")) is not None:
            numbers.add(superseded)
            if superseded != number:
                replaced.add(key)
    return numbers.union(*(history.get(key, ()) for key in replaced))


def usage_of(records: Iterable[Record]) -> Usage:
    """Usage of records and of their judges' replies; a reply that decides on several equal answers counts once."""
    usage = Usage()
    replies: dict[str, Usage] = {}
    for record in records:
        add_usage(usage, record.usage)
        replies |= _replies(record)
    return total_usage((usage, *replies.values()))


def superseded_usage(
    path: Path, unknown_ids: Set[str], *, judges: bool, among: Container[tuple[str, int]] | None = None
) -> Usage:
    """Usage of the superseded lines, with `judges` that of their judges' replies too.

    `among`: only those of these (sample, repeat)s.
    """
    usage = Usage()
    superseded = superseded_lines(path, unknown_ids)
    dropped: dict[str, Usage] = {}
    staying: set[str] = set()
    for number, (raw, line) in enumerate(lines_of(path)):
        record = parse_record(raw) if judges and line else None
        replies = _replies(record) if record else {}
        is_other = line is not None and among is not None and (line.id, line.repeat) not in among
        if line is None or is_other or number not in superseded:
            staying |= replies.keys()
            continue
        add_usage(usage, line.usage)
        dropped |= replies
    # A reply that was paid for with an errored answer may have decided on the one in its place.
    return total_usage((usage, *(reply for key, reply in dropped.items() if key not in staying)))


def _replies(record: Record) -> dict[str, Usage]:
    """Usage of the judges' replies of a record, by their keys."""
    return {reply.key: reply.usage for reply in (*record.verdicts, *record.judge_replies)}


def compact(path: Path, unknown_ids: Set[str], *, is_torn: bool) -> Path:
    """Write the journal without superseded lines to a file next to it; OSError if that is not possible.

    `is_torn`: there are lines that are not JSON, which go to `samples.jsonl.unreadable`.
    """
    fresh = path.with_suffix(".jsonl.new")
    try:
        if is_torn and (unreadable := _unreadable(path)):
            with locked(path.with_suffix(".jsonl.unreadable")) as aside:
                append(aside, unreadable)
        fresh.unlink(missing_ok=True)
        superseded = superseded_lines(path, unknown_ids)
        with fresh.open("xb") as file:
            for number, (raw, _) in enumerate(lines_of(path)):
                # Invalid lines and those with unknown ids stay, as it is not known what they were meant to be.
                if number not in superseded:
                    file.write(raw)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with suppress(OSError):
            fresh.unlink()
        raise
    return fresh


def _unreadable(path: Path) -> bytes:
    """The lines that are not JSON."""
    with path.open("rb") as file:
        return b"".join(raw for raw in file if not parse_header(raw) and raw.endswith(b"\n"))
