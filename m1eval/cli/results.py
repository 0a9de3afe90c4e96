"""Commands that look at results or measure: `compare`, `baselines`, `lengths`, `bench`. They parse, call and print."""

from collections.abc import Sequence
from pathlib import Path

import click

from m1eval import terminal
from m1eval.cli import completion
from m1eval.cli.options import (
    FilePath,
    NonEmpty,
    Number,
    NumberList,
    Once,
    Threshold,
    TokenList,
    runner_options,
    writable,
)
from m1eval.errors import UsageError
from m1eval.run.ranges import Range


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="A B…", type=FilePath())
@click.option(
    "--fail-if-worse",
    cls=Once,
    type=Number(Range(0, 1)),
    metavar="BY",
    help="Exit with 1 if it is certain (one-sided, 5%) that B is worse by more than BY.",
)
@click.option("--fail-if-inconclusive", is_flag=True, help="With --fail-if-worse: exit with 5 if it is not decided.")
@click.option(
    "--cluster",
    cls=Once,
    type=NonEmpty(),
    metavar="COLUMN",
    help="Samples with the same value of this column are not independent; default: those that share a text.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare(
    runs: Sequence[Path], fail_if_worse: float | None, fail_if_inconclusive: bool, cluster: str | None, as_json: bool
) -> int:
    """Compare runs of the same tasks, sample by sample: the first with each of the others.

    The difference is over the problems that both have scored, with its 95% interval and the p of the same test, for
    these problems and for problems like these; adjusted if several tasks or runs are compared. Folders of several runs
    are matched by task; a task with no problem that both have scored is skipped, and leaves the gate inconclusive.
    Exits with 1 if the gate fails, and with 5 if it is inconclusive and that is to fail.

    \b
    m1eval compare results/aime24/qwen--qwen3-8b results/aime24/qwen--qwen3-14b
    m1eval compare nightly/monday nightly/tuesday --fail-if-worse 0.02
    """
    import msgspec

    from m1eval.analysis.compare import compare as compared
    from m1eval.report import comparison

    if len(runs) < 2:
        raise UsageError("name two runs or more: m1eval compare results/TASK/A results/TASK/B")
    if fail_if_inconclusive and fail_if_worse is None:
        raise UsageError("--fail-if-inconclusive goes with --fail-if-worse BY")
    pairs, skipped = compared(runs, cluster=cluster, margin=fail_if_worse)
    if as_json:
        terminal.json({"comparisons": msgspec.to_builtins(pairs), "skipped": msgspec.to_builtins(skipped)})
    else:
        comparison.show(pairs, skipped)
    gates = {pair.gate for pair in pairs} | {"inconclusive" for _ in skipped}
    return 1 if "worse" in gates else 5 if fail_if_inconclusive and "inconclusive" in gates else 0


@click.command()
@click.argument("benchmark", required=False, type=NonEmpty(), shell_complete=completion.baselines)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def baselines(benchmark: str | None, as_json: bool) -> int:
    """List the published figures, of all benchmarks or of one, with how each was made.

    \b
    m1eval baselines
    m1eval baselines aime_2024
    """
    from m1eval.report import baselines

    return baselines.show(benchmark, as_json=as_json)


@click.command()
@click.argument("runs", nargs=-1, required=True, type=FilePath())
@click.option(
    "--edges", cls=TokenList, metavar="TOKENS", help="Upper ends of the ranges: 8k,32k,128k; default: powers of two."
)
@click.option(
    "--threshold",
    cls=Once,
    type=Threshold(),
    help="The score that counts as effective, between 0 and 1, or ruler (0.856); default: the task's own, else 0.85.",
)
@click.option(
    "--by",
    cls=Once,
    type=NonEmpty(),
    metavar="COLUMN",
    help="Rows of the heat map; default: depth, where samples have one.",
)
@click.option("--svg", cls=Once, type=FilePath(file=True), metavar="FILE", help="Write the heat map to this file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one line per run.")
def lengths(
    runs: Sequence[Path],
    edges: Sequence[int],
    threshold: float | str | None,
    by: str | None,
    svg: Path | None,
    as_json: bool,
) -> int:
    """Show the scores of runs by prompt length, with intervals, heat map and effective context length.

    A folder of several runs means all of them.

    \b
    m1eval lengths results/needle/mymodel
    m1eval lengths nightly/monday
    m1eval lengths results/longbench_v2/mymodel --edges 32k,128k --by difficulty
    """
    from m1eval.analysis.by_length import RULER
    from m1eval.report import by_length

    if svg:
        writable(svg, "--svg")
    min_score = None if threshold is None else RULER if threshold == "ruler" else float(threshold)
    by_length.show(runs, edges=edges, threshold=min_score, by=by, svg=svg, as_json=as_json)
    return 0


@click.command()
@click.argument("model", metavar="RUNNER:NAME", type=NonEmpty(), shell_complete=completion.models)
@click.option(
    "--option", "-o", "options", multiple=True, metavar="KEY=VALUE", help="An option of the runner; repeatable."
)
@click.option("--lengths", cls=TokenList, metavar="TOKENS", help="Prompt lengths to prefill, such as 512,32k.")
@click.option(
    "--batches", cls=NumberList, metavar="NUMBERS", help="Numbers of sequences to decode at once, such as 1,32."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def bench(model: str, options: Sequence[str], lengths: Sequence[int], batches: Sequence[int], as_json: bool) -> int:
    """Measure how fast a model runs on this machine, next to what the machine's memory and arithmetic allow.

    \b
    m1eval bench local:smollm2
    m1eval bench local:/models/MiniMax-M1-40k -o gpus=8 --lengths 32k,1m --batches 1,32
    """
    from m1eval.model.model import Model
    from m1eval.report.bench import table
    from m1eval.run.bench import measure

    speeds = measure(Model(model, runner_options(options)), lengths, batches)
    if as_json:
        terminal.json(speeds)
    else:
        terminal.block(table(speeds))
    return 0
