"""What is set aside of a limit for a request while it is in flight, and what becomes of it."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from m1eval.discarded import current_payer
from m1eval.errors import Stopped
from m1eval.run.meter import Amount, Meter
from m1eval.types import Output, Request, Usage
from m1eval.validation import as_usage

if TYPE_CHECKING:
    from m1eval.run.spending import Spending


class LimitReached(Stopped):
    """There is no room for a request below the limit."""


class NoRoomNow(LimitReached):
    """A reply was of no use, and there is no room to ask again beside what is in flight."""


class Reservation:
    """What is set aside for one request while it is in flight."""

    def __init__(self, spending: "Spending", meter: Meter, request: Request, estimate: int, amount: Amount) -> None:
        self.amount = amount
        self.max_tokens: int | None = None
        """The limit that the request is to carry, where nothing else limits it or there is little room."""
        self.is_last = False
        """Whether that limit is all there is room for."""
        self.discarded: list[Usage] = []
        """What replies took that were paid for and could not be used."""
        self.meter = meter
        self._spending, self._request, self._estimate = spending, request, estimate

    def settle(self, outputs: Sequence[Output | Exception]) -> None:
        """Put a price on what came and count it; several outputs share one prompt, which the first pays for."""
        first = True
        came = [output for output in outputs if isinstance(output, Output)]
        _share_prompt(came)
        for output in came:
            if output.finish_reason == "refused_context":  # the record keeps what it says that it took, mostly nothing
                self._spending.charge(output.usage, self.meter)
        came = [output for output in came if output.finish_reason != "refused_context"]
        mean = sum(output.usage.output for output in came) / max(1, len(came))
        for output in came:
            usage = output.usage
            if self._spending.limited and not (usage.prompt or usage.output):
                usage = self._max_usage(output, first=first)
                self._spending.add_overrun(self.meter.amount(usage.prompt, usage.answer))
            self._spending.charge(output.usage, self.meter)
            self.meter.observe(self._request, self._estimate, output, usage, self.max_tokens, mean)
            if self.max_tokens and self.is_last and output.finish_reason == "length":
                self._spending.stop_at_cut()
            first = False
        self.release()

    def _max_usage(self, output: Output, *, first: bool) -> Usage:
        """The tokens that an output has at most of which the server does not say it: none is shorter than a byte."""
        prompt = self.meter.max_prompt(self._request, self._estimate) if first else 0
        calls = json.dumps(output.tool_calls, default=str) if output.tool_calls else ""
        written = sum(len(text.encode("utf-8", "replace")) for text in (output.text, output.reasoning, calls))
        return Usage(prompt=prompt, answer=written)

    def discard(self, usage: Usage | None) -> None:
        """Count a reply that cannot be used, None if nobody knows what it took; NoRoomNow if no other may follow."""
        if usage is None:
            self._spending.add_overrun(self.amount)
        else:
            self.discarded.append(as_usage(usage))
            self._spending.charge(usage, self.meter)
        if not self._spending.has_room:
            raise NoRoomNow("a reply could not be used, and there is no room to ask again")

    def release(self) -> None:
        """Nothing more comes."""
        self._spending.release(self)


def _share_prompt(outputs: Sequence[Output]) -> None:
    """Have the first output that tells the tokens of the prompt pay for it, and no other of the same request."""
    paid = False
    for output in outputs:
        if paid:
            output.usage = msgspec.structs.replace(output.usage, shared=output.usage.prompt, cached=0)
        paid = paid or output.usage.prompt > 0


class EpisodeBudget:
    """Room that is kept for an episode of several requests."""

    def __init__(self, spending: "Spending", remaining: Amount) -> None:
        self.left = remaining
        """What it will still take, if it is as dear as the dearest so far."""
        self._spending = spending

    def deduct(self, usage: Usage) -> None:
        """A turn has taken some of it."""
        self.left = Amount(max(0.0, self.left.cost - (usage.cost or 0.0)), max(0, self.left.tokens - usage.total))


@contextmanager
def charged_to(reservation: Reservation) -> Iterator[Reservation]:
    """While a runner is asked: its reservation takes what `discard` is told, and is given back at the end."""
    token = current_payer.set(reservation)
    try:
        yield reservation
    finally:
        current_payer.reset(token)
        reservation.release()
