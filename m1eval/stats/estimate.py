"""Means with their sampling error: one interval and one test for scores, differences, lengths and published scores.

A score has an error for each of two questions, and every figure says which one it answers:

* "these problems": how far would the score move if the same problems were answered again? Only the noise of sampling
  answers counts.
* "problems like these": how far would it move on other problems of the same kind? The choice of problems counts too,
  with problems that share a text as one cluster (Miller 2024, "Adding Error Bars to Evals").

Both are turned into an interval alike: the variance says how many yes-or-no values would be as uncertain (the effective
sample size of Korn and Graubard 1998, corrected for the degrees of freedom of the variance), and the interval is the
exact binomial one for that many, with the mid-P correction (Lancaster 1961). It stays inside the range, does not shrink
to a point where all values came out alike, and its p is 0.05 exactly at its ends.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from m1eval.stats.distributions import NORMAL, beta_cdf, student

PRIOR = 1.0
"""Degrees of freedom that count for a variance as large as the mean allows, so that few alike values prove nothing."""
LARGE = 100_000
"""Effective values beyond which the score test of a proportion (Wilson 1927) replaces the binomial law."""


class Interval(NamedTuple):
    """Two ends, both inside."""

    low: float
    high: float


class Unit(NamedTuple):
    """One problem: the mean of its answers, or the difference of two such means."""

    value: float
    noise: float | None = None
    """Variance of the value that comes from sampling answers; None for single answers, which cannot tell."""
    answers: float = 1
    """Answers that the value is the mean of."""
    freedom: float = 0
    """Degrees of freedom of `noise`."""
    cluster: str = ""
    """Problems of one cluster share a text; empty: a cluster of its own."""

    @classmethod
    def of(cls, values: Sequence[float], cluster: str = "") -> "Unit":
        """A problem by its answers."""
        n = len(values)
        mean = math.fsum(values) / n
        if n < 2:
            return cls(mean, cluster=cluster)
        return cls(mean, math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n, n, n - 1, cluster)


class Estimate(NamedTuple):
    """A mean of values between `low` and `high`, with the variance of that mean."""

    value: float
    variance: float
    units: float
    """Independent values at least: the variance cannot exceed that of this many yes-or-no values."""
    freedom: float
    """Degrees of freedom of the variance; 0 if nothing is known of it."""
    low: float = 0.0
    high: float = 1.0

    @property
    def stderr(self) -> float | None:
        """The standard error as it is usually given; None if a single value leaves it unknown."""
        return math.sqrt(self.variance) if self.freedom > 0 else None

    def interval(self, confidence: float = 0.95) -> Interval:
        """The values that a two-sided test at 1 - `confidence` does not reject."""
        n = self.effective()
        tail = (1 - confidence) / 2
        ends = self._solve(tail, n), self._solve(1 - tail, n)
        width = self.high - self.low
        return Interval(self.low + width * ends[0], self.low + width * ends[1])

    def p(self, null: float = 0.0) -> float:
        """The two-sided p of the hypothesis that the true mean is `null`; below 0.05 outside of `interval`."""
        above = self._above(self._share(null), self.effective())
        return min(1.0, 2 * min(above, 1 - above))

    def p_greater(self, null: float = 0.0) -> float:
        """The one-sided p of the hypothesis that the true mean is at most `null`; small if it is greater."""
        return self._above(self._share(null), self.effective())

    def p_less(self, null: float = 0.0) -> float:
        """The one-sided p of the hypothesis that the true mean is at least `null`; small if it is less."""
        return 1 - self.p_greater(null)

    def detectable(self, power: float = 0.8) -> float | None:
        """The smallest true distance from 0 that a test at 5% finds with this power; None if the range has none."""
        if self.freedom <= 0:
            return None
        reach = student(0.975, self.freedom) + NORMAL.inv_cdf(power)
        gap = reach * math.sqrt(self.share_of_largest() * max(self._spread(), -self.low * self.high) / self.units)
        return gap if gap < max(-self.low, self.high) else None

    def effective(self) -> float:
        """Yes-or-no values of the same mean that would be as uncertain.

        Corrected for the degrees of freedom at 95%, for other levels and for one side too, so that no two tests of one
        estimate contradict.
        """
        if self.freedom <= 0:
            return self.units
        normal, t = NORMAL.inv_cdf(0.975), student(0.975, self.freedom)
        return max(self.units, self.units / self.share_of_largest() * (normal / t) ** 2)

    def smoothed(self) -> float:
        """The variance with one more degree of freedom for the largest possible one, which is never 0."""
        return (self.variance * self.units * self.freedom + self._prior()) / (self.freedom + PRIOR) / self.units

    def share_of_largest(self) -> float:
        """The variance as a share of the largest possible one, shrunk towards 1 as by one more degree of freedom."""
        known, prior = self.variance * self.units * self.freedom, self._prior()
        return (known + prior) / (self._spread() * self.freedom + prior)

    def _prior(self) -> float:
        """The largest variance of a value, at a mean that is shrunk a little to the middle."""
        middle = (self.low + self.high) / 2
        mean = (self.value * self.units + middle) / (self.units + 1)
        return PRIOR * (mean - self.low) * (self.high - mean)

    def _spread(self) -> float:
        """The largest variance that a value can have at this mean."""
        return max(0.0, (self.value - self.low) * (self.high - self.value))

    def _share(self, value: float) -> float:
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    def _above(self, null: float, n: float) -> float:
        """The chance that n values of mean `null` have as much as was seen or more, exactly as much counting half."""
        mean = self._share(self.value)
        if n > LARGE:
            spread = math.sqrt(null * (1 - null) / n)
            return NORMAL.cdf((null - mean) / spread) if spread else 0.5 * (1 + (null > mean) - (null < mean))
        count = mean * n
        as_much = 1.0 if count <= 1e-9 else beta_cdf(null, count, n - count + 1)
        more = 0.0 if n - count <= 1e-9 else beta_cdf(null, count + 1, n - count)
        return (as_much + more) / 2

    def _solve(self, tail: float, n: float) -> float:
        mean = self._share(self.value)
        low, high = (0.0, mean) if tail < 0.5 else (mean, 1.0)
        for _ in range(44):
            middle = (low + high) / 2
            low, high = (middle, high) if self._above(middle, n) < tail else (low, middle)
        return (0.0 if low == 0 else high) if tail < 0.5 else (1.0 if high == 1 else low)


def problems_like_these(units: Sequence[Unit], low: float = 0.0, high: float = 1.0) -> Estimate:
    """The mean of the units with the error of choosing them, clusters chosen as a whole.

    The variance is that between clusters (for unequal ones unbiased where problems of a cluster are alike), its degrees
    of freedom after Satterthwaite as in Bell and McCaffrey (2002). A single cluster tells nothing of others: then its
    problems count as independent, and the error is that of other questions about the same text.
    """
    n = len(units)
    mean = math.fsum(unit.value for unit in units) / n
    totals: dict[object, list[float]] = {}
    for number, unit in enumerate(units):
        sums = totals.setdefault(unit.cluster or number, [0.0, 0.0])
        sums[0] += unit.value - mean
        sums[1] += 1
    if len(totals) == 1 and n > 1:
        totals = {number: [unit.value - mean, 1.0] for number, unit in enumerate(units)}
    squares = math.fsum(total * total for total, _ in totals.values()) / n**2
    weights = [size / n for _, size in totals.values()]
    two, three, four, five = (math.fsum(weight**power for weight in weights) for power in (2, 3, 4, 5))
    trace = two - 2 * three + two * two
    if len(totals) < 2 or trace <= 0:
        return Estimate(mean, (mean - low) * (high - mean), 1, 0, low, high)
    # The sum of squares is a quadratic form in the clusters' means; the trace of its square gives the freedom.
    square = four - 4 * five + 4 * two * four + 2 * three**2 - 4 * two**2 * three + two**4
    return Estimate(mean, squares * two / trace, 1 / two, trace**2 / square, low, high)


def these_problems(
    units: Sequence[Unit], low: float = 0.0, high: float = 1.0, *, population: int | None = None
) -> Estimate:
    """The mean over these very problems, with the error of sampling answers to them.

    Problems with a single answer count with the spread between them, which is at least that of their answers. `units`
    may be some of `population` problems that were chosen at random, of which the mean is then: the error of choosing
    them counts as far as there are others (finite-population correction, Cochran 1977).
    """
    n = len(units)
    mean = math.fsum(unit.value for unit in units) / n
    single = [unit.value for unit in units if unit.noise is None]
    several = [unit for unit in units if unit.noise is not None]
    noise = math.fsum(unit.noise or 0.0 for unit in several)
    parts = [(1 / unit.answers, unit.freedom) for unit in several]
    if len(single) > 1:
        middle = math.fsum(single) / len(single)
        noise += math.fsum((value - middle) ** 2 for value in single) * len(single) / (len(single) - 1)
        parts.append((len(single), len(single) - 1))
    elif single:  # it has nothing to be compared with: as uncertain as a value of this mean can be
        noise += (mean - low) * (high - mean)
    answers = n**2 / math.fsum(1 / unit.answers for unit in units)
    freedom = satterthwaite(parts)
    estimate = Estimate(mean, noise / n**2, answers, freedom, low, high)
    if population is None or population <= n:
        return estimate
    share, like_these = n / population, problems_like_these(units, low, high)
    others, these = (1 - share) / like_these.units, share / estimate.units  # each part as large as it can be
    return Estimate(
        mean,
        (1 - share) * like_these.variance + share * estimate.variance,
        1 / (others + these),
        satterthwaite([(size, each) for size, each in ((others, like_these.freedom), (these, freedom)) if each > 0]),
        low,
        high,
    )


def satterthwaite(parts: Sequence[tuple[float, float]]) -> float:
    """The degrees of freedom of a sum of variances, after Satterthwaite (1946), from what each is expected to be.

    Many answers to most problems say little of the error of a few answers to others, which may be most of the sum. By
    the variances as they came out it would follow their chance.
    """
    squares = math.fsum(size * size / freedom for size, freedom in parts)
    return math.fsum(size for size, _ in parts) ** 2 / squares if squares else 0.0


def average(estimates: Sequence[Estimate]) -> Estimate:
    """The unweighted mean of independent estimates over one range, as of the tasks of a benchmark."""
    n = len(estimates)
    if n == 1:
        return estimates[0]
    # Where all of one came out alike its variance is not 0, which only shows in a mean with others.
    parts = [each.smoothed() / n**2 for each in estimates]
    informative = [(part, each.freedom) for part, each in zip(parts, estimates, strict=True) if each.freedom > 0]
    squares = math.fsum(part * part / freedom for part, freedom in informative)
    variance = math.fsum(parts)
    freedom = variance**2 / squares if squares > 0 else math.fsum(freedom for _, freedom in informative)
    # A few values that came out alike by chance must not leave the freedom to many others.
    freedom = min(freedom, satterthwaite([(1 / each.units, each.freedom) for each in estimates if each.freedom > 0]))
    return Estimate(
        math.fsum(each.value for each in estimates) / n,
        variance,
        n**2 / math.fsum(1 / each.units for each in estimates),
        freedom,
        estimates[0].low,
        estimates[0].high,
    )


def groups_like_these(groups: Sequence[Sequence[Unit]], low: float = 0.0, high: float = 1.0) -> Estimate:
    """The mean over groups of the means of their units, with the error of choosing them.

    Groups that share clusters, such as kinds of questions about the same texts, are not independent: then the error is
    that of choosing clusters for all groups together, if that is larger.
    """
    apart = average([problems_like_these(units, low, high) for units in groups])
    shared = Counter(name for units in groups for name in {unit.cluster for unit in units if unit.cluster})
    if max(shared.values(), default=0) < 2:
        return apart
    number = sum(map(len, groups))
    crossed = []
    for units in groups:
        mean = math.fsum(unit.value for unit in units) / len(units)
        weight = number / len(groups) / len(units)
        # What each adds to the mean over groups: around the mean of its own group, by what that weighs.
        crossed += [unit._replace(value=apart.value + weight * (unit.value - mean)) for unit in units]
    together = problems_like_these(crossed, low, high)
    if apart.variance >= together.variance:
        return apart
    return apart._replace(
        variance=together.variance,
        units=min(apart.units, together.units),
        freedom=min(apart.freedom, together.freedom) or max(apart.freedom, together.freedom),
    )


def both_targets(groups: Sequence[Sequence[Unit]], low: float = 0.0, high: float = 1.0) -> tuple[Estimate, Estimate]:
    """The mean over groups of the means of their units, for problems like these and for these problems.

    It cannot be known better for other problems than for these, whatever chance has made of the two variances.
    """
    like_these = groups_like_these(groups, low, high)
    these = average([these_problems(units, low, high) for units in groups])
    return (like_these if like_these.effective() <= these.effective() else these), these


def interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """The interval of the mean of independent problems' values in [0, 1], for problems like these."""
    return problems_like_these([Unit(value) for value in values]).interval(confidence)


def against_published(
    units: Sequence[Unit],
    published: float,
    *,
    repeats: int | None = None,
    population: int | None = None,
    same_problems: bool = True,
) -> Estimate:
    """The mean of the units less a published score of the same benchmark, with the sampling error of both.

    The figure is the mean of `repeats` answers to each problem (not stated: one), and its answers are taken to vary as
    those of the units do. `population`: the problems of the whole set, where the units are some of them chosen at
    random. On other problems of the same kind (`same_problems` false) both choices of problems count.
    """
    n = len(units)
    k = repeats or 1
    if not same_problems:
        estimate = problems_like_these(units)
        return _shifted(estimate, published, estimate.variance, estimate.units)
    estimate = these_problems(units, population=population)
    noise = [(unit.noise * unit.answers, unit.freedom) for unit in units if unit.noise is not None]
    freedom = math.fsum(each for _, each in noise)
    if freedom:
        answer = math.fsum(variance * each for variance, each in noise) / freedom
    else:  # at most the spread of single answers
        answer = problems_like_these([unit._replace(cluster="") for unit in units]).variance * n
    theirs = (population or n) * k
    return _shifted(estimate, published, answer / theirs, theirs)


def _shifted(estimate: Estimate, null: float, variance: float, units: float) -> Estimate:
    """Difference of an estimate and `null`, which has a known variance and is the mean of `units` values.

    That one is drawn to the middle by half a value where it bounds the range: a figure of 0 or 1 is a mean of answers
    like any other, and no proof that another score cannot be the same.
    """
    bound = (null * units + 0.5) / (units + 1)
    # If nothing differs, both vary as values of the mean of both do, though all that were seen may be alike.
    mean = (estimate.value * estimate.units + null * units) / (estimate.units + units)
    expected = estimate.share_of_largest() * mean * (1 - mean) * (1 / estimate.units + 1 / units)
    return estimate._replace(
        value=estimate.value - null,
        variance=max(estimate.variance + variance, expected),
        units=1 / (1 / estimate.units + 1 / units),
        low=estimate.low - bound,
        high=estimate.high - bound,
    )
