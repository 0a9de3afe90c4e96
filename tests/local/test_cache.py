"""Blocks and snapshots: who holds what, what is kept for later, what goes first."""

import random

import pytest

from m1eval import load

cache = load("runners", "local").cache


def test_keys_stand_for_all_tokens_up_to_their_block() -> None:
    one = list(range(200))
    assert len(cache.keys(one)) == 200 // cache.BLOCK
    assert cache.keys(one)[:2] == cache.keys(one[:130])
    other = [7, *one[1:]]
    assert not set(cache.keys(one)) & set(cache.keys(other))
    assert cache.keys(one[: cache.BLOCK - 1]) == []


def test_a_sequence_that_grows_gets_the_block_behind_its_last() -> None:
    blocks = cache.Blocks(20)
    first = [blocks.take(None, apart=8)]
    second = [blocks.take(None, apart=8)]
    for _ in range(5):
        first.append(blocks.take(first[-1]))
        second.append(blocks.take(second[-1]))
    assert first == list(range(1, 7))
    assert second == list(range(9, 15))


def test_blocks_with_a_key_are_kept_and_shared_until_their_room_is_wanted() -> None:
    blocks = cache.Blocks(5)
    keys = cache.keys(list(range(3 * cache.BLOCK)))
    held = [blocks.take(None) for _ in range(3)]
    for block, key in zip(held, keys, strict=True):
        blocks.name(block, key)
    blocks.give(held)
    assert blocks.available == 4
    assert blocks.known([*keys, b"more"]) == held
    blocks.share(held[:1])
    assert blocks.available == 3
    taken = [blocks.take(None) for _ in range(2)]
    assert held[2] in taken, "the end of a prompt is of the least use"
    assert blocks.known(keys) == held[:2]
    blocks.take(None)
    with pytest.raises(KeyError):
        blocks.take(None)
    assert blocks.known(keys) == held[:1]


def test_no_block_is_lost_or_given_twice() -> None:
    rng = random.Random(3)
    blocks = cache.Blocks(40)
    running: list[list[int]] = []
    for step in range(3000):
        if blocks.available and rng.random() < 0.6:
            own = rng.choice(running) if running and rng.random() < 0.7 else []
            if not own:
                running.append(own)
            own.append(blocks.take(own[-1] if own else None, apart=rng.randrange(6)))
            if rng.random() < 0.5:
                blocks.name(own[-1], step.to_bytes(4))
        elif running:
            blocks.give(running.pop(rng.randrange(len(running))))
        if blocks.kept and rng.random() < 0.2:
            shared = [rng.choice(list(blocks.kept))]
            blocks.share(shared)
            running.append(shared)
        held = [block for own in running for block in own]
        assert sorted(held) == sorted(block for block, count in blocks.held.items() for _ in range(count))
        assert sorted({*held, *blocks.free, *blocks.kept}) == list(range(1, 40))
        assert not set(blocks.free) & set(blocks.kept)
        assert all(blocks.block[blocks.key[block]] == block for block in blocks.key)


def test_the_longest_unused_snapshot_is_given_up() -> None:
    saved = cache.Snapshots(2)
    assert [saved.save(key) for key in (b"a", b"b")] == [0, 1]
    assert saved.save(b"a") is None
    assert saved.find(b"a") == 0
    assert saved.save(b"c") == 1
    assert saved.find(b"b") is None
    assert cache.Snapshots(0).save(b"a") is None
