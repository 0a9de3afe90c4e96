"""Distribution functions and adjusted p values, against printed tables and other implementations."""

import math
import random

import pytest

from m1eval import stats

QUANTILES = {(0.975, 1): 12.7062, (0.975, 2): 4.30265, (0.975, 9): 2.26216, (0.975, 29): 2.04523, (0.95, 4): 2.13185}
"""Quantiles of Student's t by (probability, degrees of freedom), from printed tables."""


@pytest.mark.parametrize("case", QUANTILES)
def test_quantiles_of_t_are_those_of_the_tables(case):
    assert stats.student(*case) == pytest.approx(QUANTILES[case], rel=1e-5)
    probability, freedom = case
    assert stats.student_tail(QUANTILES[case], freedom) == pytest.approx(2 * (1 - probability), rel=1e-4)


def test_the_beta_law_is_the_sum_of_binomial_ones():
    for n in (1, 2, 7, 40):
        for x in range(1, n + 1):
            for share in (0.01, 0.3, 0.5, 0.97):
                tail = sum(math.comb(n, i) * share**i * (1 - share) ** (n - i) for i in range(x, n + 1))
                assert stats.beta_cdf(share, x, n - x + 1) == pytest.approx(tail, abs=1e-12)
    assert (stats.beta_cdf(0, 2, 3), stats.beta_cdf(1, 2, 3)) == (0, 1)


def test_p_values_are_adjusted_for_their_number():
    assert stats.benjamini_hochberg([0.01, 0.04, 0.03, 0.2]) == pytest.approx([0.04, 0.0533333, 0.0533333, 0.2])
    assert stats.benjamini_hochberg([]) == []
    assert stats.holm([0.01, 0.04, 0.03, 0.2]) == pytest.approx([0.04, 0.09, 0.09, 0.2])
    assert stats.holm([]) == []


def test_scipy_and_statsmodels_agree():
    reason = "scipy and statsmodels check the statistics; they are not needed otherwise"
    scipy = pytest.importorskip("scipy.stats", reason=reason)
    special = pytest.importorskip("scipy.special", reason=reason)
    tests = pytest.importorskip("statsmodels.stats.multitest", reason=reason)
    proportion = pytest.importorskip("statsmodels.stats.proportion", reason=reason)
    linear = pytest.importorskip("statsmodels.api", reason=reason)
    rng = random.Random(1)
    for freedom in (0.5, 1, 2.7, 3, 29, 499, 1e6):
        assert stats.student(0.975, freedom) == pytest.approx(scipy.t.ppf(0.975, freedom), rel=1e-8)
    for _ in range(2000):
        a, b = 10 ** rng.uniform(-1, 5), 10 ** rng.uniform(-1, 5)
        x = min(1.0, max(0.0, rng.gauss(a / (a + b), 3 * math.sqrt(a * b / (a + b + 1)) / (a + b))))
        assert stats.beta_cdf(x, a, b) == pytest.approx(special.betainc(a, b, x), abs=1e-9)
    ps = [rng.random() ** 2 for _ in range(25)]
    assert stats.benjamini_hochberg(ps) == pytest.approx(tests.multipletests(ps, method="fdr_bh")[1])
    assert stats.holm(ps) == pytest.approx(tests.multipletests(ps, method="holm")[1])
    for right, n in ((3, 30), (29, 30), (50, 100)):
        exact = proportion.proportion_confint(right, n, method="beta")
        ours = stats.interval([1.0] * right + [0.0] * (n - right))
        assert exact[0] < ours.low
        assert ours.high < exact[1], "the mid-P interval is inside the exact one of Clopper and Pearson"
    values = [rng.random() for _ in range(60)]
    names = [i // 4 for i in range(60)]
    fit = linear.OLS(values, [1.0] * 60).fit(cov_type="cluster", cov_kwds={"groups": names})
    clustered = stats.problems_like_these([stats.Unit(v, cluster=f"c{g}") for v, g in zip(values, names, strict=True)])
    assert clustered.stderr == pytest.approx(fit.bse[0])
    # Many values in the middle: both are near the t interval of scipy.
    low, high = scipy.t.interval(0.95, 59, loc=sum(values) / 60, scale=scipy.sem(values))
    assert stats.interval(values) == pytest.approx((low, high), abs=0.006)


def test_calibration_is_the_gap_of_confidence_and_accuracy():
    assert stats.calibration_error([0.5] * 4, [1, 0, 1, 0]) == 0
    assert stats.calibration_error([0.9] * 10, [0] * 10) == pytest.approx(0.9)
    sure = [0.1] * 100 + [0.9] * 150
    right = [0.0] * 100 + [1.0] * 150
    assert stats.calibration_error(sure, right) == pytest.approx(0.1)
