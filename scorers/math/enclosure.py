"""Numerical values of expression trees with a bound of their error, to as many bits as are asked for.

A value is a pair: an mpmath number (complex where it must be) and the binary logarithm of a bound of its error, carried
through each operation by the size of its derivative. `same` raises the precision until two values are seen to differ,
or agree so closely that no difference can be left: to 2^-340 (100 digits) below the smallest part of either formula,
and for algebraic numbers to the separation bound of Burnikel, Fleischer, Mehlhorn and Schirra (A strong and easily
computable separation bound for arithmetic expressions involving radicals, 2000), where that is less than 20,000 bits.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any

from .exact import Budget, Irrational, TooBig, Undefined, Values, indices, is_literal, rational, whole
from .expression import Node

MARGIN = 340
"""Bits below the smallest part of a formula to which two values must agree."""
MOST_SEPARATION = 20_000
_START = 400
_EXACT = -(1 << 60)
_GREATEST = 1 << 30
"""Binary logarithm of the greatest value."""

Ball = tuple[Any, int]


class Unsure(Exception):
    """Whether a part is zero or an integer cannot be told at this precision."""


@cache
def context() -> Any:
    """mpmath's arithmetic with a precision of its own, imported at first use."""
    from mpmath.ctx_mp import MPContext

    return MPContext()


def _size(value: Any) -> int:
    """The least n with |value| < 2^n; very small for zero."""
    if hasattr(value, "_mpf_"):
        _, man, exponent, bits = value._mpf_
        return int(exponent + bits) if man else _EXACT
    return max(_size(value.real), _size(value.imag)) + 1


def fraction(number: Any) -> Fraction:
    """The exact value of a real number of mpmath."""
    sign, man, exponent, _ = number._mpf_
    size = Fraction(int(man)) * Fraction(2) ** int(exponent)
    return -size if sign else size


class Enclosure:
    """Evaluates trees at one precision; `complex` tells whether a root or logarithm left the real numbers."""

    def __init__(self, bits: int, values: Values, budget: Budget, *, principal: bool) -> None:
        self.context = context()
        self.bits = bits
        self.values = values
        self.budget = budget
        self.principal = principal
        self.left_reals = False
        self.smallest = 0

    def value(self, node: Node) -> Ball:
        """The value of a tree; raises Undefined, Unsure, or TooBig."""
        self.context.prec = self.bits
        return self._value(node)

    def _value(self, node: Node) -> Ball:
        self.budget.spend(4 + (self.bits >> 8))
        number, error = _KINDS.get(node[0], _unknown)(self, node)
        size = _size(number)
        if size > _GREATEST:
            raise TooBig
        if error > _EXACT:
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

    def of(self, value: Fraction) -> Ball:
        number = self.context.mpf(value.numerator)
        if value.denominator == 1:
            return number, _EXACT if value.numerator.bit_length() <= self.bits else _size(number) - self.bits
        number /= value.denominator
        return number, _size(number) - self.bits + 1

    def is_zero(self, ball: Ball) -> bool:
        return _size(ball[0]) <= ball[1] + 1

    def settled(self, error: int) -> None:
        """Raise Unsure if an error is so large that what looks like zero or an integer may be none."""
        if error > -MARGIN // 2 - 20:
            raise Unsure

    def real(self, ball: Ball) -> Any:
        """The real number; Undefined of one that is not."""
        number = ball[0]
        if hasattr(number, "_mpf_"):
            return number
        if _size(number.imag) > ball[1] + 1:
            raise Undefined
        return number.real


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
        error = max(error, other, _size(total) - at.bits) + 1
    return total, error


def _mul(at: Enclosure, node: Node) -> Ball:
    product, error = at._value(node[1])
    for part in node[2:]:
        number, other = at._value(part)
        error = max(error + _size(number), other + _size(product), error + other, _EXACT)
        product = product * number
        error = max(error, _size(product) - at.bits) + 2
    return product, error


def _div(at: Enclosure, node: Node) -> Ball:
    return _quotient(at, at._value(node[1]), at._value(node[2]))


def _quotient(at: Enclosure, over: Ball, under: Ball) -> Ball:
    if at.is_zero(under):
        if under[1] > _EXACT:
            at.settled(under[1])
        raise Undefined
    number = over[0] / under[0]
    size = _size(under[0]) - 1
    return number, max(over[1] - size, under[1] + _size(over[0]) - 2 * size, _size(number) - at.bits, _EXACT) + 3


def _pow(at: Enclosure, node: Node) -> Ball:
    if node[1] == ("e",):
        return _exp(at, at._value(node[2]))
    exponent = at.exactly(node[2])
    base = at._value(node[1])
    if exponent is None:
        return _general_power(at, base, at._value(node[2]))
    if exponent.denominator == 1:
        return _whole_power(at, base, exponent.numerator)
    if exponent.denominator > 1000 or (_is_negative(base[0]) and not is_literal(node[2])):
        return _general_power(at, base, at.of(exponent))
    root = _root_of(at, base, exponent.denominator)
    return _whole_power(at, root, exponent.numerator)


def _whole_power(at: Enclosure, base: Ball, exponent: int) -> Ball:
    number, error = base
    if at.is_zero(base):
        if exponent <= 0:
            at.settled(error)
            raise Undefined
        return at.context.mpf(0), _EXACT if error == _EXACT else min(error, error * exponent) if error < 0 else error
    if abs(_size(number) * exponent) > _GREATEST:
        raise TooBig
    at.budget.spend(exponent.bit_length())
    result = number**exponent
    if error == _EXACT:
        return result, _size(result) - at.bits + exponent.bit_length()
    return result, max(error - _size(number) + 1, -at.bits) + _size(result) + abs(exponent).bit_length() + 1


def _general_power(at: Enclosure, base: Ball, exponent: Ball) -> Ball:
    if at.is_zero(base):
        at.settled(base[1])
        if _size(exponent[0]) > exponent[1] + 1 and at.real(exponent) > 0:
            return at.context.mpf(0), base[1]
        raise Undefined
    if _is_negative(base[0]):
        at.left_reals = True
    return _exp(at, _times(at, _ln_of(at, base), exponent))


def _times(at: Enclosure, one: Ball, other: Ball) -> Ball:
    number = one[0] * other[0]
    error = max(one[1] + _size(other[0]), other[1] + _size(one[0]), one[1] + other[1], _size(number) - at.bits, _EXACT)
    return number, error + 2


def _is_negative(number: Any) -> bool:
    return hasattr(number, "_mpf_") and number < 0


def _root(at: Enclosure, node: Node) -> Ball:
    degree = at.exactly(node[2])
    if degree is None or degree.denominator != 1 or not 0 < degree <= 1000:
        if degree is not None and degree <= 0:
            raise Undefined
        return _general_power(at, at._value(node[1]), _quotient(at, at.of(Fraction(1)), at._value(node[2])))
    return _root_of(at, at._value(node[1]), degree.numerator)


def _root_of(at: Enclosure, ball: Ball, degree: int) -> Ball:
    number, error = ball
    if at.is_zero(ball):
        return at.context.mpf(0), _EXACT if error == _EXACT else error // degree + 1
    if _is_negative(number):
        if degree % 2 and not at.principal:
            root, small = _root_of(at, (-number, error), degree)
            return -root, small
        at.left_reals = True
    if not hasattr(number, "_mpf_") and _size(number.imag) <= error + 1 and number.real < 0:
        raise Unsure if error > -MARGIN else Undefined  # on the cut of the principal value
    result = at.context.sqrt(number) if degree == 2 else at.context.root(number, degree)
    return result, max(error - _size(number) + 2, -at.bits) + _size(result) + 1


def _exp(at: Enclosure, ball: Ball) -> Ball:
    number, error = ball
    if _size(number) > 30:
        raise TooBig
    if error > 0:
        raise Unsure
    result = at.context.exp(number)
    return result, max(error, -at.bits) + _size(result) + 2


def _ln_of(at: Enclosure, ball: Ball) -> Ball:
    number, error = ball
    if at.is_zero(ball):
        at.settled(error)
        raise Undefined
    if _is_negative(number):
        at.left_reals = True
    return at.context.log(number), max(error - _size(number) + 2, -at.bits)


def _trigonometric(name: str) -> Callable[[Enclosure, list[Ball]], Ball]:
    def compute(at: Enclosure, arguments: list[Ball]) -> Ball:
        number, error = arguments[0]
        if _size(number) > 200 or (error > 0):
            raise TooBig if _size(number) > 200 else Unsure
        result = getattr(at.context, name)(number)
        growth = 0 if hasattr(number, "_mpf_") and name in ("sin", "cos") else max(0, _size(result)) + 2
        return result, max(error, -at.bits) + growth + 1

    return compute


def _ratio(over: str, under: str) -> Callable[[Enclosure, list[Ball]], Ball]:
    def compute(at: Enclosure, arguments: list[Ball]) -> Ball:
        one = at.of(Fraction(1)) if over == "1" else _FUNCTIONS[over](at, arguments)
        return _quotient(at, one, _FUNCTIONS[under](at, arguments))

    return compute


def _inverse(name: str, distance: Callable[[Any], Any], *, halved: bool, inside: bool) -> Callable[..., Ball]:
    """An inverse function whose derivative grows as a root (or whole power) of `distance` falls to zero."""

    def compute(at: Enclosure, arguments: list[Ball]) -> Ball:
        number, error = arguments[0]
        if error > 0:
            raise Unsure
        left = distance(number)
        size, slack = _size(left), max(error, -at.bits) + max(0, _size(number)) + 2
        if size <= slack:
            if not halved:
                raise Undefined
            number = at.context.mpf(round(float(at.real((number, error)))))
            return getattr(at.context, name)(number), slack // 2 + 2
        if hasattr(number, "_mpf_") and (left < 0) and inside:
            at.left_reals = True
        lost = size // 2 if halved else size
        result = getattr(at.context, name)(number)
        return result, max(error, _size(number) - at.bits) + max(0, -lost) + 3

    return compute


def _reciprocal(name: str) -> Callable[[Enclosure, list[Ball]], Ball]:
    return lambda at, arguments: _FUNCTIONS[name](at, [_quotient(at, at.of(Fraction(1)), arguments[0])])


def _smooth(name: str, lost: int) -> Callable[[Enclosure, list[Ball]], Ball]:
    def compute(at: Enclosure, arguments: list[Ball]) -> Ball:
        number, error = arguments[0]
        if _size(number) > 24:
            raise TooBig
        try:
            result = getattr(at.context, name)(number)
        except (ValueError, ZeroDivisionError):
            raise Undefined from None
        return result, max(error, -at.bits) + max(0, _size(result)) + lost

    return compute


def _floor(direction: int) -> Callable[[Enclosure, list[Ball]], Ball]:
    def compute(at: Enclosure, arguments: list[Ball]) -> Ball:
        number, error = at.real(arguments[0]), arguments[0][1]
        if error > -8:
            raise Unsure
        nearest = at.context.nint(number)
        if _size(number - nearest) <= error + 1:
            at.settled(error)
            return nearest, _EXACT
        return (at.context.floor if direction < 0 else at.context.ceil)(number), _EXACT

    return compute


def _abs(at: Enclosure, arguments: list[Ball]) -> Ball:
    return abs(arguments[0][0]), arguments[0][1] + (arguments[0][1] > _EXACT)


def _sgn(at: Enclosure, arguments: list[Ball]) -> Ball:
    if at.is_zero(arguments[0]):
        at.settled(arguments[0][1])
        return at.context.mpf(0), _EXACT
    return at.context.mpf(1 if at.real(arguments[0]) > 0 else -1), _EXACT


def _extreme(choose: Callable[..., Any]) -> Callable[[Enclosure, list[Ball]], Ball]:
    return lambda at, arguments: (
        choose(at.real(ball) for ball in arguments),
        max(error for _, error in arguments),
    )


def _modulo(at: Enclosure, arguments: list[Ball]) -> Ball:
    quotient = _FUNCTIONS["floor"](at, [_quotient(at, arguments[0], arguments[1])])
    number, error = _times(at, quotient, arguments[1])
    return arguments[0][0] - number, max(arguments[0][1], error) + 1


def _binomial(at: Enclosure, arguments: list[Ball]) -> Ball:
    n, k = arguments
    rest = (n[0] - k[0], max(n[1], k[1]) + 1 if max(n[1], k[1]) > _EXACT else _EXACT)
    below = _times(at, _FUNCTIONS["factorial"](at, [k]), _FUNCTIONS["factorial"](at, [rest]))
    return _quotient(at, _FUNCTIONS["factorial"](at, [n]), below)


def _function(at: Enclosure, node: Node) -> Ball:
    if node[1] in _WHOLE:
        exact = at.exactly(node)
        if exact is not None:
            return at.of(exact)
    if node[1] not in _FUNCTIONS:
        raise Undefined
    return _FUNCTIONS[node[1]](at, [at._value(part) for part in node[2:]])


def _sum(at: Enclosure, node: Node) -> Ball:
    return _folded(at, node, at.of(Fraction(0)), lambda one, other: (one[0] + other[0], max(one[1], other[1]) + 1))


def _prod(at: Enclosure, node: Node) -> Ball:
    return _folded(at, node, at.of(Fraction(1)), lambda one, other: _times(at, one, other))


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
        return _quotient(at, ball, at.of(Fraction(100)))
    return _quotient(at, _times(at, ball, _pi(at, node)), at.of(Fraction(180)))


def _pi(at: Enclosure, node: Node) -> Ball:
    return +at.context.pi, 2 - at.bits


_WHOLE = {"factorial", "gamma", "binomial", "permutations", "double_factorial", "gcd", "lcm", "mod"}
_FUNCTIONS: dict[str, Callable[[Enclosure, list[Ball]], Ball]] = {
    **{name: _trigonometric(name) for name in ("sin", "cos", "sinh", "cosh")},
    **{name: _ratio(f"sin{h}", f"cos{h}") for name, h in (("tan", ""), ("tanh", "h"))},
    **{name: _ratio(f"cos{h}", f"sin{h}") for name, h in (("cot", ""), ("coth", "h"))},
    **{
        name: _ratio("1", under) for name, under in (("sec", "cos"), ("csc", "sin"), ("sech", "cosh"), ("csch", "sinh"))
    },
    "arcsin": _inverse("asin", lambda x: 1 - x * x, halved=True, inside=True),
    "arccos": _inverse("acos", lambda x: 1 - x * x, halved=True, inside=True),
    "arctan": _inverse("atan", lambda x: 1 + x * x, halved=False, inside=False),
    "arcsec": _reciprocal("arccos"),
    "arccsc": _reciprocal("arcsin"),
    "arsinh": _inverse("asinh", lambda x: 1 + x * x, halved=True, inside=False),
    "arcosh": _inverse("acosh", lambda x: x - 1, halved=True, inside=True),
    "artanh": _inverse("atanh", lambda x: 1 - x * x, halved=False, inside=True),
    "exp": lambda at, arguments: _exp(at, arguments[0]),
    "ln": lambda at, arguments: _ln_of(at, arguments[0]),
    "abs": _abs,
    "sgn": _sgn,
    "floor": _floor(-1),
    "ceil": _floor(1),
    "max": _extreme(max),
    "min": _extreme(min),
    "mod": _modulo,
    "re": lambda at, arguments: (at.context.re(arguments[0][0]), arguments[0][1]),
    "im": lambda at, arguments: (at.context.im(arguments[0][0]), arguments[0][1]),
    "factorial": _smooth("factorial", 24),
    "gamma": _smooth("gamma", 24),
    "zeta": _smooth("zeta", 24),
    "binomial": _binomial,
}
_KINDS: dict[str, Callable[[Enclosure, Node], Ball]] = {
    "num": _number,
    "dec": _number,
    "sym": _symbol,
    "pi": _pi,
    "e": lambda at, node: (+at.context.e, 2 - at.bits),
    "i": lambda at, node: (at.context.mpc(0, 1), _EXACT),
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
    gold: Node, answer: Node, values: Values, budget: Budget, *, principal: bool = False, most_bits: int = 60_000
) -> tuple[bool, bool]:
    """Whether two trees have the same value, and whether both stayed in the real numbers.

    Raises Undefined if one has no value, TooBig if `most_bits` do not decide.
    """
    needed = separation(gold, answer) if not values else 0
    bits = _START
    while bits <= most_bits:
        (one, error), first = evaluate(gold, values, budget, bits=bits, principal=principal)
        (other, error2), second = evaluate(answer, values, budget, bits=bits, principal=principal)
        real = not first.left_reals and not second.left_reals
        context().prec = max(first.bits, second.bits)
        difference = one - other
        error = max(error, error2, _size(difference) - first.bits) + 1
        if _size(difference) > error + 1:
            return False, real
        smallest = min(first.smallest, second.smallest) - MARGIN
        target = min(smallest, -needed) if needed else smallest
        if max(error, error2) <= target or error == error2 == _EXACT:
            return True, real
        bits = max(first.bits, second.bits) + max(64, error - target + 64)
    raise TooBig


def separation(gold: Node, answer: Node) -> int:
    """Bits below which a difference of two algebraic numbers is zero; 0 if they are not, or it is too many."""
    roots: set[Node] = set()
    try:
        upper, lower = _measure(("add", gold, ("mul", ("num", Fraction(-1)), answer)), roots, [2000])
        degree = math.prod(int(root[2][1]) for root in roots)
        bits = (degree - 1) * upper + lower + 2
    except (Irrational, OverflowError):
        return 0
    return math.ceil(bits) if bits < MOST_SEPARATION else 0


def _measure(node: Node, roots: set[Node], left: list[int]) -> tuple[float, float]:
    """Binary logarithms of BFMSS's u and l of a tree made of rational numbers, i, + - * / and roots."""
    left[0] -= 1
    if left[0] < 0:
        raise Irrational
    if node[0] in ("num", "dec"):
        return math.log2(max(1, abs(node[1].numerator))), math.log2(node[1].denominator)
    if node[0] == "i":
        roots.add(("root", node, ("num", 2)))
        return 0.0, 0.0
    if node[0] == "pow" and node[2][0] == "num":
        exponent = node[2][1]
        upper, lower = _measure(node[1], roots, left)
        if exponent.denominator > 1:
            roots.add(("root", node[1], ("num", exponent.denominator)))
        times = float(abs(exponent))
        return (upper * times, lower * times) if exponent >= 0 else (lower * times, upper * times)
    if node[0] == "root" and node[2][0] == "num":
        upper, lower = _measure(node[1], roots, left)
        whole(node[2][1])
        roots.add(node)
        return upper / float(node[2][1]), lower / float(node[2][1])
    if node[0] not in ("add", "mul", "div"):
        raise Irrational
    upper, lower = _measure(node[1], roots, left)
    for part in node[2:]:
        more_upper, more_lower = _measure(part, roots, left)
        if node[0] == "add":
            upper, lower = max(upper + more_lower, lower + more_upper) + 1, lower + more_lower
        elif node[0] == "mul":
            upper, lower = upper + more_upper, lower + more_lower
        else:
            upper, lower = upper + more_lower, lower + more_upper
    return upper, lower
