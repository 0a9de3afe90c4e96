"""Drawing tokens: the filtered distributions are exactly those that the settings name."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from m1eval import Sampling, load

local = load("runners", "local")
HEAD = local.sampling.HEAD
Draw = local.sampling.Draw
choose = local.sampling.choose
draw_rows = local.sampling.draw_rows
number = local.sampling.number


def filtered(scores: torch.Tensor, draw: Any) -> torch.Tensor:
    """The distribution by its definition, one token after another."""
    chances = (scores.double() / draw.temperature).softmax(-1).tolist()
    order = sorted(range(len(chances)), key=lambda token: -chances[token])
    order = order[: draw.top_k or None]
    mass = 0.0
    nucleus: list[int] = []
    for token in order:
        if nucleus and mass >= draw.top_p * sum(chances[t] for t in order):
            break
        nucleus.append(token)
        mass += chances[token]
    kept = [token for token in nucleus if chances[token] >= draw.min_p * chances[order[0]]]
    found = torch.zeros(len(chances), dtype=torch.float64)
    for token in kept:
        found[token] = chances[token]
    return found / found.sum()


def drawn(scores: torch.Tensor, draw: Any, count: int) -> torch.Tensor:
    """How often each token comes at evenly spaced random numbers."""
    numbers = [(i + 0.5) / count for i in range(count)]
    tokens = draw_rows(scores.expand(count, -1), [draw] * count, numbers)
    return torch.bincount(tokens, minlength=scores.shape[-1]) / count


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    temperature=st.sampled_from([0.3, 0.7, 1.0, 1.7]),
    top_p=st.sampled_from([0.1, 0.5, 0.8, 0.95, 1.0]),
    top_k=st.sampled_from([0, 2, 5, 20, 1000]),
    min_p=st.sampled_from([0.0, 0.02, 0.2, 1.0]),
)
def test_tokens_come_as_often_as_the_filtered_distribution_says(
    seed: int, temperature: float, top_p: float, top_k: int, min_p: float
) -> None:
    scores = 2 * torch.randn(40, generator=torch.Generator().manual_seed(seed))
    draw = Draw(temperature, top_p, top_k, min_p, 0)
    # Evenly spaced numbers hit each interval to within one of its two ends.
    assert (drawn(scores, draw, 1000) - filtered(scores, draw)).abs().max() <= 0.002


@pytest.mark.parametrize("draw", [Draw(1.0, 1.0, 0, 0.0, 0), Draw(1.0, 0.9, 0, 0.0, 0), Draw(1.0, 0.5, 2000, 0.0, 0)])
def test_flat_distributions_are_drawn_to_their_ends(draw: Any) -> None:
    scores = 0.1 * torch.randn(20 * HEAD, generator=torch.Generator().manual_seed(0))
    wanted = filtered(scores, draw)
    assert (wanted > 0).sum() > 2 * HEAD
    found = drawn(scores, draw, 2000)
    assert found[wanted == 0].sum() == 0
    ranks = scores.argsort(descending=True)
    gap = (found[ranks].cumsum(0) - wanted[ranks].cumsum(0)).abs().max()
    assert gap < 0.001


def test_the_filters_keep_what_those_of_transformers_keep() -> None:
    import transformers

    warpers: Any = transformers

    torch.manual_seed(0)
    for top_k, top_p, min_p in ((30, 0.8, 0.0), (500, 0.6, 0.0), (10, 0.99, 0.3), (40, 0.7, 0.1)):
        scores = 3 * torch.randn(1, 500)
        kept = warpers.TopPLogitsWarper(top_p)(None, warpers.TopKLogitsWarper(top_k)(None, scores))
        if min_p:
            kept = warpers.MinPLogitsWarper(min_p)(None, kept)
        found = drawn(scores[0], Draw(1.0, top_p, top_k, min_p, 0), 5000)
        assert (found > 0).nonzero().flatten().tolist() == kept[0].isfinite().nonzero().flatten().tolist()


def test_rows_are_drawn_by_their_own_settings() -> None:
    scores = torch.randn(6, 1000, generator=torch.Generator().manual_seed(3))
    draws = [
        Draw(0.0, 0.5, 0, 0.0, 1),
        Draw(1.0, 1.0, 0, 0.0, 2),
        Draw(2.0, 0.3, 0, 0.0, 3),
        Draw(1.0, 1.0, 1, 0.0, 4),
        Draw(0.7, 0.9, 600, 0.01, 5),
        Draw(1.0, 1.0, 0, 1.0, 6),
    ]
    indices = [9, 8, 7, 6, 5, 4]
    together = choose(scores, draws, indices)
    alone = [choose(scores[i : i + 1], [draws[i]], [indices[i]])[0] for i in range(6)]
    assert together == alone
    best = scores.argmax(-1).tolist()
    assert [together[i] for i in (0, 3, 5)] == [best[i] for i in (0, 3, 5)]


def test_a_row_that_is_not_finite_is_no_token() -> None:
    scores = torch.randn(3, 50)
    scores[0, 7] = torch.nan
    scores[1] = -torch.inf
    for temperature in (0.0, 1.0):
        tokens = choose(scores, [Draw(temperature, 0.9, 0, 0.0, 0)] * 3, [0, 0, 0])
        assert tokens[:2] == [-1, -1]
        assert tokens[2] >= 0


def test_tokens_that_are_ruled_out_are_never_drawn() -> None:
    scores = torch.full((1, 2000), -torch.inf)
    scores[0, [3, 1999]] = 0.0
    found = drawn(scores[0], Draw(1.0, 1.0, 0, 0.0, 0), 100)
    assert found[[3, 1999]].tolist() == [0.5, 0.5]


def test_random_numbers_are_uniform_and_independent_of_each_other() -> None:
    values = torch.tensor([[number(seed, index) for index in range(100)] for seed in range(100)], dtype=torch.float64)
    assert ((values >= 0) & (values < 1)).all()
    counts = torch.histc(values.float(), bins=20, min=0, max=1)
    assert (counts - 500).abs().max() < 5 * math.sqrt(500)
    for neighbours in (values, values.t()):
        pairs = torch.stack((neighbours[:, 1:].flatten(), neighbours[:, :-1].flatten()))
        assert torch.corrcoef(pairs)[0, 1].abs() < 0.05


def test_random_numbers_stay_the_same_for_ever() -> None:
    assert [number(0, 0), number(0, 1), number(123, 45)] == FROZEN


FROZEN = [0.6321185511499412, 0.990107168073387, 0.149122566754383]


@pytest.mark.parametrize(
    "bad", [{"temperature": -0.1}, {"top_p": 0.0}, {"top_p": 1.1}, {"min_p": -1.0}, {"min_p": 2.0}]
)
def test_impossible_settings_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="sampling wants"):
        Draw.of(Sampling(**bad), 0)


def test_settings_left_open_are_greedy_and_unfiltered() -> None:
    assert Draw.of(Sampling(), 5) == Draw(0.0, 1.0, 0, 0.0, 5)
    assert Draw.of(Sampling(), 5).greedy
    assert Draw.of(Sampling(temperature=1.0, top_k=-1), 5) == Draw(1.0, 1.0, 0, 0.0, 5)
