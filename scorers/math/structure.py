r"""Compare answers by what they are made of: one list of rules, from the first that applies comes the verdict.

A rule takes the reference and the answer, tidy, and says right, wrong or (None) that it is another rule's. Rules call
`Comparator.compare` for the parts of what they take apart.
"""

import re

from .comparator import Comparator, Rule, Verdict
from .labels import assignments, named_values, option_letters, remarks
from .lists import list_values, matrix_values, plus_minus_values, point_names
from .notation import bare
from .relations import inequalities, integer_families, number_sets, ratios, residue_classes, tolerance

_EMPTY = re.compile(
    r"(?:there (?:is|are|exists?) )?no (?:real |such |integer |positive |valid |possible )*"
    r"(?:solutions?|values?|roots?|numbers?|integers?|[a-z])(?: exists?)?"
    r"|none(?: exist)?|(?:the )?empty set|\{ ?\}|\\emptyset"
)


def same_text(gold: str, answer: str, _: Comparator | None = None) -> Verdict | None:
    """Letter by letter, styles and blanks aside."""
    one, other = bare(gold), bare(answer)
    if one == other:
        return True, "same text"
    named = [re.sub(r"^\(?[A-J]\)", "", text).lower().strip("()") for text in (one, other)]
    return (True, "same text") if one.isalpha() and len(one) > 1 and named[0] == named[1] else None


def empty(gold: str, answer: str, _: Comparator | None = None) -> Verdict | None:
    r"""`\emptyset`, `\{\}`, "no solution": nothing at all, whatever it is called."""
    sides = [_is_empty(text) for text in (gold, answer)]
    if not any(sides):
        return None
    return all(sides), "empty set"


def _is_empty(text: str) -> bool:
    plain = re.sub(r"\s+", " ", re.sub(r"\\text\s*\{([^{}]*)\}", r"\1", text)).strip(" .").lower()
    return bool(_EMPTY.fullmatch(re.sub(r"\\([{}])", r"\1", plain)))


RULES: tuple[Rule, ...] = (
    same_text,
    empty,
    option_letters,
    remarks,
    integer_families,
    number_sets,
    residue_classes,
    assignments,
    inequalities,
    named_values,
    tolerance,
    plus_minus_values,
    matrix_values,
    ratios,
    point_names,
    list_values,
)
"""Comparisons in the order of trial; those that are sure of a notation come before those that take texts apart."""
