"""The decoding attention kernel against PyTorch."""

from typing import Any

import pytest
import torch


def decode(part: Any, function: Any, *inputs: Any, **options: Any) -> Any:
    queries, keys, values, tables, lengths, scale, longest = inputs
    layout = part("ops.layout")
    cache, paging = layout.PagedCache(keys, values), layout.BlockTables(tables, lengths, longest)
    return function(queries, cache, paging, scale, **options)


def case(device, heads, kv_heads, dim, value_dim, block, lengths):
    torch.manual_seed(0)
    rows, blocks = len(lengths), -(-max(lengths) // block) + 1
    keys = torch.randn(rows * blocks, block, kv_heads, dim, device=device)
    values = keys[..., :value_dim] if value_dim < dim else torch.randn(*keys.shape, device=device)
    tables = torch.randperm(rows * blocks, device=device).int().view(rows, blocks)
    queries = torch.randn(rows, heads, dim, device=device)
    return queries, keys, values, tables, torch.tensor(lengths, dtype=torch.int32, device=device), dim**-0.5


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((4, 2, 16, 16, 16, (5, 70)), {}),
        ((9, 3, 64, 64, 16, (300, 33)), {}),
        ((6, 2, 24, 24, 256, (600, 1)), {"splits": 3}),  # one block holds several steps
        ((40, 1, 40, 32, 32, (100,)), {}),  # values are a part of the keys, more heads than one program takes
        ((2, 1, 16, 16, 64, (900,)), {"splits": 7, "tile": (32, 4, 2)}),
    ],
)
def test_each_sequence_attends_to_its_own_tokens(part, device, shape, options):
    inputs = case(device, *shape)
    actual = decode(part, part("kernels.paged").paged_decode, *inputs, 4096, **options)
    expected = decode(part, part("ops.paged").paged_decode.reference, *inputs, max(shape[-1]))
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("splits", [1, 4])
def test_empty_sequences_are_finite_and_change_nothing(part, device, splits):
    kernel = part("kernels.paged")
    queries, keys, values, tables, lengths, scale = case(device, 4, 2, 16, 16, 16, (300, 40))
    expected = decode(
        part, part("ops.paged").paged_decode.reference, queries, keys, values, tables, lengths, scale, 300
    )
    lengths[1] = 0
    tables[1] = 0
    actual = decode(part, kernel.paged_decode, queries, keys, values, tables, lengths, scale, 300, splits=splits)
    assert actual.isfinite().all()
    torch.testing.assert_close(actual[0], expected[0], rtol=1e-4, atol=1e-5)


def test_tokens_beyond_a_length_do_not_matter(part, device):
    kernel = part("kernels.paged")
    queries, keys, values, tables, lengths, scale = case(device, 4, 2, 16, 16, 16, (37,))
    actual = decode(part, kernel.paged_decode, queries, keys, values, tables, lengths, scale, 64)
    used = tables[0, :3].tolist()
    keys[used[2], 5:] = torch.nan
    values[used[2], 5:] = torch.nan
    for block in set(range(len(keys))) - set(used):
        keys[block] = values[block] = torch.nan
    assert torch.equal(decode(part, kernel.paged_decode, queries, keys, values, tables, lengths, scale, 64), actual)


@pytest.mark.parametrize(
    ("heads", "kv_heads", "dim", "half", "normed", "lengths", "splits"),
    [
        (4, 2, 32, 16, True, (1, 64, 65, 200), None),
        (4, 2, 32, 16, True, (1, 64, 65, 200), 1),
        (6, 1, 16, 4, False, (130, 7), 3),  # few rotary dims
        (2, 2, 64, 32, True, (700,), 40),
    ],
)
def test_rope_and_attend_matches_two_kernels(part, device, heads, kv_heads, dim, half, normed, lengths, splits):
    _, keys, values, tables, counts, scale = case(device, heads, kv_heads, dim, dim, 64, lengths)
    rows = len(lengths)
    qkv = torch.randn(rows, (heads + 2 * kv_heads) * dim, device=device)
    angles = torch.randn(rows, half, device=device)
    norms = [torch.randn(dim, device=device) if normed else None for _ in range(2)]
    last = counts.long() - 1
    slots = tables.gather(1, (last // 64)[:, None]).squeeze(1).long() * 64 + last % 64
    layout = part("ops.layout")
    rotary, norm = layout.Rotary(angles.cos(), angles.sin()), layout.QKNorm(*norms)
    caches = [layout.PagedCache(keys.clone(), values.clone()) for _ in range(2)]
    paging = layout.BlockTables(tables, counts, max(lengths))
    queries = part("ops.rope").rope_and_cache.reference(qkv, heads, rotary, caches[0], slots, norm)
    expected = part("ops.paged").paged_decode.reference(queries, caches[0], paging, scale)
    paging = paging._replace(max_length=4096)
    kernel = part("kernels.paged").rope_and_attend
    actual = kernel(qkv, heads, rotary, caches[1], slots, paging, norm, scale, splits=splits)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(caches[1], caches[0])


def test_heads_of_odd_dims_are_left_to_two_kernels(part):
    layout = part("ops.layout")

    def fuses(heads, key_dim, value_dim):
        cache = layout.PagedCache(torch.empty(2, 64, 2, key_dim), torch.empty(2, 64, 2, value_dim))
        return part("ops.paged").can_fuse(torch.empty(1, 1), heads, None, cache, None, None, None, 1.0)

    assert fuses(4, 128, 128)
    assert not fuses(4, 24, 24)
    assert not fuses(4, 128, 64)
    assert not fuses(256, 64, 64)
