"""The effective length: the longest prompts at which a model still reaches a score, by a sequential test."""

import math

import pytest

from m1eval.analysis.effective_length import effective
from m1eval.report.by_length import effective_line
from m1eval.types import EffectiveLengthRule
from tests.analysis.entries import sweep


def test_lengths_are_reached_missed_or_undecided():
    rule = EffectiveLengthRule(0.85)
    bands = sweep({1024: 50, 2048: 49, 4096: 43, 8192: 20, 16384: 50}, 50)
    assert effective(bands, 0.85).standings == ("reached", "reached", "undecided", "missed", "reached")
    assert effective_line(bands, rule) == (
        "effective context length: at least 2k (score ≥ 0.85); not 8k; undecided at 4k;"
        " reached at 16k, but not at every shorter length"
    )
    assert effective_line(sweep({1024: 5, 2048: 10}, 10), rule) == (
        "effective context length: none (score ≥ 0.85), not even 1k; undecided at 2k (n = 10 is too few to tell)"
    )
    assert effective_line(sweep({1024: 43, 2048: 10}, 50), rule).startswith(
        "effective context length: not known (score ≥ 0.85); not 2k; undecided at 1k"
    )
    ranges = [band._replace(label=f"≤ {band.label}") for band in bands]
    assert effective_line(ranges, rule).startswith("effective context length: at least 2k (score ≥ 0.85); not ≤ 8k")


def named(n: int, truth: float, threshold: float) -> float:
    """The exact chance that a length is named as reached."""
    return sum(
        math.comb(n, right) * truth**right * (1 - truth) ** (n - right)
        for right in range(n + 1)
        if effective(sweep({1024: right}, n), threshold).longest
    )


@pytest.mark.parametrize("n", [2, 10, 16, 20, 30, 50, 100])
def test_a_length_that_is_not_reached_is_named_in_at_most_5_percent_of_runs(n):
    assert named(n, 0.80, 0.85) <= 0.05
    assert named(n, 0.5, 0.6) <= 0.05


def test_more_lengths_make_no_false_one_likelier():
    numpy = pytest.importorskip("numpy")
    drawn = numpy.random.default_rng(0)
    for truths in ([0.80] * 6, [0.97, 0.97, 0.80, 0.80, 0.80, 0.80]):
        limit = 2 ** (10 + sum(truth >= 0.85 for truth in truths))
        too_long = 0
        for rights in drawn.binomial(30, truths, size=(400, 6)):
            score_limit = effective(sweep({2 ** (10 + i): int(right) for i, right in enumerate(rights)}, 30), 0.85)
            too_long += (score_limit.longest or 0) >= limit
        assert too_long / 400 <= 0.05
