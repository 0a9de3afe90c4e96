"""The command line: `m1eval run` is the default command. It parses, calls and prints; no more."""

import json
import sys
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from m1eval import __version__, commands, secrets, terminal
from m1eval.credentials import register_command
from m1eval.errors import M1evalError, UsageError

if TYPE_CHECKING:
    from m1eval.judging import Panel
    from m1eval.model import Model
    from m1eval.run import Run
    from m1eval.spending import Spending
    from m1eval.task import Task

CONTEXT = {"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "M1EVAL", "max_content_width": 110}

SETTINGS = ("repeats", "limit", "seed", "data_dir", "judges", "until_se", "profile_file")
"""What of the command line a run is made with."""


class Count(click.ParamType[int]):
    """A number of tokens; 40k is 40,000, 1m a million."""

    name = "tokens"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value).lower()
        digits = text.rstrip("km")
        if not digits.isdecimal() or len(text) - len(digits) > 1:
            self.fail(f"'{value}' is no number of tokens: write 8000, 40k or 1m", param, ctx)
        return int(digits) * {"": 1, "k": 1000, "m": 1_000_000}[text.removeprefix(digits)]


class _Default(click.Group):
    """A group whose command is `run` when none is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {"-h", "--help", "--version", "--debug"}
        first = next((a for a in args if a != "--debug"), None)
        if first is not None and first.startswith("-") and first not in own:
            args.insert(args.index(first), "run")
        return super().parse_args(ctx, args)


@click.group(cls=_Default, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="m1eval")
@click.option("--debug", is_flag=True, help="Show tracebacks of errors.")
def cli(debug: bool) -> None:
    """Evaluate language models on long-context and reasoning benchmarks, beside the published figures.

    \b
    m1eval run --tasks demo --model local:smollm2 --limit 4
    m1eval run --tasks aime,mrcr --model http:NAME --base-url http://localhost:8000/v1
    m1eval tasks
    """


@cli.command()
@click.option("--tasks", "-t", required=True, metavar="NAMES", help="Tasks, groups or YAML files, separated by commas.")
@click.option(
    "--model",
    "-m",
    required=True,
    metavar="RUNNER:NAME",
    help="Such as local:smollm2, http:NAME, echo:gold.",
)
@click.option("--option", "-o", "options", multiple=True, metavar="KEY=VALUE", help="An option of the runner.")
@click.option("--base-url", metavar="URL", help="The server, for --model http:NAME.")
@click.option(
    "--tokenizer",
    metavar="NAME",
    help="Count tokens by another than the runner's: a tokenizer.json, org/name, server, o200k_base, chars.",
)
@click.option(
    "--lengths",
    metavar="TOKENS",
    help="Prompt lengths of generated tasks: 4k,32k,1m, or 4k-1m (powers of two), or auto (up to the window).",
)
@click.option("--repeats", "-k", type=click.IntRange(1), help="Answers for each sample; default: the task's.")
@click.option(
    "--limit", "-n", type=click.IntRange(1), help="So many samples, chosen at random, the same for every model."
)
@click.option("--ids", metavar="IDS", help="These samples, separated by commas.")
@click.option("--max-tokens", type=click.IntRange(1), help="Most new tokens of an answer, thinking included.")
@click.option("--think", type=Count(), help="Most thinking tokens, such as 8000 or 40k; then its end is forced.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a task's key: generation.temperature=0.6",
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="Of the choice of samples, their generation and the sampling.",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Read DIR/<task>.jsonl (or another format) in place of the hub.",
)
@click.option("--concurrency", "-j", type=click.IntRange(1), help="Requests in flight; default: what the runner likes.")
@click.option("--prices", type=click.Path(path_type=Path), help="Prices of models, a YAML file; see docs/runs.md.")
@click.option("--max-cost", type=click.FloatRange(0), metavar="USD", help="Stop before more is spent on these runs.")
@click.option("--max-tokens-total", type=Count(), help="Stop before more tokens go in and out, such as 900k or 5m.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The run's folder (of several tasks: OUT/<task>); default: results/<task>/<model>.",
)
@click.option("--redo", is_flag=True, help="Throw away what the folder holds and begin anew.")
@click.option(
    "--display",
    type=click.Choice(["full", "plain", "none"]),
    help="Progress, on standard error; full: a terminal's default.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON on standard output, and nothing else.")
@click.option("--dry-run", is_flag=True, help="Show what would be run, with the first prompt, and run nothing.")
@click.option(
    "--until-se",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="ERROR",
    help="Add answers where they help most until the error of sampling answers is below this.",
)
@click.option("--judge", "judges", multiple=True, metavar="RUNNER:NAME", help="Who grades what no rule can; several.")
@click.option("--protocol", metavar="NAME", help="Another way to run the tasks, such as official: the benchmark's own.")
@click.option("--profile", metavar="NAME", help="A model family's own sampling, by name or auto; default: the tasks'.")
@click.option("--fail-under", type=click.FloatRange(0, 1), metavar="SCORE", help="Exit with 1 if a score is below.")
def run(tasks: str, model: str, **given: Any) -> int:
    """Run tasks on a model. The same command again continues where it stopped.

    \b
    m1eval run --tasks aime --model http:Qwen/Qwen3-8B --base-url http://localhost:8000/v1 --repeats 4
    m1eval run --tasks mrcr_synth --set lengths=[8192,131072] --model local:smollm2
    m1eval run --tasks ./mine.yaml --model echo:gold --limit 5

    Exit codes: 0 finished, 1 a gate failed, 2 usage, 3 finished with errored samples or nothing scored,
    130 interrupted (the same command continues).
    """
    from m1eval import profile as profiles
    from m1eval.model import Model
    from m1eval.task import load

    overrides = list(given["overrides"])
    if given["max_tokens"]:
        overrides.append(f"generation.max_tokens={given['max_tokens']}")
    if given["think"] is not None:
        overrides.append(f"think={given['think']}")
    if given["lengths"]:
        overrides.append(f"lengths={json.dumps(_names(given['lengths']))}")
    options = {**_pairs(given["options"]), **({"base_url": given["base_url"]} if given["base_url"] else {})}
    chosen_model = Model(model, options, given["tokenizer"])
    profile = profiles.chosen(given["profile"], chosen_model.name)
    if profile:
        profile[1].apply_to_model(chosen_model)
    chosen = load(_names(tasks), overrides, protocol=given["protocol"], profile=profile[1] if profile else None)
    for task in chosen:
        if given["protocol"] not in (None, task.protocol):
            terminal.line(f"note: {task.name} has no protocol '{given['protocol']}' and is run by its own", err=True)
    panel = None if given["dry_run"] else _panel(chosen, given["judges"])
    if given["concurrency"] and chosen_model.takes("concurrency"):
        chosen_model.options.setdefault("concurrency", given["concurrency"])
    given["profile_file"] = profiles.file(profile[0]) if profile else None
    runs = _runs(chosen, chosen_model, {**given, "judges": panel.config() if panel else None}, panel)
    for line in dict.fromkeys(line for each in runs for line in each.shadowing()):
        terminal.line(f"note: {line}", err=True)
    if given["dry_run"]:
        from m1eval.report.plan import show

        show(runs, chosen_model.runner(), as_json=given["as_json"])
        return 0
    return _evaluate(runs, chosen_model, given, panel)


def _panel(tasks: "Sequence[Task]", judges: Sequence[str]) -> "Panel | None":
    wanting = [task.name for task in tasks if getattr(task.scorer, "needs_judge", False)]
    if wanting and not judges:
        raise UsageError(f"{wanting[0]} is graded by a judge: name one, such as --judge http:gpt-4o")
    if not wanting:
        return None
    from m1eval.judging import Panel

    return Panel(judges)


def _runs(tasks: "Sequence[Task]", model: "Model", given: dict[str, Any], panel: "Panel | None") -> "list[Run]":
    from m1eval.run import Run

    out: Path | None = given["out"]
    ids = _names(given["ids"]) if given["ids"] else []
    if ids and len(tasks) > 1:
        raise UsageError("--ids goes with one task; name one in --tasks")
    if out and out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; name a folder")
    if out and len(tasks) > 1 and (out / "run.json").exists():
        raise UsageError(f"--out {out} holds the run of one task; for several tasks name another folder")
    judge_files = [each.file for each in panel.models] if panel else []
    runs = []
    for task in tasks:
        folder = (out / task.name if len(tasks) > 1 else out) if out else Path("results", task.name, model.label)
        keep = {name: given[name] for name in SETTINGS}
        runs.append(Run(task, model, folder, ids=ids, judge_files=judge_files, **keep))
    return runs


def _evaluate(runs: "list[Run]", model: "Model", given: dict[str, Any], judges: "Panel | None") -> int:
    import asyncio

    from m1eval.evaluate import evaluate
    from m1eval.report.live import Terminal

    display = Terminal("none" if given["as_json"] and not given["display"] else given["display"])
    runner = model.runner()
    spending = _spending(model, getattr(runner, "address", None), given)
    keep = {name: given[name] for name in ("concurrency", "redo")}
    try:
        finished = asyncio.run(evaluate(runs, runner, display, spending=spending, judges=judges, **keep))
    except asyncio.CancelledError:
        terminal.line("interrupted; the same command continues", err=True)
        return 130
    if given["as_json"]:
        from m1eval.report.table import built

        terminal.json({"runs": built(runs)})
        for run in runs:
            for note in run.notes:
                terminal.line(f"{run.task.name}: {note}", err=True)
    else:
        from m1eval.report.table import show

        show(runs)
    if spending.reached:
        terminal.line(f"stopped by {spending.reached}; the same command with a higher limit continues", err=True)
        return 3
    if not finished:
        terminal.line("interrupted; the same command continues", err=True)
        return 130
    return _verdict(runs, given["fail_under"])


def _spending(model: "Model", address: str | None, given: dict[str, Any]) -> "Spending":
    from m1eval.prices import find
    from m1eval.spending import Spending

    prices = find(model.name, address, given["prices"])
    if given["max_cost"] is not None and prices is None:
        remedy = "give them with --prices FILE" if address is None else "pip install 'm1eval[prices]', or --prices FILE"
        raise UsageError(f"--max-cost: no prices of '{model.name}' are known; {remedy}")
    return Spending(prices, given["max_cost"], given["max_tokens_total"])


def _verdict(runs: "list[Run]", fail_under: float | None) -> int:
    scores = [run.tally.score for run in runs]
    if any(score is None for score in scores) or any(run.tally.outcomes["errored"] for run in runs):
        return 3
    return int(fail_under is not None and any(score is not None and score < fail_under for score in scores))


@cli.command()
@click.argument("names", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def tasks(names: Sequence[str], as_json: bool) -> int:
    """List the tasks, or show some of them.

    \b
    m1eval tasks
    m1eval tasks aime24 --json
    """
    from m1eval.report import listing

    return listing.show(names, as_json=as_json)


@cli.command()
@click.argument("names", nargs=-1)
@click.option("--data-dir", type=click.Path(path_type=Path), help="Read DIR/<task>.jsonl in place of the hub.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the tasks.")
@click.option("--protocol", metavar="NAME", help="Check another way to run the tasks, such as official.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(
    names: Sequence[str], data_dir: Path | None, overrides: Sequence[str], protocol: str | None, as_json: bool
) -> int:
    """Check tasks without a model: keys, data, prompts; a gold answer must score 1 and an empty one 0.

    Without names all tasks are checked but for the data of those that need the network; those are named.

    \b
    m1eval check
    m1eval check ./mine.yaml
    m1eval check aime24 --data-dir data --protocol official
    """
    import asyncio

    from m1eval.check import check_all
    from m1eval.interrupts import interruptible

    try:
        results = asyncio.run(interruptible(check_all(names, data_dir, overrides, protocol)))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    if as_json:
        terminal.json([result._asdict() for result in results])
    else:
        for result in results:
            terminal.line(f"{result.verdict:<8} {result.task}: {result.text}")
    return int(any(result.verdict == "failed" for result in results))


@cli.command()
@click.argument("model", metavar="RUNNER:NAME")
@click.option("--option", "-o", "options", multiple=True, metavar="KEY=VALUE", help="An option of the runner.")
@click.option("--lengths", metavar="TOKENS", help="Lengths of prompts to read, separated by commas.")
@click.option("--batches", metavar="NUMBERS", help="Numbers of sequences to draw at once, separated by commas.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def bench(model: str, options: Sequence[str], lengths: str | None, batches: str | None, as_json: bool) -> int:
    """Measure how fast a model runs on this machine, beside what the machine's memory and arithmetic allow.

    \b
    m1eval bench local:smollm2
    m1eval bench local:/models/MiniMax-M1-40k -o gpus=8 --lengths 32k,1000k --batches 1,32
    """
    from m1eval.model import Model
    from m1eval.report import speed

    counts = [[Count().convert(n, None, None) for n in _names(text)] if text else [] for text in (lengths, batches)]
    found = speed.measure(Model(model, _pairs(options)), *counts)
    if as_json:
        terminal.json(found)
    else:
        terminal.block(speed.table(found))
    return 0


@cli.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--edges", metavar="TOKENS", help="Upper ends of the ranges: 8k,32k,128k; default: powers of two.")
@click.option("--threshold", help="Of the effective length; ruler is 0.856; default: the task's own, else 0.85.")
@click.option("--by", metavar="COLUMN", help="Rows of the heat map; default: depth, where samples have one.")
@click.option("--svg", type=click.Path(path_type=Path), help="Write the heat map to this file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, a line each run.")
def lengths(
    runs: Sequence[Path], edges: str | None, threshold: str | None, by: str | None, svg: Path | None, as_json: bool
) -> int:
    """Show the scores of runs by prompt length, with intervals, heat map and effective context length.

    \b
    m1eval lengths results/needle/mymodel
    m1eval lengths results/longbench_v2/mymodel --edges 32k,128k --by difficulty
    """
    from m1eval.report import by_length
    from m1eval.report.lengths import RULER

    ends = [_tokens(text) for text in _names(edges)] if edges else []
    least = None if threshold is None else RULER if threshold == "ruler" else _share(threshold)
    if svg and len(runs) > 1:
        raise UsageError("--svg goes with one run")
    by_length.show(runs, edges=ends, threshold=least, by=by, svg=svg, as_json=as_json)
    return 0


@cli.command()
def schema() -> int:
    """Print the JSON Schema of task files, for editors that complete them."""
    import msgspec

    from m1eval.definition import Definition

    terminal.json(msgspec.json.schema(Definition), indent=1)
    return 0


cli.add_command(commands.compare)
cli.add_command(commands.baselines)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code; an error of ours is one line."""
    given = list(sys.argv[1:] if args is None else args)
    secrets.clear()
    register_command(given)
    with terminal.guarded():
        code = _run(given)
        if (lost := terminal.lost()) and not lost.quiet:
            terminal.line(f"Error: standard output cannot be written: {lost}; results are kept in the folder", err=True)
            code = code or 2
    sys.exit(code or 0)


def _run(given: list[str]) -> int:
    """Do what the command line says; the exit code."""
    try:
        code: int | None = cli.main(given, prog_name="m1eval", standalone_mode=False)
    except M1evalError as error:
        if "--debug" in given:
            _traceback()
        else:
            terminal.line(f"Error: {error}", err=True)
        code = error.exit_code
    except click.ClickException as error:
        shown = StringIO()
        error.show(file=shown)
        terminal.block(shown.getvalue().rstrip("\n"), err=True)
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        terminal.line("interrupted; the same command continues", err=True)
        code = 130
    except Exception:  # noqa: BLE001 - a bug of ours; its traceback may quote what must not be shown as it is
        _traceback()
        code = 1
    return code or 0


def _traceback() -> None:
    import traceback

    terminal.block(traceback.format_exc().rstrip("\n"), err=True)


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError("no name given")
    return names


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--threshold {text}: write a score such as 0.85, or ruler") from None


def _tokens(text: str) -> int:
    """A length: 32k is 32,768 here, as context lengths are counted."""
    number = text.lower().rstrip("km")
    if not number.isdecimal():
        raise UsageError(f"'{text}' is no length: write 4096, 32k or 1m")
    return int(number) * {"k": 2**10, "m": 2**20}.get(text[-1].lower(), 1)


def _pairs(texts: Sequence[str]) -> dict[str, Any]:
    from m1eval.source import value

    pairs = {}
    for text in texts:
        key, equals, given = text.partition("=")
        if not equals or not key:
            raise UsageError(f"-o {text}: write key=value")
        pairs[key] = value(given)
    return pairs
