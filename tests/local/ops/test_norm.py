"""Norms and the gated activation: what transformers computes, and their sums."""

import importlib

import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from m1eval import load

norm = importlib.import_module(f"{load('runners', 'local').__name__}.ops.norm")
EPS = 1e-5


def reference(x, weight):
    layer = LlamaRMSNorm(weight.shape[0], EPS)
    layer.weight.data = weight
    return layer(x).detach()


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def tensors(request):
    torch.manual_seed(0)
    return [(3 * torch.randn(*shape)).to(request.param) for shape in ((5, 96), (5, 96), (96,))]


def test_rms_norm_is_that_of_transformers(tensors):
    x, _, weight = tensors
    torch.testing.assert_close(norm.rms_norm(x, weight, EPS), reference(x, weight), rtol=1e-6, atol=1e-6)


def test_add_norm_sums_rounds_and_norms(tensors):
    x, delta, weight = tensors
    normed, total = norm.add_norm(x, delta, weight, EPS)
    assert torch.equal(total, x + delta)
    torch.testing.assert_close(normed, reference(total, weight), rtol=1e-6, atol=1e-6)


def test_add_norm_weighs_its_two_parts(tensors):
    x, delta, weight = tensors
    normed, total = norm.add_norm(x, delta, weight, EPS, 0.5, 3.0)
    expected = (0.5 * x.double() + 3.0 * delta.double()).to(x.dtype)
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(normed, reference(total, weight), rtol=1e-6, atol=1e-6)


def test_gated_norm_opens_by_the_sigmoid(tensors):
    x, gate, weight = tensors
    expected = reference(x, weight) * torch.sigmoid(gate)
    torch.testing.assert_close(norm.gated_norm(x, gate, weight, EPS), expected, rtol=1e-6, atol=1e-6)


def test_silu_mul_takes_the_gate_first(tensors):
    x = tensors[0]
    expected = torch.nn.functional.silu(x[:, :48]) * x[:, 48:]
    torch.testing.assert_close(norm.silu_mul(x), expected)


def test_the_inputs_are_left_as_they_were(tensors):
    before = [tensor.clone() for tensor in tensors]
    x, other, weight = tensors
    norm.rms_norm(x, weight, EPS)
    norm.add_norm(x, other, weight, EPS, 2.0, 3.0)
    norm.gated_norm(x, other, weight, EPS)
    norm.silu_mul(x)
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))
