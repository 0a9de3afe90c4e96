"""The run loop: what is owed is asked, graded and written, one (sample, repeat) after another, several at a time.

plan (samples × repeats less the journal) -> build each sample when it is due -> episode -> score -> journal. Memory
holds the prompts in flight. What goes wrong with one sample is its outcome; what makes going on pointless (the server
is gone, the disk is full) stops the run after what is in flight, and nothing finished is lost.
"""

import asyncio
import time
from collections.abc import Sequence

from m1eval.errors import M1evalError
from m1eval.run.generation import BoundRunner, ConcurrencyLimit, Session, Spent, seed_of
from m1eval.run.grading import Attempt, contained, describe_error, digest_of, graded_record
from m1eval.run.plan import Plan, SampleBuilder
from m1eval.run.reservation import LimitReached
from m1eval.store.journal import Journal
from m1eval.store.record import Record
from m1eval.types import Output, Request, Sample

BACKLOG = 64
"""How many outputs may wait for their grade or the disk, beside the requests in flight."""


async def run(work: Plan, journal: Journal, asking: Session) -> None:
    """Do what is owed, until all is done, `stop` is set or the means are spent.

    Raises the M1evalError that ended the run early, after everything in flight has come to its end.
    """
    places, stop = asking.places, asking.stop
    backlog = ConcurrencyLimit(lambda: BACKLOG + places.wanted())
    fatal: list[M1evalError] = []

    async def some(sample: Sample, repeats: list[int], digest: str, built: float) -> None:
        try:
            came = await _generate(work, sample, repeats, asking)
            await _record(work, sample, came, digest, built, journal, asking)
        except LimitReached:
            stop.set()
        except M1evalError as error:
            fatal.append(error)
            stop.set()
        finally:
            backlog.release()

    async with asyncio.TaskGroup() as group:
        building = SampleBuilder(work, asking.runner)
        for number, repeats in work.pending():
            if stop.is_set():
                break
            try:
                sample, built = await building.sample(number, repeats[0])
            except M1evalError as error:  # the task's file or data is wrong
                fatal.append(error)
                break
            except Exception as error:  # noqa: BLE001 - the sample boundary: only this one cannot be made
                await _record_unbuilt(work.samples.id(number), repeats, error, journal)
                continue
            if sample is None:
                await asyncio.sleep(0)  # thousands may be left out, one after another
                continue
            digest = digest_of(sample)  # once for all of its repeats, as a prompt may be long
            together = 1 if work.task.episode else int(asking.runner.max_n)
            for first in range(0, len(repeats), together):
                await backlog.acquire()
                await places.acquire()
                if asking.spending.reached:
                    stop.set()
                if stop.is_set():
                    places.release()
                    break
                group.create_task(some(sample, repeats[first : first + together], digest, built))
            del sample  # the prompt lives as long as its requests, no longer
    if fatal:
        raise fatal[0]


async def _record_unbuilt(name: str, repeats: list[int], error: Exception, journal: Journal) -> None:
    """Record that a sample could not be made."""
    for repeat in repeats:
        await journal.append(
            Record(id=name, repeat=repeat, outcome="errored", error=describe_error(error), time=time.time())
        )


async def _record(
    work: Plan,
    sample: Sample,
    came: "Sequence[Attempt]",
    digest: str,
    built: float,
    journal: Journal,
    asking: Session,
) -> None:
    """Grade and write each answer by itself; the first error that ends the run, once all have been seen to."""

    async def one(each: Attempt) -> None:
        record = await graded_record(work, sample, each, asking)
        record.digest = digest
        record.timing.build = built
        await journal.append(record, sample.messages)

    if len(came) == 1:  # nearly always, and a task for it would cost more than the rest
        await one(came[0])
        return
    for error in filter(None, await asyncio.gather(*map(one, came), return_exceptions=True)):
        raise error


async def _generate(work: Plan, sample: Sample, repeats: list[int], asking: Session) -> list[Attempt]:
    """Ask for one sample's repeats, in one request if the runner gives several answers to one."""
    outputs = []
    try:
        owed = list(repeats)
        while owed:
            seed = seed_of(work.seed, sample.id, owed[0])
            answers, spent = await _attempt(work, sample, owed, seed, asking)
            outputs += [
                Attempt(owed.pop(0), seed, answer, None if number else spent)  # the first record has what all took
                for number, answer in enumerate(answers)
            ]
    except LimitReached:
        asking.stop.set()
        if not outputs:
            raise
    finally:
        asking.places.release()
    return outputs


async def _attempt(
    work: Plan, sample: Sample, repeats: list[int], seed: int, asking: Session
) -> tuple[Sequence[Output | Exception], "Spent"]:
    """At least one answer, at most one for each repeat; an error becomes the answer of the first."""
    begin = time.monotonic()
    made = BoundRunner(asking, sample, repeats[0], work.task, seed)
    answers: Sequence[Output | Exception]
    try:
        if len(repeats) > 1 and made.varies:
            request = Request(messages=sample.messages, tools=sample.tools)
            answers = await contained(made.generate_n(request, len(repeats)))
        else:
            answers = [await contained(made.episode(work.task, asking.tools))]
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
