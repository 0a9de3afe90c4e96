"""Two runs of one task side by side: what was set differently, the paired difference, and which samples flipped."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from m1eval import metadata, stats
from m1eval.errors import UsageError
from m1eval.journal import Record, records
from m1eval.run import flat
from m1eval.source import show

QUIET = ("model", "digests", "task.title", "repeats", "limit", "ids")
"""Settings that stand elsewhere in a comparison, or of which the difference says nothing."""


class Side(NamedTuple):
    """One run as far as it is compared."""

    path: Path
    meta: Mapping[str, Any]
    values: dict[str, list[float]]
    """Values of each sample's scored repeats."""
    outcomes: Counter[str]
    tokens: float
    """New tokens of an answer, in the mean."""

    def mean(self, sample: str) -> float:
        """Of a sample's repeats."""
        return math.fsum(self.values[sample]) / len(self.values[sample])

    @property
    def truncated(self) -> float:
        """The share of scored answers that hit the token limit."""
        scored = self.outcomes.total() - self.outcomes["errored"]
        return self.outcomes["truncated"] / scored if scored else 0.0


class Pair(msgspec.Struct, kw_only=True):
    """The comparison of one task in two runs, over the samples that both have scored; B less A."""

    task: str
    a: str
    b: str
    config: dict[str, tuple[Any, Any]]
    samples: int
    repeats: tuple[int, int]
    """The most repeats that a sample has on either side."""
    left_out: int
    """Samples that only one side has scored."""
    scores: tuple[float, float]
    difference: float
    stderr: float | None
    interval: tuple[float, float] | None
    """95% of the difference, by bootstrap of the samples."""
    p: float
    """Two-sided, by sign flips of the samples' differences: McNemar's exact test for single answers."""
    p_adjusted: float | None = None
    """For the number of comparisons (Benjamini-Hochberg), where there are several."""
    samples_needed: int | None
    """To see a difference of this size four times in five."""
    tokens: tuple[float, float]
    truncated: tuple[float, float]
    errored: tuple[int, int]
    both_right: int
    both_wrong: int
    only_a: list[str]
    only_b: list[str]


def compare(folders: Sequence[Path]) -> list[Pair]:
    """The first folder against each other one, task by task; UsageError if they share no task or no sample."""
    first, *others = [_runs(folder) for folder in folders]
    pairs = []
    for folder, other in zip(folders[1:], others, strict=True):
        shared = [task for task in first if task in other]
        if not shared:
            raise UsageError(
                f"{show(folders[0])} has {_tasks(first)}, {show(folder)} has {_tasks(other)}: no task in both"
            )
        pairs += [_pair(task, _side(first[task]), _side(other[task])) for task in shared]
    if len(pairs) > 1:
        for pair, adjusted in zip(pairs, stats.benjamini_hochberg([pair.p for pair in pairs]), strict=True):
            pair.p_adjusted = adjusted
    return pairs


def _tasks(runs: Mapping[str, Path]) -> str:
    return ", ".join(runs) or "no run"


def _runs(folder: Path) -> dict[str, Path]:
    """The run of a folder, or the runs in the folders below it, by task."""
    if not folder.is_dir():
        raise UsageError(f"no folder {folder}; name a run, such as results/aime24/mymodel")
    found: dict[str, Path] = {}
    for file in sorted([folder / "run.json"] if (folder / "run.json").is_file() else folder.glob("**/run.json")):
        if not (file.parent / "samples.jsonl").is_file():
            continue
        task = str(metadata.read(file).get("task"))
        if task in found:
            raise UsageError(f"{show(folder)} holds two runs of {task}: {show(found[task])} and {show(file.parent)}")
        found[task] = file.parent
    if not found:
        raise UsageError(f"{show(folder)} holds no run")
    return found


def _side(path: Path) -> Side:
    values: dict[str, dict[int, float]] = {}
    outcomes: Counter[str] = Counter()
    tokens = number = 0
    for record in _last(path / "samples.jsonl"):
        outcomes[record.outcome] += 1
        if record.outcome != "errored":
            tokens += record.usage.output
            number += 1
            values.setdefault(record.id, {})[record.repeat] = record.score
    each = {sample: list(repeats.values()) for sample, repeats in values.items()}
    return Side(path, metadata.read(path / "run.json"), each, outcomes, tokens / number if number else 0.0)


def _last(journal: Path) -> list[Record]:
    """One record of each (sample, repeat), without its texts: the first score stands, else the last error."""
    kept: dict[tuple[str, int], Record] = {}
    for record in records(journal):
        record.text = record.reasoning = ""
        key = (record.id, record.repeat)
        if key not in kept or kept[key].outcome == "errored":
            kept[key] = record
    return list(kept.values())


def _pair(task: str, a: Side, b: Side) -> Pair:
    both = [sample for sample in a.values if sample in b.values]
    if not both:
        raise UsageError(f"{show(a.path)} and {show(b.path)} have no scored sample of {task} in common")
    means = [(a.mean(sample), b.mean(sample)) for sample in both]
    differences = [other - one for one, other in means]
    mean = math.fsum(differences) / len(both)
    spread = None
    if len(both) > 1:
        spread = math.sqrt(math.fsum((d - mean) ** 2 for d in differences) / (len(both) - 1))
    right = [(one >= 0.5, other >= 0.5) for one, other in means]
    return Pair(
        task=task,
        a=str(a.path),
        b=str(b.path),
        config=_config(a.meta.get("config", {}), b.meta.get("config", {})),
        samples=len(both),
        repeats=(max(map(len, a.values.values())), max(map(len, b.values.values()))),
        left_out=len(a.values.keys() ^ b.values.keys()),
        scores=(math.fsum(one for one, _ in means) / len(both), math.fsum(other for _, other in means) / len(both)),
        difference=mean,
        stderr=spread / math.sqrt(len(both)) if spread is not None else None,
        interval=stats.bootstrap(differences) if spread is not None else None,
        p=stats.sign_flip(differences),
        samples_needed=stats.samples_needed(spread, mean) if spread and mean else None,
        tokens=(a.tokens, b.tokens),
        truncated=(a.truncated, b.truncated),
        errored=(a.outcomes["errored"], b.outcomes["errored"]),
        both_right=right.count((True, True)),
        both_wrong=right.count((False, False)),
        only_a=[sample for sample, pair in zip(both, right, strict=True) if pair == (True, False)],
        only_b=[sample for sample, pair in zip(both, right, strict=True) if pair == (False, True)],
    )


def _config(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The settings that differ."""
    ours, theirs = dict(flat(one)), dict(flat(other))
    keys = [key for key in dict.fromkeys([*ours, *theirs]) if not key.startswith(QUIET)]
    found = {key.removeprefix("task."): (ours.get(key), theirs.get(key)) for key in keys}
    files = [key for key in ours.keys() & theirs.keys() if key.startswith("digests.") and ours[key] != theirs[key]]
    found |= {f"{key.removeprefix('digests.')} file": ("one version", "another") for key in sorted(files)}
    return {key: pair for key, pair in found.items() if json.dumps(pair[0]) != json.dumps(pair[1])}
