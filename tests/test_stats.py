"""Scores with their uncertainty."""

import itertools
import math
import random
import statistics
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m1eval import Outcome, Usage, stats
from m1eval.stats import Tally


def tally(samples):
    counted = Tally()
    for name, values in samples.items():
        for value in values:
            outcome: Outcome = (
                "errored" if value is None else "right" if value == 1 else "partial" if value else "wrong"
            )
            counted.add(name, outcome, value or 0.0, Usage(answer=10))
    return counted


def test_the_score_is_the_mean_of_the_samples_means():
    counted = tally({"a": [1, 1, 1, 0], "b": [0], "c": [1, None]})
    assert counted.score == pytest.approx((0.75 + 0 + 1) / 3)
    assert (counted.samples, counted.scored, counted.finished) == (3, 6, 7)
    assert counted.score_with_errors == pytest.approx((0.75 + 0 + 1) / 3 * 6 / 7)


def test_nothing_scored_is_no_zero():
    assert tally({"a": [None]}).score is None
    assert Tally().score is None
    assert tally({"a": [1, 0]}).stderr is None, "one sample tells nothing of others"


def test_repeats_of_a_sample_are_one_cluster():
    once = tally({str(i): [i % 2] for i in range(10)})
    often = tally({str(i): [i % 2] * 8 for i in range(10)})
    assert often.stderr == pytest.approx(once.stderr)


@given(st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=4), min_size=2, max_size=30))
def test_the_error_is_that_of_the_samples_means(values):
    counted = tally({str(i): sample for i, sample in enumerate(values)})
    means = [statistics.fmean(sample) for sample in values]
    assert counted.score == pytest.approx(statistics.fmean(means), abs=1e-12)
    assert counted.stderr == pytest.approx(statistics.stdev(means) / math.sqrt(len(means)), abs=1e-9)


def test_an_error_that_is_tried_again_is_forgotten():
    counted = tally({"a": [None], "b": [1]})
    counted.drop_error(Usage(answer=10))
    counted.add("a", "right", 1.0, Usage(answer=10))
    assert (counted.score, counted.finished, counted.outcomes["errored"], counted.usage.answer) == (1.0, 2, 0, 20)


QUANTILES = {(0.975, 1): 12.7062, (0.975, 2): 4.30265, (0.975, 9): 2.26216, (0.975, 29): 2.04523, (0.95, 4): 2.13185}
"""Of Student's t, from printed tables."""


@pytest.mark.parametrize("case", QUANTILES)
def test_quantiles_of_t_are_those_of_the_tables(case):
    assert stats.student(*case) == pytest.approx(QUANTILES[case], rel=1e-5)
    probability, freedom = case
    assert stats.student_tail(QUANTILES[case], freedom) == pytest.approx(2 * (1 - probability), rel=1e-4)


def test_a_score_in_which_all_is_alike_still_has_an_interval():
    assert tally({str(i): [1] for i in range(10)}).interval == pytest.approx((0.7225, 1.0), abs=1e-4)
    low, high = tally({str(i): [i % 2, 1] for i in range(10)}).interval
    assert 0.5 < low < 0.75 < high <= 1


def test_pass_at_k_is_unbiased():
    values = [1, 0, 0, 1, 0]
    for k in range(1, 6):
        picks = list(itertools.combinations(values, k))
        assert stats.pass_at_k(5, 2, k) == pytest.approx(sum(any(pick) for pick in picks) / len(picks))
        for share in (0.25, 0.5, 1.0):
            enough = sum(sum(pick) >= math.ceil(share * k) for pick in picks)
            assert stats.g_pass_at_k(5, 2, k, share) == pytest.approx(enough / len(picks))
    assert stats.g_pass_at_k(5, 2, 1, 0.1) == stats.pass_at_k(5, 2, 1)
    with pytest.raises(ValueError, match="pass@6 of 5"):
        stats.pass_at_k(5, 2, 6)


def test_the_majority_decides_and_a_tie_is_split():
    assert stats.maj_at_k(["7", "7", "8"], [1, 1, 0], 3) == 1
    assert stats.maj_at_k(["7", "8"], [1, 0], 2) == 0.5
    assert stats.maj_at_k(["7", None, None], [1, 0, 0], 3) == 1, "no answer does not vote"
    assert stats.maj_at_k([None, None], [0, 0], 2) == 0
    drawn = stats.maj_at_k(["7", "7", "8", "9"], [1, 1, 0, 0], 2)
    exact = [
        stats.maj_at_k([a, b], [v, w], 2)
        for (a, v), (b, w) in itertools.combinations(zip("7789", (1, 1, 0, 0), strict=True), 2)
    ]
    assert drawn == pytest.approx(sum(exact) / len(exact), abs=0.03)


def test_sign_flips_of_single_answers_are_mcnemars_exact_test():
    for only_a, only_b in ((0, 0), (3, 11), (1, 0), (12, 12), (30, 12)):
        differences = [1] * only_a + [-1] * only_b + [0] * 7
        assert stats.sign_flip(differences) == pytest.approx(stats.mcnemar(only_a, only_b))
    assert stats.mcnemar(3, 11) == pytest.approx(0.057373046875)


def test_sign_flips_of_many_pairs_agree_with_the_normal_law():
    made = random.Random(0)
    many = [made.gauss(0.03, 1) for _ in range(2100)]
    t = sum(many) / math.sqrt(sum(value * value for value in many))
    assert stats.sign_flip(many) == pytest.approx(2 * (1 - statistics.NormalDist().cdf(abs(t))), abs=1e-9)
    assert stats.sign_flip(many[:1900]) == pytest.approx(stats.sign_flip(many[:1900], seed=1), abs=0.01)


def test_p_values_are_adjusted_for_their_number():
    assert stats.benjamini_hochberg([0.01, 0.04, 0.03, 0.2]) == pytest.approx([0.04, 0.0533333, 0.0533333, 0.2])
    assert stats.benjamini_hochberg([]) == []


def test_the_samples_needed_follow_the_formula():
    assert stats.samples_needed(0.5, 0.1) == math.ceil((1.959964 + 0.841621) ** 2 * 25)
    assert stats.samples_needed(0.5, -0.1) == stats.samples_needed(0.5, 0.1)


def test_calibration_is_the_gap_of_confidence_and_accuracy():
    assert stats.calibration_error([0.5] * 4, [1, 0, 1, 0]) == 0
    assert stats.calibration_error([0.9] * 10, [0] * 10) == pytest.approx(0.9)
    sure = [0.1] * 100 + [0.9] * 150
    right = [0.0] * 100 + [1.0] * 150
    assert stats.calibration_error(sure, right) == pytest.approx(0.1)


@pytest.mark.parametrize("n", [30, 198])
def test_intervals_hold_the_truth_as_often_as_they_say(n):
    made = random.Random(n)
    held: Counter[str] = Counter()
    trials = 400
    for trial in range(trials):
        chances = [made.betavariate(2, 1) for _ in range(n)]
        means = [sum(made.random() < chance for _ in range(4)) / 4 for chance in chances]
        for name, (low, high) in (("t", stats.interval(means)), ("b", stats.bootstrap(means, draws=800, seed=trial))):
            held[name] += low <= 2 / 3 <= high
    assert 0.92 < held["t"] / trials < 0.98
    assert 0.92 < held["b"] / trials < 0.98


def test_statistics_agree_with_scipy_and_statsmodels():
    scipy = pytest.importorskip("scipy.stats", reason="scipy and statsmodels check the statistics; they are not needed")
    tests = pytest.importorskip("statsmodels.stats.multitest")
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    made = random.Random(1)
    for freedom in (1, 2, 3, 7, 29, 499):
        assert stats.student(0.975, freedom) == pytest.approx(scipy.t.ppf(0.975, freedom), rel=1e-8)
    ps = [made.random() ** 2 for _ in range(25)]
    assert stats.benjamini_hochberg(ps) == pytest.approx(tests.multipletests(ps, method="fdr_bh")[1])
    for successes, n in ((0, 10), (3, 30), (29, 30)):
        ends = proportion.proportion_confint(successes, n, method="wilson")
        assert stats.wilson(successes, n) == pytest.approx(ends, abs=1e-9)
    assert stats.mcnemar(4, 13) == pytest.approx(scipy.binomtest(4, 17).pvalue)
    values = [made.random() for _ in range(40)]
    low, high = stats.interval(values)
    assert (low, high) == pytest.approx(
        scipy.t.interval(0.95, 39, loc=statistics.fmean(values), scale=scipy.sem(values))
    )
