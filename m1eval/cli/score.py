"""`m1eval score`: grades stored answers again."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from m1eval import early, terminal
from m1eval.cli.options import FilePath, NonEmpty, Number, Once, examples, parse_pairs
from m1eval.errors import UsageError
from m1eval.option_names import command_without
from m1eval.run.ranges import RANGES
from m1eval.text import is_are

if TYPE_CHECKING:
    from m1eval.run.evaluate import Display
    from m1eval.run.judges import JudgePanel
    from m1eval.run.regrade import Regraded
    from m1eval.run.run import Run
    from m1eval.run.spending import Spending
    from m1eval.run.stored_run import GraderOptions


@click.command(
    epilog=examples(
        "m1eval score results/aime24/qwen--qwen3-8b",
        "m1eval score results/aime24/qwen--qwen3-8b --set scorer.math.precision=4",
        "m1eval score results/mine/qwen--qwen3-8b --scorer ./mine.py",
        "m1eval score results/mine/qwen--qwen3-8b --task-scorer",
        "m1eval score results/simpleqa/qwen--qwen3-8b --judge http:gpt-4o",
    )
)
@click.argument("runs", nargs=-1, required=True, metavar="RUN…", type=FilePath())
@click.option(
    "--scorer",
    cls=Once,
    metavar="NAME",
    help="Scorer to grade with, a name or a file, with the options that --set gives it; default: the one that graded "
    "last.",
)
@click.option(
    "--task-scorer", is_flag=True, help="Grade with the scorer of the task's file, whatever has graded since."
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key of the scorer, such as scorer.math.precision=4; repeatable.",
)
@click.option(
    "--judge",
    "judges",
    multiple=True,
    type=NonEmpty(),
    metavar="RUNNER:NAME",
    help="Model that grades the answers of tasks with a judge, such as http:gpt-4o; repeatable.",
)
@click.option(
    "--max-cost",
    cls=Once,
    type=Number(RANGES["max_cost"]),
    metavar="USD",
    help="Stop before the judges of these runs cost more than this, earlier commands included.",
)
@click.option(
    "--prices",
    cls=Once,
    type=FilePath(file=True, exists=True),
    metavar="FILE",
    help="Prices of the judges, a YAML file; see docs/runs.md.",
)
@click.option(
    "--data-dir",
    cls=Once,
    type=FilePath(folder=True),
    metavar="DIR",
    help="Folder of the task's data, if it has moved since the run; default: the run's --data-dir.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command_without("out", "redo")
def score(runs: Sequence[Path], data_dir: Path | None, as_json: bool, **options: Any) -> int:
    """Grade the stored answers of runs again.

    The model is not asked. The new grades replace the old ones when all answers are graded; the old ones stay in the
    journal, and run.json lists the gradings. The same command again continues where it stopped. A folder means all
    runs in it.
    """
    import asyncio

    from m1eval.report.live import Terminal
    from m1eval.run import interrupts, regrade, stored_run
    from m1eval.run.spending import Spending
    from m1eval.store.folders import find_runs
    from m1eval.store.stored import StoredRun

    grader = _grader(options)
    folders = list(dict.fromkeys(folder for path in runs for folder in find_runs(path)))
    if not folders:
        raise UsageError(f"no run in {', '.join(map(str, runs))}")
    prepared = [stored_run.configure(StoredRun.open(folder), grader, data_dir) for folder in folders]
    panels = [panel for _, panel in prepared if panel is not None]
    judging = {"--judge": grader.judges, "--max-cost": options["max_cost"] is not None, "--prices": options["prices"]}
    if not panels and (unused := [name for name, is_given in judging.items() if is_given]):
        note = f"none of these runs is graded by a judge; {' and '.join(unused)} {is_are(len(unused))} not used"
        terminal.line(f"note: {note}", err=True)
    for panel in panels:
        panel.price(options["prices"], required=options["max_cost"] is not None)
    spending = Spending(None, options["max_cost"])
    regraded: list[Regraded] = []
    try:
        interrupts.run_async(_regrade_all(prepared, regraded, spending, Terminal("none" if as_json else None)))
    except (regrade.Interrupted, asyncio.CancelledError) as error:
        terminal.line(str(error) or early.MESSAGE, err=True)
        return 3 if spending.reached else interrupts.exit_code()
    finally:
        if regraded:
            _print(regraded, as_json=as_json)
    if spending.overrun:
        terminal.line(f"note: {spending.overrun}", err=True)
    tallies = [each.run.tally for each in regraded]
    return 3 if any(tally.score is None or tally.outcomes["errored"] for tally in tallies) else 0


async def _regrade_all(
    runs: "Sequence[tuple[Run, JudgePanel | None]]",
    regraded: "list[Regraded]",
    spending: "Spending",
    display: "Display",
) -> None:
    """Grade runs one after the other; `regraded` gets those that are finished."""
    from m1eval.run.regrade import Interrupted, regrade

    for run, panel in runs:
        if regraded and regraded[-1].is_interrupted:
            done = f"{len(regraded)} of {len(runs)} runs {is_are(len(regraded))} graded"
            raise Interrupted(f"{done}; in the others the earlier grades count")
        regraded.append(await regrade(run, panel, display, spending))


def _grader(options: Mapping[str, Any]) -> "GraderOptions":
    """The grader that the options name; UsageError if they contradict each other."""
    from m1eval.run.stored_run import GraderOptions

    keys = parse_pairs("--set", options["overrides"])
    for key in keys:
        if key.partition(".")[0] != "scorer":
            raise UsageError(f"--set {key}: only the scorer can be set; what was asked is what was answered")
    named = {
        "--scorer": options["scorer"] is not None,
        "--task-scorer": options["task_scorer"],
        "--set scorer=": "scorer" in keys,
    }
    if len(names := [name for name, is_given in named.items() if is_given]) > 1:
        raise UsageError(f"{' and '.join(names)} both name a scorer; give one of them")
    return GraderOptions(options["scorer"], options["task_scorer"], options["overrides"], options["judges"])


def _print(regraded: "Sequence[Regraded]", *, as_json: bool) -> None:
    from m1eval.report import table

    stored = [each.run.stored() for each in regraded]
    if as_json:
        rows = []
        for row, each in zip(table.to_json(stored), regraded, strict=True):
            changed = [{"from": old, "to": new, "answers": n} for (old, new), n in each.changes.most_common()]
            rows.append({**row, "graded": each.answers, "changes": changed})
        terminal.json({"runs": rows})
        return
    table.show(stored)
    for each in regraded:
        changes = ", ".join(f"{old} → {new} {count}" for (old, new), count in each.changes.most_common())
        terminal.line(f"{each.run.run.task.name}: {each.answers} graded again, {changes or 'no outcome changed'}")
