"""`--until-se`: the number of answers per sample that brings the sampling error to a target, chosen without bias.

Answers reduce one part of a score's error: that of sampling answers to these very samples. How many are needed depends
on how much they vary, which only answers can tell. A sample that gets more answers because its first ones varied, and
whose first ones count as well, moves the score: by a point or two where every sample is right nine times in ten. So
the samples are split at random into two halves, and the first answers of each half decide how many all samples of the
*other* half get (two stages as in Stein 1945; crossed over so that no answer decides on the mean it is part of, as in
the cross-fitting of Chernozhukov et al. 2018). Each mean then has a number of answers that its own answers have not
influenced, and the score is what it would be without, in expectation.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence

from m1eval.store.tally import SampleTotals

MAX_FACTOR = 16
"""Maximum number of answers to a sample, as a multiple of the task's repeats."""
MIN_PILOT = 2
"""Minimum number of first answers to each sample, from which the variance is estimated."""
CONFIDENCE_QUANTILE = 0.8416
"""Normal quantile of 0.8: chance leaves the number of answers large enough in four of five runs."""


def pilot(repeats: int) -> int:
    """Number of first answers to each sample of a task with this many repeats."""
    return max(MIN_PILOT, repeats)


def allocate(first: Mapping[str, SampleTotals], target: float, repeats: int) -> dict[str, int]:
    """The number of answers to each sample for a standard error of `target` over these samples.

    `first`: totals of the first answers, equally many for every sample. The result is at least these and at most
    MAX_FACTOR times the task's repeats. A single sample cannot be decided upon without bias and keeps its first ones.
    """
    pilot_answers = pilot(repeats)
    if len(first) < 2:
        return dict.fromkeys(first, pilot_answers)
    halves = split(first)
    sizes = Counter(sums.group for sums in first.values())
    # The score weighs a sample by the size of its group, and its error by the square of that.
    weights = {name: (1 / len(sizes) / sizes[sums.group]) ** 2 for name, sums in first.items()}
    allocation: dict[str, int] = {}
    for half, other_half in (halves, halves[::-1]):
        variance = likely_variance([first[name] for name in other_half], [weights[name] for name in other_half])
        needed = math.ceil(variance * math.fsum(weights.values()) / target**2 - 1e-9)
        allocation |= dict.fromkeys(half, min(max(pilot_answers, needed), max(pilot_answers, MAX_FACTOR * repeats)))
    return allocation


def split(first: Mapping[str, SampleTotals]) -> tuple[list[str], list[str]]:
    """Two halves of the samples of each group, the same in every run, whatever the order."""

    def place(name: str) -> tuple[str, bytes]:
        return first[name].group, hashlib.sha256(name.encode("utf-8", "replace")).digest()

    ordered = sorted(first, key=place)
    return ordered[::2], ordered[1::2]


def likely_variance(samples: Sequence[SampleTotals], weights: Sequence[float]) -> float:
    """An upper limit for the mean variance of an answer in the other half, exceeded in one of five runs.

    `weights`: the weight of each sample in that mean.

    One more degree of freedom counts for the largest possible variance, as in the intervals, so that a few answers that
    agree do not prove that all would.
    """
    total = math.fsum(weights)
    shares = [weight / total for weight in weights]
    n = 1 / math.fsum(share * share for share in shares)  # as many samples of equal weight would say as much
    freedom = n * math.fsum(share * (each.n - 1) for share, each in zip(shares, samples, strict=True))
    mean = math.fsum(share * each.total / each.n for share, each in zip(shares, samples, strict=True))
    mean = (mean * n + 0.5) / (n + 1)
    variances = [each.variance for each in samples]
    mean_variance = math.fsum(share * variance for share, variance in zip(shares, variances, strict=True))
    pooled = (mean_variance * freedom + mean * (1 - mean)) / (freedom + 1)
    spread = math.fsum(share * (variance - pooled) ** 2 for share, variance in zip(shares, variances, strict=True))
    # Twice, as the variances of the other half differ from their mean as these do.
    return pooled + CONFIDENCE_QUANTILE * math.sqrt(2 * spread / n)
