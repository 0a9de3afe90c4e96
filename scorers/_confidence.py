"""The confidence that a text states about its own answer, in [0, 1].

The search starts after the last label at the beginning of a line (`Confidence: 85%`, `**Confidence score:** about 85`),
then in a sentence ("my confidence is 85%", "I am 85% confident"). Percentages are numbers with a percent sign or
"percent" and whole numbers without either, so that `1` is 1%; `85/100` and `8.5 out of 10` are ratios; `0.85` and
`1.0`, with a decimal point, at most 1 and without a sign, are shares. A range counts as its middle, more than 100% as
100%. Words such as "high" do not count. Takes linear time.
"""

import re
import unicodedata
from typing import NamedTuple

LONGEST_LINE = 400
"""Characters of a line that are read, from the label on."""
_WORDS = "score|level|rating|estimate|percentage|value|in|is|of|for|my|the|this|answer|response|final"
_NAME = (
    r"confidence(?![a-z])(?![ \t_]{1,3}(?:interval|limit|band|region))"
    rf"(?:[ \t_]{{1,3}}(?:{_WORDS})){{0,5}}[ \t]{{0,3}}(?:[(\[][^()\[\]\n]{{0,60}}[)\]])?"
)
_LABEL = re.compile(
    r"^[^\w\n]{0,20}_{0,2}(?:\d{1,2}[.)][ \t]{1,3})?(?:(?:my|the|overall|final|answer|estimated)[ \t_]{1,3}){0,3}"
    rf"{_NAME}[^\w\n:=|>]{{0,6}}_{{0,2}}(?:[:=|>]|[-–—]{{1,2}}[ \t]|\n)",
    re.IGNORECASE | re.MULTILINE,
)
_INLINE = re.compile(
    rf"(?<![a-z-]){_NAME}[\"'*_]{{0,4}}[ \t]{{0,3}}"
    r"(?:[:=|>]|(?<=[ \t])(?:is|at|as|to be|would be|stands at)\b|(?<=[ \t])(?=[~≈\d])|(?<=is)(?=[ \t]))",
    re.IGNORECASE,
)
_NUMBER = r"(\d{1,9}(?:[.,]\d{1,9})?|[.]\d{1,9})"
_SIGN = r"(?:[ \t\\$]{0,4}(%|percent\b|per cent\b|pct\b))?+"
_OF_WHAT = r"(?![ \t]{1,3}(?:stars?\b|sigmas?\b|σ|bits?\b|(?:confidence[ \t]{1,3})?(?:interval|CI\b)))"
_VALUE = re.compile(
    rf"(?<![\w.,-]){_NUMBER}{_SIGN}"
    rf"(?:[ \t]{{0,3}}(?:[-–—~]|to|and)[ \t]{{0,3}}{_NUMBER}{_SIGN}"
    rf"|[ \t]{{0,3}}(?:/|out of|of)[ \t]{{0,3}}{_NUMBER}(?![\w%]))?+(?![a-z\d]){_OF_WHAT}",
    re.IGNORECASE,
)
_SURE = re.compile(
    r"(?<![\w.,])(\d{1,9}(?:[.,]\d{1,9})?)[ \t\\$]{0,4}(?:%|percent\b|per cent\b)[ \t]{1,3}"
    r"(?:confident\b|confidence\b(?! (?:interval|level|limit|band|region))|sure\b|certain\b)",
    re.IGNORECASE,
)
_NEGATIVE = re.compile(r"-\d")
_SIGNS = str.maketrans({"٪": "%", "⁄": "/", "∕": "/", "−": "-", "‑": "-", "‐": "-", "\u00a0": " ", "\u202f": " "})


class _Stated(NamedTuple):
    number: float
    percent: bool
    decimal: bool


def stated_confidence(text: str) -> float | None:
    """The last confidence that a text states, in [0, 1]; None if it states none."""
    text = unicodedata.normalize("NFKC", text).translate(_SIGNS)
    for pattern in (_LABEL, _INLINE):
        for match in reversed(list(pattern.finditer(text))):
            value = _value_after(text, match.end())
            if value is not None:
                return value
            if pattern is _LABEL and _has_words(text, match.end()):
                return None
    if sure := list(_SURE.finditer(text)):
        return _as_share(_parse_number(sure[-1][1], "%"))
    return None


def _value_after(text: str, place: int) -> float | None:
    """The first value after a label, on its line or, if that is empty, the next one."""
    line = _rest_of_line(text, place)
    match = _VALUE.search(line)
    if match is None or any(map(str.isdecimal, line[: match.start()])):  # the first number is not a confidence
        return None
    first, sign, last, last_sign, total_digits = match.groups()
    if total_digits is not None:
        total = _float(total_digits)
        return min(1.0, _float(first) / total) if total else None
    if last is not None:
        percent = sign or last_sign
        return round((_as_share(_parse_number(first, percent)) + _as_share(_parse_number(last, percent))) / 2, 9)
    return _as_share(_parse_number(first, sign))


def _rest_of_line(text: str, place: int) -> str:
    while text[place : place + 1] in set('*_`#>-~$\\ \t\n\r"') and not _NEGATIVE.match(text, place):
        place += 1
    end = text.find("\n", place, place + LONGEST_LINE)
    return text[place : end if end >= 0 else place + LONGEST_LINE]


def _has_words(text: str, place: int) -> bool:
    """Whether a label is followed by words in place of a value: then the words are what was stated."""
    return any(map(str.isalpha, _rest_of_line(text, place)))


def _parse_number(number: str, sign: str | None) -> _Stated:
    return _Stated(_float(number), bool(sign), "." in number or "," in number)


def _as_share(stated: _Stated) -> float:
    """The confidence in [0, 1]; a number with a decimal point, at most 1 and without a sign, is one already."""
    if stated.decimal and not stated.percent and stated.number <= 1:
        return stated.number
    return min(1.0, stated.number / 100)


def _float(number: str) -> float:
    return float(number.replace(",", "."))
