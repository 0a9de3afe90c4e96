"""Two runs of one task side by side: settings that differ, the paired difference, and which samples flipped."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Struct

from m1eval import stats
from m1eval.analysis.pairing import DATA, Match, RunScores, SampleAnswers, match, read_scores
from m1eval.errors import UsageError
from m1eval.option_names import option
from m1eval.store.config import flatten, format_setting, scorer_parts, with_current_names
from m1eval.store.folders import find_runs, missing_file
from m1eval.store.stored import StoredRun
from m1eval.store.tally import mean_over_groups
from m1eval.text import display_path

HIDDEN_SETTINGS = ("model", "digests", "task.title", "repeats", "limit", "ids")
"""Settings that are shown elsewhere in a comparison, or whose difference does not matter."""
LEVEL = 0.05
"""Significance level of the one-sided tests of a gate."""
Gate = Literal["not worse", "worse", "inconclusive"]


class Effect(Struct, kw_only=True):
    """Uncertainty of a difference, over problems or with the problems fixed; interval and p come from the same test."""

    stderr: float | None
    interval: tuple[float, float]
    """95%, inside [-1, 1]."""
    p: float
    """Two-sided, of no difference in the mean."""
    p_adjusted: float | None = None
    """For the number of comparisons (Benjamini-Hochberg), where there are several."""
    minimum_detectable: float | None
    """The smallest true difference that is found at 5% four times in five; None if not even the largest is."""
    limits: tuple[float, float]
    """One-sided 95% limits, below and above."""


class Comparison(Effect, kw_only=True):
    """The comparison of one task in two runs, over the problems that both have scored; B minus A.

    Its own interval and p are over problems.
    """

    task: str
    a: str
    b: str
    config: dict[str, tuple[Any, Any]]
    samples: int
    repeats: tuple[int, int]
    """The most scored answers that a sample has on either side."""
    repeats_least: tuple[int, int]
    left_out: int
    """Samples that only one side has scored."""
    other_prompts: int
    """Paired samples whose prompts differ although they are the same problem."""
    clusters: int
    """Texts that the samples are about, one that shares none counted by itself; or values of `cluster`."""
    cluster: str | None = None
    """The column that makes the clusters, if one was named."""
    scores: tuple[float, float]
    difference: float
    these_problems: Effect
    tokens: tuple[float | None, float | None]
    truncated: tuple[float, float]
    errored: tuple[int, int]
    difference_errors_wrong: float | None = None
    """The difference over all samples if every errored answer were wrong; None if none errored."""
    difference_errors_right: float | None = None
    difference_bounds: tuple[float, float] | None = None
    """The least and the greatest that it can be, whatever the errored answers were."""
    margin: float | None = None
    """Non-inferiority margin: the maximum by which B may be worse."""
    gate: Gate | None = None
    """Whether B is worse by more than that, with these problems fixed."""
    both_right: int
    """Samples of which at least half of the answers are right on both sides."""
    both_wrong: int
    only_a: list[str]
    only_b: list[str]


class Skipped(Struct, kw_only=True):
    """A task of both folders that cannot be compared."""

    task: str
    a: str
    b: str
    reason: str


class ComparisonSet(NamedTuple):
    """The result of comparing folders."""

    pairs: list[Comparison]
    skipped: list[Skipped]


class _NothingShared(UsageError):
    """Two runs of a task have no problem that both have scored."""


def compare(
    sides: Sequence[Path | Sequence[StoredRun]], *, cluster: str | None = None, margin: float | None = None
) -> ComparisonSet:
    """Compare the first side with each of the others, task by task; tasks without a common scored problem are skipped.

    A side is a folder with one run or several, or the runs themselves.
    `cluster`: a column of the data whose values make clusters, in place of the texts that samples share. `margin`: how
    much worse B may be; decides `gate`. UsageError if two sides share no task, or no task can be compared.
    """
    first, *others = [_runs(side) for side in sides]
    compared: list[tuple[Comparison, stats.Estimate]] = []
    skipped: list[Skipped] = []
    for side, other in zip(sides[1:], others, strict=True):
        shared = [task for task in first if task in other]
        if not shared:
            a, b = f"{_name(sides[0])} has {_tasks(first)}", f"{_name(side)} has {_tasks(other)}"
            raise UsageError(f"{a}, {b}: no task in both")
        for task in shared:
            try:
                compared.append(_compare_task(task, *(read_scores(runs[task], cluster) for runs in (first, other))))
            except _NothingShared as error:
                skipped.append(Skipped(task=task, a=str(first[task].path), b=str(other[task].path), reason=str(error)))
    if not compared:
        raise UsageError("; ".join(each.reason for each in skipped))
    pairs = [pair for pair, _ in compared]
    for pair in pairs:
        pair.cluster = cluster
    if margin is not None:
        _apply_gate(compared, margin)
    if len(pairs) > 1:
        like_these = stats.benjamini_hochberg([pair.p for pair in pairs])
        these = stats.benjamini_hochberg([pair.these_problems.p for pair in pairs])
        for pair, *adjusted in zip(pairs, like_these, these, strict=True):
            pair.p_adjusted, pair.these_problems.p_adjusted = adjusted
    return ComparisonSet(pairs, skipped)


def _tasks(runs: Mapping[str, StoredRun]) -> str:
    return ", ".join(runs) or "no run"


def _name(side: Path | Sequence[StoredRun]) -> str:
    return display_path(side) if isinstance(side, Path) else "one of the results"


def _runs(side: Path | Sequence[StoredRun]) -> dict[str, StoredRun]:
    """The runs of a side by task: those given, that of a folder, or those in the folders below it."""
    if isinstance(side, Path) and not os.path.isdir(side):  # noqa: PTH112 - False also for what cannot be a name
        raise UsageError(f"no folder {display_path(side)}; name a run, such as results/aime24/mymodel")
    runs: dict[str, StoredRun] = {}
    for run in map(StoredRun.open, find_runs(side)) if isinstance(side, Path) else side:
        if run.task in runs:
            paths = f"{display_path(runs[run.task].path)} and {display_path(run.path)}"
            raise UsageError(f"{_name(side)} holds two runs of {run.task}: {paths}; name one of them")
        runs[run.task] = run
    if not runs:
        note = missing_file(side) if isinstance(side, Path) else ""
        raise UsageError(f"{_name(side)} holds no run{note}")
    return runs


def _compare_task(task: str, a: RunScores, b: RunScores) -> tuple[Comparison, stats.Estimate]:
    """The comparison, and the estimate of the difference on these problems."""
    matched = list(match(a, b))
    both = [each for each in matched if each.one.values and each.other.values]
    if not both:
        raise _NothingShared(_nothing_shared(task, a, b, matched))
    like, these = _estimates(both)
    right = [(each.name, each.one.mean >= 0.5, each.other.mean >= 0.5) for each in both]
    counts = [len(each.one.values) for each in both], [len(each.other.values) for each in both]
    errored = a.outcomes["errored"] + b.outcomes["errored"]
    scored = sum(bool(answers.values) for side in (a, b) for answers in side.samples.values())
    pair = Comparison(
        task=task,
        a=str(a.path),
        b=str(b.path),
        config=_differing_settings(a.config, b.config),
        samples=len(both),
        repeats=(max(counts[0]), max(counts[1])),
        repeats_least=(min(counts[0]), min(counts[1])),
        left_out=scored - 2 * len(both),
        other_prompts=sum(each.other_prompt for each in both),
        clusters=len({each.one.cluster or f"\0{each.name}" for each in both}),
        scores=(
            mean_over_groups((each.one.mean, each.group) for each in both),
            mean_over_groups((each.other.mean, each.group) for each in both),
        ),
        difference=like.value,
        **msgspec.structs.asdict(_effect(like)),
        these_problems=_effect(these),
        tokens=(a.tokens, b.tokens),
        truncated=(a.truncated, b.truncated),
        errored=(a.outcomes["errored"], b.outcomes["errored"]),
        difference_errors_wrong=_with_errors(matched, 0.0, 0.0) if errored else None,
        difference_errors_right=_with_errors(matched, 1.0, 1.0) if errored else None,
        difference_bounds=(_with_errors(matched, 1.0, 0.0), _with_errors(matched, 0.0, 1.0)) if errored else None,
        both_right=sum(one and other for _, one, other in right),
        both_wrong=sum(not one and not other for _, one, other in right),
        only_a=[name for name, one, other in right if one and not other],
        only_b=[name for name, one, other in right if other and not one],
    )
    return pair, these


def _estimates(both: Sequence[Match]) -> tuple[stats.Estimate, stats.Estimate]:
    """The difference for problems like these, and for these problems."""
    groups: dict[str, list[stats.Unit]] = {}
    for each in both:
        groups.setdefault(each.group, []).append(_difference(each.one, each.other))
    return stats.both_targets(list(groups.values()), -1.0, 1.0)


def _difference(one: SampleAnswers, other: SampleAnswers) -> stats.Unit:
    """One problem's difference, with its noise where both sides have several answers."""
    a, b = stats.Unit.of(one.values), stats.Unit.of(other.values)
    if a.noise is None or b.noise is None:
        return stats.Unit(b.value - a.value, cluster=one.cluster)
    freedom = stats.satterthwaite([(1 / side.answers, side.freedom) for side in (a, b)])
    return stats.Unit(b.value - a.value, a.noise + b.noise, min(a.answers, b.answers), freedom, one.cluster)


def _effect(estimate: stats.Estimate) -> Effect:
    return Effect(
        stderr=estimate.stderr,
        interval=estimate.interval(),
        p=estimate.p(),
        minimum_detectable=estimate.detectable(),
        limits=estimate.interval(1 - 2 * LEVEL),
    )


def _apply_gate(compared: Sequence[tuple[Comparison, stats.Estimate]], margin: float) -> None:
    """Set the gate of each pair.

    "worse" if a one-sided test at 5% shows it by more than the margin, corrected for the number of pairs (Holm 1979),
    so that at most one gate in twenty fails where nothing is worse; "not worse" if a test of its own shows that.
    """
    worse = stats.holm([estimate.p_less(-margin) for _, estimate in compared])
    for (pair, estimate), p in zip(compared, worse, strict=True):
        pair.margin = margin
        if p < LEVEL:
            pair.gate = "worse"
        else:
            pair.gate = "not worse" if estimate.p_greater(-margin) < LEVEL else "inconclusive"


def _with_errors(matched: Sequence[Match], in_a: float, in_b: float) -> float:
    """The difference over all problems of both runs, the errored answers having these scores."""
    return mean_over_groups(
        (
            each.other.mean_with_errors(in_b) - each.one.mean_with_errors(in_a),
            each.group if each.one.values or each.other.values else each.group or None,
        )
        for each in matched
    )


def _nothing_shared(task: str, a: RunScores, b: RunScores, matched: Sequence[Match]) -> str:
    where = f"{display_path(a.path)} and {display_path(b.path)}"
    if matched:
        return f"{where} have no problem of {task} that both have scored"
    if not a.samples.keys() & b.samples.keys():
        return f"{where} have no sample of {task} in common"
    differing = [
        f"{key.removeprefix('task.')} {format_setting(one)} and {format_setting(other)}"
        for key, (one, other) in _differing_settings(a.config, b.config).items()
        if f"task.{key}".startswith(DATA) or key.startswith(DATA)
    ]
    why = f" ({'; '.join(differing)})" if differing else ""
    remedy = f"run both with the same data and {option('seed')}"
    return f"{where} asked other problems of {task} under the same ids{why}; {remedy}"


def _scorer_name(config: Mapping[str, Any]) -> str:
    return scorer_parts(config.get("task", {}).get("scorer"))[0]


def _differing_settings(one: dict[str, Any], other: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The settings that differ."""
    one = with_current_names(one, other)
    other = with_current_names(other, one)
    ours, theirs = dict(flatten(one)), dict(flatten(other))
    keys = [key for key in dict.fromkeys([*ours, *theirs]) if not key.startswith(HIDDEN_SETTINGS)]
    pairs = {key.removeprefix("task."): (ours.get(key), theirs.get(key)) for key in keys}
    files = [key for key in ours.keys() & theirs.keys() if key.startswith("digests.") and ours[key] != theirs[key]]
    if _scorer_name(one) != _scorer_name(other):  # another one has another file, of course
        files = [key for key in files if not f"{key} ".startswith("digests.scorer ")]
    pairs |= {f"{key.removeprefix('digests.')} file": ("one version", "another") for key in sorted(files)}
    return {key: pair for key, pair in pairs.items() if json.dumps(pair[0]) != json.dumps(pair[1])}
