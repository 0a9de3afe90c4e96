"""Building of samples: in the event loop while that is quick, in a thread where it would keep others waiting."""

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from m1eval.run import plan as works


def work(build: Any) -> tuple[Any, Any]:
    """All that building needs of a run's work, and of its runner."""
    return SimpleNamespace(build=build), None


@pytest.fixture
def built(monkeypatch):
    """A function that builds samples by kind, on a clock of its own, and says which were built on the spot."""
    now = SimpleNamespace(wall=0.0, busy=0.0)
    clock = SimpleNamespace(monotonic=lambda: now.wall, thread_time=lambda: now.busy)
    monkeypatch.setattr(works, "time", clock)

    def build(kinds):
        on_the_spot = []

        def one(number, runner, repeat):
            on_the_spot.append(threading.current_thread() is threading.main_thread())
            now.wall += 0.0 if kinds[number] == "quick" else 2.0
            now.busy += 2.0 if kinds[number] == "computes" else 0.0
            return number

        async def every():
            building = works.SampleBuilder(*work(one))
            return [await building.sample(number) for number in range(len(kinds))]

        delays = [0.0 if kind == "quick" else 2.0 for kind in kinds]
        assert asyncio.run(every()) == [*zip(range(len(kinds)), delays, strict=True)]
        return on_the_spot

    return build


def test_quick_ones_are_built_on_the_spot_after_the_first(built):
    assert built(["quick"] * 100) == [False] + [True] * 99


def test_one_that_computes_for_long_never_is_after_the_first_of_them(built):
    assert built(["quick"] * 3 + ["computes"] * 50) == [False, True, True, True] + [False] * 49


def test_ones_that_wait_are_tried_less_and_less_often(built):
    tried = [number for number, there in enumerate(built(["waits"] * 1000)) if there]
    assert tried[:5] == [1, 4, 9, 18, 35]
    assert len(tried) < 25


def test_quick_ones_are_found_again_after_slow_ones(built):
    on_the_spot = built(["quick"] * 2 + ["waits"] + ["quick"] * 50)
    assert on_the_spot == [False, True, True, False, False] + [True] * 48


def test_an_error_of_one_is_that_ones(built):
    def fails(number, runner, repeat):
        raise ValueError(number)

    async def twice():
        building = works.SampleBuilder(*work(fails))
        for number in range(3):
            with pytest.raises(ValueError, match=str(number)):
                await building.sample(number)

    asyncio.run(twice())
