"""How long a context a model can be trusted with: which lengths certainly reach a score, and which certainly miss it.

A length is reached if the lower end of a one-sided 95% interval of its score is at least the threshold, missed if the
upper end is below it, else undecided. The effective length is the largest one that is reached with every shorter one
(fixed sequence, Maurer et al. 1995), so that a length the model does not reach is named in at most 5% of runs, however
many lengths there are; each "not" is wrong in at most 5%.
"""

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from m1eval.analysis.by_length import Band, format_length
from m1eval.task.definition import EffectiveLengthRule

Standing = Literal["reached", "missed", "undecided"]
ONE_SIDED = 0.9
"""Confidence of the two-sided interval whose ends are one-sided 95% limits."""


class Effective(Struct, frozen=True):
    """What the lengths of a run say."""

    longest: int | None
    """Tokens; None if not even the shortest length is certainly reached."""
    standings: tuple[Standing, ...]
    """Of each length, the shortest first."""
    too_few: tuple[bool, ...]
    """Whether a length is undecided whatever its answers, as there are too few."""


def standing(band: Band, threshold: float) -> Standing:
    """Whether one length certainly reaches a score."""
    bounds = band.bounds(ONE_SIDED)
    if bounds is None:
        return "undecided"
    return "reached" if bounds[0] >= threshold else "missed" if bounds[1] < threshold else "undecided"


def effective(bands: Sequence[Band], threshold: float) -> Effective:
    """The effective length; `bands` from the shortest to the longest."""
    standings = tuple(standing(band, threshold) for band in bands)
    longest = None
    for band, how in zip(bands, standings, strict=True):
        if how != "reached":
            break
        longest = band.longest
    few = tuple(
        how == "undecided" and standing(band.perfect(), threshold) != "reached"
        for band, how in zip(bands, standings, strict=True)
    )
    return Effective(longest, standings, few)


def verdict(bands: Sequence[Band], rule: EffectiveLengthRule) -> str:
    """The effective length in a line, with the lengths that are missed and those that are not decided."""
    found = effective(bands, rule.threshold)
    named = f"score ≥ {rule.threshold:g}" + (f", the threshold of {rule.name}" if rule.name else "")
    labels: dict[str, list[str]] = {"reached": [], "missed": [], "undecided": []}
    for band, how in zip(bands, found.standings, strict=True):
        if how != "reached" or (found.longest is None or band.longest > found.longest):
            labels[how].append(band.label)
    if found.longest is not None:
        parts = [f"at least {format_length(found.longest)} ({named})"]
    elif found.standings and found.standings[0] == "missed":
        parts = [f"none ({named}), not even {format_length(bands[0].longest)}"]
        labels["missed"] = labels["missed"][1:]
    else:
        parts = [f"not known ({named})"]
    if labels["missed"]:
        parts.append(f"not {', '.join(labels['missed'])}")
    if labels["undecided"]:
        few = [band for band, is_few in zip(bands, found.too_few, strict=True) if is_few]
        why = f" ({_size(min(few, key=lambda band: band.samples))} is too few to tell)" if few else ""
        parts.append(f"undecided at {', '.join(labels['undecided'])}{why}")
    if labels["reached"]:
        parts.append(f"reached at {', '.join(labels['reached'])}, but not at every shorter length")
    return "effective context length: " + "; ".join(parts)


def _size(band: Band) -> str:
    texts = band.tally.clusters
    return f"n = {band.samples}" + (f" about {texts} texts" if 1 < texts < band.samples else "")


def caution(bands: Sequence[Band], rule: EffectiveLengthRule) -> str:
    """What is not as the rule has it; empty if all is."""
    most = max((len(band.parts) for band in bands), default=0)
    if not rule.subtasks or all(len(band.parts) == rule.subtasks for band in bands):
        return ""
    number = f"{most} of {rule.subtasks} subtasks" if most < rule.subtasks else "some of the subtasks at some lengths"
    return f"a mean of {number}, which is not {rule.name}'s rule" + (f"; {rule.without}" if rule.without else "")
