"""`same_value` against slow and independent arithmetic on random expressions: fractions, sympy, counting one by one."""

import importlib
import random
from fractions import Fraction

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from m1eval import load

values = importlib.import_module(f"{load('scorers', 'math').__name__}.values")
same = values.same_value


class Numbers:
    """Random arithmetic, as LaTeX in varying style and as the fraction that it is."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def tree(self, depth: int) -> tuple[str, Fraction]:  # noqa: PLR0911 - a kind, a return
        if depth == 0 or self.random.random() < 0.2:
            return self.leaf()
        kind = self.random.choice("+-*/^!f")
        one, first = self.tree(depth - 1)
        other, second = self.tree(depth - 1)
        if kind == "+":
            return f"{one}+{self.fenced(other)}", first + second
        if kind == "-":
            return f"{one}-{self.fenced(other)}", first - second
        if kind == "*":
            sign = self.random.choice((r"\cdot ", r"\times ", "*", r" \cdot\, ", ""))
            return f"({one}){sign}{self.fenced(other)}", first * second
        if kind in "/f" and second:
            if kind == "f":
                command = self.random.choice((r"\frac", r"\dfrac", r"\tfrac"))
                return rf"{command}{{{one}}}{{{other}}}", first / second
            return f"({one})/{self.fenced(other)}", first / second
        if kind == "^" and first:
            power = self.random.randint(-3, 4)
            return f"{self.fenced(one)}^{{{power}}}", first**power
        n = self.random.randint(0, 9)
        return f"{n}!", Fraction(sympy.factorial(n))

    def leaf(self) -> tuple[str, Fraction]:
        n = self.random.randint(0, 9999)
        style = self.random.choice(("plain", "decimal", "grouped", "mixed", "repeating", "fraction"))
        if style == "decimal":
            return f"{n}.25", Fraction(n) + Fraction(1, 4)
        if style == "grouped":
            separator = self.random.choice((",", "{,}", r"\,", r"\!", ",\\!"))
            return f"12{separator}{n % 1000:03}", Fraction(12_000 + n % 1000)
        if style == "mixed":
            return rf"{n + 1}\frac{{2}}{{7}}", n + 1 + Fraction(2, 7)
        if style == "repeating":
            return rf"{n}.\overline{{36}}", n + Fraction(4, 11)
        if style == "fraction":
            return rf"\frac{{{n}}}{{17}}", Fraction(n, 17)
        return str(n), Fraction(n)

    def fenced(self, text: str) -> str:
        left, right = self.random.choice((("(", ")"), (r"\left(", r"\right)"), ("[", "]"), ("{(", ")}")))
        return f"{left}{text}{right}"


def plain(value: Fraction) -> str:
    return rf"{'-' * (value < 0)}\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"


@pytest.mark.parametrize("seed", range(4))
def test_arithmetic_equals_its_fraction_and_no_other(seed):
    numbers = Numbers(seed)
    for _ in range(100):
        text, value = numbers.tree(3)
        assert same(plain(value), text) is True, (text, value)
        for wrong in (value + 1, value + Fraction(1, 10**30), value * (1 + Fraction(1, 10**25)), -value - 1):
            if wrong != value:
                assert same(plain(wrong), text) is False, (text, wrong)


def mutated(text: str, at: random.Random) -> str:
    """A text with one digit or one sign changed."""
    places = [i for i, character in enumerate(text) if character.isdigit() or character in "+-"]
    i = at.choice(places or [0])
    swap = {"+": "-", "-": "+"}.get(text[i]) or str((int(text[i]) + at.randint(1, 8)) % 10 if text[i].isdigit() else 1)
    return text[:i] + swap + text[i + 1 :]


def random_function(at: random.Random) -> sympy.Expr:
    x, y = sympy.symbols("x y")

    def part(depth: int) -> sympy.Expr:
        if depth == 0:
            return at.choice((x, y, x, sympy.Integer(at.randint(1, 9)), x + at.randint(1, 5)))
        one, other = part(depth - 1), part(depth - 1)
        return at.choice((one + other, one - other, one * other, one / (other + 11), one ** at.randint(2, 4)))

    return part(3)


@pytest.mark.parametrize("seed", range(3))
def test_rational_functions_are_what_sympy_says_they_are(seed):
    at = random.Random(seed)
    for _ in range(25):
        function = random_function(at)
        forms = [sympy.latex(form(function)) for form in (sympy.expand, sympy.together, sympy.factor)]
        text = sympy.latex(function, fold_short_frac=True)
        for form in forms:
            assert same(text, form) is True, (text, form)
            wrong = mutated(form, at)
            assert same(text, wrong) is not True or wrong == form, (text, wrong)
        for wrong in (function + sympy.Rational(1, 10**30), function * (1 + sympy.Symbol("x") / 10**9), 1 - function):
            if sympy.cancel(wrong - function):
                assert same(text, sympy.latex(sympy.together(wrong))) is False, (text, wrong)


@pytest.mark.parametrize("seed", range(3))
def test_roots_and_logarithms_differ_where_their_digits_do(seed):
    at = random.Random(seed)
    kinds = (sympy.sqrt, sympy.cbrt, sympy.log, sympy.sin, sympy.exp, sympy.atan)
    for _ in range(30):
        one, other = (at.choice(kinds)(sympy.Rational(at.randint(2, 9), at.randint(1, 5))) for _ in range(2))
        number = one * at.randint(1, 9) + other / at.randint(1, 9)
        text = sympy.latex(number)
        assert same(text, sympy.latex(sympy.together(number))) is True, text
        assert same(text, sympy.latex(sympy.expand(number * 7) / 7)) is True, text
        assert same(text, rf"{text}+10^{{-80}}") is False, text
        assert same(text, rf"({text})(1+10^{{-80}})") is False, text
        assert same(text, str(number.evalf(9))[:6]) is False, text


def rounded(at: random.Random) -> tuple[str, list[int]]:
    """A formula of floors, ceilings and remainders of n, and its values for n = 1 … 60."""
    a, b, c, d = at.randint(1, 4), at.randint(-3, 5), at.randint(2, 6), at.randint(-1, 2)
    inside = f"{a}n{b:+}"
    if at.random() < 0.5:
        return rf"\left\lfloor\frac{{{inside}}}{{{c}}}\right\rfloor{d:+}", [(a * n + b) // c + d for n in range(1, 61)]
    return rf"\lceil ({inside})/{c}\rceil{d:+}", [-(-(a * n + b) // c) + d for n in range(1, 61)]


def test_floor_formulas_are_the_same_where_all_their_values_are():
    at = random.Random(5)
    formulas = [rounded(at) for _ in range(25)]
    formulas += [
        (rf"\lfloor\frac{{n+{k}}}{{{k + 1}}}\rfloor", [(n + k) // (k + 1) for n in range(1, 61)]) for k in range(1, 6)
    ]
    formulas += [(rf"\lceil\frac{{n}}{{{k + 1}}}\rceil", [-(-n // (k + 1)) for n in range(1, 61)]) for k in range(1, 6)]
    equal = 0
    for i, (text, numbers) in enumerate(formulas):
        for other, others in formulas[i + 1 :]:
            assert same(text, other) is (numbers == others), (text, other)
            equal += numbers == others
    assert equal > 5, "equal formulas are among them"


@settings(max_examples=150, deadline=None)
@given(st.integers(-(10**40), 10**40), st.integers(-3, 3), st.integers(30, 400))
def test_neighbours_of_large_integers_are_told_apart(n, step, power):
    assert same(str(n), f"{n + step}") is (step == 0)
    assert same(f"2^{{{power}}}", f"{2**power + step}") is (step == 0)
    assert same(rf"\frac{{1}}{{3^{{{power}}}}}", rf"\frac{{1}}{{{3**power + step}}}") is (step == 0)


@settings(max_examples=300, deadline=None)
@given(st.text("x12+-*/^(){}\\.,| fracsqtile_!%", max_size=40) | st.text(max_size=60))
def test_any_text_gets_a_verdict(text):
    assert same(text, "7") in (True, False, None)
    assert same("x+1", text) in (True, False, None)
