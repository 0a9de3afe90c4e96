"""Grading again, on disk: new grades are collected next to the journal and merged into it once run.json names them.

The journal keeps the earlier grades as history: lines with a lower `graded` number below the ones that count, without
what both have in common. The new grades count from the moment when run.json, replaced atomically, has their number:
until they are merged, readers take them from their own file. A kill leaves the old grades, or a merge that the next
opening of the journal does.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from m1eval.errors import Stopped, UsageError
from m1eval.store import metadata, run_json
from m1eval.store.config import scorer_parts
from m1eval.store.files import append, open_append
from m1eval.store.folder import GRADING, JOURNAL
from m1eval.store.record import Record, RecordHeader, encode_record, parse_header, parse_record
from m1eval.text import display_path

SHARED = ("text", "reasoning", "tool_calls", "transcript", "logprobs", "target", "metadata", "usage", "timing")
"""Fields of a record that the line with the new grade has too."""


class Staging:
    """The file with the new grades of a run, which a later command with the same settings continues."""

    def __init__(
        self, folder: Path, number: int, settings: Mapping[str, Any], answers: Mapping[tuple[str, int], float]
    ) -> None:
        """`answers`: those to grade, with the time when each was given; grades of others are not continued."""
        self.path = folder / GRADING
        self._answers = answers
        self.graded: dict[tuple[str, int], float] = {}
        """Times of the answers that have a new grade, without those whose grading failed."""
        header = msgspec.json.encode({"grading": number, "settings": settings}, enc_hook=str) + b"\n"
        continues = self._read(header)
        try:
            self._file = open_append(self.path)
            if not continues:
                self._file.truncate(0)
                append(self._file, header)
        except OSError as error:
            raise self._full(error) from None

    def append(self, record: Record) -> None:
        """Add a grade; Stopped if it cannot be written, and those before it stay whole."""
        try:
            append(self._file, encode_record(record), durable=False)
        except OSError as error:
            raise self._full(error) from None

    def close(self) -> None:
        """Put everything on disk; Stopped if that fails."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._full(error) from None
        finally:
            self._file.close()

    def _full(self, error: OSError) -> Stopped:
        return Stopped(
            f"{display_path(self.path)} cannot be written: {error.strerror}; the earlier grades count, and the same "
            "command continues"
        )

    def _read(self, header: bytes) -> bool:
        """Read what is there, without a torn end; False if it has other settings or grades other answers."""
        if not self.path.exists():
            return False
        with self.path.open("rb+") as file:
            if file.readline() != header:
                return False
            end = file.tell()
            for line in file:
                record = parse_record(line) if line.endswith(b"\n") else None
                if record is None:
                    break
                if self._answers.get((record.id, record.repeat)) != record.time:  # asked again since
                    self.graded.clear()
                    return False
                end += len(line)
                if record.outcome != "errored":
                    self.graded[record.id, record.repeat] = record.time
            file.truncate(end)
        return True


def merge(folder: Path) -> bool:
    """Merge new grades that run.json names into the journal, which must be locked; whether there were any."""
    staging, journal = folder / GRADING, folder / JOURNAL
    if not staging.exists() or staging.is_symlink():
        return False
    number, lines = _staged_lines(staging, folder)
    if number is None:
        return False
    merged = journal.with_suffix(".jsonl.new")
    try:
        _write_merged(journal, staging, lines, merged, number)
    except OSError:  # a full disk needs the room
        with suppress(OSError):
            merged.unlink()
        raise
    merged.replace(journal)
    staging.unlink()
    return True


def _write_merged(
    journal: Path, staging: Path, lines: Mapping[tuple[str, int], int], merged: Path, number: int
) -> None:
    """Write the journal with the new grades, each before the lines that it replaces, to another file."""
    merged.unlink(missing_ok=True)
    with journal.open("rb") as old, staging.open("rb") as new, merged.open("xb") as file:
        written = set[tuple[str, int]]()
        for raw in old:
            header = parse_header(raw)
            key = (header.id, header.repeat) if isinstance(header, RecordHeader) else ("", -1)
            if key in lines and isinstance(header, RecordHeader) and header.graded == number:
                continue  # of a merge whose staging file was not removed
            if key in lines and key not in written:
                written.add(key)
                new.seek(lines[key])
                file.write(new.readline())
            file.write(_without_shared(raw) if key in lines else raw)
        file.flush()
        os.fsync(file.fileno())


def entry(number: int, meta: Mapping[str, Any], when: Any, command: Any) -> dict[str, Any]:
    """A grading as `gradings` of run.json lists it."""
    config = meta["config"]
    name, options = scorer_parts(config["task"]["scorer"])
    grading = {"number": number, "time": when, "scorer": name, "options": options}
    grading |= {"digest": config.get("digests", {}).get("scorer"), "judges": config.get("judges"), "command": command}
    return {**grading, "score": (meta.get("summary") or {}).get("score")}


def committed(meta: Mapping[str, Any]) -> int | None:
    """The number of the grading that counts by a run.json, 0 for the run's own; None for no run.json."""
    if not meta:
        return None
    gradings = meta.get("gradings")
    return int(gradings[-1]["number"]) if gradings else 0


def is_unfinished(folder: Path, number: int | None) -> bool:
    """Whether the folder has new grades that do not count yet; `number`: that of the grading that counts."""
    try:
        with (folder / GRADING).open("rb") as file:
            return (_number(file) or 0) > (number or 0)
    except OSError:
        return False


@contextmanager
def journal_files(journal: Path, number: int | None) -> Iterator[list[BinaryIO]]:
    """The files whose lines are those of a journal: grades that are not merged into it yet, and the journal itself.

    `number`: that of the grading that counts. OSError if there is no journal.
    """
    with ExitStack() as stack:
        files: list[BinaryIO] = []
        with suppress(FileNotFoundError):  # opened first: once it is gone, the journal has its lines
            if number:
                staging = stack.enter_context((journal.parent / GRADING).open("rb"))
                files += [staging] if _number(staging) == number else []
        files.append(stack.enter_context(journal.open("rb")))
        yield files


def discard(folder: Path) -> None:
    """Remove new grades that were not merged."""
    with suppress(OSError):
        (folder / GRADING).unlink()


def _number(staging: BinaryIO) -> int | None:
    """The number of the grading in a staging file, from its first line."""
    try:
        return int(msgspec.json.decode(staging.readline())["grading"])
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError):
        return None


def _staged_lines(staging: Path, folder: Path) -> tuple[int | None, dict[tuple[str, int], int]]:
    """The number of a grading and the position of the last line of each (sample, repeat).

    No number if run.json does not name it.
    """
    with staging.open("rb") as file:
        number = _number(file)
        try:
            gradings = metadata.read(folder / run_json.NAME).get("gradings") or []
        except UsageError:
            return None, {}
        if number not in {grading["number"] for grading in gradings}:
            return None, {}
        lines, end = {}, file.tell()
        for raw in file:
            line, start, end = parse_header(raw), end, end + len(raw)
            if isinstance(line, RecordHeader) and raw.endswith(b"\n"):
                lines[line.id, line.repeat] = start
    return number, lines


def _without_shared(raw: bytes) -> bytes:
    fields = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    return msgspec.json.encode({name: value for name, value in fields.items() if name not in SHARED}) + b"\n"
