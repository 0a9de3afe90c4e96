"""Values with units: which part of an answer is the unit.

Units are: styled letters (`\\text{m}`, `\\mathrm{kg}`, siunitx), signs (€, °C, Ω) and words after a number; bare
symbols of two letters and more after a number (`560nm`, `5 km/h`); a bare single letter only after a plain number and
apart from it (`36 J`, `36 m^2`). `6s`, `3k`, `2x`, `\\frac{37}{4} m` have variables. In a reference a bare letter
is a variable, unless the answer has a unit or the numbers are physical quantities.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from .clock import HALF_DAY, TIME
from .unit_names import name_of
from .units import Unit, parse

_BRACED = r"\{(?:[^{}]++|\{[^{}]*+\})*+\}"
_INSIDE = r"\{((?:[^{}]++|\{[^{}]*+\})*+)\}"
_STYLE = r"\\(?:text(?:rm|normal|up|it|bf|sf)?|math(?:rm|it|sf|bf)|[mh]box|operatorname\*?|rm|unit|si)"
_STARTS = re.compile(
    rf"{_STYLE}\s*{_BRACED}"
    r"|(?:\{\s*\})?\^\s*\{?\s*\\circ(?=[CFK]\b|[^a-zA-Z]|$)\s*\}?"
    rf"|\\frac(?=\s*\{{\s*(?:{_STYLE}(?![a-zA-Z])|\\Omega|\\mu))|\\(?P<command>[a-zA-Z]+)|\\%"
    rf"|[%¢€£¥￥₹₩₽₺₫₱°\u2126\u03a9]|(?P<word>[^\W\d_]+)|/(?=\s*{_STYLE}(?![a-zA-Z]))|\[(?={_STYLE}(?![a-zA-Z]))"
)
_UNIT_COMMANDS = {
    "Omega", "ohm", "mu", "micro", "degree", "celsius", "degreeCelsius", "AA", "mathring", "euro", "pounds", "yen",
    "textdegree", "texteuro", "textsterling", "textmu", "upmu", "frac",
}  # fmt: skip
_BEFORE = re.compile(
    r"^(?P<sign>[-+]?)\s*(?:(?:US|HK|NT|CA|AU|[ACS])?"
    r"(?P<money>[€£¥￥₹₩₽₺₫₱]|\\(?:euro|pounds|textsterling|yen|textyen)(?![a-z]))"
    r"|(?:\\(?:text|mathrm|mbox)\s*\{)?\s*"
    r"(?P<code>USD|US(?=\d)|EUR|GBP|CNY|RMB|JPY|INR|KRW|CHF|Rs)(?:\b|(?=\d))\.?\s*\}?)"
    r"(?:\\[ ,;]|[\s~])*(?=[-+]?[\d.\\(])"
)
_SI = re.compile(rf"\\(?:SI|qty)\s*(?:\[[^\]]*\])?\s*\{{([^{{}}]*)\}}\s*{_INSIDE}")
_SI_ANGLE = re.compile(r"\\ang\s*\{([^{};]*)\}")
_RM = re.compile(r"\{\s*\\(?:rm|it|bf)(?![a-zA-Z])\s*((?:[^{}]++|\{[^{}]*+\})*+)\}")
_PLAIN = re.compile(
    r"[-+]?\s*(?:\d[\d,]*(?:\{,\}\d+)*\.?\d*|\.\d+)"
    r"(?:\s*(?:\\times|\\cdot|\*)\s*10\s*\^\s*(?:\{\s*[-+]?\d+\s*\}|[-+]?\d+)|[eE][-+]?\d+)?"
)
_COMMANDS = re.compile(
    r"\\(?:frac|sqrt|pi|cdot|times|pm|approx|simeq|sim|l?dots|overline|bar|log|ln|q?quad|binom)(?![a-zA-Z])"
)
_NO_VALUE = re.compile(r"[-+*/^_=<>(\[{,;:&\\]$|\\(?:sin|cos|tan|cot|sec|csc|circ)(?![a-zA-Z])")
_APART = re.compile(r"(?:\s|~|\\[ ,;:!]|\\q?quad)$")
_SPACES = re.compile(r"(?:\s|~|\\[,;:! ]|\\q?quad(?![a-zA-Z])|\\$)+$")
_BARE = set("msghAKNJWVCFTHLM\u03a9")
"""Single letters that are taken for units behind a number and a space. Others are variables more often."""
_MOST_STARTS = 24
_LONGEST = 1000
_WHOLE = re.compile(rf"(?:{_STYLE}|\\mathbf)\s*\{{\s*([-+]?\d[\d.,]*)((?:[^{{}}]++|\{{[^{{}}]*+\}})*+)\}}")
_DIVIDED = re.compile(rf"(-?)\\frac\s*{_INSIDE}\s*{_INSIDE}")


class Quantity(NamedTuple):
    """A value as text and its unit, as text and read."""

    value: str
    text: str
    unit: Unit
    styled: bool
    """Whether the unit cannot be a product of variables."""


def split_unit(text: str, *, reference: bool = False, physical: bool = False) -> tuple[str, str]:
    """A tidy text's value and its unit, "" where none.

    `reference`: a bare single letter is a variable. `physical`: it is a physical quantity, so `36m` too has a unit.
    """
    quantity = read(text, reference, physical)
    return (quantity.value, quantity.text) if quantity else (text, "")


@lru_cache(4096)
def read(text: str, reference: bool = False, physical: bool = False) -> Quantity | None:
    """The quantity that a tidy text is; None if it has no unit."""
    if len(text) > _LONGEST or not re.search(r"\d|[^\W\d_]", text):
        return None
    if (whole := _WHOLE.fullmatch(text)) and re.search(r"[^\W\d_]", whole[2]):
        text = rf"{whole[1]}\mathrm{{{whole[2]}}}"
    text = _RM.sub(r"\\mathrm{\1}", _SI_ANGLE.sub(r"\1^\\circ", _SI.sub(r"\1\\mathrm{\2}", text))).strip()
    if money := _BEFORE.match(text):
        value = money["sign"] + text[money.end() :]
        unit = parse(money["money"] or money["code"])
        rest = read(value, reference, physical)
        if unit and rest is None:
            return Quantity(value, money["money"] or money["code"], unit, True)
        return rest if rest and unit and rest.unit == unit else None
    unit_starts = list(_STARTS.finditer(text))[-_MOST_STARTS:]
    for start in unit_starts:
        if quantity := _quantity_at(text, start, reference, physical):
            return quantity
    return _fraction(text, reference, physical)


def _quantity_at(text: str, start: re.Match[str], reference: bool, physical: bool) -> Quantity | None:  # noqa: PLR0911
    if start["command"] and start["command"] not in _UNIT_COMMANDS:
        return None
    before, suffix = text[: start.start()], text[start.start() :]
    value = re.sub(r"\\[,;: ]", " ", _SPACES.sub("", before)).removesuffix(r"\cdot").rstrip()
    if suffix.startswith("["):
        if not suffix.endswith("]"):
            return None
        suffix = suffix[1:-1]
    if not value or not _balanced(value) or _NO_VALUE.search(value):
        return None
    unit = parse(suffix)
    if unit is None or (TIME.fullmatch(value) and HALF_DAY.fullmatch(suffix)):
        return None
    apart = bool(_APART.search(before))
    styled = not start["word"] and start["command"] not in ("Omega",)
    if styled and not unit.known and not _is_constant(value) and not re.fullmatch(r"[\d:]+", value):
        return None
    if not styled and not _is_unit(start["word"] or "Ω", unit, value, apart, reference, physical):
        return None
    return Quantity(value, suffix, unit, styled)


def _is_unit(word: str, unit: Unit, value: str, apart: bool, reference: bool, physical: bool) -> bool:  # noqa: PLR0911
    """Whether bare letters after a value are a unit and not variables."""
    plain = bool(_PLAIN.fullmatch(value))
    if not re.match(r"[a-zA-Z\u03a9μ]", word):
        return _is_constant(value)
    if len(word) == 1 and len(unit.known) + len(unit.things) > 1:
        return plain and word in _BARE
    if len(word) == 1 and reference:
        return physical and plain and apart and word in _BARE
    if len(word) == 1:
        return plain and word in _BARE and (apart or physical)
    if unit.plain and name_of(word):
        return plain or (apart and _is_constant(value))
    if word.isupper() and len(word) == 3:  # a currency
        return plain and bool(unit.things)
    return apart and _is_constant(value) and len(word) > 2


def _is_constant(value: str) -> bool:
    """Whether a value is a number, in digits, roots, fractions and π: nothing in it can be a variable."""
    return bool(re.search(r"\d|\\pi", value)) and not re.search(r"[^\W\d_]", _PLAIN.sub("1", _COMMANDS.sub("", value)))


def _balanced(text: str) -> bool:
    depth = 0
    for character in re.sub(r"\\[{}]", "", text):
        depth += (character in "([{") - (character in ")]}")
        if depth < 0:
            return False
    return depth == 0


def _fraction(text: str, reference: bool, physical: bool) -> Quantity | None:
    r"""`\frac{5\text{ m}}{\text{s}}`: a quantity above the bar and a unit below."""
    match = _DIVIDED.fullmatch(text)
    above = read(match[2], reference, physical) if match else None
    if match is None or above is None or not above.styled:
        return None
    whole = rf"({above.text})/({match[3]})"
    unit = parse(whole)
    return Quantity(match[1] + above.value, whole, unit, True) if unit else None


def in_words(gold: str, answer: str) -> tuple[str, str]:
    r"""Both texts as they were written; the dollars (`\$`) of one in words, where the other counts in cents."""
    for sign, other in ((0, 1), (1, 0)):
        texts = [gold, answer]
        if re.search(r"\\\$", texts[sign]) and re.search(r"¢|\bcents?\b", texts[other]):
            texts[sign] = re.sub(r"\\\$", "", texts[sign]) + r"\text{ dollars}"
            return texts[0], texts[1]
    return gold, answer


def has_unit(gold: str, answer: str) -> bool:
    """Whether one of two tidy texts ends in a unit."""
    return bool(read(gold, True) or read(answer))


def needs_conversion(gold: str, answer: str) -> bool:
    """Whether both have units and these are not the same."""
    one, other = read(gold), read(answer)
    return bool(one and other and one.unit != other.unit)


def converts(gold: str, answer: str) -> bool:
    """Whether a comparison is likely to need the library of units: both texts, as they were written, have units."""
    return all(
        re.search(r"\\(?:text|mathrm|mbox|SI|qty|rm|circ)|\d\s*[^\W\d_]{1,3}\b|°", text) for text in (gold, answer)
    )


_MONEY_SIGNS = {
    "$": r"\\\$|\\textdollar|(?<![\w$])\$(?=\d[\d,.]*\s*$)|\bUSD\b|\bdollars?\b",
    "€": r"€|\\(?:text)?euro(?![a-z])|\\EUR(?![a-z])|\bEUR\b|\beuros?\b",
    "£": r"£|\\(?:pounds|textsterling)(?![a-z])|\bGBP\b|\bpounds? sterling\b",
    "¥": r"[¥￥]|\\(?:text)?yen(?![a-z])|\b(?:JPY|CNY|RMB|yen|yuan)\b",
    **{sign: sign for sign in "₹₩₽₺₫₱"},
}


def _without_delimiters(text: str) -> str:
    r"""A text without the outermost two `\$`, which are the marks of a formula and no dollars."""
    first, last = text.find(r"\$"), text.rfind(r"\$")
    return text if first == last else text[:first].rstrip() + text[first + 2 : last] + text[last + 2 :].lstrip()


def money_for_unit(written: tuple[str, str], tidy: tuple[str, str]) -> bool:
    r"""Whether one answer is in dollars (`\$36`, a sign that a tidy text has lost) and the other in a unit: `36^\circ`.

    Dollars and `36 per hour` may be the same.
    """
    dollars = [re.search(_MONEY_SIGNS["$"], _without_delimiters(text)) is not None for text in written]
    if dollars[0] == dollars[1]:
        return False
    money, other = map(read, tidy if dollars[0] else tidy[::-1])
    return bool(money is None and other and not other.unit.things and any(power > 0 for _, power in other.unit.known))


def other_money(gold: str, answer: str) -> bool:
    r"""Whether two answers as they were written (with `\$` still in them) are in different currencies."""
    ours, theirs = (
        {sign for sign, pattern in _MONEY_SIGNS.items() if re.search(pattern, text)} for text in (gold, answer)
    )
    return bool(ours and theirs and ours != theirs)
