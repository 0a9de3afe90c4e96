"""From runs to results: take the folders, start the model if anything is owed, run task after task, close up.

The first Ctrl-C lets what is in flight finish; the second leaves at once. Either way the same command continues.
"""

import asyncio
import sys
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from m1eval.errors import M1evalError, NoJudge, PluginFailed
from m1eval.model.model import Model
from m1eval.model.runner_tokenizer import ContextWindowUnknown
from m1eval.progress import Progress
from m1eval.protocols import Runner, Tokenizer
from m1eval.run.generation import ConcurrencyLimit, Session
from m1eval.run.interrupts import Interrupts
from m1eval.run.run import Run
from m1eval.run.spending import Spending
from m1eval.store.journal import Journal

if TYPE_CHECKING:
    from m1eval.run.judges import Panel
    from m1eval.sandbox.workers import Pool

APPROXIMATE = "no tokenizer of the model is at hand: prompt lengths count four characters as a token"


class RunContext:
    """What the scorers of a run may use; `judges` are asked by the scorers that need them."""

    def __init__(self, judges: "Panel | None" = None) -> None:
        self._judges = judges

    @property
    def judges(self) -> "Panel":
        """The judges; UsageError if none was named."""
        if self._judges is None:
            raise NoJudge("this task is graded by a judge: name one, such as --judge http:gpt-4o")
        return self._judges

    @cached_property
    def workers(self) -> "Pool":
        """The worker processes, started at their first use."""
        from m1eval.sandbox.workers import Pool

        return Pool()

    async def aclose(self) -> None:
        """End the workers and the judges, if there are any."""
        if "workers" in self.__dict__:
            await self.workers.aclose()
        if self._judges is not None:
            await self._judges.aclose()


class Display(Progress, Protocol):
    """A Progress that also follows runs; entered before the model starts, left at the end."""

    def __enter__(self) -> "Display": ...
    def __exit__(self, *exc: object) -> None: ...
    def begin(self, run: Run, asking: Session) -> None: ...
    def end(self) -> None: ...


async def evaluate(
    runs: Sequence[Run],
    runner: Runner,
    display: Display,
    *,
    concurrency: int | None = None,
    redo: bool = False,
    judges: "Panel | None" = None,
    spending: Spending | None = None,
) -> bool:
    """Do what the runs owe; False if it was interrupted. All folders are taken before anything is asked."""
    spending = spending or Spending()
    stop = asyncio.Event()
    tools = RunContext(judges)
    tokenizer = runs[0].model.tokenizer(runner)
    _set_up(spending, runner, tokenizer, judges)
    opened: list[Run] = []
    late: dict[Run, Journal] = {}  # runs whose samples depend on the model's window
    try:
        for run in runs:
            journal = run.open(redo=redo)
            opened.append(run)
            runner.recall(run.described)
            try:
                run.plan(tokenizer, journal)
            except ContextWindowUnknown:
                late[run] = journal
            if judges is not None and not redo:
                judges.load_replies(journal.path)
            spending.add_previous(run.spent_before)
        places = ConcurrencyLimit(lambda: concurrency or int(runner.concurrency))
        asking = Session(runner, tools, display, places, spending, stop)
        with Interrupts(stop) as interrupts, display:
            owing = [run for run in runs if run in late or run.is_pending]
            if owing:
                await _start(runs[0].model, runner, judges, display)
                tokenizer.started = True
                _check_runner(owing, runner)
            for run, journal in late.items():
                run.plan(tokenizer, journal)
            interrupts.drains = True
            for run in owing:
                if stop.is_set():
                    break
                display.begin(run, asking)
                try:
                    await run.execute(asking)
                finally:
                    display.end()
            await _compare_answers(opened, asking)
        shared = [*runner.notes, *([APPROXIMATE] if tokenizer.approximate else [])]
        for run in runs:
            run.notes += shared
    except BaseException as error:
        for run in reversed(opened):
            _close(run, error)
        raise
    else:
        _close_all(opened)
    finally:
        await _give_back(runs[0].model, runner, tools, sys.exception())
    return not stop.is_set() or not any(run.is_pending for run in runs)


async def _start(model: Model, runner: Runner, judges: "Panel | None", display: Display) -> None:
    """Load or connect to the model and to the judges."""
    await model.start(runner, display)
    if judges is not None:
        await judges.start(display)


def _set_up(spending: Spending, runner: Runner, tokenizer: Tokenizer, judges: "Panel | None") -> None:
    """Let the limits know what requests may take, and count those to judges."""
    spending.meter.tokenizer = tokenizer
    spending.meter.window = lambda: runner.context_window
    if judges is not None:
        judges.spending = spending
        spending.judges = judges.meters


def _check_runner(runs: Sequence[Run], runner: Runner) -> None:
    for run in runs:
        run.check_runner(runner)


async def _compare_answers(runs: Sequence[Run], asking: Session) -> None:
    """For runs that were finished by an earlier command, which may have been killed before it had done so."""
    for run in runs:
        if run.compares:
            await run.compare_answers(asking)


def _close_all(runs: Sequence[Run]) -> None:
    """Close every run, also where one of them cannot be; raises the first error."""
    first: BaseException | None = None
    for run in reversed(runs):  # the first may have made a folder that others are in
        try:
            run.close()
        except (M1evalError, OSError) as error:
            first = first or error
    if first is not None:
        raise first


async def _give_back(model: Model, runner: Runner, context: RunContext, failure: BaseException | None) -> None:
    """Close the runner and the tools; an error of the runner's must not hide what went wrong before."""
    try:
        await model.aclose(runner)
    except PluginFailed as error:
        if failure is None:
            raise
        failure.add_note(str(error))
    finally:
        await context.aclose()


def _close(run: Run, error: BaseException) -> None:
    """Close after an error; a second error while closing must not hide the first."""
    try:
        run.close()
    except (M1evalError, OSError) as second:
        error.add_note(str(second))
