"""Values with units: where the unit stands in an answer, and whether two quantities are the same.

A unit that only one side has is left out; two units are compared by dimension and converted (by pint). Which letters
are a unit? Styled ones (`\\text{m}`, `\\mathrm{kg}`, siunitx), signs (€, °C, Ω) and words behind a number; bare symbols
of two letters and more behind a number (`560nm`, `5 km/h`); a bare single letter only behind a plain number and apart
from it (`36 J`, `36 m^2`). `6s`, `3k`, `2x`, `\\frac{37}{4} m` have variables. In a reference a bare single letter is a
variable, unless the answer has a unit or the numbers are physical quantities.
"""

import re
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from .units import Unit, kelvins, name_of, parse, ratio

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
_TIME = re.compile(r"\d{1,2}:\d\d")
_HALF_DAY = re.compile(r"(?:\\(?:text|mathrm)\s*\{)?\s*[ap]\.?\s*m\.?\s*\}?", re.IGNORECASE)
_PRIMED = re.compile(r"[-\d.\s]+(?:'+|\"|\^\s*\{?\s*(?:\\prime\s*)+\}?)")
_NO_VALUE = re.compile(r"[-+*/^_=<>(\[{,;:&\\]$|\\(?:sin|cos|tan|cot|sec|csc|circ)(?![a-zA-Z])")
_APART = re.compile(r"(?:\s|~|\\[ ,;:!]|\\q?quad)$")
_SPACES = re.compile(r"(?:\s|~|\\[,;:! ]|\\q?quad(?![a-zA-Z])|\\$)+$")
_BARE = set("msghAKNJWVCFTHLM\u03a9")
"""Single letters that are taken for units behind a number and a space. Others are variables more often."""
_LONE_LETTER = re.compile(r"(?<![\\a-zA-Z])(?!(?<=\d)[eE][-+]?\d)[a-zA-Z](?![a-zA-Z])")
"""A variable; the e of `1e-8` is none."""
_MOST_STARTS = 24
_LONGEST = 1000
_JOINTS = re.compile(r"(?<=[a-z}°.])\s*(?:,|\\text\s*\{\s*,?\s*and\s*\}|and(?=\s))?\s*(?=\d+(?:\.\d+)?\s*\\?[a-zA-Z])")
_WHOLE = re.compile(rf"(?:{_STYLE}|\\mathbf)\s*\{{\s*([-+]?\d[\d.,]*)((?:[^{{}}]++|\{{[^{{}}]*+\}})*+)\}}")
_LIST = re.compile(r"(?<![\\{])[,;](?!\d{3}(?!\d))(?!\s*\})|\band\b|\bor\b")
_DIVIDED = re.compile(rf"(-?)\\frac\s*{_INSIDE}\s*{_INSIDE}")

Same = Callable[[str, str], bool | None]


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
    found = read(text, reference, physical)
    return (found.value, found.text) if found else (text, "")


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
        behind = read(value, reference, physical)
        if unit and behind is None:
            return Quantity(value, money["money"] or money["code"], unit, True)
        return behind if behind and unit and behind.unit == unit else None
    starts = list(_STARTS.finditer(text))[-_MOST_STARTS:]
    for start in starts:
        if found := _cut(text, start, reference, physical):
            return found
    return _fraction(text, reference, physical)


def _cut(text: str, start: re.Match[str], reference: bool, physical: bool) -> Quantity | None:  # noqa: PLR0911
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
    if unit is None or (_TIME.fullmatch(value) and _HALF_DAY.fullmatch(suffix)):
        return None
    apart = bool(_APART.search(before))
    styled = not start["word"] and start["command"] not in ("Omega",)
    if styled and not unit.known and not _closed(value) and not re.fullmatch(r"[\d:]+", value):
        return None
    if not styled and not _is_unit(start["word"] or "Ω", unit, value, apart, reference, physical):
        return None
    return Quantity(value, suffix, unit, styled)


def _is_unit(word: str, unit: Unit, value: str, apart: bool, reference: bool, physical: bool) -> bool:  # noqa: PLR0911
    """Whether bare letters behind a value are a unit and no variables."""
    plain = bool(_PLAIN.fullmatch(value))
    if not re.match(r"[a-zA-Z\u03a9μ]", word):
        return _closed(value)
    if len(word) == 1 and len(unit.known) + len(unit.things) > 1:
        return plain and word in _BARE
    if len(word) == 1 and reference:
        return physical and plain and apart and word in _BARE
    if len(word) == 1:
        return plain and word in _BARE and (apart or physical)
    if unit.plain and name_of(word):
        return plain or (apart and _closed(value))
    if word.isupper() and len(word) == 3:  # a currency
        return plain and bool(unit.things)
    return apart and _closed(value) and len(word) > 2


def _closed(value: str) -> bool:
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
    found = _DIVIDED.fullmatch(text)
    above = read(found[2], reference, physical) if found else None
    if found is None or above is None or not above.styled:
        return None
    whole = rf"({above.text})/({found[3]})"
    unit = parse(whole)
    return Quantity(found[1] + above.value, whole, unit, True) if unit else None


def compare(gold: str, answer: str, same: Same, *, physical: bool = False) -> bool | None:
    """Whether two tidy texts are the same quantity, `same` comparing their bare values; None if neither has a unit.

    Two units that are not the same are converted by pint, which takes a second to import: for a worker process.
    """
    if (sums := _sums(gold, answer)) is not None:
        return sums
    ours, theirs = _sides(gold, answer, physical)
    if any(side and _LIST.search(side.value) for side in (ours, theirs)):
        return None
    if ours is None and theirs is None:
        return None
    if ours and theirs:
        return _both(ours, theirs, same)
    found, other = (ours, answer) if ours else (theirs, gold)
    assert found is not None
    if found.unit.known == (("degree", 1),) and _PRIMED.fullmatch(other):
        return False  # minutes or seconds of an arc
    scaled = _scaled(found, other)
    pairs = [(found.value, other), (scaled, other)] if scaled else [(found.value, other)]
    verdicts = [same(*(pair if ours else pair[::-1])) for pair in pairs]
    return True if True in verdicts else None if None in verdicts else False


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


def _sides(gold: str, answer: str, physical: bool) -> tuple[Quantity | None, Quantity | None]:
    ours, theirs = read(gold, True, physical), read(answer, False, physical)
    if ours is None and theirs:
        if bare := read(gold, False, physical):
            return bare, theirs
        if not theirs.styled and _LONE_LETTER.search(gold):
            return None, None  # letters of a formula, on both sides
    return ours, theirs


def _scaled(found: Quantity, other: str) -> str | None:
    """A value of a percentage or an angle in degrees as a bare number has it: 50% is 0.5, 180° is π."""
    if found.unit.known == (("percent", 1),):
        return rf"\frac{{{found.value}}}{{100}}"
    if found.unit.known == (("degree", 1),) and r"\pi" in other:
        return rf"{_factor(found.value)}\cdot\frac{{\pi}}{{180}}"
    return None


def _factor(value: str) -> str:
    return value if re.fullmatch(r"\d+(?:\.\d+)?", value) else f"({value})"


def _both(ours: Quantity, theirs: Quantity, same: Same) -> bool | None:  # noqa: PLR0911
    names = [side.unit.known[0][0] if len(side.unit.known) == 1 else "" for side in (ours, theirs)]
    if sorted(names) in (["degC", "degree"], ["degF", "degree"]):
        return same(ours.value, theirs.value)  # "degrees" of a temperature
    if not _same_things(ours.unit, theirs.unit):
        return False
    if ours.unit.known == theirs.unit.known and ours.unit.scale == theirs.unit.scale:
        return same(ours.value, theirs.value)
    if bool(ours.unit.generic) != bool(theirs.unit.generic):
        generic, known = sorted((ours.unit, theirs.unit), key=lambda unit: not unit.generic)
        return _generic(generic, known) and same(ours.value, theirs.value)
    from .notation import number

    value = number(theirs.value)
    temperatures = [kelvins(Fraction(0), side.unit) for side in (ours, theirs)]
    if None not in temperatures:
        own = number(ours.value)
        if value is None or own is None:
            return False
        step = kelvins(Fraction(1), ours.unit) - temperatures[0]  # type: ignore[operator]
        given = (kelvins(value.value, theirs.unit) - temperatures[0]) / step  # type: ignore[operator]
        return same(ours.value, _written(given))
    found = ratio(ours.unit, theirs.unit)
    if found is None:
        return False
    factor, turns = found
    if value is not None and not turns:
        return same(ours.value, _written(value.value * factor))
    angle = {0: "", 1: r"\cdot\frac{\pi}{180}", -1: r"\cdot\frac{180}{\pi}"}.get(turns)
    return None if angle is None else same(ours.value, rf"{_written(factor)}\cdot{_factor(theirs.value)}{angle}")


def _written(value: Fraction) -> str:
    sign = "-" if value < 0 else ""
    return str(value) if value.denominator == 1 else rf"{sign}\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"


def _same_things(one: Unit, other: Unit) -> bool:
    """The same currency, and the same things counted as far as both name them: `photons` and `photons per pulse`."""
    money = [{thing for thing in side.things if not thing.isalpha() or thing.isupper()} for side in (one, other)]
    if money[0] != money[1]:
        return False
    if not one.known and not other.known and one.generic + other.generic == 0 and not money[0]:
        return one.things <= other.things or other.things <= one.things
    return not one.things or not other.things or one.things <= other.things or other.things <= one.things


def _generic(generic: Unit, known: Unit) -> bool:
    """Whether "square units" may stand for a unit: for one of length, in the same power."""
    length = Unit((("meter", generic.generic),))
    return generic.generic == 1 or ratio(length, known) is not None


def _sums(gold: str, answer: str) -> bool | None:
    """`3 hours 20 minutes` against `200 minutes`; None unless one side is such a sum."""
    ours, theirs = _parts(gold), _parts(answer)
    if not ours or not theirs or len(ours) == len(theirs) == 1:
        return None
    totals = [_total(parts, ours[0][1]) for parts in (ours, theirs)]
    return None not in totals and totals[0] == totals[1]


def _total(parts: list[tuple[Fraction, Unit]], unit: Unit) -> Fraction | None:
    """The sum in this unit; None if one of the parts measures something else."""
    total = Fraction(0)
    for value, own in parts:
        share = ratio(unit, own)
        if share is None or share[1]:
            return None
        total += value * share[0]
    return total


def _parts(text: str) -> list[tuple[Fraction, Unit]] | None:
    """The quantities that a text gives one behind the other."""
    from .notation import number

    parts: list[tuple[Fraction, Unit]] = []
    pieces = _JOINTS.split(text, maxsplit=4)
    for piece in pieces if len(pieces) < 5 else ():
        found = read(piece)
        value = number(found.value) if found and found.unit.known else None
        if found is None or value is None:
            return None
        parts.append((value.value, found.unit))
    return parts or None


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
    r"""Whether two answers as they were written (where `\$` still stands) are in different currencies."""
    ours, theirs = (
        {sign for sign, pattern in _MONEY_SIGNS.items() if re.search(pattern, text)} for text in (gold, answer)
    )
    return bool(ours and theirs and ours != theirs)
