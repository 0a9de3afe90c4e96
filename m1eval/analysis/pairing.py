"""Pairing of samples: the problems that two runs have in common, with the answers of both.

Samples are paired by what was asked: the digest of prompt and target that every record carries. Where only the prompt
was changed on purpose (its template, the system message, a protocol), the same row of the same data is the same
problem.
"""

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import Struct, field

from m1eval.errors import UsageError
from m1eval.option_names import option
from m1eval.store.config import flatten
from m1eval.store.record import Record
from m1eval.store.stored import StoredRun
from m1eval.text import display_path

DATA = ("seed", "task.dataset", "task.options", "data_dir")
"""Settings that decide which problems a task has; the same ids are the same problems only if these are equal."""


class SampleAnswers(Struct):
    """The answers of one run to one sample."""

    values: list[float] = field(default_factory=list)
    errored: int = 0
    target: str = ""
    digests: set[str] = field(default_factory=set)
    cluster: str = ""
    group: str = ""

    @property
    def mean(self) -> float:
        """Mean of the scored answers."""
        return math.fsum(self.values) / len(self.values)

    def mean_with_errors(self, value: float) -> float:
        """The mean if the errored answers had this score."""
        return (math.fsum(self.values) + value * self.errored) / (len(self.values) + self.errored)


class RunScores(Struct):
    """The answers of a run by sample, and their totals."""

    path: Path
    config: dict[str, Any]
    samples: dict[str, SampleAnswers] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    tokens: float | None = None
    """Mean new tokens of a scored answer."""

    @property
    def truncated(self) -> float:
        """The share of scored answers that hit the token limit."""
        scored = self.outcomes.total() - self.outcomes["errored"]
        return self.outcomes["truncated"] / scored if scored else 0.0


def read_scores(run: StoredRun, cluster: str | None) -> RunScores:
    """The answers of a run by sample; `cluster`: a column in place of the texts that samples share."""
    scores = RunScores(run.path, run.config)
    tokens = 0
    for record in run.records():
        scores.outcomes[record.outcome] += 1
        answers = scores.samples.setdefault(record.id, SampleAnswers())
        answers.target, answers.group = record.target or answers.target, record.group or answers.group
        value = record.cluster if cluster is None else _column(record, cluster, run.path)
        answers.cluster = value or answers.cluster
        if record.digest:
            answers.digests.add(record.digest)
        if record.outcome == "errored":
            answers.errored += 1
        else:
            answers.values.append(record.score)
            tokens += record.usage.output
    scored = scores.outcomes.total() - scores.outcomes["errored"]
    scores.tokens = tokens / scored if scored else None
    return scores


def _column(record: Record, name: str, path: Path) -> str:
    if name not in record.metadata:
        if record.outcome == "errored":
            return ""
        columns = ", ".join(record.metadata) or "none"
        raise UsageError(
            f"{option('cluster', name)}: {display_path(path)}: sample {record.id} has no such column; it has {columns}"
        )
    return f"{name}={record.metadata[name]}"


class Match(NamedTuple):
    """One problem in both runs."""

    name: str
    """Sample id in run A."""
    one: SampleAnswers
    other: SampleAnswers
    other_prompt: bool = False

    @property
    def group(self) -> str:
        """The group that it is averaged in; a sample that could not be built has none."""
        return self.one.group or self.other.group


def match(a: RunScores, b: RunScores) -> Iterator[Match]:
    """The samples of both runs that are the same problem."""
    ours, theirs = dict(flatten(a.config)), dict(flatten(b.config))
    keys = [key for key in ours.keys() | theirs.keys() if key.startswith(DATA)]
    same_data = all(ours.get(key) == theirs.get(key) for key in keys)
    unmatched = dict(b.samples)
    rest = []
    for name, one in a.samples.items():
        other = b.samples.get(name)
        if other and one.digests & other.digests:
            yield Match(name, one, unmatched.pop(name))
        elif other and one.target == other.target and (same_data or not (one.digests and other.digests)):
            yield Match(name, one, unmatched.pop(name), bool(one.digests and other.digests))
        else:
            rest.append((name, one))
    # The same question may occur in the data more than once: each sample belongs to one pair.
    by_digest: dict[str, list[str]] = {}
    for name, other in unmatched.items():
        for digest in other.digests:
            by_digest.setdefault(digest, []).append(name)
    for name, one in rest:
        same = (each for digest in sorted(one.digests) for each in by_digest.get(digest, ()) if each in unmatched)
        if (name_in_b := next(same, None)) is not None:
            yield Match(name, one, unmatched.pop(name_in_b))
