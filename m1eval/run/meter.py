"""What a request to a model may take at most, in tokens and money, by what its earlier answers took."""

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
"""Bytes in a token of an estimate by length alone; no text has more tokens than bytes."""
MARGIN = 1.15
"""By how much a prompt may exceed its estimate, beyond the worst that was seen."""
TYPICAL_FACTOR = 4
"""The multiple of a typical answer that is left for one whose length nothing limits."""
TYPICAL_QUANTILE = 0.9
"""Share of the answers that are at most as long as a typical one."""
FIRST_SHARES, SHARES = 16, 256
"""Into how many parts what is left is divided to find a limit for an answer that has none: at first, and at most."""
LONGEST_FACTOR = 1.25
"""The multiple of the longest answer that is left for one whose length nothing limits."""
TRUSTED_AFTER = 10
"""Answers after which a server is taken to keep to limits, unless one has shown otherwise."""
LIMIT_TOLERANCE = 16
"""Tokens beyond its limit that an answer may have: servers count the ends of turns in different ways."""
JUDGE_PROMPT_TOKENS = 1000
"""Tokens of what a judge is asked besides the answer, before one has been asked."""
MAX_FIRST_OUTPUT = 65536
"""Tokens that a first answer may have, where nothing limits it or the server does not keep to the limit."""


MAX_SENT_LIMIT = 2 * MAX_FIRST_OUTPUT
"""The largest limit that a server is told before an answer has come near it: some refuse large ones."""


class Excess(NamedTuple):
    """An answer that was longer than the server was told, in tokens."""

    output: int
    allowed: int


class Amount(NamedTuple):
    """US dollars, and tokens in and out."""

    cost: float = 0.0
    tokens: float = 0

    def covers(self, other: "Amount") -> bool:
        """Whether the other is no more than this in both."""
        return other.cost <= self.cost and other.tokens <= self.tokens


class Meter:
    """Prices the requests to one model: at most, before they go, and as they were, when their answers have come."""

    def __init__(self, prices: Prices | None = None, tokenizer: Tokenizer | None = None) -> None:
        self.prices = prices
        self.tokenizer: Tokenizer = tokenizer or CharacterTokenizer()
        self.window: Callable[[], int | None] = lambda: None
        self.default_max_tokens = 0
        """Tokens that an answer is mostly asked to have at most; of a judge."""
        self.excess: Excess | None = None
        """The worst answer that was longer than the server was told; None if it keeps to limits."""
        self._lengths: list[int] = []  # of the answers in tokens, sorted
        self._has_hit_limit = False
        self._largest_estimate = 0
        self._smallest_prompt, self._largest_prompt = math.inf, 0
        self._prompt_ratio = self._output_ratio = self._cost_ratio = 1.0

    @property
    def num_answers(self) -> int:
        """How many have come."""
        return len(self._lengths)

    @property
    def longest_answer(self) -> int:
        """Tokens of the longest answer."""
        return self._lengths[-1] if self._lengths else 0

    @property
    def typical_answer(self) -> int:
        """Tokens that few answers exceed."""
        return self._lengths[math.ceil(TYPICAL_QUANTILE * self.num_answers) - 1] if self._lengths else 0

    @property
    def keeps_limits(self) -> bool:
        """Whether the server has shown that it keeps to limits, or so many answers have come that it likely does."""
        return self.excess is None and (self._has_hit_limit or self.num_answers >= TRUSTED_AFTER)

    def default_limit(self, room: int) -> int:
        """The limit of an answer that has no other, where there is room for so many tokens; hardly any comes to it."""
        if not self.num_answers:
            return min(max(MAX_FIRST_OUTPUT, room // FIRST_SHARES), MAX_SENT_LIMIT)
        share = min(room // min(SHARES, FIRST_SHARES * (1 + self.num_answers)), MAX_SENT_LIMIT)
        return max(TYPICAL_FACTOR * self.typical_answer, math.ceil(LONGEST_FACTOR * self.longest_answer), share, 1)

    def estimate_prompt(self, request: Request) -> int:
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

    def max_prompt(self, request: Request, estimate: int) -> int:
        """Tokens that a prompt may have at most: by the answers so far, before them by its bytes."""
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
        """Tokens that an answer may have at most; None if nothing says."""
        declared = self._declared_limit(request, estimate)
        if declared is None:
            return None
        max_tokens = math.ceil(declared * self._output_ratio)
        return max(max_tokens, TYPICAL_FACTOR * self.longest_answer) if self.excess else max_tokens

    def max_unlimited_output(self, output: int) -> int:
        """Tokens that an answer may have at most from a server that does not keep to limits."""
        return max(output, min(MAX_FIRST_OUTPUT, self.window() or MAX_FIRST_OUTPUT))

    def _declared_limit(self, request: Request, estimate: int) -> int | None:
        window = self.window()
        limits = [request.sampling.max_tokens, None if window is None else max(1, window - estimate // 2)]
        return min((limit for limit in limits if limit is not None), default=None)

    def max_judge_prompt(self, answer: int) -> int:
        """Tokens of a judge's prompt about an answer of so many, at most."""
        return math.ceil(MARGIN * self._largest_prompt) if self.num_answers else answer + JUDGE_PROMPT_TOKENS

    def amount(self, prompt: int, output: int) -> Amount:
        """Cost and tokens of a request."""
        cost = self.prices(Usage(prompt=prompt, answer=output)) * self._cost_ratio if self.prices else 0.0
        return Amount(cost, prompt + output)

    def observe(
        self, request: Request, estimate: int, output: Output, usage: Usage, limit: int | None, mean: float
    ) -> None:
        """Learn from an answer, which was asked for with this `limit` of ours if any, whether others take more.

        `mean`: tokens of all answers of its request on average, as servers tell their sum alone.
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
    """Bytes of a prompt, which has no more tokens than that, and of what a chat template adds to it, about."""
    if request.messages is None:
        return len((request.prompt or "").encode("utf-8", "replace"))
    texts = [json.dumps(request.messages, ensure_ascii=False, default=str)]
    texts += [json.dumps(request.tools, default=str)] if request.tools else []
    return sum(len(text.encode("utf-8", "replace")) for text in texts)
