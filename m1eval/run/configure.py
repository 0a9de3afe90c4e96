"""Configuration of runs from names and options: model, tasks with their overrides, judges, folders and prices."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from m1eval.errors import UsageError
from m1eval.model import prices
from m1eval.model.model import Model
from m1eval.option_names import option, runner_option
from m1eval.run.evaluate import Display, Evaluation
from m1eval.run.options import RunOptions
from m1eval.run.run import Run
from m1eval.run.spending import Spending
from m1eval.store import folders
from m1eval.task import profiles
from m1eval.task.load import load_tasks
from m1eval.task.names import expand
from m1eval.task.task import Task

if TYPE_CHECKING:
    from m1eval.run.judges import JudgePanel

OVERRIDES = {
    "max_tokens": "generation.max_tokens",
    "temperature": "generation.temperature",
    "think": "think",
    "repeats": "repeats",
    "lengths": "lengths",
}
"""Options that override a key of the tasks."""


class Configured(NamedTuple):
    """The runs of a command, with what they share; nothing is read or written yet."""

    runs: list[Run]
    model: Model
    judges: "JudgePanel | None"
    options: RunOptions
    notes: list[str]
    """Notes for the user before the first request."""

    def evaluation(self, display: Display) -> Evaluation:
        """The evaluation of the runs, with a runner and limits; UsageError if a limit needs an unknown price."""
        runner, options = self.model.runner(), self.options
        spending = _spending(self.model, runner.base_url, options)
        if self.judges is not None:
            self.judges.price(options.prices, required=options.max_cost is not None)
        return Evaluation(
            self.runs,
            runner,
            display,
            concurrency=options.concurrency,
            redo=options.redo,
            judges=self.judges,
            spending=spending,
        )


def configure(tasks: Sequence[str | Task], model: str, options: RunOptions, *, with_judges: bool = True) -> Configured:
    """The runs of some tasks on a model; UsageError for whatever names, options and files do not fit together.

    `tasks`: names, groups, files, patterns, `tag:NAME`, or loaded tasks. `with_judges`: False where nothing is graded.
    """
    chosen_model = _model(model, options)
    profile = profiles.select(options.profile, chosen_model.name)
    if profile:
        profile[1].apply_to_model(chosen_model)
    notes: list[str] = []
    chosen_tasks = _tasks(tasks, options, profile[1] if profile else None, notes)
    judges = _judges(chosen_tasks, options.judge, notes) if with_judges else None
    if options.concurrency and chosen_model.takes("concurrency"):
        chosen_model.options.setdefault("concurrency", options.concurrency)
    if options.ids and len(chosen_tasks) > 1:
        raise UsageError(f"{option('ids')} goes with one task; name one in {option('tasks')}")
    profile_name = profile[0] if profile else None
    runs = [
        _run(task, chosen_model, options, judges, profile_name, alone=len(chosen_tasks) == 1) for task in chosen_tasks
    ]
    notes += [line for run in runs for line in run.shadowing()]
    return Configured(runs, chosen_model, judges, options, list(dict.fromkeys(notes)))


def _model(spec: str, options: RunOptions) -> Model:
    runner_options = dict(options.option)
    for name in ("base_url", "concurrency"):
        value = getattr(options, name)
        if value and str(runner_options.get(name, value)) != str(value):
            other = runner_options[name]
            raise UsageError(f"{option(name, value)} and {runner_option(name, other)} contradict each other; give one")
    if options.base_url:
        runner_options["base_url"] = options.base_url
    return Model(spec, runner_options, options.tokenizer)


def load_with_options(
    names: Sequence[str], options: RunOptions, profile: profiles.Profile | None
) -> tuple[list[Task], list[str]]:
    """The tasks of some names with a profile and the options that concern them, and notes about these."""
    overrides = _overrides(options)
    try:
        tasks = load_tasks(expand(names), [*overrides, *options.set], protocol=options.protocol, profile=profile)
    except UsageError as error:
        if options.lengths and "unknown key 'lengths'" in str(error):
            raise UsageError(
                f"{option('lengths')}: none of these tasks generates prompts of a length that is asked for"
            ) from None
        raise
    unavailable = [task.name for task in tasks if options.protocol not in (None, task.protocol)]
    return tasks, [f"{name} has no protocol '{options.protocol}' and uses its own" for name in unavailable]


def _tasks(
    tasks: Sequence[str | Task], options: RunOptions, profile: profiles.Profile | None, notes: list[str]
) -> list[Task]:
    """Named and loaded tasks, in their order."""
    changes_tasks = _overrides(options) or options.set or options.protocol or profile
    if changes_tasks and any(isinstance(task, Task) for task in tasks):
        raise UsageError("a loaded task has its settings; give these options to m1eval.load_task, or name the task")
    chosen: list[Task] = []
    names: list[str] = []
    for task in [*tasks, None]:
        if isinstance(task, str):
            names.append(task)
            continue
        if names:
            named, more_notes = load_with_options(names, options, profile)
            chosen, names, notes[:] = [*chosen, *named], [], [*notes, *more_notes]
        chosen += [task] if task and task not in chosen else []
    if twice := [name for name, count in Counter(task.name for task in chosen).items() if count > 1]:
        raise UsageError(
            f"two of the tasks are named '{twice[0]}'; run one after the other, each with its own {option('out')}"
        )
    return chosen


def _overrides(options: RunOptions) -> list[str]:
    """The options that override keys of the tasks, as `key=value`."""
    values = {key: getattr(options, name) for name, key in OVERRIDES.items()}
    overrides = [f"{key}={json.dumps(value)}" for key, value in values.items() if value not in (None, ())]
    return overrides if options.system is None else [*overrides, "system=" + json.dumps(_literal(options.system))]


def _literal(text: str) -> str:
    """A text as a template that renders to it."""
    return text if not any(sign in text for sign in ("{{", "{%", "{#")) else "{{ " + json.dumps(text) + " }}"


def _judges(tasks: Sequence[Task], names: Sequence[str], notes: list[str]) -> "JudgePanel | None":
    judged = [task.name for task in tasks if task.scorer.needs_judge]
    if any(not name.strip() for name in names):
        raise UsageError(f"{option('judge')}: no name given; write RUNNER:NAME, such as http:gpt-4o")
    if judged and not names:
        raise UsageError(f"{judged[0]} is graded by a judge: name one, such as {option('judge', 'http:gpt-4o')}")
    if not judged:
        if names:
            notes.append(f"none of these tasks is graded by a judge; {option('judge')} is not used")
        return None
    from m1eval.run.judges import JudgePanel

    return JudgePanel(list(dict.fromkeys(names)))


def _run(
    task: Task, model: Model, options: RunOptions, judges: "JudgePanel | None", profile: str | None, *, alone: bool
) -> Run:
    """The run of a task in its folder, or in the folder where an earlier version kept it."""
    labels = model.label, model.earlier_label
    chosen = folders.choose_folder(options.out, task.name, model.spec, labels, alone=alone)

    def run_in(folder: Path) -> Run:
        return Run(
            task,
            model,
            folder,
            limit=options.limit,
            ids=options.ids,
            seed=options.seed,
            data_dir=options.data_dir,
            until_se=options.until_se,
            judges=judges.config() if judges else None,
            judge_files=[each.file for each in judges.models] if judges else (),
            profile_file=profiles.file(profile) if profile else None,
        )

    run = run_in(chosen.folder)
    if chosen.earlier and (earlier := run_in(chosen.earlier)).continues():
        run = earlier
        run.notes.append(f"continues in {chosen.earlier}, where an earlier version kept this run")
    if chosen.note:
        run.notes.append(chosen.note)
    return run


def _spending(model: Model, base_url: str | None, options: RunOptions) -> Spending:
    model_prices = prices.find(model.name, base_url, options.prices)
    if options.max_cost is not None and model_prices is None:
        file = option("prices", "FILE")
        remedy = f"pip install 'm1eval[prices]', or {file}" if base_url else f"give them with {file}"
        raise UsageError(f"{option('max_cost')}: no prices of '{model.name}' are known; {remedy}")
    return Spending(model_prices, options.max_cost, options.max_tokens_total)
