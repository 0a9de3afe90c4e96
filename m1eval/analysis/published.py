"""Comparison of a score with published scores: the difference, its significance, and the settings that differ."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from m1eval.analysis import baselines
from m1eval.stats import benjamini_hochberg
from m1eval.store.description import RunDescription
from m1eval.store.stored import StoredRun
from m1eval.store.tally import Tally

SETTINGS = ("temperature", "top_p", "top_k", "min_p", "max_tokens")
LABELS = {"messages": "prompt", "system": "system prompt", "think": "thinking budget", "data": "data"}
TEXTS = {"prompt", "messages", "system", "texts", "target", "tools"}
"""Keys whose values are too long to be shown."""


class BaselineComparison(Struct, kw_only=True):
    """One score next to one published score."""

    task: str
    model: str
    """The published one."""
    published: float
    """The published score, in [0, 1]."""
    same_data: bool
    """Whether the figure is on the same data; else it is of the same form alone, and no difference is taken."""
    score: float | None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    """95% of the difference."""
    target: str | None = None
    """Whether the interval holds for "these problems" or for "problems like these"."""
    p: float | None = None
    p_adjusted: float | None = None
    """For the number of comparisons of the command (Benjamini-Hochberg)."""
    repeats: int | None = None
    """Answers to each problem that the figure is the mean of; taken as one where it is not stated."""
    differs_in: list[str] = []


def compare(run: StoredRun, models: Sequence[str]) -> Iterator[BaselineComparison]:
    """A run next to the published scores of the models asked for, and of its own model."""
    if not run.meta.get("baselines"):
        return
    key, same = run.meta["baselines"]
    description = run.description
    published = baselines.read(key)
    shown = [*models, *_same_model(run.model, published)]
    for figure in published.figures:
        if figure.model not in shown:
            continue
        comparison = BaselineComparison(
            task=description.task,
            model=figure.model,
            published=figure.score / 100,
            same_data=same,
            score=description.score,
            repeats=figure.protocol.repeats,
        )
        if same and description.score is not None:
            comparison.differs_in = differing(description, run.meta, figure.protocol)
            if not description.unlike:
                _measure(comparison, description, run.tally, same_problems=_same_problems(description, figure.protocol))
        yield comparison


def adjust_p_values(comparisons: Sequence[BaselineComparison]) -> None:
    """Set the p values adjusted for the number of comparisons."""
    tested = [each for each in comparisons if each.p is not None]
    for each, p in zip(tested, benjamini_hochberg([each.p or 0.0 for each in tested]), strict=True):
        each.p_adjusted = p


def differing(description: RunDescription, meta: Mapping[str, Any], protocol: baselines.PublishedSettings) -> list[str]:
    """Differences of a run from the protocol of a figure, or from the task's file where that is not stated."""
    task = meta.get("config", {}).get("task", {})
    changed = {key: tuple(pair) for key, pair in description.changed.items()}
    differences = [f"protocol {description.protocol}"] if description.protocol != "default" else []
    if protocol.repeats is not None and {description.repeats, description.repeats_most} != {protocol.repeats}:
        differences.append(f"repeats {repeats(description)} (there {protocol.repeats})")
    refused = _refused_settings(meta)
    for name in SETTINGS:
        ours, theirs = task.get("generation", {}).get(name), getattr(protocol, name)
        was = changed.pop(f"generation.{name}", None)
        if name in refused:
            continue
        if theirs is not None and theirs != ours:
            differences.append(f"{name} {_value(ours)} (there {_value(theirs)})")
        elif theirs is None and was:
            differences.append(f"{name} {_value(ours)} (the task has {_value(was[0])}; there not stated)")
    think = changed.pop("think", None)
    budget = task.get("think")
    if protocol.thinking and not _same_budget(task, protocol.thinking):
        differences.append(f"thinking {'not capped' if budget is None else f'{budget:,}'} (there {protocol.thinking})")
    elif think and not protocol.thinking:
        differences.append(f"thinking budget {_value(budget)} (the task has {_value(think[0])}; there not stated)")
    differences += [*refused.values(), *_changes(changed)]
    shadowing = (line.partition(" is used in place of the built-in ") for line in meta.get("shadowing", ()))
    differences += [
        f"{path} in place of {built_in}" for path, _, built_in in shadowing if built_in.startswith(("tasks", "scorers"))
    ]
    if description.partial or description.samples < description.samples_chosen:
        differences.append(f"subset {description.samples} of {description.samples_in_set}")
    elif protocol.subset:
        differences.append(f"subset (there {protocol.subset})")
    return differences


def repeats(run: RunDescription) -> str:
    """Number of answers per sample: 4, or 2–9."""
    return str(run.repeats) if run.repeats == run.repeats_most else f"{run.repeats}–{run.repeats_most}"


def _same_problems(description: RunDescription, protocol: baselines.PublishedSettings) -> bool:
    """Whether the run asked the problems of the figure, or some of them: not others, nor more."""
    data = any(key.partition(".")[0] in ("dataset", "data", "options") for key in description.changed)
    return not data and not protocol.subset


def _measure(comparison: BaselineComparison, description: RunDescription, tally: Tally, *, same_problems: bool) -> None:
    """The difference with its interval and p, both from one estimate."""
    estimate = tally.against_published(
        comparison.published,
        repeats=comparison.repeats,
        population=description.population,
        same_problems=same_problems,
    )
    if estimate is None:
        return
    comparison.difference = estimate.value
    comparison.target = "these problems" if same_problems else "problems like these"
    comparison.p = estimate.p()
    comparison.interval = estimate.interval()


def _refused_settings(meta: Mapping[str, Any]) -> dict[str, str]:
    """Settings that the server does not take, by name."""
    parameters = (meta.get("runner") or {}).get("parameters")
    refused = {}
    for name, entry in parameters.items() if isinstance(parameters, Mapping) else ():
        action = entry.get("action") if isinstance(entry, Mapping) else None
        if action == "drop":
            refused[name] = f"{name} not sent (the server refuses it)"
        elif action == "cap":
            refused[name] = f"{name} {_value(entry.get('to'))} (the server's limit)"
        elif action == "move":
            refused[name] = "system prompt (sent in another role, as the server refuses it)"
    return refused


def _changes(changed: Mapping[str, Sequence[Any]]) -> list[str]:
    """Other keys that differ from the task's file."""
    changes = {}
    for key, (before, now) in changed.items():
        first = key.partition(".")[0]
        if first == "dataset":
            changes["data"] = f"data ({key.partition('.')[2]} {_value(now)}, the task has {_value(before)})"
        elif first == "data":
            changes["data"] = f"data (from {now}, the task has {_value(before)})"
        elif first in TEXTS:
            label = LABELS.get(first, first)
            changes[label] = f"{label} ({'added' if before is None else 'left out' if now is None else 'changed'})"
        else:
            name = key.removeprefix("options.").removeprefix("generation.")
            changes[name] = f"{LABELS.get(name, name)} {_value(now)} (the task has {_value(before)})"
    return list(changes.values())


def _same_budget(task: Mapping[str, Any], stated: str) -> bool:
    """80K is met by a cap of 80,000 or 81,920, on thinking or, where there is none, on all new tokens."""
    budget = task.get("think") or task.get("generation", {}).get("max_tokens")
    thousands = stated.upper().removesuffix("K")
    return bool(budget and thousands.isdigit() and budget in (int(thousands) * 1000, int(thousands) * 1024))


def _same_model(spec: str, published: baselines.Baseline) -> list[str]:
    """The published scores of the very model that ran."""
    last = spec.partition(":")[2].rstrip("/").rpartition("/")[2].lower()
    return [figure.model for figure in published.figures if last and figure.model.partition(":")[0] == last]


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
