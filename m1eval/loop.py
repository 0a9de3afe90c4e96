"""The run loop: what is owed is asked, graded and written, one (sample, repeat) after another, several at a time.

plan (samples × repeats less the journal) -> build each sample when it is due -> episode -> score -> journal. Memory
holds the prompts in flight. What goes wrong with one sample is its outcome; what makes going on pointless (the server
is gone, the disk is full) stops the run after what is in flight, and nothing finished is lost.
"""

import asyncio
import hashlib
import math
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from m1eval.definition import Definition
from m1eval.errors import M1evalError
from m1eval.journal import Done, Journal, Record
from m1eval.nouns import Output, Progress, Request, Runner, Sample, Sampling, Score, Tools, outcome_of
from m1eval.overlength import Overlength
from m1eval.samples import Samples
from m1eval.task import Task

BACKLOG = 4
"""How many outputs may wait for their grade, as a multiple of the concurrency."""


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

    @property
    def total(self) -> int:
        """(sample, repeat)s in all."""
        return (len(self.numbers) - self.skipped) * self.repeats

    @property
    def skipped(self) -> int:
        """Samples that are left out, as their prompt is longer than the window."""
        return self.overlength.skips(map(self.samples.id, self.numbers)) if self.overlength.skipped else 0

    def build(self, number: int, runner: Runner) -> Sample | None:
        """A sample as it is to be asked of this runner; None if it is longer than the window and to be left out."""
        return self.overlength.fitted(self.samples.sample(number), getattr(runner, "window", None))

    def owed(self) -> Iterator[tuple[int, list[int]]]:
        """What has no score yet: samples by number with their repeats, which share a prompt."""
        for number in self.numbers:
            name = self.samples.id(number)
            if name in self.overlength.skipped:
                continue
            if repeats := [r for r in range(self.repeats) if not self.done.has(name, r)]:
                yield number, repeats


async def run(
    work: Work,
    journal: Journal,
    runner: Runner,
    tools: Tools,
    progress: Progress,
    concurrency: int,
    stop: asyncio.Event,
) -> None:
    """Do what is owed, `concurrency` requests at a time, until all is done or `stop` is set.

    Raises the M1evalError that ended the run early, after everything in flight has come to its end.
    """
    slots = asyncio.Semaphore(concurrency)
    backlog = asyncio.Semaphore(concurrency * BACKLOG)
    fatal: list[M1evalError] = []

    async def one(sample: Sample, repeat: int, built: float) -> None:
        try:
            record = await _finish(work, sample, repeat, runner, tools, progress, slots)
            record.timing.build = built
            await journal.append(record, sample.messages)
        except M1evalError as error:
            fatal.append(error)
            stop.set()
        finally:
            backlog.release()

    async with asyncio.TaskGroup() as group:
        for number, repeats in work.owed():
            if stop.is_set():
                break
            begin = time.monotonic()
            try:
                sample = await asyncio.to_thread(work.build, number, runner)
            except M1evalError as error:  # the task's file or data is wrong
                fatal.append(error)
                break
            except Exception as error:  # noqa: BLE001 - the sample boundary: only this one cannot be made
                name, reason = work.samples.id(number), _words(error)
                for repeat in repeats:
                    lost = Record(id=name, repeat=repeat, outcome="errored", error=reason, time=time.time())
                    await journal.append(lost)
                continue
            if sample is None:
                continue
            built = time.monotonic() - begin
            for repeat in repeats:
                await backlog.acquire()
                await slots.acquire()
                if stop.is_set():
                    break
                group.create_task(one(sample, repeat, built))
            del sample  # the prompt lives as long as its requests, no longer
    if fatal:
        raise fatal[0]


async def _finish(
    work: Work,
    sample: Sample,
    repeat: int,
    runner: Runner,
    tools: Tools,
    progress: Progress,
    slots: asyncio.Semaphore,
) -> Record:
    """Ask and grade one (sample, repeat); whatever goes wrong with it becomes its record."""
    seed = seed_of(work.seed, sample.id, repeat)
    record = Record(id=sample.id, repeat=repeat, outcome="errored", target=sample.target, seed=seed)
    record.metadata = {k: v for k, v in sample.metadata.items() if _small(v)}
    begin = time.monotonic()
    try:
        try:
            asking = _Asking(runner, sample, repeat, progress, work.task.definition, seed)
            output = await asking.episode(work.task, tools)
        finally:
            slots.release()
        if not output.timing.total:
            output.timing.total = time.monotonic() - begin
        _keep(record, output)
        score = await _score(work.task, output, sample, tools)
        record.outcome = outcome_of(output, score)
        graded = record.outcome not in {"truncated", "refused_context"}
        record.value = score.value if graded else 0.0
        record.answer = score.answer if graded else None
        record.explanation, record.metrics = score.explanation, score.metrics
    except M1evalError:
        raise
    except Exception as error:  # noqa: BLE001 - the sample boundary: here an error becomes data
        record.error = _words(error)
    record.time = time.time()
    return record


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")


async def _score(task: Task, output: Output, sample: Sample, tools: Tools) -> Score:
    """The scorer's grade; an output without an answer is not shown to it."""
    if output.finish_reason == "refused_context":
        return Score(value=0.0, explanation=output.error or "the prompt is longer than the window")
    if output.unfinished_thinking:
        return Score(value=0.0, explanation="the output ended inside its thinking")
    score = await task.scorer.score(output, sample, tools)
    if not 0 <= score.value <= 1:  # not for NaN either
        raise ValueError(f"the scorer gave {score.value}, which is not in [0, 1]")
    score.metrics = {name: value for name, value in score.metrics.items() if math.isfinite(value)}
    return score


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


class _Asking:
    """The runner as an episode sees it: requests carry the task's settings, seed and progress by themselves."""

    def __init__(
        self, runner: Runner, sample: Sample, repeat: int, progress: Progress, definition: Definition, seed: int
    ) -> None:
        self._runner = runner
        self._sample = sample
        self._repeat = repeat
        self._progress = progress
        self._sampling = msgspec.structs.replace(definition.generation, seed=seed)
        self._think = definition.think

    async def episode(self, task: Task, tools: Tools) -> Output:
        """The task's own episode, or one request and its output."""
        if task.episode:
            return await task.episode(self._sample, self, tools)
        sample = self._sample
        return await self.generate(Request(messages=sample.messages, tools=sample.tools))

    async def generate(self, request: Request) -> Output:
        """Ask, with what the request leaves open filled in."""
        if request.sampling == Sampling():
            request.sampling = self._sampling
        elif request.sampling.seed is None:
            request.sampling = msgspec.structs.replace(request.sampling, seed=self._sampling.seed)
        if request.think_budget is None:
            request.think_budget = self._think
        request.sample, request.repeat, request.progress = self._sample, self._repeat, self._progress
        request.prefix_key = request.prefix_key or self._sample.prefix_key
        return await self._runner.generate(request)

    async def aclose(self) -> None:
        """The runner is not an episode's to close."""


def _small(value: Any) -> bool:
    """Whether a column is worth keeping in every record, to split results by."""
    return isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= 64)
