"""Grading stored answers again: with another scorer, other options or other judges, and without asking the model."""

import asyncio
import sys
import time
from collections import Counter
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from m1eval.credentials import hide_command
from m1eval.errors import M1evalError, Stopped, UsageError
from m1eval.exits import isolate_exits
from m1eval.plugins.foreign import error_line
from m1eval.run.context import Context, Resources
from m1eval.run.evaluate import Display
from m1eval.run.generation import ConcurrencyLimit, Session
from m1eval.run.grading import CHANGED, UNFINISHED, digest_of, grade_record
from m1eval.run.interrupts import Interrupts
from m1eval.run.judges import JudgePanel
from m1eval.run.open_run import OpenRun
from m1eval.run.plan import Plan
from m1eval.run.planned_run import PlannedRun
from m1eval.run.run import Run
from m1eval.run.sample_tasks import SampleTasks
from m1eval.run.spending import Spending
from m1eval.store import compaction, regrading, run_json
from m1eval.store.folder import GRADING
from m1eval.store.journal_state import records
from m1eval.store.record import Record
from m1eval.store.stored import StoredRun
from m1eval.text import display_path
from m1eval.types import Message, Output, Sample, Usage
from m1eval.validation import total_usage

CONCURRENCY = 64
"""Answers that are graded at the same time."""
Changes = Counter[tuple[str, str]]


class Regraded(NamedTuple):
    """A run with its new grades."""

    run: PlannedRun
    answers: int
    changes: Changes
    """Number of answers that went from one outcome to another."""
    is_interrupted: bool = False
    """Whether a signal came when everything of this run was being graded already, so that no other is begun."""


class Interrupted(Stopped):
    """Regrading stopped before all answers were graded; the earlier grades still count."""


async def regrade(run: Run, judges: JudgePanel | None, display: Display, spending: Spending) -> Regraded:
    """Grade the answers in the run's folder; the earlier grades count until all new ones are there.

    Interrupted if Ctrl-C or the limit of `spending` came first, UsageError for a sample that is not the one that was
    answered.
    """
    stop, begin = asyncio.Event(), time.monotonic()
    runner, resources = run.model.runner(), Resources(judges)
    session = Session(runner, resources, display, ConcurrencyLimit(lambda: CONCURRENCY), spending, stop)
    if judges is not None:
        judges.spending, spending.judges = spending, judges.meters
    try:
        with Interrupts(stop) as interrupts, display:
            opened = run.open(regrade=True)
            try:
                if judges is not None:
                    judges.load_replies(opened.journal.path)
                    judges.load_replies(run.folder / GRADING)
                    await judges.start(session.progress)
                planned = opened.plan(run.model.tokenizer(runner))
                interrupts.drains = True
                grader = _Grader(opened, planned.plan, session)
                await grader.grade_all()
                if spending.reached:
                    raise Interrupted(
                        f"stopped by {spending.reached}; the earlier grades count, and the same command with a higher "
                        "limit continues"
                    )
                if not grader.is_finished:
                    raise Interrupted(
                        "not all answers are graded, the earlier grades count; the same command continues"
                    )
                changes = _commit(run, opened, grader.number)
            finally:
                opened.journal.release()
            try:
                regraded = await _summed_up(run, session, changes, begin)
            except UsageError as error:
                raise UsageError(
                    f"{error}; the new grades count, the next command brings the files up to date"
                ) from error
            return regraded._replace(is_interrupted=stop.is_set())
    finally:
        try:
            await run.model.aclose(runner)
        finally:
            await resources.aclose()


class _ContextOfEpisode(Context):
    """A context without the state that an episode left, which is not stored."""

    __slots__ = ()

    @property
    def state(self) -> dict[str, Any]:
        """UsageError, as a scorer would take an empty state for an episode that has done nothing."""
        raise UsageError(
            f"sample '{self.sample.id}' cannot be graded again: its scorer reads what the episode left in "
            "context.state, which is not stored"
        )


class _ChangedSample(Sample):
    """A sample without the fields that an episode changed, as what it made of them is not stored."""

    changed_fields: str

    def __getattribute__(self, name: str) -> Any:
        """UsageError for a field that was changed."""
        get = super().__getattribute__
        if name in Sample.__struct_fields__ and name in get("changed_fields").split(", "):
            raise UsageError(
                f"sample '{get('id')}' cannot be graded again: its scorer reads '{name}' of the sample, which the "
                "episode has changed, and the change is not stored"
            )
        return get(name)


class _Grader:
    """Grades what is stored into the staging file of the folder."""

    def __init__(self, opened: OpenRun, plan: Plan, session: Session) -> None:
        self._opened, self._plan, self._session = opened, plan, session
        self._numbers = {plan.samples.id(number): number for number in plan.numbers}
        self._prompts = _stored_prompts(StoredRun(opened.run.folder, opened.meta))
        gradings = opened.meta.get("gradings") or []
        self.number: int = max([opened.journal.grading, *(each["number"] for each in gradings)]) + 1
        settings = {key: opened.meta["config"].get(key) for key in ("task", "digests", "judges")}
        answers = {(each.id, each.repeat): each.time for each in opened.journal.records() if _has_output(each)}
        self._staging = regrading.Staging(opened.run.folder, self.number, settings, answers)
        self._graded = 0
        self.is_finished = False
        """Whether nothing was left out, as it is if a Ctrl-C comes in time."""

    async def grade_all(self) -> None:
        """Grade all answers that have none of the new grades, until `stop` is set."""
        places, stop = self._session.concurrency_limit, self._session.stop
        fatal: list[Exception] = []

        async def process(record: Record, context: Context) -> None:
            try:
                await self._grade(record, context)
            except Exception as error:  # noqa: BLE001 - whatever it is, what is being graded is finished first
                fatal.append(error)
            finally:
                places.release()

        try:
            async with SampleTasks() as tasks:
                for record in self._opened.journal.records():
                    if not _has_output(record) or self._staging.graded.get((record.id, record.repeat)) == record.time:
                        continue
                    await places.acquire()
                    if stop.is_set() or fatal:
                        places.release()
                        break
                    try:
                        sample = await self._build(record)  # one after another, as rows are read from one file
                    except M1evalError as error:
                        fatal.append(error)
                        places.release()
                        break
                    kind = _ContextOfEpisode if self._plan.task.episode else Context
                    context = kind(self._session.resources, sample, record.repeat)
                    if changed := record.metadata.get(CHANGED):
                        fields = msgspec.structs.asdict(context.sample)
                        context.sample = _ChangedSample(**fields, changed_fields=changed)
                    tasks.start(process(record, context), [context])
                else:
                    self.is_finished = True
        finally:
            self._staging.close()
        if fatal:
            raise fatal[0]

    async def _build(self, record: Record) -> Sample:
        try:
            return await asyncio.to_thread(self._sample, record)
        except M1evalError:
            raise
        except Exception as error:
            raise UsageError(f"sample '{record.id}' cannot be made: {error_line(error)}") from error

    async def _grade(self, record: Record, context: Context) -> None:
        output = _output(record)
        record = msgspec.structs.replace(record, graded=self.number, outcome="errored", error=output.error)
        record.value, record.answer, record.explanation = None, None, ""
        record.metrics, record.verdicts, record.judge_replies = {}, [], []
        try:
            await grade_record(record, self._plan.task, output, context, self._session)
        finally:
            with suppress(Exception):  # the grade counts
                await isolate_exits(context.aclose())
        self._staging.append(record)
        self._graded += 1
        total = self._opened.journal.tally.finished
        if 10 * self._graded // total > 10 * (self._graded - 1) // total:
            self._session.progress.status(f"{self._plan.task.name}: {self._graded:,} of {total:,} graded")

    def _sample(self, record: Record) -> Sample:
        """The sample of a record; UsageError if it is not the one that was answered."""
        number = self._numbers.get(record.id)
        if number is None:
            raise UsageError(f"{display_path(self._opened.run.folder)}: the task has no sample '{record.id}' any more")
        sample = self._plan.samples.sample(number, record.repeat)
        is_cut = "cut_tokens" in record.metadata
        if is_cut and (messages := self._prompts.get(record.id)) is not None:
            sample, is_cut = msgspec.structs.replace(sample, messages=messages), False
        # Of a prompt that lost its middle and was too long to be stored, the target alone can be compared.
        is_same = sample.target == record.target if is_cut or not record.digest else digest_of(sample) == record.digest
        if not is_same:
            raise UsageError(
                f"{display_path(self._opened.run.folder)}: the prompt or the target of sample '{record.id}' is not the "
                "one that was answered"
            )
        return sample


def _has_output(record: Record) -> bool:
    """Whether there is an answer to grade: not where the generation failed, nor where the scorer would not see it."""
    if record.outcome == "errored":
        return record.finish_reason is not None and not (record.error or "").startswith("CutOff:")
    return record.outcome != "refused_context" and not _is_unfinished(record)


def _is_unfinished(record: Record) -> bool:
    return record.outcome == "truncated" and record.explanation == UNFINISHED


def _output(record: Record) -> Output:
    """The output that a record was made of."""
    names = ("text", "reasoning", "tool_calls", "usage", "timing", "logprobs", "retries", "metadata")
    fields = {name: getattr(record, name) for name in names}
    error = None if record.outcome == "errored" else record.error
    return Output(**fields, finish_reason=record.finish_reason or "stop", error=error)


def _stored_prompts(stored: StoredRun) -> dict[str, list[Message]]:
    """The stored messages of prompts that lost their middle, by sample."""
    cut = set((stored.meta.get("overlength") or {}).get("cut", ()))
    try:
        return {each["id"]: each["messages"] for each in stored.prompts() if each["id"] in cut and "messages" in each}
    except UsageError:
        return {}


def _commit(run: Run, opened: OpenRun, number: int) -> Changes:
    """Name the new grades in run.json, from when on they count; how the outcomes change."""
    new = {(record.id, record.repeat): record for record in records(run.folder / GRADING)}
    if new and all(record.outcome == "errored" for record in new.values()):
        regrading.discard(run.folder)
        raise UsageError(f"no answer could be graded, the earlier grades count: {next(iter(new.values())).error}")
    pairs = ((old, new.get((old.id, old.repeat))) for old in opened.journal.records())
    changes = Changes((old.outcome, after.outcome) for old, after in pairs if after and after.outcome != old.outcome)
    meta = opened.meta
    earlier = StoredRun.open(run.folder).meta
    gradings = meta.get("gradings") or [regrading.entry(0, earlier, earlier.get("created"), earlier.get("command"))]
    new_entry = regrading.entry(number, meta, run_json.timestamp(), hide_command(sys.argv))
    meta["gradings"] = [*gradings, {**new_entry, "score": None}]
    meta["command"] = earlier.get("command", meta["command"])  # with which the run continues, but for the scorer
    # Nothing reports the usage of these lines once they are history.
    replaced = compaction.superseded_usage(opened.journal.path, opened.journal.unknown_ids, judges=False, among=new)
    if replaced != Usage():
        meta["superseded"] = msgspec.to_builtins(total_usage((replaced, run_json.superseded(meta))))
    for name in ("summary", "finished"):
        meta.pop(name, None)
    opened.save()
    return changes


async def _summed_up(run: Run, session: Session, changes: Changes, begin: float) -> Regraded:
    """Open the run with its new grades, write its summary and close it."""
    opened = run.open()
    planned: PlannedRun | None = None
    try:
        planned = opened.plan(run.model.tokenizer(session.runner))
        await planned.compare_answers(session)
        planned.seconds = time.monotonic() - begin
        opened.meta["command"] = StoredRun.open(run.folder).meta.get("command", opened.meta["command"])
        opened.meta["gradings"][-1]["score"] = planned.tally.score
        graded = sum(record.graded == opened.meta["gradings"][-1]["number"] for record in opened.journal.records())
    finally:
        opened.close(planned)
    return Regraded(planned, graded, changes)
