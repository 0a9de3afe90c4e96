"""The unit that a text such as `m/s^2`, `kilowatt hours`, `平方米` or `people` names, and what it is worth in others.

Symbols are looked up in a closed table, since most letters of a formula are no units: a general unit parser reads the
`h` of `3h` as Planck's constant. Sizes and dimensions are pint's (exact fractions); it is imported by `ratio` alone.
"""

import re
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from typing import Any, NamedTuple


class Unit(NamedTuple):
    """A product of powers: of names that pint knows, and of things counted, money and the bare word "units"."""

    known: tuple[tuple[str, int], ...]
    things: frozenset[str] = frozenset()
    scale: Fraction = Fraction(1)
    generic: int = 0
    """The power of the word "unit": 2 for "square units"."""

    @property
    def plain(self) -> bool:
        """Whether it has nothing but names of the table."""
        return bool(self.known) and not self.things and not self.generic


_PREFIXES = {
    "Y": "yotta", "Z": "zetta", "E": "exa", "P": "peta", "T": "tera", "G": "giga", "M": "mega", "k": "kilo",
    "m": "milli",
    "μ": "micro", "u": "micro", "n": "nano", "p": "pico", "f": "femto", "c": "centi", "d": "deci", "h": "hecto",
}  # fmt: skip
_ONLY_FOR = {"c": {"m", "L", "l"}, "d": {"m", "L", "l", "B"}, "h": {"Pa", "m"}}
"""Prefixes that are in use with few units; with others they would make units of ordinary letters."""
_SYMBOLS = {
    "m": "meter", "g": "gram", "s": "second", "A": "ampere", "K": "kelvin", "mol": "mole", "cd": "candela",
    "Hz": "hertz",
    "N": "newton", "Pa": "pascal", "J": "joule", "W": "watt", "C": "coulomb", "V": "volt", "F": "farad", "Ω": "ohm",
    "S": "siemens", "Wb": "weber", "T": "tesla", "H": "henry", "lm": "lumen", "lx": "lux", "Bq": "becquerel",
    "Gy": "gray",
    "Sv": "sievert", "L": "liter", "l": "liter", "ℓ": "liter", "eV": "electron_volt", "cal": "calorie", "bar": "bar",
    "M": "molar", "pc": "parsec", "Wh": "watt_hour", "B": "byte", "Da": "dalton", "ohm": "ohm", "Ci": "curie",
    "molar": "molar", "mole": "mole", "bit": "bit", "sec": "second",
}  # fmt: skip
_FIXED = {
    "min": "minute", "h": "hour", "hr": "hour", "d": "day", "wk": "week", "yr": "year", "in": "inch", "ft": "foot",
    "yd": "yard", "mi": "mile", "nmi": "nautical_mile", "lb": "pound", "lbs": "pound", "oz": "ounce", "t": "metric_ton",
    "ha": "hectare", "gal": "gallon", "qt": "quart", "pt": "pint", "mph": "mile_per_hour", "kph": "kilometer_per_hour",
    "kmph": "kilometer_per_hour",
    "kmh": "kilometer_per_hour", "atm": "atmosphere", "mmHg": "millimeter_Hg", "torr": "torr", "Torr": "torr",
    "psi": "pound_force_per_square_inch", "erg": "erg", "dyn": "dyne", "Å": "angstrom", "u": "dalton", "amu": "dalton",
    "rad": "radian", "sr": "steradian", "°": "degree", "deg": "degree", "°C": "degC", "°F": "degF", "°K": "kelvin",
    "℃": "degC", "℉": "degF", "AU": "astronomical_unit", "ly": "light_year", "%": "percent", "dB": "decibel",
    "hp": "horsepower", "cc": "milliliter", "kt": "knot", "ppm": "ppm", "lbf": "force_pound", "BTU": "Btu",
    "Btu": "Btu", "kgf": "kilogram_force", "rev": "revolution", "Oe": "oersted",
}  # fmt: skip
_WORDS = {
    "meter": "meter", "metre": "meter", "gram": "gram", "gramme": "gram", "second": "second", "minute": "minute",
    "hour": "hour", "day": "day", "week": "week", "month": "month", "year": "year", "inch": "inch", "foot": "foot",
    "feet": "foot", "yard": "yard", "mile": "mile", "liter": "liter", "litre": "liter", "joule": "joule",
    "newton": "newton", "watt": "watt", "volt": "volt", "ampere": "ampere", "amp": "ampere", "ohm": "ohm",
    "coulomb": "coulomb", "hertz": "hertz", "pascal": "pascal", "kelvin": "kelvin", "degree": "degree",
    "radian": "radian", "steradian": "steradian", "mole": "mole", "molar": "molar", "pound": "pound", "ounce": "ounce",
    "ton": "ton", "tonne": "metric_ton", "gallon": "gallon", "quart": "quart", "pint": "pint", "cup": "cup",
    "acre": "acre", "hectare": "hectare", "calorie": "calorie", "atmosphere": "atmosphere", "angstrom": "angstrom",
    "ångström": "angstrom", "parsec": "parsec", "byte": "byte", "bit": "bit", "farad": "farad", "henry": "henry",
    "tesla": "tesla", "siemens": "siemens", "weber": "weber", "candela": "candela", "lumen": "lumen", "lux": "lux",
    "becquerel": "becquerel", "gray": "gray", "sievert": "sievert", "electronvolt": "electron_volt", "knot": "knot",
    "lightyear": "light_year", "percent": "percent", "pct": "percent", "celsius": "degC", "fahrenheit": "degF",
    "revolution": "revolution", "decibel": "decibel", "centigrade": "degC", "horsepower": "horsepower",
    "hrs": "hour", "mins": "minute", "secs": "second", "yrs": "year", "arcminute": "arcminute",
    "arcsecond": "arcsecond", "watthour": "watt_hour",
}  # fmt: skip
_LONG_PREFIXES = ("kilo", "mega", "giga", "tera", "milli", "micro", "nano", "pico", "femto", "centi", "deci", "hecto")
_ABROAD = {
    "米": "meter", "公尺": "meter", "厘米": "centimeter", "公分": "centimeter", "毫米": "millimeter",
    "公里": "kilometer",
    "千米": "kilometer", "秒": "second", "分钟": "minute", "分鐘": "minute", "小时": "hour", "小時": "hour",
    "天": "day",
    "克": "gram", "公克": "gram", "千克": "kilogram", "公斤": "kilogram", "毫克": "milligram", "升": "liter",
    "公升": "liter", "毫升": "milliliter", "度": "degree", "牛": "newton", "牛顿": "newton", "焦耳": "joule",
    "焦": "joule", "瓦": "watt", "伏": "volt", "伏特": "volt", "安": "ampere", "安培": "ampere", "欧姆": "ohm",
    "摄氏度": "degC", "時間": "hour", "分間": "minute", "秒間": "second", "メートル": "meter",
    "センチメートル": "centimeter", "キロメートル": "kilometer", "グラム": "gram", "キログラム": "kilogram",
    "リットル": "liter", "미터": "meter", "센티미터": "centimeter", "킬로미터": "kilometer", "그램": "gram",
    "킬로그램": "kilogram", "시간": "hour", "분": "minute", "초": "second", "도": "degree", "см": "centimeter",
    "м": "meter", "мм": "millimeter", "км": "kilometer", "кг": "kilogram", "г": "gram", "с": "second", "мин": "minute",
    "ч": "hour", "л": "liter", "мл": "milliliter", "Н": "newton", "Дж": "joule", "Вт": "watt", "В": "volt",
    "А": "ampere", "Ом": "ohm", "Па": "pascal", "Гц": "hertz", "метров": "meter", "метра": "meter", "метр": "meter",
    "часов": "hour", "часа": "hour", "час": "hour", "минут": "minute", "секунд": "second", "градусов": "degree",
    "Grad": "degree", "grado": "degree", "grados": "degree", "degré": "degree", "degrés": "degree", "grau": "degree",
    "graus": "degree", "gradi": "degree", "graden": "degree", "stopni": "degree", "derece": "degree",
    "Stunde": "hour", "Stunden": "hour", "heure": "hour", "heures": "hour", "hora": "hour", "horas": "hour",
    "uur": "hour", "Minute": "minute", "Minuten": "minute", "minuto": "minute",
    "minutos": "minute", "minuti": "minute", "Sekunde": "second", "Sekunden": "second", "seconde": "second",
    "secondes": "second", "segundo": "second", "segundos": "second", "secondi": "second", "metro": "meter",
    "metros": "meter", "mètre": "meter", "mètres": "meter", "Kilometer": "kilometer", "kilómetros": "kilometer",
    "quilômetros": "kilometer", "kilomètres": "kilometer", "Liter": "liter", "litro": "liter", "litros": "liter",
}  # fmt: skip
_MONEY = {
    "$": "$", "USD": "$", "dollar": "$", "dollars": "$", "US": "$", "bucks": "$", "€": "€", "EUR": "€", "euro": "€",
    "euros": "€", "£": "£", "GBP": "£", "¥": "¥", "CNY": "¥", "RMB": "¥", "yuan": "¥", "元": "¥", "人民币": "¥",
    "￥": "¥",
    "円": "¥", "JPY": "¥", "yen": "¥", "₹": "₹", "INR": "₹", "rupee": "₹", "rupees": "₹", "Rs": "₹", "₩": "₩",
    "원": "₩", "KRW": "₩", "won": "₩", "₽": "₽", "RUB": "₽", "rubles": "₽", "руб": "₽", "рублей": "₽", "₺": "₺",
    "₫": "₫",
    "CHF": "CHF", "₱": "₱", "₪": "₪", "CAD": "CAD", "AUD": "AUD",
}  # fmt: skip
_SI_WORDS = {"per": "per", "squared": "^2", "cubed": "^3", "square": "square", "cubic": "cubic"}
_CHANGING = (
    r"hundreds?|thousands?|[mbtr]illions?|dozens?|scores?|gross|hal(?:f|ves)|thirds?|quarters?|fourths?|fifths?|sixths?"
    r"|sevenths?|eighths?|ninths?|tenths?|hundredths?|thousandths?|squared|cubed|factorial|repeating|recurring|repeated|inverse"
    r"|imaginary|choose|pi|tau|root|power|sqrt|infinity|modulo|mod|тысяч\w*|миллион\w*|mille|millones|tausend|millionen?|cien"
    r"|lakhs?|crores?|fold"
)
"""Words behind a number that make another number of it."""
CHANGING = re.compile(rf"\b(?:{_CHANGING})\b", re.IGNORECASE)
_NO_THING = re.compile(
    rf"(?:{_CHANGING}|base|or|and|not|no|nor|if|when|where|for|with|is|are|as|to|at|from|more|less|than|over|plus|minus"
    r"|divided|multiplied|even|odd|integers?|primes?|positive|negative|real|any|all|each|every|sin|cos|tan|cot|sec|csc|log|ln"
    r"|exp|phi|psi|theta|alpha|beta|gamma|delta|inf|infty|only|approximately|about|respectively|otherwise|binary|octal"
    r"|decimal|hex|hexadecimal|wrong|correct|but|because|since|so|then|thus|undefined|unless|except|in|on|by|bar|maybe|perhaps"
    r"|probably|point|st|nd|rd|th|undef|units?|never|false|true|none|either)",
    re.IGNORECASE,
)
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
    found = list(_tokens(text))
    if not found or None in found:
        return None
    try:
        unit, left = _product(found, 0)  # type: ignore[arg-type]
    except ValueError:
        return None
    return unit.frozen() if left == len(found) else None


def _tokens(text: str) -> Iterator[str | None]:
    place, text = 0, text.strip()
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            yield None
            return
        yield f"^{found[2]}" if found[1] else found[3] or found[4] or found[5]
        place = found.end()


class _Powers:
    """What a unit is made of while it is read."""

    def __init__(self) -> None:
        self.known: Counter[str] = Counter()
        self.things: set[str] = set()
        self.scale = Fraction(1)
        self.generic = 0

    def times(self, other: "_Powers", power: int) -> None:
        for name, own in other.known.items():
            self.known[name] += own * power
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
            part = _named(token)
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


def _named(word: str) -> _Powers:
    """What a single word names; ValueError if it can be no unit."""
    found = _Powers()
    if word.startswith("^"):
        raise ValueError("a power of nothing")
    if word in _MONEY:
        found.things.add(_MONEY[word])
    elif word in ("cent", "cents", "¢"):
        found.things.add("$")
        found.scale = Fraction(1, 100)
    elif word in ("unit", "units", "un"):
        found.generic = 1
    elif name := name_of(word):
        found.known[name] = 1
    elif len(word) > 1 or _WIDE.match(word):
        if _NO_THING.fullmatch(word) or _SCALES.search(word):
            raise ValueError(word)
        if word not in ("of", "total", "the"):
            found.things.add(word.lower().removesuffix("s"))
    else:
        raise ValueError(word)
    return found


@cache
def name_of(word: str) -> str | None:
    """pint's name of a symbol or word of the table, prefixes included; None if it is none."""
    for table in (_FIXED, _SYMBOLS, _ABROAD):
        if word in table:
            return table[word]
    for long in (1, 2):
        prefix, symbol = word[:long], word[long:]
        if prefix in _PREFIXES and symbol in _SYMBOLS and symbol in _ONLY_FOR.get(prefix, {symbol}):
            return _PREFIXES[prefix] + _SYMBOLS[symbol]
    small = word.lower()
    for form in (small, small.removesuffix("s"), small.removesuffix("es")):
        if form in _WORDS:
            return _WORDS[form]
        for prefix in _LONG_PREFIXES:
            if form.startswith(prefix) and form.removeprefix(prefix) in _WORDS:
                return prefix + _WORDS[form.removeprefix(prefix)]
    return None


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
    """How many of `one` make one of `other`: a fraction and the power of π/180; None if they measure other things.

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
    """A temperature in kelvin, from the scale's own zero; None if the unit is no temperature."""
    if len(unit.known) != 1 or unit.known[0][1] != 1 or unit.things or unit.generic:
        return None
    name = unit.known[0][0]
    if name not in ("kelvin", *_TEMPERATURES):
        return None
    return Fraction(registry().Quantity(value, name).to("kelvin").magnitude)
