"""One description of a run, from which every table, display, file and JSON document about it is made.

It follows from what run.json says and one pass over the journal, and is the same while a run goes on, at its end, and
for another process that reads the folder later.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from m1eval.store.journal_state import JournalState
from m1eval.store.tally import OUTCOMES, Tally
from m1eval.types import Usage


class Uncertainty(Struct, kw_only=True):
    """Uncertainty of a score, over problems or with the problems fixed."""

    stderr: float | None
    interval: tuple[float, float] | None
    """95%."""


class Adaptive(Struct, kw_only=True):
    """Precision of a run whose samples have unequal numbers of answers."""

    until_se: float | None
    """The requested error of sampling answers."""
    answer_stderr: float | None
    """The error of sampling answers; None for a single answer."""
    answers_least: int
    answers_most: int


class RunDescription(Struct, kw_only=True):
    """Identity, settings and results of a run; None where they are not known."""

    task: str
    model: str
    protocol: str
    samples: int
    """Samples with at least one scored answer."""
    samples_chosen: int
    samples_in_set: int
    clusters: int
    """Texts that the scored samples are about, a sample that shares none counted by itself."""
    skipped: int
    """Chosen samples that are left out, as their prompt is longer than the window."""
    repeats: int
    """The fewest scored answers of a sample that has one."""
    repeats_most: int
    repeats_asked: int
    answers: int
    """Scored (sample, repeat)s."""
    answers_wanted: int
    owed: int
    """(sample, repeat)s without a score; the same command asks them, errored ones again."""
    finished: bool
    """Whether all of them were asked, those that errored too."""
    unlike: list[str]
    """Columns of which the chosen samples have other shares than the set (`ids` if they were named): their score does
    not estimate that of the set."""
    partial: bool
    """Whether only a part of the set was chosen."""
    score: float | None
    """Mean over samples of the mean over their answers, in [0, 1]."""
    stderr: float | None
    """Standard error of the score over problems."""
    interval: tuple[float, float] | None
    """95% interval of the score over problems."""
    these_problems: Uncertainty | None
    """Uncertainty of the score with these problems fixed: only the answers vary."""
    score_bounds: tuple[float, float] | None
    """The score with every errored answer counted as wrong, and as right."""
    outcomes: dict[str, int]
    truncated_prompts: int
    """Prompts that lost their middle, as they were longer than the window."""
    errors: list[dict[str, Any]]
    """Reasons of errored answers: the most frequent ones, each with its count and a sample."""
    tokens: dict[str, int]
    """Tokens of all answers, errored ones too; a prompt that several answers of one request share counts once."""
    tokens_errored: dict[str, int]
    tokens_per_answer: float | None
    """New tokens, thinking and answer, of a scored answer in the mean."""
    cost: float | None
    """US dollars, so far as they are known."""
    cost_complete: bool
    """Whether the price of every answer is known."""
    seconds: float
    """Wall time of all commands that worked on the run."""
    request_seconds: float
    """Sum over its answers."""
    adaptive: Adaptive | None
    changed: dict[str, tuple[Any, Any]]
    """Keys that differ from the task's own: what the task has, and what this run had."""
    figures: dict[str, float | None]
    """Metrics of the whole run: the scorer's, pass@k and the like; known at the end."""
    figure_intervals: dict[str, dict[str, Any]]
    """For each metric over several answers: interval, samples, samples left out, bounds."""
    notes: list[str] = field(default_factory=list)
    path: str

    @property
    def population(self) -> int:
        """The problems that the score estimates that of: the set, or the scored ones where they do not stand for it."""
        whole = not self.unlike and (self.finished or self.samples >= self.samples_chosen - self.skipped)
        return max(self.samples_in_set - self.skipped, self.samples) if whole else self.samples

    def built(self) -> dict[str, Any]:
        """Plain data, as `--json` and run.json have it."""
        data: dict[str, Any] = msgspec.to_builtins(self)
        data["score_with_errors"] = data["score_bounds"][0] if data["score_bounds"] else None
        for name in ("errors", "adaptive"):
            if not data[name]:
                del data[name]
        return data


def describe(meta: Mapping[str, Any], state: JournalState, folder: Path) -> RunDescription:
    """The description that follows from run.json and what the journal says is done."""
    tally, config, summary = state.tally, meta.get("config", {}), meta.get("summary") or {}
    errored = state.errored()
    plan = _plan(meta, tally, errored)
    min_answers, max_answers = tally.answers
    like_these = tally.problems_like_these
    errors = tally.outcomes["errored"]
    errored_usage = state.errored_usage()
    planned = max(plan["answers"], tally.scored + errors)
    scored_tokens = tally.usage.output - errored_usage.output
    cost, complete = _cost(state)
    description = RunDescription(
        task=str(meta.get("task", "")),
        model=str(meta.get("model", "")),
        protocol=str(meta.get("protocol", "default")),
        samples=tally.samples,
        samples_chosen=plan["samples"],
        samples_in_set=plan["in_set"],
        clusters=tally.clusters,
        skipped=plan["skipped"],
        repeats=min_answers,
        repeats_most=max_answers,
        repeats_asked=plan["repeats"],
        answers=tally.scored,
        answers_wanted=planned,
        owed=planned - tally.scored,
        finished=tally.scored + errors >= planned and not plan["wants_more"],
        unlike=plan["unlike"],
        partial=plan["samples"] < plan["in_set"],
        score=tally.score,
        stderr=like_these.stderr if like_these else None,
        interval=like_these.interval() if like_these else None,
        these_problems=None,
        score_bounds=tally.bounds,
        outcomes={outcome: tally.outcomes[outcome] for outcome in OUTCOMES},
        truncated_prompts=plan["truncated_prompts"],
        errors=state.reasons.built(),
        tokens=_tokens(tally.usage),
        tokens_errored=_tokens(errored_usage),
        tokens_per_answer=scored_tokens / tally.scored if tally.scored else None,
        cost=cost,
        cost_complete=complete,
        seconds=float(meta.get("seconds", 0.0)),
        request_seconds=tally.seconds,
        adaptive=_adaptive(tally, plan, config),
        changed=dict(meta.get("changed", {})),
        figures=dict(summary.get("figures", {})),
        figure_intervals=_mapping(summary.get("figure_intervals")),
        notes=list(summary.get("notes", ())),
        path=str(folder),
    )
    estimate = tally.these_problems(description.population)
    if estimate:
        description.these_problems = Uncertainty(stderr=estimate.stderr, interval=estimate.interval())
    return description


def _plan(meta: Mapping[str, Any], tally: Tally, errored: Counter[str]) -> dict[str, Any]:
    """Planned counts; for a run.json without them, the finished ones."""
    num_samples = len(tally.counts.keys() | errored.keys())
    repeats = int(meta.get("config", {}).get("repeats") or 1)
    defaults: dict[str, Any] = {
        "samples": num_samples,
        "in_set": num_samples,
        "skipped": 0,
        "repeats": repeats,
        "truncated_prompts": 0,
    }
    defaults |= {"answers": num_samples * repeats, "wants_more": False, "until_se": None, "unlike": []}
    plan = defaults | dict(meta.get("plan", {}))
    plan["samples"] = max(plan["samples"], num_samples)
    plan["in_set"] = max(plan["in_set"], plan["samples"])
    return plan


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _tokens(usage: Usage) -> dict[str, int]:
    return {"prompt": usage.sent, "cached": usage.cached, "reasoning": usage.reasoning, "answer": usage.answer}


def _cost(state: JournalState) -> tuple[float | None, bool]:
    """Dollars, and whether they are all."""
    return (round(state.cost, 6), not state.unpriced) if state.priced else (None, False)


def _adaptive(tally: Tally, plan: Mapping[str, Any], config: Mapping[str, Any]) -> Adaptive | None:
    min_answers, max_answers = tally.answers
    if not max_answers or (not plan["until_se"] and max_answers <= int(config.get("repeats") or 1)):
        return None
    estimate = tally.these_problems()
    return Adaptive(
        until_se=plan["until_se"],
        answer_stderr=estimate.stderr if estimate else None,
        answers_least=min_answers,
        answers_most=max_answers,
    )
