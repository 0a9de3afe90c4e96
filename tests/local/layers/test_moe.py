"""Mixtures of experts: the choice, the sums, and that any division of the experts over ranks gives the same."""

from importlib import import_module
from typing import Any

import pytest
import torch
from torch.nn.functional import silu

from m1eval import RunnerError, load

local = load("runners", "local")
moe = import_module(f"{local.__name__}.layers.moe")
ops = import_module(f"{local.__name__}.ops.experts")
routing = import_module(f"{local.__name__}.ops.router")
layout = import_module(f"{local.__name__}.ops.layout")
activation = import_module(f"{local.__name__}.ops.silu")
sharding = import_module(f"{local.__name__}.layers.sharding")
layers = import_module(f"{local.__name__}.layers.layers")


def inputs(tokens: int, chosen: int, *, count: int = 6, width: int = 16, inner: int = 8) -> list[torch.Tensor]:
    """Tokens, both stacks of weights, weights and ids of the chosen."""
    rng = torch.Generator().manual_seed(tokens)
    x = torch.randn(tokens, width, generator=rng)
    gate_up = torch.randn(count, 2 * inner, width, generator=rng)
    down = torch.randn(count, width, inner, generator=rng)
    ids = torch.rand(tokens, count, generator=rng).topk(chosen).indices
    return [x, gate_up, down, torch.rand(tokens, chosen, generator=rng), ids]


def token_by_token(
    x: torch.Tensor, gate_up: torch.Tensor, down: torch.Tensor, weights: torch.Tensor, ids: torch.Tensor
) -> torch.Tensor:
    """The same in fp64, as written on paper; ids out of range are left out."""
    out = torch.zeros(x.shape, dtype=torch.float64)
    inner = down.shape[2]
    for token in range(len(x)):
        for weight, expert in zip(weights[token].double(), ids[token].tolist(), strict=True):
            if 0 <= expert < len(down):
                both = gate_up[expert].double() @ x[token].double()
                out[token] += weight * (down[expert].double() @ (silu(both[:inner]) * both[inner:]))
    return out.float()


@pytest.mark.parametrize(("tokens", "chosen"), [(1, 1), (1, 3), (5, 2), (40, 6)])
def test_the_sum_over_the_chosen_experts(tokens: int, chosen: int) -> None:
    args = inputs(tokens, chosen)
    torch.testing.assert_close(ops.experts(*args), token_by_token(*args), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("first", [-4, 0, 3, 6])
def test_experts_of_other_ranks_add_nothing(first: int) -> None:
    x, gate_up, down, weights, ids = inputs(20, 3)
    actual = ops.experts(x, gate_up, down, weights, ids - first, foreign=True)
    torch.testing.assert_close(actual, token_by_token(x, gate_up, down, weights, ids - first), atol=1e-4, rtol=1e-4)
    assert actual.any() == (-6 < first < 6)


@pytest.mark.parametrize("first", [0, 3, 6])
def test_computing_all_experts_for_all_tokens_does_the_same(first: int) -> None:
    x, gate_up, down, weights, ids = inputs(20, 3)
    local_ids = (ids - first).flatten()
    local_ids = local_ids.where((local_ids >= 0) & (local_ids < len(down)), len(down))
    expected = token_by_token(x, gate_up, down, weights, ids - first)
    torch.testing.assert_close(ops.dense(x, gate_up, down, weights, local_ids), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("first", [0, 3, 6])
@pytest.mark.parametrize(("tokens", "chosen"), [(1, 2), (30, 3)])
def test_two_grouped_products_do_the_same_in_bfloat16(tokens: int, chosen: int, first: int) -> None:
    x, gate_up, down, weights, ids = inputs(tokens, chosen)
    x, gate_up, down = (tensor.bfloat16() for tensor in (x, gate_up, down))
    local_ids = (ids - first).flatten()
    local_ids = local_ids.where((local_ids >= 0) & (local_ids < len(down)), len(down))
    actual = ops.grouped(x, gate_up, down, weights, local_ids, foreign=True)
    expected = token_by_token(x, gate_up, down, weights, ids - first)
    assert actual.dtype == torch.bfloat16
    assert (actual - expected).norm() <= 0.02 * expected.norm()
    if first == 0:
        assert ops.grouped(x, gate_up, down, weights, local_ids, foreign=False).equal(actual)


def test_ranks_add_up_to_the_whole() -> None:
    x, gate_up, down, weights, ids = inputs(20, 3)
    whole = token_by_token(x, gate_up, down, weights, ids)
    for size in (1, 2, 3):
        parts = []
        for rank in range(size):
            how = layers.LayerContext(torch.float32, sharding.Shard(rank, size))
            part = moe.Experts(16, 8, 6, how)
            stacked = part.stacked()
            for name, tensor in (("gate_up_proj", gate_up), ("down_proj", down)):
                slot = stacked[name]
                assert slot.shape == tuple(tensor.shape)
                slot.view.copy_(tensor[slot.part])
            with torch.inference_mode():
                parts.append(part.partial(x, weights, ids))
        torch.testing.assert_close(sum(parts), whole, atol=1e-4, rtol=1e-4)


def test_experts_that_cannot_be_divided_are_refused() -> None:
    with pytest.raises(RunnerError, match="6 experts cannot be split over 4 GPUs"):
        moe.Experts(16, 8, 6, layers.LayerContext(torch.float32, sharding.Shard(0, 4)))


def chosen(scores: list[float], correction: list[float] | None = None, **choice: Any) -> dict[int, float]:
    """Weight of each chosen expert."""
    bias = None if correction is None else torch.tensor(correction)
    weights, ids = routing.choose(torch.tensor([scores]), bias, layout.Routing(**choice))
    return {i: round(weight, 4) for i, weight in zip(ids[0].tolist(), weights[0].tolist(), strict=True)}


def test_the_best_experts_are_chosen_and_weighted() -> None:
    scores = [0.1, 0.4, 0.3, 0.2]
    assert chosen(scores, top_k=2, renormalise=False) == {1: 0.4, 2: 0.3}
    assert chosen(scores, top_k=2) == {1: 0.5714, 2: 0.4286}
    assert chosen(scores, top_k=2, scaling=2.5) == {1: 1.4286, 2: 1.0714}
    assert chosen(scores, top_k=1) == {1: 1.0}


def test_a_correction_changes_the_choice_but_not_the_weights() -> None:
    scores = [0.1, 0.4, 0.3, 0.2]
    assert chosen(scores, [1.0, 0.0, 0.0, 0.15], top_k=2, renormalise=False) == {0: 0.1, 1: 0.4}
    assert chosen(scores, [-9.0, -9.0, -9.0, -9.0], top_k=2, renormalise=False) == {1: 0.4, 2: 0.3}


def test_experts_come_from_the_groups_with_the_best_pairs() -> None:
    scores = [0.9, 0.0, 0.1, 0.5, 0.6, 0.0, 0.3, 0.3, 0.1]
    groups: dict[str, Any] = {"groups": 3, "top_groups": 1, "renormalise": False}
    assert chosen(scores, top_k=2, **groups) == {4: 0.6, 3: 0.5}
    assert chosen(scores, top_k=3, **(groups | {"top_groups": 2})) == {4: 0.6, 3: 0.5, 0: 0.9}
    assert chosen(scores, [0.0] * 6 + [1.0] * 3, top_k=2, **groups) == {6: 0.3, 7: 0.3}


@pytest.mark.parametrize("scoring", ["softmax", "sigmoid"])
def test_a_router_scores_in_fp32_whatever_its_weights(scoring: Any) -> None:
    torch.manual_seed(0)
    weight, x = torch.randn(8, 32).bfloat16(), torch.randn(5, 32).bfloat16()
    how = layers.LayerContext(torch.bfloat16)
    router = moe.Router(32, 8, layout.Routing(2, scoring, renormalise=False), how)
    router.weight.data.copy_(weight)
    exact = x.double() @ weight.double().t()
    expected = (exact.softmax(-1) if scoring == "softmax" else exact.sigmoid()).topk(2)
    with torch.inference_mode():
        weights, ids = router(x)
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights.double(), expected.values, atol=1e-5, rtol=1e-5)
    assert ids.equal(expected.indices)


def test_a_router_in_groups_takes_its_correction_into_account() -> None:
    torch.manual_seed(1)
    weight, x = torch.randn(8, 32), torch.randn(5, 32)
    choice = layout.Routing(2, "sigmoid", groups=2, scaling=2.5, eps=1e-20)
    router = moe.Router(32, 8, choice, layers.LayerContext(), corrected=True)
    router.weight.data.copy_(weight)
    router.e_score_correction_bias.data.copy_(torch.tensor([9.0, 9.0] + [0.0] * 6))
    with torch.inference_mode():
        weights, ids = router(x)
    assert ids.sort().values.tolist() == [[0, 1]] * 5
    expected = (x @ weight.t()).sigmoid().gather(1, ids)
    torch.testing.assert_close(weights, 2.5 * expected / expected.sum(1, keepdim=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scores_of_a_router_are_fp32_for_any_dtype(dtype: torch.dtype) -> None:
    torch.manual_seed(2)
    x, weight = torch.randn(3, 64).to(dtype), torch.randn(6, 64)
    actual = routing.logits(x, weight)
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual.double(), x.double() @ weight.double().t(), atol=1e-5, rtol=1e-5)


def test_silu_is_written_over_a_slice_and_nothing_else() -> None:
    torch.manual_seed(3)
    wide = torch.randn(4, 10)
    before = wide.clone()
    assert activation.silu_(wide[:, 2:8]).data_ptr() == wide[:, 2:].data_ptr()
    torch.testing.assert_close(wide[:, 2:8], silu(before[:, 2:8]))
    assert wide[:, [0, 1, 8, 9]].equal(before[:, [0, 1, 8, 9]])
