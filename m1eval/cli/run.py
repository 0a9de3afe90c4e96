"""`m1eval run`: parses the options and starts the runs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from m1eval import terminal
from m1eval.cli import completion
from m1eval.cli.options import (
    FilePath,
    Grouped,
    Integer,
    LengthList,
    NameList,
    NonEmpty,
    Number,
    Once,
    Tokens,
    parse_pairs,
    runner_options,
)
from m1eval.run.ranges import RANGES, Range

if TYPE_CHECKING:
    from m1eval.run.options import RunOptions


def _option(group: str, *names: str, cls: type[Once] = Once, **attrs: Any) -> Any:
    return click.option(*names, cls=cls, group=group, **attrs)


def _setting_options(command: Any) -> Any:
    for option in (
        _option(
            "What",
            "--profile",
            type=NonEmpty(),
            metavar="NAME",
            shell_complete=completion.profiles,
            help="Use a model family's recommended sampling: a name, or auto to go by the model's name.",
        ),
        _option(
            "What",
            "--protocol",
            type=NonEmpty(),
            metavar="NAME",
            help="Run the tasks by another of their protocols, such as official (the benchmark's own).",
        ),
        _option(
            "What",
            "--data-dir",
            type=FilePath(folder=True),
            metavar="DIR",
            help="Read DIR/<task>.jsonl (or .json, .csv, .parquet) instead of downloading from the hub.",
        ),
        _option("What", "--ids", cls=NameList, metavar="IDS", help="Run only these samples, separated by commas."),
        _option(
            "What",
            "--tokenizer",
            type=NonEmpty(),
            metavar="NAME",
            help="Count tokens with this tokenizer instead of the runner's: a tokenizer.json, org/name, server, "
            "o200k_base, chars.",
        ),
        _option("What", "--base-url", type=NonEmpty(), metavar="URL", help="URL of the server, for --model http:NAME."),
        _option(
            "What",
            "--option",
            "-o",
            "options",
            multiple=True,
            metavar="KEY=VALUE",
            help="An option of the runner; repeatable.",
        ),
    ):
        command = option(command)
    return command


def _task_options(command: Any) -> Any:
    for option in (
        _option(
            "What",
            "--model",
            "-m",
            required=True,
            type=NonEmpty(),
            metavar="RUNNER:NAME",
            shell_complete=completion.models,
            help="The model, such as local:smollm2, http:NAME or echo:gold.",
        ),
        _option(
            "What",
            "--tasks",
            "-t",
            cls=NameList,
            required=True,
            metavar="NAMES",
            shell_complete=completion.tasks,
            help="Tasks, groups, YAML files, patterns ('aime*') or tag:NAME, separated by commas; repeatable.",
        ),
    ):
        command = option(command)
    return command


def _limit_options(command: Any) -> Any:
    for option in (
        _option(
            "How much",
            "--max-tokens-total",
            type=Tokens(RANGES["max_tokens_total"]),
            metavar="TOKENS",
            help="Stop before more tokens than this go in and out, such as 900k or 5m.",
        ),
        _option(
            "How much",
            "--max-cost",
            type=Number(RANGES["max_cost"]),
            metavar="USD",
            help="Stop before these runs cost more than this.",
        ),
        _option(
            "How much",
            "--prices",
            type=FilePath(file=True, exists=True),
            metavar="FILE",
            help="Prices of models, a YAML file; see docs/runs.md.",
        ),
        _option(
            "How much",
            "--until-se",
            type=Number(RANGES["until_se"]),
            metavar="ERROR",
            help="Give each sample enough answers to bring the sampling error of the score down to this, without bias.",
        ),
    ):
        command = option(command)
    return command


def _size_options(command: Any) -> Any:
    for option in (
        _option(
            "How much",
            "--think",
            type=Tokens(RANGES["think"]),
            metavar="TOKENS",
            help="Thinking budget, such as 8k or 80k; thinking is ended there.",
        ),
        _option(
            "How much",
            "--max-tokens",
            type=Tokens(RANGES["max_tokens"]),
            metavar="TOKENS",
            help="Maximum number of new tokens of an answer, thinking included.",
        ),
        _option(
            "How much",
            "--lengths",
            cls=LengthList,
            metavar="TOKENS",
            help="Prompt lengths of generated tasks: 4k,32k,1m, or 4k-1m (powers of two), or auto (up to the "
            "model's window).",
        ),
        _option(
            "How much",
            "--limit",
            "-n",
            type=Integer(RANGES["limit"]),
            metavar="N",
            help="Run N random samples, the same ones for every model.",
        ),
        _option(
            "How much",
            "--repeats",
            "-k",
            type=Integer(RANGES["repeats"]),
            metavar="N",
            help="Answers for each sample; default: the task's.",
        ),
    ):
        command = option(command)
    return command


def _generation_options(command: Any) -> Any:
    for option in (
        _option(
            "How",
            "--judge",
            "judges",
            multiple=True,
            metavar="RUNNER:NAME",
            help="A model that grades what no rule can grade; repeatable.",
        ),
        _option(
            "How",
            "--concurrency",
            "-j",
            type=Integer(RANGES["concurrency"]),
            metavar="N",
            help="Requests in flight; default: the runner decides.",
        ),
        _option(
            "How",
            "--seed",
            type=Integer(RANGES["seed"]),
            default=0,
            show_default=True,
            metavar="INTEGER",
            help="Seed for sample selection, generated data and sampling.",
        ),
        _option(
            "How",
            "--set",
            "overrides",
            multiple=True,
            metavar="KEY=VALUE",
            help="Override any key of the tasks, such as generation.top_p=0.9; it has the last word; repeatable.",
        ),
        _option("How", "--system", type=NonEmpty(), metavar="TEXT", help="System prompt."),
        _option(
            "How",
            "--temperature",
            type=Number(RANGES["temperature"]),
            metavar="T",
            help="Sampling temperature; 0 is greedy.",
        ),
    ):
        command = option(command)
    return command


def _output_options(command: Any) -> Any:
    for option in (
        _option(
            "Show", "--fail-under", type=Number(Range(0, 1)), metavar="SCORE", help="Exit with 1 if a score is below."
        ),
        _option(
            "Show", "--dry-run", is_flag=True, help="Show what would be run, with the first prompt, and run nothing."
        ),
        _option(
            "Show",
            "--json",
            "as_json",
            is_flag=True,
            help="Print the results as JSON on standard output, and nothing else.",
        ),
        _option(
            "Show",
            "--display",
            type=click.Choice(["full", "plain", "none"]),
            help="Progress on standard error; default: full on a terminal, else plain.",
        ),
        _option(
            "Where",
            "--redo",
            is_flag=True,
            help="Move the old run aside and start over; it comes back if nothing is answered.",
        ),
        _option(
            "Where",
            "--out",
            type=FilePath(folder=True),
            metavar="DIR",
            help="Where runs are kept, each in DIR/<task>/<org>--<model>.  [default: results]",
        ),
    ):
        command = option(command)
    return command


@click.command(cls=Grouped)
@_task_options
@_setting_options
@_size_options
@_limit_options
@_generation_options
@_output_options
def run(tasks: Sequence[str], model: str, **params: Any) -> int:
    """Run tasks on a model. The same command again continues where it stopped.

    \b
    m1eval run --tasks aime --model http:Qwen/Qwen3-8B --base-url http://localhost:8000/v1 --repeats 4
    m1eval run --tasks mrcr_synth --lengths 8k,128k --model local:smollm2
    m1eval run --tasks 'aime*' --tasks tag:long-context --model http:NAME --limit 20
    m1eval run --tasks ./mine.yaml --model echo:gold --limit 5

    Numbers of tokens are written 4096, 32_768, 32k, 1.5k or 1m, everywhere with k = 1,024 and m = 1,048,576.

    \b
    Exit codes:
      0    finished
      1    a gate failed (--fail-under)
      2    usage: an option, a task or another file is wrong
      3    finished with errored samples, stopped by a limit, or nothing was scored
      4    the model or its server cannot be used, or went away
      70   internal error
      130  interrupted (Ctrl-C); the same command continues
    """
    from m1eval.run.configure import configure

    options = _options(params)
    configured = configure(tasks, model, options, with_judges=not params["dry_run"])
    for line in configured.notes:
        terminal.line(f"note: {line}", err=True)
    if params["dry_run"]:
        from m1eval.report.dry_run import show
        from m1eval.run.planning import preview

        tokenizer = configured.model.tokenizer(configured.model.runner())
        show([preview(run, tokenizer, redo=options.redo) for run in configured.runs], as_json=params["as_json"])
        return 0
    from m1eval.cli.execute import execute
    from m1eval.report.live import Terminal

    display = Terminal("none" if params["as_json"] and not params["display"] else params["display"])
    evaluation = configured.evaluation(display)
    try:
        return execute(evaluation, as_json=params["as_json"], fail_under=params["fail_under"])
    finally:
        if options.redo and any(run.tally.finished and any(run.plan.pending()) for run in evaluation.planned):
            terminal.line("note: with --redo the same command starts over; to continue, leave it out", err=True)


def _options(params: dict[str, Any]) -> "RunOptions":
    from m1eval.run.options import RunOptions

    parse_pairs("--set", params["overrides"])
    names = {"judge": "judges", "set": "overrides"}
    values = {name: params[names.get(name, name)] for name in RunOptions.__struct_fields__ if name != "option"}
    return RunOptions(option=runner_options(params["options"]), **values)
