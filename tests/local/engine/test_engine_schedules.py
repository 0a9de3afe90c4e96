"""The engine under any schedule: every answer is that of the request alone, and the bookkeeping holds after every step.

More schedules, with other seeds: `python -m benchmarks.engine_schedules --schedules 2000 --seed 7 [--models]`.
"""

import random
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from benchmarks.engine_schedules import models, symbolic
from benchmarks.engine_schedules.drive import closed, make
from benchmarks.engine_schedules.schedule import BLOCK, Ask, Schedule, random_schedule

CPU = torch.device("cpu")
WITHIN = 1e-5
"""Nats by which logprobs in fp32 may differ between two ways of cutting the same sums."""


def text(seed: int, size: int) -> tuple[int, ...]:
    return tuple(random.Random(seed).choices(range(256), k=size))


def repeats(size: int, count: int = 4, **settings_: Any) -> Schedule:
    """Concurrent repeats of one prompt."""
    return Schedule(asks=(Ask(text(1, size), 3),) * count, batch=count, chunk=512, **settings_)


def forced(ahead: bool) -> Schedule:
    """Forced tokens cross the end of the sequence's last block while others need blocks too."""
    asks = [Ask(text(i, 60), 40, forced=((2, text(9, 9)),)) for i in range(3)]
    return Schedule(asks=tuple(asks), ahead=ahead)


def scored_twice() -> Schedule:
    """A prompt that is being scored gives its blocks back to one that is forced to grow, and is scored again."""
    growing = Ask(text(1, 60), 200, forced=((2, text(2, 130)),))
    return Schedule(asks=(growing, Ask(text(3, 193), 0, num_scored=192, arrive=1)), blocks=7, ahead=True)


FEW = settings(
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # a schedule that fails is made smaller by hand: shrinking runs it a thousand times
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("mode", ["", "failing", "invariant"])
@pytest.mark.parametrize("states", [False, True])
def test_every_block_and_state_read_is_the_expected_one(states: bool, mode: str) -> None:
    @settings(FEW, max_examples=12)
    @given(st.randoms(use_true_random=False))
    def check(rng: random.Random) -> None:
        schedule = random_schedule(rng, failing=mode == "failing", invariant=mode == "invariant")
        symbolic.run(schedule, states=states)

    check()


SCHEDULES = {
    "repeats of 65": repeats(65),
    "repeats of 65 ahead": repeats(65, ahead=True),
    "repeats of 511": repeats(511, ahead=True),
    "repeats of 513, one snapshot": repeats(513, snapshots=1),
    "forced": forced(False),
    "forced ahead": forced(True),
    "scored twice": scored_twice(),
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("states", [False, True])
def test_nothing_is_read_too_early_in_schedules_that_once_did(name: str, states: bool) -> None:
    symbolic.run(SCHEDULES[name], states=states)


def test_the_schedules_cover_what_they_are_meant_to() -> None:
    assert symbolic.run(SCHEDULES["scored twice"], states=False).scheduler.num_preempted > 0
    engine = symbolic.run(repeats(511, 8), states=True)
    assert engine.scheduler.num_prompt_tokens == 511 + 7 * (511 - 448), "repeats are read once"
    rng = random.Random(0)
    schedules = [random_schedule(rng) for _ in range(200)]
    assert sum(symbolic.run(schedule, states=False).scheduler.num_preempted for schedule in schedules[:40]) > 3
    assert {schedule.snapshots for schedule in schedules} >= {0, 1, 2, 3}
    sizes = {len(ask.prompt) for schedule in schedules for ask in schedule.asks}
    assert {63, 64, 65, 127, 128, 129, 191, 192, 193, 511, 512, 513} <= sizes


def test_an_invariant_engine_computes_every_token_in_one_way() -> None:
    """Forced tokens in concurrent requests: whether the token before them is stored already depends on the schedule."""
    asks = tuple(Ask(text(i, 60 + i), 30, forced=((2 + i, text(9, 9)),), arrive=i) for i in range(4))
    for ahead in (False, True):
        symbolic.run(Schedule(asks=asks, ahead=ahead, invariant=True), states=True)


@pytest.mark.parametrize("how", ["run", "result"])
@pytest.mark.parametrize("states", [False, True])
def test_nothing_a_failed_step_computed_is_reused(states: bool, how: str) -> None:
    """The step that prefills a prompt fails after its sequence was cancelled, and the prompt is requested again."""
    long = text(1, 300)
    for step in range(4):
        asks = (Ask(long, 3, cancel=1), Ask(text(2, 200), 30), Ask(long, 3, arrive=6))
        schedule = Schedule(asks=asks, chunk=256, ahead=True, failing=((step, how),))
        symbolic.run(schedule, states=states)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """A tiny random model of an architecture."""
    cached: dict[Any, Any] = {}

    def get(kind: str, dtype: torch.dtype = torch.float32) -> Any:
        if (kind, dtype) not in cached:
            folder = models.write(tmp_path_factory.mktemp(kind), kind)
            cached[kind, dtype] = models.read(folder, dtype, CPU)
        return cached[kind, dtype]

    return get


@pytest.mark.parametrize("kind", models.ARCHITECTURES)
def test_every_answer_is_that_of_one_plain_pass(kind: str, model: Callable[..., Any]) -> None:
    @settings(FEW, max_examples=2)
    @given(st.integers(0, 2**32))
    def check(seed: int) -> None:
        schedule = random_schedule(random.Random(seed), requests=4)
        models.run(model(kind), schedule, torch.float32, CPU, WITHIN)

    check()


@pytest.mark.parametrize("kind", ["llama", "minimax_m1"])
def test_schedules_that_once_went_wrong_are_right_on_models(kind: str, model: Callable[..., Any]) -> None:
    for name, schedule in SCHEDULES.items():
        if name != "repeats of 511":  # long, and like its neighbours
            models.run(model(kind), schedule, torch.float32, CPU, WITHIN)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", models.ARCHITECTURES)
def test_an_invariant_engine_gives_the_same_to_the_bit_in_any_order(
    kind: str, dtype: torch.dtype, model: Callable[..., Any]
) -> None:
    """Forced tokens, a preemption and late arrivals among them."""
    asks = (
        Ask(text(1, 61), 75, forced=((3, text(2, 5)),)),
        Ask(text(3, 50), 84, forced=((7, text(6, 30)),), arrive=1),
        Ask(text(4, 65), 3, arrive=2),
    )
    schedule = Schedule(asks=asks, chunk=64, batch=4, blocks=0, ahead=True, invariant=True)
    engine, _ = models.run(model(kind, dtype), schedule, dtype, CPU, 0)
    assert engine.scheduler.num_preempted > 0


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("kind", ["llama", "minimax_m1"])
def test_requests_from_several_threads_are_answered_as_alone(kind: str, ahead: bool, model: Callable[..., Any]) -> None:
    """In the engine's own thread, where arrivals fall as they may."""
    schedule = random_schedule(random.Random(6), requests=6)
    asks = tuple(replace(ask, cancel=None) for ask in schedule.asks)
    schedule = replace(schedule, asks=asks, ahead=ahead, prefix_cache=True, snapshots=2)
    device = models.device(model(kind), schedule, torch.float32, CPU)
    engine = make(device, schedule, states=models.has_states(model(kind)), threaded=True)
    sequences = [ask.sequence(cached=True) for ask in asks]
    threads = [threading.Thread(target=engine.submit, args=(sequence,)) for sequence in sequences]
    for thread in threads:
        thread.start()
    for ask, sequence in zip(asks, sequences, strict=True):
        sequence.future.result(timeout=60)
        models.verify(model(kind), ask, sequence, CPU, WITHIN)
    for thread in threads:
        thread.join()
    engine.close()
    closed(engine)


def test_a_block_is_what_the_lengths_are_about() -> None:
    assert BLOCK == 64
