"""Whether two quantities are the same.

A unit that only one side has is ignored; two units are compared by dimension and converted (by pint).
"""

import re
from collections.abc import Callable
from fractions import Fraction

from .notation import number
from .quantities import Quantity, read
from .units import Unit, kelvins, ratio

_PRIMED = re.compile(r"[-\d.\s]+(?:'+|\"|\^\s*\{?\s*(?:\\prime\s*)+\}?)")
_LONE_LETTER = re.compile(r"(?<![\\a-zA-Z])(?!(?<=\d)[eE][-+]?\d)[a-zA-Z](?![a-zA-Z])")
"""A variable; the e of `1e-8` is not one."""
_JOINTS = re.compile(r"(?<=[a-z}°.])\s*(?:,|\\text\s*\{\s*,?\s*and\s*\}|and(?=\s))?\s*(?=\d+(?:\.\d+)?\s*\\?[a-zA-Z])")
_LIST = re.compile(r"(?<![\\{])[,;](?!\d{3}(?!\d))(?!\s*\})|\band\b|\bor\b")

Same = Callable[[str, str], bool | None]


def compare(gold: str, answer: str, same: Same, *, physical: bool = False) -> bool | None:
    """Whether two tidy texts are the same quantity, `same` comparing their bare values; None if neither has a unit.

    Two units that are not the same are converted by pint, which takes a second to import: for a worker process.
    """
    if (sums := _compare_sums(gold, answer)) is not None:
        return sums
    ours, theirs = _read_both(gold, answer, physical)
    if any(side and _LIST.search(side.value) for side in (ours, theirs)):
        return None
    if ours is None and theirs is None:
        return None
    if ours and theirs:
        return _compare_units(ours, theirs, same)
    quantity, other = (ours, answer) if ours else (theirs, gold)
    assert quantity is not None
    if quantity.unit.known == (("degree", 1),) and _PRIMED.fullmatch(other):
        return False  # minutes or seconds of an arc
    scaled = _as_bare_number(quantity, other)
    pairs = [(quantity.value, other), (scaled, other)] if scaled else [(quantity.value, other)]
    verdicts = [same(*(pair if ours else pair[::-1])) for pair in pairs]
    return True if True in verdicts else None if None in verdicts else False


def _read_both(gold: str, answer: str, physical: bool) -> tuple[Quantity | None, Quantity | None]:
    ours, theirs = read(gold, True, physical), read(answer, False, physical)
    if ours is None and theirs:
        if bare := read(gold, False, physical):
            return bare, theirs
        if not theirs.styled and _LONE_LETTER.search(gold):
            return None, None  # letters of a formula, on both sides
    return ours, theirs


def _as_bare_number(quantity: Quantity, other: str) -> str | None:
    """A value of a percentage or an angle in degrees as a bare number has it: 50% is 0.5, 180° is π."""
    if quantity.unit.known == (("percent", 1),):
        return rf"\frac{{{quantity.value}}}{{100}}"
    if quantity.unit.known == (("degree", 1),) and r"\pi" in other:
        return rf"{_parenthesize(quantity.value)}\cdot\frac{{\pi}}{{180}}"
    return None


def _parenthesize(value: str) -> str:
    return value if re.fullmatch(r"\d+(?:\.\d+)?", value) else f"({value})"


def _compare_units(ours: Quantity, theirs: Quantity, same: Same) -> bool | None:  # noqa: PLR0911
    names = [side.unit.known[0][0] if len(side.unit.known) == 1 else "" for side in (ours, theirs)]
    if sorted(names) in (["degC", "degree"], ["degF", "degree"]):
        return same(ours.value, theirs.value)  # "degrees" of a temperature
    if not _same_things(ours.unit, theirs.unit):
        return False
    if ours.unit.known == theirs.unit.known and ours.unit.scale == theirs.unit.scale:
        return same(ours.value, theirs.value)
    if bool(ours.unit.generic) != bool(theirs.unit.generic):
        generic, specific = sorted((ours.unit, theirs.unit), key=lambda unit: not unit.generic)
        return _generic_matches(generic, specific) and same(ours.value, theirs.value)
    value = number(theirs.value)
    temperatures = [kelvins(Fraction(0), side.unit) for side in (ours, theirs)]
    if None not in temperatures:
        reference = number(ours.value)
        if value is None or reference is None:
            return False
        step = kelvins(Fraction(1), ours.unit) - temperatures[0]  # type: ignore[operator]
        converted = (kelvins(value.value, theirs.unit) - temperatures[0]) / step  # type: ignore[operator]
        return same(ours.value, _fraction_text(converted))
    conversion = ratio(ours.unit, theirs.unit)
    if conversion is None:
        return False
    factor, turns = conversion
    if value is not None and not turns:
        return same(ours.value, _fraction_text(value.value * factor))
    angle = {0: "", 1: r"\cdot\frac{\pi}{180}", -1: r"\cdot\frac{180}{\pi}"}.get(turns)
    return (
        None
        if angle is None
        else same(ours.value, rf"{_fraction_text(factor)}\cdot{_parenthesize(theirs.value)}{angle}")
    )


def _fraction_text(value: Fraction) -> str:
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


def _generic_matches(generic: Unit, specific: Unit) -> bool:
    """Whether "square units" may stand for a unit: for one of length, in the same power."""
    length = Unit((("meter", generic.generic),))
    return generic.generic == 1 or ratio(length, specific) is not None


def _compare_sums(gold: str, answer: str) -> bool | None:
    """`3 hours 20 minutes` against `200 minutes`; None unless one side is such a sum."""
    ours, theirs = _summands(gold), _summands(answer)
    if not ours or not theirs or len(ours) == len(theirs) == 1:
        return None
    totals = [_total(parts, ours[0][1]) for parts in (ours, theirs)]
    return None not in totals and totals[0] == totals[1]


def _total(parts: list[tuple[Fraction, Unit]], unit: Unit) -> Fraction | None:
    """The sum in this unit; None if one of the parts measures something else."""
    total = Fraction(0)
    for value, part_unit in parts:
        share = ratio(unit, part_unit)
        if share is None or share[1]:
            return None
        total += value * share[0]
    return total


def _summands(text: str) -> list[tuple[Fraction, Unit]] | None:
    """The quantities that a text gives one after the other."""
    parts: list[tuple[Fraction, Unit]] = []
    pieces = _JOINTS.split(text, maxsplit=4)
    for piece in pieces if len(pieces) < 5 else ():
        quantity = read(piece)
        value = number(quantity.value) if quantity and quantity.unit.known else None
        if quantity is None or value is None:
            return None
        parts.append((value.value, quantity.unit))
    return parts or None
