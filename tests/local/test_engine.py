"""The scheduler and the cache: sequences join, leave, fail and are dropped, and none notices the others."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

from m1eval import Silent, load

local = load("runners", "local")
Cache = local.cache.Cache
Sequence = local.engine.Sequence
read_model = local.loading.load
Draw = local.sampling.Draw

GREEDY = Draw(0.0, 1.0, 0, 0.0, 0)


@pytest.fixture(scope="module")
def model(llama: Any) -> Any:
    return read_model(llama.folder, dtype=torch.float32, device=torch.device("cpu"), progress=Silent()).model


def prompt(seed: int, size: int = 20) -> list[int]:
    return torch.randint(0, 256, (size,), generator=torch.Generator().manual_seed(seed)).tolist()


def asked(engine: Any, *sequences: Any) -> list[list[int]]:
    for sequence in sequences:
        engine.submit(sequence)
    for sequence in sequences:
        sequence.future.result(timeout=20)
    return [sequence.tokens for sequence in sequences]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "waited for ten seconds"
        time.sleep(0.002)


def test_a_sequence_that_joins_midway_gets_the_tokens_it_gets_alone(model: Any, engine: Callable[..., Any]) -> None:
    running = engine(model)
    alone = asked(running, Sequence(prompt=prompt(1, 100), limit=40, draw=GREEDY))[0]
    drawn = threading.Event()
    first = Sequence(prompt=prompt(2), limit=300, draw=GREEDY, watch=lambda _: drawn.set())
    running.submit(first)
    assert drawn.wait(10)
    late = Sequence(prompt=prompt(1, 100), limit=40, draw=GREEDY)
    running.submit(late)
    late.future.result(timeout=20)
    assert not first.future.done()
    assert late.tokens == alone


def test_sampled_tokens_do_not_depend_on_the_batch(model: Any, engine: Callable[..., Any]) -> None:
    running = engine(model)

    def sequence(seed: int) -> Any:
        return Sequence(prompt=prompt(3), limit=50, draw=Draw(1.0, 0.95, 0, 0.0, seed))

    alone = asked(running, sequence(7))[0]
    others = [Sequence(prompt=prompt(i, 10 * i), limit=10 * i, draw=Draw(1.0, 1.0, 0, 0.0, i)) for i in range(1, 8)]
    *_, together = asked(running, *others, sequence(7))
    assert together == alone
    assert asked(running, sequence(8))[0] != alone


def test_no_more_than_a_batch_runs_at_once_and_all_are_answered(model: Any, engine: Callable[..., Any]) -> None:
    running = engine(model, batch=3)
    most: list[int] = []
    sequences = [
        Sequence(prompt=prompt(i), limit=5 + i, draw=GREEDY, watch=lambda _: most.append(len(running.running)))
        for i in range(10)
    ]
    assert [len(tokens) for tokens in asked(running, *sequences)] == [5 + i for i in range(10)]
    assert max(most) == 3
    starts = [sequence.started for sequence in sequences]
    assert starts == sorted(starts)


def test_a_long_prompt_is_read_in_pieces_between_the_tokens_of_others(model: Any, engine: Callable[..., Any]) -> None:
    running = engine(model, chunk=16)
    drawn: list[float] = []
    first = Sequence(prompt=prompt(1), limit=400, draw=GREEDY, watch=lambda _: drawn.append(time.monotonic()))
    running.submit(first)
    until(lambda: len(drawn) > 0)
    long = Sequence(prompt=prompt(2, 320), limit=1, draw=GREEDY)
    running.submit(long)
    long.future.result(timeout=20)
    between = [moment for moment in drawn if long.started < moment < long.first]
    assert len(between) >= 320 // 16 - 1


def test_prompts_share_what_a_step_may_read(model: Any, engine: Callable[..., Any]) -> None:
    class Listener(Silent):
        def __init__(self) -> None:
            self.read: list[int] = []

        def tokens(self, *, prompt: int = 0, output: int = 0) -> None:
            self.read.append(prompt)

    listener = Listener()
    sizes = [30, 5, 70, 1, 44]
    prompts = [Sequence(prompt=prompt(i, n), limit=9, draw=GREEDY, progress=listener) for i, n in enumerate(sizes)]
    asked(engine(model, chunk=16), *prompts)
    assert sum(listener.read) == sum(sizes)
    assert max(listener.read) == 16
    assert listener.read[-1] == 0


def test_an_end_token_ends_a_sequence_and_stays_its_last(model: Any, engine: Callable[..., Any]) -> None:
    running = engine(model)
    free = asked(running, Sequence(prompt=prompt(4), limit=30, draw=GREEDY))[0]
    end = free[10]
    ended = Sequence(prompt=prompt(4), limit=30, draw=GREEDY, ends=frozenset({end}))
    assert asked(running, ended)[0] == free[: free.index(end) + 1]
    assert ended.finish == "stop"


def test_cancelling_frees_the_place_at_once(model: Any, engine: Callable[..., Any]) -> None:
    running = engine(model, batch=1, window=100_000)
    endless = Sequence(prompt=prompt(1), limit=99_000, draw=GREEDY)
    running.submit(endless)
    until(lambda: len(endless.tokens) > 3)
    queued = Sequence(prompt=prompt(2), limit=99_000, draw=GREEDY)
    running.submit(queued)
    assert queued.future.cancel()
    assert endless.future.cancel()
    short = Sequence(prompt=prompt(3), limit=3, draw=GREEDY)
    running.submit(short)
    short.future.result(timeout=10)
    until(lambda: not running.running)
    assert not queued.tokens
    assert running.cache.places == []
    assert running.cache.room == (0, 0)


def test_a_failing_step_fails_those_in_it_and_the_next_run_is_sound(model: Any, engine: Callable[..., Any]) -> None:
    running = engine(model)
    good = asked(running, Sequence(prompt=prompt(1), limit=9, draw=GREEDY))[0]
    broken = Sequence(prompt=[100_000], limit=9, draw=GREEDY)
    running.submit(broken)
    with pytest.raises(IndexError):
        broken.future.result(timeout=10)
    assert asked(running, Sequence(prompt=prompt(1), limit=9, draw=GREEDY))[0] == good


def test_a_failing_watch_fails_its_own_sequence_alone(model: Any, engine: Callable[..., Any]) -> None:
    def watch(token: int) -> bool:
        raise ValueError(f"cannot read {token}")

    running = engine(model)
    bad = Sequence(prompt=prompt(1), limit=9, draw=GREEDY, watch=watch)
    good = Sequence(prompt=prompt(2), limit=9, draw=GREEDY)
    running.submit(bad)
    running.submit(good)
    with pytest.raises(ValueError, match="cannot read"):
        bad.future.result(timeout=10)
    good.future.result(timeout=10)
    assert len(good.tokens) == 9


def test_broken_weights_are_an_error_and_not_an_answer(tiny: Callable[..., Any], engine: Callable[..., Any]) -> None:
    folder = tiny().folder
    model = read_model(folder, dtype=torch.float32, device=torch.device("cpu"), progress=Silent()).model
    model.model.norm.weight.data[0] = torch.nan
    sequence = Sequence(prompt=prompt(1), limit=9, draw=GREEDY)
    engine(model).submit(sequence)
    with pytest.raises(FloatingPointError, match="not finite"):
        sequence.future.result(timeout=10)


def test_closing_fails_what_is_unfinished_and_refuses_what_comes_later(model: Any, engine: Callable[..., Any]) -> None:
    running = engine(model, batch=1, window=100_000)
    sequences = [Sequence(prompt=prompt(i), limit=99_000, draw=GREEDY) for i in range(2)]
    for sequence in sequences:
        running.submit(sequence)
    until(lambda: len(sequences[0].tokens) > 3)
    running.close()
    for sequence in sequences:
        with pytest.raises(RuntimeError, match="closed"):
            sequence.future.result(timeout=1)
    with pytest.raises(RuntimeError, match="closed"):
        running.submit(Sequence(prompt=prompt(9), limit=1, draw=GREEDY))


def test_the_cache_grows_with_its_sequences_and_gives_memory_back(model: Any) -> None:
    cache = Cache(model.memory, slots=8, window=500, dtype=torch.float32, device=torch.device("cpu"))
    assert cache.room == (0, 0)
    long, *short = [cache.take() for _ in range(5)]
    cache.plan([(place, 10) for place in short])
    assert cache.room == (5, 64)
    for _ in range(3):
        cache.plan([(long, 150)])
    assert 450 <= cache.room[1] <= 500
    cache.blocks[0][short[3].slot, 0, :, :10] = 3.5
    cache.give(long)
    assert cache.room[1] == 64
    assert sorted(place.slot for place in short) == [0, 1, 2, 3]
    assert (cache.blocks[0][short[3].slot, 0, :, :10] == 3.5).all()
    for place in short:
        cache.give(place)
    assert cache.room == (0, 0)
