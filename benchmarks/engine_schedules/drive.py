"""An engine driven step by step through a schedule, its books looked through after every step."""

from collections import Counter
from importlib import import_module
from typing import Any

from .schedule import BLOCK, Schedule, local

engine_module, scheduler_module, cache = (
    import_module(f"{local.__name__}.{name}") for name in ("engine", "scheduler", "cache")
)


def make(device: Any, schedule: Schedule, *, states: bool, threaded: bool = False) -> Any:
    """An engine over a device, with the memory and settings of a schedule."""
    scheduler = scheduler_module.Scheduler(
        cache.Blocks(schedule.blocks),
        cache.Snapshots(schedule.snapshots if states else 0),
        batch=schedule.batch,
        chunk=schedule.chunk,
        states=states,
        alone=schedule.invariant,
    )
    return engine_module.Engine(device, scheduler, ahead=schedule.ahead, threaded=threaded)


def drive(engine: Any, schedule: Schedule, *, most: int = 20_000) -> list[Any]:
    """The sequences of all requests, each ended: finished, failed or cancelled. AssertionError if a book is wrong."""
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
        assert step < most, f"no end after {most} steps"
    assert all(sequence.future.done() for sequence in sequences)
    closed(engine)
    return sequences


def books(engine: Any) -> None:
    """AssertionError unless blocks, keys, snapshots, rows and tables fit together."""
    scheduler, device = engine.scheduler, engine.device
    blocks, snapshots, running = scheduler.blocks, scheduler.snapshots, scheduler.running
    holders = Counter(block for sequence in running for block in sequence.blocks)
    assert holders == blocks.held, "held by as many as it says"
    everywhere = [*blocks.held, *blocks.free, *blocks.kept]
    assert sorted(everywhere) == list(range(1, blocks.count)), "each block held, kept or free, and only one of them"
    assert {key: block for block, key in blocks.key.items()} == blocks.block, "one key a block, one block a key"
    assert len(blocks.key) == len(blocks.block)
    assert not set(blocks.free) & blocks.key.keys(), "free blocks have no key"
    assert blocks.kept.keys() <= blocks.key.keys(), "kept ones have"
    assert sorted(snapshots.place.values()) == list(range(len(snapshots.place))), "one slot a snapshot"
    assert len(snapshots.place) <= snapshots.count
    rows = [sequence.row for sequence in running]
    assert sorted([*rows, *scheduler._rows]) == list(range(scheduler.batch)), "each row taken once or free"
    assert all(sequence.row < 0 and not sequence.blocks for sequence in scheduler.waiting)
    for sequence in running:
        count = len(sequence.blocks)
        assert len(set(sequence.blocks)) == count
        assert count * BLOCK >= sequence.known
        assert device.blocks[sequence.row, :count].tolist() == sequence.blocks, "the table of a row"
        tables = getattr(device, "tables", None)
        if tables is not None and not tables.is_cuda:  # asking a GPU would wait for the step under way
            assert tables[sequence.row, :count].tolist() == sequence.blocks, "the device's table of a row"


def closed(engine: Any) -> None:
    """AssertionError unless everything has been given back."""
    scheduler = engine.scheduler
    assert not scheduler.running
    assert not scheduler.waiting
    assert not scheduler.blocks.held, "blocks that nobody gave back"
    assert scheduler.blocks.available == scheduler.blocks.count - 1
    assert len(scheduler._rows) == scheduler.batch
