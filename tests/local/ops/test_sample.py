"""Sampling: the filtered distributions are exactly those of the settings."""

import importlib
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from m1eval import load

package = load("runners", "local").__name__ + ".ops"
ops, layout = (importlib.import_module(f"{package}.{name}") for name in ("sample", "layout"))
HEAD = ops.HEAD


def column(values, dtype=torch.float32):
    return torch.tensor(values, dtype=dtype)


def sampled(scores, temperature, top_p, top_k, min_p, seeds, indices):
    """`sample` of settings given as lists."""
    floats = [column(values) for values in (temperature, top_p)]
    whole = [column(values, torch.int64) for values in (seeds, indices)]
    return ops.sample(scores, *floats, column(top_k, torch.int32), column(min_p), *whole).tolist()


def filtered(scores, temperature, top_p, top_k, min_p):
    """The distribution by its definition, one token after another, for scores of which none are equal."""
    chances = (scores.double() / temperature).softmax(-1).tolist()
    order = sorted(range(len(chances)), key=lambda token: -chances[token])
    order = order[: top_k or None]
    mass = 0.0
    nucleus: list[int] = []
    for token in order:
        if nucleus and mass >= top_p * sum(chances[t] for t in order):
            break
        nucleus.append(token)
        mass += chances[token]
    filtered_tokens = [token for token in nucleus if chances[token] >= min_p * chances[order[0]]]
    actual = torch.zeros(len(chances), dtype=torch.float64)
    for token in filtered_tokens:
        actual[token] = chances[token]
    return actual / actual.sum()


def frequencies(scores, count, temperature=1.0, top_p=1.0, top_k=0, min_p=0.0):
    """The frequency of each token at evenly spaced random numbers."""
    goals = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    ones = torch.ones(count)
    filters = ones * temperature, ones * top_p, (ones * top_k).int(), ones * min_p
    tokens = ops.sample_filtered(scores.expand(count, -1), *filters, goals)
    return torch.bincount(tokens, minlength=scores.shape[-1]) / count


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    temperature=st.sampled_from([0.3, 0.7, 1.0, 1.7]),
    top_p=st.sampled_from([0.1, 0.5, 0.8, 0.95, 1.0]),
    top_k=st.sampled_from([0, 2, 5, 20, 1000]),
    min_p=st.sampled_from([0.0, 0.02, 0.2, 1.0]),
)
def test_tokens_come_as_often_as_the_filtered_distribution_says(seed, temperature, top_p, top_k, min_p):
    scores = 2 * torch.randn(40, generator=torch.Generator().manual_seed(seed))
    how = (temperature, top_p, top_k, min_p)
    # Evenly spaced numbers hit each interval to within one of its two ends.
    assert (frequencies(scores, 1000, *how) - filtered(scores, *how)).abs().max() <= 0.002


@pytest.mark.parametrize(("top_p", "top_k"), [(1.0, 0), (0.9, 0), (0.5, 2000), (1.0, 2000)])
def test_flat_distributions_are_sampled_to_their_ends(top_p, top_k):
    scores = 0.1 * torch.randn(20 * HEAD, generator=torch.Generator().manual_seed(0))
    expected = filtered(scores, 1.0, top_p, top_k, 0.0)
    assert (expected > 0).sum() > 2 * HEAD
    actual = frequencies(scores, 1000, 1.0, top_p, top_k)
    assert actual[expected == 0].sum() == 0
    assert (actual.cumsum(0) - expected.cumsum(0)).abs().max() < 0.0015


@pytest.mark.parametrize(("top_p", "top_k"), [(0.5, 500), (0.9, 300), (0.8, 5000), (0.95, 20)])
def test_top_p_takes_its_share_of_what_top_k_leaves(top_p, top_k):
    scores = 2 * torch.randn(20 * HEAD, generator=torch.Generator().manual_seed(1))
    expected = filtered(scores, 1.0, top_p, top_k, 0.0)
    chances = (scores - scores.max()).exp()
    cut = ops.cutoffs(chances[None], column([top_p]), column([top_k], torch.int32), column([0.0]))
    assert torch.equal(chances >= cut, expected > 0)


def test_samples_follow_the_order_of_token_ids():
    scores = torch.tensor([[0.1, 3.0, 0.2, 2.0]])
    ones = torch.ones(99)
    tokens = ops.sample_filtered(
        scores.expand(99, -1), ones, ones, (0 * ones).int(), 0 * ones, torch.arange(99).double() / 99
    )
    assert tokens.tolist() == sorted(tokens.tolist())
    assert set(tokens.tolist()) == {0, 1, 2, 3}


def test_the_filters_keep_what_those_of_transformers_keep():
    import transformers

    warpers: Any = transformers
    torch.manual_seed(0)
    for top_k, top_p, min_p in ((30, 0.8, 0.0), (500, 0.6, 0.0), (10, 0.99, 0.3), (40, 0.7, 0.1)):
        scores = 3 * torch.randn(1, 500)
        filtered_scores = warpers.TopPLogitsWarper(top_p)(None, warpers.TopKLogitsWarper(top_k)(None, scores))
        if min_p:
            filtered_scores = warpers.MinPLogitsWarper(min_p)(None, filtered_scores)
        actual = frequencies(scores[0], 5000, 1.0, top_p, top_k, min_p)
        assert (actual > 0).nonzero().flatten().tolist() == filtered_scores[0].isfinite().nonzero().flatten().tolist()


@pytest.mark.parametrize("how", [{"top_k": 2}, {"top_p": 0.45}, {"top_k": 2, "top_p": 0.9}, {"top_k": HEAD}])
def test_equal_scores_are_kept_or_dropped_together(how):
    scores = torch.full((2 * HEAD,), -9.0)
    scores[[5, 9, 400]] = 2.0
    scores[[7, 11]] = 2.0 - math.log(2.0)
    actual = frequencies(scores, 900, **how)
    if how == {"top_k": HEAD}:  # all others tie with the last of the head, so all are kept
        assert torch.equal(actual, frequencies(scores, 900))
        assert (actual > 0).sum() > 5
    else:
        assert actual.nonzero().flatten().tolist() == [5, 9, 400]
    assert (actual[[5, 9, 400]].max() - actual[[5, 9, 400]].min()) < 0.005


def test_sequences_are_sampled_by_their_own_settings():
    scores = torch.randn(6, 1000, generator=torch.Generator().manual_seed(3))
    rows = [
        (0.0, 0.5, 0, 0.0, 1, 9),
        (1.0, 1.0, 0, 0.0, 2, 8),
        (2.0, 0.3, 0, 0.0, 3, 7),
        (1.0, 1.0, 1, 0.0, 4, 6),
        (0.7, 0.9, 600, 0.01, 5, 5),
        (1.0, 1.0, 0, 1.0, 6, 4),
    ]
    together = sampled(scores, *zip(*rows, strict=True))
    alone = [sampled(scores[i : i + 1], *([value] for value in rows[i]))[0] for i in range(6)]
    assert together == alone
    best = scores.argmax(-1).tolist()
    assert [together[i] for i in (0, 3, 5)] == [best[i] for i in (0, 3, 5)]


def test_a_temperature_of_zero_is_argmax():
    scores = torch.randn(5, 300, generator=torch.Generator().manual_seed(4))
    zero = [0.0] * 5
    inputs = (scores, zero, [0.9] * 5, [0] * 5, zero, range(5), range(5))
    assert ops.argmax(scores).tolist() == sampled(*inputs) == scores.argmax(-1).tolist()


def test_the_lowest_of_equal_ids_is_the_greedy_one():
    scores = torch.zeros(1, 1000)
    scores[0, [300, 31, 700]] = 1.0
    assert sampled(scores, [0.0], [1.0], [0], [0.0], [0], [0]) == [31]


def test_logits_that_are_not_finite_give_no_token():
    scores = torch.randn(4, 50)
    scores[0, 7] = torch.nan
    scores[1] = -torch.inf
    scores[2, 9] = torch.inf
    for temperature in (0.0, 1.0):
        tokens = sampled(scores, [temperature] * 4, [0.9] * 4, [0] * 4, [0.0] * 4, [0] * 4, [0] * 4)
        assert tokens[:3] == [-1, -1, -1]
        assert tokens[3] >= 0


def test_tokens_of_zero_probability_are_never_sampled():
    scores = torch.full((2000,), -torch.inf)
    scores[[3, 1999]] = 0.0
    for how in ({}, {"top_p": 0.999}, {"top_k": 50}):
        actual = frequencies(scores, 100, **how)
        assert actual[[3, 1999]].tolist() == [0.5, 0.5]


def test_the_settings_are_left_as_they_were():
    scores = torch.randn(3, 500)
    floats = [column([1.0] * 3), column([0.5] * 3), column([5] * 3, torch.int32), column([0.1] * 3)]
    before = [tensor.clone() for tensor in (scores, *floats)]
    ops.sample(scores, *floats, torch.arange(3), torch.arange(3))
    assert all(torch.equal(a, b) for a, b in zip((scores, *floats), before, strict=True))


def test_random_numbers_are_uniform_and_independent_of_each_other():
    values = torch.tensor([[ops.uniform(seed, index) for index in range(100)] for seed in range(100)])
    assert ((values >= 0) & (values < 1)).all()
    counts = torch.histc(values.float(), bins=20, min=0, max=1)
    assert (counts - 500).abs().max() < 5 * math.sqrt(500)
    for neighbours in (values, values.t()):
        pairs = torch.stack((neighbours[:, 1:].flatten(), neighbours[:, :-1].flatten()))
        assert torch.corrcoef(pairs)[0, 1].abs() < 0.05


def test_random_numbers_are_the_same_for_tensors():
    seeds, indices = [0, 1, 123, -5, 2**62, -(2**63)], [0, 7, 45, 3, 10**6, 2]
    actual = ops.uniforms(column(seeds, torch.int64), column(indices, torch.int64)).tolist()
    assert actual == [ops.uniform(seed, index) for seed, index in zip(seeds, indices, strict=True)]


def test_random_numbers_stay_the_same_forever():
    assert [ops.uniform(0, 0), ops.uniform(0, 1), ops.uniform(123, 45)] == FROZEN


def test_the_mixing_is_splitmix64():
    # The first outputs of the published generator from the state 1234567.
    state, actual = 1234567, []
    for _ in range(3):
        actual.append(ops._mix(state))
        state = (state + layout.GOLDEN) % ops.WORD
    assert actual == [6457827717110365317, 3203168211198807973, 9817491932198370423]


FROZEN = [0.6524484863740322, 0.03401170130434639, 0.08372436142837347]
