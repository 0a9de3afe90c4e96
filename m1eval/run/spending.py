"""Spending limits of a command in tokens and money: `--max-cost`, `--max-tokens-total`.

A server that respects `max_tokens` never exceeds a limit: before a request is sent its maximum cost is reserved, until
its answer has arrived. Where neither the task nor the window limits an answer, or too little is left for the longest
one, the request carries a limit of its own. A request for which there is no room waits for those in flight, which
usually cost less than was reserved; when none is in flight, the command stops.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import reduce
from typing import NoReturn, TypeVar

from m1eval.model.prices import Prices
from m1eval.run.limits import Limits
from m1eval.run.meter import MARGIN, Amount, Excess, Meter
from m1eval.run.reservation import EpisodeBudget, LimitReached, NoRoomNow, Reservation, charged_to
from m1eval.types import Request, Usage

T = TypeVar("T")

INITIAL_SHARE = 0.1
"""Share of a limit that may be in flight until an answer has shown whether requests cost what was expected."""
MAX_OUTPUT = 10**9
"""Upper bound of the tokens of an answer."""
CUT_AFTER = 20
"""Answers after which the last one may get a smaller limit than the task's."""
MAX_RETRIES = 3
"""Maximum times that a request starts over whose replies were unusable and that had to wait for others meanwhile."""


class Spending:
    """Tokens and dollars of all runs of a command, including their judges and what earlier commands spent on them."""

    def __init__(
        self, prices: Prices | None = None, max_cost: float | None = None, max_tokens: int | None = None
    ) -> None:
        self.meter = Meter(prices)
        self.limits = Limits(max_cost, max_tokens)
        self.judges: Sequence[Meter] = ()
        """Meters of the judges that grade each answer, for which room must be left."""
        self._in_flight: set[Reservation] = set()
        self._num_grading = 0
        self._largest_judging = Amount()
        self._largest_max_tokens = 0
        self._episodes: set[EpisodeBudget] = set()
        self._largest_episode = Amount()
        self._num_graded = 0
        self._num_requests = 0
        self._changed = asyncio.Event()

    @property
    def limited(self) -> bool:
        """Whether a limit is set."""
        return self.limits.exist

    @property
    def reached(self) -> str:
        """The limit that ended the command, as a message; empty if none has."""
        return self.limits.describe_end(self._excess)

    @property
    def overrun(self) -> str:
        """A message that a limit was exceeded although nothing was left to stop; empty if none was."""
        return self.limits.describe_overrun(self._excess)

    @property
    def _excess(self) -> Excess | None:
        """The answer that exceeded its own limit the most; None if none did."""
        return max((meter.excess for meter in (self.meter, *self.judges) if meter.excess), default=None)

    def add_previous(self, usage: Usage) -> None:
        """Count what earlier commands spent."""
        self.limits.add(usage)

    def charge(self, usage: Usage, meter: Meter | None = None) -> None:
        """Compute the cost of an output and count it."""
        meter = meter or self.meter
        if usage.cost is None and meter.prices and usage.total:  # without a token count the price is unknown
            usage.cost = meter.prices(usage)
        self.limits.charge(usage)

    async def run_paid(
        self,
        send: Callable[[Reservation], Awaitable[T]],
        request: Request,
        n: int = 1,
        *,
        stop: asyncio.Event | None = None,
        meter: Meter | None = None,
        inner: bool = False,
        discarded: list[Usage] | None = None,
    ) -> T:
        """Send a request for `n` answers once there is room, and again if an unusable reply left none for a retry.

        `meter`: that of a judge, if it is asked. `inner`: the request is part of something for which room was reserved.
        `discarded` collects the usage of unusable replies. Raises LimitReached if there is no room.
        """
        discarded = [] if discarded is None else discarded
        for _ in range(1 + MAX_RETRIES):
            with charged_to(await self.reserve(request, n, stop, meter, inner=inner)) as reservation:
                reservation.discarded = discarded
                try:
                    return await send(reservation)
                except NoRoomNow:
                    continue
        raise RuntimeError(
            f"no reply could be used, {1 + MAX_RETRIES} times, while little was left of what may be spent"
        )

    async def reserve(
        self,
        request: Request,
        n: int,
        stop: asyncio.Event | None = None,
        meter: Meter | None = None,
        *,
        inner: bool = False,
    ) -> Reservation:
        """Reserve the maximum cost of a request for `n` answers; LimitReached if there is no room for it.

        `meter`: that of a judge, if it is asked. `inner`: the request is part of something for which room was reserved.
        """
        meter = meter or self.meter
        if not self.limited:
            return self._add_reservation(meter, request, 0, Amount())
        estimate = meter.estimate_prompt(request)
        while True:
            if (stop and stop.is_set() and not inner) or (self.reached and not inner):
                raise LimitReached(self.reached or "interrupted")
            if (reservation := self._try_reserve(meter, request, estimate, n, inner=inner)) is not None:
                return reservation
            if not self._in_flight and (inner or not self._num_grading):
                self._refuse(meter, request, estimate, n)
            self._changed.clear()
            await self._changed.wait()

    async def begin_episode(self, request: Request, stop: asyncio.Event) -> EpisodeBudget:
        """Reserve room for an episode as expensive as the most expensive so far; LimitReached if there is none.

        The first one runs alone.
        """
        episode = EpisodeBudget(self, self._largest_episode)
        while self.limited:
            if stop.is_set() or self.reached:
                raise LimitReached(self.reached or "interrupted")
            estimate = self.meter.estimate_prompt(request)
            output = self.meter.max_output(request, estimate)
            output = output if output and request.sampling.max_tokens else self.meter.typical_answer
            turn = self.meter.amount(self.meter.max_prompt(request, estimate), output)
            episode.left = self._largest_episode
            alone = not (self._in_flight or self._num_grading or self._episodes)
            room = self._fits(turn.plus(self._largest_episode), inner=False)
            if room and (alone or self._largest_episode.tokens):
                break
            if alone:
                self._refuse(self.meter, request, estimate, 1)
            self._changed.clear()
            await self._changed.wait()
        self._episodes.add(episode)
        return episode

    def end_episode(self, episode: EpisodeBudget, spent: Usage) -> None:
        """Release the room of an episode that has ended, and learn from what it spent."""
        self._episodes.discard(episode)
        self._largest_episode = self._largest_episode.max_with(Amount.of(spent))
        self._changed.set()

    def add_overrun(self, amount: Amount) -> None:
        """Count towards the limits what may have been spent without being reported."""
        self.limits.add_unreported(amount)

    @property
    def has_room(self) -> bool:
        """Whether the requests in flight cannot exceed a limit."""
        return not self.limited or self._fits(Amount(), inner=True)

    def stop_at_cut(self) -> None:
        """End the command: an answer was cut off where a limit is used up."""
        self.limits.end(by_cost=self.limits.max_cost is not None, detail=", and the last answer was cut off there")
        self._changed.set()

    def release(self, reservation: Reservation) -> None:
        """Release what was reserved."""
        self._in_flight.discard(reservation)
        self._changed.set()

    def begin_grading(self) -> None:
        """Count an answer that is about to be graded."""
        self._num_grading += 1

    def end_grading(self, usages: Sequence[Usage]) -> None:
        """Count an answer that is graded; `usages`: those of its judges."""
        self._num_grading -= 1
        self._num_graded += 1
        self._largest_judging = self._largest_judging.max_with(_sum(map(Amount.of, usages)).times(MARGIN))
        self._changed.set()

    def _try_reserve(self, meter: Meter, request: Request, estimate: int, n: int, *, inner: bool) -> Reservation | None:
        """A reservation if there is room for it now, else None."""
        alone = not self._in_flight and (inner or not self._num_grading)
        if not alone and self.judges and not inner and not self._num_graded:
            return None
        prompt, output = meter.max_prompt(request, estimate), meter.max_output(request, estimate)
        if request.sampling.max_tokens and output and not inner:
            self._largest_max_tokens = max(self._largest_max_tokens, output)
        if output is not None:
            amount = meter.amount(prompt, output * n)
            if self._fits(amount, inner=inner) and (
                alone or self._may_run_concurrently(meter, amount, prompt, output * n)
            ):
                return self._add_reservation(meter, request, estimate, amount)
        elif meter.num_answers and not meter.longest_answer and self._fits(meter.amount(prompt, 0), inner=inner):
            return self._add_reservation(
                meter, request, estimate, meter.amount(prompt, 0)
            )  # this server does not count new tokens
        limit, is_last = self._choose_limit(meter, request, prompt, output, n, alone=alone, inner=inner)
        if not limit:
            return None
        reservation = self._add_reservation(meter, request, estimate, meter.amount(prompt, limit * n))
        reservation.max_tokens, reservation.is_last = limit, is_last
        return reservation

    def _may_run_concurrently(self, meter: Meter, amount: Amount, prompt: int, output: int) -> bool:
        """Whether a request may be sent while others are in flight, by what such requests have taken so far."""
        if not meter.num_answers and not self._fits_share(amount):
            return False
        worst = meter.amount(prompt, meter.max_unlimited_output(output))
        num_requests = 1 + len(self._in_flight)
        return meter.keeps_limits or self._fits(worst.times(num_requests), inner=True)

    def _choose_limit(
        self, meter: Meter, request: Request, prompt: int, output: int | None, n: int, *, alone: bool, inner: bool
    ) -> tuple[int, bool]:
        """The limit that a request carries, and whether it is all that is left; 0 if the request cannot be sent now."""
        if request.sampling.max_tokens is not None and (inner or not alone or meter.num_answers < CUT_AFTER):
            return 0, False
        if (
            not alone and sum(each.meter is meter for each in self._in_flight) > meter.num_answers
        ):  # two, four, eight in flight
            return 0, False
        room = self._output_room(meter, prompt, inner=inner) // n
        limit = min(meter.default_limit(room), MAX_OUTPUT if output is None else output)
        if request.sampling.max_tokens is not None:
            limit = MAX_OUTPUT
        if room >= limit:
            amount = meter.amount(prompt, limit * n)
            return (limit if alone or self._may_run_concurrently(meter, amount, prompt, limit * n) else 0), False
        is_enough = alone and room >= max(1, meter.typical_answer) and not meter.excess
        return (room, True) if is_enough else (0, False)

    def _output_room(self, meter: Meter, prompt: int, *, inner: bool) -> int:
        """New tokens for which there is room after a prompt; -1 if there is none for the prompt."""
        if not self._fits(meter.amount(prompt, 0), inner=inner):
            return -1
        low, high = 0, MAX_OUTPUT
        left = self._remaining(inner=inner)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if left.covers(meter.amount(prompt, middle)) else (low, middle - 1)
        return low

    def _add_reservation(self, meter: Meter, request: Request, estimate: int, amount: Amount) -> Reservation:
        self._num_requests += 1
        reservation = Reservation(self, meter, request, estimate, amount)
        self._in_flight.add(reservation)
        return reservation

    def _fits(self, amount: Amount, *, inner: bool) -> bool:
        """Whether an amount fits below all limits; never if one of them is 0."""
        return self._remaining(inner=inner).covers(amount)

    def _fits_share(self, amount: Amount) -> bool:
        """Whether what is in flight, this amount included, stays within INITIAL_SHARE of the limits."""
        return self.limits.share(INITIAL_SHARE).covers(self._reserved(inner=False).plus(amount))

    def _remaining(self, *, inner: bool) -> Amount:
        """Amount left of the limits after all that is reserved; negative where a limit is 0."""
        return self.limits.remaining(self._reserved(inner=inner))

    def _reserved(self, *, inner: bool) -> Amount:
        """The sum reserved for requests in flight, and for judging them and one more answer."""
        others = () if inner else [each.left for each in self._episodes]
        held = 0 if inner or not self.judges else self._num_grading + len(self._in_flight) + 1
        judging = self._max_judging() if held else Amount()
        return _sum([*(each.amount for each in self._in_flight), *others]).plus(judging.times(held))

    def _max_judging(self) -> Amount:
        """The maximum that the judges of one answer take."""
        answer = self._largest_max_tokens or self.meter.longest_answer
        each = [meter.amount(meter.max_judge_prompt(answer), meter.default_max_tokens) for meter in self.judges]
        return _sum(each).max_with(self._largest_judging)

    def _refuse(self, meter: Meter, request: Request, estimate: int, n: int) -> NoReturn:
        """Record which limit is reached, and raise LimitReached."""
        output = meter.max_output(request, estimate) if request.sampling.max_tokens else None
        amount = meter.amount(meter.max_prompt(request, estimate), (output or meter.typical_answer or 1) * n)
        amount = amount.plus(self._max_judging())
        by_cost = self.limits.is_cost_reached_by(amount)
        at_most = f"cost up to ${amount.cost:.2g}" if by_cost else f"take up to {math.ceil(amount.tokens):,}"
        self.limits.end(by_cost=by_cost, detail="" if self._num_requests else f", and one more request may {at_most}")
        self._changed.set()
        raise LimitReached(self.reached)


def _sum(amounts: Iterable[Amount]) -> Amount:
    return reduce(Amount.plus, amounts, Amount())
