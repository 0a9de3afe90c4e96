"""`m1eval score`: grades stored answers again."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from m1eval import early, terminal
from m1eval.cli.options import FilePath, Once, examples, parse_pairs
from m1eval.errors import UsageError

if TYPE_CHECKING:
    from m1eval.run.regrade import Regraded


@click.command(
    epilog=examples(
        "m1eval score results/aime24/qwen--qwen3-8b",
        "m1eval score results/aime24/qwen--qwen3-8b --set scorer.math.precision=4",
        "m1eval score results/mine/qwen--qwen3-8b --scorer ./mine.py",
        "m1eval score results/simpleqa/qwen--qwen3-8b --judge http:gpt-4o",
    )
)
@click.argument("runs", nargs=-1, required=True, metavar="RUN…", type=FilePath())
@click.option(
    "--scorer",
    cls=Once,
    metavar="NAME",
    help="Scorer to grade with, a name or a file; default: the one that graded last.",
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
    metavar="RUNNER:NAME",
    help="Model that grades the answers of tasks with a judge, such as http:gpt-4o; repeatable.",
)
@click.option(
    "--data-dir",
    cls=Once,
    type=FilePath(folder=True),
    metavar="DIR",
    help="Folder of the task's data, if it has moved since the run; default: the run's --data-dir.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def score(
    runs: Sequence[Path],
    scorer: str | None,
    overrides: Sequence[str],
    judges: Sequence[str],
    data_dir: Path | None,
    as_json: bool,
) -> int:
    """Grade the stored answers of runs again.

    The model is not asked. The new grades replace the old ones when all answers are graded; the old ones stay in the
    journal, and run.json lists the gradings. The same command again continues where it stopped. A folder means all
    runs in it.
    """
    import asyncio

    from m1eval.report.live import Terminal
    from m1eval.run import interrupts, regrade
    from m1eval.store.folders import find_runs
    from m1eval.store.stored import StoredRun

    settings = _settings(scorer, overrides)
    folders = list(dict.fromkeys(folder for path in runs for folder in find_runs(path)))
    if not folders:
        raise UsageError(f"no run in {', '.join(map(str, runs))}")
    prepared = [regrade.stored_run(StoredRun.open(folder), settings, judges, data_dir) for folder in folders]
    display = Terminal("none" if as_json else None)
    regraded: list[Regraded] = []
    try:
        for run, panel in prepared:
            if panel is not None:
                panel.price(None, required=False)
            regraded.append(interrupts.run_async(regrade.regrade(run, panel, display)))
    except (regrade.Interrupted, asyncio.CancelledError) as error:
        terminal.line(str(error) or early.MESSAGE, err=True)
        return interrupts.exit_code()
    finally:
        if regraded:
            _print(regraded, as_json=as_json)
    tallies = [each.run.tally for each in regraded]
    return 3 if any(tally.score is None or tally.outcomes["errored"] for tally in tallies) else 0


def _settings(scorer: str | None, overrides: Sequence[str]) -> list[str]:
    """The overrides of the task's scorer."""
    for key in parse_pairs("--set", overrides):
        if key.partition(".")[0] != "scorer":
            raise UsageError(f"--set {key}: only the scorer can be set; what was asked is what was answered")
    if scorer is None:
        return list(overrides)
    path = Path(scorer).expanduser()
    return [f"scorer={json.dumps(str(path.resolve()) if path.is_file() else scorer)}", *overrides]


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
