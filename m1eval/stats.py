"""Numbers with their uncertainty. numpy is imported where draws are made, and nowhere else."""

import math
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import NormalDist
from typing import NamedTuple, get_args

from m1eval.nouns import Outcome, Usage

MANY = 2000
"""Differing pairs beyond which a sum of flipped signs is taken as normal."""
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


class Tally:
    """Running counts of a run: one value a (sample, repeat), `errored` ones counted apart.

    The score is the mean over samples of the mean over their repeats; its standard error treats the repeats of a sample
    as one cluster (Miller 2024, "Adding Error Bars to Evals", section 2.2), so that more repeats of few problems do not
    look like more problems.
    """

    def __init__(self) -> None:
        self.outcomes: Counter[Outcome] = Counter()
        self.usage = Usage()
        self.seconds = 0.0
        self._samples: dict[str, tuple[float, int]] = {}

    def add(self, sample: str, outcome: Outcome, value: float, usage: Usage, seconds: float = 0.0) -> None:
        """Count one finished (sample, repeat)."""
        self.outcomes[outcome] += 1
        self.usage.prompt += usage.prompt
        self.usage.cached += usage.cached
        self.usage.reasoning += usage.reasoning
        self.usage.answer += usage.answer
        self.seconds += seconds
        if outcome != "errored":
            total, n = self._samples.get(sample, (0.0, 0))
            self._samples[sample] = (total + value, n + 1)

    def drop_error(self, usage: Usage, seconds: float = 0.0) -> None:
        """Forget an errored (sample, repeat) that was tried again."""
        self.outcomes["errored"] -= 1
        self.usage.prompt -= usage.prompt
        self.usage.cached -= usage.cached
        self.usage.reasoning -= usage.reasoning
        self.usage.answer -= usage.answer
        self.seconds -= seconds

    @property
    def finished(self) -> int:
        """(sample, repeat)s that came to an end, errored ones too."""
        return self.outcomes.total()

    @property
    def scored(self) -> int:
        """(sample, repeat)s that have a score."""
        return self.finished - self.outcomes["errored"]

    @property
    def samples(self) -> int:
        """Samples with at least one score."""
        return len(self._samples)

    @property
    def score(self) -> float | None:
        """Mean of the samples' means in [0, 1]; None if nothing was scored."""
        return math.fsum(self._means()) / self.samples if self._samples else None

    @property
    def score_with_errors(self) -> float | None:
        """The score if every errored (sample, repeat) counted as 0."""
        return self.score * self.scored / self.finished if self.score is not None else None

    @property
    def stderr(self) -> float | None:
        """Standard error of the score over samples as clusters; None for fewer than two samples."""
        if self.samples < 2 or self.score is None:
            return None
        score = self.score  # once: it goes through all samples
        squares = math.fsum((mean - score) ** 2 for mean in self._means())
        return math.sqrt(squares / (self.samples - 1) / self.samples)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95% interval of the score; None for fewer than two samples."""
        return interval(self._means()) if self.samples > 1 else None

    @property
    def counts(self) -> dict[str, tuple[float, int]]:
        """The sum of each scored sample's values and their number."""
        return dict(self._samples)

    def _means(self) -> list[float]:
        return [total / n for total, n in self._samples.values()]


class Interval(NamedTuple):
    """Two ends, both inside."""

    low: float
    high: float


def interval(means: Sequence[float], confidence: float = 0.95) -> Interval:
    """Of the mean of samples' means in [0, 1]: Student's t; where all are equal, or all 0 or 1, Wilson's.

    t over clusters is what "Adding Error Bars to Evals" (Miller 2024) has with the small-sample quantile; Wilson 1927
    does not shrink to a point when every sample came out alike.
    """
    n = len(means)
    mean = math.fsum(means) / n
    if n < 2 or all(value in (0, 1) for value in means) or max(means) == min(means):
        return wilson(mean * n, n, confidence)
    error = math.sqrt(math.fsum((value - mean) ** 2 for value in means) / (n - 1) / n)
    reach = student(0.5 + confidence / 2, n - 1) * error
    return Interval(max(0.0, mean - reach), min(1.0, mean + reach))


def wilson(successes: float, n: int, confidence: float = 0.95) -> Interval:
    """Of a proportion (Wilson 1927)."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, width = successes / n, z * z / n
    middle = (share + width / 2) / (1 + width)
    reach = z / (1 + width) * math.sqrt(share * (1 - share) / n + width / n / 4)
    return Interval(max(0.0, middle - reach), min(1.0, middle + reach))


def student(probability: float, freedom: int) -> float:
    """The quantile of Student's t for a probability above one half; found by halving on the exact distribution."""
    low, high = 0.0, 1.0
    while _student_below(high, freedom) < probability and high < 1e6:
        low, high = high, high * 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_below(middle, freedom) < probability else (low, middle)
    return high


def student_tail(t: float, freedom: int) -> float:
    """The two-sided p of a t statistic."""
    return max(0.0, 2 * (1 - _student_below(abs(t), freedom)))


def _student_below(t: float, freedom: int) -> float:
    """P(T < t) by the finite sums for whole degrees of freedom (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    angle = math.atan2(t, math.sqrt(freedom))
    square = math.cos(angle) ** 2
    term = total = 1.0 if freedom % 2 == 0 else math.cos(angle)
    for i in range(2 if freedom % 2 == 0 else 3, freedom, 2):
        term *= square * (i - 1) / i
        total += term
    if freedom % 2 == 0:
        return 0.5 + math.sin(angle) * total / 2
    total = total if freedom > 1 else 0.0
    return 0.5 + (angle + math.sin(angle) * total) / math.pi


def pass_at_k(n: int, right: int, k: int) -> float:
    """The chance that one of k answers is right, unbiased from n of which `right` are (Chen et al. 2021)."""
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} of {n} answers is not known")
    return 1.0 if n - right < k else 1 - math.comb(n - right, k) / math.comb(n, k)


def g_pass_at_k(n: int, right: int, k: int, share: float) -> float:
    """The chance that at least `share` of k answers are right (G-Pass@k, Liu et al. 2024), unbiased."""
    if not 1 <= k <= n:
        raise ValueError(f"G-pass@{k} of {n} answers is not known")
    least = max(1, math.ceil(share * k - 1e-9))
    ways = sum(math.comb(right, j) * math.comb(n - right, k - j) for j in range(least, min(right, k) + 1))
    return ways / math.comb(n, k)


def maj_at_k(answers: Sequence[str | None], values: Sequence[float], k: int, *, draws: int = 2000) -> float:
    """The value of the answer most of k give, over draws of k without return; a tie gives each its share.

    `None` is no answer and does not vote. Answers that are written alike vote together; exact for k = len(answers).
    """
    n = len(answers)
    if not 1 <= k <= n:
        raise ValueError(f"maj@{k} of {n} answers is not known")
    worth = {answer: value for answer, value in zip(answers, values, strict=True) if answer is not None}
    if k == n:
        return _majority([answer for answer in answers if answer is not None], worth)
    chance = random.Random(0)
    picks = (chance.sample(range(n), k) for _ in range(draws))
    return math.fsum(_majority([a for i in pick if (a := answers[i]) is not None], worth) for pick in picks) / draws


def _majority(answers: Sequence[str], worth: dict[str, float]) -> float:
    if not answers:
        return 0.0
    counted = Counter(answers)
    most = max(counted.values())
    tied = [worth[answer] for answer, number in counted.items() if number == most]
    return math.fsum(tied) / len(tied)


def bootstrap(values: Sequence[float], *, draws: int = 100_000, confidence: float = 0.95, seed: int = 0) -> Interval:
    """Percentile interval of the mean, samples drawn with return (Efron 1979), widened for few samples.

    By sqrt(n / (n - 1)) and by Student's quantile over the normal one, without which ten samples hold 91% for 95%.
    """
    import numpy as np

    n = len(values)
    if n < 2:
        raise ValueError("a bootstrap needs two samples or more")
    kinds, counts = np.unique(np.asarray(values, dtype=float), return_counts=True)
    drawn = np.random.default_rng(seed)
    means = np.empty(draws)
    step = max(1, 4_000_000 // len(kinds))
    for start in range(0, draws, step):
        stop = min(draws, start + step)
        means[start:stop] = drawn.multinomial(n, counts / n, size=stop - start) @ kinds / n
    mean = float(np.average(kinds, weights=counts))
    probability = 0.5 + confidence / 2
    wider = math.sqrt(n / (n - 1)) * student(probability, n - 1) / NormalDist().inv_cdf(probability)
    spread = (np.quantile(means, [1 - probability, probability]) - mean) * wider
    return Interval(mean + float(spread[0]), mean + float(spread[1]))


def sign_flip(differences: Sequence[float], *, draws: int = 100_000, seed: int = 0) -> float:
    """Two-sided p of a mean difference of pairs: how often flipped signs do as much (Fisher 1935).

    Exact for up to 16 pairs that differ, by draws up to 2,000, from the normal law beyond. For differences of
    -1, 0 and 1 it is McNemar's exact test.
    It never finds more than its level where there is no difference; a bootstrap of few pairs does.
    """
    import numpy as np

    differing = np.asarray([value for value in differences if value], dtype=float)
    n = len(differing)
    if n == 0:
        return 1.0
    seen = abs(differing.sum()) - 1e-9
    if n <= 16:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        return float((abs(signs @ differing) >= seen).mean())
    if n > MANY:
        deviation = math.sqrt(float(differing @ differing))
        return 2 * NormalDist().cdf(-float(seen) / deviation)
    if len({*np.abs(differing)}) == 1:
        return mcnemar(int((differing > 0).sum()), int((differing < 0).sum()))
    drawn = np.random.default_rng(seed)
    least, step, done = 0, max(1, 4_000_000 // n), 0
    while done < draws:
        size = min(step, draws - done)
        signs = drawn.integers(0, 2, size=(size, n), dtype=np.int8) * 2 - 1
        least += int((abs(signs @ differing) >= seen).sum())
        done += size
    return (1 + least) / (1 + draws)


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p for single answers: pairs of which only one model's is right (McNemar 1947, binomial)."""
    n, few = only_a + only_b, min(only_a, only_b)
    if n == 0:
        return 1.0
    tail = float(sum(math.comb(n, i) for i in range(few + 1)) / 2**n)
    return min(1.0, 2 * tail)


def benjamini_hochberg(ps: Sequence[float]) -> list[float]:
    """p values adjusted for many comparisons: below q, a share of q of them is false (Benjamini, Hochberg 1995)."""
    order = sorted(range(len(ps)), key=lambda i: ps[i], reverse=True)
    adjusted, least = [1.0] * len(ps), 1.0
    for place, i in enumerate(order):
        least = min(least, ps[i] * len(ps) / (len(ps) - place))
        adjusted[i] = least
    return adjusted


def samples_needed(spread: float, difference: float, *, power: float = 0.8, level: float = 0.05) -> int:
    """Samples to see a mean difference of pairs whose differences have this standard deviation."""
    normal = NormalDist()
    reach = normal.inv_cdf(1 - level / 2) + normal.inv_cdf(power)
    return max(2, math.ceil((reach * spread / difference) ** 2))


def calibration_error(confidences: Iterable[float], values: Iterable[float], *, bin_size: int = 100) -> float:
    """Root mean square of confidence less accuracy over bins of equal count (Hendrycks et al. 2022).

    The samples are sorted by confidence; the last bin takes what is left over.
    """
    squares, count = _calibration_bins(confidences, values, bin_size)
    return math.sqrt(math.fsum(squares) / count)


def hle_calibration_error(confidences: Iterable[float], values: Iterable[float]) -> float:
    """The calibration error that HLE's code reports (hle_eval/run_judge_results.py): the last bin counts as 0.

    Its loop leaves out the last of its bins of 100, so that fewer than 200 answers give 0. Answers of the same
    confidence keep their order here; NumPy's, there, is not defined.
    """
    squares, count = _calibration_bins(confidences, values, 100)
    return math.sqrt(math.fsum(squares[:-1]) / count)


def _calibration_bins(confidences: Iterable[float], values: Iterable[float], bin_size: int) -> tuple[list[float], int]:
    """The squared gaps of the bins, each times the samples in it, and the number of samples."""
    pairs = sorted(zip(confidences, values, strict=True), key=lambda pair: pair[0])
    if not pairs:
        raise ValueError("no sample says how sure it is")
    bins = max(1, len(pairs) // bin_size)
    edges = [*(i * bin_size for i in range(bins)), len(pairs)]
    squares = []
    for low, high in pairwise(edges):
        inside = pairs[low:high]
        gap = math.fsum(c for c, _ in inside) / len(inside) - math.fsum(v for _, v in inside) / len(inside)
        squares.append(len(inside) * gap * gap)
    return squares, len(pairs)
