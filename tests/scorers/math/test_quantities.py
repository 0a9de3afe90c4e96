"""Units of the math scorer: what is left out, what is converted, and which letters are not units."""

import json
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from m1eval import load

math = load("scorers", "math")
import math_verify  # noqa: E402  - `slow` is called directly on texts that end

quantities, units, unit_names = (
    sys.modules[f"{math.__name__}.{name}"] for name in ("quantities", "units", "unit_names")
)
CASES = [json.loads(line) for line in Path(__file__).with_name("quantities.jsonl").read_text().splitlines()]


def same(target: str, answer: str, precision: str = "exact") -> tuple[bool, str]:
    verdict: tuple[bool, str] = math.quick(target, answer, precision) or math.slow(
        target, answer, precision, math_verify
    )
    return verdict


@pytest.mark.parametrize("precision", ["exact", "gold"])
@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
def test_quantities_are_compared_with_their_units(right, precision):
    cases = [case for case in CASES if (case["right"], case.get("precision", "exact")) == (right, precision)]
    assert len(cases) > 20
    off = [case for case in cases if same(case["gold"], case["answer"], precision)[0] is not right]
    assert not off


def test_every_unit_of_the_tables_is_one_of_the_library():
    names = {
        name for table in ("_SYMBOLS", "_FIXED", "_WORDS", "_FOREIGN") for name in getattr(unit_names, table).values()
    }
    names |= {f"{prefix}{unit_names._WORDS['meter']}" for prefix in unit_names._LONG_PREFIXES}
    for name in names:
        size = units.ratio(units.Unit(((name, 1),)), units.Unit(((name, 1),)))
        assert size == (1, 0), name


# Sizes from the SI brochure and the international yard and pound agreement, not from the library.
SIZES = [
    ("inch", "cm", Fraction(254, 100)),
    ("mile", "m", Fraction(1609344, 1000)),
    ("lb", "g", Fraction(45359237, 100000)),
    ("eV", "J", Fraction(1602176634, 10**28)),
    ("kWh", "MJ", Fraction(36, 10)),
    ("L", "cm^3", Fraction(1000)),
    ("Å", "nm", Fraction(1, 10)),
    ("atm", "Pa", Fraction(101325)),
    ("ha", "m^2", Fraction(10000)),
    ("km/h", "m/s", Fraction(10, 36)),
    ("N", r"kg\,m/s^2", Fraction(1)),
    ("W", r"J\cdot s^{-1}", Fraction(1)),
    (r"\Omega", r"V/A", Fraction(1)),
    ("ly", "km", Fraction(94607304725808, 10)),
    ("day", "s", Fraction(86400)),
]


@pytest.mark.parametrize(("one", "other", "size"), SIZES)
def test_sizes_are_exact(one, other, size):
    assert units.ratio(units.parse(other), units.parse(one)) == (size, 0)


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "k",
        "n",
        "i",
        "e",
        "a",
        "b",
        "y^2",
        "sin",
        "m+s",
        "m/",
        "/",
        "^2",
        "2",
        "(m",
        "m)",
        "",
        " ",
        "{",
        "\\",
        "x m",
    ],
)
def test_other_texts_are_not_read_as_units(text):
    assert units.parse(text) is None


@pytest.mark.parametrize("value", ["36", "0.5", r"\frac{1}{2}", r"12\sqrt{3}", r"4\pi", r"1.39\times 10^{9}", "x^2+1"])
@pytest.mark.parametrize(
    "unit", [r"\text{ cm}", r"\,\mathrm{m\,s^{-2}}", r"\ \text{kg}\cdot\text{m}^2", r"\;\mathrm{~J}"]
)
def test_a_value_is_cut_off_its_unit(value, unit):
    assert quantities.split_unit(value + unit)[0] == value
    assert quantities.split_unit(value) == (value, "")


HOSTILE = [
    "",
    "\0",
    "5" + r"\text{" * 900,
    "5 " + "m " * 450,
    "5" + r"\text{m}/" * 100,
    "5 m^" + "9" * 800,
    "€" * 990,
    "{" * 990,
]
HOSTILE += [
    "5" + "m" * 900,
    r"5\SI{" * 180,
    r"\frac{" * 160,
    "\ud800 m",
    "5 " + r"\cdot m" * 140,
    "1,5 m" * 190,
    "5\\text{m}^" + "{" * 900,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_have_an_outcome(text):
    value, unit = quantities.split_unit(text)
    assert len(value) + len(unit) <= len(text) + 20
    assert math.quick("5", text, "gold") in (None, *((v, how) for v in (True, False) for how in ["quantities", *RULES]))


RULES = ["same text", "integers", "numbers", "words", "rounds to the reference", "same values in the same order"]
