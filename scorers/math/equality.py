"""Are two final answers the same? What needs no algebra is decided at once, the rest piece by piece by math-verify.

`quick` is plain text and exact arithmetic and runs where it is called; `slow` gives formulas to sympy, which may take
forever on a short text, and belongs into a worker process.
"""

import logging
import re
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any, Literal

from . import bases, numerically, quantities, values
from .notation import (
    Number,
    bare,
    both_signs,
    is_prose,
    number,
    split,
    tidy,
    without_unit,
    words,
)
from .units import CHANGING

Precision = Literal["exact", "gold"]
Verdict = tuple[bool, str]

_LETTER = re.compile(r"\(?([A-J])\)?")
_OPTION = re.compile(r"\(([A-J])\)(?:\s*[A-Za-z]{2}|\s+\S|$)|([A-J])(?:[.:)]\s*\S|[.:)]?$)")
_STYLE = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|bf)\s*\{([^{}]*)\}")
_NAMED = re.compile(
    r"(?:\\?[a-zA-Z]+(?:_\{?\w+\}?)?'*(?:\([a-zA-Z](?:,[a-zA-Z])*\))?|\([a-z](?:,[a-z])*\)|[A-Z][A-Z]+|\|?[A-Z]+\|?)\s*(?:=|\\in(?![a-z])|\\approx(?![a-z]))\s*"
)
_DOUBT = re.compile(r"\b(?:not|no|nor|neither|never|or|more|less|than|least|most|except|about|between|either|un\w+)\b")
_BRACKETS = {"(": ")", "[": "]", "{": "}"}
_EXTRA_WORDS = 6


def quick(gold: str, answer: str, precision: Precision = "exact") -> Verdict | None:  # noqa: PLR0911 - a rule, a return
    """Right or wrong with the rule's name where that is plain without algebra, else None."""
    if quantities.other_money(gold, answer):
        return False, "another currency"
    gold, answer = map(tidy, quantities.in_words(gold, answer))
    if _same_text(gold, answer):
        return True, "same text"
    if (same := bases.same_base(gold, answer)) is not None:
        return same, "numerals with a base"
    if bases.numeral(gold) or bases.numeral(answer):
        return None
    if quantities.has_unit(gold, answer):
        return _quantities(gold, answer, precision)
    if verdict := _option(gold, answer) or _prose(gold, answer):
        return verdict
    wanted, given = number(gold), number(answer)
    if wanted is not None and given is None:
        given = _only_number(answer)
    if wanted is not None and given is not None:
        return _numbers(gold, answer, wanted, given, precision)
    if wanted is None or given is None:
        percents = [number(re.sub(r" ?\\?%$", "", text)) for text in (gold, answer)]
        if all(percents) and percents[0].value == percents[1].value:  # type: ignore[union-attr]
            return True, "numbers, percent sign ignored"
    if same_values(gold, answer):
        return True, "same values in the same order"
    return None


def _quantities(gold: str, answer: str, precision: Precision) -> Verdict | None:
    """The verdict on values with units where none has to be converted."""
    if quantities.needs_conversion(gold, answer):
        return None

    verdicts: list[Verdict] = []

    def same(value: str, given: str) -> bool | None:
        wanted, found = number(value), number(given)
        verdict = (
            _numbers(value, given, wanted, found, precision) if wanted and found else quick(value, given, precision)
        )
        verdicts.extend([verdict] if verdict else [])
        return verdict[0] if verdict else None

    right = quantities.compare(gold, answer, same, physical=precision == "gold")
    if right is None:
        return None
    if right and ("%" in gold) != ("%" in answer):
        return True, "numbers, percent sign ignored" if verdicts[0][0] else "by value"
    return right, next((how for verdict, how in reversed(verdicts) if verdict == right), "quantities")


def slow(gold: str, answer: str, precision: Precision, math_verify: Any) -> Verdict:
    """The verdict of structure and algebra; for a worker process, as it may hang or burst."""
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that its own timeouts are off
    same = partial(_algebra, math_verify, precision)
    gold, answer = map(tidy, quantities.in_words(gold, answer))
    verdict = quantities.compare(
        gold, answer, lambda value, given: _structure(value, given, same)[0], physical=precision == "gold"
    )
    return _structure(gold, answer, same) if verdict is None else (verdict, "quantities")


def _same_text(gold: str, answer: str) -> bool:
    one, other = bare(gold), bare(answer)
    if one == other:
        return True
    named = [re.sub(r"^\(?[A-J]\)", "", text).lower().strip("()") for text in (one, other)]
    return one.isalpha() and len(one) > 1 and named[0] == named[1]


def _option(gold: str, answer: str) -> Verdict | None:
    """`(C) Plane` for `C`: the letter of the reference, perhaps with the option's text."""
    letter = _LETTER.fullmatch(bare(gold))
    option = _OPTION.match(_STYLE.sub(r"\1", answer).strip()) if letter else None
    if letter and option:
        return letter[1] in option.groups(), "option letter"
    return None


def _prose(gold: str, answer: str) -> Verdict | None:  # noqa: PLR0911 - a rule, a return
    """Words against words: the same ones, or the reference's in a short sentence without a doubt in it."""
    if not is_prose(gold):
        return None
    wanted, given = words(gold), words(answer)
    if wanted == given:
        return True, "same words"
    if _STYLE.sub(r"\1", gold) == gold and not gold.replace(" ", "").isalpha():
        return None
    if "".join(wanted) == "".join(given):
        return True, "same words"
    places = range(len(given) - len(wanted) + 1)
    inside = any(given[i : i + len(wanted)] == wanted for i in places)
    if inside and len(given) <= len(wanted) + _EXTRA_WORDS and not _DOUBT.search(" ".join(given)):
        return True, "words of the reference"
    if len(wanted) > 1 and "," in gold and sorted(wanted) == sorted(w for w in given if w != "and"):
        return True, "same words in another order"
    return (False, "words") if is_prose(answer) else None


def _only_number(answer: str) -> Number | None:
    """The number of a prose answer that holds just one: "the value of n is 3"."""
    plain = _STYLE.sub(r" \1 ", answer)
    if not re.search(r"(?<!\\)\b[a-z]{2,}", plain) or re.search(r"\\(?!frac)", plain):
        return None
    if _DOUBT.search(plain.lower()) or CHANGING.search(plain):
        return None
    found = re.findall(r"(?<![\w.^_}])-?(?:\d[\d,]*(?:\.\d+)?(?:/\d+)?|\\frac\{\d+\}\{\d+\})(?![\w^])", plain)
    if len(found) != 1 or len(re.findall(r"\d+", re.sub(r"\\frac\{\d+\}\{\d+\}", "1", plain).replace(",", ""))) > (
        1 + ("." in found[0]) + ("/" in found[0])
    ):
        return None
    if re.search(r"[=+*^_<>()]", plain):
        return None
    return number(found[0].rstrip(","))


def _numbers(gold: str, answer: str, wanted: Number, given: Number, precision: Precision) -> Verdict:
    difference = abs(wanted.value - given.value)
    close = difference * 10**9 < abs(wanted.value) and given.place is not None
    close = close and difference < max(given.place or 0, Fraction(1, 10**9))
    if wanted.value == given.value or (close and given.place < abs(given.value) / 10**9):  # type: ignore[operator]
        plain = wanted.place is None and given.place is None and wanted.value.denominator == 1
        return True, "integers" if plain else "numbers"
    if precision == "gold" and _rounds(wanted, given):
        return True, "rounds to the reference"
    return False, "integers" if wanted.value.denominator == given.value.denominator == 1 else "numbers"


def _rounds(gold: Number, answer: Number) -> bool:
    """Whether the answer is at least as precise as a decimal reference and rounds to it."""
    if gold.place is None or (answer.place is not None and answer.place > gold.place):
        return False
    return abs(answer.value - gold.value) <= gold.place / 2


def same_values(gold: str, answer: str) -> bool:
    """Whether `a=1, b=2` or `(1, 2)` gives the values of a reference that is the bare list `1, 2`."""
    parts = split(answer)
    if inside := re.fullmatch(r"\((.*)\)", answer):
        parts = split(inside[1])
    values = [bare(re.sub(r"^[a-zA-Z]\w* ?=", "", part)) for part in parts]
    return len(values) > 1 and values == [bare(value) for value in split(gold)]


def _structure(gold: str, answer: str, same: Callable[[str, str], Verdict]) -> Verdict:
    """Compare bracket by bracket and value by value; what is no list goes to `same`."""
    gold, answer = _unnamed(gold, answer)
    if _same_text(gold, answer):
        return True, "same text"
    one, other = _opened(gold), _opened(answer)
    if one and other:
        return _lists(one, other, same)
    ours, theirs = one or _bare_list(gold), other or _bare_list(answer)
    if len(ours[1]) > 1 and len(theirs[1]) > 1 and _is_interval(*ours) is _is_interval(*theirs) is False:
        return _lists(ours, theirs, same)
    if len(ours[1]) > 1 and len(theirs[1]) == 1 and not _relational(gold + answer):
        return False, "one value for several"
    if len(ours[1]) == 1 and len(theirs[1]) > 1 and not _relational(gold + answer):
        values = {bare(part) for part in theirs[1]}
        if len(values) > 1 and not one and not other:
            return False, "several values for one"
    if one and not other and len(one[1]) == 1:
        gold = one[1][0]
    if other and not one and len(other[1]) == 1:
        answer = other[1][0]
    return same(gold, answer)


def _unnamed(gold: str, answer: str) -> tuple[str, str]:
    """Both without `x =` or `x \\in` in front, where that is a name and no equation."""
    texts = []
    equations = [bool(re.search(r"[^<>=]=[^=]", text)) for text in (gold, answer)]
    names = [bool(_NAMED.match(text)) for text in (gold, answer)]
    if all(equations) and names[0] != names[1]:
        return gold, answer
    for text in (gold, answer):
        name = _NAMED.match(text)
        rest = text[name.end() :] if name else text
        texts.append(rest if name and "=" not in re.sub(r"[a-zA-Z]\w* ?=", "", rest) and _level(rest) else text)
    return texts[0], texts[1]


def _level(text: str) -> bool:
    """Whether a text goes on as one value: no further `name =` after a comma."""
    return not re.search(r",\s*[a-zA-Z]\w*\s*=", text)


def _relational(text: str) -> bool:
    return bool(re.search(r"[<>]|\\(?:le|ge|ne|cup|cap|in|mid|lt|gt|setminus|infty|begin|pm)(?![a-z])|:", text))


Group = tuple[str, list[str]]


def _opened(text: str) -> Group | None:
    """The brackets around a whole text and the values in them: `(1,2]` is `(]` and 1, 2."""
    text = re.sub(r"\\([{}])", r"\1", text).strip()
    text = re.sub(r"\\lbrace|\\rbrace", lambda found: "{" if "l" in found[0][:2] else "}", text)
    if len(text) < 2 or text[0] not in _BRACKETS or text[-1] not in ")]}":
        return None
    depth = 0
    for i, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0 and i < len(text) - 1:
            return None
    values = split(text[1:-1])
    return (text[0] + text[-1], values) if values else None


def _bare_list(text: str) -> Group:
    """The values of a list without brackets; a sentence is one value."""
    in_words = re.findall(r"(?<![\\a-zA-Z])[a-z]{3,}", _STYLE.sub(" ", text))
    return "", [text] if len(set(in_words) - {"and"}) > 1 else split(text)


def _is_interval(brackets: str, values: list[str]) -> bool:
    return len(values) == 2 and brackets in ("[]", "(]", "[)")


def _lists(gold: Group, answer: Group, same: Callable[[str, str], Verdict]) -> Verdict:  # noqa: PLR0911
    if (_is_interval(*gold) or _is_interval(*answer)) and gold[0] != answer[0]:
        return False, "other brackets: an open end is not a closed one"
    ordered = gold[0] in ("()", "[]", "(]", "[)")
    ours, theirs = gold[1], answer[1]
    if ordered and answer[0] == "{}":
        return False, "a set for a tuple"
    if not ordered:
        ours, theirs = ([value for text in side for value in both_signs(text)] for side in (ours, theirs))
    if len(ours) != len(theirs):
        if not ordered:
            ours, theirs = (list({bare(value): value for value in side}.values()) for side in (ours, theirs))
        if len(ours) != len(theirs):
            return False, "another number of values"
    inner = partial(_structure, same=same)
    pairs = zip(ours, theirs, strict=True)
    if all(inner(value, given)[0] for value, given in pairs):
        return True, "same values in the same order"
    if ordered or (gold[0] == "" and answer[0] == "()"):
        return False, "other values"
    left = list(theirs)
    for value in ours:
        match = next((given for given in left if inner(value, given)[0]), None)
        if match is None:
            return False, "other values"
        left.remove(match)
    return True, "same values in another order"


def _algebra(  # noqa: PLR0911 - a rule, a return
    math_verify: Any, precision: Precision, gold: str, answer: str
) -> Verdict:
    if verdict := quick(gold, answer, precision):
        return verdict
    if bases.numeral(gold):
        return False, "no numeral of the base"
    answer = bases.decimal(answer) or answer
    verdict_of_units = quantities.compare(
        gold,
        answer,
        lambda value, given: _algebra(math_verify, precision, value, given)[0],
        physical=precision == "gold",
    )
    if verdict_of_units is not None:
        return verdict_of_units, "quantities"
    if (verdict := _by_value(precision, without_unit(gold), without_unit(answer))) is not None:
        return verdict
    if (r"^\circ" in gold) != (r"^\circ" in answer) and r"\pi" in gold + answer:
        gold, answer = (text.replace(r"^\circ", r"\cdot\frac{\pi}{180}") for text in (gold, answer))
    # Only LatexExtractionConfig: its path (antlr grammar to Symbol, Number, Function; read in math-verify 0.9.0 and
    # latex2sympy2-extended 1.11.0) never hands text to sympify or parse_expr, which would eval it. ExprExtractionConfig
    # does. The pool keeps the time, so the SIGALRM timeouts are off; they cannot stop a long C call anyway.
    latex = [math_verify.LatexExtractionConfig(boxed_match_priority=0, normalization_config=_normalization())]
    parsed = [
        math_verify.parse(rf"\boxed{{{without_unit(text)}}}", latex, parsing_timeout=None) for text in (gold, answer)
    ]
    if all(parsed):
        wanted = number(gold)
        value = numerically.constant(parsed[1][0]) if wanted else None
        if precision == "gold" and wanted and value is not None and _rounds(wanted, Number(value)):
            return True, "rounds to the reference"
        same = numerically.same(parsed[0][0], parsed[1][0])
        if same is not None:
            return same, "algebra, by values"
    return bool(math_verify.verify(*parsed, timeout_seconds=None)), "math-verify"


def _by_value(precision: Precision, gold: str, answer: str) -> Verdict | None:
    """The verdict of our own grammar and arithmetic; None for what it does not read."""
    same = values.same_value(gold, answer)
    if same is False and precision == "gold" and (wanted := number(gold)):
        value = values.constant(answer)
        if value is not None and _rounds(wanted, Number(value)):
            return True, "rounds to the reference"
    return None if same is None else (same, "by value")


def _normalization() -> Any:
    """math-verify's own, but units are left alone: it takes the m of `37m/4` for metres."""
    from latex2sympy2_extended import NormalizationConfig

    return NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="all", equations=False
    )
