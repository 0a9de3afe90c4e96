r"""Rules for several values in one answer: lists, tuples, sets, matrices, points, `\pm`."""

import re
from collections.abc import Sequence
from itertools import product

from . import bases, matrices
from .comparator import Comparator, Verdict
from .cutting import Group, is_balanced, outer_brackets
from .notation import number, split

_PLUS_MINUS = re.compile(r"\\(pm|mp)(?![a-zA-Z])\s*")
_MOST_SIGNS = 6
_POINT = re.compile(r"([A-Z](?:_(?:\{\w+\}|\w))?'*)\s*(\(.*\))", re.DOTALL)


def plus_minus_values(gold: str, answer: str, comparator: Comparator) -> Verdict | None:
    r"""`\pm` gives two values, several of them all combinations; with `\mp` the upper signs and the lower ones."""
    if not _PLUS_MINUS.search(gold + answer):
        return None
    sides = []
    for text in (gold, answer):
        group = outer_brackets(text)
        parts = split(group.values[0]) if group and group.brackets == "{}" else split(text)
        values = [value for part in parts for value in both_signs(part)]
        sides.append(_without_duplicates(values, comparator))
    if len(sides[0]) != len(sides[1]):
        return False, "both signs: another number of values"
    return _match_all(sides[0], sides[1], comparator), "both signs"


def both_signs(text: str) -> list[str]:
    r"""The values of a text with `\pm` and `\mp`, else the text itself."""
    signs = _PLUS_MINUS.findall(text)
    if not signs or len(signs) > _MOST_SIGNS:
        return [text]
    if "mp" in signs and len(signs) > 1:
        choices: Sequence[Sequence[str]] = [["+-"[s == "mp"] for s in signs], ["-+"[s == "mp"] for s in signs]]
    else:
        choices = list(product("+-", repeat=len(signs)))
    values = []
    for choice in choices:
        left = iter(choice)
        value = _PLUS_MINUS.sub(lambda _, left=left: next(left), text)  # type: ignore[misc]
        values.append(re.sub(r"(^|[({\[,=^/])\s*\+", r"\1", value))
    return values


def _without_duplicates(values: list[str], comparator: Comparator) -> list[str]:
    distinct: list[str] = []
    for value in values:
        if not any(comparator.compare(value, other)[0] for other in distinct):
            distinct.append(value)
    return distinct


def matrix_values(gold: str, answer: str, comparator: Comparator) -> Verdict | None:
    same = matrices.compare(gold, answer, lambda one, other: comparator.compare(one, other)[0])
    return None if same is None else (same, "matrices")


def point_names(gold: str, answer: str, comparator: Comparator) -> Verdict | None:
    """`P(1,2)` for the point (1,2), where one side alone has the name."""
    (ours, point), (theirs, other) = _point(gold), _point(answer)
    if bool(ours) == bool(theirs) or not (outer_brackets(point) and outer_brackets(other)):
        return None
    return comparator.compare(point, other)


def _point(text: str) -> tuple[str, str]:
    """The name of a point and its coordinates; "" and the text itself for all else."""
    match = _POINT.fullmatch(text)
    group = outer_brackets(match[2]) if match else None
    if match and group and group.brackets == "()" and len(split(group.values[0])) > 1:
        return match[1], match[2]
    return "", text


def list_values(gold: str, answer: str, comparator: Comparator) -> Verdict | None:  # noqa: PLR0911 - a case, a return
    """Lists, tuples and sets, value by value."""
    one, other = _group(gold), _group(answer)
    if one and other:
        if one.brackets != other.brackets and len(one.values) == 1 and _is_single_tuple(one):
            return comparator.compare(one.values[0], answer)
        if one.brackets != other.brackets and len(other.values) == 1 and _is_single_tuple(other):
            return comparator.compare(gold, other.values[0])
        return _compare_groups(one, other, comparator)
    ours, theirs = one or _bare_list(gold), other or _bare_list(answer)
    if len(ours.values) > 1 and len(theirs.values) > 1:
        return _compare_groups(ours, theirs, comparator)
    if len(ours.values) > 1 and len(theirs.values) == 1 and not _relational(gold + answer):
        return False, "one value for several"
    if len(ours.values) == 1 and len(theirs.values) > 1 and not _relational(gold + answer):
        return False, "several values for one"
    if one and not other and len(one.values) == 1:
        return comparator.compare(one.values[0], answer)
    if other and not one and len(other.values) == 1:
        return comparator.compare(gold, other.values[0])
    return None


def _group(text: str) -> Group | None:
    group = outer_brackets(text)
    values = split(group.values[0]) if group else []
    return Group(group.brackets, values) if group and values else None


def _bare_list(text: str) -> Group:
    """The values of a list without brackets; a sentence is one value."""
    in_words = re.findall(r"(?<![\\a-zA-Z])[a-z]{3,}", re.sub(r"\\[a-z]+\{[^{}]*\}", " ", text))
    single = len(set(in_words) - {"and"}) > 1 or not is_balanced(text) or number(text) is not None
    return Group("", [text] if single else split(text))


def _relational(text: str) -> bool:
    return bool(re.search(r"[<>]|\\(?:le|ge|ne|cup|cap|in|mid|setminus|begin)(?![a-z])", text))


def _compare_groups(gold: Group, answer: Group, comparator: Comparator) -> Verdict:  # noqa: PLR0911 - a case, a return
    kinds = [group.brackets if len(group.values) < 3 or group.brackets != "[]" else "" for group in (gold, answer)]
    if {*kinds} & {"{}"} and {*kinds} & {"()", "[]", "[)", "(]"} and len(gold.values) + len(answer.values) > 2:
        return False, "a set for a tuple, or a tuple for a set"
    ours, theirs = gold.values, answer.values
    if {*kinds} & {"{}"} and sum(map(_is_set, ours)) != sum(map(_is_set, theirs)):
        return False, "a set for a value, or a value for a set"
    ordered = any(kind not in ("", "{}") for kind in kinds) and "{}" not in kinds
    if not ordered and "{}" in kinds:
        ours, theirs = _without_duplicates(ours, comparator), _without_duplicates(theirs, comparator)
    if len(ours) != len(theirs):
        return False, "another number of values"
    if bases.in_part(theirs) and not any(map(bases.numeral, ours)):
        return False, "a base for some of the values"
    if all(comparator.compare(value, value_given)[0] for value, value_given in zip(ours, theirs, strict=True)):
        return True, "same values in the same order"
    if ordered:
        return False, "other values, or in another order"
    return (True, "same values in another order") if _match_all(ours, theirs, comparator) else (False, "other values")


def _is_single_tuple(group: Group) -> bool:
    """Whether a set has one element, and that is a tuple."""
    inner = outer_brackets(group.values[0])
    return group.brackets == "{}" and inner is not None and inner.brackets == "()"


def _is_set(text: str) -> bool:
    group = outer_brackets(text)
    return group is not None and group.brackets == "{}"


def _match_all(ours: Sequence[str], theirs: Sequence[str], comparator: Comparator) -> bool:
    unmatched = list(theirs)
    for value in ours:
        match = next((candidate for candidate in unmatched if comparator.compare(value, candidate)[0]), None)
        if match is None:
            return False
        unmatched.remove(match)
    return True
