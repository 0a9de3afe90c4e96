"""`m1eval show`: prints the samples of a run."""

from pathlib import Path

import click

from m1eval import terminal
from m1eval.cli.options import FilePath, NameList
from m1eval.errors import UsageError

OUTCOMES = ("right", "wrong", "partial", "truncated", "unparsed", "refused_context", "errored")


@click.command()
@click.argument("run", metavar="RUN", type=FilePath(folder=True, exists=True))
@click.option("--outcome", "outcomes", multiple=True, type=click.Choice(OUTCOMES), help="Only these; repeatable.")
@click.option("--id", "ids", cls=NameList, metavar="IDS", help="Only these samples, separated by commas.")
@click.option("--limit", "-n", type=click.IntRange(1), metavar="N", help="At most N answers.")
@click.option("--full", is_flag=True, help="Print prompts and answers whole, and the reasoning.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one line per answer.")
def show(
    run: Path, outcomes: tuple[str, ...], ids: tuple[str, ...], limit: int | None, full: bool, as_json: bool
) -> int:
    """Print the answers of a run: outcome and score, prompt, target, answer and text.

    \b
    m1eval show results/aime24/qwen--qwen3-8b --outcome wrong --limit 5
    m1eval show results/aime24/qwen--qwen3-8b --id aime24-3 --full
    """
    from m1eval.report import answers
    from m1eval.store.stored import StoredRun

    if not (run / "run.json").exists():
        raise UsageError(f"{run} is not the folder of a run")
    stored = StoredRun.open(run)
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
