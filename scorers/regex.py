"""Compares the text that a pattern matches with the target."""

import re
from typing import Any, Literal

from m1eval import Context, Output, Sample, Score, UsageError
from m1eval.text import shorten

from ._columns import TargetScorer, target_in
from ._unicode import composed


class Scorer(TargetScorer):
    """1 if what `pattern` finds is the target, white space around both aside.

    The pattern is Python's; its first group counts if it has one. `take`: the `last` match (default) or the `first`.
    `flags`: letters of i (ignore case), m (lines), s (the point matches line ends). `ignore_case: true` folds letter
    case in the comparison. Letters are compared as characters: "é" is the same in one code point and in two.

    The search runs in a worker process and is given up after `timeout` seconds, as a pattern may take forever on some
    texts. Then it is tried on plain prose of the same length: if it comes to an end there, it is the answer that is out
    of the ordinary, and the answer is wrong; if not, the pattern is at fault and the sample is errored.
    """

    def __init__(
        self,
        *,
        pattern: str,
        take: Literal["last", "first"] = "last",
        flags: str = "",
        ignore_case: bool = False,
        timeout: float = 5.0,
    ) -> None:
        if take not in ("last", "first"):
            raise UsageError(f"take is 'last' or 'first', not '{take}'")
        if unknown := set(flags) - set("ims"):
            raise UsageError(f"flags are i, m and s; '{min(unknown)}' is not one of them")
        try:
            re.compile(pattern)
        except re.error as error:
            raise UsageError(f"the pattern is not a regular expression: {error}") from error
        self.pattern = f"(?{flags}){pattern}" if flags else pattern
        self.take = take
        self.ignore_case = ignore_case
        self.timeout = timeout

    async def score(self, output: Output, sample: Sample, context: Context) -> Score:
        """Compare what was found; TimeoutError if the pattern does not come to an end on ordinary text either."""
        text, target = composed(output.text), composed(self.gold(sample).strip())
        try:
            match = await context.workers.run(find, self.pattern, text, self.take, timeout=self.timeout)
        except TimeoutError:
            return await self._given_up(text, context)
        if match is None:
            return Score(value=0.0, explanation="regex: the pattern finds nothing")
        answer = match.strip()
        same = composed(answer.casefold()) == composed(target.casefold()) if self.ignore_case else answer == target
        return Score(value=float(same), answer=shorten(answer), explanation=f"regex: the {self.take} match")

    def vote(self, record: Any) -> str | None:
        """The vote of an answer, in the form that is compared; of a long one the whole output."""
        if record.answer is None:
            return None
        answer = composed(record.text if record.answer.endswith("…") else record.answer)
        return composed(answer.casefold()) if self.ignore_case else answer

    def gold(self, sample: Sample) -> str:
        """The target; UsageError if there is none."""
        return target_in(sample, "regex")

    async def _given_up(self, text: str, context: Context) -> Score:
        """The score of an answer on which the pattern does not come to an end; TimeoutError if it never does."""
        try:
            await context.workers.run(
                find, self.pattern, ordinary_prose(max(2000, len(text))), self.take, timeout=self.timeout
            )
        except TimeoutError:
            raise TimeoutError(
                f"regex: the pattern {shorten(self.pattern)!r} did not come to an end in {self.timeout:g} s on this"
                " answer, nor on plain prose; write it without repetitions inside repetitions"
            ) from None
        explanation = f"regex: the pattern did not come to an end in {self.timeout:g} s on this answer, so it is wrong"
        return Score(value=0.0, answer=shorten(text), explanation=explanation)


def ordinary_prose(length: int) -> str:
    """Plain prose with numbers, as long as an answer."""
    steps = (f"Step {i} gives x = {i * 7 % 101} and y = {i}.5, as was said. " for i in range(length // 30 + 1))
    return "".join(steps)[:length]


def find(pattern: str, text: str, take: str) -> str | None:
    """The first or last match of a pattern: its first group, or all of it."""
    last = None
    for match in re.finditer(pattern, text):
        last = match
        if take == "first":
            break
    if last is None:
        return None
    return str((last[1] if last.re.groups else last[0]) or "")
