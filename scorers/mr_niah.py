"""MR-NIAH: the share of the target's parts in the answer, letter by letter; 0 for an apology.

Source: MiniMax-AI/MiniMax-01, evaluation/MR-NIAH/score.py. It lists the parts of each of its labels; they are the
items of a numbered list, the lines of a text if each ends a sentence, else the parts between commas and full stops.
"""

import re

from m1eval import Context, Output, Sample, Score, UsageError
from m1eval.text import shorten

from ._columns import TargetScorer

APOLOGIES = {"English": ("sorry", "no previous conversation"), "Chinese": ("抱歉", "没有之前的对话")}
"""Phrases of an apology by language; the target's language decides."""

_CHINESE = re.compile("[\u4e00-\u9fff]")


class Scorer(TargetScorer):
    """The share of the target's parts that the answer contains."""

    supports_majority_vote = False  # the whole output is the answer, and wordings differ

    async def score(self, output: Output, sample: Sample, context: Context) -> Score:
        """Compare by the official rule."""
        text, expected = output.text, _target_parts(sample)
        if not text.strip():
            return Score(value=0.0, explanation="mr_niah: empty answer")
        language = "Chinese" if _CHINESE.search(sample.target) else "English"
        folded = text.lower()
        if any(word in folded for word in APOLOGIES[language]):
            return Score(value=0.0, answer=shorten(text), explanation="mr_niah: an apology")
        hits = sum(part in text for part in expected)
        value = hits / len(expected)
        return Score(value=value, answer=shorten(text), explanation=f"mr_niah: {hits} of {len(expected)} parts")

    def gold(self, sample: Sample) -> str:
        """The text itself; UsageError if it has no parts."""
        _target_parts(sample)
        return sample.target


def _target_parts(sample: Sample) -> list[str]:
    expected = parts(sample.target)
    if not expected:
        raise UsageError(f"scorer mr_niah: the target of sample {sample.id} has no parts")
    return expected


def parts(label: str) -> list[str]:
    """The parts of a text that an answer must repeat."""
    lines = label.split("\n")
    if all(re.match(r"\d+\. ", line) for line in lines):
        return [line.partition(". ")[2] for line in lines]
    whole = len(lines) > 1 and all(line.endswith((".", "。")) for line in lines)
    pieces = lines if whole else re.split(r"[,，.。\n]+", label)
    return [part for line in pieces if (part := line.strip().rstrip(".。"))]
