"""Arithmetic of numbers with a bound of their error, to as many bits as are asked for.

A ball is a pair: an mpmath number (complex where it must be) and the binary logarithm of a bound of its error, carried
through each operation by the size of its derivative.
"""

from fractions import Fraction
from functools import cache
from typing import Any

from .exact import Budget, TooBig, Undefined

MARGIN = 340
"""Bits below the smallest part of a formula to which two values must agree."""
EXACT = -(1 << 60)
"""Binary logarithm of the error of a number without one."""
GREATEST = 1 << 30
"""Binary logarithm of the greatest value."""

_LONGEST_EXPONENT = 64

Ball = tuple[Any, int]


class Unsure(Exception):
    """The precision is too low to decide whether a part is zero or an integer."""


@cache
def context() -> Any:
    """mpmath's arithmetic with a precision of its own, imported at first use."""
    from mpmath.ctx_mp import MPContext

    return MPContext()


def size_of(value: Any) -> int:
    """The least n with |value| < 2^n; very small for zero."""
    if hasattr(value, "_mpf_"):
        _, man, exponent, bits = value._mpf_
        return int(exponent + bits) if man else EXACT
    return max(size_of(value.real), size_of(value.imag)) + 1


def fraction(number: Any) -> Fraction:
    """The exact value of a real number of mpmath."""
    sign, man, exponent, _ = number._mpf_
    size = Fraction(int(man)) * Fraction(2) ** int(exponent)
    return -size if sign else size


class Arithmetic:
    """A precision, and what the operations at it met: `left_reals` if a root or logarithm left the real numbers."""

    def __init__(self, bits: int, budget: Budget, *, principal: bool) -> None:
        self.context = context()
        self.bits = bits
        self.budget = budget
        self.principal = principal
        self.left_reals = False

    def of(self, value: Fraction) -> Ball:
        number = self.context.mpf(value.numerator)
        if value.denominator == 1:
            return number, EXACT if value.numerator.bit_length() <= self.bits else size_of(number) - self.bits
        number /= value.denominator
        return number, size_of(number) - self.bits + 1

    def is_zero(self, ball: Ball) -> bool:
        return size_of(ball[0]) <= ball[1] + 1

    def settled(self, error: int) -> None:
        """Raise Unsure if an error is so large that what looks like zero or an integer may be none."""
        if error > -MARGIN // 2 - 20:
            raise Unsure

    def real(self, ball: Ball) -> Any:
        """The real number; Undefined of one that is not."""
        number = ball[0]
        if hasattr(number, "_mpf_"):
            return number
        if size_of(number.imag) > ball[1] + 1:
            raise Undefined
        return number.real


def quotient(at: Arithmetic, over: Ball, under: Ball) -> Ball:
    if at.is_zero(under):
        if under[1] > EXACT:
            at.settled(under[1])
        raise Undefined
    number = over[0] / under[0]
    size = size_of(under[0]) - 1
    return number, max(over[1] - size, under[1] + size_of(over[0]) - 2 * size, size_of(number) - at.bits, EXACT) + 3


def times(at: Arithmetic, one: Ball, other: Ball) -> Ball:
    number = one[0] * other[0]
    error = max(
        one[1] + size_of(other[0]), other[1] + size_of(one[0]), one[1] + other[1], size_of(number) - at.bits, EXACT
    )
    return number, error + 2


def whole_power(at: Arithmetic, base: Ball, exponent: int) -> Ball:
    number, error = base
    if at.is_zero(base):
        if exponent <= 0:
            at.settled(error)
            raise Undefined
        return at.context.mpf(0), EXACT if error == EXACT else min(error, error * exponent) if error < 0 else error
    if abs(size_of(number) * exponent) > GREATEST or exponent.bit_length() > _LONGEST_EXPONENT:
        raise TooBig
    at.budget.spend(exponent.bit_length())
    result = number**exponent
    if error == EXACT:
        return result, size_of(result) - at.bits + exponent.bit_length()
    return result, max(error - size_of(number) + 1, -at.bits) + size_of(result) + abs(exponent).bit_length() + 1


def general_power(at: Arithmetic, base: Ball, exponent: Ball) -> Ball:
    if at.is_zero(base):
        at.settled(base[1])
        if size_of(exponent[0]) > exponent[1] + 1 and at.real(exponent) > 0:
            return at.context.mpf(0), base[1]
        raise Undefined
    if is_negative(base[0]):
        at.left_reals = True
    return exponential(at, times(at, logarithm(at, base), exponent))


def is_negative(number: Any) -> bool:
    return hasattr(number, "_mpf_") and number < 0


def root_of(at: Arithmetic, ball: Ball, degree: int) -> Ball:
    number, error = ball
    if at.is_zero(ball):
        return at.context.mpf(0), EXACT if error == EXACT else error // degree + 1
    if is_negative(number):
        if degree % 2 and not at.principal:
            root, small = root_of(at, (-number, error), degree)
            return -root, small
        at.left_reals = True
    if not hasattr(number, "_mpf_") and size_of(number.imag) <= error + 1 and number.real < 0:
        raise Unsure if error > -MARGIN else Undefined  # on the cut of the principal value
    result = at.context.sqrt(number) if degree == 2 else at.context.root(number, degree)
    return result, max(error - size_of(number) + 2, -at.bits) + size_of(result) + 1


def exponential(at: Arithmetic, ball: Ball) -> Ball:
    number, error = ball
    if size_of(number) > 30:
        raise TooBig
    if error > 0:
        raise Unsure
    result = at.context.exp(number)
    return result, max(error, -at.bits) + size_of(result) + 2


def logarithm(at: Arithmetic, ball: Ball) -> Ball:
    number, error = ball
    if at.is_zero(ball):
        at.settled(error)
        raise Undefined
    if is_negative(number):
        at.left_reals = True
    return at.context.log(number), max(error - size_of(number) + 2, -at.bits)
