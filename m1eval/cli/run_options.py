"""The options of `m1eval run`, group by group, in the order of its help."""

from collections.abc import Sequence
from typing import Any

import click

from m1eval.cli import completion
from m1eval.cli.options import GROUPS, FilePath, Integer, LengthList, NameList, NonEmpty, Number, Once, Tokens
from m1eval.run.ranges import RANGES, Range

_TASKS, _SIZE, _GENERATION, _EXECUTION, _OUTPUT = GROUPS


def _option(group: str, *names: str, cls: type[Once] = Once, **attrs: Any) -> Any:
    return click.option(*names, cls=cls, group=group, **attrs)


def tasks_and_model(command: Any) -> Any:
    """Add the options that choose the tasks and the model."""
    options = (
        _option(
            _TASKS,
            "--tasks",
            "-t",
            cls=NameList,
            required=True,
            metavar="NAMES",
            shell_complete=completion.tasks,
            help="Tasks to run, separated by commas: names, groups, YAML files, patterns ('aime*') or tag:NAME; "
            "repeatable.",
        ),
        _option(
            _TASKS,
            "--model",
            "-m",
            required=True,
            type=NonEmpty(),
            metavar="RUNNER:NAME",
            shell_complete=completion.models,
            help="Model to evaluate, such as http:NAME (a server), local:smollm2 (the built-in engine) or echo:gold "
            "(no model: the gold answers).",
        ),
        _option(
            _TASKS,
            "--base-url",
            type=NonEmpty(),
            metavar="URL",
            help="URL of the server for --model http:NAME, such as http://localhost:8000/v1; several, separated by "
            "commas, share the requests.",
        ),
        _option(
            _TASKS,
            "--option",
            "-o",
            "options",
            multiple=True,
            metavar="KEY=VALUE",
            help="Option of the runner, such as -o timeout=600; docs/runners.md lists them; repeatable.",
        ),
    )
    return _decorate(command, options)


def task_settings(command: Any) -> Any:
    """Add the options that change how the tasks are read and asked."""
    options = (
        _option(
            _TASKS,
            "--tokenizer",
            type=NonEmpty(),
            metavar="NAME",
            help="Tokenizer to count tokens with: a tokenizer.json, org/name, server, o200k_base or chars; default: "
            "the runner's.",
        ),
        _option(
            _TASKS,
            "--protocol",
            type=NonEmpty(),
            metavar="NAME",
            help="Protocol to run the tasks by, such as official (the benchmark's own); default: the task's.",
        ),
        _option(
            _TASKS,
            "--profile",
            type=NonEmpty(),
            metavar="NAME",
            shell_complete=completion.profiles,
            help="Recommended sampling of a model family: its name, or auto to choose by the model's name; default: "
            "the task's sampling.",
        ),
        _option(
            _TASKS,
            "--set",
            "overrides",
            multiple=True,
            metavar="KEY=VALUE",
            help="Override a key of the tasks, such as generation.top_p=0.9; takes precedence over all other "
            "options; repeatable.",
        ),
        _option(
            _TASKS,
            "--data-dir",
            type=FilePath(folder=True),
            metavar="DIR",
            help="Read DIR/<task>.jsonl (or .json, .csv, .parquet) instead of downloading from the hub.",
        ),
    )
    return _decorate(command, options)


def size_and_limits(command: Any) -> Any:
    """Add the options that choose how much is run."""
    options = (
        _option(
            _SIZE,
            "--limit",
            "-n",
            type=Integer(RANGES["limit"]),
            metavar="N",
            help="Run N random samples of each task, the same ones for every model; default: all.",
        ),
        _option(_SIZE, "--ids", cls=NameList, metavar="IDS", help="Run only these samples, separated by commas."),
        _option(
            _SIZE,
            "--lengths",
            cls=LengthList,
            metavar="TOKENS",
            help="Prompt lengths of generated tasks: a list (4k,32k,1m), a range in powers of two (4k-1m), or auto "
            "(up to the model's context window).",
        ),
        _option(
            _SIZE,
            "--repeats",
            "-k",
            type=Integer(RANGES["repeats"]),
            metavar="N",
            help="Number of answers for each sample; default: the task's.",
        ),
        _option(
            _SIZE,
            "--until-se",
            type=Number(RANGES["until_se"]),
            metavar="ERROR",
            help="Choose the number of answers for each sample so that the standard error of the score from sampling "
            "answers is at most ERROR, such as 0.01.",
        ),
        _option(
            _SIZE,
            "--max-tokens-total",
            type=Tokens(RANGES["max_tokens_total"]),
            metavar="TOKENS",
            help="Stop before the runs use more tokens than this, prompts and answers together, such as 900k or 5m.",
        ),
        _option(
            _SIZE,
            "--max-cost",
            type=Number(RANGES["max_cost"]),
            metavar="USD",
            help="Stop before the runs cost more than this, in US dollars.",
        ),
        _option(
            _SIZE,
            "--prices",
            type=FilePath(file=True, exists=True),
            metavar="FILE",
            help="YAML file with the prices of models; docs/runs.md describes it.",
        ),
    )
    return _decorate(command, options)


def generation_and_grading(command: Any) -> Any:
    """Add the options of sampling and judges."""
    options = (
        _option(
            _GENERATION,
            "--temperature",
            type=Number(RANGES["temperature"]),
            metavar="T",
            help="Sampling temperature; 0 is greedy; default: the task's.",
        ),
        _option(
            _GENERATION,
            "--max-tokens",
            type=Tokens(RANGES["max_tokens"]),
            metavar="TOKENS",
            help="Maximum number of new tokens of an answer, thinking included; default: the task's.",
        ),
        _option(
            _GENERATION,
            "--think",
            type=Tokens(RANGES["think"]),
            metavar="TOKENS",
            help="Maximum number of thinking tokens, such as 8k; the model then has to answer; default: the task's.",
        ),
        _option(
            _GENERATION,
            "--system",
            type=NonEmpty(),
            metavar="TEXT",
            help="System prompt; default: the task's.",
        ),
        _option(
            _GENERATION,
            "--seed",
            type=Integer(RANGES["seed"]),
            default=0,
            show_default=True,
            metavar="INTEGER",
            help="Seed for sample selection, generated data and sampling.",
        ),
        _option(
            _GENERATION,
            "--judge",
            "judges",
            multiple=True,
            metavar="RUNNER:NAME",
            help="Model that grades the answers of tasks with a judge, such as http:gpt-4o; repeatable.",
        ),
    )
    return _decorate(command, options)


def execution_and_results(command: Any) -> Any:
    """Add the options of the execution, the results folder and the gate."""
    options = (
        _option(
            _EXECUTION,
            "--dry-run",
            is_flag=True,
            help="Print the configuration, token counts and first prompt of each run, and send no request.",
        ),
        _option(
            _EXECUTION,
            "--concurrency",
            "-j",
            type=Integer(RANGES["concurrency"]),
            metavar="N",
            help="Maximum number of requests in flight; default: the runner decides.",
        ),
        _option(
            _EXECUTION,
            "--out",
            type=FilePath(folder=True),
            metavar="DIR",
            help="Folder of the results; each run is stored in DIR/<task>/<org>--<model>; default: results.",
        ),
        _option(
            _EXECUTION,
            "--redo",
            is_flag=True,
            help="Start over instead of continuing. The old run is kept until the new one has an answer.",
        ),
        _option(
            _EXECUTION,
            "--fail-under",
            type=Number(Range(0, 1)),
            metavar="SCORE",
            help="Exit with code 1 if the score of a task is below SCORE, a number from 0 to 1.",
        ),
    )
    return _decorate(command, options)


def output(command: Any) -> Any:
    """Add the options of what is printed."""
    options = (
        _option(
            _OUTPUT,
            "--display",
            type=click.Choice(["full", "plain", "none"]),
            help="How progress is shown on standard error; default: full on a terminal, else plain.",
        ),
        _option(
            _OUTPUT,
            "--json",
            "as_json",
            is_flag=True,
            help="Print the results as JSON on standard output, and nothing else.",
        ),
    )
    return _decorate(command, options)


def _decorate(command: Any, options: Sequence[Any]) -> Any:
    """The command with options that its help lists in this order."""
    for option in reversed(options):
        command = option(command)
    return command
