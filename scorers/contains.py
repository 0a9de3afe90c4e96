"""Substring match: which references the answer contains; for answers that have only one wording.

Letters are compared as characters, not as code points: "é" is the same in one and in two of them (Unicode's form C).
"""

from collections.abc import Sequence
from typing import Literal

from m1eval import Context, Output, Sample, Score, UsageError
from m1eval.text import shorten

from ._columns import TargetScorer
from ._unicode import composed


class Scorer(TargetScorer):
    """The share of the references that are part of the answer, as RULER's `string_match_all` counts it.

    The references are the target, split at `separator` if one is given, or the list in the metadata column `column`.
    `need: any` asks for one of them instead (RULER's `string_match_part`): 1 or 0. Letter case counts only with
    `case: true`. A short reference is found inside longer words and numbers too: choose references that cannot be
    there by chance.
    """

    supports_majority_vote = False  # the whole output is the answer, and wordings differ

    def __init__(
        self,
        *,
        need: Literal["all", "any"] = "all",
        separator: str | None = None,
        column: str | None = None,
        case: bool = False,
    ) -> None:
        if need not in ("all", "any"):
            raise UsageError(f"need is 'all' or 'any', not '{need}'")
        if separator == "":
            raise UsageError("separator is empty; leave it out for a single reference")
        self.need = need
        self.separator = separator
        self.column = column
        self.case = case

    async def score(self, output: Output, sample: Sample, context: Context) -> Score:
        """Look for every reference; an empty answer counts as no answer."""
        text, references = output.text.strip(), self.references(sample)
        if not text:
            return Score(value=0.0, explanation="contains: empty answer")
        folded = self._fold(text)
        matches = [reference for reference in references if self._fold(reference) in folded]
        value = len(matches) / len(references) if self.need == "all" else float(bool(matches))
        return Score(
            value=value,
            answer=shorten(text),
            explanation=f"contains: {len(matches)} of {len(references)} found, {self.need} needed",
        )

    def gold(self, sample: Sample) -> str:
        """All references in one line."""
        return ", ".join(self.references(sample))

    def references(self, sample: Sample) -> Sequence[str]:
        """The references of a sample; UsageError if there are none."""
        if self.column is not None:
            listed = sample.metadata.get(self.column)
            if not isinstance(listed, list | tuple):
                raise UsageError(f"scorer contains: sample {sample.id} has no list in column '{self.column}'")
            parts = [str(part) for part in listed]
        else:
            parts = sample.target.split(self.separator) if self.separator else [sample.target]
        references = [stripped for part in parts if (stripped := part.strip())]
        if not references:
            raise UsageError(f"scorer contains: sample {sample.id} has no reference; give the task a target")
        return references

    def _fold(self, text: str) -> str:
        return composed(text if self.case else composed(text).casefold())
