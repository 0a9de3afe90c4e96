"""Executes the runs of `m1eval run`, prints their results and chooses the exit code."""

import asyncio
from collections.abc import Sequence

from m1eval import early, terminal
from m1eval.errors import PluginFailed, RunnerError, Stopped
from m1eval.report import table
from m1eval.run import interrupts
from m1eval.run.evaluate import Evaluation
from m1eval.run.planned_run import PlannedRun


def execute(evaluation: Evaluation, *, as_json: bool, fail_under: float | None) -> int:
    """Execute the runs, print their results, and return the exit code."""
    try:
        is_finished = interrupts.run_async(evaluation.execute())
    except asyncio.CancelledError:
        if interrupts.is_urgent() and (partial := [run for run in evaluation.planned if run.tally.finished]):
            _show(partial, as_json=as_json)
        terminal.line(early.MESSAGE, err=True)
        return interrupts.exit_code()
    except (RunnerError, Stopped, PluginFailed):
        if partial := [run for run in evaluation.planned if run.tally.finished]:
            _show(partial, as_json=as_json)
        raise
    _show(evaluation.planned, as_json=as_json)
    spending = evaluation.spending
    if spending.reached:
        terminal.line(f"stopped by {spending.reached}; the same command with a higher limit continues", err=True)
        return 3
    if spending.overrun:
        terminal.line(f"note: {spending.overrun}", err=True)
    if not is_finished:
        terminal.line(early.MESSAGE, err=True)
        return interrupts.exit_code()
    return _exit_code(evaluation.planned, fail_under)


def _show(runs: Sequence[PlannedRun], *, as_json: bool) -> None:
    if as_json:
        terminal.json({"runs": table.to_json([run.stored() for run in runs])})
        for run in runs:
            for note in run.notes:
                terminal.line(f"{run.run.task.name}: {note}", err=True)
    else:
        table.show([run.stored() for run in runs])


def _exit_code(runs: Sequence[PlannedRun], fail_under: float | None) -> int:
    scores = [run.tally.score for run in runs]
    if any(score is None for score in scores) or any(run.tally.outcomes["errored"] for run in runs):
        return 3
    below = [run for run in runs if fail_under is not None and (run.tally.score or 0) < fail_under]
    for run in below:
        terminal.line(f"{run.run.task.name}: {run.tally.score:.4g} is below --fail-under {fail_under:g}", err=True)
    return int(bool(below))
