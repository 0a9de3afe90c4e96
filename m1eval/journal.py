"""The journal of a run: one line for each finished (sample, repeat), durable before it counts as done.

`samples.jsonl` is only ever appended to while a run goes on; a line torn by a crash is cut off and its sample owed
again, so is whatever errored. Lines that a later one supersedes are taken out when the run ends. `prompts.zst` holds
each sample's prompt once: one zstandard frame of one JSON line each, so `zstd -dc prompts.zst` reads it.
"""

import asyncio
import gc
import itertools
import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import IO, Any

import msgspec
from msgspec import Struct, field

from m1eval import prompts, secrets
from m1eval.errors import Stopped, UsageError
from m1eval.folder import drop_aside, locked, move_aside, put_back, refuse_links, same
from m1eval.grading import MAX_AMOUNT, MAX_TOKENS, add_usage, as_number, as_timing, as_usage
from m1eval.nouns import FinishReason, Message, Outcome, Timing, Usage, Verdict
from m1eval.reasons import Reasons
from m1eval.source import show
from m1eval.stats import Tally


class Record(Struct, kw_only=True, omit_defaults=True):
    """What is kept of one (sample, repeat)."""

    id: str
    repeat: int
    outcome: Outcome
    value: float | None = None
    """The score in [0, 1]; None for errored ones alone, so that nobody takes them for wrong."""
    answer: str | None = None
    target: str = ""
    explanation: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    verdicts: list[Verdict] = field(default_factory=list)
    judge_replies: list[Verdict] = field(default_factory=list)
    """What judges said besides: replies that were unclear or cut off, and all where no grade came of them."""
    text: str = ""
    reasoning: str = ""
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    logprobs: list[float] | None = None
    finish_reason: FinishReason | None = None
    usage: Usage = field(default_factory=Usage)
    timing: Timing = field(default_factory=Timing)
    retries: int = 0
    error: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None
    cluster: str = ""
    """Samples of one cluster share a text, so that their scores are not independent."""
    digest: str = ""
    """Of prompt and target: what was asked, by which samples of two runs are paired."""
    group: str = ""
    """What the sample is averaged with before the score is (`average` of the task)."""
    time: float = 0.0
    """Seconds since 1970 when it was finished."""

    def __post_init__(self) -> None:
        if self.outcome == "errored":
            self.value = self.value or None
        elif self.value is None:  # lines of earlier versions leave 0 out
            self.value = 0.0

    @property
    def score(self) -> float:
        """The value of a record that has one; 0 for an errored one."""
        return self.value or 0.0


class Line(Struct):
    """The part of a record that planning and counting need."""

    id: str
    repeat: int
    outcome: Outcome
    value: float | None = 0.0
    usage: Usage = field(default_factory=Usage)
    timing: Timing = field(default_factory=Timing)
    seed: int | None = None
    error: str | None = None
    """Once counted, the name of its kind."""
    cluster: str = ""
    group: str = ""


_decode_line = msgspec.json.Decoder(Line).decode

MOST_REPEATS = 100_000
"""Answers to one sample; each is a bit in memory, so that a forged number must not be believed."""
MAX_DEPTH = 64
"""Levels of nesting in what a plugin puts into a record; deeper parts are kept as the name of their type."""
MAX_LINE = 2**28
"""Bytes of a last line that is looked at though its end is missing."""
COUNTED = ("prompt", "cached", "reasoning", "answer")
"""Fields of usage that are numbers of tokens."""
SHOWN = 10
"""Lines that are named one by one, of those that cannot be."""


def fault(line: "Line | Record") -> str:
    """What in a line cannot be; empty if it may count."""
    usage, total, seed, value = line.usage, line.timing.total, line.seed, line.value or 0.0
    if (
        (value == (line.outcome == "right") or (line.outcome == "partial" and 0 < value < 1))
        and 0 <= line.repeat < MOST_REPEATS
        and 0 <= usage.prompt < MAX_TOKENS
        and 0 <= usage.cached < MAX_TOKENS
        and 0 <= usage.reasoning < MAX_TOKENS
        and 0 <= usage.answer < MAX_TOKENS
        and (usage.cost is None or 0 <= usage.cost < MAX_AMOUNT)
        and 0 <= total < MAX_AMOUNT
        and (seed is None or -(2**63) <= seed < 2**63)
    ):
        return ""
    if value != (line.outcome == "right") and not (line.outcome == "partial" and 0 < value < 1):
        why = f"none of outcome {line.outcome}" if 0 <= value <= 1 else "not in [0, 1]"
        return f"score {value:g} is {why}"
    if not 0 <= line.repeat < MOST_REPEATS:
        return f"repeat {_brief(line.repeat)} is not in [0, {MOST_REPEATS:,})"
    if seed is not None and not -(2**63) <= seed < 2**63:
        return f"seed {_brief(seed)} has more than 64 bits"
    if not 0 <= total < MAX_AMOUNT:
        return f"a time of {total:g} s cannot be"
    return "its usage is negative or more than can be"


def _brief(number: int) -> str:
    return f"{number:.3g}" if abs(number) >= 10**15 and abs(number) < 10**300 else str(number)[:20]


class Done:
    """What a journal file says is done; looking at it changes nothing."""

    def __init__(self, path: Path, strangers: Set[str] = frozenset()) -> None:
        """Read the file; lines of `strangers`, ids that are none of the task's, do not count."""
        self.path = path
        self.strangers = strangers
        self.strange: list[int] = []
        """The numbers of the first lines that are of strangers."""
        self.strange_lines = 0
        """How many there are."""
        self.tally = Tally()
        self.reasons = Reasons()
        """Why samples are errored."""
        self.cost = 0.0
        """US dollars, of the answers whose price is known."""
        self.priced = 0
        """How many these are."""
        self.unpriced = 0
        """Answers of which the price is not known, among them those that do not say what they took."""
        self.torn: list[int] = []
        """The numbers of lines that are no records."""
        self.invalid: dict[int, str] = {}
        """What cannot be in lines by number; they stay in the file and do not count."""
        self._scored: dict[str, int] = {}  # sample -> bits of the repeats that have a score
        self._errored: dict[tuple[str, int], Line] = {}
        self._superseded = 0
        self._end = 0
        if path.exists():
            self._read(path)

    def _read(self, path: Path) -> None:
        # What is read stays, and a million small things would be gone through again and again for what may go.
        collects = gc.isenabled()
        gc.disable()
        try:
            self._read_lines(path)
        finally:
            if collects:
                gc.enable()

    def _read_lines(self, path: Path) -> None:
        scored, errored, tally = self._scored, self._errored, self.tally
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                line = _read(raw)
                if isinstance(line, str) or raw[-1:] != b"\n":
                    if line and isinstance(line, str) and raw[-1:] == b"\n":
                        self.invalid[number] = line
                    else:
                        self.torn.append(number)
                        self._superseded += raw[-1:] == b"\n"
                elif self.strangers and line.id in self.strangers:
                    self.strange_lines += 1
                    self.strange += [number] if self.strange_lines <= SHOWN else []
                elif line.outcome == "errored" or errored or self.has(line.id, line.repeat):
                    self._count(line)
                else:  # nearly always; there may be a million of them
                    scored[line.id] = scored.get(line.id, 0) | 1 << line.repeat
                    tally.add(
                        *(line.id, line.outcome, line.value or 0.0, line.usage, line.timing.total),
                        cluster=line.cluster,
                        group=line.group,
                    )
                    self._pay(line)
                self._end += len(raw) if raw[-1:] == b"\n" else 0

    def _count(self, line: Line) -> None:
        key = (line.id, line.repeat)
        if self.has(*key):  # the first score stands
            self._superseded += 1
            return
        if before := self._errored.pop(key, None):
            self._superseded += 1
            self.tally.drop_error(before.id, before.usage, before.timing.total)
            self.reasons.drop(before.error or "")
            self._pay(before, -1)
        if line.outcome == "errored":
            line.error = self.reasons.add(line.error, line.id)
            self._errored[key] = line
        else:
            self._scored[line.id] = self._scored.get(line.id, 0) | 1 << line.repeat
        self.tally.add(
            *(line.id, line.outcome, line.value or 0.0, line.usage, line.timing.total),
            cluster=line.cluster,
            group=line.group,
        )
        self._pay(line)

    def _pay(self, line: Line, sign: int = 1) -> None:
        usage = line.usage
        if usage.cost is not None:
            self.cost += sign * usage.cost
            self.priced += sign
        elif usage.prompt or usage.output or line.outcome not in {"errored", "refused_context"}:
            self.unpriced += sign

    def has(self, sample: str, repeat: int) -> bool:
        """Whether a (sample, repeat) has its score."""
        return bool(self._scored.get(sample, 0) >> repeat & 1)

    def bits(self, sample: str) -> int:
        """The repeats of a sample that have their score, as bits."""
        return self._scored.get(sample, 0)

    def samples(self) -> Iterator[str]:
        """The ids of all lines that count, some more than once."""
        yield from self._scored
        yield from (name for name, _ in self._errored)

    def errored(self) -> Counter[str]:
        """The samples that have errored answers, with their number."""
        return Counter(name for name, _ in self._errored)

    def errored_usage(self) -> Usage:
        """What the errored answers took."""
        lines = self._errored.values()
        return Usage(**{name: sum(getattr(line.usage, name) for line in lines) for name in COUNTED})

    def leave_out(self, strangers: Set[str]) -> str:
        """Count anew without the lines of ids that are no sample's, which stay in the file; a note on them."""
        Done.__init__(self, self.path, strangers)
        first = ", ".join(map(str, self.strange)) + (", …" if self.strange_lines > SHOWN else "")
        some = "1 line is" if self.strange_lines == 1 else f"{self.strange_lines:,} lines are"
        return f"{show(self.path)}:{first}: {some} of no sample of the task, stay there and do not count"

    def counted(self) -> Iterator[Record]:
        """One record of each (sample, repeat) in the file but for those of strangers."""
        return settled(self.path, self.strangers)


class Journal(Done):
    """The open journal of one run folder; there is one writer at a time."""

    def __init__(self, folder: Path, *, redo: bool = False) -> None:
        """Open or create the journal, mend its end, and count what is done; UsageError if it cannot be written.

        `redo`: what is there does not count; it stays as it is until `begin`, and until the first answer is written.
        """
        self.folder = folder
        self.prompts = folder / "prompts.zst"
        self._queue: list[tuple[bytes, bytes, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._set_aside: list[str] = []
        self._stop: Stopped | None = None
        self._before: FileIO | None = None
        """The locked journal of the earlier run, while `--redo` has no answer."""
        self._begun = not redo
        self.path = folder / "samples.jsonl"
        try:
            self._existed = folder.exists()
            folder.mkdir(parents=True, exist_ok=True)
            refuse_links(folder)
            self._file = locked(self.path)
            if redo:
                Done.__init__(self, Path(os.devnull))
                self.path = folder / "samples.jsonl"
                self._kept: set[str] = set()
                return
            self._prompt_file = _appending(self.prompts)
            self._end_last_line()
        except OSError as error:
            raise UsageError(f"{show(folder)} cannot be written: {error.strerror}; --out another folder") from None
        super().__init__(self.path)
        self._file.truncate(self._end)
        self._kept = self._mended_prompts()
        """Samples whose prompt is kept, besides those that have a score."""

    def begin(self) -> None:
        """Make room for the answers of `--redo`: the earlier run is moved aside until the first of them is written."""
        if self._begun:
            return
        self._begun = True
        try:
            if self._file.seek(0, os.SEEK_END) or (self.folder / "run.json").exists():
                move_aside(self.folder)
                self._before, self._file = self._file, locked(self.path)
            self._prompt_file = _appending(self.prompts)
        except OSError as error:
            raise UsageError(f"{show(self.folder)} cannot be written: {error.strerror}") from None

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
        if len(last) < MAX_LINE and isinstance(_read(last), Line):
            _append(self._file, b"\n")

    def _mended_prompts(self) -> set[str]:
        """Cut off the torn end of the prompts; the samples, besides the scored ones, whose prompt is there.

        A prompt is written in one go with the first record of its sample, so that only the end may hold prompts without
        a record; only samples that could not be built have a record without a prompt, and that has no seed.
        """
        try:
            kept, end = prompts.mended(self.prompts)
        except prompts.Damaged:
            aside = self.prompts.with_suffix(".zst.damaged")
            self.prompts.replace(aside)
            self._prompt_file.close()
            self._prompt_file = _appending(self.prompts)
            self._set_aside.append(
                f"{show(self.prompts)} is damaged and set aside as {aside.name}; the scores are whole"
            )
            kept, end = set(), 0
        self._prompt_file.truncate(end)
        return kept | {line.id for line in self._errored.values() if line.seed is not None}

    @property
    def notes(self) -> list[str]:
        """One line for each thing that was found amiss."""
        torn = [f"{show(self.path)}:{number}: torn line; its sample is run again" for number in self.torn]
        invalid = [
            f"{show(self.path)}:{number}: {reason}; the line is ignored, and its sample is run again"
            for number, reason in itertools.islice(self.invalid.items(), SHOWN)
        ]
        if (more := len(self.invalid) - SHOWN) > 0:
            invalid.append(f"{show(self.path)}: {more} more lines cannot be, and are ignored")
        return torn + invalid + self._set_aside

    async def append(self, record: Record, messages: list[Message] | None = None) -> None:
        """Write a record, and its sample's prompt if that is not there yet; returns when both are on disk."""
        line = readable(record)
        prompt = b""
        if messages is not None and record.id not in self._scored and record.id not in self._kept:
            self._kept.add(record.id)
            prompt = encoded(messages)
            if secrets.found(prompt):
                prompt = encoded(secrets.redact_tree(msgspec.json.decode(prompt)))
            prompt = prompts.frame(record.id, prompt)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((line, prompt, done))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._drain())
        await done
        if self._before is not None and record.outcome != "errored":
            self._drop_before()
        self._count(
            Line(
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

    async def settled(self) -> None:
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
                reason = Stopped(f"{show(self.path)}: {error.strerror}; what is finished is kept, run it again later")
                for _, _, done in batch:
                    if not done.cancelled():
                        done.set_exception(reason)
                continue
            for _, _, done in batch:
                if not done.cancelled():
                    done.set_result(None)

    def _write(self, batch: list[tuple[bytes, bytes, asyncio.Future[None]]]) -> None:
        if not same(self._file, self.path):
            self._rescue()
        if not same(self._prompt_file, self.prompts):
            self._rescue_prompts()
        for file, data in (
            (self._prompt_file, b"".join(prompt for _, prompt, _ in batch)),
            (self._file, b"".join(line for line, _, _ in batch)),
        ):
            if data:
                _append(file, data)

    def _rescue(self) -> None:
        """Write what our open file holds under its own name again, or another if that is taken, and stop the run."""
        content = _content(self._file)
        was, taken = self.path, os.path.lexists(self.path)
        self.folder.mkdir(parents=True, exist_ok=True)
        if taken:
            self.path = _free(was.with_suffix(".jsonl.rescued"))
        file = locked(self.path)
        _append(file, content)
        self._file.close()
        self._file = file
        how = "replaced by another file" if taken else "deleted"
        self._stop = Stopped(
            f"{show(was)} was {how} while the run went on; all answers so far are in {show(self.path)}"
            + ("; put it back in place to continue" if taken else "; the same command continues")
        )

    def _rescue_prompts(self) -> None:
        """Write what our open file of prompts holds under its own name again, or another if that is taken."""
        was, taken = self.prompts, os.path.lexists(self.prompts)
        if taken:
            self.prompts = _free(was.with_suffix(".zst.rescued"))
        file = _appending(self.prompts)
        _append(file, _content(self._prompt_file))
        self._prompt_file.close()
        self._prompt_file = file
        how = "replaced by another file" if taken else "deleted"
        self._set_aside.append(f"{show(was)} was {how} while the run went on; all prompts are in {show(self.prompts)}")

    def attempted(self) -> Usage:
        """What the answers of a `--redo` took that came to nothing, judges' replies too."""
        gone = Usage()
        for record in records(self.path) if self._before is not None else ():
            for usage in (record.usage, *(reply.usage for reply in (*record.verdicts, *record.judge_replies))):
                add_usage(gone, usage)
        return gone

    def close(self) -> None:
        """Let go of the folder; takes superseded lines out first, where there is room to do so.

        An earlier run that `--redo` has moved aside comes back if no answer has taken its place.
        """
        try:
            if self._superseded and not self._before and same(self._file, self.path):
                self._compact()
        except OSError as error:
            line = f"{show(self.path)} keeps lines that are out of date: {error.strerror}; nothing is lost"
            self._set_aside.append(line)
        finally:
            if self._before is not None:
                put_back(self.folder)
                self._before.close()
                self._set_aside.append(f"{show(self.folder)}: no new answer came; the earlier run is back in place")
            self._file.close()
            if self._begun:
                self._prompt_file.close()

    def superseded(self, *, judges: bool = True) -> Usage:
        """What the lines took that later ones supersede, which go when the journal is closed; judges' replies too."""
        gone = Usage()
        if not self._superseded or not self._begun:
            return gone
        kept: set[tuple[str, int]] = set()
        last_error = self._last_errors()
        for number, (raw, line) in enumerate(_lines(self.path)):
            if line is None or line.id in self.strangers or not self._stale(line, number, kept, last_error):
                continue
            record = _record(raw) if judges else None
            replies = (*record.verdicts, *record.judge_replies) if record else ()
            for usage in (line.usage, *(reply.usage for reply in replies)):
                add_usage(gone, usage)
        return gone

    def _last_errors(self) -> dict[tuple[str, int], int]:
        """Which line is the last error of each (sample, repeat)."""
        return {
            (line.id, line.repeat): number
            for number, (_, line) in enumerate(_lines(self.path))
            if line and line.outcome == "errored"
        }

    def _stale(
        self, line: Line, number: int, kept: set[tuple[str, int]], last_error: dict[tuple[str, int], int]
    ) -> bool:
        """Whether another line supersedes this one; `kept` gets those that stay."""
        key = (line.id, line.repeat)
        stale = self.has(*key) or last_error[key] != number if line.outcome == "errored" else key in kept
        if not stale:
            kept.add(key)
        return stale

    def release(self) -> None:
        """Let go of the folder and leave it as it is."""
        self._file.close()
        if self._begun:
            self._prompt_file.close()

    @property
    def late_notes(self) -> list[str]:
        """What was found amiss while closing."""
        return self._set_aside

    @property
    def untouched(self) -> bool:
        """Whether `--redo` has not taken the place of the earlier run, so that nothing is to be written beside it."""
        return not self._begun or self._before is not None

    @property
    def empty(self) -> bool:
        """Whether nothing was finished, and no line is there that might be of use to somebody."""
        return not (self.tally.finished or self.invalid or self.strange_lines)

    def discard(self) -> None:
        """Let go of a folder in which nothing was finished, and take away what is ours: empty files and run.json."""
        self._superseded = 0
        for path in (self.folder / "run.json", self.prompts, self.path):
            path.unlink(missing_ok=True)
        self.close()
        if not self._existed:
            with suppress(OSError):
                self.folder.rmdir()

    def _compact(self) -> None:
        """Write the journal anew with one line for each (sample, repeat), in place of the old one at once."""
        fresh = self.path.with_suffix(".jsonl.new")
        try:
            unreadable = self._unreadable()
            if unreadable:
                with locked(self.path.with_suffix(".jsonl.unreadable")) as kept_aside:
                    _append(kept_aside, unreadable)
            fresh.unlink(missing_ok=True)
            with fresh.open("xb") as file:
                self._write_current(file)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)
        except OSError:
            with suppress(OSError):
                fresh.unlink()
            raise

    def _write_current(self, file: IO[bytes]) -> None:
        kept: set[tuple[str, int]] = set()
        last_error = self._last_errors()
        for number, (raw, line) in enumerate(_lines(self.path)):
            # Of lines that cannot be and those of strangers nobody knows what they were to be; they stay.
            if line is None or line.id in self.strangers or not self._stale(line, number, kept, last_error):
                file.write(raw)

    def _unreadable(self) -> bytes:
        """The lines that are no JSON."""
        if not self.torn:
            return b""
        with self.path.open("rb") as file:
            return b"".join(raw for raw in file if not _read(raw) and raw.endswith(b"\n"))


def _appending(path: Path) -> FileIO:
    """A file to append to; a symbolic link is not followed."""
    return FileIO(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666), "a+")


def _free(path: Path) -> Path:
    """The path, or one with a number behind it if that is taken."""
    names = itertools.chain([path], (path.with_name(f"{path.name}.{n}") for n in itertools.count(1)))
    return next(each for each in names if not os.path.lexists(each))


def encoded(value: Any) -> bytes:
    """JSON of whatever a runner or an episode has put into a record: odd objects as text, half characters replaced."""
    try:
        return msgspec.json.encode(value, enc_hook=str)
    except (UnicodeEncodeError, TypeError, ValueError, OverflowError, RecursionError):
        return json.dumps(_plain(value), ensure_ascii=False).encode("utf-8", "replace")


def _plain(value: Any, depth: int = 0) -> Any:
    """JSON's own types from anything: keys and odd objects as text, numbers that JSON does not have as null."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        kept = int(value) if isinstance(value, int) else float(value) if math.isfinite(value) else None
        return str(kept) if isinstance(kept, int) and not -(2**63) <= kept < 2**64 else kept
    if depth == MAX_DEPTH:
        return type(value).__name__
    if isinstance(value, Struct):
        return {name: _plain(getattr(value, name), depth + 1) for name in value.__struct_fields__}
    if isinstance(value, Mapping):
        return {str(key): _plain(each, depth + 1) for key, each in value.items()}
    return [_plain(each, depth + 1) for each in value] if isinstance(value, list | tuple | Set) else str(value)


def records(path: Path) -> Iterator[Record]:
    """The records of a journal, one at a time; lines that are torn or cannot be are passed over.

    Of a line that counts, but in which another field is none of a record's, comes what counts alone.
    """
    with path.open("rb") as file:
        for raw in file:
            if (record := _record(raw)) is not None:
                yield record


def settled(path: Path, strangers: Set[str] = frozenset()) -> Iterator[Record]:
    """One record of each (sample, repeat): the first score stands, else the last error; the file is read twice."""
    scored: dict[str, int] = {}  # sample -> bits of its repeats
    errors: dict[tuple[str, int], int] = {}  # the number of the last one
    for number, (raw, line) in enumerate(_lines(path)):
        if line is None or raw[-1:] != b"\n":
            continue
        if line.outcome == "errored":
            errors[line.id, line.repeat] = number
        else:
            scored[line.id] = scored.get(line.id, 0) | 1 << line.repeat
    left = dict(scored)
    for number, (raw, line) in enumerate(_lines(path)):
        if line is None or line.id in strangers or raw[-1:] != b"\n":
            continue
        if line.outcome == "errored":
            if scored.get(line.id, 0) >> line.repeat & 1 or errors[line.id, line.repeat] != number:
                continue
        elif left[line.id] >> line.repeat & 1:
            left[line.id] ^= 1 << line.repeat
        else:
            continue
        record = _record(raw)
        if record is not None:
            yield record


def _record(raw: bytes) -> Record | None:
    """The record of a line; of one in which some field is none of a record's, what counts alone."""
    try:
        record = _decode_record(raw)
    except _NO_RECORD:
        line = _read(raw)
        return Record(**msgspec.structs.asdict(line)) if isinstance(line, Line) else None
    return None if fault(record) else record


_decode_record = msgspec.json.Decoder(Record).decode
_NO_RECORD = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def _lines(path: Path) -> Iterator[tuple[bytes, Line | None]]:
    """The lines that are not torn; None beside those that cannot be."""
    with path.open("rb") as file:
        for raw in file:
            line = _read(raw)
            if line:
                yield raw, None if isinstance(line, str) else line


def _read(raw: bytes) -> Line | str:
    """A line, or what in it cannot be; empty text if it is torn."""
    try:
        line = _decode_line(raw)
    except msgspec.ValidationError as error:
        return " ".join(str(error).split())
    except RecursionError:
        return "it is nested too deep"
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return fault(line) or line


def readable(record: Record) -> bytes:
    """A record as a line that reads back as it was; one that cannot be written becomes `errored` and says why.

    Changes the record to what was written.
    """
    try:
        if record.value is not None:
            record.value = as_number(record.value)
        as_usage(record.usage)
        as_timing(record.timing)
        return _checked(record)
    except Exception as error:  # noqa: BLE001 - the sample boundary: whatever a plugin has put into a record
        record.outcome, record.value, record.answer = "errored", None, None
        record.error = f"{type(error).__name__}: what this sample gave cannot be kept: {error}"
    record.metrics, record.metadata, record.logprobs = {}, {}, None
    record.verdicts, record.judge_replies = [], []
    record.text, record.reasoning, record.tool_calls = str(record.text), str(record.reasoning), []
    record.explanation, record.finish_reason, record.retries = str(record.explanation), None, 0
    return _checked(record)


def _checked(record: Record) -> bytes:
    """A record's line; ValueError or a DecodeError if it would not be read as the same one."""
    line = secrets.masked_record(encoded(record), encoded)
    read = _decode_record(line)
    if why := fault(read):
        raise ValueError(why)
    if (read.outcome, read.score, read.usage) != (record.outcome, record.score, record.usage):
        raise ValueError("it would be read back as another")
    return line + b"\n"


def _content(file: FileIO) -> bytes:
    """All that an open file holds, whatever has become of its name."""
    content = bytearray()
    while part := os.pread(file.fileno(), 2**24, len(content)):
        content += part
    return bytes(content)


def _append(file: FileIO, data: bytes) -> None:
    """All of `data`, on disk, or none of it: a disk that fills up must not leave half a line."""
    end = file.seek(0, os.SEEK_END)
    view = memoryview(data)
    try:
        while view:
            view = view[file.write(view) :]
        os.fsync(file.fileno())
    except OSError:
        os.ftruncate(file.fileno(), end)
        raise
