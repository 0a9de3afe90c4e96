"""Numerals with a base: by value where both name one, else in the base of the other."""

import json
import random
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from m1eval import load

math = load("scorers", "math")
import math_verify  # noqa: E402  - `slow` is called directly on texts that end

bases = sys.modules[f"{math.__name__}.bases"]
CASES = [json.loads(line) for line in Path(__file__).with_name("bases.jsonl").read_text().splitlines()]
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
def test_numerals_with_a_base_are_compared_by_value(right):
    cases = [case for case in CASES if case["right"] is right]
    assert len(cases) > 80
    verdicts = [
        math.quick(c["gold"], c["answer"]) or math.slow(c["gold"], c["answer"], "exact", math_verify) for c in cases
    ]
    assert not [case for case, verdict in zip(cases, verdicts, strict=True) if verdict[0] is not right]


def written(value: int, base: int) -> str:
    """A whole number's digits, by long division."""
    digits = ""
    while value:
        value, digit = divmod(value, base)
        digits = DIGITS[digit] + digits
    return digits or "0"


def test_random_numerals_equal_themselves_in_other_bases():
    draw = random.Random(0)
    for _ in range(500):
        base, value = draw.randint(2, 36), draw.randint(1, 10**9)
        other = draw.choice([b for b in range(2, 37) if b != base])
        text = written(value, base)
        if text.isalpha() and len(text) == 1:
            continue  # a variable with an index
        gold = f"{text}_{{{base}}}"
        assert bases.numeral(gold).value == value
        assert bases.same_base(gold, text) is True
        assert bases.same_base(gold, f"{value}_{{10}}") is (base == 10), "the problem asks for a numeral in its base"
        assert bases.same_base(gold, f"{written(value + 1, base)}_{{{base}}}") is False
        assert bases.same_base(gold, f"{text}_{{{other}}}") in (False, None)


@pytest.mark.parametrize(
    "text",
    [
        "x_1",
        "a_{10}",
        "a_2",
        "F_{16}",
        "ab_{12}",
        "2a_{12}",
        r"\log_2 8",
        "x",
        "12",
        "C_2",
        "5_1",
        "5_0",
        "5_{37}",
        "5_{99}",
        r"3\cdot 5_2",
        "10_n",
        "n_2+1",
        "",
        "_2",
        "base 2",
    ],
)
def test_other_texts_are_not_read_as_numerals(text):
    assert bases.numeral(text) is None


def test_digits_after_the_point_are_fractions_of_the_base():
    assert bases.numeral("0.101_2").value == Fraction(5, 8)
    assert bases.numeral("-1.8_{16}").value == Fraction(-3, 2)


@pytest.mark.parametrize(
    "text",
    [
        "1" * 10**6 + "_2",
        "1 " * 10**5,
        "(" * 3000,
        "_" * 10**5,
        "1" * 1990 + "_2",
        "0x" * 900,
        "\0_2",
        "1,1" * 600 + "_2",
        "{_2" * 600,
    ],
)
def test_hostile_texts_have_an_outcome(text):
    assert bases.same_base("101_2", text) in (None, False)
    assert bases.same_base(text, "101_2") in (None, False)
