"""The run loop: answers, grades and records the pending (sample, repeat)s, several at a time.

plan (samples × repeats less the journal) -> build each sample when it is due -> episode -> grade -> journal. Memory
holds the prompts in flight. What goes wrong with one sample is its outcome; what makes going on pointless (the server
is gone, the disk is full) stops the run after what is in flight, and nothing finished is lost.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

from m1eval import tracebacks
from m1eval.episodes import single_turn
from m1eval.errors import M1evalError
from m1eval.exits import isolate_exits
from m1eval.run.context import Context
from m1eval.run.episode_runner import EpisodeRunner
from m1eval.run.generation import BoundRunner, ConcurrencyLimit, Session, seed_of
from m1eval.run.grading import Attempt, digest_of, error_text, graded_record
from m1eval.run.plan import Plan, SampleBuilder
from m1eval.run.reservation import LimitReached
from m1eval.run.sample_tasks import SampleTasks
from m1eval.store.journal import Journal
from m1eval.store.record import Record
from m1eval.types import Message, Output, Request, Sample

BACKLOG = 64
"""Maximum outputs that wait for their grade or the disk, next to the requests in flight; of episodes, how many more may
have begun than have a request in flight."""


async def run(plan: Plan, journal: Journal, session: Session) -> None:
    """Run everything that is pending, until all is done, `stop` is set or a limit is reached.

    Raises the error that ended the run early, after everything in flight has come to its end.
    """
    places, stop = session.concurrency_limit, session.stop
    backlog = ConcurrencyLimit(lambda: BACKLOG + places.limit())
    fatal: list[Exception] = []

    async def process(sample: Sample, contexts: list[Context], digest: str, built: float) -> None:
        try:
            attempts = await _generate(plan, contexts, session)
            await _record(plan, attempts, contexts, sample.messages, digest, built, journal, session)
        except LimitReached:
            stop.set()
        except Exception as error:  # noqa: BLE001 - whatever it is, what is in flight is finished first
            fatal.append(error)
            stop.set()
        finally:
            backlog.release()
            for context in contexts:
                with suppress(Exception):  # there is no record that could tell it
                    await isolate_exits(context.aclose())

    async with SampleTasks() as tasks:
        builder = SampleBuilder(plan, session.runner)
        for number, repeats in plan.pending():
            if stop.is_set():
                break
            try:
                sample, built = await builder.sample(number, repeats[0])
            except M1evalError as error:  # the task's file or data is wrong
                fatal.append(error)
                break
            except Exception as error:  # noqa: BLE001 - the sample boundary: only this one cannot be made
                await _record_unbuilt(plan.samples.id(number), repeats, error, journal)
                continue
            if sample is None:
                await asyncio.sleep(0)  # thousands may be left out, one after another
                continue
            digest = digest_of(sample)  # once for all of its repeats, as a prompt may be long
            batch = 1 if plan.task.episode else int(session.runner.max_n)
            for first in range(0, len(repeats), batch):
                await backlog.acquire()
                await places.acquire()
                if session.spending.reached:
                    stop.set()
                if stop.is_set():
                    places.release()
                    break
                contexts = [session.resources.context(sample, repeat) for repeat in repeats[first : first + batch]]
                tasks.start(process(sample, contexts, digest, built), contexts)
                del contexts
            del sample  # the prompt lives as long as its requests, no longer
    if fatal:
        raise fatal[0]


async def _record_unbuilt(name: str, repeats: list[int], error: Exception, journal: Journal) -> None:
    """Record that a sample could not be made."""
    text = error_text(error)
    tracebacks.show(error, text, name)
    for repeat in repeats:
        await journal.append(Record(id=name, repeat=repeat, outcome="errored", error=text, time=time.time()))


async def _record(
    plan: Plan,
    attempts: Sequence[Attempt],
    contexts: Sequence[Context],
    messages: list[Message],
    digest: str,
    built: float,
    journal: Journal,
    session: Session,
) -> None:
    """Grade and write each answer by itself; raises the first error that ends the run, once all are recorded."""

    async def record(attempt: Attempt, context: Context) -> None:
        record = await graded_record(plan, attempt, context, session)
        record.digest = digest
        record.timing.build = built
        await journal.append(record, messages)

    if len(attempts) == 1:  # nearly always, and a task for it would cost more than the rest
        await record(attempts[0], contexts[0])
        return
    for error in filter(None, await asyncio.gather(*map(record, attempts, contexts), return_exceptions=True)):
        raise error


async def _generate(plan: Plan, contexts: list[Context], session: Session) -> list[Attempt]:
    """Ask for one sample's repeats, in one request if the runner gives several answers to one.

    Gives the place back that was taken for it; an episode takes one for each of its requests.
    """
    attempts: list[Attempt] = []
    if plan.task.episode:
        session.concurrency_limit.release()
    try:
        while len(attempts) < len(contexts):
            attempts += await _attempt(plan, contexts[len(attempts) :], session)
    except LimitReached:
        session.stop.set()
        if not attempts:
            raise
    finally:
        if not plan.task.episode:
            session.concurrency_limit.release()
    return attempts


async def _attempt(plan: Plan, contexts: list[Context], session: Session) -> list[Attempt]:
    """At least one answer, at most one for each repeat; an error becomes the answer of the first."""
    begin = time.monotonic()
    task, episode, context = plan.task, plan.task.episode, contexts[0]
    seed = seed_of(plan.seed, context.sample.id, context.repeat)
    answers: Sequence[Output | Exception]
    runner = (EpisodeRunner if episode else BoundRunner)(session, context, task, seed)
    try:
        if episode and isinstance(runner, EpisodeRunner):
            answers = [await isolate_exits(runner.run(episode))]
        elif len(contexts) > 1 and runner.varies:
            request = Request(messages=context.sample.messages, tools=context.sample.tools)
            answers = await isolate_exits(runner.generate_n(request, len(contexts)))
        else:
            answers = [await isolate_exits(single_turn(context.sample, runner, context))]
    except LimitReached as error:
        session.stop.set()
        if not runner.totals.requests:
            raise
        answers = [error]  # what was spent is kept, also by those who ask on another day
    except M1evalError:
        raise
    except Exception as error:  # noqa: BLE001 - the sample boundary: here an error becomes data
        answers = [error]
    for output in answers:
        if not isinstance(output, Exception):
            output.timing.total = output.timing.total or time.monotonic() - begin
    transcript, changed = [], []
    if isinstance(runner, EpisodeRunner):
        transcript, changed = runner.transcript.entries, runner.changed_fields
    totals = [runner.totals, *[None] * (len(answers) - 1)]  # the first record has what all took
    return [
        Attempt(context.repeat, seed, answer, spent, transcript, changed)
        for context, answer, spent in zip(contexts, answers, totals, strict=False)
    ]
