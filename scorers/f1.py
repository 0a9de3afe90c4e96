"""The words that answer and reference share, as SQuAD counts them.

Source: Rajpurkar et al. 2016 and evaluate-v1.1.py of SQuAD: small letters, no punctuation, no articles; F1 of the two
bags of words, the best over several references. Unlike there, an accented letter is the same in one code point and in
two.
"""

import re
import string
from collections import Counter

from m1eval import Context, Output, Sample, Score, UsageError
from m1eval.text import shorten

from ._columns import TargetScorer, target_in
from ._unicode import composed

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


class Scorer(TargetScorer):
    """F1 of words in [0, 1]; `metrics.exact` is 1 if the words are the same.

    The references are the target, split at `separator` if one is given; the best one counts.
    """

    supports_majority_vote = False  # the whole output is the answer, and wordings differ

    def __init__(self, *, separator: str | None = None) -> None:
        if separator == "":
            raise UsageError("separator is empty; leave it out for a single reference")
        self.separator = separator

    async def score(self, output: Output, sample: Sample, context: Context) -> Score:
        """Compare the whole answer with each reference."""
        answer, listed = output.text.strip(), self._references(sample)
        if not answer:
            return Score(value=0.0, explanation="f1: empty answer", metrics={"exact": 0.0})
        answer_words = words(answer)
        bags = [words(text) for text in listed]
        value = max(f1(answer_words, reference) for reference in bags)
        return Score(
            value=value,
            answer=shorten(answer),
            explanation=f"f1: the best of {len(bags)} references",
            metrics={"exact": float(answer_words in bags)},
        )

    def gold(self, sample: Sample) -> str:
        """The first reference; UsageError if there is none."""
        return self._references(sample)[0]

    def _references(self, sample: Sample) -> list[str]:
        target = target_in(sample, "f1")
        parts = target.split(self.separator) if self.separator else [target]
        references = [part.strip() for part in parts if part.strip()]
        if not references:
            raise UsageError(f"scorer f1: sample {sample.id} has separators and no reference in its target")
        return references


def words(text: str) -> list[str]:
    """The words that count."""
    return _ARTICLES.sub(" ", composed(text).lower().translate(_PUNCTUATION)).split()


def f1(answer: list[str], reference: list[str]) -> float:
    """Harmonic mean of precision and recall of two bags of words; two empty ones are the same."""
    if not answer or not reference:
        return float(answer == reference)
    shared = (Counter(answer) & Counter(reference)).total()
    return 2 * shared / (len(answer) + len(reference))
