"""A score against the published figures: the difference, whether it could be chance, and what was set differently."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from m1eval import baselines
from m1eval.run import Run
from m1eval.stats import benjamini_hochberg, student_tail

SETTINGS = ("temperature", "top_p", "top_k", "min_p", "max_tokens")


class Against(NamedTuple):
    """One score beside one published figure."""

    task: str
    model: str
    published: float
    """In [0, 1]."""
    difference: float
    inside: bool
    """Whether the figure lies in the score's 95% interval."""
    interval: tuple[float, float]
    p: float
    """Two-sided, of the score's own error; the published figure's is not known."""
    differing: list[str]


def against(runs: Sequence[Run], models: Sequence[str]) -> list[Against]:
    """Every run with a score, an interval and figures on the same data, beside the models asked for and its own."""
    return [each for run in runs for each in _run(run, models)]


def lines(found: Sequence[Against], names: dict[str, str]) -> list[str]:
    """One line each; p values are adjusted for their number (Benjamini-Hochberg)."""
    adjusted = benjamini_hochberg([each.p for each in found])
    several = f", adjusted for {len(found)} comparisons" if len(found) > 1 else ""
    return [
        f"{each.task}: {names.get(each.model, each.model)} {each.published:.3f}, here {each.difference:+.3f}: "
        f"{'inside' if each.inside else 'outside'} the 95% interval {each.interval[0]:.3f} … {each.interval[1]:.3f} "
        f"(p {_p(p)}{several})" + (f"; differs in {', '.join(each.differing)}" if each.differing else "")
        for each, p in zip(found, adjusted, strict=True)
    ]


def _run(run: Run, models: Sequence[str]) -> list[Against]:
    tally = run.tally
    if not run.task.baselines or not run.task.baselines[1] or tally.score is None:
        return []
    interval = tally.interval
    if interval is None:
        return []
    published = baselines.read(run.task.baselines[0])
    wanted = [*models, *_same_model(run.model.name, published)]
    found = []
    for figure in published.figures:
        if figure.model in wanted:
            value = figure.score / 100
            error = tally.stderr or 0.0
            p = (
                student_tail((tally.score - value) / error, tally.samples - 1)
                if error
                else 0.0 + (value == tally.score)
            )
            inside = interval[0] <= value <= interval[1]
            how = differing(run, figure.protocol)
            gap = tally.score - value
            found.append(Against(run.task.name, figure.model, value, gap, inside, interval, p, how))
    return found


def differing(run: Run, protocol: baselines.Protocol) -> list[str]:
    """What this run does otherwise than the protocol of a figure, as far as that is stated."""
    generation = run.task.definition.generation
    pairs: list[tuple[str, Any, Any]] = [("repeats", run.repeats, protocol.repeats)]
    pairs += [(name, getattr(generation, name), getattr(protocol, name)) for name in SETTINGS]
    found = [
        f"{name} {_value(ours)} (there {_value(theirs)})" for name, ours, theirs in pairs if theirs not in (None, ours)
    ]
    if protocol.thinking and not _same_budget(run, protocol.thinking):
        think = run.task.definition.think
        found.append(f"thinking {'not capped' if think is None else f'{think:,}'} (there {protocol.thinking})")
    if run.partial:
        found.append(f"subset {tally_size(run)}")
    elif protocol.subset:
        found.append(f"subset (there {protocol.subset})")
    return found


def tally_size(run: Run) -> str:
    """How many samples of how many."""
    assert run.work is not None
    return f"{len(run.work.numbers)} of {len(run.work.samples)}"


def _same_budget(run: Run, stated: str) -> bool:
    """80K is met by a cap of 80,000 or 81,920, on thinking or, where there is none, on all new tokens."""
    budget = run.task.definition.think or run.task.definition.generation.max_tokens
    thousands = stated.upper().removesuffix("K")
    return bool(budget and thousands.isdigit() and budget in (int(thousands) * 1000, int(thousands) * 1024))


def _same_model(name: str, published: baselines.Baseline) -> list[str]:
    """The published figures of the very model that ran."""
    last = name.rstrip("/").rpartition("/")[2].lower()
    return [figure.model for figure in published.figures if last and figure.model.partition(":")[0] == last]


def _value(value: Any) -> str:
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _p(value: float) -> str:
    return f"= {value:.3f}" if value >= 0.001 else "< 0.001"
