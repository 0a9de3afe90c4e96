"""Whether two final answers are equal: decided in place where no algebra is needed, else in parts by math-verify.

`quick` is plain text and exact arithmetic and runs where it is called; `slow` gives formulas to sympy, which may take
forever on a short text, and belongs into a worker process.
"""

import logging
import re
from fractions import Fraction
from functools import partial
from typing import Any, Literal

from . import bases, conversion, numeric, quantities, structure, values
from .comparator import Comparator
from .hazards import UNREAD
from .notation import Number, bare, is_prose, number, split, tidy, without_unit, words
from .structure import empty, same_text
from .unit_names import NUMBER_WORDS

Precision = Literal["exact", "gold"]
Verdict = tuple[bool, str]

_LETTER = re.compile(r"\(?([A-J])\)?")
_OPTION = re.compile(r"\(([A-J])\)(?:\s*[A-Za-z]{2}|\s+\S|$)|([A-J])(?:[.:)]\s*\S|[.:)]?$)")
_NAMED = re.compile(r"\(([A-J])\)[\s\\]+((?:[A-Za-z][a-z]+|a)(?:[ ,'-]+(?:[A-Za-z][a-z]+|a))*)")
"""The letter of an option and its text, which is words alone."""
_SEVERAL = re.compile(r"^(?:and|or|but|if|is|mod|plus|then|union|intersect\w*)\b")
"""Words that make something else of a letter: `(A) and`, `(A) is true`."""
_STYLE = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|bf)\s*\{([^{}]*)\}")
_FORMULA = re.compile(r"[\^=+*/<>]|\\(?:frac|sqrt|cdot|times)(?![a-z])|^-|-\s*\(|\)!|\d\(|(?<=[A-Za-z])-\d")
"""Signs that make a formula of the reference's words: `-(LRMC)` is not LRMC."""
_OPTIONS = re.compile(
    r"[).:]*\s*(?:[,;/&]\s*\(?[A-J]\)?(?!\w)|\([A-J]\)|(?:[,;]\s*)?(?:and|or)\b|.*\bor\s+\([A-J]\))", re.DOTALL
)
"""Words that join a second option to the one before it."""
_DOUBT = re.compile(
    r"\b(?:not|no|nor|neither|never|or|more|less|than|least|most|except|about|between|either|un\w+|maybe|perhaps|possibly"
    r"|probably|likely|might|may|could|cannot|nearly|almost|unless|if|both|but|false|wrong|opposite|\w+n t)\b"
)
_INDEXED = re.compile(r"(?:\\frac\s*\{[^{}]*\}\s*\{[^{}]*\}|\\sqrt\s*\{[^{}]*\}|(?<![\w^{.\\])\d+)\s*_")
_ARROW = re.compile(r"\\(?:vec|overrightarrow)(?![a-zA-Z])")
_BOLD_LETTER = re.compile(r"\\(?:mathbf|boldsymbol|bm|pmb|textbf|mathbfit)\s*(?:\{\s*)([a-zA-Z])\s*\}")
_FACTOR = re.compile(r"[\s}][b-zA-Z]\Z|\}[a-zA-Z]")
"""A letter behind a number and its words: a factor (`5 \\text{ cents}x`), unless it is a name in a sentence."""
_LINK = re.compile(r"\b(?:of|for|is|are|was|as|when|where|if|by|in|with|at|to)\b")
_ONLY_WORDS = re.compile(r"\s*[^\W\d_][\w\s,;.'’-]*")
_EXTRA_WORDS = 6
_ASIDES = {"yes", "indeed", "always", "exactly", "therefore", "thus", "hence", "so", "only", "respectively"}
_ELLIPSIS = re.compile(r"(?<!\d)\s*\\ldots|(?<![.\d])\d+\s*\\ldots|(?<![.\d])\s*\.{3}")


def quick(gold: str, answer: str, precision: Precision = "exact") -> Verdict | None:  # noqa: PLR0911 - a rule, a return
    """Right or wrong with the rule's name where that is plain without algebra, else None."""
    if quantities.other_money(gold, answer):
        return False, "another currency"
    written = gold, answer
    gold, answer = map(tidy, same_vectors(*quantities.in_words(gold, answer)))
    if quantities.money_for_unit(written, (gold, answer)):
        return False, "money for another unit"
    if verdict := same_text(gold, answer) or empty(gold, answer):
        return verdict
    if (same := bases.same_base(gold, answer)) is not None:
        return same, "numerals with a base"
    if bases.numeral(gold) or bases.numeral(answer):
        return None
    if quantities.has_unit(gold, answer):
        return _quantities(gold, answer, precision)
    if verdict := _option(gold, answer) or _prose(gold, answer):
        return verdict
    reference, value = number(gold), number(answer)
    if reference is not None and value is None:
        value = _only_number(answer)
    if reference is not None and value is not None:
        return _numbers(gold, answer, reference, value, precision)
    if reference is None or value is None:
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

    def same(gold_text: str, answer_text: str) -> bool | None:
        reference, value = number(gold_text), number(answer_text)
        verdict = (
            _numbers(gold_text, answer_text, reference, value, precision)
            if reference and value
            else quick(gold_text, answer_text, precision)
        )
        verdicts.extend([verdict] if verdict else [])
        return verdict[0] if verdict else None

    right = conversion.compare(gold, answer, same, physical=precision == "gold")
    if right is None:
        return None
    if right and ("%" in gold) != ("%" in answer):
        return True, "numbers, percent sign ignored" if verdicts[0][0] else "by value"
    return right, next((how for verdict, how in reversed(verdicts) if verdict == right), "quantities")


def slow(gold: str, answer: str, precision: Precision, math_verify: Any) -> Verdict:
    """The verdict of structure and algebra; for a worker process, as it may hang or burst."""
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that its own timeouts are off
    comparator = Comparator(
        structure.RULES, partial(_algebra, math_verify, precision), _place, tolerant=precision == "gold"
    )
    gold, answer = map(tidy, same_vectors(*quantities.in_words(gold, answer)))
    verdict = conversion.compare(
        gold, answer, lambda value, given: comparator.compare(value, given)[0], physical=comparator.tolerant
    )
    return comparator.compare(gold, answer) if verdict is None else (verdict, "quantities")


def _option(gold: str, answer: str) -> Verdict | None:
    """`(C) Plane` for `C`: the letter of an option, on one side perhaps with the option's text."""
    letter = _LETTER.fullmatch(bare(gold))
    plain = _STYLE.sub(r"\1", answer).strip()
    option = _OPTION.match(plain) if letter else None
    if letter and option:
        several = _OPTIONS.match(plain, option.end(1) if option[1] else option.end(2))
        return not several and letter[1] in option.groups(), "option letter"
    option, letter = _NAMED.fullmatch(_STYLE.sub(r"\1", gold).strip()), _LETTER.fullmatch(bare(answer))
    if option and letter and not _SEVERAL.search(option[2]):
        return option[1] == letter[1], "option letter"
    return None


def _prose(gold: str, answer: str) -> Verdict | None:  # noqa: PLR0911 - a rule, a return
    """Words against words: the same ones, or the reference's in a short sentence without a doubt in it."""
    if not is_prose(gold) or _FORMULA.search(gold) or _FORMULA.search(answer):
        return None
    gold_words, answer_words = words(gold), words(answer)
    if _is_list(answer, gold):
        return False, "several values for one"
    plain = is_prose(answer)
    if plain and (same := _same_names(gold, answer)) is not None:
        return same, "same words in another order" if same else "words"
    if gold_words == answer_words and plain:
        return True, "same words"
    if _STYLE.sub(r"\1", gold) == gold and not gold.replace(" ", "").isalpha():
        return None
    if plain and "".join(gold_words) == "".join(answer_words) and gold.count(",") == answer.count(","):
        return True, "same words"
    places = range(len(answer_words) - len(gold_words) + 1)
    inside = any(answer_words[i : i + len(gold_words)] == gold_words for i in places)
    if (
        inside
        and len(answer_words) <= len(gold_words) + _EXTRA_WORDS
        and not _DOUBT.search(" ".join(answer_words))
        and _is_sentence(answer)
    ):
        return True, "words of the reference"
    return (False, "words") if is_prose(answer) else None


def _same_names(gold: str, answer: str) -> bool | None:
    """Whether two lists have the same names, in any order: False for `A or B` in place of both, None for all else."""
    texts = [_STYLE.sub(r" \1 ", text) for text in (gold, answer)]
    if not all(re.search(r"[,;]|\s(?:and|or)\s", text) and _ONLY_WORDS.fullmatch(text) for text in texts):
        return None
    ours, theirs = (sorted(words(part) for part in split(text)) for text in texts)
    if len(ours) < 2 or not all(any(len(word) > 1 for word in part) for part in ours):
        return None
    doubts, answer_doubts = (set(_DOUBT.findall(text.lower())) for text in texts)
    return answer_doubts <= doubts if ours == theirs else None


def _is_sentence(answer: str) -> bool:
    """Whether a text is words, perhaps with numbers in them, and not a formula or tuple."""
    return not re.search(r"[\\^_=+*/<>]|\(.*,", _STYLE.sub(r" \1 ", answer))


def _is_list(answer: str, gold: str) -> bool:
    """Whether an answer has other values than the reference's between commas and "and", each of them one word."""
    parts = [words(part) for part in split(_STYLE.sub(r" \1 ", answer))]
    gold_parts = [words(part) for part in split(gold)]
    others = [part for part in parts if part not in gold_parts]
    return (
        len(parts) > len(gold_parts)
        and bool(others)
        and len(others) < len(parts)
        and all(len(part) == 1 and part[0] not in _ASIDES for part in others)
    )


def same_vectors(gold: str, answer: str) -> tuple[str, str]:
    r"""Both texts as written; the bold letters of one as `\vec` where the other has arrows (else bold is a style)."""
    arrows = [_ARROW.search(text) is not None for text in (gold, answer)]
    if arrows[0] == arrows[1]:
        return gold, answer
    bold = [_BOLD_LETTER.sub(r"\\vec{\1}", text) for text in (gold, answer)]
    return (gold, bold[1]) if arrows[0] else (bold[0], answer)


def _only_number(answer: str) -> Number | None:
    """The number of a prose answer that holds just one: "the value of n is 3"."""
    plain = _STYLE.sub(r" \1 ", answer)
    if not re.search(r"(?<!\\)\b[a-z]{2,}", plain) or re.search(r"\\(?!frac)", plain):
        return None
    if _DOUBT.search(plain.lower()) or NUMBER_WORDS.search(plain):
        return None
    numbers = re.findall(r"(?<![\w.^_}])-?(?:\d[\d,]*(?:\.\d+)?(?:/\d+)?|\\frac\{\d+\}\{\d+\})(?![\w^])", plain)
    if len(numbers) != 1 or len(re.findall(r"\d+", re.sub(r"\\frac\{\d+\}\{\d+\}", "1", plain).replace(",", ""))) > (
        1 + ("." in numbers[0]) + ("/" in numbers[0])
    ):
        return None
    behind = re.split(r"\d", answer)[-1]
    if re.search(r"[=+*^_<>()]", plain) or (_FACTOR.search(behind) and not _LINK.search(behind)):
        return None
    return number(numbers[0].rstrip(","))


def _numbers(gold: str, answer: str, reference: Number, value: Number, precision: Precision) -> Verdict:
    difference = abs(reference.value - value.value)
    place = value.place if value.place is not None else reference.place
    close = place is not None and difference * 10**9 < abs(reference.value)
    close = close and difference < max(place or 0, Fraction(1, 10**9))
    if reference.value == value.value or (close and place < abs(value.value) / 10**9):  # type: ignore[operator]
        plain = reference.place is None and value.place is None and reference.value.denominator == 1
        return True, "integers" if plain else "numbers"
    if precision == "gold" and _rounds(reference, value):
        return True, "rounds to the reference"
    return False, "integers" if reference.value.denominator == value.value.denominator == 1 else "numbers"


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


def _place(text: str) -> Fraction | None:
    """The position of a number on the line."""
    literal = number(text)
    return literal.value if literal else values.constant(text)


def _algebra(math_verify: Any, precision: Precision, gold: str, answer: str) -> Verdict:  # noqa: PLR0911 - a rule, a return
    if verdict := quick(gold, answer, precision):
        return verdict
    if bases.numeral(gold):
        return False, "no numeral of the base"
    answer = bases.decimal(answer) or answer
    verdict_of_units = conversion.compare(
        gold,
        answer,
        lambda value, given: _algebra(math_verify, precision, value, given)[0],
        physical=precision == "gold",
    )
    if verdict_of_units is not None:
        return verdict_of_units, "quantities"
    if (verdict := _by_value(precision, without_unit(gold), without_unit(answer))) is not None:
        return verdict
    if _ELLIPSIS.search(gold) or _ELLIPSIS.search(answer):  # math-verify reads over it
        return False, "an ellipsis"
    if (r"^\circ" in gold) != (r"^\circ" in answer) and r"\pi" in gold + answer:
        gold, answer = (text.replace(r"^\circ", r"\cdot\frac{\pi}{180}") for text in (gold, answer))
    try:
        return _by_math_verify(math_verify, precision, gold, answer)
    except UNREAD as error:
        return False, f"math-verify does not read it: {type(error).__name__}"


def _by_math_verify(math_verify: Any, precision: Precision, gold: str, answer: str) -> Verdict:
    # Only LatexExtractionConfig: its path (antlr grammar to Symbol, Number, Function; read in math-verify 0.9.0 and
    # latex2sympy2-extended 1.11.0) never hands text to sympify or parse_expr, which would eval it. ExprExtractionConfig
    # does. The pool keeps the time, so the SIGALRM timeouts are off; they cannot stop a long C call anyway.
    if _INDEXED.search(gold) or _INDEXED.search(answer):  # it drops what it cannot read
        return False, "an index of what is no letter"
    latex = [math_verify.LatexExtractionConfig(boxed_match_priority=0, normalization_config=_normalization())]
    parsed = [
        math_verify.parse(rf"\boxed{{{without_unit(text)}}}", latex, parsing_timeout=None) for text in (gold, answer)
    ]
    if all(parsed):
        reference = number(gold)
        value = numeric.constant(parsed[1][0]) if reference else None
        if precision == "gold" and reference and value is not None and _rounds(reference, Number(value)):
            return True, "rounds to the reference"
        same = numeric.same(parsed[0][0], parsed[1][0])
        if same is not None:
            return same, "algebra, by values"
    return bool(math_verify.verify(*parsed, timeout_seconds=None)), "math-verify"


def _by_value(precision: Precision, gold: str, answer: str) -> Verdict | None:
    """The verdict of our own grammar and arithmetic; None for what it does not read."""
    same = values.same_value(gold, answer)
    if same is False and precision == "gold" and (reference := number(gold)):
        value = values.constant(answer)
        if value is not None and _rounds(reference, Number(value)):
            return True, "rounds to the reference"
    return None if same is None else (same, "by value")


def _normalization() -> Any:
    """math-verify's own, but units are left alone: it takes the m of `37m/4` for metres."""
    from latex2sympy2_extended import NormalizationConfig

    return NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="all", equations=False
    )
