"""The part of a limit that is reserved for a request in flight, and its settlement."""

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
    """A spending limit leaves no room for a request."""


class NoRoomNow(LimitReached):
    """A reply was unusable, and requests in flight leave no room for a retry."""


class Reservation:
    """The amount reserved for one request while it is in flight."""

    def __init__(self, spending: "Spending", meter: Meter, request: Request, estimate: int, amount: Amount) -> None:
        self.amount = amount
        self.max_tokens: int | None = None
        """The limit that the request carries, where nothing else limits it or there is little room."""
        self.is_last = False
        """Whether that limit takes all the remaining room."""
        self.discarded: list[Usage] = []
        """Usage of replies that were paid for and could not be used."""
        self.meter = meter
        self._spending, self._request, self._estimate = spending, request, estimate

    def settle(self, outputs: Sequence[Output | Exception]) -> None:
        """Compute the cost of outputs and count it; several share one prompt, which the first pays for."""
        first = True
        received = [output for output in outputs if isinstance(output, Output)]
        _share_prompt(received)
        for output in received:
            if output.finish_reason == "refused_context":  # the record keeps the usage that it reports, often none
                self._spending.charge(output.usage, self.meter)
        answers = [output for output in received if output.finish_reason != "refused_context"]
        mean = sum(output.usage.output for output in answers) / max(1, len(answers))
        for output in answers:
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
        """An upper bound of the tokens of an output without a reported usage: each token has at least one byte."""
        prompt = self.meter.max_prompt(self._request, self._estimate) if first else 0
        calls = json.dumps(output.tool_calls, default=str) if output.tool_calls else ""
        written = sum(len(text.encode("utf-8", "replace")) for text in (output.text, output.reasoning, calls))
        return Usage(prompt=prompt, answer=written)

    def discard(self, usage: Usage | None) -> None:
        """Count an unusable reply, None if its usage is unknown; NoRoomNow if there is no room for a retry."""
        if usage is None:
            self._spending.add_overrun(self.amount)
        else:
            self.discarded.append(as_usage(usage))
            self._spending.charge(usage, self.meter)
        if not self._spending.has_room:
            raise NoRoomNow("a reply could not be used, and there is no room to ask again")

    def release(self) -> None:
        """Release the amount: the request has ended."""
        self._spending.release(self)


def _share_prompt(outputs: Sequence[Output]) -> None:
    """Charge the prompt to the first output that reports its tokens, and to no other of the same request."""
    paid = False
    for output in outputs:
        if paid:
            output.usage = msgspec.structs.replace(output.usage, shared=output.usage.prompt, cached=0)
        paid = paid or output.usage.prompt > 0


class EpisodeBudget:
    """The amount reserved for an episode of several requests."""

    def __init__(self, spending: "Spending", remaining: Amount) -> None:
        self.left = remaining
        """Amount that it may still spend, if it costs as much as the most expensive so far."""
        self._spending = spending

    def deduct(self, usage: Usage) -> None:
        """Subtract what a turn has spent."""
        self.left = Amount(max(0.0, self.left.cost - (usage.cost or 0.0)), max(0, self.left.tokens - usage.total))


@contextmanager
def charged_to(reservation: Reservation) -> Iterator[Reservation]:
    """Charge what the runner discards to a reservation while this lasts, and release it at the end."""
    token = current_payer.set(reservation)
    try:
        yield reservation
    finally:
        current_payer.reset(token)
        reservation.release()
