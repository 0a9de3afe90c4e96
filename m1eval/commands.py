"""Commands that look at results: `m1eval compare` and `m1eval baselines`. They parse, call and print; no more."""

from collections.abc import Sequence
from pathlib import Path

import click

from m1eval import plugins, terminal
from m1eval.errors import UsageError


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="A B…", type=click.Path(path_type=Path))
@click.option(
    "--fail-if-worse", type=click.FloatRange(0, 1), metavar="BY", help="Exit with 1 if B's score is lower by more."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare(runs: Sequence[Path], fail_if_worse: float | None, as_json: bool) -> int:
    """Compare runs of the same tasks, sample by sample: the first with each of the others.

    The difference is paired over the samples that both have scored; its p is from sign flips (for single answers
    McNemar's exact test), adjusted if several tasks or runs are compared. Folders of several runs are matched by task.

    \b
    m1eval compare results/aime24/qwen3-8b results/aime24/qwen3-14b
    m1eval compare nightly/monday nightly/tuesday --fail-if-worse 0.02
    """
    import msgspec

    from m1eval.compare import compare as compared
    from m1eval.report import comparison

    if len(runs) < 2:
        raise UsageError("name two runs or more: m1eval compare results/TASK/A results/TASK/B")
    try:
        pairs = compared(runs)
    except ModuleNotFoundError as error:
        raise plugins.missing_package("m1eval compare", error) from error
    if as_json:
        terminal.json({"comparisons": msgspec.to_builtins(pairs)})
    else:
        comparison.show(pairs)
    return int(fail_if_worse is not None and any(pair.difference < -fail_if_worse for pair in pairs))


@click.command()
@click.argument("benchmark", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def baselines(benchmark: str | None, as_json: bool) -> int:
    """List the published figures, of all benchmarks or of one, with how each was made.

    \b
    m1eval baselines
    m1eval baselines aime_2024
    """
    from m1eval.report import published

    return published.show(benchmark, as_json=as_json)
