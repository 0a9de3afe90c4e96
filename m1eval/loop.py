"""The run loop: what is owed is asked, graded and written, one (sample, repeat) after another, several at a time.

plan (samples × repeats less the journal) -> build each sample when it is due -> episode -> score -> journal. Memory
holds the prompts in flight. What goes wrong with one sample is its outcome; what makes going on pointless (the server
is gone, the disk is full) stops the run after what is in flight, and nothing finished is lost.
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import msgspec

from m1eval.errors import M1evalError
from m1eval.grading import add_usage, as_output, as_score
from m1eval.journal import Done, Journal, Record, encoded
from m1eval.judge_replies import judge_replies
from m1eval.nouns import (
    Output,
    Progress,
    Request,
    Runner,
    Sample,
    Sampling,
    Score,
    Timing,
    Tools,
    Usage,
    Verdict,
    outcome_of,
)
from m1eval.overlength import Overlength
from m1eval.reservation import Episode, LimitReached, Reservation
from m1eval.samples import Samples
from m1eval.spending import Spending
from m1eval.task import Task

T = TypeVar("T")

BACKLOG = 64
"""How many outputs may wait for their grade or the disk, beside the requests in flight."""
QUICK = 0.001
"""Seconds: samples that are built in less are built on the spot, as a thread would cost more."""
IN_THREADS = 64
"""Samples at most that are built in threads before it is tried again whether one on the spot is quick."""
LONGEST_KEY = 64
"""Characters of a prefix key that is kept as it is."""
LOOK_AGAIN = 0.25
"""Seconds after which a runner is asked again how many requests it likes."""


class CutOff(RuntimeError):
    """An answer was cut off by the limit that it was given so that the command keeps to its own."""

    def __init__(self, output: Output) -> None:
        tokens = f"{output.usage.output:,} tokens"
        super().__init__(f"after {tokens}, to stay within what may be spent; give the task max_tokens, or spend more")
        self.output = output


class Work:
    """One task's share of a run: which samples, how often, and what of it is done."""

    def __init__(
        self,
        task: Task,
        samples: Samples,
        numbers: list[int],
        repeats: int,
        seed: int,
        done: Done,
        overlength: Overlength,
    ):
        self.task = task
        self.samples = samples
        self.numbers = numbers
        self.repeats = repeats
        self.seed = seed
        self.done = done
        self.overlength = overlength
        self.more: dict[str, int] = {}
        """Samples that get more answers than `repeats` (`--until-se`), with their number."""

    @property
    def total(self) -> int:
        """(sample, repeat)s in all."""
        return (len(self.numbers) - self.skipped) * self.repeats + sum(n - self.repeats for n in self.more.values())

    @property
    def skipped(self) -> int:
        """Samples that are left out, as their prompt is longer than the window."""
        return self.overlength.skips(map(self.samples.id, self.numbers)) if self.overlength.skipped else 0

    def build(self, number: int, runner: Runner, repeat: int = 0) -> Sample | None:
        """A sample as it is to be asked of this runner; None if it is longer than the window and to be left out."""
        return self.overlength.fitted(self.samples.sample(number, repeat), getattr(runner, "window", None))

    def owed(self) -> Iterator[tuple[int, list[int]]]:
        """What has no score yet: samples by number with those repeats that share a prompt."""
        for number in self.numbers:
            name = self.samples.id(number)
            most = self.more.get(name, self.repeats)
            missing = ((1 << most) - 1) & ~self.done.bits(name)
            if missing and name not in self.overlength.skipped:
                repeats = [r for r in range(most) if missing >> r & 1]
                yield from [(number, [r]) for r in repeats] if self.samples.varies(number) else [(number, repeats)]


class _Building:
    """Builds samples: on the spot while that is quick, else in a thread, where they keep nobody waiting."""

    def __init__(self, work: Work, runner: Runner) -> None:
        self._work, self._runner = work, runner
        self._in_threads = self._next_in_threads = 1

    async def sample(self, number: int, repeat: int = 0) -> tuple[Sample | None, float]:
        """A sample, None if it is to be left out, and the seconds that it took."""
        if self._next_in_threads:
            sample, took, busy = await asyncio.to_thread(self._timed, number, repeat)
            # Of the time, only what it computed itself tells: in a thread it waits for the others.
            if busy < QUICK:
                self._next_in_threads -= 1
            return sample, took
        sample, took, _ = self._timed(number, repeat)
        # What waits for a disk or a network is slow again and again, and then tried less and less often.
        self._in_threads = 1 if took < QUICK else min(2 * self._in_threads, IN_THREADS)
        self._next_in_threads = 0 if took < QUICK else self._in_threads
        return sample, took

    def _timed(self, number: int, repeat: int) -> tuple[Sample | None, float, float]:
        begin, busy = time.monotonic(), time.thread_time()
        sample = self._work.build(number, self._runner, repeat)
        return sample, time.monotonic() - begin, time.thread_time() - busy


class Places:
    """The requests in flight: as many as `wanted` says at the moment, which a runner may change as it learns."""

    def __init__(self, wanted: Callable[[], int]) -> None:
        self.wanted = wanted
        self.taken = 0
        self._given = asyncio.Event()

    async def take(self) -> None:
        """Wait for a place and take it."""
        while self.taken >= max(1, self.wanted()):
            self._given.clear()
            with suppress(TimeoutError):  # more may be wanted though none was given back
                async with asyncio.timeout(LOOK_AGAIN):
                    await self._given.wait()
        self.taken += 1

    def give(self) -> None:
        """Give a place back."""
        self.taken -= 1
        self._given.set()


class Asking(NamedTuple):
    """How a run is carried out: whom to ask, what to ask with, what it may cost, and when to stop."""

    runner: Runner
    tools: Tools
    progress: Progress
    places: Places
    spending: Spending
    stop: asyncio.Event


async def run(work: Work, journal: Journal, asking: Asking) -> None:
    """Do what is owed, until all is done, `stop` is set or the means are spent.

    Raises the M1evalError that ended the run early, after everything in flight has come to its end.
    """
    places, stop = asking.places, asking.stop
    backlog = Places(lambda: BACKLOG + places.wanted())
    fatal: list[M1evalError] = []

    async def some(sample: Sample, repeats: list[int], built: float) -> None:
        try:
            came = await _outputs(work, sample, repeats, asking)
            await _recorded(work, sample, came, built, journal, asking)
        except LimitReached:
            stop.set()
        except M1evalError as error:
            fatal.append(error)
            stop.set()
        finally:
            backlog.give()

    async with asyncio.TaskGroup() as group:
        building = _Building(work, asking.runner)
        for number, repeats in work.owed():
            if stop.is_set():
                break
            try:
                sample, built = await building.sample(number, repeats[0])
            except M1evalError as error:  # the task's file or data is wrong
                fatal.append(error)
                break
            except Exception as error:  # noqa: BLE001 - the sample boundary: only this one cannot be made
                await _unbuilt(work.samples.id(number), repeats, error, journal)
                continue
            if sample is None:
                await asyncio.sleep(0)  # thousands may be left out, one after another
                continue
            together = 1 if work.task.episode else int(getattr(asking.runner, "choices", 1))
            for first in range(0, len(repeats), together):
                await backlog.take()
                await places.take()
                if asking.spending.reached:
                    stop.set()
                if stop.is_set():
                    places.give()
                    break
                group.create_task(some(sample, repeats[first : first + together], built))
            del sample  # the prompt lives as long as its requests, no longer
    if fatal:
        raise fatal[0]


async def _unbuilt(name: str, repeats: list[int], error: Exception, journal: Journal) -> None:
    """Record that a sample could not be made."""
    for repeat in repeats:
        await journal.append(Record(id=name, repeat=repeat, outcome="errored", error=_words(error), time=time.time()))


async def _recorded(
    work: Work, sample: Sample, came: "Sequence[_Came]", built: float, journal: Journal, asking: Asking
) -> None:
    """Grade and write each answer by itself; the first error that ends the run, once all have been seen to."""

    digest = _digest(sample)

    async def one(each: _Came) -> None:
        record = await _graded(work, sample, each, asking)
        record.digest = digest
        record.timing.build = built
        await journal.append(record, sample.messages)

    if len(came) == 1:  # nearly always, and a task for it would cost more than the rest
        await one(came[0])
        return
    for error in filter(None, await asyncio.gather(*map(one, came), return_exceptions=True)):
        raise error


class _Came(NamedTuple):
    """What came of asking for one repeat; `spent`: what the requests of an episode took, though it failed."""

    repeat: int
    seed: int
    output: Output | Exception
    spent: "_Spent | None" = None


async def _outputs(work: Work, sample: Sample, repeats: list[int], asking: Asking) -> list[_Came]:
    """Ask for one sample's repeats, in one request if the runner gives several answers to one."""
    outputs = []
    try:
        owed = list(repeats)
        while owed:
            seed = seed_of(work.seed, sample.id, owed[0])
            answers, spent = await _answers(work, sample, owed, seed, asking)
            outputs += [_Came(owed.pop(0), seed, answer, spent) for answer in answers]
    except LimitReached:
        asking.stop.set()
        if not outputs:
            raise
    finally:
        asking.places.give()
    return outputs


async def _answers(
    work: Work, sample: Sample, repeats: list[int], seed: int, asking: Asking
) -> tuple[Sequence[Output | Exception], "_Spent"]:
    """At least one answer, at most one for each repeat; an error becomes the answer of the first."""
    begin = time.monotonic()
    made = _Asked(asking, sample, repeats[0], work.task, seed)
    answers: Sequence[Output | Exception]
    try:
        if len(repeats) > 1 and made.varies:
            request = Request(messages=sample.messages, tools=sample.tools)
            answers = await _contained(made.several(request, len(repeats)))
        else:
            answers = [await _contained(made.episode(work.task, asking.tools))]
    except LimitReached as error:
        asking.stop.set()
        if not made.spent.requests:
            raise
        return [error], made.spent  # what was spent is kept, also by those who ask on another day
    except M1evalError:
        raise
    except Exception as error:  # noqa: BLE001 - the sample boundary: here an error becomes data
        return [error], made.spent
    for output in answers:
        if not isinstance(output, Exception):
            output.timing.total = output.timing.total or time.monotonic() - begin
    return answers, made.spent


async def _contained(doing: Awaitable[T]) -> T:
    """What it comes to; code of others that ends the process, or cancels what nobody has, only fails."""
    try:
        return await doing
    except SystemExit as error:
        raise RuntimeError(f"SystemExit: {error}") from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise RuntimeError(f"CancelledError: {error}".rstrip(": ")) from error


async def _graded(work: Work, sample: Sample, came: _Came, asking: Asking) -> Record:
    """Grade what came; whatever goes wrong with it becomes its record."""
    record = Record(id=sample.id, repeat=came.repeat, outcome="errored", target=sample.target, seed=came.seed)
    record.metadata = {k: v for k, v in sample.metadata.items() if _small(v)}
    record.cluster, record.group = _cluster(sample), _group(work.task, sample)
    replies: list[Verdict] = []
    token = judge_replies.set(replies)
    asking.spending.grading()
    try:
        await _contained(_grade(record, work.task, sample, came, asking.tools))
    except LimitReached as error:
        asking.stop.set()
        record.error = f"not graded: {error}"
    except M1evalError:
        raise
    except Exception as error:  # noqa: BLE001 - the sample boundary: here an error becomes data
        record.error = _words(error)
    finally:
        judge_replies.reset(token)
        asking.spending.graded([reply.usage for reply in replies])
    known = {verdict.key for verdict in record.verdicts}
    record.judge_replies = [reply for reply in replies if reply.key not in known]
    record.time = time.time()
    return record


async def _grade(record: Record, task: Task, sample: Sample, came: _Came, tools: Tools) -> None:
    """Put what came and its grade into a record."""
    output = came.output
    if isinstance(output, Exception):
        if isinstance(output, CutOff):
            _keep(record, output.output)
        if came.spent:
            came.spent.tell(record)
        raise output
    _keep(record, output)
    score = await _score(task, output, sample, tools)
    record.outcome = outcome_of(output, score)
    graded = record.outcome not in {"truncated", "refused_context"}
    record.value = score.value if graded else 0.0
    record.answer = score.answer if graded else None
    record.explanation, record.metrics = score.explanation, score.metrics
    record.verdicts = score.verdicts


def _digest(sample: Sample) -> str:
    """What was asked, in sixteen hexadecimal digits: prompt, tools and target."""
    hashed = hashlib.blake2b(digest_size=8)
    hashed.update(encoded([sample.messages, sample.tools, sample.target]))
    return hashed.hexdigest()


def _cluster(sample: Sample) -> str:
    """The name of the text that samples share, short enough for every record."""
    key = sample.cluster or sample.prefix_key
    return key if len(key) <= LONGEST_KEY else hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:16]


def _group(task: Task, sample: Sample) -> str:
    """What the sample is averaged with; UsageError if it lacks the task's column for that."""
    column = task.definition.average
    if column is None:
        return ""
    if column not in sample.metadata:
        raise task.source.error(("average",), f"sample {sample.id} has no column '{column}'")
    return str(sample.metadata[column])


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")


async def _score(task: Task, output: Output, sample: Sample, tools: Tools) -> Score:
    """The scorer's grade; an output without an answer is not shown to it."""
    if output.finish_reason == "refused_context":
        return Score(value=0.0, explanation=output.error or "the prompt is longer than the window")
    if output.unfinished_thinking:
        return Score(value=0.0, explanation="the output ended inside its thinking")
    try:
        score = await task.scorer.score(output, sample, tools)
    except TimeoutError as error:
        raise TimeoutError(f"{task.source.where(('scorer',))}: {error}") from error
    return as_score(score, task.scorer_file)


def _keep(record: Record, output: Output) -> None:
    record.text, record.reasoning, record.tool_calls = output.text, output.reasoning, output.tool_calls
    record.finish_reason, record.error = output.finish_reason, output.error
    record.usage, record.timing, record.retries = output.usage, output.timing, output.retries
    record.metadata |= output.metadata
    record.logprobs = output.logprobs


def seed_of(run_seed: int, sample: str, repeat: int) -> int:
    """The seed of one request, in [0, 2^31): the same for every model, another for every repeat."""
    key = f"{run_seed}\0{sample}\0{repeat}".encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:4], "big") >> 1


def total(usages: Iterable[Usage]) -> Usage:
    """The sum of some usages."""
    whole = Usage()
    for usage in usages:
        add_usage(whole, usage)
    return whole


class _Spent:
    """What the requests of one episode took together, counted where they are made.

    An episode may ask several at once, go on without one that has failed, and make up the output that it returns.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.usage, self.timing = Usage(), Timing()
        self.retries = 0

    def add(self, output: Output) -> None:
        """Count one request's output."""
        add_usage(self.usage, output.usage)
        for name in self.timing.__struct_fields__:
            setattr(self.timing, name, getattr(self.timing, name) + getattr(output.timing, name))
        self.retries += output.retries

    def tell(self, record: Output | Record) -> None:
        """Put the sums into a record, or in place of what an episode's output says of a single request."""
        if self.requests:
            record.usage, record.timing, record.retries = self.usage, self.timing, self.retries
            record.metadata = {**record.metadata, "requests": self.requests}


class _Asked:
    """The runner as an episode sees it: requests carry the task's settings, seed and progress by themselves."""

    def __init__(self, asking: Asking, sample: Sample, repeat: int, task: Task, seed: int) -> None:
        self.spent = _Spent()
        self._runner, self._progress, self._spending = asking.runner, asking.progress, asking.spending
        self._stop = asking.stop
        self._episode: Episode | None = None
        self._sample = sample
        self._repeat = repeat
        self._sampling = msgspec.structs.replace(task.definition.generation, seed=seed)
        self._think = task.definition.think

    @property
    def varies(self) -> bool:
        """Whether answers to one prompt differ: greedy ones do not, and servers refuse to write several."""
        return self._sampling.temperature != 0

    async def episode(self, task: Task, tools: Tools) -> Output:
        """The task's own episode with all that its requests took, or one request and its output."""
        if not task.episode:
            return await self._one(Request(messages=self._sample.messages, tools=self._sample.tools))
        first = self._filled(Request(messages=self._sample.messages, tools=self._sample.tools))
        self._episode = await self._spending.begin_episode(first, self._stop)
        try:
            output = msgspec.structs.replace(as_output(await task.episode(self._sample, self, tools)))
        finally:
            self._spending.end_episode(self._episode, self.spent.usage)
        if self.spent.requests:  # the output may be one of those that were counted, hence the copy
            self.spent.tell(output)
        else:
            self._spending.charge(output.usage)
        return output

    async def generate(self, request: Request) -> Output:
        """Ask for an episode, with what the request leaves open filled in."""
        output = await self._one(request, turn=True)
        self.spent.add(output)
        if self._episode:
            self._episode.spent(output.usage)
        return output

    async def _one(self, request: Request, *, turn: bool = False) -> Output:
        """One request that is paid for; LimitReached if there is no room for it, CutOff if a limit of ours cut it."""
        request = self._filled(request)
        discarded: list[Usage] = []

        async def send(reservation: Reservation) -> tuple[Output, int | None]:
            self.spent.requests += turn
            try:
                output = as_output(await self._runner.generate(_capped(request, reservation)))
            except Exception as error:
                _told(reservation, error)
                raise
            reservation.settle([output])
            return output, reservation.max_tokens

        try:
            output, limit = await self._spending.paid(send, request, stop=self._stop, inner=turn, discarded=discarded)
        except Exception:
            self._discarded(discarded)
            raise
        for usage in discarded:
            self.spent.add(Output(usage=usage)) if turn else add_usage(output.usage, usage)
        if output.finish_reason == "length" and limit is not None:
            if turn:
                self.spent.add(output)
            raise CutOff(output)
        return output

    def _discarded(self, discarded: Sequence[Usage]) -> None:
        """Keep what replies took that could not be used."""
        for each in discarded:
            self.spent.requests += not self.spent.requests
            self.spent.add(Output(usage=each))

    async def several(self, request: Request, n: int) -> Sequence[Output | Exception]:
        """Up to `n` answers to one prompt."""
        several: Callable[[Request, int], Awaitable[Sequence[Output | Exception]]] = self._runner.several  # type: ignore[attr-defined]
        request = self._filled(request)
        discarded: list[Usage] = []

        async def send(reservation: Reservation) -> tuple[Sequence[Output | Exception], int | None]:
            try:
                outputs = await several(_capped(request, reservation), n)
                for output in outputs:
                    if not isinstance(output, Exception):
                        as_output(output)
            except Exception as error:
                _told(reservation, error)
                raise
            reservation.settle(outputs)
            return outputs, reservation.max_tokens

        try:
            outputs, limit = await self._spending.paid(send, request, n, stop=self._stop, discarded=discarded)
        except Exception:
            self._discarded(discarded)
            raise
        first = next((each for each in outputs if isinstance(each, Output)), None)
        for usage in discarded if first else ():
            assert first is not None
            add_usage(first.usage, usage)
        return [_whole(each) for each in outputs] if limit else outputs

    def _filled(self, request: Request) -> Request:
        """A copy of the request, as an episode may use it again for another turn or sample."""
        return msgspec.structs.replace(
            request,
            sampling=_completed(request.sampling, self._sampling),
            think_budget=self._think if request.think_budget is None else request.think_budget,
            prefix_key=request.prefix_key or self._sample.prefix_key,
            sample=self._sample,
            repeat=self._repeat,
            progress=self._progress,
        )

    async def aclose(self) -> None:
        """The runner is not an episode's to close."""


def _told(reservation: Reservation, error: Exception) -> None:
    """Count what an error says that it took."""
    if isinstance(usage := getattr(error, "usage", None), Usage):
        with suppress(LimitReached):
            reservation.discard(usage)


def _whole(output: Output | Exception) -> Output | Exception:
    """What came; CutOff in place of an answer that a limit of ours cut off."""
    return CutOff(output) if isinstance(output, Output) and output.finish_reason == "length" else output


def _capped(request: Request, reservation: Reservation) -> Request:
    """The request with the limit of new tokens that its reservation sets."""
    if reservation.max_tokens is None:
        return request
    sampling = msgspec.structs.replace(request.sampling, max_tokens=reservation.max_tokens)
    return msgspec.structs.replace(request, sampling=sampling)


def _completed(sampling: Sampling, default: Sampling) -> Sampling:
    """The settings of a request, with the task's own for those that it leaves open."""
    if sampling == Sampling():
        return default
    own = {name: getattr(sampling, name) for name in sampling.__struct_fields__}
    return msgspec.structs.replace(default, **{name: value for name, value in own.items() if value not in (None, ())})


def _small(value: Any) -> bool:
    """Whether a column is worth keeping in every record, to split results by."""
    return isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= 64)
