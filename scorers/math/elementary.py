"""Functions of numbers with a bound of their error (`balls`), by name."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from .balls import EXACT, Arithmetic, Ball, Unsure, exponential, logarithm, quotient, size_of, times
from .exact import TooBig, Undefined

Function = Callable[[Arithmetic, list[Ball]], Ball]


def _trigonometric(name: str) -> Function:
    def compute(at: Arithmetic, arguments: list[Ball]) -> Ball:
        number, error = arguments[0]
        if size_of(number) > 200 or (error > 0):
            raise TooBig if size_of(number) > 200 else Unsure
        result = getattr(at.context, name)(number)
        growth = 0 if hasattr(number, "_mpf_") and name in ("sin", "cos") else max(0, size_of(result)) + 2
        return result, max(error, -at.bits) + growth + 1

    return compute


def _ratio(over: str, under: str) -> Function:
    def compute(at: Arithmetic, arguments: list[Ball]) -> Ball:
        one = at.of(Fraction(1)) if over == "1" else FUNCTIONS[over](at, arguments)
        return quotient(at, one, FUNCTIONS[under](at, arguments))

    return compute


def _inverse(name: str, distance: Callable[[Any], Any], *, halved: bool, inside: bool) -> Callable[..., Ball]:
    """An inverse function whose derivative grows as a root (or whole power) of `distance` falls to zero."""

    def compute(at: Arithmetic, arguments: list[Ball]) -> Ball:
        number, error = arguments[0]
        if error > 0:
            raise Unsure
        left = distance(number)
        size, slack = size_of(left), max(error, -at.bits) + max(0, size_of(number)) + 2
        if size <= slack:
            if not halved:
                raise Undefined
            number = at.context.mpf(round(float(at.real((number, error)))))
            return getattr(at.context, name)(number), slack // 2 + 2
        if hasattr(number, "_mpf_") and (left < 0) and inside:
            at.left_reals = True
        lost = size // 2 if halved else size
        result = getattr(at.context, name)(number)
        return result, max(error, size_of(number) - at.bits) + max(0, -lost) + 3

    return compute


def _reciprocal(name: str) -> Function:
    return lambda at, arguments: FUNCTIONS[name](at, [quotient(at, at.of(Fraction(1)), arguments[0])])


def _smooth(name: str, lost: int) -> Function:
    def compute(at: Arithmetic, arguments: list[Ball]) -> Ball:
        number, error = arguments[0]
        if size_of(number) > 24:
            raise TooBig
        try:
            result = getattr(at.context, name)(number)
        except (ValueError, ZeroDivisionError):
            raise Undefined from None
        return result, max(error, -at.bits) + max(0, size_of(result)) + lost

    return compute


def _floor(direction: int) -> Function:
    def compute(at: Arithmetic, arguments: list[Ball]) -> Ball:
        number, error = at.real(arguments[0]), arguments[0][1]
        if error > -8:
            raise Unsure
        nearest = at.context.nint(number)
        if size_of(number - nearest) <= error + 1:
            at.settled(error)
            return nearest, EXACT
        return (at.context.floor if direction < 0 else at.context.ceil)(number), EXACT

    return compute


def _abs(at: Arithmetic, arguments: list[Ball]) -> Ball:
    return abs(arguments[0][0]), arguments[0][1] + (arguments[0][1] > EXACT)


def _sgn(at: Arithmetic, arguments: list[Ball]) -> Ball:
    if at.is_zero(arguments[0]):
        at.settled(arguments[0][1])
        return at.context.mpf(0), EXACT
    return at.context.mpf(1 if at.real(arguments[0]) > 0 else -1), EXACT


def _extreme(choose: Callable[..., Any]) -> Function:
    return lambda at, arguments: (choose(at.real(ball) for ball in arguments), max(error for _, error in arguments))


def _modulo(at: Arithmetic, arguments: list[Ball]) -> Ball:
    whole = FUNCTIONS["floor"](at, [quotient(at, arguments[0], arguments[1])])
    number, error = times(at, whole, arguments[1])
    return arguments[0][0] - number, max(arguments[0][1], error) + 1


def _binomial(at: Arithmetic, arguments: list[Ball]) -> Ball:
    n, k = arguments
    rest = (n[0] - k[0], max(n[1], k[1]) + 1 if max(n[1], k[1]) > EXACT else EXACT)
    below = times(at, FUNCTIONS["factorial"](at, [k]), FUNCTIONS["factorial"](at, [rest]))
    return quotient(at, FUNCTIONS["factorial"](at, [n]), below)


FUNCTIONS: dict[str, Function] = {
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
    "exp": lambda at, arguments: exponential(at, arguments[0]),
    "ln": lambda at, arguments: logarithm(at, arguments[0]),
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
