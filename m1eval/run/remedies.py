"""Advice where a command does not continue the run in its folder: commands that keep the answers, if there are any."""

import json
import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m1eval.errors import UsageError
from m1eval.option_names import option, stored_answers
from m1eval.store.config import EXTENDABLE, difference, grows, judge_specs, scorer_parts, with_grader_of
from m1eval.store.journal_state import JournalState
from m1eval.task.changes import changed_settings
from m1eval.task.task import Task
from m1eval.text import display_path, plural
from m1eval.yaml_file import YamlFile

if TYPE_CHECKING:
    from m1eval.run.run import Run


def remedy(
    run: "Run", earlier: dict[str, Any], config: dict[str, Any], ignored: Collection[str], state: JournalState
) -> str:
    """Advice for a command whose settings differ from those of the answers in the folder."""
    if not difference(with_grader_of(with_size_of(earlier, config), config), config, ignored):
        if smaller := [key for key in EXTENDABLE if not grows(key, earlier.get(key), config.get(key))]:
            return _keep_size(run.folder, {key: earlier.get(key) for key in smaller}, config)
        return _grade_again(run, earlier, config, ignored)
    return f"{option('out')} elsewhere, or {option('redo', True)}, which {_cost_of_redoing(state)}"


def with_size_of(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Settings with the choice of samples and the repeats of others."""
    return {**old, **{key: new.get(key) for key in EXTENDABLE}}


def _keep_size(folder: Path, sizes: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Advice for a command that wants less than the folder has, which has `sizes`."""
    options = []
    for key, value in sizes.items():
        shown = ",".join(value) if isinstance(value, list) else value
        options.append(f"with {option(key, shown)}" if value else f"without {option(key)}")
    show = stored_answers(display_path(folder), config.get("limit"))
    return (
        f"a run can grow, not shrink: continue it {' and '.join(options)}, see its answers with {show}, or "
        f"choose another folder with {option('out')}"
    )


def _grade_again(run: "Run", earlier: dict[str, Any], config: dict[str, Any], ignored: Collection[str]) -> str:
    """Advice for a command that grades otherwise, which need not ask the model again."""
    scorer, stored = config["task"]["scorer"], earlier.get("task", {}).get("scorer")
    name, options = scorer_parts(scorer)
    command = ["m1eval", "score", display_path(run.folder)]
    if "scorer" not in changed_settings(run.task, run.data_dir):
        command.append("--task-scorer")
    elif scorer != stored:
        command += ["--set", f"scorer={_json(scorer)}"] if options else ["--scorer", name]
    command += _judge_options(config)
    advice = f"to grade its answers like this, without asking again: {shlex.join(command)}"
    if settings := _stored_grader(run, earlier, config, ignored):
        advice += f"; to continue with its own grader, add: {' '.join(settings)}"
    return advice


def _stored_grader(run: "Run", earlier: dict[str, Any], config: dict[str, Any], ignored: Collection[str]) -> list[str]:
    """Options, as they are written, that continue the run as it was graded; empty if its scorer is not the same now."""
    task, stored = run.task, earlier.get("task", {}).get("scorer", "")
    file = YamlFile(task.source.path, {**task.source.data, "scorer": stored}, task.source.lines)
    try:
        settings = {**config, **Task(task.name, task.path, file).resolved(run.data_dir)}
    except UsageError:
        return []
    settings["judges"] = earlier.get("judges")
    if difference({**earlier, "judges": earlier.get("judges")}, settings, ignored):
        return []
    current = task.definition.scorer
    options = [] if current == stored else [option("set", f"scorer={_json(_override(current, stored))}")]
    judges = judge_specs(earlier) if earlier.get("judges") != config.get("judges") else []
    return options + [option("judge", spec) for spec in judges]


def _override(current: str | dict[str, Any], wanted: str | dict[str, Any]) -> str | dict[str, Any]:
    """The value of `--set scorer=` that turns one scorer into another: mappings are merged, null removes a key."""
    if isinstance(current, str) or isinstance(wanted, str):
        return wanted
    (old_name, old), (name, options) = scorer_parts(current), scorer_parts(wanted)
    if old_name != name:
        return {old_name: None, name: options}
    return {name: {**dict.fromkeys(old), **options}}


def _judge_options(config: Mapping[str, Any]) -> list[str]:
    """The judges of a configuration, as `--judge` names them."""
    return [part for spec in judge_specs(config) for part in ("--judge", spec)]


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cost_of_redoing(state: JournalState) -> str:
    """Text on the cost of generating the existing answers again."""
    tokens = state.tally.usage.total
    dollars = f", ${state.cost:.2f}" if state.cost else ""
    return f"asks again for {plural(state.tally.finished, 'answer')} ({plural(tokens, 'token')}{dollars} so far)"
