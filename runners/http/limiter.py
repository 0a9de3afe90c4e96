"""Adaptive concurrency limit of one server: more while that raises its throughput, half when it is overloaded.

No network, and the clock is an argument. Additive increase with multiplicative decrease as in TCP (Chiu and Jain 1989),
with throughput in place of loss as the sign that more requests gain nothing: answers per second, or tokens per second
where answers are streamed and take long.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

INITIAL_LIMIT, MAX_LIMIT = 16, 512
"""Requests in flight at the start, and at most."""
MAX_WAIT = 120.0
"""Longest pause in seconds, whatever the server asks for."""
MIN_ANSWER_SECONDS, MIN_TOKEN_SECONDS = 0.25, 5.0
"""Shortest interval over which a throughput is measured: of whole answers, of streamed tokens."""
MIN_STREAMING_SHARE = 0.75
"""The share of the requests in flight that must be streaming for a throughput in tokens to count."""
REFUSAL_WEIGHT, OVERLOAD_SHARE = 1 / 16, 0.15
"""Weight of the latest refusal in their moving average, and the share that is an overload: three of a dozen."""
RECOVERY_SHARE = 0.8
"""The share of a limit that was too high which is regained quickly, by doubling."""
HOLD_INTERVALS = 10
"""Measurements that a limit which was not worth raising is held for, before it is raised again."""


class AdaptiveLimiter:
    """Limit of the requests in flight at a server: `fixed`, or as many as raise the throughput.

    A request calls `acquire`, which returns the epoch, reports its result, and calls `release`.
    """

    def __init__(self, fixed: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = fixed or INITIAL_LIMIT
        self.in_flight = 0
        self.streaming = 0
        """Requests whose streamed answer has begun."""
        self.unreachable = False
        """Whether the server cannot be reached: one request at a time probes it."""
        self._fixed = fixed is not None
        self._clock = clock
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._paused_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._epoch = 0
        self._answers = self._tokens = 0
        self._answers_since = self._tokens_since = clock()
        self._saturated = False
        self._previous = (self.limit, 0.0, "")  # the last limit, its throughput and the unit of that
        self._probing = False
        self._hold = 0
        self._slow_start = True
        self._recovery_limit = 0
        self._refusal_share = 0.0

    @property
    def pause_left(self) -> float:
        """Seconds until the next request may go."""
        return max(0.0, self._paused_until - self._clock())

    @property
    def load(self) -> float:
        """Requests in flight and waiting, relative to the limit."""
        return (self.in_flight + len(self._waiters)) / self.limit

    async def acquire(self) -> int:
        """Wait until the request may go; the epoch: how often the limit had been halved by then."""
        if not self._waiters and self._has_room():
            self.in_flight += 1
        else:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            self._admit()
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled() and not waiter.exception():
                    self.release()
                raise
        self._saturated |= self.in_flight >= self.limit
        return self._epoch

    def release(self) -> None:
        """End a request."""
        self.in_flight -= 1
        self._admit()

    def close(self, error: Exception) -> None:
        """Raise the error in all waiting requests."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(error)

    def pause(self, seconds: float) -> None:
        """Let no request go for a while."""
        self._paused_until = max(self._paused_until, self._clock() + min(seconds, MAX_WAIT))

    def on_overload(self, epoch: int) -> None:
        """Halve the limit after a refusal for load, unless it is a stray one.

        Requests of an earlier epoch say nothing of the limit since.
        """
        if self._fixed or epoch != self._epoch:
            return
        self._refusal_share += (1 - self._refusal_share) * REFUSAL_WEIGHT
        if self._refusal_share < OVERLOAD_SHARE:
            return
        self._refusal_share = 0.0
        self._recovery_limit = int(RECOVERY_SHARE * self.limit)
        self.limit = max(1, self.limit // 2)
        self._epoch += 1
        self._slow_start = self._probing = False
        self._hold = 0
        self._start_interval(self._clock())

    def on_success(self) -> None:
        """Count a finished answer."""
        self._refusal_share -= self._refusal_share * REFUSAL_WEIGHT
        self._answers += 1
        self._measure()

    def on_tokens(self, tokens: int) -> None:
        """Count streamed tokens."""
        self._tokens += tokens
        self._measure()

    def _has_room(self) -> bool:
        return self.in_flight < (1 if self.unreachable else self.limit) and not self.pause_left

    def _admit(self) -> None:
        while self._waiters and self._has_room():
            waiter = self._waiters.popleft()
            if not waiter.done():
                self.in_flight += 1
                waiter.set_result(None)
        if self._waiters and self.pause_left and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.pause_left + 0.001, self._on_pause_end)

    def _on_pause_end(self) -> None:
        self._timer = None
        self._admit()

    def _measure(self) -> None:
        if self._fixed:
            return
        now = self._clock()
        if self.streaming < MIN_STREAMING_SHARE * self.limit:
            self._tokens, self._tokens_since = 0, now
        if self._answers >= self.limit and now - self._answers_since >= MIN_ANSWER_SECONDS:
            self._adjust(self._answers / (now - self._answers_since), "answers", now)
        elif self._tokens >= 20 * self.limit and now - self._tokens_since >= MIN_TOKEN_SECONDS:
            self._adjust(self._tokens / (now - self._tokens_since), "tokens", now)

    def _adjust(self, rate: float, unit: str, now: float) -> None:
        """Raise the limit, restore the previous one, or hold it, by the throughput."""
        saturated = self._saturated
        self._start_interval(now)
        if not saturated:  # the limit was not the bottleneck
            return
        previous_limit, previous_rate, previous_unit = self._previous
        gain = 1 + 0.1 * (self.limit / previous_limit - 1)
        if self.limit < self._recovery_limit:  # a few refusals are no reason for another slow climb
            self.limit, self._probing = min(self._recovery_limit, self.limit * 2), False
        elif self._probing and previous_unit == unit and rate < previous_rate * gain:
            self.limit, self._probing, self._hold = previous_limit, False, HOLD_INTERVALS
            self._slow_start = False
        elif not self._probing and self._hold:
            self._hold -= 1
        elif self.limit < MAX_LIMIT:
            self._previous, self._probing = (self.limit, rate, unit), True
            self.limit = min(MAX_LIMIT, self.limit * 2 if self._slow_start else self.limit + max(1, self.limit // 4))
        self._admit()

    def _start_interval(self, now: float) -> None:
        self._answers = self._tokens = 0
        self._answers_since = self._tokens_since = now
        self._saturated = self.in_flight >= self.limit
