"""How many requests go at once: by a server that is modelled in virtual time, and by real ones on the loopback."""

import asyncio
import heapq
import random
import time
from collections.abc import Callable

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

Pace, FIRST, MOST = http.limiter.AdaptiveLimiter, http.limiter.INITIAL_LIMIT, http.limiter.MAX_LIMIT


def simulated(
    seconds_of: Callable[[int], float], most: float, busy_above: int = 10**9, streams: bool = False
) -> list[int]:
    """The limits that a pace takes over `most` virtual seconds in front of a server with a latency by its load.

    Above `busy_above` requests at once the server refuses; streamed answers tell of 20 tokens a second each.
    """
    now = 0.0
    pace = Pace(clock=lambda: now)
    draw = random.Random(1)
    ends: list[tuple[float, int, int, bool]] = []
    limits = [pace.limit]
    number = 0

    async def story() -> None:
        nonlocal now, number
        ticks = 0.0
        while now < most:
            while pace.in_flight < pace.limit and not pace.pause_left:
                ticket = await pace.acquire()
                pace.streaming += streams
                number += 1
                good = len(ends) < busy_above
                wait = seconds_of(len(ends) + 1) * draw.uniform(0.9, 1.1) if good else 0.05
                heapq.heappush(ends, (now + wait, number, ticket, good))
            end, _, ticket, good = heapq.heappop(ends)
            while streams and ticks < end:
                ticks += 1
                now = max(now, ticks)
                pace.on_tokens(20 * len(ends))
            now = max(now, end)
            pace.streaming -= streams
            if good:
                pace.on_success()
            else:
                pace.on_overload(ticket)
            pace.release()
            limits.append(pace.limit)

    asyncio.run(story())
    return limits


def test_it_grows_to_the_end_while_throughput_grows():
    limits = simulated(lambda load: 0.5, most=30)
    assert limits[0] == FIRST
    assert limits[-1] == MOST


def test_it_stays_near_the_load_above_which_nothing_is_gained():
    """A server that works on 64 at once: more only wait longer."""
    limits = simulated(lambda load: 0.5 * max(1, load / 64), most=120)
    late = sorted(limits[len(limits) // 2 :])
    assert 48 <= late[len(late) // 2] <= 128


def test_it_halves_when_the_server_says_too_much_and_finds_its_place():
    limits = simulated(lambda load: 0.5, most=120, busy_above=40)
    late = limits[len(limits) // 2 :]
    assert max(late) <= 64
    assert sum(late) / len(late) > 20


def test_answers_that_take_an_hour_are_judged_by_their_tokens():
    limits = simulated(lambda load: 3600.0, most=3600, streams=True)
    assert limits[-1] == MOST, "long before the first of them has ended"


def test_a_burst_of_refusals_halves_once():
    async def story() -> int:
        pace = Pace()
        tickets = [await pace.acquire() for _ in range(FIRST)]
        for ticket in tickets:
            pace.on_overload(ticket)
            pace.release()
        return int(pace.limit)

    assert asyncio.run(story()) == FIRST // 2


def test_stray_refusals_do_not_halve():
    async def story() -> int:
        pace = Pace()
        for i in range(400):
            ticket = await pace.acquire()
            if i % 15 == 0:
                pace.on_overload(ticket)
            else:
                pace.on_success()
            pace.release()
        return int(pace.limit)

    assert asyncio.run(story()) >= FIRST


def test_a_fixed_number_stays():
    async def story() -> int:
        pace = Pace(5)
        for _ in range(100):
            ticket = await pace.acquire()
            pace.on_overload(ticket)
            pace.on_success()
            pace.release()
        return int(pace.limit)

    assert asyncio.run(story()) == 5


def test_a_request_that_is_cancelled_while_it_waits_leaves_its_place():
    async def story() -> int:
        pace = Pace(1)
        await pace.acquire()
        waiting = [asyncio.create_task(pace.acquire()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
        pace.release()
        waiting[1].cancel()  # in the moment in which it has got the place
        await asyncio.gather(*waiting[:2], return_exceptions=True)
        await asyncio.wait_for(waiting[2], 1)
        return int(pace.in_flight)

    assert asyncio.run(story()) == 1


def test_retry_after_holds_back_all_requests(server: Loopback):
    """One is told to wait: the others wait too, and the server is not asked meanwhile."""
    first = iter([True])
    server.script = lambda _: Reply(status=429, headers={"Retry-After": "1"}) if next(first, False) else answer()

    async def story() -> float:
        made, watch = runner(server), RecordingProgress()
        refused = asyncio.create_task(made.generate(question(progress=watch)))
        await watch.waiting.wait()
        begin = time.monotonic()
        await asyncio.gather(refused, *(made.generate(question()) for _ in range(5)))
        end = time.monotonic()
        await made.aclose()
        return end - begin

    assert asyncio.run(story()) > 0.9


def test_more_requests_go_to_a_server_that_answers_in_time(server: Loopback):
    """Against the loopback, with answers of 200 ms, so that neither side is held up by its own work."""
    server.script = lambda _: answer()._replace(delay=0.2)

    async def story() -> int:
        made = runner(server)
        left = iter(range(2000))

        async def work() -> None:
            for _ in left:
                await made.generate(question())

        await asyncio.gather(*(work() for _ in range(200)))
        await made.aclose()
        return int(made.concurrency)

    assert asyncio.run(story()) > FIRST
    assert server.max_in_flight > FIRST


# Several servers
@pytest.fixture
def second(server: Loopback):
    another = Loopback()
    try:
        yield another
    finally:
        another.stop()


def ask_both(server: Loopback, second: Loopback, n: int, key: str = "", **options):
    async def story():
        made = runner(server, base_url=f"{server.url},{second.url}", concurrency=4, **options)
        left, outputs = iter(range(n)), []

        async def work():
            for _ in left:
                outputs.append(await made.generate(question(prefix_key=key)))

        try:
            await made.start(RecordingProgress())
            await asyncio.gather(*(work() for _ in range(8)))
        finally:
            await made.aclose()
        return outputs, made.describe()

    return asyncio.run(story())


def test_several_servers_share_the_work_by_their_load(server: Loopback, second: Loopback):
    server.reply(answer("slow")._replace(delay=1.0))
    second.reply(answer("fast")._replace(delay=0.05))
    outputs, about = ask_both(server, second, 60)
    assert about["base_url"] == [server.url, second.url]
    assert len(outputs) == 60
    assert len(second.posts) > 2 * len(server.posts) > 0


def test_requests_with_one_prefix_go_to_one_server_while_it_has_a_place(server: Loopback, second: Loopback):
    ask_both(server, second, 4, key="the same long text")
    assert sorted([len(server.posts), len(second.posts)]) == [0, 4]


def test_the_work_of_a_server_that_dies_goes_to_the_other(server: Loopback, second: Loopback):
    def dies(asked: ReceivedRequest) -> Reply:
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
    async def story() -> tuple[int, int]:
        made, watch = runner(server.reply(streamed("right"))), RecordingProgress()
        await made.generate(question(progress=watch))
        await made.aclose()
        return watch.total

    assert asyncio.run(story()) == (10, 5)
