"""Distribution functions that the intervals and tests are made of: beta, Student's t and the normal law."""

import math
from functools import lru_cache
from statistics import NormalDist

NORMAL = NormalDist()
TINY = 1e-300
"""Stands in for 0 in the denominators of a continued fraction."""


def beta_cdf(x: float, a: float, b: float) -> float:
    """The probability that a beta(a, b) variable is at most x; `a` and `b` above 0.

    By the continued fraction of the regularised incomplete beta function (DLMF 8.17.22), evaluated from the front
    (Lentz 1976), to about 13 digits.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    if x < (a + 1) / (a + b + 2):
        return math.exp(log_front) / (a * _fraction(x, a, b))
    return 1 - math.exp(log_front) / (b * _fraction(1 - x, b, a))


def _fraction(x: float, a: float, b: float) -> float:
    """1 + d1/(1 + d2/(1 + …)), which converges quickly for x below the mean of the distribution."""
    value = numerator = 1.0
    denominator = 0.0
    for i in range(1, 100_000):
        m, odd = divmod(i, 2)
        if odd:
            d = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            d = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        denominator = 1 / ((1 + d * denominator) or TINY)
        numerator = (1 + d / numerator) or TINY
        step = denominator * numerator
        value *= step
        if abs(step - 1) < 1e-15:
            break
    return value


@lru_cache(maxsize=4096)
def student(probability: float, freedom: float) -> float:
    """The quantile of Student's t for a probability of one half or more; `freedom` need not be whole."""
    low, high = 0.0, 1.0
    while 1 - student_tail(high, freedom) / 2 < probability and high < 1e12:
        low, high = high, high * 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if 1 - student_tail(middle, freedom) / 2 < probability else (low, middle)
    return high


def student_tail(t: float, freedom: float) -> float:
    """The two-sided p of a t statistic."""
    if math.isinf(freedom):
        return 2 * NORMAL.cdf(-abs(t))
    return beta_cdf(freedom / (freedom + t * t), freedom / 2, 0.5)
