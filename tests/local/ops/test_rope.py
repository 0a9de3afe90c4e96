"""Rotation of queries and keys, and the cache slots of keys and values."""

import importlib
from typing import Any

import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb

from m1eval import load

package = load("runners", "local").__name__ + ".ops"
rope, layout = (importlib.import_module(f"{package}.{name}") for name in ("rope", "layout"))
HEADS, KV_HEADS, DIM, BLOCK, TOKENS = 6, 2, 16, 4, 7
SLOTS = torch.tensor([9, 3, 4, 15, 0, 11, 10])


def rotary(half):
    angles = torch.randn(TOKENS, half)
    return layout.Rotary(angles.cos(), angles.sin())


def cache():
    return layout.PagedCache(*(torch.full((4, BLOCK, KV_HEADS, DIM), 7.0) for _ in range(2)))


def rotated_by_transformers(q, k, cos, sin):
    """[tokens, heads, rotary dims] of the published code, whose cos and sin hold both halves."""
    cos, sin = (torch.cat((part, part), -1)[None] for part in (cos, sin))
    q, k = apply_rotary_pos_emb(q.transpose(0, 1)[None], k.transpose(0, 1)[None], cos, sin)
    return q[0].transpose(0, 1), k[0].transpose(0, 1)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("half", [8, 4, 3])
@pytest.mark.parametrize("normed", [False, True])
def test_queries_and_stored_keys_are_those_of_transformers(half, normed):
    qkv = torch.randn(TOKENS, (HEADS + 2 * KV_HEADS) * DIM)
    q, k, v = torch.split(qkv.view(TOKENS, -1, DIM), [HEADS, KV_HEADS, KV_HEADS], 1)
    norms: list[Any] = [torch.randn(DIM) if normed else None for _ in range(2)]
    angles, (keys, values) = rotary(half), cache()
    norm = layout.QKNorm(*norms, 1e-5)
    actual = rope.rope_and_cache(qkv, HEADS, angles, layout.PagedCache(keys, values), SLOTS, norm)
    if normed:
        layers = [LlamaRMSNorm(DIM, 1e-5) for _ in range(2)]
        for layer, weight in zip(layers, norms, strict=True):
            layer.weight.data = weight
        q, k = layers[0](q).detach(), layers[1](k).detach()
    expected = rotated_by_transformers(q[..., : 2 * half], k[..., : 2 * half], *angles)
    expected = [torch.cat((part, whole[..., 2 * half :]), -1) for part, whole in zip(expected, (q, k), strict=True)]
    assert actual.is_contiguous()
    torch.testing.assert_close(actual, expected[0])
    torch.testing.assert_close(keys.flatten(0, 1)[SLOTS], expected[1])
    assert torch.equal(values.flatten(0, 1)[SLOTS], v)


def test_only_the_slots_named_are_written():
    keys, values = written = cache()
    qkv = torch.randn(TOKENS, (HEADS + 2 * KV_HEADS) * DIM)
    rope.rope_and_cache(qkv, HEADS, rotary(8), written, SLOTS)
    others = [slot for slot in range(16) if slot not in SLOTS.tolist()]
    assert (keys.flatten(0, 1)[others] == 7).all()
    assert (values.flatten(0, 1)[others] == 7).all()


def test_a_rotation_keeps_the_dtype_and_is_done_in_fp32():
    angles = rotary(8)
    x = torch.randn(TOKENS, HEADS, DIM).bfloat16()
    actual = rope.apply_rotary(x, angles)
    assert actual.dtype == torch.bfloat16
    assert torch.equal(actual, rope.apply_rotary(x.float(), angles).bfloat16())
