"""A stored run configured again, to grade its answers: its own settings, but for the grader that a command names."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from m1eval import plugins
from m1eval.errors import RunnerError, UsageError
from m1eval.model.model import Model
from m1eval.option_names import option
from m1eval.plugins.lookup import is_path
from m1eval.protocols import Runner
from m1eval.run.judges import JudgePanel
from m1eval.run.run import Run
from m1eval.store import run_json
from m1eval.store.config import scorer_parts
from m1eval.store.stored import StoredRun
from m1eval.task.load import apply_override, load_tasks
from m1eval.task.task import DESCRIPTIVE, Task
from m1eval.text import display_path
from m1eval.yaml_file import YamlFile, expand_user, parse_value


class GraderOptions(NamedTuple):
    """The grader that a command names; by default the scorer that graded last, and no judges."""

    scorer: str | None = None
    """Name or file of another scorer, without options."""
    task_scorer: bool = False
    """Whether to take the scorer that the task's file has now."""
    overrides: Sequence[str] = ()
    """`key=value` of the scorer, such as `scorer.math.precision=4`."""
    judges: Sequence[str] = ()


def configure(stored: StoredRun, options: GraderOptions, data_dir: Path | None) -> tuple[Run, JudgePanel | None]:
    """The run in a folder as it was configured, with the grader that the options name."""
    meta, config = stored.meta, stored.config
    if not {"task", "model", "config"} <= set(meta):
        raise UsageError(f"{display_path(stored.path)}: run.json does not say what was run")
    if not stored.tally.finished:
        raise UsageError(f"{display_path(stored.path)}: no answer to grade")
    if data_dir is None and (changed := meta.get("changed", {}).get("data")):
        data_dir = Path(changed[1])
    task = _task(stored, options)
    if task.scorer.needs_judge and not options.judges:
        earlier = "".join(f"; earlier: {judge['model']}" for judge in config.get("judges") or [])
        example = option("judge", "http:gpt-4o")
        raise UsageError(f"{task.name} is graded by a judge: name one, such as {example}{earlier}")
    panel = JudgePanel(list(dict.fromkeys(options.judges))) if task.scorer.needs_judge else None
    run = Run(
        task,
        StoredModel(config),
        stored.path,
        repeats=config.get("repeats"),
        limit=config.get("limit"),
        ids=config.get("ids") or (),
        seed=config.get("seed", 0),
        data_dir=data_dir,
        judges=panel.config() if panel else None,
        judge_files=[model.file for model in panel.models] if panel else [],
        until_se=meta.get("plan", {}).get("until_se"),
    )
    return run, panel


class StoredModel(Model):
    """The model of a stored run, which at most counts tokens; its runner need not be there any more."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = {key: config[key] for key in ("model", "runner", "tokenizer") if key in config}
        try:
            super().__init__(config["model"], {}, config.get("tokenizer"))
            self.options = {key: value for key, value in config["runner"].items() if self.takes(key)}
        except UsageError:
            self.file, self._made = Path(self.kind), Runner

    def config(self) -> dict[str, Any]:
        """The contents of run.json."""
        return self._config

    def runner(self) -> Runner:
        """The runner for its tokenizer; one without, if it cannot be made from what run.json says."""
        with suppress(UsageError, RunnerError):
            return super().runner()
        return Runner()


def _task(stored: StoredRun, options: GraderOptions) -> Task:
    """The task with the settings of a run, and its scorer as the task's file has it now unless the run changed it."""
    meta = stored.meta
    name, path = meta["task"], meta.get("files", {}).get("task", "")
    if Path(path).is_file():
        name = path
    elif name not in plugins.available("tasks", "**/*.yaml"):
        where = display_path(stored.path)
        raise UsageError(f"{where}: the task's file {path} is gone, and no task is named '{name}'; put it into ./tasks")
    [task] = load_tasks([name], protocol=meta.get("protocol"))
    settings = dict(meta["config"].get("task", {}))
    keeps_scorer = "scorer" in meta.get("changed", {}) and not options.task_scorer
    file = task.source
    file.data = {key: value for key, value in file.data.items() if key in DESCRIPTIVE or key in settings}
    current = msgspec.to_builtins(task.definition)
    settings["dataset"] = {**file.data.get("dataset", {}), **settings.get("dataset", {})}
    scorer = settings.pop("scorer", None) if keeps_scorer else current["scorer"]
    file.data |= {key: value for key, value in settings.items() if key != "scorer" and value != current.get(key)}
    if keeps_scorer:
        _set_scorer(file, scorer, display_path(stored.path / run_json.NAME))
    if options.scorer is not None:
        _set_scorer(file, _scorer_name(options.scorer, task), f"--scorer {options.scorer}")
    for text in options.overrides:
        key, _, value = text.partition("=")
        if key == "scorer":
            _set_scorer(file, None, f"--set {text}")
        apply_override(file, tuple(key.split(".")), parse_value(value), text)
    return Task(task.name, task.path, file)


def _set_scorer(file: YamlFile, scorer: Any, place: str) -> None:
    """Replace the scorer; errors name the place in which it was chosen."""
    file.data = {**file.data, "scorer": scorer}
    file.lines = {key: line for key, line in file.lines.items() if key[:1] != ("scorer",)}
    file.lines["scorer",] = (Path(place), 0)


def _scorer_name(name: str, task: Task) -> str:
    """A scorer's name; of a file as the task itself names it, from the task's folder, or in full if it is elsewhere.

    So it is found again from another working directory, and a folder that holds both may move.
    """
    path = expand_user(name)
    if not is_path(name) or not path.is_file():
        return name
    path, folder = path.resolve(), task.path.parent.resolve()
    with suppress(UsageError):
        if path == task.scorer_file.resolve():
            return scorer_parts(task.definition.scorer)[0]
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)
