"""What a command spends in tokens and money, and when it has to stop: `--max-cost`, `--max-tokens-total`.

A limit is never exceeded: each request is priced by what it may cost at most before it goes, and that much is reserved
until its answer has come. A request for which there is no room waits for those in flight, which mostly cost less than
was reserved; when none is left, the command stops.
"""

import asyncio
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import NamedTuple, NoReturn

from m1eval.errors import Stopped, UsageError
from m1eval.grading import as_usage
from m1eval.nouns import Output, Request, Tokenizer, Usage
from m1eval.prices import Prices
from m1eval.tokens import Approximate

FIRST_SHARE = 0.1
"""Share of a limit that may be in flight while no answer has shown whether requests cost what was expected."""
BYTES = 4
"""Bytes in a token of an estimate by length alone; no text has more tokens than bytes."""
MARGIN = 1.15
"""By how much a prompt may exceed its estimate, beyond the worst that was seen."""
GROWTH, SLACK = 4, 16
"""Where nothing limits an answer: the multiple of the longest so far that is reserved for it, and how many times that
must be left for it to go without a limit of its own."""
RUBRIC = 1000
"""Tokens of what a judge is asked besides the answer, before one has been asked."""
LONGEST = 65536
"""Tokens of the first answer, where nothing limits it; beyond, it is not worth telling the server a limit."""


class LimitReached(Stopped):
    """There is no room for a request below the limit."""


class _Amount(NamedTuple):
    cost: float = 0.0
    tokens: float = 0


class Meter:
    """Prices the requests to one model: at most, before they go, and as they were, when their answers have come."""

    def __init__(self, prices: Prices | None = None, tokenizer: Tokenizer | None = None) -> None:
        self.prices = prices
        self.tokenizer: Tokenizer = tokenizer or Approximate()
        self.window: Callable[[], int | None] = lambda: None
        self.usual_output = 0
        """Tokens that an answer is mostly asked to have at most; of a judge."""
        self.answers = 0
        """How many have come."""
        self.longest = 0
        """Tokens of the longest answer."""
        self._largest_estimate = 0
        self._smallest_prompt, self._largest_prompt = math.inf, 0
        self._prompt_ratio = self._output_ratio = self._cost_ratio = 1.0

    def estimate(self, request: Request) -> int:
        """Tokens of a prompt, about."""
        if getattr(self.tokenizer, "approximate", False):  # bytes tell more than characters
            return -(-_size(request) // 4)
        tools = len(json.dumps(request.tools, default=str)) if request.tools else 0
        if request.token_ids is not None:
            return len(request.token_ids)
        with suppress(Exception):  # a template or an image that the tokenizer cannot take
            if request.messages is not None:
                return self.tokenizer.count(request.messages) + tools
            return len(self.tokenizer.encode(request.prompt or ""))
        return _size(request)

    def most_prompt(self, request: Request, estimate: int) -> int:
        """Tokens that a prompt may have at most: by the answers so far, before them by its bytes."""
        approximate = getattr(self.tokenizer, "approximate", False)
        if not self.answers:
            return max(estimate, _size(request)) if approximate else math.ceil(estimate * MARGIN) + 16
        if self._smallest_prompt == self._largest_prompt and estimate <= self._largest_estimate:
            return self._largest_prompt
        more = max(0, estimate - self._largest_estimate)
        by_ratio = estimate * self._prompt_ratio
        by_largest = self._largest_prompt + more * (BYTES if approximate else 1)
        return math.ceil(MARGIN * min(by_ratio, by_largest))

    def most_output(self, request: Request, estimate: int) -> int | None:
        """Tokens that an answer may have at most; None if nothing says."""
        declared = self._declared(request, estimate)
        return None if declared is None else math.ceil(declared * self._output_ratio)

    def _declared(self, request: Request, estimate: int) -> int | None:
        window = self.window()
        limits = [request.sampling.max_tokens, None if window is None else max(1, window - estimate // 2)]
        return min((limit for limit in limits if limit is not None), default=None)

    def usual_prompt(self, answer: int) -> int:
        """Tokens of a judge's prompt about an answer of so many, at most."""
        return math.ceil(MARGIN * self._largest_prompt) if self.answers else answer + RUBRIC

    def amount(self, prompt: int, output: int) -> _Amount:
        """Cost and tokens of a request."""
        cost = self.prices(Usage(prompt=prompt, answer=output)) * self._cost_ratio if self.prices else 0.0
        return _Amount(cost, prompt + output)

    def saw(self, request: Request, estimate: int, usage: Usage) -> None:
        """Learn from an answer whether such requests take more than was expected."""
        self.answers += 1
        self.longest = max(self.longest, usage.output)
        if usage.prompt:
            self._largest_estimate = max(self._largest_estimate, estimate)
            self._smallest_prompt = min(self._smallest_prompt, usage.prompt)
            self._largest_prompt = max(self._largest_prompt, usage.prompt)
            self._prompt_ratio = max(self._prompt_ratio, usage.prompt / max(1, estimate))
        declared = self._declared(request, estimate)
        if declared and usage.output > declared:
            self._output_ratio = max(self._output_ratio, MARGIN * usage.output / declared)
        if usage.cost and self.prices and (expected := self.prices(usage)):
            self._cost_ratio = max(self._cost_ratio, usage.cost / expected)


class Reservation:
    """What is set aside for one request while it is in flight."""

    def __init__(self, spending: "Spending", meter: Meter, request: Request, estimate: int, amount: _Amount) -> None:
        self.amount = amount
        self.max_tokens: int | None = None
        """The limit that the request is to carry, where nothing else limits it."""
        self.discarded: list[Usage] = []
        """What replies took that were paid for and could not be used."""
        self._spending, self._meter, self._request, self._estimate = spending, meter, request, estimate

    def settle(self, outputs: Sequence[Output | Exception]) -> None:
        """Put a price on what came and count it; several outputs share one prompt."""
        first = True
        for output in outputs:
            if isinstance(output, Output):
                self._spending.charge(output.usage, self._meter, shared=not first)
                self._meter.saw(self._request, self._estimate, output.usage)
                first = False
        self.release()

    def discard(self, usage: Usage | None) -> None:
        """Count a reply that cannot be used, None if nobody knows what it took; LimitReached if no other may follow."""
        if usage is None:
            self._spending.lost(self.amount)
        else:
            self.discarded.append(as_usage(usage))
            self._spending.charge(usage, self._meter)
        self._spending.see_whether_over()

    def release(self) -> None:
        """Nothing more comes."""
        self._spending.free(self)


class Episode:
    """Room that is kept for an episode of several requests."""

    def __init__(self, spending: "Spending", left: _Amount) -> None:
        self.left = left
        """What it will still take, if it is as dear as the dearest so far."""
        self._spending = spending

    def spent(self, usage: Usage) -> None:
        """A turn has taken some of it."""
        tokens = usage.prompt + usage.output
        self.left = _Amount(max(0.0, self.left.cost - (usage.cost or 0.0)), max(0, self.left.tokens - tokens))


_current: ContextVar[Reservation | None] = ContextVar("reservation", default=None)


@contextmanager
def paying(reservation: Reservation) -> Iterator[Reservation]:
    """While a runner is asked: its reservation takes what `discard` is told, and is given back at the end."""
    token = _current.set(reservation)
    try:
        yield reservation
    finally:
        _current.reset(token)
        reservation.release()


def discard(usage: Usage | None) -> None:
    """For runners: a reply had to be paid for and cannot be used; None if nobody knows how much it took.

    Raises LimitReached where a limit leaves no room to ask again.
    """
    if (reservation := _current.get()) is not None:
        reservation.discard(usage)


class Spending:
    """Tokens and dollars of all runs of a command, its judges' and what earlier commands spent on them too."""

    def __init__(
        self, prices: Prices | None = None, max_cost: float | None = None, max_tokens: int | None = None
    ) -> None:
        for option, most in (("--max-cost", max_cost), ("--max-tokens-total", max_tokens)):
            if most is not None and not 0 <= most < math.inf:  # not for NaN either
                raise UsageError(f"{option} {most}: write a number that is not negative, or leave it out")
        self.meter = Meter(prices)
        self.cost = 0.0
        self.tokens = 0
        self.reached = ""
        """Which limit ended the command, in words; empty if none has."""
        self.judges: Sequence[Meter] = ()
        """Those of the judges that are asked about each answer, for whom room must be left."""
        self._max_cost, self._max_tokens = max_cost, max_tokens
        self._flying: set[Reservation] = set()
        self._grading = 0
        self._judging = self._lost = _Amount()
        self._longest_asked = 0
        self._episodes: set[Episode] = set()
        self._episode = _Amount()
        self._graded = 0
        self._asked = 0
        self._changed = asyncio.Event()

    @property
    def limited(self) -> bool:
        """Whether there is a limit."""
        return self._max_cost is not None or self._max_tokens is not None

    def before(self, usage: Usage) -> None:
        """Count what was spent before."""
        self.cost += usage.cost or 0.0
        self.tokens += usage.prompt + usage.output

    def charge(self, usage: Usage, meter: Meter | None = None, *, shared: bool = False) -> None:
        """Put a price on an output and count it; `shared`: its prompt is paid for by another."""
        meter = meter or self.meter
        paid = Usage(answer=usage.output, cost=usage.cost) if shared else usage
        if usage.cost is None and meter.prices:
            usage.cost = paid.cost = meter.prices(paid)
        self.before(paid)

    async def reserve(
        self,
        request: Request,
        n: int,
        stop: asyncio.Event | None = None,
        meter: Meter | None = None,
        *,
        inner: bool = False,
    ) -> Reservation:
        """Set aside what a request for `n` answers may cost at most; LimitReached if there is no room for it.

        `meter`: of a judge. `inner`: the request belongs to what was begun and had room kept for it.
        """
        meter = meter or self.meter
        if not self.limited:
            return self._take(meter, request, 0, _Amount())
        estimate = meter.estimate(request)
        while True:
            if (stop and stop.is_set() and not inner) or (self.reached and not inner):
                raise LimitReached(self.reached or "interrupted")
            if (taken := self._tried(meter, request, estimate, n, inner=inner)) is not None:
                return taken
            if not self._flying and (inner or not self._grading):
                self._refuse(meter, request, estimate, n)
            self._changed.clear()
            await self._changed.wait()

    async def begin_episode(self, request: Request, stop: asyncio.Event) -> "Episode":
        """Keep room for an episode that costs as much as the dearest so far; LimitReached if there is none.

        The first goes alone.
        """
        episode = Episode(self, self._episode)
        while self.limited:
            if stop.is_set() or self.reached:
                raise LimitReached(self.reached or "interrupted")
            estimate = self.meter.estimate(request)
            output = self.meter.most_output(request, estimate) or GROWTH * self.meter.longest
            turn = self.meter.amount(self.meter.most_prompt(request, estimate), output)
            episode.left = self._episode
            alone = not (self._flying or self._grading or self._episodes)
            room = self._fits(_Amount(*map(sum, zip(turn, self._episode, strict=True))), inner=False)
            if room and (alone or self._episode.tokens):
                break
            if alone:
                self._refuse(self.meter, request, estimate, 1)
            self._changed.clear()
            await self._changed.wait()
        self._episodes.add(episode)
        return episode

    def end_episode(self, episode: "Episode", spent: Usage) -> None:
        """An episode has come to its end, and took so much."""
        self._episodes.discard(episode)
        known, tokens = self._episode, spent.prompt + spent.output
        self._episode = _Amount(max(known.cost, spent.cost or 0.0), max(known.tokens, tokens))
        self._changed.set()

    def lost(self, amount: _Amount) -> None:
        """Count towards the limits what may have been spent, though nobody knows."""
        self._lost = _Amount(self._lost.cost + amount.cost, self._lost.tokens + amount.tokens)

    def see_whether_over(self) -> None:
        """LimitReached if what is in flight may go beyond a limit."""
        if self.limited and not self._fits(_Amount(), inner=True):
            cost = self._max_cost is not None and self.cost + self._lost.cost >= self._max_cost * (1 - FIRST_SHARE)
            self._stop(cost=cost or self._max_tokens is None, more="")

    def cut_off(self) -> NoReturn:
        """An answer came to the end of what may be spent: LimitReached."""
        self._stop(cost=self._max_cost is not None, more=", and the last answer was cut off there")

    def free(self, reservation: Reservation) -> None:
        """Give back what was set aside."""
        self._flying.discard(reservation)
        self._changed.set()

    def grading(self) -> None:
        """An answer is about to be graded."""
        self._grading += 1

    def graded(self, usages: Sequence[Usage]) -> None:
        """An answer is graded; `usages`: what its judges took."""
        self._grading -= 1
        self._graded += 1
        cost = sum(usage.cost or 0.0 for usage in usages)
        tokens = sum(usage.prompt + usage.output for usage in usages)
        known = self._judging
        self._judging = _Amount(max(known.cost, MARGIN * cost), max(known.tokens, MARGIN * tokens))
        self._changed.set()

    def _tried(self, meter: Meter, request: Request, estimate: int, n: int, *, inner: bool) -> Reservation | None:
        """A reservation, if there is room for it now."""
        alone = not self._flying and (inner or not self._grading)
        if not alone and self.judges and not inner and not self._graded:
            return None
        prompt, output = meter.most_prompt(request, estimate), meter.most_output(request, estimate)
        if output is None:
            return self._unlimited(meter, request, estimate, n, prompt, alone=alone, inner=inner)
        amount = meter.amount(prompt, output * n)
        if not inner:
            self._longest_asked = max(self._longest_asked, output)
        if not self._fits(amount, inner=inner):
            return None
        if not (alone or meter.answers or self._fits(amount, inner=inner, share=FIRST_SHARE)):
            return None
        return self._take(meter, request, estimate, amount)

    def _unlimited(
        self, meter: Meter, request: Request, estimate: int, n: int, prompt: int, *, alone: bool, inner: bool
    ) -> Reservation | None:
        """A reservation for a request that nothing limits: it gets a limit itself where there is little room."""
        most = GROWTH * SLACK * max(LONGEST, meter.longest) * n
        room = self._room(meter, prompt, most, inner=inner)
        want = GROWTH * meter.longest * n if meter.answers else LONGEST * n
        if meter.answers and room >= SLACK * want:
            return self._take(meter, request, estimate, meter.amount(prompt, want))
        if not alone or room < max(n, meter.longest * n if meter.answers else n):
            return None
        taken = self._take(meter, request, estimate, meter.amount(prompt, min(room, max(want, n))))
        if room < want or meter.answers:
            taken.amount = meter.amount(prompt, room)
            taken.max_tokens = room // n
        return taken

    def _room(self, meter: Meter, prompt: int, most: int, *, inner: bool) -> int:
        """New tokens that there is room for beside a prompt, up to `most`; -1 if there is none for the prompt."""
        if not self._fits(meter.amount(prompt, 0), inner=inner):
            return -1
        low, high = 0, most
        while low < high:
            middle = (low + high + 1) // 2
            if self._fits(meter.amount(prompt, middle), inner=inner):
                low = middle
            else:
                high = middle - 1
        return low

    def _take(self, meter: Meter, request: Request, estimate: int, amount: _Amount) -> Reservation:
        self._asked += 1
        taken = Reservation(self, meter, request, estimate, amount)
        self._flying.add(taken)
        return taken

    def _fits(self, amount: _Amount, *, inner: bool, share: float = 1.0) -> bool:
        """Whether an amount is left below all limits, and at least something of them."""
        others = () if inner else [each.left for each in self._episodes]
        held = 0 if inner or not self.judges else self._grading + len(self._flying) + 1
        judging = self._most_judging() if held else _Amount()
        flying = [*(each.amount for each in self._flying), *others]
        for most, spent, number in ((self._max_cost, self.cost, 0), (self._max_tokens, self.tokens, 1)):
            if most is None:
                continue
            reserved = sum(each[number] for each in flying) + held * judging[number] + amount[number]
            used = spent + self._lost[number] if share == 1 else 0.0
            if most == 0 or used + reserved > most * share * (1 + 1e-12):
                return False
        return True

    def _most_judging(self) -> _Amount:
        """What the judges of one answer may take at most."""
        answer = self._longest_asked or self.meter.longest
        each = [meter.amount(meter.usual_prompt(answer), meter.usual_output) for meter in self.judges]
        cost, tokens = sum(one.cost for one in each), sum(one.tokens for one in each)
        return _Amount(max(cost, self._judging.cost), max(tokens, self._judging.tokens))

    def _refuse(self, meter: Meter, request: Request, estimate: int, n: int) -> None:
        output = meter.most_output(request, estimate) or meter.longest or 1
        one = meter.amount(meter.most_prompt(request, estimate), output * n)
        judging = self._most_judging()
        one = _Amount(one.cost + judging.cost, one.tokens + judging.tokens)
        cost = self._max_cost is not None and (self._max_cost == 0 or self.cost + one.cost > self._max_cost)
        cost = cost or self._max_tokens is None
        most = f"cost up to ${one.cost:.2g}" if cost else f"take up to {math.ceil(one.tokens):,}"
        self._stop(cost=cost, more="" if self._asked else f", and one more request may {most}")

    def _stop(self, *, cost: bool, more: str) -> NoReturn:
        """Say which limit is reached, and raise LimitReached."""
        if cost:
            lost = f" (and up to ${self._lost.cost:.2g} by replies that broke off)" if self._lost.cost else ""
            self.reached = f"--max-cost {self._max_cost:g}: ${self.cost:.2f} are spent{lost}{more}"
        else:
            self.reached = f"--max-tokens-total {self._max_tokens}: {self.tokens:,} are used{more}"
        self._changed.set()
        raise LimitReached(self.reached)


def _size(request: Request) -> int:
    """Bytes of a prompt, which has no more tokens than that, and of what a chat template adds to it, about."""
    if request.messages is None:
        return len((request.prompt or "").encode("utf-8", "replace"))
    texts = [json.dumps(request.messages, ensure_ascii=False, default=str)]
    texts += [json.dumps(request.tools, default=str)] if request.tools else []
    return sum(len(text.encode("utf-8", "replace")) for text in texts)
