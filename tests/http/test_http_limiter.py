"""The limiter, against a server simulated in virtual time, and against loopback servers."""

import asyncio
import heapq
import random
import time
from collections.abc import Callable
from contextlib import aclosing

import pytest

from tests.http.conftest import (
    Loopback,
    ReceivedRequest,
    RecordingProgress,
    Reply,
    answer,
    http,
    question,
    runner,
    streamed,
)

limiters = http.limiter
INITIAL_LIMIT, MAX_LIMIT = limiters.INITIAL_LIMIT, limiters.MAX_LIMIT


def simulated(
    seconds_of: Callable[[int], float], seconds: float, busy_above: int = 10**9, streams: bool = False
) -> list[int]:
    """The limits over `seconds` virtual seconds, for a server whose latency depends on its load.

    Above `busy_above` requests in flight the server refuses; each streamed answer yields 20 tokens per second.
    """
    now = 0.0
    limiter = limiters.AdaptiveLimiter(clock=lambda: now)
    draw = random.Random(1)
    ends: list[tuple[float, int, int, bool]] = []
    limits = [limiter.limit]
    number = 0

    async def scenario() -> None:
        nonlocal now, number
        ticks = 0.0
        while now < seconds:
            while limiter.in_flight < limiter.limit and not limiter.pause_left:
                epoch = await limiter.acquire()
                limiter.streaming += streams
                number += 1
                good = len(ends) < busy_above
                wait = seconds_of(len(ends) + 1) * draw.uniform(0.9, 1.1) if good else 0.05
                heapq.heappush(ends, (now + wait, number, epoch, good))
            end, _, epoch, good = heapq.heappop(ends)
            while streams and ticks < end:
                ticks += 1
                now = max(now, ticks)
                limiter.on_tokens(20 * len(ends))
            now = max(now, end)
            limiter.streaming -= streams
            if good:
                limiter.on_success()
            else:
                limiter.on_overload(epoch)
            limiter.release()
            limits.append(limiter.limit)

    asyncio.run(scenario())
    return limits


def test_it_grows_to_the_end_while_throughput_grows():
    limits = simulated(lambda load: 0.5, seconds=30)
    assert limits[0] == INITIAL_LIMIT
    assert limits[-1] == MAX_LIMIT


def test_it_stays_near_the_load_above_which_nothing_is_gained():
    """A server that processes 64 requests in parallel: more only wait longer."""
    limits = simulated(lambda load: 0.5 * max(1, load / 64), seconds=120)
    late = sorted(limits[len(limits) // 2 :])
    assert 48 <= late[len(late) // 2] <= 128


def test_it_halves_on_overload_and_settles_near_the_capacity():
    limits = simulated(lambda load: 0.5, seconds=120, busy_above=40)
    late = limits[len(limits) // 2 :]
    assert max(late) <= 64
    assert sum(late) / len(late) > 20


def test_answers_that_take_an_hour_are_judged_by_their_tokens():
    limits = simulated(lambda load: 3600.0, seconds=3600, streams=True)
    assert limits[-1] == MAX_LIMIT, "long before the first of them has ended"


def test_a_burst_of_refusals_halves_once():
    async def scenario() -> int:
        limiter = limiters.AdaptiveLimiter()
        epochs = [await limiter.acquire() for _ in range(INITIAL_LIMIT)]
        for epoch in epochs:
            limiter.on_overload(epoch)
            limiter.release()
        return int(limiter.limit)

    assert asyncio.run(scenario()) == INITIAL_LIMIT // 2


def test_stray_refusals_do_not_halve():
    async def scenario() -> int:
        limiter = limiters.AdaptiveLimiter()
        for i in range(400):
            epoch = await limiter.acquire()
            if i % 15 == 0:
                limiter.on_overload(epoch)
            else:
                limiter.on_success()
            limiter.release()
        return int(limiter.limit)

    assert asyncio.run(scenario()) >= INITIAL_LIMIT


def test_a_fixed_concurrency_does_not_adapt_to_overloads():
    async def scenario() -> int:
        limiter = limiters.AdaptiveLimiter(5)
        for _ in range(100):
            epoch = await limiter.acquire()
            limiter.on_overload(epoch)
            limiter.on_success()
            limiter.release()
        return int(limiter.limit)

    assert asyncio.run(scenario()) == 5


def test_a_request_that_is_cancelled_in_the_queue_is_released():
    async def scenario() -> int:
        limiter = limiters.AdaptiveLimiter(1)
        await limiter.acquire()
        waiting = [asyncio.create_task(limiter.acquire()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
        limiter.release()
        waiting[1].cancel()  # right after it was admitted
        await asyncio.gather(*waiting[:2], return_exceptions=True)
        await asyncio.wait_for(waiting[2], 1)
        return int(limiter.in_flight)

    assert asyncio.run(scenario()) == 1


def test_retry_after_holds_back_all_requests(server: Loopback):
    """One request gets a Retry-After: the others wait too, and nothing is sent meanwhile."""
    first = iter([True])
    server.script = lambda _: Reply(status=429, headers={"Retry-After": "1"}) if next(first, False) else answer()

    async def scenario() -> float:
        progress = RecordingProgress()
        async with aclosing(runner(server)) as client:
            refused = asyncio.create_task(client.generate(question(progress=progress)))
            await progress.waiting.wait()
            begin = time.monotonic()
            await asyncio.gather(refused, *(client.generate(question()) for _ in range(5)))
            end = time.monotonic()
        return end - begin

    assert asyncio.run(scenario()) > 0.9


def test_more_requests_go_to_a_server_that_answers_in_time(server: Loopback):
    """Answers take 200 ms, so that neither side is limited by its own work."""
    server.script = lambda _: answer()._replace(delay=0.2)

    async def scenario() -> int:
        async with aclosing(runner(server)) as client:
            left = iter(range(2000))

            async def work() -> None:
                for _ in left:
                    await client.generate(question())

            await asyncio.gather(*(work() for _ in range(200)))
        return int(client.concurrency)

    assert asyncio.run(scenario()) > INITIAL_LIMIT
    assert server.max_in_flight > INITIAL_LIMIT


# Several servers
@pytest.fixture
def second(server: Loopback):
    another = Loopback()
    try:
        yield another
    finally:
        another.stop()


def ask_both(server: Loopback, second: Loopback, n: int, key: str = "", **options):
    async def scenario():
        async with aclosing(runner(server, base_url=f"{server.url},{second.url}", concurrency=4, **options)) as client:
            left, outputs = iter(range(n)), []

            async def work():
                for _ in left:
                    outputs.append(await client.generate(question(prefix_key=key)))

            await client.start(RecordingProgress())
            await asyncio.gather(*(work() for _ in range(8)))
        return outputs, client.describe()

    return asyncio.run(scenario())


def test_several_servers_share_the_work_by_their_load(server: Loopback, second: Loopback):
    server.reply(answer("slow")._replace(delay=1.0))
    second.reply(answer("fast")._replace(delay=0.05))
    outputs, about = ask_both(server, second, 60)
    assert about["base_url"] == [server.url, second.url]
    assert len(outputs) == 60
    assert len(second.posts) > 2 * len(server.posts) > 0


def test_requests_with_one_prefix_go_to_one_server_while_it_has_room(server: Loopback, second: Loopback):
    ask_both(server, second, 4, key="the same long text")
    assert sorted([len(server.posts), len(second.posts)]) == [0, 4]


def test_the_work_of_a_server_that_dies_goes_to_the_other(server: Loopback, second: Loopback):
    def dies(request: ReceivedRequest) -> Reply:
        return answer("a") if len(server.posts) < 5 else Reply(cut_at=-1)

    server.script = dies
    outputs, _ = ask_both(server, second, 50, retries=2)
    assert len(outputs) == 50
    assert all(output.text in {"a", "Paris"} for output in outputs)


def test_a_server_that_is_away_at_the_start_is_named(server: Loopback, second: Loopback):
    from m1eval import RunnerError

    second.stop()
    with pytest.raises(RunnerError, match=f"{second.url}: cannot connect"):
        ask_both(server, second, 1)


def test_streams_count_as_progress(server: Loopback):
    async def scenario() -> tuple[int, int]:
        progress = RecordingProgress()
        async with aclosing(runner(server.reply(streamed("right")))) as client:
            await client.generate(question(progress=progress))
        return progress.total

    assert asyncio.run(scenario()) == (10, 5)
