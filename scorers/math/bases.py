"""Numerals with a base: `101_2`, `1A3_{16}`, `0x1F`, "101 in base 2"; exact.

Two numerals that name their bases must name the same one, as the problem asks for a numeral in it. One without a base
is read in the base of the other; a reference without one may be decimal as well. A digit that the base does not have
makes a numeral wrong. `x_1` and `a_{10}` are indices.
"""

import re
import string
from fractions import Fraction
from typing import NamedTuple

_DIGITS = string.digits + string.ascii_lowercase
_NAMES = {
    name: base
    for base, names in {
        2: "two binary bin 二进制 2進数 2进制", 3: "three ternary 三进制", 4: "four quaternary", 5: "five 五进制",
        6: "six senary", 7: "seven septenary 七进制", 8: "eight octal oct 八进制 8进制", 9: "nine nonary",
        10: "ten decimal dec 十进制 10进制", 11: "eleven", 12: "twelve duodecimal dozenal", 13: "thirteen",
        14: "fourteen", 15: "fifteen", 16: "sixteen hexadecimal hex 十六进制 16进制", 20: "twenty",
    }.items()
    for name in names.split()
}  # fmt: skip
_STYLE = re.compile(
    r"\\(?:text|textbf|textit|textrm|texttt|mathrm|mathbf|mathtt|mathit|mbox|operatorname|rm|bf|overline)(?![a-zA-Z])"
    r"\s*\{([^{}]*)\}"
)
_ANY_NAME = "|".join(sorted(_NAMES, key=len, reverse=True))
_BASE = rf"(?:base[\s-]*)?(?:(?P<number>\d{{1,2}})|(?P<name>{_ANY_NAME}))"
_NUMERAL = r"(?P<sign>-?)\(?(?P<digits>[0-9A-Za-z]+(?:(?:,(?=\d{3,4}(?!\d))|[_ ])\d+)*(?:\.[0-9A-Za-z]+)?)\)?"
_SUBSCRIPT = re.compile(rf"{_NUMERAL}\s*_[\s(]*{_BASE}[\s)]*", re.IGNORECASE)
_IN_WORDS = re.compile(
    rf"{_NUMERAL}\s*(?:\(\s*)?(?:,\s*)?(?:in\s+|,\s*)?(?:the\s+)?(?:base[\s-]*(?:(?P<number>\d{{1,2}})|(?P<name>[a-z-]+))"
    rf"|(?P<system>binary|ternary|octal|decimal|hexadecimal|hex|[二三五七八十0-9六]+进制))(?:\s+(?:form|notation|system))?\s*\)?",
    re.IGNORECASE,
)
_BEHIND = re.compile(rf"(?:in\s+)?base[\s-]*(?P<number>\d{{1,2}})\s*[:,]\s*{_NUMERAL}", re.IGNORECASE)
_PREFIXED = re.compile(r"(?P<sign>-?)0(?P<kind>[bBoOxX])(?P<digits>[0-9A-Fa-f_]+)")
_KINDS = {"b": 2, "o": 8, "x": 16}
_BARE = re.compile(r"(?P<sign>-?)(?P<digits>[0-9A-Za-z]+(?:\.[0-9A-Za-z]+)?)")
_HINT = re.compile(r"_|0[bBoOxX]|base|binary|ternary|octal|decimal|hex|进制", re.IGNORECASE)
_LETTERED = re.compile(r"(-?\d+)\s*_[\s(]*([a-zA-Z])[\s)]*")
_LONGEST = 2000


class Numeral(NamedTuple):
    """Digits in a base, without sign, blanks and leading zeros."""

    sign: str
    digits: str
    base: int

    @property
    def value(self) -> Fraction | None:
        """The number; None if a digit does not exist in the base."""
        whole, _, part = self.digits.partition(".")
        if any(digit not in _DIGITS[: self.base] for digit in whole + part):
            return None
        size = Fraction(int(whole or "0", self.base)) + Fraction(int(part or "0", self.base), self.base ** len(part))
        return -size if self.sign else size


def same_base(gold: str, answer: str) -> bool | None:
    """Whether two tidy texts are the same numeral; None if neither names a base, or one is not a numeral at all."""
    if (same := _in_base_of_a_letter(gold, answer)) is not None:
        return same
    ours = numeral(gold)
    theirs = numeral(answer, ours.base if ours else None)
    if ours and theirs:
        return ours.base == theirs.base and ours.value is not None and ours.value == theirs.value
    if ours:
        bare = _bare(answer, ours.base)
        return None if bare is None else bare.value is not None and bare.value == ours.value
    if theirs:
        read = [_bare(gold, base) for base in (theirs.base, 10)]
        if None in read:
            return None
        return theirs.value is not None and any(
            candidate is not None and candidate.value == theirs.value for candidate in read
        )
    return None


def _in_base_of_a_letter(gold: str, answer: str) -> bool | None:
    """Whether two numerals have the same digits, one at least being in a base that a letter names: `1001_b`."""
    if "_" not in gold + answer or len(gold) > _LONGEST or len(answer) > _LONGEST:
        return None
    plain = _plain(gold), _plain(answer)
    lettered = [_LETTERED.fullmatch(text) for text in plain]
    digits = [match[1] if match else text for match, text in zip(lettered, plain, strict=True)]
    if not any(lettered) or not all(re.fullmatch(r"-?\d+", text) for text in digits):
        return None
    return digits[0] == digits[1] and len({match[2] for match in lettered if match}) == 1


def decimal(text: str) -> str | None:
    """A numeral's value in decimal notation; None if it is not a numeral with a base or its digits do not fit."""
    match = numeral(text)
    value = match.value if match else None
    return None if value is None else str(value)


def numeral(text: str, expected: int | None = None) -> Numeral | None:
    """The numeral with a base that a tidy text is. `expected`: the reference's base, in which letters are digits."""
    if len(text) > _LONGEST or not _HINT.search(text):
        return None
    plain = _plain(text)
    if match := _PREFIXED.fullmatch(plain):
        return _numeral(match["sign"], match["digits"], _KINDS[match["kind"].lower()])
    match = _SUBSCRIPT.fullmatch(plain) or _IN_WORDS.fullmatch(plain) or _BEHIND.fullmatch(plain)
    if match is None:
        return None
    groups = match.groupdict()
    name = groups.get("name") or groups.get("system")
    base = _NAMES.get(name.lower(), 0) if name else int(groups["number"])
    digits = match["digits"]
    if not 2 <= base <= 36 or (match.re is not _IN_WORDS and base != expected and _is_symbol(digits, base)):
        return None
    return _numeral(match["sign"], digits, base)


def in_part(values: list[str]) -> bool:
    """Whether some of the values of a list name a base and others do not: in `2,4,3_7` it may be the base of all."""
    return 0 < sum(numeral(value) is not None for value in values) < len(values)


def _is_symbol(digits: str, base: int) -> bool:
    """Whether letters with an index are variables, as in `a_{10}`, `AB_2`, `2a_{12}`; `AB_{16}` is a numeral."""
    letters = re.sub(r"[^A-Za-z]", "", digits)
    if not letters:
        return False
    fits = all(_DIGITS.index(letter) < base for letter in letters.lower())
    return not (fits and base > 10 and letters.isupper() and len(digits) > 1)


def _plain(text: str) -> str:
    text = re.sub(r"\\[,;:! ]|~", " ", _STYLE.sub(r" \1 ", text).replace("{,}", ","))
    text = re.sub(r"^(-?\S+) (?=_)", r"\1", text.strip())
    text = re.sub(r"(?<=_\d)_(?=\d$)", "", text)  # a Unicode subscript of two digits
    text = text.replace("{", "(").replace("}", ")") if text.count("{") == text.count("}") else text
    return re.sub(r"\s+", " ", text).strip()


def _numeral(sign: str, digits: str, base: int) -> Numeral:
    plain = re.sub(r"[,_ ]", "", digits).lower()
    return Numeral(sign, plain.lstrip("0") or "0", base)


def _bare(text: str, base: int) -> Numeral | None:
    """A numeral without a base, as one of this base; None if the text is more than digits."""
    if len(text) > _LONGEST:
        return None
    plain = re.sub(r"(?<=\w)(?: |,(?=\d{3,4}(?!\d)))(?=\w)", "", _plain(text)).strip("()")
    match = _BARE.fullmatch(plain)
    if match is None or (not re.search(r"\d", plain) and base < 11):
        return None
    return _numeral(match["sign"], match["digits"], base)
