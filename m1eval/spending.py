"""What a command spends in tokens and money, and when it has to stop: `--max-cost`, `--max-tokens-total`."""

from m1eval.nouns import Usage
from m1eval.prices import Prices


class Spending:
    """Tokens and dollars of all runs of a command, what earlier commands spent on them too.

    A limit is kept by the mean of the requests so far: none goes that would, with those in flight, go beyond it.
    """

    def __init__(self, prices: Prices | None = None, most_cost: float | None = None, most_tokens: int | None = None):
        self.prices = prices
        self.cost = 0.0
        self.tokens = 0
        self.reached = ""
        """Which limit ended the command, in words; empty if none has."""
        self._most_cost, self._most_tokens = most_cost, most_tokens
        self._requests = 0

    def before(self, usage: Usage, requests: int) -> None:
        """Count what the journals hold."""
        self.cost += usage.cost or 0.0
        self.tokens += usage.prompt + usage.output
        self._requests += requests

    def charge(self, usage: Usage, *, shared: bool = False, requests: int = 1) -> None:
        """Put a price on an output and count it; `shared`: its prompt is paid for by another.

        `requests`: how many it counts as for the mean; a turn of an episode, which is counted as a whole, as none.
        """
        if usage.cost is None and self.prices:
            paid = Usage(answer=usage.output) if shared else usage
            usage.cost = self.prices(paid)
        self.before(Usage(answer=usage.output, cost=usage.cost) if shared else usage, requests)

    def allows(self, in_flight: int) -> bool:
        """Whether one more request may go beside those in flight."""
        if self._most_cost is None and self._most_tokens is None:
            return True
        share = 1 + (in_flight + 1) / self._requests if self._requests else 1.0
        for spent, most, words in (
            (self.cost, self._most_cost, f"--max-cost {self._most_cost or 0:g}: ${self.cost:.2f} are spent"),
            (self.tokens, self._most_tokens, f"--max-tokens-total {self._most_tokens}: {self.tokens:,} are used"),
        ):
            if most is not None and spent * share > most:
                self.reached = words
                return False
        return True
