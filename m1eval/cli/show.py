"""`m1eval show`: prints the answers of a run."""

from pathlib import Path
from typing import get_args

import click
from click.shell_completion import CompletionItem

from m1eval import terminal
from m1eval.cli.options import FilePath, Integer, NameList, Once, examples
from m1eval.errors import UsageError
from m1eval.run.ranges import Range
from m1eval.text import display_path, plural, unknown_name
from m1eval.types import Outcome

OUTCOMES: tuple[str, ...] = get_args(Outcome)
MAX_RUNS = 20
"""Runs that the message for a folder of several runs lists."""


class OutcomeList(NameList):
    """Outcomes separated by commas."""

    def parse_name(self, name: str) -> str:
        if name not in OUTCOMES:
            raise UsageError(f"{self.option}: {unknown_name('outcome', name, OUTCOMES)}")
        return name

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in OUTCOMES if name.startswith(incomplete)]


@click.command(
    epilog=examples(
        "m1eval show results/aime24/qwen--qwen3-8b --outcome wrong --limit 5",
        "m1eval show results/aime24/qwen--qwen3-8b --id aime24-3 --full",
    )
)
@click.argument("run", metavar="RUN", type=FilePath(folder=True, exists=True))
@click.option(
    "--outcome",
    "outcomes",
    cls=OutcomeList,
    metavar="OUTCOMES",
    help=f"Show only answers with these outcomes, separated by commas: {', '.join(OUTCOMES)}.",
)
@click.option("--id", "--ids", "ids", cls=NameList, metavar="IDS", help="Show only these samples, separated by commas.")
@click.option(
    "--limit", "-n", cls=Once, type=Integer(Range(1)), metavar="N", help="Show at most N answers; default: all."
)
@click.option("--full", is_flag=True, help="Show prompts, reasoning and answers in full; default: shortened.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one line for each answer.")
def show(
    run: Path, outcomes: tuple[str, ...], ids: tuple[str, ...], limit: int | None, full: bool, as_json: bool
) -> int:
    """Print the answers of a run.

    Each answer is printed with its outcome, score, prompt, target and text. RUN is the folder of a run.
    """
    from m1eval.report import answers
    from m1eval.store.stored import StoredRun

    if not (run / "run.json").exists():
        raise UsageError(_not_a_run(run))
    stored = StoredRun.open(run)
    if ids:
        answered = {record.id for record in stored.records()}
        if missing := [name for name in ids if name not in answered]:
            raise UsageError(f"--id: {unknown_name('sample', missing[0], answered)}")
    chosen = answers.select(stored, outcomes=outcomes, ids=ids, limit=limit)
    if not chosen:
        terminal.line("no answer matches", err=True)
    prompts = answers.stored_prompts(stored, {record.id for record in chosen})
    for record in chosen:
        prompt = prompts.get(record.id)
        if as_json:
            terminal.json(answers.as_json(record, prompt))
        else:
            terminal.block(answers.as_text(record, prompt, full=full))
    return 0


def _not_a_run(folder: Path) -> str:
    """The message for a folder that is not a run, with the runs in it and what to type."""
    from m1eval.store.folders import find_runs

    runs = [display_path(path) for path in find_runs(folder)]
    if not runs:
        return f"{display_path(folder)} is not the folder of a run"
    names = ", ".join(runs[:MAX_RUNS]) + (f" and {len(runs) - MAX_RUNS} more" if len(runs) > MAX_RUNS else "")
    return f"{display_path(folder)} holds {plural(len(runs), 'run')}: {names}; name one, as in m1eval show {runs[0]}"
