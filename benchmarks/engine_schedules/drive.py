"""Drive an engine step by step through a schedule, checking its bookkeeping after every step."""

from collections import Counter
from importlib import import_module
from typing import Any

from .schedule import BLOCK, Schedule, local

engine_module, scheduler_module, block_pool = (
    import_module(f"{local.__name__}.{name}") for name in ("engine.engine", "engine.scheduler", "engine.block_pool")
)


def make(executor: Any, schedule: Schedule, *, states: bool, threaded: bool = False) -> Any:
    """Build an engine over a model runner, with the memory and settings of a schedule."""
    scheduler = scheduler_module.Scheduler(
        block_pool.BlockPool(schedule.blocks),
        block_pool.StateSnapshots(schedule.snapshots if states else 0),
        max_num_seqs=schedule.batch,
        chunk_size=schedule.chunk,
        has_states=states,
        invariant=schedule.invariant,
    )
    return engine_module.Engine(executor, scheduler, async_scheduling=schedule.ahead, threaded=threaded)


def drive(engine: Any, schedule: Schedule, *, max_steps: int = 20_000) -> list[Any]:
    """Run all requests until each is finished, failed or cancelled. AssertionError if the bookkeeping is wrong."""
    sequences = [ask.sequence(cached=schedule.prefix_cache and not schedule.invariant) for ask in schedule.asks]
    step, busy = 0, True
    while busy or step <= max(ask.arrive for ask in schedule.asks):
        for ask, sequence in zip(schedule.asks, sequences, strict=True):
            if ask.arrive == step:
                engine.submit(sequence)
            if ask.cancel is not None and ask.arrive + ask.cancel == step:
                sequence.future.cancel()
        busy = engine.step()
        books(engine)
        step += 1
        assert step < max_steps, f"no end after {max_steps} steps"
    assert all(sequence.future.done() for sequence in sequences)
    closed(engine)
    return sequences


def books(engine: Any) -> None:
    """AssertionError unless blocks, keys, snapshots, rows and tables fit together."""
    scheduler, executor = engine.scheduler, engine.executor
    blocks, snapshots, running = scheduler.block_pool, scheduler.snapshots, scheduler.running
    holders = Counter(block for sequence in running for block in sequence.blocks)
    assert holders == blocks.ref_counts, "held by as many as it says"
    everywhere = [*blocks.ref_counts, *blocks.free_blocks, *blocks.evictable]
    assert sorted(everywhere) == list(range(1, blocks.num_blocks)), (
        "each block held, kept or free, and only one of them"
    )
    assert {key: block for block, key in blocks.hash_by_block.items()} == blocks.block_by_hash, (
        "one key a block, one block a key"
    )
    assert len(blocks.hash_by_block) == len(blocks.block_by_hash)
    assert not set(blocks.free_blocks) & blocks.hash_by_block.keys(), "free blocks have no key"
    assert blocks.evictable.keys() <= blocks.hash_by_block.keys(), "kept ones have"
    assert sorted(snapshots.place.values()) == list(range(len(snapshots.place))), "one slot a snapshot"
    assert len(snapshots.place) <= snapshots.count
    rows = [sequence.slot for sequence in running]
    assert sorted([*rows, *scheduler._free_slots]) == list(range(scheduler.max_num_seqs)), "each row taken once or free"
    assert all(sequence.slot < 0 and not sequence.blocks for sequence in scheduler.waiting)
    for sequence in running:
        count = len(sequence.blocks)
        assert len(set(sequence.blocks)) == count
        assert count * BLOCK >= sequence.num_computed_tokens
        assert executor.host_block_tables[sequence.slot, :count].tolist() == sequence.blocks, "the table of a row"
        tables = getattr(executor, "block_tables", None)
        if tables is not None and not tables.is_cuda:  # querying a GPU would wait for the running step
            assert tables[sequence.slot, :count].tolist() == sequence.blocks, "the device's table of a row"


def closed(engine: Any) -> None:
    """AssertionError unless everything has been freed."""
    scheduler = engine.scheduler
    assert not scheduler.running
    assert not scheduler.waiting
    assert not scheduler.block_pool.ref_counts, "blocks that nobody gave back"
    assert scheduler.block_pool.num_available == scheduler.block_pool.num_blocks - 1
    assert len(scheduler._free_slots) == scheduler.max_num_seqs
