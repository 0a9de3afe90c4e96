"""Execution of runs: take the folders, start the model if anything is pending, run task after task, close.

The first Ctrl-C lets requests in flight finish; the second cancels them. Either way the same command continues.
"""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from m1eval.errors import M1evalError, PluginFailed
from m1eval.model.runner_tokenizer import ContextWindowUnknown
from m1eval.progress import Progress
from m1eval.protocols import Runner, Tokenizer
from m1eval.run.context import Resources
from m1eval.run.generation import ConcurrencyLimit, Session
from m1eval.run.interrupts import Interrupts
from m1eval.run.open_run import OpenRun
from m1eval.run.planned_run import PlannedRun
from m1eval.run.run import Run
from m1eval.run.spending import Spending

if TYPE_CHECKING:
    from m1eval.run.judges import JudgePanel

APPROXIMATE = "the model has no tokenizer here: prompt lengths count four characters as a token"


class Display(Progress, Protocol):
    """A Progress that also follows runs; entered before the model starts, left at the end."""

    def __enter__(self) -> "Display": ...
    def __exit__(self, *exc: object) -> None: ...
    def begin(self, run: PlannedRun, session: Session) -> None: ...
    def end(self) -> None: ...


class Evaluation:
    """The runs of one command: their folders are taken before anything is asked, their summaries written at the end."""

    def __init__(
        self,
        runs: Sequence[Run],
        runner: Runner,
        display: Display,
        *,
        concurrency: int | None = None,
        redo: bool = False,
        judges: "JudgePanel | None" = None,
        spending: Spending | None = None,
    ) -> None:
        self.model = runs[0].model
        self.planned: list[PlannedRun] = []
        """The runs whose samples are known, in the order given; all of them once `execute` has returned."""
        self._runs = runs
        self._runner = runner
        self._display = display
        self._redo = redo
        self._judges = judges
        self.spending = spending or Spending()
        self._concurrency = concurrency
        self._resources = Resources(judges)

    async def execute(self, stop: asyncio.Event | None = None, *, signals: bool = True) -> bool:
        """Generate and grade what is pending; False if it was interrupted.

        `stop`: when set, what is in flight is finished, no more. `signals`: whether Ctrl-C and its like are handled.
        """
        stop = stop or asyncio.Event()
        tokenizer = self.model.tokenizer(self._runner)
        self._set_up_spending(tokenizer)
        opened: dict[Run, OpenRun] = {}
        planned: dict[Run, PlannedRun] = {}
        limit = ConcurrencyLimit(lambda: self._concurrency or int(self._runner.concurrency))
        session = Session(self._runner, self._resources, self._display, limit, self.spending, stop)
        try:
            for run in self._runs:
                opened[run] = self._open(run)
                with suppress(ContextWindowUnknown):  # samples that depend on it are planned after the start
                    planned[run] = opened[run].plan(tokenizer)
                self._set_planned(planned)
            with Interrupts(stop, handled=signals) as interrupts, self._display:
                pending = [run for run in self._runs if run not in planned or planned[run].is_pending]
                if pending:
                    await self._start()
                    tokenizer.started = True
                    for run in pending:
                        opened[run].check_runner(self._runner)
                for run in self._runs:
                    if run not in planned:
                        planned[run] = opened[run].plan(tokenizer)
                self._set_planned(planned)
                interrupts.drains = True
                await self._execute([planned[run] for run in pending], session)
                for each in self.planned:  # an earlier command may have been killed before it had compared them
                    if each.compares_answers:
                        await each.compare_answers(session)
            notes = [*map(str, self._runner.notes or ()), *([APPROXIMATE] if tokenizer.approximate else [])]
            for run in self._runs:
                run.notes += notes
        except BaseException as error:
            for run in reversed(opened):
                _close_after_error(opened[run], planned.get(run), error)
            raise
        else:
            _close_all([(opened[run], planned.get(run)) for run in opened])
        finally:
            await self._release(sys.exception())
        return not stop.is_set() or not any(each.is_pending for each in self.planned)

    def _open(self, run: Run) -> OpenRun:
        opened = run.open(redo=self._redo)
        self._runner.recall(opened.runner_description)
        if self._judges is not None and not self._redo:
            self._judges.load_replies(opened.journal.path)
        self.spending.add_previous(opened.previous_usage)
        return opened

    def _set_planned(self, planned: Mapping[Run, PlannedRun]) -> None:
        self.planned = [planned[run] for run in self._runs if run in planned]

    async def _execute(self, runs: Sequence[PlannedRun], session: Session) -> None:
        for run in runs:
            if session.stop.is_set():
                break
            self._display.begin(run, session)
            try:
                await run.execute(session)
            finally:
                self._display.end()

    async def _start(self) -> None:
        """Load or connect to the model and to the judges."""
        await self.model.start(self._runner, self._display)
        if self._judges is not None:
            await self._judges.start(self._display)

    def _set_up_spending(self, tokenizer: Tokenizer) -> None:
        """Let the limits know what requests may take, and count those to judges."""
        self.spending.meter.tokenizer = tokenizer
        self.spending.meter.window = lambda: self._runner.context_window
        if self._judges is not None:
            self._judges.spending = self.spending
            self.spending.judges = self._judges.meters

    async def _release(self, failure: BaseException | None) -> None:
        """Close the runner, the workers and the judges; an error of the runner must not hide what went wrong before."""
        try:
            await self.model.aclose(self._runner)
        except PluginFailed as error:
            if failure is None:
                raise
            failure.add_note(str(error))
        finally:
            await self._resources.aclose()


def _close_all(runs: Sequence[tuple[OpenRun, PlannedRun | None]]) -> None:
    """Close every run, also if one of them cannot be closed; raises the first error."""
    first: BaseException | None = None
    for opened, planned in reversed(runs):  # the first may have made a folder that others are in
        try:
            opened.close(planned)
        except (M1evalError, OSError) as error:
            first = first or error
    if first is not None:
        raise first


def _close_after_error(opened: OpenRun, planned: PlannedRun | None, error: BaseException) -> None:
    """Close a run; a second error must not hide the first."""
    try:
        opened.close(planned)
    except (M1evalError, OSError) as second:
        error.add_note(str(second))
