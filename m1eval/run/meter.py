"""Upper bounds of a request's tokens and cost, learnt from the model's earlier answers."""

import json
import math
from bisect import insort
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from m1eval.model.prices import Prices
from m1eval.model.runner_tokenizer import CharacterTokenizer
from m1eval.protocols import Tokenizer
from m1eval.types import Output, Request, Usage

BYTES_PER_TOKEN = 4
"""Bytes per token of an estimate by length alone; no text has more tokens than bytes."""
MARGIN = 1.15
"""Factor by which a prompt may exceed its estimate, beyond the worst so far."""
TYPICAL_FACTOR = 4
"""The multiple of a typical answer that is reserved for one of unlimited length."""
TYPICAL_QUANTILE = 0.9
"""The quantile of the answers' lengths that counts as typical."""
FIRST_SHARES, SHARES = 16, 256
"""An answer without a limit gets this fraction of what is left: 1/16 at first, 1/256 in the end."""
LONGEST_FACTOR = 1.25
"""The multiple of the longest answer that is reserved for one of unlimited length."""
TRUSTED_AFTER = 10
"""Answers after which a server is trusted to respect limits, unless one has exceeded its own."""
LIMIT_TOLERANCE = 16
"""Tokens by which an answer may exceed its limit: servers count end-of-turn tokens in different ways."""
JUDGE_PROMPT_TOKENS = 1000
"""Tokens of a judge's prompt without the answer, until one has been counted."""
MAX_FIRST_OUTPUT = 65536
"""Tokens assumed for a first answer that nothing limits, or whose server does not respect the limit."""
MAX_SENT_LIMIT = 2 * MAX_FIRST_OUTPUT
"""The largest limit sent to a server before an answer comes close to it: some refuse large ones."""


class Excess(NamedTuple):
    """An answer that exceeded the limit sent with it, in tokens."""

    output: int
    allowed: int


class Amount(NamedTuple):
    """US dollars, and tokens in and out."""

    cost: float = 0.0
    tokens: float = 0

    @classmethod
    def of(cls, usage: Usage) -> "Amount":
        """The amount of a usage; an unknown cost counts as none."""
        return cls(usage.cost or 0.0, usage.total)

    def plus(self, other: "Amount") -> "Amount":
        """The sum of two amounts."""
        return Amount(self.cost + other.cost, self.tokens + other.tokens)

    def times(self, factor: float) -> "Amount":
        """A multiple of the amount."""
        return Amount(self.cost * factor, self.tokens * factor)

    def max_with(self, other: "Amount") -> "Amount":
        """The larger cost and the larger number of tokens of two amounts."""
        return Amount(max(self.cost, other.cost), max(self.tokens, other.tokens))

    def covers(self, other: "Amount") -> bool:
        """Whether the other is at most this in both cost and tokens."""
        return other.cost <= self.cost and other.tokens <= self.tokens


class Meter:
    """Prices the requests to one model: an upper bound before they are sent, the cost once they are answered."""

    def __init__(self, prices: Prices | None = None, tokenizer: Tokenizer | None = None) -> None:
        self.prices = prices
        self.tokenizer: Tokenizer = tokenizer or CharacterTokenizer()
        self.window: Callable[[], int | None] = lambda: None
        self.default_max_tokens = 0
        """`max_tokens` of most requests; for a judge."""
        self.excess: Excess | None = None
        """The answer that exceeded its limit the most; None if the server respects limits."""
        self._lengths: list[int] = []  # of the answers in tokens, sorted
        self._has_hit_limit = False
        self._largest_estimate = 0
        self._smallest_prompt, self._largest_prompt = math.inf, 0
        self._prompt_ratio = self._output_ratio = self._cost_ratio = 1.0

    @property
    def num_answers(self) -> int:
        """Answers so far."""
        return len(self._lengths)

    @property
    def longest_answer(self) -> int:
        """Tokens of the longest answer."""
        return self._lengths[-1] if self._lengths else 0

    @property
    def typical_answer(self) -> int:
        """Tokens of a typical answer, the TYPICAL_QUANTILE of their lengths."""
        return self._lengths[math.ceil(TYPICAL_QUANTILE * self.num_answers) - 1] if self._lengths else 0

    @property
    def keeps_limits(self) -> bool:
        """Whether the server has stopped an answer at its limit, or has answered often enough without exceeding one."""
        return self.excess is None and (self._has_hit_limit or self.num_answers >= TRUSTED_AFTER)

    def default_limit(self, room: int) -> int:
        """The limit of an answer that has no other, given room for `room` tokens; few answers reach it."""
        if not self.num_answers:
            return min(max(MAX_FIRST_OUTPUT, room // FIRST_SHARES), MAX_SENT_LIMIT)
        share = min(room // min(SHARES, FIRST_SHARES * (1 + self.num_answers)), MAX_SENT_LIMIT)
        return max(TYPICAL_FACTOR * self.typical_answer, math.ceil(LONGEST_FACTOR * self.longest_answer), share, 1)

    def estimate_prompt(self, request: Request) -> int:
        """Estimated tokens of a prompt."""
        if getattr(self.tokenizer, "approximate", False):  # bytes are a better estimate than characters
            return -(-_size(request) // 4)
        tools = len(json.dumps(request.tools, default=str)) if request.tools else 0
        if request.token_ids is not None:
            return len(request.token_ids)
        with suppress(Exception):  # a template or an image that the tokenizer cannot take
            if request.messages is not None:
                return self.tokenizer.count(request.messages) + tools
            return len(self.tokenizer.encode(request.prompt or ""))
        return _size(request)

    def max_prompt(self, request: Request, estimate: int) -> int:
        """Upper bound of the tokens of a prompt: by the answers so far, before them by its bytes."""
        approximate = getattr(self.tokenizer, "approximate", False)
        if not self.num_answers:
            return max(estimate, _size(request)) if approximate else math.ceil(estimate * MARGIN) + 16
        if self._smallest_prompt == self._largest_prompt and estimate <= self._largest_estimate:
            return self._largest_prompt
        excess = max(0, estimate - self._largest_estimate)
        by_ratio = estimate * self._prompt_ratio
        by_largest = self._largest_prompt + excess * (BYTES_PER_TOKEN if approximate else 1)
        return math.ceil(MARGIN * min(by_ratio, by_largest))

    def max_output(self, request: Request, estimate: int) -> int | None:
        """Upper bound of the tokens of an answer; None if nothing limits it."""
        declared = self._declared_limit(request, estimate)
        if declared is None:
            return None
        max_tokens = math.ceil(declared * self._output_ratio)
        return max(max_tokens, TYPICAL_FACTOR * self.longest_answer) if self.excess else max_tokens

    def max_unlimited_output(self, output: int) -> int:
        """Upper bound of the tokens of an answer from a server that does not respect limits."""
        return max(output, min(MAX_FIRST_OUTPUT, self.window() or MAX_FIRST_OUTPUT))

    def _declared_limit(self, request: Request, estimate: int) -> int | None:
        window = self.window()
        limits = [request.sampling.max_tokens, None if window is None else max(1, window - estimate // 2)]
        return min((limit for limit in limits if limit is not None), default=None)

    def max_judge_prompt(self, answer: int) -> int:
        """Upper bound of the tokens of a judge's prompt about an answer of `answer` tokens."""
        return math.ceil(MARGIN * self._largest_prompt) if self.num_answers else answer + JUDGE_PROMPT_TOKENS

    def amount(self, prompt: int, output: int) -> Amount:
        """Cost and tokens of a request."""
        cost = self.prices(Usage(prompt=prompt, answer=output)) * self._cost_ratio if self.prices else 0.0
        return Amount(cost, prompt + output)

    def observe(
        self, request: Request, estimate: int, output: Output, usage: Usage, limit: int | None, mean: float
    ) -> None:
        """Update the bounds by an answer; `limit`: the one that we added to its request, if any.

        `mean`: mean tokens of the answers of its request, as servers report only their sum.
        """
        insort(self._lengths, usage.output)
        if usage.prompt:
            self._largest_estimate = max(self._largest_estimate, estimate)
            self._smallest_prompt = min(self._smallest_prompt, usage.prompt)
            self._largest_prompt = max(self._largest_prompt, usage.prompt)
            self._prompt_ratio = max(self._prompt_ratio, usage.prompt / max(1, estimate))
        sent_limit = limit or request.sampling.max_tokens
        declared = limit or self._declared_limit(request, estimate)
        if declared and mean > declared:
            self._output_ratio = max(self._output_ratio, MARGIN * mean / declared)
        if sent_limit and mean > sent_limit + LIMIT_TOLERANCE:
            self.excess = max(self.excess or Excess(0, 0), Excess(math.ceil(mean), sent_limit))
        elif sent_limit and output.finish_reason == "length":
            self._has_hit_limit = True
        if usage.cost and self.prices and (expected := self.prices(usage)):
            self._cost_ratio = max(self._cost_ratio, usage.cost / expected)


def _size(request: Request) -> int:
    """Bytes of a prompt and, roughly, of what a chat template adds: an upper bound of its tokens."""
    if request.messages is None:
        return len((request.prompt or "").encode("utf-8", "replace"))
    texts = [json.dumps(request.messages, ensure_ascii=False, default=str)]
    texts += [json.dumps(request.tools, default=str)] if request.tools else []
    return sum(len(text.encode("utf-8", "replace")) for text in texts)
