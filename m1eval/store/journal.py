"""The journal of a run: one line for each finished (sample, repeat), durable before it counts as done.

`samples.jsonl` is only ever appended to while a run goes on; a line torn by a crash is cut off and its sample pending
again, so is whatever errored. Lines that a later one supersedes are taken out when the run ends. `prompts.zst` holds
each sample's prompt once: one zstandard frame of one JSON line each, so `zstd -dc prompts.zst` reads it.
"""

import asyncio
import itertools
import os
from contextlib import suppress
from io import FileIO
from pathlib import Path

import msgspec

from m1eval import secrets
from m1eval.errors import Stopped, UsageError
from m1eval.option_names import alternative
from m1eval.store import compaction, prompts, regrading
from m1eval.store.files import append, content, is_at, locked, open_append, unused_path
from m1eval.store.folder import drop_aside, make, move_aside, put_back, refuse_links, remove_empty
from m1eval.store.journal_state import SHOWN, JournalState, records
from m1eval.store.record import Record, RecordHeader, encode_json, encode_record, parse_header
from m1eval.text import display_path
from m1eval.types import Message, Usage

MAX_LINE = 2**28
"""Bytes of a last line that is looked at though its end is missing."""


class Journal(JournalState):
    """The open journal of one run folder; there is one writer at a time."""

    def __init__(self, folder: Path, *, redo: bool = False) -> None:
        """Open or create the journal, repair its end, and count what is done; UsageError if it cannot be written.

        `redo`: what is there does not count; it stays as it is until `begin`, and until the first answer is written.
        """
        folder = folder.absolute()  # a plugin may change the current folder
        self.folder = folder
        self.prompts = folder / "prompts.zst"
        self._queue: list[tuple[bytes, bytes, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._set_aside: list[str] = []
        self._stop: Stopped | None = None
        self._before: FileIO | None = None
        """The locked journal of the earlier run, while `--redo` has no answer."""
        self._begun = not redo
        self._prepared = False
        self._compacted: Path | None = None
        self._made: list[Path] = []
        self.path = folder / "samples.jsonl"
        try:
            self._made = make(folder)
            refuse_links(folder)
            self._file = locked(self.path)
            if redo:
                JournalState.__init__(self, Path(os.devnull))
                self.path = folder / "samples.jsonl"
                self._kept: set[str] = set()
                return
            self._prompt_file = open_append(self.prompts)
            self._end_last_line()
            if regrading.merge(folder):
                self._file.close()
                self._file = locked(self.path)
        except OSError as error:
            for file in (self.__dict__.get("_file"), self.__dict__.get("_prompt_file")):
                if file is not None:  # an open file keeps its lock for as long as somebody keeps the error
                    file.close()
            remove_empty(self._made)
            raise UsageError(
                f"{display_path(folder)} cannot be written: {error.strerror}"
                f"{alternative('out', 'another folder', before='; ')}"
            ) from None
        super().__init__(self.path)
        self._file.truncate(self._end)
        self._kept = self._recover_prompts()
        """Samples without a score whose prompt is stored."""

    def begin(self) -> None:
        """Make room for the answers of `--redo`: the earlier run is moved aside until the first of them is written."""
        if self._begun:
            return
        self._begun = True
        try:
            if self._file.seek(0, os.SEEK_END) or (self.folder / "run.json").exists():
                move_aside(self.folder)
                self._before, self._file = self._file, locked(self.path)
            self._prompt_file = open_append(self.prompts)
        except OSError as error:
            raise UsageError(f"{display_path(self.folder)} cannot be written: {error.strerror}") from None

    def _end_last_line(self) -> None:
        """End a last line that is whole but for its end, such as one that an editor has saved."""
        size = self._file.seek(0, os.SEEK_END)
        if not size:
            return
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            if file.read(1) == b"\n":
                return
            start = max(0, size - MAX_LINE)
            file.seek(start)
            last = file.read().rpartition(b"\n")[2]
        if len(last) < MAX_LINE and isinstance(parse_header(last), RecordHeader):
            append(self._file, b"\n")

    def _recover_prompts(self) -> set[str]:
        """Truncate the torn end of the prompts; the samples without a score whose prompt is stored.

        A prompt is written in one go with the first record of its sample, so that only the end may hold prompts without
        a record; only samples that could not be built have a record without a prompt, and that has no seed.
        """
        try:
            pending_ids, end = prompts.recover(self.prompts)
        except prompts.Damaged:
            aside = self.prompts.with_suffix(".zst.damaged")
            self.prompts.replace(aside)
            self._prompt_file.close()
            self._prompt_file = open_append(self.prompts)
            self._set_aside.append(
                f"{display_path(self.prompts)} is damaged and set aside as {aside.name}; the scores are whole"
            )
            pending_ids, end = set(), 0
        self._prompt_file.truncate(end)
        return pending_ids | {line.id for line in self.lines.errors.values() if line.seed is not None}

    @property
    def notes(self) -> list[str]:
        """Warnings about damage in the journal, one line each."""
        torn = [f"{display_path(self.path)}:{number}: torn line; its sample is run again" for number in self.torn]
        invalid = [
            f"{display_path(self.path)}:{number}: {reason}; the line is ignored, and its sample is run again"
            for number, reason in itertools.islice(self.invalid.items(), SHOWN)
        ]
        if (more := len(self.invalid) - SHOWN) > 0:
            invalid.append(f"{display_path(self.path)}: {more} more invalid lines are ignored")
        return torn + invalid + self._set_aside

    async def append(self, record: Record, messages: list[Message] | None = None) -> None:
        """Write a record, and its sample's prompt if that is not there yet; returns when both are on disk."""
        record.graded = self.grading
        line = encode_record(record)
        prompt = b""
        if messages is not None and record.id not in self.lines.scored and record.id not in self._kept:
            self._kept.add(record.id)
            prompt = encode_json(messages)
            if secrets.contains_secret(prompt):
                prompt = encode_json(secrets.redact_tree(msgspec.json.decode(prompt)))
            prompt = prompts.encode_frame(record.id, prompt)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((line, prompt, done))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._drain())
        await done
        if self._before is not None and record.outcome != "errored":
            self._drop_before()
        self._count(
            RecordHeader(
                record.id,
                record.repeat,
                record.outcome,
                record.score,
                usage=record.usage,
                timing=record.timing,
                seed=record.seed,
                error=record.error,
                cluster=record.cluster,
                group=record.group,
            )
        )
        if self._stop:
            raise self._stop

    def _drop_before(self) -> None:
        """The first answer of `--redo` is on disk: the earlier run goes."""
        before, self._before = self._before, None
        if before is not None:
            drop_aside(self.folder)
            before.close()

    async def flush(self) -> None:
        """Wait until nothing is being written any more, for requests that were cancelled too."""
        if self._writer:
            await self._writer

    async def _drain(self) -> None:
        """Write what has come together, in one go, until nothing is waiting."""
        alone = False
        while self._queue:
            many = 1 if alone else len(self._queue)
            batch, self._queue = self._queue[:many], self._queue[many:]
            try:
                await asyncio.to_thread(self._write, batch)
            except OSError as error:
                if len(batch) > 1:  # one by one, so that what still fits is kept
                    self._queue, alone = batch + self._queue, True
                    continue
                reason = Stopped(
                    f"{display_path(self.path)}: {error.strerror}; what is finished is kept, run it again later"
                )
                for _, _, done in batch:
                    if not done.cancelled():
                        done.set_exception(reason)
                continue
            for _, _, done in batch:
                if not done.cancelled():
                    done.set_result(None)

    def _write(self, batch: list[tuple[bytes, bytes, asyncio.Future[None]]]) -> None:
        if not is_at(self._file, self.path):
            self._rescue()
        if not is_at(self._prompt_file, self.prompts):
            self._rescue_prompts()
        for file, data in (
            (self._prompt_file, b"".join(prompt for _, prompt, _ in batch)),
            (self._file, b"".join(line for line, _, _ in batch)),
        ):
            if data:
                append(file, data)

    def _rescue(self) -> None:
        """Write what our open file holds under its own name again, or another if that is taken, and stop the run."""
        data = content(self._file)
        was, taken = self.path, os.path.lexists(self.path)
        self.folder.mkdir(parents=True, exist_ok=True)
        if taken:
            self.path = unused_path(was.with_suffix(".jsonl.rescued"))
        file = locked(self.path)
        append(file, data)
        self._file.close()
        self._file = file
        how = "replaced by another file" if taken else "deleted"
        self._stop = Stopped(
            f"{display_path(was)} was {how} while the run went on; all answers so far are in {display_path(self.path)}"
            + ("; put it back in place to continue" if taken else "; the same command continues")
        )

    def _rescue_prompts(self) -> None:
        """Write what our open file of prompts holds under its own name again, or another if that is taken."""
        was, taken = self.prompts, os.path.lexists(self.prompts)
        if taken:
            self.prompts = unused_path(was.with_suffix(".zst.rescued"))
        file = open_append(self.prompts)
        append(file, content(self._prompt_file))
        self._prompt_file.close()
        self._prompt_file = file
        how = "replaced by another file" if taken else "deleted"
        self._set_aside.append(
            f"{display_path(was)} was {how} while the run went on; all prompts are in {display_path(self.prompts)}"
        )

    def attempted(self) -> Usage:
        """Usage of the answers of a `--redo` that all errored, judges' replies too."""
        return compaction.usage_of(records(self.path)) if self._before is not None else Usage()

    def prepare(self) -> Usage:
        """Write a compacted journal next to the journal, for `close` to put in its place; usage of the dropped lines.

        Nothing where there is no such line, or no room, which `late_notes` says.
        """
        if self._prepared:
            return Usage()
        self._prepared = True
        if not self._superseded or self._before or not is_at(self._file, self.path):
            return Usage()
        try:
            self._compacted = compaction.compact(self.path, self.unknown_ids, is_torn=bool(self.torn))
        except OSError as error:
            self._keep_lines(error)
            return Usage()
        return self.superseded()

    def superseded(self, *, judges: bool = True) -> Usage:
        """Usage of the lines that are dropped when the journal is closed; judges' replies too."""
        if not self._superseded or not self._begun:
            return Usage()
        return compaction.superseded_usage(self.path, self.unknown_ids, judges=judges)

    def keep_superseded(self) -> None:
        """Leave superseded lines where they are, after all: what they took is not written down anywhere else."""
        self._prepared = True
        if self._compacted:
            with suppress(OSError):
                self._compacted.unlink(missing_ok=True)
            self._compacted = None

    def _keep_lines(self, error: OSError) -> None:
        line = f"{display_path(self.path)} keeps lines that are out of date: {error.strerror}; nothing is lost"
        self._set_aside.append(line)

    def close(self) -> None:
        """Release the folder; takes superseded lines out first, where there is room to do so.

        An earlier run that `--redo` has moved aside comes back if no answer has taken its place.
        """
        try:
            self.prepare()
            if self._compacted and is_at(self._file, self.path):
                self._compacted.replace(self.path)
        except OSError as error:
            self._keep_lines(error)
        finally:
            if self._before is not None:
                put_back(self.folder)
                self._before.close()
                self._set_aside.append(
                    f"{display_path(self.folder)}: no new answer came; the earlier run is back in place"
                )
            self.release()

    def release(self) -> None:
        """Release the folder and leave it as it is."""
        if self._made and not self._begun:  # --redo in a folder that was not there
            self.path.unlink(missing_ok=True)
            remove_empty(self._made)
        self._file.close()
        if self._begun:
            self._prompt_file.close()

    @property
    def late_notes(self) -> list[str]:
        """Notes on problems while closing."""
        return self._set_aside

    @property
    def untouched(self) -> bool:
        """Whether `--redo` has not taken the place of the earlier run, so that nothing may be written next to it."""
        return not self._begun or self._before is not None

    @property
    def empty(self) -> bool:
        """Whether nothing was finished, and no line might still be of use."""
        return not (self.tally.finished or self.invalid or self.strange_lines)

    def discard(self) -> None:
        """Release a folder in which nothing was finished, and remove our empty files and run.json."""
        self._superseded = 0
        for path in (self.folder / "run.json", self.prompts, self.path):
            path.unlink(missing_ok=True)
        self.close()
        remove_empty(self._made)
