r"""PRM800K's rule, which many use for MATH: prm800k/grading/grader.py and math_normalize.py of openai/prm800k.

Equal are the strings after either of two normalisations, or the values, tuple by tuple, that sympy's parser reads from
the second; but a fraction must be the reference's own, and an integer must be one. The published code is handed an
answer; here that is the last box.
"""

import logging
import math
import re
from collections.abc import Callable

from .expressions import parsed

_UNITS = [
    "degree",
    "cm",
    "centimeter",
    "meter",
    "mile",
    "second",
    "minute",
    "hour",
    "day",
    "week",
    "month",
    "year",
    "foot",
    "feet",
    "inch",
    "yard",
]  # in this order: what "cm" leaves of a word is not a unit of the later ones
_UNIT_PATTERNS = [re.compile(rf"{unit}(?:es)?s? *(?:\^[0-9]+)?") for unit in _UNITS]
_SCALES = {"million": "*10^6", "billion": "*10^9", "trillion": "*10^12"}
_SIGNS = {"√": "sqrt", "π": "pi", "∞": "inf", "∪": "U", "·": "*", "×": "*"}
_GROUP = re.compile(r"(\d),(\d\d\d)($|\D)")
_FRACTION = re.compile(r"-?[0-9]+.?/0*[1-9][0-9]*.?$")
_NOT_TRIED = re.compile(r"\^[{(]|\^[0-9]+\^|\^[0-9][0-9]+")
"""Powers of which the published code fears that sympy might hang on them."""
_MOST_LETTERS = 2


def grade(answer: str, gold: str) -> tuple[bool, str]:
    """The verdict on an answer, and the rule that decided."""
    if normalised_as_mathd(gold) == normalised_as_mathd(answer):
        return True, "same string"
    one, other = normalised(gold), normalised(answer)
    if one == other:
        return True, "same normalised string"
    if not other:
        return False, "empty"
    ours, theirs = _elements(one), _elements(other)
    if len(ours) > 1 and (one[0] != other[0] or one[-1] != other[-1]):
        return False, "other brackets"
    if len(ours) != len(theirs):
        return False, "another number of values"
    return all(map(_same_value, ours, theirs)), "value by value"


def normalised_as_mathd(text: str) -> str:
    r"""A string as Hendrycks' MATH code compares it; left alone where that code fails, as on a `\sqrt` at the end."""
    text = text.strip()
    if wrapped := _wrapped(text):
        text = wrapped.strip()
    try:
        return _mathd(text)
    except IndexError:
        return text


def _wrapped(text: str) -> str | None:
    r"""The content of a `\text{...}` that is the whole text, or begins it and is closed by its last brace."""
    match = re.search(r"^\\text\{(.+?)\}$", text)
    return match[1] if match else None


def _mathd(text: str) -> str:
    for gone in ("\n", r"\!"):
        text = text.replace(gone, "")
    text = text.replace("\\\\", "\\").replace("tfrac", "frac").replace("dfrac", "frac")
    for gone in (r"\left", r"\right", r"^{\circ}", r"^\circ", r"\$"):
        text = text.replace(gone, "")
    before, *units = text.split(r"\text{ ")
    if len(units) > 1:
        raise IndexError("two units")
    text = before.replace(r"\%", "").replace(" .", " 0.").replace("{.", "{0.")
    if not text:
        return text
    text = f"0{text}" if text.startswith(".") else text
    sides = text.split("=")
    if len(sides) == 2 and len(sides[0]) <= 2:
        text = sides[1]
    head, *roots = text.split(r"\sqrt")
    text = head + "".join(rf"\sqrt{root}" if root[0] == "{" else rf"\sqrt{{{root[0]}}}{root[1:]}" for root in roots)
    text = braced_fractions(text.replace(" ", ""))
    return slashed(r"\frac{1}{2}" if text == "0.5" else text, int)


def braced_fractions(text: str, *, lenient: bool = False) -> str:
    r"""`\frac12` and `\frac1{72}` with all their braces; the text as it was where a single character follows a `\frac`.

    IndexError where nothing follows one, unless `lenient`.
    """
    head, *rest = text.split(r"\frac")
    built = [head]
    for part in rest:
        if not part and not lenient:
            raise IndexError("nothing after a fraction")
        if part.startswith("{"):
            built.append(rf"\frac{part}")
        elif len(part) < 2:
            return text
        else:
            over, under, tail = part[0], part[1], part[2:]
            built.append(rf"\frac{{{over}}}{under}{tail}" if under == "{" else rf"\frac{{{over}}}{{{under}}}{tail}")
    return "".join(built)


def slashed(text: str, side: Callable[[str], object]) -> str:
    r"""Rewrite `a/b` as `\frac{a}{b}` where `side` parses both and gives back the same text."""
    over, *under = text.split("/")
    if len(under) != 1:
        return text
    try:
        numbers = side(over), side(under[0])
    except ValueError:
        return text
    return rf"\frac{{{numbers[0]}}}{{{numbers[1]}}}" if f"{numbers[0]}/{numbers[1]}" == text else text


def normalised(text: str) -> str:
    """A string after the second normalisation: words, units and braces gone, LaTeX as plain text, small letters."""
    text = _wrapped(text) or text
    text = text.replace(r"\%", "%").replace(r"\$", "$").replace("$", "").replace("%", "")
    text = text.replace(" or ", " , ").replace(" and ", " , ")
    for word, power in _SCALES.items():
        text = text.replace(word, power)
    for unit in _UNIT_PATTERNS:
        text = unit.sub("", text)
    text = re.sub(r"\^ *\\circ", "", text)
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1]
    text = re.sub(r",\\! *", "", text)
    value = _float(text)
    if value is not None and _whole(value):
        text = str(round(value))
    if "\\" in text:
        text = _plain(text)
    text = re.sub("- *", "-", text)
    text = re.sub("([0-9]) +([0-9])", r"\1+\2", text)
    text = text.replace(" ", "").replace("{", "").replace("}", "").lower()
    return str(int(float(text.replace(",", "")))) if _is_integer(text) else text


def _plain(text: str) -> str:
    """LaTeX as pylatexenc writes it in plain text; the text as it was where that fails."""
    from pylatexenc import latex2text

    logging.getLogger("pylatexenc").setLevel(logging.CRITICAL)
    text = text.replace(r"\tfrac", r"\frac").replace(r"\dfrac", r"\frac").replace(r"\frac", r" \frac")
    try:
        plain: str = latex2text.LatexNodes2Text().latex_to_text(text)
    except Exception:  # noqa: BLE001 - whatever it raises, as there: a text that is not LaTeX is compared as it is
        return text
    for sign, name in _SIGNS.items():
        plain = plain.replace(sign, name)
    return plain.strip()


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _whole(value: float) -> bool:
    return math.isfinite(value) and abs(value - round(value)) <= 1e-7


def _is_integer(text: str) -> bool:
    value = _float(_without_thousands(text))
    return value is not None and _whole(value)


def _without_thousands(text: str) -> str:
    """The text without commas before three digits."""
    before = None
    while text != before:
        before, text = text, _GROUP.sub(r"\1\2\3", text)
    return text


def _elements(text: str) -> list[str]:
    """The values in round or square brackets, else the text itself; none of an empty text."""
    text = _without_thousands(text)
    inside = text[1:-1]
    if len(text) > 2 and text[0] in "()[]" and text[-1] in "()[]" and not set(inside) & set("()[]"):
        return [part.strip() for part in inside.split(",")]
    return [text] if text else []


def _same_value(gold: str, answer: str) -> bool:
    if _FRACTION.match(gold) and _FRACTION.match(answer):
        return gold == answer
    if _is_integer(gold) != _is_integer(answer):
        return False
    difference = f"({gold})-({answer})"
    letters = {letter for letter in difference.replace("sqrt", "").replace("frac", "") if letter.isalpha()}
    if len(letters) > _MOST_LETTERS or _NOT_TRIED.search(difference):
        return False
    return _vanishes(difference.replace("^", "**"))


def _vanishes(text: str) -> bool:
    import sympy

    try:
        return bool(sympy.simplify(parsed(text, implicit=True)) == 0)
    except Exception:  # noqa: BLE001 - whatever sympy raises, as there: what cannot be read is not the same
        return False
