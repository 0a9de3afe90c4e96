"""The running counts of a run."""

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m1eval import Outcome, Usage
from m1eval.store.tally import Tally


def tally(samples, group="", cluster=""):
    """Tally of samples by name with their values; None is an errored answer."""
    counted = Tally()
    for name, values in samples.items():
        for value in values:
            outcome: Outcome = (
                "errored" if value is None else "right" if value == 1 else "partial" if value else "wrong"
            )
            counted.add(name, outcome, value or 0.0, Usage(answer=10), group=group, cluster=cluster)
    return counted


def test_the_score_is_the_mean_of_the_samples_means():
    counted = tally({"a": [1, 1, 1, 0], "b": [0], "c": [1, None]})
    assert counted.score == pytest.approx((0.75 + 0 + 1) / 3)
    assert (counted.samples, counted.scored, counted.finished) == (3, 6, 7)
    assert counted.answers == (1, 4)


def test_errors_as_wrong_or_right_count_in_their_own_samples():
    counted = tally({"a": [1, 1, 1, 0], "b": [0], "c": [1, None], "d": [None, None]})
    assert counted.bounds == pytest.approx(((0.75 + 0 + 0.5 + 0) / 4, (0.75 + 0 + 1 + 1) / 4))
    assert tally({"a": [None]}).bounds == (0, 1)
    assert Tally().bounds is None


def test_a_tally_without_scores_has_no_score_rather_than_zero():
    assert tally({"a": [None]}).score is None
    assert tally({"a": [None]}).interval is None
    assert Tally().score is None
    assert tally({"a": [1, 0]}).stderr is None, "one sample tells nothing of others"


def test_repeats_of_a_sample_are_one_cluster():
    once = tally({str(i): [i % 2] for i in range(10)})
    often = tally({str(i): [i % 2] * 8 for i in range(10)})
    assert often.stderr == pytest.approx(once.stderr)
    assert often.interval == pytest.approx(once.interval)


@given(st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=4), min_size=2, max_size=30))
def test_the_error_is_that_of_the_samples_means(values):
    counted = tally({str(i): sample for i, sample in enumerate(values)})
    means = [statistics.fmean(sample) for sample in values]
    assert counted.score == pytest.approx(statistics.fmean(means), abs=1e-12)
    like, these = counted.problems_like_these, counted.these_problems()
    between = statistics.stdev(means) / math.sqrt(len(means))
    assert like.stderr == pytest.approx(between, abs=1e-9) or like == these
    assert like.effective() <= these.effective()


def test_an_error_that_is_tried_again_is_forgotten():
    counted = tally({"a": [None], "b": [1]})
    counted.drop_error("a", Usage(answer=10))
    counted.add("a", "right", 1.0, Usage(answer=10))
    assert (counted.score, counted.finished, counted.outcomes["errored"], counted.usage.answer) == (1.0, 2, 0, 20)
    assert counted.bounds == (1.0, 1.0)


def test_groups_weigh_alike_whatever_their_size():
    counted = tally({f"a{i}": [1] for i in range(30)}, group="a")
    for name, values in {f"b{i}": [i % 2, 1] for i in range(6)}.items():
        for value in values:
            counted.add(name, "right" if value else "wrong", float(value), Usage(), group="b")
    assert counted.score == pytest.approx((1 + 0.75) / 2)
    assert counted.problems_like_these.value == pytest.approx(counted.score)
    assert counted.these_problems().value == pytest.approx(counted.score)
    low, high = counted.interval
    assert low < counted.score < high


def test_samples_of_one_text_are_counted_with_it():
    counted = tally({f"a{i}": [i % 2] for i in range(6)}, cluster="text")
    counted.add("b", "right", 1.0, Usage())
    assert (counted.samples, counted.clusters) == (7, 2)


def test_a_repeat_that_could_not_be_built_takes_its_sample_out_of_no_group():
    whole, broken = tally({"a": [1.0, 1.0], "b": [0.0, 1.0]}, group="x", cluster="t"), Tally()
    for name, values in {"a": [1.0, 1.0], "b": [0.0, 1.0]}.items():
        for value in values:
            broken.add(name, "right" if value else "wrong", value, Usage(), cluster="t", group="x")
    broken.add("b", "errored", 0.0, Usage())
    assert (broken.score, broken.interval, broken.clusters) == (whole.score, whole.interval, 1)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("answers", [1, 4])
def test_a_part_of_the_set_says_no_less_of_the_set_than_of_other_problems(groups, answers):
    rng = random.Random(groups * 10 + answers)
    for _ in range(60):
        counted, size = Tally(), rng.choice([4, 8, 20])
        for i in range(size * answers):
            right = rng.random() < 0.5
            counted.add(
                f"s{i % size}", "right" if right else "wrong", float(right), Usage(), group=str(i % size % groups)
            )
        like = counted.interval
        assert like is not None
        for population in (size, size + 1, 2 * size, 10 * size):
            estimate = counted.these_problems(population)
            assert estimate is not None
            low, high = estimate.interval()
            assert high - low <= like.high - like.low + 1e-9
