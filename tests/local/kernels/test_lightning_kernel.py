"""The Triton kernels of lightning attention give what PyTorch gives, however sequences are cut."""

import pytest
import torch

LIMITS = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 1e-3}
SLOPES = (0.917, 5e-5)


@pytest.fixture
def kernel(part):
    return part("kernels.lightning")


@pytest.fixture
def plain(part):
    return part("ops.lightning")


def random_qkv(device, tokens, dim, dtype=torch.float32, heads=2):
    """q, k and v as a model has them: views of one tensor."""
    generator = torch.Generator().manual_seed(tokens + dim)
    return torch.randn(tokens, heads, 3, dim, generator=generator).to(device, dtype).unbind(2)


def begun(device, slots, dim, heads=2):
    return torch.randn(slots, heads, dim, dim, generator=torch.Generator().manual_seed(slots)).to(device)


def error(actual, expected):
    return ((actual.double() - expected.double()).norm() / expected.double().norm()).item()


def compare(kernel, plain, device, spans, *, tokens, dim, dtype=torch.float32, slopes=SLOPES, **tuning):
    """Prefill both ways on the same inputs, from states that are not empty; the kernel's output and states."""
    q, k, v = random_qkv(device, tokens, dim, dtype)
    slopes = torch.tensor(slopes, device=device)
    states = begun(device, 6, dim)
    before, expected_states = states.clone(), states.clone()
    exact = [x.float() for x in (q, k, v)]
    expected = plain.lightning_prefill.reference(*exact, slopes, expected_states, spans)
    actual = kernel.lightning_prefill(q, k, v, slopes, states, spans, tuning=kernel.Tuning(**tuning))
    assert actual.dtype == dtype
    for head in range(2):
        assert error(actual[:, head], expected[:, head]) < LIMITS[dtype]
        assert error(states[:, head], expected_states[:, head]) < LIMITS[dtype]
    others = sorted(set(range(6)) - {slot for _, _, slot in spans})
    assert torch.equal(states[others], before[others])
    return actual, states


@pytest.mark.parametrize(
    ("dim", "dtype"),
    [*((dim, torch.float32) for dim in (16, 24, 64, 96, 128)), (24, torch.bfloat16), (24, torch.float16)],
)
def test_prefill_is_right_for_every_width_and_type(kernel, plain, device, dim, dtype):
    spans = [(0, 40, 4), (40, 41, 0)]
    compare(kernel, plain, device, spans, tokens=41, dim=dim, dtype=dtype, block=32, min_segment=32, programs=1)


@pytest.mark.parametrize(("block", "min_segment"), [(16, 16), (16, 512), (32, 64), (64, 64)])
def test_prefill_is_right_however_it_is_cut(kernel, plain, device, block, min_segment):
    spans = [(0, 1, 5), (1, 100, 0), (100, 164, 3), (164, 165, 1), (165, 200, 2)]
    compare(kernel, plain, device, spans, tokens=200, dim=16, block=block, min_segment=min_segment, programs=16)


@pytest.mark.parametrize("split", [1, 2])
def test_prefill_is_right_with_the_values_in_parts(kernel, plain, device, split):
    spans = [(0, 80, 1)]
    compare(
        kernel,
        plain,
        device,
        spans,
        tokens=80,
        dim=64,
        block=32,
        min_segment=32,
        programs=9,
        split=split,
        state_split=split,
    )


@pytest.mark.parametrize("slopes", [(0.917, 0.3), (1.5, 0.0), (5e-5, 0.004)], ids=str)
def test_tokens_that_are_not_read_left_nothing(kernel, plain, device, slopes):
    # At slope 0.917 a segment of 128 tokens leaves what its last 97 do; at 0 every token stays.
    spans = [(0, 330, 2)]
    compare(kernel, plain, device, spans, tokens=330, dim=16, slopes=slopes, block=64, min_segment=128, programs=99)


def test_tokens_outside_the_spans_give_zeros_and_change_nothing(kernel, plain, device):
    spans = [(3, 40, 1), (50, 90, 0)]
    actual, _ = compare(kernel, plain, device, spans, tokens=100, dim=16, block=16, min_segment=16, programs=9)
    assert not actual[:3].any()
    assert not actual[40:50].any()
    assert not actual[90:].any()


def test_without_spans_nothing_is_written(kernel, device):
    q, k, v = random_qkv(device, 5, 16)
    states = begun(device, 2, 16)
    before = states.clone()
    assert not kernel.lightning_prefill(q, k, v, torch.tensor(SLOPES, device=device), states, []).any()
    assert torch.equal(states, before)


def test_a_broken_sequence_leaves_its_neighbours_whole(kernel, device):
    q, k, v = (x.clone() for x in random_qkv(device, 60, 16))
    slopes, states = torch.tensor(SLOPES, device=device), begun(device, 2, 16)
    q[30:], k[30:], v[30:] = torch.nan, torch.nan, torch.inf
    actual = kernel.lightning_prefill(q, k, v, slopes, states, [(0, 30, 0), (30, 60, 1)])
    assert actual[:30].isfinite().all()
    assert states[0].isfinite().all()
    assert not actual[30:].isfinite().any()


def test_states_may_be_a_view_of_more(kernel, plain, device):
    q, k, v = random_qkv(device, 40, 16)
    slopes, spans = torch.tensor(SLOPES, device=device), [(0, 40, 1)]
    pool = begun(device, 6, 16).view(2, 3, 2, 16, 16)
    before, expected_states = pool.clone(), pool[:, 1].clone()
    plain.lightning_prefill.reference(q, k, v, slopes, expected_states, spans)
    kernel.lightning_prefill(q, k, v, slopes, pool[:, 1], spans)
    assert error(pool[:, 1], expected_states) < 1e-5
    assert torch.equal(pool[:, [0, 2]], before[:, [0, 2]])


@pytest.mark.parametrize("dtype", LIMITS, ids=str)
@pytest.mark.parametrize("dim", [16, 24, 96])
def test_decode_is_right_for_every_width_and_type(kernel, plain, device, dim, dtype):
    q, k, v = random_qkv(device, 3, dim, dtype)
    slopes, slots = torch.tensor(SLOPES, device=device), torch.tensor([5, 0, 2], device=device)
    states = begun(device, 6, dim)
    before, expected_states = states.clone(), states.clone()
    for _ in range(2):
        actual = kernel.lightning_decode(q, k, v, slopes, states, slots)
        expected = plain.lightning_decode.reference(q.float(), k.float(), v.float(), slopes, expected_states, slots)
        assert actual.dtype == dtype
        assert error(actual, expected) < LIMITS[dtype]
    assert error(states, expected_states) < 1e-5
    assert torch.equal(states[[1, 3, 4]], before[[1, 3, 4]])


def test_decode_goes_on_where_prefill_ended(kernel, plain, device):
    q, k, v = random_qkv(device, 50, 16)
    slopes = torch.tensor(SLOPES, device=device)
    states, expected_states = torch.zeros(2, 1, 2, 16, 16, device=device)
    expected = plain.lightning_prefill.reference(q, k, v, slopes, expected_states, [(0, 50, 0)])
    kernel.lightning_prefill(q[:40], k[:40], v[:40], slopes, states, [(0, 40, 0)])
    slots = torch.tensor([0], device=device)
    rows = [x[t : t + 1] for t in range(40, 50) for x in (q, k, v)]
    actual = [kernel.lightning_decode(*rows[i : i + 3], slopes, states, slots) for i in range(0, len(rows), 3)]
    assert error(torch.cat(actual), expected[40:]) < 1e-5
    assert error(states, expected_states) < 1e-5
