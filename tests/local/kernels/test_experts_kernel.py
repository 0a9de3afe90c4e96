"""The kernels of mixtures of experts against PyTorch: routers, sorting, products, sums; and SiLU in place.

Triton's interpreter truncates bf16 where a GPU rounds it, so bounds in bf16 are wide; in fp32 they are not.
"""

import pytest
import torch

BF16 = torch.bfloat16


def inputs(device, tokens, chosen, count, width=80, inner=48):
    """Tokens, both stacks of weights, weights and ids of the chosen."""
    torch.manual_seed(tokens)
    x = torch.randn(tokens, width, device=device, dtype=BF16)
    gate_up = (torch.randn(count, 2 * inner, width, device=device) * width**-0.5).to(BF16)
    down = (torch.randn(count, width, inner, device=device) * inner**-0.5).to(BF16)
    ids = torch.rand(tokens, count, device=device).topk(chosen).indices
    return [x, gate_up, down, torch.rand(tokens, chosen, device=device), ids]


def expected(part, x, gate_up, down, weights, ids):
    """The reference in fp32, other ranks' experts left out."""
    local_ids = ids.flatten().where((ids >= 0).flatten() & (ids < len(down)).flatten(), len(down))
    return part("ops.experts").expert_by_expert(x.float(), gate_up.float(), down.float(), weights, local_ids)


def near(actual, exact, bound):
    """Relative Frobenius error below the bound, also where nothing is expected."""
    assert actual.isfinite().all()
    assert (actual - exact).norm() <= bound * exact.norm()


@pytest.mark.parametrize("first", [0, 2, 8])
@pytest.mark.parametrize(("tokens", "chosen", "count"), [(1, 2, 8), (3, 3, 40), (20, 2, 4), (90, 1, 1)])
def test_few_and_many_tokens_go_through_their_own_experts(part, device, tokens, chosen, count, first):
    x, gate_up, down, weights, ids = inputs(device, tokens, chosen, count)
    ids = ids - first
    exact = expected(part, x, gate_up, down, weights, ids)
    tile = (64, 64, 4, 2)
    few = part("kernels.experts").experts(x, gate_up, down, weights, ids, tiles=(tile, tile))
    many = part("ops.experts").sorted_by_kernels(x, gate_up, down, weights, ids)
    assert few.dtype == many.dtype == BF16
    near(few, exact, 0.02)
    near(many, exact, 0.02)
    if device.type == "cpu":  # a GPU's operands would be rounded to bf16
        few = part("kernels.experts").experts(
            x.float(), gate_up.float(), down.float(), weights, ids, tiles=(tile, tile)
        )
        near(few, exact, 1e-5)


@pytest.mark.parametrize("tokens", [2, 70])
def test_on_a_gpu_the_kernels_are_taken_for_few_tokens_and_for_many(part, device, monkeypatch, tokens):
    ops, kernel, find = part("ops.experts"), part("kernels.experts"), part("ops").find_kernel
    for module in (part("ops"), ops):
        monkeypatch.setattr(module, "use_kernels", lambda tensor: True)
    taken = []

    def noted(name, real):
        def call(*args, **kwargs):
            taken.append(name)
            return real(*args, **kwargs)

        return call

    few = noted("few", kernel.experts)
    monkeypatch.setattr(
        part("ops"), "find_kernel", lambda reference: few if reference.__name__ == "experts" else find(reference)
    )
    monkeypatch.setattr(kernel, "sort_by_expert", noted("many", kernel.sort_by_expert))
    args = inputs(device, tokens, 2, 3)
    near(ops.experts(*args), expected(part, *args), 0.02)
    assert taken == ["few" if 2 * tokens <= ops.FEW else "many"]


def test_a_token_that_no_expert_here_sees_gives_zero_whatever_memory_held(part, device):
    x, gate_up, down, weights, ids = inputs(device, 6, 2, 4)
    seen = torch.full((12, 80), torch.nan, device=device, dtype=BF16)
    back = torch.full((12,), -1, device=device, dtype=torch.int32)
    kernel = part("kernels.experts")
    assert kernel.unpermute(seen, weights, back).equal(torch.zeros_like(x))
    assert kernel.experts(x, gate_up, down, weights, ids + 4).equal(torch.zeros_like(x))
    back[3] = 7
    seen[7] = 2.0
    exact = torch.zeros_like(x)
    exact[1] = (weights[1, 1] * 2).to(BF16)
    assert kernel.unpermute(seen, weights, back).equal(exact)


def test_without_tokens_nothing_is_done(part, device):
    x, gate_up, down, weights, ids = (
        tensor[:0] if i in {0, 3, 4} else tensor for i, tensor in enumerate(inputs(device, 2, 2, 4))
    )
    assert part("kernels.experts").experts(x, gate_up, down, weights, ids).shape == (0, 80)
    assert part("kernels.router").route(x, gate_up[0], None, part("ops.layout").Routing(2))[1].shape == (0, 2)


@pytest.mark.parametrize("first", [0, 3])
@pytest.mark.parametrize(
    ("tokens", "chosen", "count", "table"), [(7, 2, 5, 64), (1400, 2, 8, 8192), (700, 3, 40, 2048)]
)
def test_slots_are_sorted_by_expert_and_keep_their_order(part, device, tokens, chosen, count, table, first):
    torch.manual_seed(count)
    ids = torch.rand(tokens, count, device=device).topk(chosen).indices - first
    num_local = count - first
    back, ends = part("kernels.experts").sort_by_expert(ids, num_local, table=table)
    flat = ids.flatten()
    inside = (flat >= 0) & (flat < num_local)
    slots = flat.where(inside, num_local).argsort(stable=True)[: int(inside.sum())]
    assert back[slots].equal(torch.arange(len(slots), device=device, dtype=torch.int32))
    assert (back[~inside] == -1).all()
    assert ends.equal(flat[inside].bincount(minlength=num_local).cumsum(0).int())


def test_tokens_are_copied_to_their_slots(part, device):
    wide = torch.randn(5, 100, device=device, dtype=BF16)
    back = torch.tensor([3, 0, 9, 1, -1, 5, 2, 4, 7, 6], device=device, dtype=torch.int32)
    out = part("kernels.experts").permute(wide[:, :70], back, block=32)
    for slot, place in enumerate(back.tolist()):
        assert place < 0 or out[place].equal(wide[slot // 2, :70])


@pytest.mark.parametrize("dtype", [BF16, torch.float32])
@pytest.mark.parametrize(("tokens", "experts", "width", "programs"), [(1, 8, 96, 1), (5, 8, 300, 4), (40, 100, 64, 1)])
def test_routers_score_as_in_fp32(part, device, dtype, tokens, experts, width, programs):
    torch.manual_seed(experts)
    x = torch.randn(tokens, width, device=device, dtype=BF16)
    weight = torch.randn(experts, width, device=device).to(dtype)
    exact = x.double() @ weight.double().t()
    actual = part("kernels.router").logits(x, weight, tile=(16, 32, 4, 2, programs))
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual.double(), exact, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("scoring", ["softmax", "sigmoid"])
@pytest.mark.parametrize(("chosen", "renormalise", "scaling"), [(1, False, 1.0), (2, True, 1.0), (6, True, 2.5)])
@pytest.mark.parametrize(("tokens", "experts", "programs"), [(3, 8, 4), (50, 20, 1)])
def test_routers_choose_as_pytorch_does(part, device, scoring, chosen, renormalise, scaling, tokens, experts, programs):
    torch.manual_seed(chosen)
    x = torch.randn(tokens, 128, device=device, dtype=BF16)
    weight = torch.randn(experts, 128, device=device) * 0.1
    router = part("ops.router")
    routing = part("ops.layout").Routing(chosen, scoring, renormalise, scaling=scaling, eps=1e-20)
    scores = x.double() @ weight.double().t()
    scores = scores.softmax(-1) if scoring == "softmax" else scores.sigmoid()
    exact, best = router.choose(scores, None, routing)
    actual, ids = part("kernels.router").route(x, weight, None, routing, tile=(16, 32, 4, 2, programs))
    assert ids.equal(best)
    torch.testing.assert_close(actual.double(), exact, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("groups", [1, 2])
def test_a_correction_and_groups_go_by_the_kernels_scores(part, device, monkeypatch, groups):
    torch.manual_seed(groups)
    router = part("ops.router")
    x = torch.randn(5, 64, device=device, dtype=BF16)
    weight, correction = torch.randn(8, 64, device=device) * 0.2, torch.randn(8, device=device)
    choice = part("ops.layout").Routing(2, "sigmoid", groups=groups, eps=1e-20)
    exact, best = router.route(x.float(), weight, correction, choice)
    for module in (part("ops"), router):
        monkeypatch.setattr(module, "use_kernels", lambda tensor: True)
    actual, ids = router.route(x, weight, correction, choice)
    assert ids.equal(best)
    torch.testing.assert_close(actual, exact)
    assert not ids.equal(router.route(x, weight, None, choice)[1])


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # NumPy's, of the interpreter
def test_of_equal_scores_the_lower_id_wins_and_nan_stays_nan(part, device):
    x = torch.ones(2, 32, device=device, dtype=BF16)
    x[1, 0] = torch.nan
    weights, ids = part("kernels.router").route(
        x, torch.ones(6, 32, device=device), None, part("ops.layout").Routing(3)
    )
    assert ids[0].tolist() == [0, 1, 2]
    assert weights[0].tolist() == pytest.approx([1 / 3] * 3)
    assert weights[1].isnan().all()
    assert ((ids >= 0) & (ids < 6)).all()


def test_silu_is_written_over_slices(part, device):
    torch.manual_seed(0)
    wide = torch.randn(3, 100, device=device, dtype=BF16)
    before = wide.clone()
    out = part("kernels.silu").silu_(wide[:, 10:80], block=32)
    assert out.data_ptr() == wide[:, 10:].data_ptr()
    torch.testing.assert_close(wide[:, 10:80], torch.nn.functional.silu(before[:, 10:80]))
    assert wide[:, :10].equal(before[:, :10])
    assert wide[:, 80:].equal(before[:, 80:])
