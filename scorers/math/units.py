"""The unit that a text such as `m/s^2`, `kilowatt hours`, `平方米` or `people` names, and what it is worth in others.

Symbols are looked up in a closed table, since most letters of a formula are not units: a general unit parser reads the
`h` of `3h` as Planck's constant. Sizes and dimensions are pint's (exact fractions); it is imported by `ratio` alone.
"""

import re
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from typing import Any, NamedTuple

from .unit_names import MONEY, NOT_COUNTED, name_of


class Unit(NamedTuple):
    """A product of powers: of names that pint knows, and of things counted, money and the bare word "units"."""

    known: tuple[tuple[str, int], ...]
    things: frozenset[str] = frozenset()
    scale: Fraction = Fraction(1)
    generic: int = 0
    """The power of the word "unit": 2 for "square units"."""

    @property
    def plain(self) -> bool:
        """Whether the unit consists of names in the table alone."""
        return bool(self.known) and not self.things and not self.generic


_SI_WORDS = {"per": "per", "squared": "^2", "cubed": "^3", "square": "square", "cubic": "cubic"}
_WIDE = re.compile("[\u0400-\u04ff\u3005-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_SCALES = re.compile("[万億亿千百十억만천兆]")
_WRAP = re.compile(
    r"\\(?:text|textrm|textnormal|textup|textit|textbf|textsf|mathrm|mathit|mathsf|mathbf|mbox|hbox|operatorname\*?|rm|bf"
    r"|unit|si|ensuremath)\s*\{((?:[^{}]|\{[^{}]*\})*)\}"
)
_FRACTION = re.compile(r"\\frac\s*\{((?:[^{}]|\{[^{}]*\})*)\}\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_REWRITTEN = [
    (re.compile(pattern), into)
    for pattern, into in (
        (r"\{\s*\}(?=\^)", ""),
        (r"(?:\^\s*\{?\s*\\circ\s*\}?|\\degree|\\textdegree)(?=[CFK]\b|[^a-zA-Z]|$)\s*", "°"),
        (r"\\celsius(?![a-z])|\\degreeCelsius", "°C"),
        (r"[aA]\.\s?[mM]\.?", "am"),
        (r"\\(?:cdot|times|ast|bullet)(?![a-zA-Z])|[·⋅×]", "*"),
        (r"\\(?:Omega|ohm)(?![a-zA-Z])|\u2126", "\u03a9"),
        (r"\\(?:mu|micro|upmu|textmu)(?![a-zA-Z])\s*|µ\s*|μ\s*", "μ"),
        (r"\\AA(?![a-zA-Z])|\\(?:mathring|r)\s*\{?A\}?|Å|A\u030a", "Å"),
        (r"\\(?:euro|texteuro)(?![a-z])", "€"),
        (r"\\(?:pounds|textsterling)(?![a-z])", "£"),
        (r"\\(?:yen|textyen)(?![a-z])", "¥"),
        (r"\\%|％|\bper\s?cent\b", "%"),
        (r"\\(?:quad|qquad|,|;|:|!| )|~", " "),
        (r"\bdegrees?\s+(?=[CFK]\b|Celsius|Fahrenheit)", "°"),
        (r"°\s+(?=[CFK]\b)", "°"),
        (r"°\s*[Cc]elsius", "°C"),
        (r"°\s*[Ff]ahrenheit", "°F"),
        (r"\bkilowatt[ -]?hours?\b", "kWh"),
        (r"\blight[ -]years?\b", "ly"),
        (r"\bsq\b\.?", "square"),
        (r"\bcu\b\.?(?= [a-z])", "cubic"),
        (r"(?:平方)", "square "),
        (r"(?:立方)", "cubic "),
        (r"\^\s*\{\s*([+-]?\d)\s*\}", r"^\1"),
        (r"(?<=[^\W\d_])(-?\d)(?!\d)", r"^\1"),
        (r"\.", " "),
    )
]
_SI_NAMES = re.compile(r"\\([a-z]+)")
_TOKEN = re.compile(
    r"\s*(?:(\^)\s*([+-]?\d)(?!\d)|([*/()])|(°[CFK]?|[%¢€£¥￥₹₩₽₺₫₱₪$℃℉])|([^\W\d_]+(?:[-'’][^\W\d_]+)*))"
)
_LONGEST = 160


@cache
def parse(text: str) -> Unit | None:
    """The unit that a text is, or None. Everything of the text must belong to it."""
    if len(text) > _LONGEST:
        return None
    for _ in range(3):
        text = _FRACTION.sub(r"(\1)/(\2)", _WRAP.sub(r" \1 ", text))
    for pattern, into in _REWRITTEN:
        text = pattern.sub(into, text)
    text = _SI_NAMES.sub(lambda name: f" {_SI_WORDS.get(name[1], name[1])} ", text).replace("{", "(").replace("}", ")")
    tokens = list(_tokens(text))
    if not tokens or None in tokens:
        return None
    try:
        unit, end = _product(tokens, 0)  # type: ignore[arg-type]
    except ValueError:
        return None
    return unit.frozen() if end == len(tokens) else None


def _tokens(text: str) -> Iterator[str | None]:
    place, text = 0, text.strip()
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            yield None
            return
        yield f"^{match[2]}" if match[1] else match[3] or match[4] or match[5]
        place = match.end()


class _Powers:
    """The factors of a unit while it is parsed."""

    def __init__(self) -> None:
        self.known: Counter[str] = Counter()
        self.things: set[str] = set()
        self.scale = Fraction(1)
        self.generic = 0

    def times(self, other: "_Powers", power: int) -> None:
        for name, exponent in other.known.items():
            self.known[name] += exponent * power
        self.things |= other.things
        self.scale *= other.scale**power
        self.generic += other.generic * power

    def frozen(self) -> Unit | None:
        known = tuple(sorted((name, power) for name, power in self.known.items() if power))
        if not known and not self.things and not self.generic:
            return None
        return Unit(known, frozenset(self.things), self.scale, self.generic)


_MODIFIERS = {"square": 2, "cubic": 3}
_POWER_WORDS = {"squared": 2, "cubed": 3}


def _product(tokens: list[str], i: int) -> tuple[_Powers, int]:
    whole, sign = _Powers(), 1
    while i < len(tokens) and tokens[i] != ")":
        token = tokens[i]
        if token == "*" and i + 1 < len(tokens):
            i += 1
            continue
        if token in ("/", "per"):
            sign, i = -1, i + 1
            continue
        power = 1
        while token in _MODIFIERS and i + 1 < len(tokens):
            power, i = power * _MODIFIERS[token], i + 1
            token = tokens[i]
        if token == "(":
            part, i = _product(tokens, i + 1)
            if i >= len(tokens):
                raise ValueError("not closed")
        else:
            part = _unit_of_word(token)
        i += 1
        if i < len(tokens) and tokens[i].startswith("^"):
            power, i = power * int(tokens[i][1:]), i + 1
        elif i < len(tokens) and tokens[i] in _POWER_WORDS:
            power, i = power * _POWER_WORDS[tokens[i]], i + 1
        whole.times(part, sign * power)
        sign = 1
    if sign < 0:
        raise ValueError("nothing below the stroke")
    return whole, i


def _unit_of_word(word: str) -> _Powers:
    """The unit of a single word; ValueError if it cannot be one."""
    powers = _Powers()
    if word.startswith("^"):
        raise ValueError("a power of nothing")
    if word in MONEY:
        powers.things.add(MONEY[word])
    elif word in ("cent", "cents", "¢"):
        powers.things.add("$")
        powers.scale = Fraction(1, 100)
    elif word in ("unit", "units", "un"):
        powers.generic = 1
    elif name := name_of(word):
        powers.known[name] = 1
    elif len(word) > 1 or _WIDE.match(word):
        if NOT_COUNTED.fullmatch(word) or _SCALES.search(word):
            raise ValueError(word)
        if word not in ("of", "total", "the"):
            powers.things.add(word.lower().removesuffix("s"))
    else:
        raise ValueError(word)
    return powers


@cache
def registry() -> Any:
    """pint's registry, in exact fractions; half a second to build, after half a second of import."""
    import pint

    return pint.UnitRegistry(non_int_type=Fraction)


_TURNS = {
    "degree": Fraction(1),
    "arcminute": Fraction(1, 60),
    "arcsecond": Fraction(1, 3600),
    "revolution": Fraction(360),
}
_TEMPERATURES = {"degC": "kelvin", "degF": "delta_degF"}


class _Size(NamedTuple):
    factor: Fraction
    dimensions: dict[str, int]
    turns: int


def ratio(one: Unit, other: Unit) -> tuple[Fraction, int] | None:
    """Number of `one` in one `other`: a fraction and the power of π/180; None if they measure different things.

    Imports pint at its first call (about a second).
    """
    ours, theirs = _size(one), _size(other)
    if ours.dimensions != theirs.dimensions or _turning(one) * _turning(other) < 0:
        return None
    return theirs.factor / ours.factor, theirs.turns - ours.turns


def _turning(unit: Unit) -> int:
    """Above 0 for an angle, below for a frequency in hertz: both are 1/s, but no angular velocity is a frequency."""
    names = dict(unit.known)
    return 1 if "radian" in names or names.keys() & _TURNS.keys() else -1 if names.get("hertz") else 0


def _size(unit: Unit) -> _Size:
    factor, dimensions, turns = unit.scale, Counter[str](), 0
    for name, power in unit.known:
        if name in _TURNS:
            factor, turns = factor * _TURNS[name] ** power, turns + power
            continue
        own, base = registry().get_base_units(_TEMPERATURES.get(name, name))
        factor *= Fraction(own) ** power
        for part, part_power in dict(base.dimensionality and base._units).items():
            if part != "radian":
                dimensions[part] += int(part_power) * power
    return _Size(factor, {name: power for name, power in dimensions.items() if power}, turns)


def kelvins(value: Fraction, unit: Unit) -> Fraction | None:
    """A temperature in kelvin, from the scale's own zero; None if the unit is not a temperature."""
    if len(unit.known) != 1 or unit.known[0][1] != 1 or unit.things or unit.generic:
        return None
    name = unit.known[0][0]
    if name not in ("kelvin", *_TEMPERATURES):
        return None
    return Fraction(registry().Quantity(value, name).to("kelvin").magnitude)
