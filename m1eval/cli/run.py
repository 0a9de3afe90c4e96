"""`m1eval run`: reads the options, starts the runs, prints what came out."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from m1eval import terminal
from m1eval.cli import completion
from m1eval.cli.options import (
    FilePath,
    Grouped,
    LengthList,
    Names,
    NonEmpty,
    Number,
    Once,
    Tokens,
    pairs,
    runner_options,
)
from m1eval.errors import PluginFailed, RunnerError, Stopped, UsageError

if TYPE_CHECKING:
    from m1eval.model.model import Model
    from m1eval.run.evaluate import Evaluation
    from m1eval.run.judges import Panel
    from m1eval.run.planned_run import PlannedRun
    from m1eval.run.run import Run
    from m1eval.run.spending import Spending
    from m1eval.task.task import Task

SETTINGS = ("limit", "seed", "data_dir", "judges", "until_se", "profile_file")
"""What of the command line a run is made with."""
SEEDS = 2**63 - 1


def _option(group: str, *names: str, cls: type[Once] = Once, **attrs: Any) -> Any:
    return click.option(*names, cls=cls, group=group, **attrs)


def _what(command: Any) -> Any:
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
        _option("What", "--ids", cls=Names, metavar="IDS", help="Run only these samples, separated by commas."),
        _option(
            "What",
            "--tokenizer",
            type=NonEmpty(),
            metavar="NAME",
            help="Count tokens with this tokenizer instead of the runner's: a tokenizer.json, org/name, server, "
            "o200k_base, chars.",
        ),
        _option("What", "--base-url", type=NonEmpty(), metavar="URL", help="The server, for --model http:NAME."),
        _option(
            "What",
            "--option",
            "-o",
            "options",
            multiple=True,
            metavar="KEY=VALUE",
            help="An option of the runner; repeatable.",
        ),
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
            cls=Names,
            required=True,
            metavar="NAMES",
            shell_complete=completion.tasks,
            help="Tasks, groups, YAML files, patterns ('aime*') or tag:NAME, separated by commas; repeatable.",
        ),
    ):
        command = option(command)
    return command


def _how_much(command: Any) -> Any:
    for option in (
        _option(
            "How much",
            "--max-tokens-total",
            type=Tokens(least=0),
            metavar="TOKENS",
            help="Stop before more tokens than this go in and out, such as 900k or 5m.",
        ),
        _option(
            "How much", "--max-cost", type=Number(0), metavar="USD", help="Stop before these runs cost more than this."
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
            type=Number(0, 1, min_open=True),
            metavar="ERROR",
            help="Give each sample as many answers as bring the error of sampling answers to this, without bias.",
        ),
        _option(
            "How much",
            "--think",
            type=Tokens(least=0),
            metavar="TOKENS",
            help="Thinking budget, such as 8k or 80k; thinking is ended there.",
        ),
        _option(
            "How much",
            "--max-tokens",
            type=Tokens(),
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
            type=click.IntRange(1),
            metavar="N",
            help="Run N random samples, the same ones for every model.",
        ),
        _option(
            "How much",
            "--repeats",
            "-k",
            type=click.IntRange(1, 100_000),
            metavar="N",
            help="Answers for each sample; default: the task's.",
        ),
    ):
        command = option(command)
    return command


def _how(command: Any) -> Any:
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
            type=click.IntRange(1, 1_000_000),
            metavar="N",
            help="Requests in flight; default: the runner decides.",
        ),
        _option(
            "How",
            "--seed",
            type=click.IntRange(-SEEDS, SEEDS),
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
        _option("How", "--temperature", type=Number(0), metavar="T", help="Sampling temperature; 0 is greedy."),
    ):
        command = option(command)
    return command


def _where_and_show(command: Any) -> Any:
    for option in (
        _option("Show", "--fail-under", type=Number(0, 1), metavar="SCORE", help="Exit with 1 if a score is below."),
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
@_what
@_how_much
@_how
@_where_and_show
def run(tasks: Sequence[str], model: str, **given: Any) -> int:
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
    from m1eval.task import profiles

    chosen_model = _model(model, given)
    profile = profiles.select(given["profile"], chosen_model.name)
    if profile:
        profile[1].apply_to_model(chosen_model)
    chosen = _tasks(tasks, given, profile[1] if profile else None)
    panel = None if given["dry_run"] else _panel(chosen, given["judges"])
    if given["concurrency"] and chosen_model.takes("concurrency"):
        chosen_model.options.setdefault("concurrency", given["concurrency"])
    given["profile_file"] = profiles.file(profile[0]) if profile else None
    runs = _runs(chosen, chosen_model, {**given, "judges": panel.config() if panel else None}, panel)
    for line in dict.fromkeys(line for each in runs for line in each.shadowing()):
        terminal.line(f"note: {line}", err=True)
    if given["dry_run"]:
        from m1eval.report.dry_run import show
        from m1eval.run.planning import preview

        tokenizer = chosen_model.tokenizer(chosen_model.runner())
        show([preview(run, tokenizer, redo=given["redo"]) for run in runs], as_json=given["as_json"])
        return 0
    return _evaluate(runs, chosen_model, given, panel)


def _model(spec: str, given: dict[str, Any]) -> "Model":
    from m1eval.model.model import Model

    options = runner_options(given["options"])
    for name in ("base_url", "concurrency"):
        value, option = given[name], f"--{name.replace('_', '-')}"
        if value and str(options.get(name, value)) != str(value):
            raise UsageError(f"{option} {value} and -o {name}={options[name]} contradict each other; give one of them")
    return Model(
        spec, {**options, **({"base_url": given["base_url"]} if given["base_url"] else {})}, given["tokenizer"]
    )


def _tasks(names: Sequence[str], given: dict[str, Any], profile: Any) -> "list[Task]":
    from m1eval.task.names import expanded
    from m1eval.task.task import load

    overrides = [
        f"{key}={json.dumps(given[option])}"
        for option, key in (
            ("max_tokens", "generation.max_tokens"),
            ("temperature", "generation.temperature"),
            ("think", "think"),
            ("repeats", "repeats"),
            ("lengths", "lengths"),
        )
        if given[option] not in (None, ())
    ]
    if given["system"] is not None:
        overrides.append("system=" + json.dumps(_literal(given["system"])))
    pairs("--set", given["overrides"])
    protocol = given["protocol"]
    try:
        chosen = load(expanded(names), [*overrides, *given["overrides"]], protocol=protocol, profile=profile)
    except UsageError as error:
        if given["lengths"] and str(error).startswith("--set lengths=") and "unknown key" in str(error):
            raise UsageError("--lengths: none of these tasks generates prompts of a length that is asked for") from None
        raise
    for task in chosen:
        if protocol not in (None, task.protocol):
            terminal.line(f"note: {task.name} has no protocol '{protocol}' and uses its own", err=True)
    return chosen


def _literal(text: str) -> str:
    """A text as a template that renders to it."""
    return text if not any(sign in text for sign in ("{{", "{%", "{#")) else "{{ " + json.dumps(text) + " }}"


def _panel(tasks: "Sequence[Task]", judges: Sequence[str]) -> "Panel | None":
    wanting = [task.name for task in tasks if task.scorer.needs_judge]
    if any(not judge.strip() for judge in judges):
        raise UsageError("--judge: no name given; write RUNNER:NAME, such as http:gpt-4o")
    if wanting and not judges:
        raise UsageError(f"{wanting[0]} is graded by a judge: name one, such as --judge http:gpt-4o")
    if not wanting:
        if judges:
            terminal.line("note: none of these tasks is graded by a judge; --judge is not used", err=True)
        return None
    from m1eval.run.judges import Panel

    return Panel(list(dict.fromkeys(judges)))


def _runs(tasks: "Sequence[Task]", model: "Model", given: dict[str, Any], panel: "Panel | None") -> "list[Run]":
    from m1eval.run.run import Run
    from m1eval.store import folders

    ids = list(given["ids"])
    if ids and len(tasks) > 1:
        raise UsageError("--ids goes with one task; name one in --tasks")
    judge_files = [each.file for each in panel.models] if panel else []
    keep = {name: given[name] for name in SETTINGS}
    runs = []
    for task in tasks:
        names = model.label, model.earlier_label
        place = folders.choose_folder(given["out"], task.name, model.spec, names, alone=len(tasks) == 1)
        made = Run(task, model, place.folder, ids=ids, judge_files=judge_files, **keep)
        if place.earlier:
            before = Run(task, model, place.earlier, ids=ids, judge_files=judge_files, **keep)
            if before.continues():
                made = before
                made.notes.append(f"continues in {place.earlier}, where an earlier version kept this run")
        if place.note:
            made.notes.append(place.note)
        runs.append(made)
    return runs


def _evaluate(runs: "list[Run]", model: "Model", given: dict[str, Any], judges: "Panel | None") -> int:
    from m1eval.report.live import Terminal
    from m1eval.run.evaluate import Evaluation

    display = Terminal("none" if given["as_json"] and not given["display"] else given["display"])
    runner = model.runner()
    spending = _spending(model, runner.base_url, given)
    if judges is not None:
        judges.price(given["prices"], required=given["max_cost"] is not None)
    evaluation = Evaluation(
        runs,
        runner,
        display,
        concurrency=given["concurrency"],
        redo=given["redo"],
        judges=judges,
        spending=spending,
    )
    try:
        return _execute(evaluation, spending, given)
    finally:
        if given["redo"] and any(run.tally.finished and any(run.plan.pending()) for run in evaluation.planned):
            terminal.line("note: with --redo the same command starts over; to continue, leave it out", err=True)


def _execute(evaluation: "Evaluation", spending: "Spending", given: dict[str, Any]) -> int:
    """Do it, print what came out, and give the exit code."""
    import asyncio

    from m1eval.run import interrupts

    try:
        is_finished = asyncio.run(evaluation.execute())
    except asyncio.CancelledError:
        if interrupts.is_urgent() and (partial := [run for run in evaluation.planned if run.tally.finished]):
            _show(partial, as_json=given["as_json"])
        terminal.line("interrupted; the same command continues", err=True)
        return interrupts.exit_code()
    except (RunnerError, Stopped, PluginFailed):
        if partial := [run for run in evaluation.planned if run.tally.finished]:
            _show(partial, as_json=given["as_json"])
        raise
    _show(evaluation.planned, as_json=given["as_json"])
    if spending.reached:
        terminal.line(f"stopped by {spending.reached}; the same command with a higher limit continues", err=True)
        return 3
    if spending.overrun:
        terminal.line(f"note: {spending.overrun}", err=True)
    if not is_finished:
        terminal.line("interrupted; the same command continues", err=True)
        return interrupts.exit_code()
    return _verdict(evaluation.planned, given["fail_under"])


def _show(runs: "Sequence[PlannedRun]", *, as_json: bool) -> None:
    if as_json:
        from m1eval.report.table import built

        terminal.json({"runs": built([run.stored() for run in runs])})
        for run in runs:
            for note in run.notes:
                terminal.line(f"{run.run.task.name}: {note}", err=True)
    else:
        from m1eval.report.table import show

        show([run.stored() for run in runs])


def _spending(model: "Model", address: str | None, given: dict[str, Any]) -> "Spending":
    from m1eval.model.prices import find
    from m1eval.run.spending import Spending

    prices = find(model.name, address, given["prices"])
    if given["max_cost"] is not None and prices is None:
        remedy = "give them with --prices FILE" if address is None else "pip install 'm1eval[prices]', or --prices FILE"
        raise UsageError(f"--max-cost: no prices of '{model.name}' are known; {remedy}")
    return Spending(prices, given["max_cost"], given["max_tokens_total"])


def _verdict(runs: "Sequence[PlannedRun]", fail_under: float | None) -> int:
    scores = [run.tally.score for run in runs]
    if any(score is None for score in scores) or any(run.tally.outcomes["errored"] for run in runs):
        return 3
    below = [run for run in runs if fail_under is not None and (run.tally.score or 0) < fail_under]
    for run in below:
        terminal.line(f"{run.run.task.name}: {run.tally.score:.4g} is below --fail-under {fail_under:g}", err=True)
    return int(bool(below))
