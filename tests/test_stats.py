"""Scores with their uncertainty."""

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m1eval import Outcome, Usage
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
