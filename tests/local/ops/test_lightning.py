"""Lightning attention in PyTorch is its recurrence, whatever the slope, the length and the cut."""

import importlib
from itertools import pairwise

import pytest
import torch

from m1eval import load

local = load("runners", "local")
lightning = importlib.import_module(f"{local.__name__}.ops.lightning")

STEEPEST, FLATTEST = 0.917, 5e-5


def random_qkv(tokens, heads, dim, dtype=torch.float32, seed=0):
    """q, k and v as a model has them: views of one tensor."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(tokens, heads, 3, dim, generator=generator).to(dtype).unbind(2)


def recurrence(q, k, v, slopes, states, spans):
    """Token by token in fp64; states in place."""
    q, k, v, out = q.double(), k.double(), v.double(), torch.zeros(q.shape, dtype=torch.float64)
    decay = (-slopes.double()).exp()[:, None, None]
    for begin, end, slot in spans:
        for t in range(begin, end):
            states[slot] = states[slot] * decay + k[t, :, :, None] * v[t, :, None, :]
            out[t] = (q[t, :, None] @ states[slot])[:, 0]
    return out


def error(actual, expected):
    return ((actual.double() - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("length", [1, 2, 255, 256, 257, 3000])
def test_blocks_give_what_the_recurrence_gives_at_every_slope(length):
    slopes = torch.tensor([STEEPEST, 0.06, FLATTEST, 0.0])
    q, k, v = random_qkv(length, 4, 16)
    states = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    expected_states = states.double()
    expected = recurrence(q, k, v, slopes, expected_states, [(0, length, 0)])
    actual = lightning.lightning_prefill.reference(q, k, v, slopes, states, [(0, length, 0)])
    for head in range(4):
        assert error(actual[:, head], expected[:, head]) < 1e-5
        assert error(states[:, head], expected_states[:, head]) < 1e-5


def test_each_span_has_its_own_state_and_other_slots_stay():
    spans = [(0, 300, 3), (300, 301, 0), (310, 340, 4)]
    q, k, v = random_qkv(350, 2, 24)
    slopes = torch.tensor([0.3, 0.001])
    states = torch.randn(6, 2, 24, 24, generator=torch.Generator().manual_seed(1))
    before, expected_states = states.clone(), states.double()
    expected = recurrence(q, k, v, slopes, expected_states, spans)
    actual = lightning.lightning_prefill.reference(q, k, v, slopes, states, spans)
    assert error(actual, expected) < 1e-5
    assert error(states, expected_states) < 1e-5
    assert torch.equal(states[[1, 2, 5]], before[[1, 2, 5]])
    assert not actual[301:310].any()
    assert not actual[340:].any()


@pytest.mark.parametrize("cuts", [[0, 1, 700], [0, 256, 512, 700], [0, 333, 699, 700]])
def test_a_prompt_in_chunks_gives_the_output_of_the_whole_prompt(cuts):
    q, k, v = random_qkv(700, 2, 16)
    slopes = torch.tensor([STEEPEST, 0.004])
    whole, parts = torch.zeros(2, 1, 2, 16, 16)
    expected = lightning.lightning_prefill.reference(q, k, v, slopes, whole, [(0, 700, 0)])
    actual = [
        lightning.lightning_prefill.reference(q[a:b], k[a:b], v[a:b], slopes, parts, [(0, b - a, 0)])
        for a, b in pairwise(cuts)
    ]
    assert error(torch.cat(actual), expected.double()) < 1e-5
    assert error(parts, whole.double()) < 1e-5


def test_decode_goes_on_where_prefill_ended():
    q, k, v = random_qkv(40, 2, 16)
    slopes = torch.tensor([STEEPEST, FLATTEST])
    states = torch.randn(5, 2, 16, 16, generator=torch.Generator().manual_seed(1))
    before, expected_states = states.clone(), states.double()
    expected = recurrence(q, k, v, slopes, expected_states, [(0, 20, 4), (20, 40, 1)])
    lightning.lightning_prefill.reference(q, k, v, slopes, states, [(0, 10, 4), (20, 30, 1)])
    slots = torch.tensor([1, 4])
    for t in range(10, 20):
        rows = [x[[20 + t, t]] for x in (q, k, v)]
        assert error(lightning.lightning_decode.reference(*rows, slopes, states, slots), expected[[20 + t, t]]) < 1e-5
    assert error(states, expected_states) < 1e-5
    assert torch.equal(states[[0, 2, 3]], before[[0, 2, 3]])


@pytest.mark.parametrize(("dtype", "limit"), [(torch.bfloat16, 3e-3), (torch.float16, 4e-4)])
def test_short_numbers_cost_no_more_than_their_own_rounding(dtype, limit):
    q, k, v = random_qkv(600, 2, 32, dtype)
    slopes = torch.tensor([0.2, FLATTEST])
    states, expected_states = torch.zeros(1, 2, 32, 32), torch.zeros(1, 2, 32, 32, dtype=torch.float64)
    expected = recurrence(q, k, v, slopes, expected_states, [(0, 600, 0)])
    actual = lightning.lightning_prefill.reference(q, k, v, slopes, states, [(0, 600, 0)])
    assert actual.dtype == dtype
    assert error(actual, expected) < limit
    assert error(states, expected_states) < 1e-5
    row = q[:1], k[:1], v[:1]
    expected = recurrence(*row, slopes, expected_states, [(0, 1, 0)])
    actual = lightning.lightning_decode.reference(*row, slopes, states, torch.tensor([0]))
    assert actual.dtype == dtype
    assert error(actual, expected) < limit


def test_a_sequence_that_sums_past_fp16_stays_finite():
    ones = torch.ones(4000, 1, 16, dtype=torch.float16) * 5
    states = torch.zeros(1, 1, 16, 16)
    lightning.lightning_prefill.reference(ones * 0.01, ones, ones, torch.tensor([0.0]), states, [(0, 4000, 0)])
    assert states.isfinite().all()
    assert states.min() > torch.finfo(torch.float16).max


def test_the_operation_takes_the_plain_way_on_a_cpu():
    q, k, v = random_qkv(30, 2, 16)
    slopes, one, other = torch.tensor([0.5, 0.01]), *torch.zeros(2, 1, 2, 16, 16)
    expected = lightning.lightning_prefill.reference(q, k, v, slopes, one, [(0, 30, 0)])
    assert torch.equal(lightning.lightning_prefill(q, k, v, slopes, other, [(0, 30, 0)]), expected)
    row, slots = [x[:1] for x in (q, k, v)], torch.tensor([0])
    expected = lightning.lightning_decode.reference(*row, slopes, one, slots)
    assert torch.equal(lightning.lightning_decode(*row, slopes, other, slots), expected)
    assert torch.equal(one, other)
