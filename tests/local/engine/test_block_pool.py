"""Blocks and snapshots: ownership, caching and eviction."""

import random

import pytest

from m1eval import load

block_pool = load("runners", "local").engine.block_pool


def test_hashes_cover_all_tokens_up_to_their_block() -> None:
    tokens = list(range(200))
    assert len(block_pool.hash_blocks(tokens)) == 200 // block_pool.BLOCK_SIZE
    assert block_pool.hash_blocks(tokens)[:2] == block_pool.hash_blocks(tokens[:130])
    other = [7, *tokens[1:]]
    assert not set(block_pool.hash_blocks(tokens)) & set(block_pool.hash_blocks(other))
    assert block_pool.hash_blocks(tokens[: block_pool.BLOCK_SIZE - 1]) == []


def test_a_sequence_that_grows_gets_the_block_behind_its_last() -> None:
    blocks = block_pool.BlockPool(20)
    first = [blocks.allocate(None, reserve=8)]
    second = [blocks.allocate(None, reserve=8)]
    for _ in range(5):
        first.append(blocks.allocate(first[-1]))
        second.append(blocks.allocate(second[-1]))
    assert first == list(range(1, 7))
    assert second == list(range(9, 15))


def test_cached_blocks_are_shared_until_they_are_evicted() -> None:
    blocks = block_pool.BlockPool(5)
    keys = block_pool.hash_blocks(list(range(3 * block_pool.BLOCK_SIZE)))
    held = [blocks.allocate(None) for _ in range(3)]
    for block, key in zip(held, keys, strict=True):
        blocks.cache(block, key)
    blocks.free(held)
    assert blocks.num_available == 4
    assert blocks.lookup([*keys, b"more"]) == held
    blocks.touch(held[:1])
    assert blocks.num_available == 3
    taken = [blocks.allocate(None) for _ in range(2)]
    assert held[2] in taken, "the end of a prompt is of the least use"
    assert blocks.lookup(keys) == held[:2]
    blocks.allocate(None)
    with pytest.raises(KeyError):
        blocks.allocate(None)
    assert blocks.lookup(keys) == held[:1]


def test_no_block_is_lost_or_allocated_twice() -> None:
    rng = random.Random(3)
    blocks = block_pool.BlockPool(40)
    running: list[list[int]] = []
    for step in range(3000):
        if blocks.num_available and rng.random() < 0.6:
            table = rng.choice(running) if running and rng.random() < 0.7 else []
            if not table:
                running.append(table)
            table.append(blocks.allocate(table[-1] if table else None, reserve=rng.randrange(6)))
            if rng.random() < 0.5:
                blocks.cache(table[-1], step.to_bytes(4))
        elif running:
            blocks.free(running.pop(rng.randrange(len(running))))
        if blocks.evictable and rng.random() < 0.2:
            shared = [rng.choice(list(blocks.evictable))]
            blocks.touch(shared)
            running.append(shared)
        held = [block for own in running for block in own]
        assert sorted(held) == sorted(block for block, count in blocks.ref_counts.items() for _ in range(count))
        assert sorted({*held, *blocks.free_blocks, *blocks.evictable}) == list(range(1, 40))
        assert not set(blocks.free_blocks) & set(blocks.evictable)
        assert all(blocks.block_by_hash[blocks.hash_by_block[block]] == block for block in blocks.hash_by_block)


def test_the_least_recently_used_snapshot_is_evicted() -> None:
    saved = block_pool.StateSnapshots(2)
    assert [saved.save(key) for key in (b"a", b"b")] == [0, 1]
    assert saved.save(b"a") is None
    assert saved.find(b"a") == 0
    assert saved.save(b"c") == 1
    assert saved.find(b"b") is None
    assert block_pool.StateSnapshots(0).save(b"a") is None
