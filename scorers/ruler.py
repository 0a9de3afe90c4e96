"""RULER's metrics: the share of the references that the answer contains, or whether it contains any.

Source: NVIDIA/RULER, scripts/eval/synthetic/constants.py (`string_match_all` for needles, variable tracking and word
counting, `string_match_part` for question answering) and scripts/eval/evaluate.py, which turns control characters into
line breaks first. Letter case does not count. RULER prints percent; here 1 is all.
"""

import re
from typing import Literal

import m1eval
from m1eval import Context, Output, Sample, Score, UsageError
from m1eval.text import shorten

from ._columns import list_in

_CONTROL = re.compile(r"[\x00-\x1f]")


class Scorer(m1eval.Scorer):
    """Looks for the texts of the column `outputs`; `match`: all (their share counts) or part (one will do)."""

    supports_majority_vote = False  # the whole output is the answer, and wordings differ

    def __init__(self, *, match: Literal["all", "part"] = "all") -> None:
        if match not in ("all", "part"):
            raise UsageError(f"match is 'all' or 'part', not '{match}'")
        self.match = match

    async def score(self, output: Output, sample: Sample, context: Context) -> Score:
        """Compare as RULER does; an empty answer counts as no answer."""
        references = _references(sample)
        answer = _CONTROL.sub("\n", output.text).strip()
        if not answer:
            return Score(value=0.0, explanation="ruler: empty answer")
        folded = answer.lower()
        hits = sum(reference.lower() in folded for reference in references)
        value = hits / len(references) if self.match == "all" else float(hits > 0)
        explanation = f"ruler: {hits} of {len(references)} found, {self.match} wanted"
        return Score(value=value, answer=shorten(answer), explanation=explanation)

    def gold(self, sample: Sample) -> str:
        """All references in one line."""
        return ", ".join(_references(sample))


def _references(sample: Sample) -> list[str]:
    listed = list_in(sample, "outputs", "ruler")
    references = [str(reference) for reference in listed]
    if not all(reference.strip() for reference in references):  # which every answer would contain
        raise UsageError(f"scorer ruler: sample {sample.id} has an empty text in column 'outputs'")
    return references
