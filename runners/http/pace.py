"""How many requests one server gets at once: more while that raises its throughput, half when it says too much.

No network and no clock of its own. Additive increase with multiplicative decrease as in TCP (Chiu and Jain 1989), with
throughput in place of loss as the sign that more is of no use: answers per second, or tokens per second where answers
are streamed and take longer than a glance.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

FIRST, MOST = 16, 512
"""Requests at once in the beginning, and at most."""
LONGEST_WAIT = 120.0
"""Seconds of rest, whatever the server asks for."""
SHORTEST, STREAMED = 0.25, 5.0
"""Seconds after which a throughput is believed: of whole answers, of streamed tokens."""
FLOWING = 0.75
"""The share of the requests in flight that must have begun their answer for a throughput of tokens to count."""
STRAY, STRAINED = 1 / 16, 0.15
"""What one refusal weighs among those of late, and the share of them that is a strain: three of a dozen."""
REGAINED = 0.8
"""The share of a limit that was too much which is taken again at once, step by step doubled."""
CALM = 10
"""Throughputs that are let pass at a limit that was not worth raising, before it is tried again."""


class Pace:
    """The places at a server; `fixed` of them, or as many as pay.

    A request takes a place with the ticket of `take`, tells what came of it, and gives the place back.
    """

    def __init__(self, fixed: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = fixed or FIRST
        self.taken = 0
        self.flowing = 0
        """Requests whose streamed answer has begun."""
        self.lost = False
        """The server cannot be reached: one request at a time finds out whether it is back."""
        self._fixed = fixed is not None
        self._clock = clock
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._rests_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._round = 0
        self._done = self._tokens = 0
        self._done_since = self._tokens_since = clock()
        self._full = False
        self._before = (self.limit, 0.0, "")  # the last limit with its throughput, and of what
        self._trying = False
        self._calm = 0
        self._steep = True
        self._borne = 0
        self._strain = 0.0

    @property
    def resting(self) -> float:
        """Seconds until the next request may go."""
        return max(0.0, self._rests_until - self._clock())

    @property
    def load(self) -> float:
        """Requests here and waiting, in relation to the places."""
        return (self.taken + len(self._waiting)) / self.limit

    async def take(self) -> int:
        """Wait for a place; the ticket says how often the limit had been halved by then."""
        if not self._waiting and self._free():
            self.taken += 1
        else:
            place = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            self._wake()
            try:
                await place
            except asyncio.CancelledError:
                if place.done() and not place.cancelled() and not place.exception():
                    self.give()
                raise
        self._full |= self.taken >= self.limit
        return self._round

    def give(self) -> None:
        """Give a place back."""
        self.taken -= 1
        self._wake()

    def end(self, error: Exception) -> None:
        """No request will go any more; those that wait get the error."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_exception(error)

    def rest(self, seconds: float) -> None:
        """Let no request go for a while."""
        self._rests_until = max(self._rests_until, self._clock() + min(seconds, LONGEST_WAIT))

    def too_much(self, ticket: int) -> None:
        """The server refuses for its load: half as many from now on, if it is not a stray one.

        Requests that went out before a halving are no sign of what came after it.
        """
        if self._fixed or ticket != self._round:
            return
        self._strain += (1 - self._strain) * STRAY
        if self._strain < STRAINED:
            return
        self._strain = 0.0
        self._borne = int(REGAINED * self.limit)
        self.limit = max(1, self.limit // 2)
        self._round += 1
        self._steep = self._trying = False
        self._calm = 0
        self._restart(self._clock())

    def answered(self) -> None:
        """An answer has come to its end."""
        self._strain -= self._strain * STRAY
        self._done += 1
        self._measure()

    def streamed(self, tokens: int) -> None:
        """Tokens of an answer have come."""
        self._tokens += tokens
        self._measure()

    def _free(self) -> bool:
        return self.taken < (1 if self.lost else self.limit) and not self.resting

    def _wake(self) -> None:
        while self._waiting and self._free():
            place = self._waiting.popleft()
            if not place.done():
                self.taken += 1
                place.set_result(None)
        if self._waiting and self.resting and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.resting + 0.001, self._rested)

    def _rested(self) -> None:
        self._timer = None
        self._wake()

    def _measure(self) -> None:
        if self._fixed:
            return
        now = self._clock()
        if self.flowing < FLOWING * self.limit:
            self._tokens, self._tokens_since = 0, now
        if self._done >= self.limit and now - self._done_since >= SHORTEST:
            self._judge(self._done / (now - self._done_since), "answers", now)
        elif self._tokens >= 20 * self.limit and now - self._tokens_since >= STREAMED:
            self._judge(self._tokens / (now - self._tokens_since), "tokens", now)

    def _judge(self, rate: float, unit: str, now: float) -> None:
        """Decide by a throughput: more, back to what was, or leave it for a while."""
        full = self._full
        self._restart(now)
        if not full:  # the limit was not what held it back
            return
        smaller, slower, of = self._before
        if self.limit < self._borne:  # a few refusals of many are no reason to begin anew
            self.limit, self._trying = min(self._borne, self.limit * 2), False
        elif self._trying and of == unit and rate < slower * (1 + 0.1 * (self.limit / smaller - 1)):
            self.limit, self._trying, self._calm = smaller, False, CALM
            self._steep = False
        elif not self._trying and self._calm:
            self._calm -= 1
        elif self.limit < MOST:
            self._before, self._trying = (self.limit, rate, unit), True
            self.limit = min(MOST, self.limit * 2 if self._steep else self.limit + max(1, self.limit // 4))
        self._wake()

    def _restart(self, now: float) -> None:
        self._done = self._tokens = 0
        self._done_since = self._tokens_since = now
        self._full = self.taken >= self.limit
