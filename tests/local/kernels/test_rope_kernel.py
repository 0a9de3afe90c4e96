"""The kernels of rotary positions against PyTorch."""

import pytest
import torch


@pytest.mark.parametrize(
    ("heads", "kv_heads", "dim", "half", "q_normed", "k_normed"),
    [
        (4, 2, 16, 8, True, True),  # all dims rotated
        (9, 3, 64, 32, False, False),
        (3, 1, 24, 5, True, False),  # few rotated, not a power of two
        (8, 2, 32, 8, False, True),
    ],
)
@pytest.mark.parametrize("tokens", [1, 5])
def test_queries_and_cache_are_those_of_pytorch(part, device, tokens, heads, kv_heads, dim, half, q_normed, k_normed):
    torch.manual_seed(0)
    qkv = torch.randn(tokens, (heads + 2 * kv_heads) * dim, device=device)
    angles = torch.randn(tokens, half, device=device)
    norms = [torch.randn(dim, device=device) if normed else None for normed in (q_normed, k_normed)]
    slots = torch.randperm(16, device=device)[:tokens]

    layout = part("ops.layout")
    rotary, norm = layout.Rotary(angles.cos(), angles.sin()), layout.QKNorm(*norms)

    def run(function):
        cache = layout.PagedCache(*(torch.full((4, 4, kv_heads, dim), 7.0, device=device) for _ in range(2)))
        return [function(qkv, heads, rotary, cache, slots, norm), *cache]

    actual, expected = run(part("kernels.rope").rope_and_cache), run(part("ops.rope").rope_and_cache.reference)
    torch.testing.assert_close(actual, expected)
    assert actual[0].is_contiguous()


def test_inputs_may_be_strided_and_the_cache_of_another_dtype(part, device):
    torch.manual_seed(0)
    wide, angles = torch.randn(3, 100, device=device), torch.randn(3, 20, device=device)
    qkv, cos, sin = wide[:, 20:84], angles[:, :8].cos(), angles[:, 8:16].sin()
    slots = torch.tensor([5, 0, 3], device=device)

    layout = part("ops.layout")

    def run(function):
        cache = layout.PagedCache(*(torch.zeros(2, 4, 1, 16, dtype=torch.float16, device=device) for _ in range(2)))
        return [function(qkv, 2, layout.Rotary(cos, sin), cache, slots), *cache]

    # The reference takes contiguous rows.
    actual = run(part("kernels.rope").rope_and_cache)
    qkv, cos, sin = qkv.contiguous(), cos.contiguous(), sin.contiguous()
    torch.testing.assert_close(actual, run(part("ops.rope").rope_and_cache.reference))


def test_cos_and_sin_are_those_of_pytorch(part, device):
    positions = torch.tensor([0, 1, 77, 40_000, 1_000_000], device=device)
    frequencies = 1e6 ** -(torch.arange(0, 48, 2, device=device) / 48)
    actual = part("kernels.rope").cos_sin(positions, frequencies, 1.2)
    torch.testing.assert_close(actual, part("ops.rope").cos_sin.reference(positions, frequencies, 1.2))
