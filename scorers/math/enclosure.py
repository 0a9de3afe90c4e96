"""Numerical values of expression trees, raised in precision until they are seen to be the same or not.

`same` ends when two values differ by more than their errors, or agree so closely that no difference can be left: to
2^-340 (100 digits) below the smallest part of either formula, and for algebraic numbers to their separation bound.
"""

from collections.abc import Callable
from fractions import Fraction

from .balls import (
    EXACT,
    GREATEST,
    MARGIN,
    Arithmetic,
    Ball,
    Unsure,
    context,
    exponential,
    general_power,
    is_negative,
    quotient,
    root_of,
    size_of,
    times,
    whole_power,
)
from .elementary import FUNCTIONS
from .exact import Budget, Irrational, TooBig, Undefined, Values, indices, is_literal, rational
from .separation import separation
from .trees import Node

_START = 400


class Enclosure(Arithmetic):
    """Evaluates trees at one precision; `smallest` is the binary logarithm of the smallest part that is not zero."""

    def __init__(self, bits: int, values: Values, budget: Budget, *, principal: bool) -> None:
        super().__init__(bits, budget, principal=principal)
        self.values = values
        self.smallest = 0

    def value(self, node: Node) -> Ball:
        """The value of a tree; raises Undefined, Unsure, or TooBig."""
        self.context.prec = self.bits
        return self._value(node)

    def _value(self, node: Node) -> Ball:
        self.budget.spend(4 + (self.bits >> 8))
        number, error = _KINDS.get(node[0], _unknown)(self, node)
        size = size_of(number)
        if size > GREATEST:
            raise TooBig
        if error > EXACT:
            error = max(error, size - self.bits) + 1
        if size > error + 1:
            if error > size - 8 and error > -MARGIN:
                raise Unsure
            self.smallest = min(self.smallest, size)
        return number, error

    def exactly(self, node: Node) -> Fraction | None:
        try:
            return rational(node, self.values, self.budget)
        except Irrational:
            return None


def _unknown(at: Enclosure, node: Node) -> Ball:
    raise Undefined


def _number(at: Enclosure, node: Node) -> Ball:
    return at.of(node[1])


def _symbol(at: Enclosure, node: Node) -> Ball:
    if node[1] not in at.values:
        raise Undefined
    return at.of(at.values[node[1]])


def _add(at: Enclosure, node: Node) -> Ball:
    total, error = at._value(node[1])
    for part in node[2:]:
        number, other = at._value(part)
        total = total + number
        error = max(error, other, size_of(total) - at.bits) + 1
    return total, error


def _mul(at: Enclosure, node: Node) -> Ball:
    product, error = at._value(node[1])
    for part in node[2:]:
        number, other = at._value(part)
        error = max(error + size_of(number), other + size_of(product), error + other, EXACT)
        product = product * number
        error = max(error, size_of(product) - at.bits) + 2
    return product, error


def _div(at: Enclosure, node: Node) -> Ball:
    return quotient(at, at._value(node[1]), at._value(node[2]))


def _pow(at: Enclosure, node: Node) -> Ball:
    if node[1] == ("e",):
        return exponential(at, at._value(node[2]))
    exponent = at.exactly(node[2])
    base = at._value(node[1])
    if exponent is None:
        return general_power(at, base, at._value(node[2]))
    if exponent.denominator == 1:
        return whole_power(at, base, exponent.numerator)
    if exponent.denominator > 1000 or (is_negative(base[0]) and not is_literal(node[2])):
        return general_power(at, base, at.of(exponent))
    root = root_of(at, base, exponent.denominator)
    return whole_power(at, root, exponent.numerator)


def _root(at: Enclosure, node: Node) -> Ball:
    degree = at.exactly(node[2])
    if degree is None or degree.denominator != 1 or not 0 < degree <= 1000:
        if degree is not None and degree <= 0:
            raise Undefined
        return general_power(at, at._value(node[1]), quotient(at, at.of(Fraction(1)), at._value(node[2])))
    return root_of(at, at._value(node[1]), degree.numerator)


def _function(at: Enclosure, node: Node) -> Ball:
    if node[1] in _WHOLE:
        exact = at.exactly(node)
        if exact is not None:
            return at.of(exact)
    if node[1] not in FUNCTIONS:
        raise Undefined
    return FUNCTIONS[node[1]](at, [at._value(part) for part in node[2:]])


def _sum(at: Enclosure, node: Node) -> Ball:
    return _folded(at, node, at.of(Fraction(0)), lambda one, other: (one[0] + other[0], max(one[1], other[1]) + 1))


def _prod(at: Enclosure, node: Node) -> Ball:
    return _folded(at, node, at.of(Fraction(1)), lambda one, other: times(at, one, other))


def _folded(at: Enclosure, node: Node, ball: Ball, fold: Callable[[Ball, Ball], Ball]) -> Ball:
    outside = at.values
    try:
        for inner in indices(node, outside, at.budget):
            at.values = inner
            ball = fold(ball, at._value(node[4]))
            at.values = outside
    except Irrational:
        raise Undefined from None
    finally:
        at.values = outside
    return ball


def _scaled(at: Enclosure, node: Node) -> Ball:
    """Degrees and per cent."""
    ball = at._value(node[1])
    if node[0] == "pct":
        return quotient(at, ball, at.of(Fraction(100)))
    return quotient(at, times(at, ball, _pi(at, node)), at.of(Fraction(180)))


def _pi(at: Enclosure, node: Node) -> Ball:
    return +at.context.pi, 2 - at.bits


_WHOLE = {"factorial", "gamma", "binomial", "permutations", "double_factorial", "gcd", "lcm", "mod"}
_KINDS: dict[str, Callable[[Enclosure, Node], Ball]] = {
    "num": _number,
    "dec": _number,
    "sym": _symbol,
    "pi": _pi,
    "e": lambda at, node: (+at.context.e, 2 - at.bits),
    "i": lambda at, node: (at.context.mpc(0, 1), EXACT),
    "add": _add,
    "mul": _mul,
    "div": _div,
    "pow": _pow,
    "root": _root,
    "fn": _function,
    "sum": _sum,
    "prod": _prod,
    "deg": _scaled,
    "pct": _scaled,
}


def evaluate(
    node: Node, values: Values, budget: Budget, *, bits: int = _START, principal: bool = False
) -> tuple[Ball, Enclosure]:
    """The value of a tree and the evaluation, at a precision at which it is sure of its zeros and integers."""
    for attempt in range(3):
        at = Enclosure(bits << 2 * attempt, values, budget, principal=principal)
        try:
            return at.value(node), at
        except Unsure:
            continue
        except (OverflowError, ZeroDivisionError, ValueError):
            raise Undefined from None
    raise Undefined


def same(
    gold: Node, answer: Node, values: Values, budget: Budget, *, principal: bool = False, max_bits: int = 60_000
) -> tuple[bool, bool]:
    """Whether two trees have the same value, and whether both stayed in the real numbers.

    Raises Undefined if one has no value, TooBig if `max_bits` do not decide.
    """
    needed = separation(gold, answer) if not values else 0
    bits = _START
    while bits <= max_bits:
        (one, error), first = evaluate(gold, values, budget, bits=bits, principal=principal)
        (other, error2), second = evaluate(answer, values, budget, bits=bits, principal=principal)
        real = not first.left_reals and not second.left_reals
        context().prec = max(first.bits, second.bits)
        difference = one - other
        error = max(error, error2, size_of(difference) - first.bits) + 1
        if size_of(difference) > error + 1:
            return False, real
        smallest = min(first.smallest, second.smallest) - MARGIN
        target = min(smallest, -needed) if needed else smallest
        if max(error, error2) <= target or error == error2 == EXACT:
            return True, real
        bits = max(first.bits, second.bits) + max(64, error - target + 64)
    raise TooBig
