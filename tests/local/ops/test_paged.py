"""Decoding attention over blocks, against its definition."""

import importlib

import pytest
import torch

from m1eval import load

package = load("runners", "local").__name__ + ".ops"
paged, layout = (importlib.import_module(f"{package}.{name}") for name in ("paged", "layout"))


def decode(queries, keys, values, tables, lengths, scale, longest, function=paged.paged_decode.reference):
    return function(queries, layout.PagedCache(keys, values), layout.BlockTables(tables, lengths, longest), scale)


def definition(queries, keys, values, tables, lengths, scale):
    """Softmax attention, one head of one sequence after another, in fp64."""
    out = torch.zeros(*queries.shape[:2], values.shape[-1], dtype=torch.float64)
    group = queries.shape[1] // keys.shape[2]
    for row, length in enumerate(lengths.tolist()):
        places = [(int(tables[row, token // keys.shape[1]]), token % keys.shape[1]) for token in range(length)]
        for head in range(queries.shape[1]):
            if places:
                k = torch.stack([keys[block, at, head // group] for block, at in places]).double()
                v = torch.stack([values[block, at, head // group] for block, at in places]).double()
                out[row, head] = (k @ queries[row, head].double() * scale).softmax(0) @ v
    return out


def case(heads, kv_heads, dim, value_dim, block, lengths, scattered):
    torch.manual_seed(0)
    rows, blocks_each = len(lengths), -(-max(lengths) // block) + 1
    keys = torch.randn(rows * blocks_each, block, kv_heads, dim)
    values = keys[..., :value_dim] if value_dim < dim else torch.randn(*keys.shape)
    blocks = torch.randperm(rows * blocks_each) if scattered else torch.arange(rows * blocks_each)
    queries = torch.randn(rows, heads, dim)
    return queries, keys, values, blocks.int().view(rows, blocks_each), torch.tensor(lengths, dtype=torch.int32)


CASES = [
    (4, 2, 16, 16, 4, (5, 1, 33), True),
    (9, 3, 64, 64, 16, (40, 16, 17), False),
    (3, 1, 24, 16, 8, (20, 9), True),
    (2, 2, 8, 8, 4, (0, 6, 0), True),
]


@pytest.mark.parametrize("shape", CASES)
def test_each_sequence_attends_to_its_own_tokens(shape):
    queries, keys, values, tables, lengths = case(*shape)
    actual = decode(queries, keys, values, tables, lengths, 0.3, 64)
    expected = definition(queries, keys, values, tables, lengths, 0.3)
    torch.testing.assert_close(actual.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", CASES)
def test_the_masked_implementation_is_the_same(shape):
    queries, keys, values, tables, lengths = case(*shape)
    unused = torch.arange(tables.shape[1]) >= (lengths[:, None] + keys.shape[1] - 1) // keys.shape[1]
    tables[unused] = 10**6  # what lies beyond a sequence's blocks must not matter
    actual = decode(queries, keys, values, tables, lengths, 0.3, int(lengths.max()), paged._masked)
    expected = definition(queries, keys, values, tables, lengths, 0.3)
    assert actual.isfinite().all()
    live = lengths > 0
    torch.testing.assert_close(actual.double()[live], expected[live], rtol=1e-5, atol=1e-5)


@pytest.fixture
def threads():
    """Set the number of torch's threads for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("length", [9, 300, 1100])
def test_tokens_beyond_the_length_do_not_matter(number, length, threads):
    threads(number)
    queries, keys, values, tables, lengths = case(4, 2, 16, 16, 4, (5, length), True)
    actual = decode(queries, keys, values, tables, lengths, 0.3, length)
    keys[int(tables[0, 1]), 1:] = torch.nan
    values[int(tables[0, 1]), 1:] = torch.nan
    assert torch.equal(decode(queries, keys, values, tables, lengths, 0.3, length), actual)
    expected = definition(queries, keys[:], values, tables, lengths, 0.3)
    torch.testing.assert_close(actual.double(), expected, rtol=1e-4, atol=1e-5)
