"""Exact rational values of expression trees, by plain arithmetic of fractions within a budget of bits and steps."""

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import reduce

from .trees import Node

MAX_BITS = 120_000
"""Maximum bits of a numerator or denominator that is written out."""
MAX_STEPS = 150_000
MAX_TERMS = 3000
"""Maximum terms of a sum or product over an index."""
_FACTORIAL = 10_000

Values = dict[str, Fraction]


class Undefined(Exception):
    """The tree has no value: a division by zero, a factorial of a negative number."""


class Irrational(Exception):
    """The value is not known to be rational."""


class TooBig(Exception):
    """The value has more bits than are written out, or takes more steps than are allowed."""


class Budget:
    """Steps that an evaluation may take; `TooBig` when they are used up."""

    def __init__(self, steps: int = MAX_STEPS) -> None:
        self.left = steps

    def spend(self, steps: int = 1) -> None:
        self.left -= steps
        if self.left < 0:
            raise TooBig


def rational(node: Node, values: Values, budget: Budget) -> Fraction:
    """The exact value of a tree; raises Irrational, Undefined or TooBig."""
    budget.spend()
    kind = node[0]
    if kind in ("num", "dec"):
        return node[1]  # type: ignore[no-any-return]
    if kind == "sym":
        if node[1] in values:
            return values[node[1]]
        raise Irrational
    compute = _RATIONAL.get(kind)
    if compute is None:
        raise Irrational
    return compute(node, values, budget)


def _within(value: Fraction, budget: Budget) -> Fraction:
    bits = value.numerator.bit_length() + value.denominator.bit_length()
    if bits > MAX_BITS:
        raise TooBig
    budget.spend(bits >> 8)
    return value


def _add(node: Node, values: Values, budget: Budget) -> Fraction:
    total = rational(node[1], values, budget)
    for part in node[2:]:
        total = _within(total + rational(part, values, budget), budget)
    return total


def _mul(node: Node, values: Values, budget: Budget) -> Fraction:
    product = rational(node[1], values, budget)
    for part in node[2:]:
        product = _within(product * rational(part, values, budget), budget)
    return product


def _div(node: Node, values: Values, budget: Budget) -> Fraction:
    over, under = rational(node[1], values, budget), rational(node[2], values, budget)
    if not under:
        raise Undefined
    return _within(over / under, budget)


def _pow(node: Node, values: Values, budget: Budget) -> Fraction:
    exponent = rational(node[2], values, budget)
    base = rational(node[1], values, budget)
    if base < 0 and exponent.denominator != 1 and not is_literal(node[2]):
        raise Irrational  # a principal value: the odd root of a negative number is real only where it is written as one
    return power(base, exponent, budget)


def is_literal(node: Node) -> bool:
    """Whether a tree is a number as written: 1/3, but not n/3."""
    return node[0] == "num" or (node[0] in ("div", "mul") and all(part[0] == "num" for part in node[1:]))


def power(base: Fraction, exponent: Fraction, budget: Budget) -> Fraction:
    """A rational power of a rational number; Irrational if it is not rational."""
    if exponent.denominator != 1:
        base, exponent = rational_root(base, exponent.denominator), Fraction(exponent.numerator)
    if not base:
        if exponent <= 0:
            raise Undefined
        return base
    if base == 1:
        return base
    if base == -1:
        return base if exponent % 2 else Fraction(1)
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(exponent) * bits > 2 * MAX_BITS:
        raise TooBig
    return _within(base ** int(exponent), budget)


def rational_root(value: Fraction, degree: int) -> Fraction:
    """The real root of a rational number, where it is rational too."""
    if value < 0:
        if degree % 2 == 0:
            raise Irrational
        return -rational_root(-value, degree)
    return Fraction(_whole_root(value.numerator, degree), _whole_root(value.denominator, degree))


def _whole_root(value: int, degree: int) -> int:
    if degree == 2:
        root = math.isqrt(value)
    elif value < 2:
        return value
    elif degree >= value.bit_length():
        raise Irrational
    else:
        root = 1 << -(-value.bit_length() // degree)  # Newton's method from above
        while (step := ((degree - 1) * root + value // root ** (degree - 1)) // degree) < root:
            root = step
    if root**degree != value:
        raise Irrational
    return root


def _root(node: Node, values: Values, budget: Budget) -> Fraction:
    degree = whole(rational(node[2], values, budget))
    if not 0 < degree <= 1000:
        raise Irrational
    return rational_root(rational(node[1], values, budget), degree)


def whole(value: Fraction) -> int:
    """A rational as an int; Irrational if it is not an integer."""
    if value.denominator != 1:
        raise Irrational
    return value.numerator


def _function(node: Node, values: Values, budget: Budget) -> Fraction:
    compute = _FUNCTIONS.get(node[1])
    if compute is None:
        raise Irrational
    return compute([rational(part, values, budget) for part in node[2:]], budget)


def _factorial(arguments: list[Fraction], budget: Budget) -> Fraction:
    (n,) = map(whole, arguments)
    if n < 0:
        raise Undefined
    if n > _FACTORIAL:
        raise TooBig
    budget.spend(n >> 2)
    return Fraction(math.factorial(n))


def _double_factorial(arguments: list[Fraction], budget: Budget) -> Fraction:
    (n,) = map(whole, arguments)
    if n < -1:
        raise Undefined
    if n > _FACTORIAL:
        raise TooBig
    budget.spend(n)
    return Fraction(math.prod(range(n, 0, -2)))


def _binomial(arguments: list[Fraction], budget: Budget) -> Fraction:
    n, k = arguments[0], whole(arguments[1])
    if k < 0:
        return Fraction(0)
    if n.denominator != 1 or n < 0:
        if n.denominator == 1:
            raise Undefined
        if k > 200:
            raise TooBig
        return _within(Fraction(math.prod(n - i for i in range(k))) / math.factorial(k), budget)
    few = min(k, int(n) - k)
    if few * int(n).bit_length() > MAX_BITS * 4 or few > 15_000:
        raise TooBig
    budget.spend(max(few, 1))
    return _within(Fraction(math.comb(int(n), k)), budget)


def _permutations(arguments: list[Fraction], budget: Budget) -> Fraction:
    n, k = map(whole, arguments)
    if n < 0 or k < 0:
        raise Undefined
    if min(n, k) > _FACTORIAL // 2:
        raise TooBig
    return _within(Fraction(math.perm(n, k)), budget)


def _mod(arguments: list[Fraction], budget: Budget) -> Fraction:
    if not arguments[1]:
        raise Undefined
    return arguments[0] % arguments[1]


def _wholes(fold: Callable[[int, int], int]) -> Callable[[list[Fraction], Budget], Fraction]:
    return lambda arguments, budget: Fraction(reduce(fold, map(_whole_or_undefined, arguments)))


def _whole_or_undefined(value: Fraction) -> int:
    if value.denominator != 1:
        raise Undefined
    return value.numerator


def _only_at(place: int, value: int) -> Callable[[list[Fraction], Budget], Fraction]:
    """A function that is known to be rational at one place."""

    def at(arguments: list[Fraction], budget: Budget) -> Fraction:
        if arguments[0] != place:
            raise Irrational
        return Fraction(value)

    return at


_FUNCTIONS: dict[str, Callable[[list[Fraction], Budget], Fraction]] = {
    "abs": lambda arguments, budget: abs(arguments[0]),
    "floor": lambda arguments, budget: Fraction(math.floor(arguments[0])),
    "ceil": lambda arguments, budget: Fraction(math.ceil(arguments[0])),
    "sgn": lambda arguments, budget: Fraction((arguments[0] > 0) - (arguments[0] < 0)),
    "max": lambda arguments, budget: max(arguments),
    "min": lambda arguments, budget: min(arguments),
    "re": lambda arguments, budget: arguments[0],
    "im": lambda arguments, budget: Fraction(0),
    "mod": _mod,
    "gcd": _wholes(math.gcd),
    "lcm": _wholes(math.lcm),
    "factorial": _factorial,
    "gamma": lambda arguments, budget: _factorial([arguments[0] - 1], budget),
    "double_factorial": _double_factorial,
    "binomial": _binomial,
    "permutations": _permutations,
    **dict.fromkeys(("sin", "tan", "arcsin", "arctan", "sinh", "tanh", "arsinh", "artanh"), _only_at(0, 0)),
    **dict.fromkeys(("cos", "cosh", "exp"), _only_at(0, 1)),
    "ln": _only_at(1, 0),
}


def indices(node: Node, values: Values, budget: Budget) -> Iterator[Values]:
    """The values of a sum's or product's index, one after the other, together with the given ones."""
    low, high = (_whole_or_undefined(rational(part, values, budget)) for part in node[2:4])
    if high - low > MAX_TERMS:
        raise TooBig
    if high < low - 1:
        raise Undefined
    for index in range(low, high + 1):
        budget.spend(4)
        yield {**values, node[1]: Fraction(index)}


def _sum(node: Node, values: Values, budget: Budget) -> Fraction:
    total = Fraction(0)
    for inner in indices(node, values, budget):
        total = _within(total + rational(node[4], inner, budget), budget)
    return total


def _prod(node: Node, values: Values, budget: Budget) -> Fraction:
    product = Fraction(1)
    for inner in indices(node, values, budget):
        product = _within(product * rational(node[4], inner, budget), budget)
    return product


_RATIONAL: dict[str, Callable[[Node, Values, Budget], Fraction]] = {
    "add": _add,
    "mul": _mul,
    "div": _div,
    "pow": _pow,
    "root": _root,
    "fn": _function,
    "sum": _sum,
    "prod": _prod,
    "pct": lambda node, values, budget: rational(node[1], values, budget) / 100,
}
