"""Limits in dollars and tokens: what has been spent of them, what is left, and which one ended the command."""

import math

from m1eval.option_names import option
from m1eval.run.meter import Amount, Excess
from m1eval.types import Usage

ROUNDING = 1e-12


class Limits:
    """The limits of a command, None where there is none, and what it and earlier commands have spent."""

    def __init__(self, max_cost: float | None, max_tokens: int | None) -> None:
        self.max_cost, self.max_tokens = max_cost, max_tokens
        self.cost = 0.0
        self.tokens = 0
        self.unreported = Amount()
        """Spending that may not have been reported; it counts towards the limits."""
        self._charged = Amount()  # by this command
        self._ended: tuple[bool, str] | None = None  # by max_cost, and a detail for the message

    @property
    def exist(self) -> bool:
        """Whether there is a limit."""
        return self.max_cost is not None or self.max_tokens is not None

    @property
    def is_reached(self) -> bool:
        """Whether a limit has ended the command."""
        return self._ended is not None

    def add(self, usage: Usage) -> None:
        """Count what was spent before this command."""
        self.cost += usage.cost or 0.0
        self.tokens += usage.total

    def charge(self, usage: Usage) -> None:
        """Count what this command spends."""
        self.add(usage)
        self._charged = self._charged.plus(Amount.of(usage))

    def add_unreported(self, amount: Amount) -> None:
        """Count what may have been spent without being reported."""
        self.unreported = self.unreported.plus(amount)

    def remaining(self, reserved: Amount) -> Amount:
        """Amount left after what is reserved; infinite without a limit, negative where a limit is 0."""
        remaining = []
        for limit, spent, number in ((self.max_cost, self.cost, 0), (self.max_tokens, self.tokens, 1)):
            if limit is None:
                remaining.append(math.inf)
            else:
                remaining.append(
                    limit * (1 + ROUNDING) - spent - self.unreported[number] - reserved[number] if limit else -1.0
                )
        return Amount(*remaining)

    def share(self, fraction: float) -> Amount:
        """A fraction of the limits, infinite where there is none."""
        cost, tokens = self.max_cost, self.max_tokens
        return Amount(math.inf if cost is None else fraction * cost, math.inf if tokens is None else fraction * tokens)

    def end(self, *, by_cost: bool, detail: str) -> None:
        """Record the limit that ends the command; the first one counts."""
        if self._ended is None:
            self._ended = by_cost, detail

    def is_cost_reached_by(self, amount: Amount) -> bool:
        """Whether it is the limit of the cost that leaves no room for an amount, not that of the tokens."""
        spent = self.cost + self.unreported.cost
        by_cost = self.max_cost is not None and (self.max_cost == 0 or spent + amount.cost > self.max_cost)
        return by_cost or self.max_tokens is None

    def describe_end(self, excess: Excess | None) -> str:
        """The limit that ended the command, as a message; empty if none has.

        `excess`: the answer that exceeded its own limit the most.
        """
        if self._ended is None:
            return ""
        by_cost, detail = self._ended
        reason = self._overrun_reason(excess)
        if by_cost:
            unreported = (
                f" (and up to ${self.unreported.cost:.2g} by replies that broke off or do not report it)"
                if self.unreported.cost
                else ""
            )
            reason = f"{unreported}{reason}"
        limit, spent = self._describe_spent(by_cost=by_cost)
        return f"{limit}: {spent}{reason}{detail}"

    def describe_overrun(self, excess: Excess | None) -> str:
        """A message that a limit was exceeded although nothing was left to stop; empty if none was."""
        reason = self._overrun_reason(excess)
        if self.is_reached or not reason:
            return ""
        limit, spent = self._describe_spent(by_cost=self.max_cost is not None)
        return f"{limit} is exceeded: {spent}{reason}"

    def _describe_spent(self, *, by_cost: bool) -> tuple[str, str]:
        """A limit as the option that sets it, and what has been spent of it."""
        if by_cost:
            return option("max_cost", self.max_cost), f"${self.cost:.2f} spent"
        return option("max_tokens_total", self.max_tokens), f"{self.tokens:,} tokens used"

    def _overrun_reason(self, excess: Excess | None) -> str:
        """Reason that this command exceeded a limit; empty if it did not."""
        for limit, spent, charged in (
            (self.max_cost, self.cost, self._charged.cost),
            (self.max_tokens, self.tokens, self._charged.tokens),
        ):
            if limit is not None and spent > limit * (1 + ROUNDING) >= spent - charged:
                if excess is None:
                    return ", more than that as the server counts more tokens than were expected"
                return (
                    f", more than that as the server wrote {excess.output:,} tokens "
                    f"where max_tokens was {excess.allowed:,}"
                )
        return ""
