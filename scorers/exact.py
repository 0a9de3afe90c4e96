"""Exact match: the answer is the target, white space around it aside.

Letters are compared as characters, not as code points: "é" is the same in one and in two of them (Unicode's form C).
"""

from typing import Any

from m1eval import Context, Output, Sample, Score
from m1eval.text import shorten

from ._columns import TargetScorer, target_in
from ._unicode import composed


class Scorer(TargetScorer):
    """1 if answer and target are the same text after stripping both; `ignore_case: true` folds letter case."""

    def __init__(self, *, ignore_case: bool = False) -> None:
        self.ignore_case = ignore_case

    async def score(self, output: Output, sample: Sample, context: Context) -> Score:
        """Compare the whole answer; an empty one counts as no answer."""
        answer, target = composed(output.text.strip()), composed(self.gold(sample).strip())
        if not answer:
            return Score(value=0.0, explanation="exact: empty answer")
        same = composed(answer.casefold()) == composed(target.casefold()) if self.ignore_case else answer == target
        return Score(
            value=float(same),
            answer=shorten(answer),
            explanation=f"exact: {'the same text' if same else 'another text'}",
        )

    def vote(self, record: Any) -> str | None:
        """The vote of an answer, in the form that is compared."""
        text = composed(record.text.strip())
        return (composed(text.casefold()) if self.ignore_case else text) or None

    def gold(self, sample: Sample) -> str:
        """The target; UsageError if there is none."""
        return target_in(sample, "exact")
