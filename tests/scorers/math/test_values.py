"""`same_value`: exact numbers, formulas at many points, notations; every equality comes with near misses."""

import importlib
import json
from itertools import pairwise
from pathlib import Path

import pytest
import sympy

from m1eval import load

MATH = load("scorers", "math").__name__
values, residues, exact, enclosure, balls, vocabulary = (
    importlib.import_module(f"{MATH}.{name}")
    for name in ("values", "residues", "exact", "enclosure", "balls", "vocabulary")
)
CASES = [json.loads(line) for line in (Path(__file__).parent / "values.jsonl").read_text().splitlines()]
VERDICTS = {"same": True, "other": False, "unread": None}


@pytest.mark.parametrize("subject", sorted({case["subject"] for case in CASES}))
def test_two_values_are_the_same_or_not(subject):
    """A line of the table: a reference, texts that are the same value, other values, and what is not read."""
    wrong = []
    for case in CASES:
        if case["subject"] != subject:
            continue
        for kind, verdict in VERDICTS.items():
            for answer in case.get(kind, ()):
                for pair in ((case["gold"], answer), (answer, case["gold"])):
                    if (result := values.same_value(*pair)) is not verdict:
                        wrong.append((*pair, verdict, result))
    assert wrong == []


def test_every_reference_of_the_table_is_itself():
    golds = [case["gold"] for case in CASES if "unread" not in case]
    assert [gold for gold in golds if not values.same_value(gold, gold)] == []


HOSTILE = {
    "digits": "9" * 200_000,
    "4,000 digits": "9" * 3999,
    "brackets": "(" * 1900 + "1" + ")" * 1900,
    "braces": "{" * 1900 + "1" + "}" * 1900,
    "bars": "|x" * 1500,
    "powers": "x^" * 1900 + "x",
    "powers of braces": "2^{" * 1300 + "2" + "}" * 1300,
    "factorials": "5" + "!" * 3000,
    "factorials of factorials": "((((9!)!)!)!)!",
    "binomials of binomials": r"\binom{\binom{\binom{100}{50}}{50}}{50}",
    "quotients": "1" + "/2" * 1900,
    "roots": r"\sqrt" * 600 + "2",
    "nested roots": r"\sqrt{2+" * 45 + "1" + "}" * 45,
    "sum of roots": "+".join(rf"\sqrt{{{n}}}" for n in range(2, 60)),
    "tower": "10^{10^{10^{10}}}",
    "tower of e": r"e^{e^{e^{e^{e}}}}",
    "power of a power of ten": "x^{10^{1000}}",
    "sums of sums": r"\sum_{k=1}^{3000}\sum_{j=1}^{3000}kj",
    "nested sums": r"\sum_{a=1}^{2000}" * 8 + "a",
    "functions": r"\sin" * 800 + " x",
    "glued functions": "sinh" * 900 + "!",
    "many readings": r"\log x+f(x)+1/2x+\sin x/2+2e-3+0.5(3)" * 30,
    "commas of gcd": r"\gcd(" + "12," * 900 + "1)",
    "unknown functions": "f(" * 1300,
    "control characters": "7\x00" * 900,
    "half a surrogate": "\ud800x+1",
    "half a command": r"\frac{1}{",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_are_never_another_value(name):
    for gold in ("7", "x+1", r"\sqrt2", r"\lfloor n/2\rfloor"):
        assert not values.same_value(gold, HOSTILE[name])
    assert values.same_value(HOSTILE[name], HOSTILE[name]) is not False


def test_a_budget_ends_what_takes_too_many_steps():
    budget = exact.Budget(1000)
    tree = values.parse(r"\sum_{k=1}^{2000}k^3").node
    with pytest.raises(exact.TooBig):
        exact.rational(tree, {}, budget)
    assert budget.left < 0


def test_the_primes_and_their_totients_are_what_they_are_said_to_be():
    for chain in residues._CHAINS:
        assert sympy.isprime(chain[0])
        assert chain[0] % 4 == 1
        assert all(sympy.totient(above) == below for above, below in pairwise(chain))


@pytest.mark.parametrize(("base", "middle", "top"), [(2, 3, 40), (6, 6, 60), (10, 2, 77), (3, 12, 30)])
def test_residues_of_towers_are_those_of_the_number_written_out(base, middle, top):
    exponent = middle**top
    tree = values.parse(f"{base}^{{{middle}^{{{top}}}}}").node
    for which, chain in enumerate(residues._CHAINS):
        assert residues.Residues(which, exact.Budget()).value(tree) == pow(base, exponent, chain[0])


def test_every_function_that_is_read_has_values():
    """At one place each is what sympy computes, to forty digits."""
    named = {"arsinh": "asinh", "arcosh": "acosh", "artanh": "atanh", "ln": "log", "ceil": "ceiling", "sgn": "sign"}
    named |= {"abs": "Abs", "max": "Max", "min": "Min"} | {
        f"arc{n}": f"a{n}" for n in ("sin", "cos", "tan", "sec", "csc")
    }
    for name in set(vocabulary.FUNCTIONS.values()) - {"log", "lg"}:
        place = {"arcosh": 3, "arcsec": 3, "arccsc": 3, "zeta": 3, "gcd": 6, "lcm": 6}.get(name, sympy.Rational(3, 7))
        more = {"gcd": (4,), "lcm": (4,), "max": (1,), "min": (1,)}.get(name, ())
        numbers = [sympy.Rational(value) for value in (place, *more)]
        nodes = [("num", exact.Fraction(int(value.p), int(value.q))) for value in numbers]
        (ball, _), _ = enclosure.evaluate(("fn", name, *nodes), {}, exact.Budget())
        expected = getattr(sympy, named.get(name, name))(*numbers)
        fraction = balls.fraction(ball.real)
        assert abs(sympy.Rational(fraction.numerator, fraction.denominator) - sympy.N(expected, 60)) < sympy.Float(
            "1e-40"
        ), name
