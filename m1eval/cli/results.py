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
    examples,
    runner_options,
    writable,
)
from m1eval.errors import UsageError
from m1eval.run.ranges import Range


@click.command(
    epilog=examples(
        "m1eval compare results/aime24/qwen--qwen3-8b results/aime24/qwen--qwen3-14b",
        "m1eval compare nightly/monday nightly/tuesday --fail-if-worse 0.02",
    )
)
@click.argument("runs", nargs=-1, required=True, metavar="A B…", type=FilePath())
@click.option(
    "--fail-if-worse",
    cls=Once,
    type=Number(Range(0, 1)),
    metavar="BY",
    help="Exit with code 1 if B is significantly worse than A by more than BY, from 0 to 1 (one-sided test at 5%).",
)
@click.option(
    "--fail-if-inconclusive", is_flag=True, help="With --fail-if-worse: exit with code 5 if the test is inconclusive."
)
@click.option(
    "--cluster",
    cls=Once,
    type=NonEmpty(),
    metavar="COLUMN",
    help="Column by which samples are clustered for the standard errors; default: the text they share, if any.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare(
    runs: Sequence[Path], fail_if_worse: float | None, fail_if_inconclusive: bool, cluster: str | None, as_json: bool
) -> int:
    """Compare runs of the same tasks, sample by sample.

    The first run, A, is compared with each of the others. The difference is taken over the samples that both have
    scored, with its 95% confidence interval and p-value: for this set of problems (only the sampling of answers is
    random), and for the population of problems that the set was drawn from. P-values are adjusted if several tasks or
    runs are compared. Folders of several runs are matched by task; a task without a sample that both have scored is
    skipped, and makes the gate inconclusive.
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


@click.command(epilog=examples("m1eval baselines", "m1eval baselines aime_2024"))
@click.argument("benchmark", required=False, type=NonEmpty(), shell_complete=completion.baselines)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def baselines(benchmark: str | None, as_json: bool) -> int:
    """List the published scores of benchmarks.

    With the name of a benchmark: each of its scores, with the protocol and the source.
    """
    from m1eval.report import baselines

    return baselines.show(benchmark, as_json=as_json)


@click.command(
    epilog=examples(
        "m1eval lengths results/needle/mymodel",
        "m1eval lengths nightly/monday",
        "m1eval lengths results/longbench_v2/mymodel --edges 32k,128k --by difficulty",
    )
)
@click.argument("runs", nargs=-1, required=True, metavar="RUN…", type=FilePath())
@click.option(
    "--edges",
    cls=TokenList,
    metavar="TOKENS",
    help="Upper ends of the length ranges, such as 8k,32k,128k; default: powers of two.",
)
@click.option(
    "--threshold",
    cls=Once,
    type=Threshold(),
    help="Score that counts as effective, from 0 to 1, or ruler (0.856); default: the task's, else 0.85.",
)
@click.option(
    "--by",
    cls=Once,
    type=NonEmpty(),
    metavar="COLUMN",
    help="Column of the samples for the rows of the heat map; default: depth, where samples have one.",
)
@click.option(
    "--svg", cls=Once, type=FilePath(file=True), metavar="FILE", help="Write the heat map to this file, as SVG."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one line for each run.")
def lengths(
    runs: Sequence[Path],
    edges: Sequence[int],
    threshold: float | str | None,
    by: str | None,
    svg: Path | None,
    as_json: bool,
) -> int:
    """Show the scores of runs by prompt length.

    Prints 95% confidence intervals, a heat map and the effective context length. A folder means all runs in it.
    """
    from m1eval.analysis.by_length import RULER
    from m1eval.report import by_length

    if svg:
        writable(svg, "--svg")
    min_score = None if threshold is None else RULER if threshold == "ruler" else float(threshold)
    by_length.show(runs, edges=edges, threshold=min_score, by=by, svg=svg, as_json=as_json)
    return 0


@click.command(
    epilog=examples(
        "m1eval bench local:smollm2",
        "m1eval bench local:/models/MiniMax-M1-40k -o gpus=8 --lengths 32k,1m --batches 1,32",
    )
)
@click.argument("model", metavar="RUNNER:NAME", type=NonEmpty(), shell_complete=completion.models)
@click.option(
    "--option",
    "-o",
    "options",
    multiple=True,
    metavar="KEY=VALUE",
    help="Option of the runner, such as -o gpus=8; repeatable.",
)
@click.option(
    "--lengths",
    cls=TokenList,
    metavar="TOKENS",
    help="Prompt lengths to prefill, such as 512,32k; default: the runner's.",
)
@click.option(
    "--batches",
    cls=NumberList,
    metavar="NUMBERS",
    help="Batch sizes to decode, in sequences, such as 1,32; default: the runner's.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def bench(model: str, options: Sequence[str], lengths: Sequence[int], batches: Sequence[int], as_json: bool) -> int:
    """Measure the speed of a local model on this machine.

    Prefill and decoding are compared with the bound that memory bandwidth and arithmetic set.
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
