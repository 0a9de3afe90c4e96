"""Rules for what is written around a value: an option's letter, a name, a remark."""

import re

from . import matrices, names
from .comparator import Comparator, Verdict
from .cutting import outer_brackets, split_top_level
from .notation import bare, split

_DEFAULT_OPTION = r"(?:(?i:option|choice|answer)\s*:?\s*)?"
_MORE = r"(?:\\text\s*\{\s*)?(?:and|or)\b"
_LEADING = re.compile(
    rf"{_DEFAULT_OPTION}(?:\(\s*([A-J])\s*\)|([A-J])[).:])\s*(?=[^\s+*/^=).,:])(?!- |{_MORE})(.+)", re.DOTALL
)
_TRAILING = re.compile(r"(.*[\d})\]])\s*\(\s*([A-J])\s*\)", re.DOTALL)
_LETTER = re.compile(r"\(?([A-J])\)?")
_REMARK = re.compile(r"\s*\\text\s*\{\s*(?:each )?with probability\s*\}[^,;]*?(?=,|;|\\text|\Z)")
_QUANTITY = re.compile(r"[a-z]{2,}|.*[-+^].*")


def option_letters(gold: str, answer: str, comparator: Comparator) -> Verdict | None:
    """The letter of an option in front of its value or behind it: `(E) 70`."""
    (ours, value), (theirs, answer_value) = _split_option_letter(gold), _split_option_letter(answer)
    if ours and theirs:
        right = ours == theirs and comparator.compare(value, answer_value)[0]
        return right, "option letter and value"
    if ours:
        letter = _LETTER.fullmatch(bare(answer))
        return (letter[1] == ours, "option letter") if letter else comparator.compare(value, answer)
    if theirs:
        letter = _LETTER.fullmatch(bare(gold))
        return (letter[1] == theirs, "option letter") if letter else comparator.compare(gold, answer_value)
    return None


def _split_option_letter(text: str) -> tuple[str, str]:
    text = (
        re.sub(r"(?<=[A-J]) (?=[).:])", "", re.sub(r"\\(?:text|mathrm)\{([^{}]*)\}", r"\1 ", text)).strip()
        if re.search(r"\{[^{}]*[A-J]\W", text)
        else text
    )
    if match := _LEADING.fullmatch(text):
        value = match[3].strip()
        if re.search(r"\d|\\[a-z]", value) and not re.search(r"\([A-J]\)", value):
            return match[1] or match[2], value
    if match := _TRAILING.fullmatch(text):
        return match[2], match[1].strip()
    return "", text


def remarks(gold: str, answer: str, comparator: Comparator) -> Verdict | None:
    r"""`E_1 \text{ with probability } \frac13`: what is said of a value in passing, where one side says it alone."""
    (ours, gold_remarks), (theirs, answer_remarks) = (_REMARK.subn("", text) for text in (gold, answer))
    one_side = bool(gold_remarks) != bool(answer_remarks)
    return (
        comparator.compare(ours.strip(" ,"), theirs.strip(" ,"))
        if one_side and len(split(answer)) == len(split(gold))
        else None
    )


def assignments(gold: str, answer: str, comparator: Comparator) -> Verdict | None:  # noqa: PLR0911 - a case, a return
    """`x=1, y=2`: by names where both have them, else in the order of the names or of the text."""
    ours, theirs = names.assignments(gold), names.assignments(answer)
    if ours and theirs:
        values = {name.lower(): value for name, value in theirs}
        if {name.lower() for name, _ in ours} != {*values}:
            return False, "values of other names"
        same = all(comparator.compare(value, values[name.lower()])[0] for name, value in ours)
        return same, "values by name"
    pairs, other = (ours, answer) if ours else (theirs, gold)
    if not pairs:
        return None
    if "=" in other and not names.read(other).name:
        return None
    plain = names.read(other).values[0]
    group = outer_brackets(plain)
    if names.indexed(pairs) and not (group and group.brackets == "()"):
        listed = ", ".join(value for _, value in pairs)
        return comparator.compare(listed, plain) if ours else comparator.compare(plain, listed)
    matrix = matrices.read(plain)
    values_there = (
        matrix.cells
        if matrix
        else split_top_level(group.values[0], r"[,;]")
        if group and group.brackets == "()"
        else split(plain)
    )
    orders = [names.in_order(pairs)]
    if not group and not matrix:
        orders.append([value for _, value in pairs])
    for order in orders:
        if len(order) == len(values_there) and all(
            comparator.compare(b, a)[0] if not ours else comparator.compare(a, b)[0]
            for a, b in zip(order, values_there, strict=True)
        ):
            return True, "same values in the same order"
    return False, "other values, or in another order"


def named_values(gold: str, answer: str, comparator: Comparator) -> Verdict | None:  # noqa: PLR0911 - a case, a return
    """`x = 5`, `f(x) = x + 1`, chains; see `names`."""
    if any(len([part for part in split(text) if len(split_top_level(part, "=")) > 1]) > 1 for text in (gold, answer)):
        return None
    ours, theirs = names.read(gold), names.read(answer)
    if ours.values == [gold] and theirs.values == [answer]:
        return None
    equations = [side.is_equation for side in (ours, theirs)]
    if any(equations) and ("=" in gold) and ("=" in answer):
        return comparator.same(gold, answer)
    if ours.is_equation and _QUANTITY.fullmatch(split_top_level(gold, "=")[0]):
        return False, "a value for an equation"
    values = theirs.values
    if ours.name and theirs.name:
        if not names.compatible(ours.name, theirs.name):
            if all(re.search(r"[a-zA-Z]", re.sub(r"\\[a-zA-Z]+", "", side.values[0])) for side in (ours, theirs)):
                return comparator.same(gold, answer)
            return False, "another name"
        variables = [names.same_variables(ours.name, theirs.name, value) for value in values]
        values = [value for value in variables if value is not None]
    verdicts = [comparator.compare(value, value_given) for value in ours.values for value_given in values]
    return next(
        (verdict for verdict in verdicts if verdict[0]), verdicts[-1] if verdicts else (False, "other variables")
    )
