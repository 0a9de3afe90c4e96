"""Compares the parts of an answer by a list of rules, down to single values."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import NamedTuple

from . import matrices

Verdict = tuple[bool, str]


class Comparator(NamedTuple):
    """The rules, how single values are compared, where a number lies (None: not known), and if decimals may differ."""

    rules: "Sequence[Rule]"
    same: Callable[[str, str], Verdict]
    place: Callable[[str], Fraction | None]
    tolerant: bool = False

    def compare(self, gold: str, answer: str) -> Verdict:
        """The verdict of the first rule that applies, and its name."""
        gold, answer = matrices.flat_system(gold), matrices.flat_system(answer)
        for rule in self.rules:
            if verdict := rule(gold, answer, self):
                return verdict
        return self.same(gold, answer)


Rule = Callable[[str, str, Comparator], Verdict | None]
