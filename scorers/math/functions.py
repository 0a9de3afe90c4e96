"""Equality of two formulas as functions of the same symbols: compared at many points, exactly where these are rational.

The points are integers (1 to 13, some hundreds, up to 10^6, negative ones) and fractions from 1/1009 to 10^6 of both
signs. Two formulas are the same if they agree at all points where both have a value, and at four at least; where only
one has a value (a removable hole, another domain) nothing is concluded. Conventions, as mathematicians read formulas:

* Points where a root or logarithm of either side leaves the real numbers count only if there are no four others; then
  principal values are compared. So ln x² is 2 ln x, but √(x²) is |x| and not x.
* Letters inside floor, ceiling, factorial, binomial, mod and gcd are integers, positive ones if there is a letter
  in an exponent; x, y, z, t, u, v, w and Greek letters inside floor and ceiling are real.
* Where there are roots (or logarithms, bars, broken powers) and several symbols, only x, y, z, t, u, v, w are tried
  below zero, all together: the others are lengths, masses and the like.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction

from . import enclosure
from .exact import Budget, Irrational, TooBig, Undefined, Values, rational
from .trees import Node, kinds, symbols

SEVERAL = 4
"""Points at which two formulas must have values for a verdict."""
NEAR = Fraction(1, 10**9)
"""Relative difference of values that are the same where a long decimal is written."""
_MOST_BITS = 6000
_FRACTIONS = tuple(
    Fraction(over, under)
    for over, under in (
        (7391, 10000), (13127, 10000), (19173, 10000), (4519, 10000), (17, 7), (2, 7), (37, 10), (5, 8), (23, 4),
        (247, 20), (973, 10), (1, 1009), (1234567, 1000), (3, 11), (999983, 7), (11, 13),
    )
)  # fmt: skip
_WHOLE = {"factorial", "double_factorial", "binomial", "permutations", "mod", "gcd", "lcm"}
_ROUNDED = {"floor", "ceil"}
_ROOTED = {"abs", "ln", "sgn"}
_REAL_LETTERS = set("xyztuvw")


def same_function(gold: Node, answer: Node, budget: Budget, *, near: bool = False) -> bool | None:
    """Whether two formulas agree; None if they have too few values in common, or take too long."""
    names = sorted(symbols(gold) | symbols(answer))
    principal = "i" in kinds(gold) | kinds(answer)
    real_points = complex_points = 0
    complex_agree = True
    for values in points(names, gold, answer):
        try:
            same, real = _at(gold, answer, values, budget, principal=principal, near=near)
        except (Undefined, TooBig):
            if budget.left < 0:
                return None
            continue
        if real or principal:
            if not same:
                return False
            real_points += 1
        else:
            complex_agree = complex_agree and same
            complex_points += 1
    if real_points >= SEVERAL:
        return True
    return complex_agree if real_points + complex_points >= SEVERAL else None


def _at(gold: Node, answer: Node, values: Values, budget: Budget, *, principal: bool, near: bool) -> tuple[bool, bool]:
    try:
        one, other = rational(gold, values, budget), rational(answer, values, budget)
    except Irrational:
        if near:
            return nearly(gold, answer, values, budget, principal=principal)
        return enclosure.same(gold, answer, values, budget, principal=principal, max_bits=_MOST_BITS)
    return one == other or (near and abs(one - other) <= NEAR * max(abs(one), abs(other))), True


def nearly(gold: Node, answer: Node, values: Values, budget: Budget, *, principal: bool = False) -> tuple[bool, bool]:
    """Whether two values agree to nine digits, and whether both are real."""
    (one, _), first = enclosure.evaluate(gold, values, budget, principal=principal)
    (other, _), second = enclosure.evaluate(answer, values, budget, principal=principal)
    close = abs(one - other) * 10**9 <= max(abs(one), abs(other))
    return bool(close), not first.left_reals and not second.left_reals


def points(names: list[str], gold: Node, answer: Node) -> Iterator[Values]:
    """The values of the symbols at which the formulas are compared; always the same for the same formulas."""
    whole = _whole_names(gold) | _whole_names(answer)
    powers = _in_exponents(gold) | _in_exponents(answer)
    draw = _Draw(len(names))
    fractional = not whole.issuperset(names)
    rooted = len(names) > 1 and (_rooted(gold) or _rooted(answer))
    positive = {name for name in names if name not in _REAL_LETTERS} if rooted else set[str]()
    for n in range(3 if fractional else 0):
        yield _fractions(names, whole, draw, n, signs=(1, 1))
    for n in range(1, 14):
        yield {name: Fraction(n if len(names) == 1 else draw.between(1, 13)) for name in names}
    for reverse in (False, True) if len(names) > 1 else ():
        for _ in range(6):
            drawn = sorted((draw.between(1, 24) for _ in names), reverse=reverse)
            yield {name: Fraction(value) for name, value in zip(names, drawn, strict=True)}
    for low, high in ((20, 120), (20, 120), (100, 1000), (1000, 9999), (10**5, 10**6)):
        yield {name: Fraction(draw.between(low, high)) for name in names}
    for _ in range(0 if whole and powers else 4):
        yield {name: Fraction((1 if name in positive else -1) * draw.between(1, 40)) for name in names}
    for n in range(7 if fractional else 0):
        yield _fractions(names, whole, draw, n + 3, signs=(1, 1))
    for n in range(3 if fractional else 0):
        point = _fractions(names, whole, draw, n, signs=(-1, -1))
        yield {name: abs(value) if name in positive else value for name, value in point.items()}
    for n in range(4 if fractional and len(names) > 1 and not rooted else 0):
        yield _fractions(names, whole, draw, 2 * n, signs=(1, -1) if n % 2 else (-1, 1))


def _fractions(names: list[str], whole: set[str], draw: "_Draw", start: int, *, signs: tuple[int, int]) -> Values:
    """Fractions for the symbols that may have them; the signs take turns."""
    values: Values = {}
    for i, name in enumerate(names):
        value = Fraction(draw.between(1, 30)) if name in whole else _FRACTIONS[(start + 5 * i) % len(_FRACTIONS)]
        values[name] = signs[i % 2] * value
    return values


class _Draw:
    """Integers that look random and are the same each time."""

    def __init__(self, seed: int) -> None:
        self.state = 88172645463325252 + seed

    def between(self, low: int, high: int) -> int:
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return low + (self.state >> 33) % (high - low + 1)


def _whole_names(node: Node) -> set[str]:
    """The symbols that are integers because of their position."""
    if node[0] == "fn" and node[1] in _WHOLE:
        return symbols(node)
    if node[0] == "fn" and node[1] in _ROUNDED:
        inside = {name for name in symbols(node) if name[0] not in _REAL_LETTERS and len(name.partition("_")[0]) == 1}
        return inside | _parts(node, _whole_names)
    if node[0] in ("sum", "prod"):
        return symbols(node[2]) | symbols(node[3]) | (_whole_names(node[4]) - {node[1]})
    return _parts(node, _whole_names)


def _in_exponents(node: Node) -> set[str]:
    return (symbols(node[2]) if node[0] == "pow" else set()) | _parts(node, _in_exponents)


def _parts(node: Node, find: Callable[[Node], set[str]]) -> set[str]:
    found: set[str] = set()
    for part in node[1:]:
        if isinstance(part, tuple):
            found |= find(part)
    return found


def _rooted(node: Node) -> bool:
    """Whether a symbol is under a root, a broken power, a bar or a logarithm."""
    if node[0] == "pow" and not (node[2][0] == "num" and node[2][1].denominator == 1) and symbols(node):
        return True
    if (node[0] == "root" or (node[0] == "fn" and node[1] in _ROOTED)) and symbols(node):
        return True
    return any(_rooted(part) for part in node[1:] if isinstance(part, tuple))
