"""A sample's target and metadata columns, or one line that names the sample and the column that is wrong."""

from typing import Any

import m1eval
from m1eval import Sample, UsageError


class TargetScorer(m1eval.Scorer):
    """Base of scorers whose `gold` refuses a target that nothing can be graded against."""

    def gold_fault(self, sample: Sample) -> str | None:
        """The refusal of `gold`; `m1eval check` looks at all rows for it."""
        try:
            self.gold(sample)
        except UsageError as error:
            return str(error)
        return None


def text_in(sample: Sample, column: str, scorer: str) -> str:
    """The text in a column (a number is its digits); UsageError naming the sample if there is none."""
    value = sample.metadata.get(column)
    if isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool)):
        return str(value)
    raise UsageError(f"scorer {scorer}: sample {sample.id} has no text in column '{column}'")


def target_in(sample: Sample, scorer: str) -> str:
    """The target; UsageError naming the sample if it is empty or blank, as then every answer would be wrong."""
    if not sample.target.strip():
        raise UsageError(f"scorer {scorer}: sample {sample.id} has an empty target, so there is nothing to grade by")
    return sample.target


def list_in(sample: Sample, column: str, scorer: str, *, empty: bool = False) -> list[Any]:
    """The list in a column; UsageError naming the sample if there is none, or an empty one where it must not be."""
    value = sample.metadata.get(column)
    if isinstance(value, list | tuple) and (value or empty):
        return list(value)
    raise UsageError(f"scorer {scorer}: sample {sample.id} has no list in column '{column}'")
