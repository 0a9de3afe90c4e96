"""The one interval and test of means: against exact laws, matrices, and other implementations."""

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m1eval import stats
from m1eval.stats import Unit

SHARES = st.lists(st.floats(0, 1), min_size=1, max_size=30)


def units(values, clusters=()):
    return [Unit(value, cluster=cluster) for value, cluster in zip(values, clusters or [""] * len(values), strict=True)]


def answered(*samples):
    """Units of samples by their answers."""
    answer_units = []
    for answers in samples:
        k, mean = len(answers), statistics.fmean(answers)
        noise = statistics.variance(answers) / k if k > 1 else None
        answer_units.append(Unit(mean, noise, k, k - 1))
    return answer_units


def binomial(x, n, share):
    return math.comb(n, x) * share**x * (1 - share) ** (n - x)


def mid_p(right, n, share):
    """The chance of more than `right` of n, and half of that of as many."""
    return sum(binomial(x, n, share) for x in range(right + 1, n + 1)) + binomial(right, n, share) / 2


@pytest.mark.parametrize(("right", "n"), [(0, 5), (5, 5), (3, 10), (29, 30), (30, 30), (7, 12), (250, 500)])
def test_yes_and_no_have_the_exact_mid_p_interval(right, n):
    estimate = stats.problems_like_these(units([1.0] * right + [0.0] * (n - right)))
    low, high = estimate.interval()
    assert mid_p(right, n, low) == pytest.approx(0.025, abs=1e-9) if right else low == 0
    assert mid_p(right, n, high) == pytest.approx(0.975, abs=1e-9) if right < n else high == 1
    for null in (0.1, 0.5, 0.9):
        above = mid_p(right, n, null)
        assert estimate.p(null) == pytest.approx(2 * min(above, 1 - above), abs=1e-9)


@given(SHARES, st.floats(0, 1))
def test_interval_and_p_cannot_contradict(values, null):
    estimate = stats.problems_like_these(units(values))
    low, high = estimate.interval()
    assert 0 <= low <= estimate.value + 1e-9
    assert estimate.value - 1e-9 <= high <= 1
    assert low < high
    if min(abs(null - low), abs(null - high)) > 1e-6:
        assert (estimate.p(null) >= 0.05) == (low < null < high)
    assert 0 <= estimate.p_greater(null) <= 1
    assert estimate.p_greater(null) + estimate.p_less(null) == pytest.approx(1)
    assert estimate.p(null) == pytest.approx(2 * min(estimate.p_greater(null), estimate.p_less(null)), abs=1e-9)
    one_sided = estimate.interval(0.9)
    assert low <= one_sided.low + 1e-9
    assert one_sided.high <= high + 1e-9


@given(SHARES)
def test_a_range_of_differences_is_a_range_like_any_other(values):
    plain = stats.problems_like_these(units(values))
    shifted = stats.problems_like_these(units([2 * value - 1 for value in values]), -1.0, 1.0)
    assert shifted.interval() == pytest.approx([2 * end - 1 for end in plain.interval()], abs=1e-6)
    mirrored = stats.problems_like_these(units([1 - value for value in values]))
    assert mirrored.interval() == pytest.approx([1 - end for end in reversed(plain.interval())], abs=1e-6)


def test_the_smooth_middle_agrees_with_student():
    rng = random.Random(1)
    values = [min(1.0, max(0.0, rng.gauss(0.5, 0.1))) for _ in range(200)]
    mean, error = statistics.fmean(values), statistics.stdev(values) / math.sqrt(200)
    low, high = stats.interval(values)
    assert (low, high) == pytest.approx((mean - 1.972 * error, mean + 1.972 * error), abs=0.002)
    assert stats.problems_like_these(units(values)).stderr == pytest.approx(error)


def test_large_runs_agree_with_the_exact_law():
    just_below = stats.problems_like_these(units([1.0] * 89_000 + [0.0] * 10_990))
    above = stats.problems_like_these(units([1.0] * 89_099 + [0.0] * 11_001))
    assert just_below.interval() == pytest.approx(above.interval(), abs=2e-5)
    assert just_below.p(0.888) == pytest.approx(above.p(0.888), rel=0.02)


def dense(sizes, totals, mean):
    """Variance of the mean and degrees of freedom by matrices, as Bell and McCaffrey have them."""
    numpy = pytest.importorskip("numpy", reason="matrices check the closed forms; numpy is not needed otherwise")
    weights = numpy.array(sizes) / sum(sizes)
    size = len(sizes)
    centre = numpy.eye(size) - numpy.outer(numpy.ones(size), weights)
    form = centre.T @ numpy.diag(weights**2) @ centre
    means = numpy.array(totals) / numpy.array(sizes) - mean
    scale = (weights**2).sum() / numpy.trace(form)
    return float(means @ form @ means * scale), float(numpy.trace(form) ** 2 / numpy.trace(form @ form))


@given(st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=6), min_size=2, max_size=8))
def test_clusters_are_chosen_as_a_whole(groups):
    values = [value for group in groups for value in group]
    names = [f"text {i}" for i, group in enumerate(groups) for _ in group]
    estimate = stats.problems_like_these(units(values, names))
    variance, freedom = dense([len(g) for g in groups], [sum(g) for g in groups], statistics.fmean(values))
    assert estimate.variance == pytest.approx(variance, abs=1e-12)
    assert estimate.freedom == pytest.approx(freedom)


def test_questions_about_one_text_are_not_as_many_problems():
    alone = stats.problems_like_these(units([1.0, 0.0] * 10))
    shared = stats.problems_like_these(units([1.0] * 10 + [0.0] * 10, [f"t{i // 5}" for i in range(20)]))
    assert shared.effective() < alone.effective() / 4
    one_text = stats.problems_like_these(units([1.0, 0.0] * 10, ["t"] * 20))
    assert one_text == alone, "a single text tells nothing of others"


def test_these_problems_have_the_noise_of_their_answers_alone():
    sure = answered([1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0])
    estimate = stats.these_problems(sure)
    assert estimate.variance == 0
    assert estimate.effective() > 4 * stats.problems_like_these(sure).effective()
    low, high = estimate.interval()
    assert 0.2 < low < 0.5 < high < 0.8, "sixteen answers that agree do not prove that all would"
    unsure = answered([1, 0, 1, 0], [0, 1, 0, 1])
    assert stats.these_problems(unsure).variance == pytest.approx(2 * (1 / 3) / 4 / 4)


def test_single_answers_count_with_the_spread_between_problems():
    single = answered([1], [0], [1], [1], [0])
    assert stats.these_problems(single) == pytest.approx(stats.problems_like_these(single))
    mixed = [*answered([1, 1], [1, 0]), *answered([1], [0], [1])]
    spread = statistics.variance([1, 0, 1])
    assert stats.these_problems(mixed).variance == pytest.approx((0.25 + 3 * spread) / 25)


def test_a_part_of_the_set_is_corrected_for_what_is_left():
    values = answered(*([1, 1] if i % 3 else [0, 0] for i in range(90)))
    whole = stats.these_problems(values)
    like = stats.problems_like_these(values)
    spans = [
        span.high - span.low
        for span in (stats.these_problems(values, population=n).interval() for n in (90, 91, 100, 200, 1000, 10**7))
    ]
    assert spans == sorted(spans)
    assert stats.these_problems(values, population=90) == whole
    nearly_all = stats.these_problems(values, population=100)
    assert nearly_all.variance == pytest.approx(0.1 * like.variance + 0.9 * whole.variance)
    assert spans[-1] == pytest.approx(like.interval().high - like.interval().low, rel=0.01)


def test_the_mean_of_estimates_adds_their_errors():
    groups = [[0.2, 0.4, 0.9, 0.5], [0.1, 0.3, 0.2], [1.0, 0.7, 0.6, 0.9, 0.8]]
    estimates = [stats.problems_like_these(units(group)) for group in groups]
    mean_estimate = stats.average(estimates)
    assert mean_estimate.value == pytest.approx(statistics.fmean(map(statistics.fmean, groups)))
    assert mean_estimate.variance == pytest.approx(sum(each.smoothed() for each in estimates) / 9)
    assert stats.average(estimates[:1]) == estimates[0]
    alike = stats.average([stats.problems_like_these(units([1.0] * 5)) for _ in range(4)])
    assert alike.interval() == pytest.approx(stats.problems_like_these(units([1.0] * 20)).interval(), abs=0.01)


def test_a_published_figure_has_an_error_of_its_own():
    rng = random.Random(3)
    chances = [rng.betavariate(4, 1) for _ in range(30)]
    run = answered(*([float(rng.random() < chance) for _ in range(32)] for chance in chances))
    mean = statistics.fmean(unit.value for unit in run)
    answer = statistics.fmean((unit.noise or 0) * 32 for unit in run)
    for repeats, factor in ((32, 1 / 32), (1, 1), (None, 1)):
        comparison = stats.against_published(run, mean - 0.05, repeats=repeats)
        assert comparison.value == pytest.approx(0.05)
        least = answer / 30 * (1 / 32 + factor)
        assert least <= comparison.variance < 1.1 * least, "a little more for a mean of both nearer to the middle"
    assert stats.against_published(run, mean - 0.07, repeats=32).p() < 0.05
    assert stats.against_published(run, mean - 0.07).p() > 0.05, "a single draw is that far off by chance"
    other = stats.against_published(run, mean - 0.07, repeats=32, same_problems=False)
    assert 1 <= other.variance / stats.problems_like_these(run).variance / 2 < 1.3
    low, high = stats.against_published(run, 0.98, repeats=32).interval()
    assert -0.98 <= low < high < 0.021


def test_nothing_smaller_than_the_detectable_difference_is_promised():
    even = stats.problems_like_these(units([0.0] * 25), -1.0, 1.0)
    assert 0.1 < (even.detectable() or 1) < 0.35, "no difference was seen, and still small ones cannot be told"
    few = stats.problems_like_these(units([1.0, -1.0]), -1.0, 1.0)
    assert few.detectable() is None
    assert stats.problems_like_these(units([0.3]), -1.0, 1.0).detectable() is None


def test_one_value_leaves_almost_everything_possible():
    estimate = stats.problems_like_these(units([1.0]))
    assert estimate.stderr is None
    assert estimate.interval() == pytest.approx((0.05, 1.0))


@pytest.mark.parametrize("counts", [[2] * 5 + [16] * 5, [1] + [16] * 5, [1, 1] + [16] * 18, [*range(1, 11)]])
def test_problems_with_few_answers_are_not_surer_for_others_with_many(counts):
    chance, held = random.Random(0), 0
    for _ in range(400):
        answers = [[float(chance.random() < 0.5) for _ in range(count)] for count in counts]
        low, high = stats.these_problems(answered(*answers)).interval()
        held += low <= 0.5 <= high
    assert held > 0.91 * 400


def test_as_many_answers_to_all_problems_have_the_freedom_of_all():
    estimate = stats.these_problems(answered(*[[0.0, 1.0, 1.0, 0.0]] * 10))
    assert estimate.freedom == pytest.approx(30)


@pytest.mark.parametrize("low", [0.0, -1.0])
def test_groups_of_questions_about_the_same_texts_are_not_independent(low):
    groups = [[Unit(float(text % 3 == 0), cluster=str(text)) for text in range(12)] for _ in range(5)]
    one = stats.problems_like_these(groups[0], low)
    estimate = stats.groups_like_these(groups, low)
    assert estimate.stderr == pytest.approx(one.stderr), "the same five times says no more"
    assert estimate.interval() == pytest.approx(one.interval())
    apart = [[unit._replace(cluster=f"{i}{unit.cluster}") for unit in each] for i, each in enumerate(groups)]
    assert stats.groups_like_these(apart, low).variance < 0.36 * one.variance


def test_a_mean_over_parts_rests_on_the_smallest_of_them():
    chance, held = random.Random(0), 0
    for _ in range(300):
        groups = [[Unit(float(chance.random() < 0.5)) for _ in range(size)] for size in (3, 30, 300)]
        low, high = stats.groups_like_these(groups).interval()
        held += low <= 0.5 <= high
    assert held > 0.91 * 300


@pytest.mark.parametrize(("share", "n", "k", "published"), [(0.97, 30, 1, 1), (0.99, 100, 1, 1), (0.1, 10, 4, 1)])
def test_a_published_figure_near_the_end_of_the_range_is_not_a_proof(share, n, k, published):
    rng, significant = random.Random(0), 0

    def mean(answers):
        return statistics.fmean(float(rng.random() < share) for _ in range(answers))

    for _ in range(300):
        ours = answered(*[[float(rng.random() < share) for _ in range(k)] for _ in range(n)])
        significant += stats.against_published(ours, mean(n * published), repeats=published).p() < 0.05
    assert significant < 0.09 * 300
