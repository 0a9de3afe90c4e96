"""Effective context length of a model: the lengths that certainly reach a score, and those that certainly miss it.

A length is reached if the lower end of a one-sided 95% interval of its score is at least the threshold, missed if the
upper end is below it, else undecided. The effective length is the largest one that is reached with every shorter one
(fixed sequence, Maurer et al. 1995), so that a length the model does not reach is named in at most 5% of runs, however
many lengths there are; each "not" is wrong in at most 5%.
"""

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from m1eval.analysis.by_length import Band

Standing = Literal["reached", "missed", "undecided"]
ONE_SIDED = 0.9
"""Confidence of the two-sided interval whose ends are one-sided 95% limits."""


class Effective(Struct, frozen=True):
    """The effective length of a run, and what is known of each length."""

    longest: int | None
    """Tokens; None if not even the shortest length is certainly reached."""
    standings: tuple[Standing, ...]
    """One per length, the shortest first."""
    too_few: tuple[bool, ...]
    """Whether a length is undecided whatever its answers, as there are too few."""


def standing(band: Band, threshold: float) -> Standing:
    """Whether the score at one length is significantly above a threshold, below it, or neither."""
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
