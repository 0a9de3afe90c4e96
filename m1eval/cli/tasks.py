"""Commands about tasks: `m1eval tasks`, `m1eval check` and `m1eval schema`. They parse, call and print; no more."""

from collections.abc import Callable, Sequence
from pathlib import Path

import click

from m1eval import terminal
from m1eval.cli import completion
from m1eval.cli.options import FilePath, NameList, NonEmpty, Once, examples, parse_pairs
from m1eval.errors import UsageError


def _expand_names(ctx: click.Context, param: click.Parameter, names: tuple[str, ...]) -> list[str]:
    """Names of tasks with patterns and tags expanded; an empty one is an error."""
    if any(not name.strip() or "\0" in name for name in names):
        raise UsageError("a task's name is empty or holds a NUL character")
    if not names:
        return []
    from m1eval.task.names import expand

    return expand(names)


def _names_argument(function: Callable[..., int]) -> Callable[..., int]:
    """The argument of the commands that are about named tasks."""
    return click.argument("names", nargs=-1, callback=_expand_names, shell_complete=completion.tasks)(function)


@click.command(epilog=examples("m1eval tasks", "m1eval tasks --tag long-context", "m1eval tasks aime24 --json"))
@_names_argument
@click.option(
    "--tag",
    "tags",
    cls=NameList,
    metavar="TAGS",
    help="List only tasks with one of these tags, separated by commas.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def tasks(names: Sequence[str], tags: Sequence[str], as_json: bool) -> int:
    """List the tasks, or describe the named ones."""
    from m1eval.report import tasks
    from m1eval.task import listing

    rows, errors = listing.read(names)
    for error in errors:
        terminal.line(f"Error: {error}", err=True)
    tasks.show(listing.with_tags(rows, tags) if tags else rows, as_json=as_json, in_full=bool(names))
    return int(bool(errors))


@click.command(
    epilog=examples(
        "m1eval check",
        "m1eval check ./mine.yaml",
        "m1eval check aime24 --data-dir data --protocol official",
    )
)
@_names_argument
@click.option(
    "--data-dir",
    cls=Once,
    type=FilePath(folder=True),
    metavar="DIR",
    help="Read DIR/<task>.jsonl (or .json, .csv, .parquet) instead of downloading from the hub.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key of the tasks, such as generation.top_p=0.9; repeatable.",
)
@click.option(
    "--protocol",
    cls=Once,
    type=NonEmpty(),
    metavar="NAME",
    help="Protocol of the tasks to check, such as official; default: the task's.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(
    names: Sequence[str], data_dir: Path | None, overrides: Sequence[str], protocol: str | None, as_json: bool
) -> int:
    """Check tasks without a model.

    Checks the keys of the task file, the data and the prompts, and that the gold answer scores 1 and an empty one 0.
    Without names all tasks are checked; those whose data would have to be downloaded are listed as skipped. Exits with
    code 1 if a task fails.
    """
    import asyncio

    from m1eval.run.check import check_all
    from m1eval.run.interrupts import interruptible, run_async

    parse_pairs("--set", overrides)
    try:
        results = run_async(interruptible(check_all(names, data_dir, overrides, protocol)))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    if as_json:
        terminal.json([result._asdict() for result in results])
    else:
        for result in results:
            terminal.line(f"{result.verdict:<8} {result.task}: {result.text}")
    return int(any(result.verdict == "failed" for result in results))


@click.command(epilog=examples("m1eval schema > task.schema.json"))
def schema() -> int:
    """Print the JSON Schema of task files, for editors."""
    import msgspec

    from m1eval.task.definition import Definition

    terminal.json(msgspec.json.schema(Definition), indent=1)
    return 0
