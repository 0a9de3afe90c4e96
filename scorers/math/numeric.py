"""Equality of two sympy expressions, for what math-verify's grammar reads and ours (`expression`) does not.

What has a counterpart in our trees (`translated`) is compared as `values` does: exactly, and formulas at many points.
The rest is compared by sympy's own values at several places, with a precision that grows until it is below the smallest
part of either side. What has no value (relations that are not equations) is left to others: None.
"""

from fractions import Fraction
from typing import Any

from . import balls, enclosure
from .exact import Budget, TooBig, Undefined
from .trees import Node
from .values import same_tree

DIGITS = 120
PLACES = ((0.7391, 1.3127), (1.9173, 0.4519), (-0.8347, 2.2713), (1, 12), (7, 3), (40, 2))
"""Pairs of numbers between which the values of a formula's symbols lie; integers between two integers."""
NEGATIVE = (-1.7391, -0.4127)
NEAR = Fraction(1, 10**9)
SAME = Fraction(1, 10**100)


def constant(expression: Any) -> Fraction | None:
    """The value of an expression that is a real number; None if it is not."""
    value = _number(expression)
    return value[0] if value and not value[1] else None


def same(gold: Any, answer: Any) -> bool | None:
    """Whether two expressions or two equations have the same values; None if that cannot be said."""
    import sympy

    gold, answer = _opaque(gold), _opaque(answer)
    if isinstance(gold, sympy.Eq) and isinstance(answer, sympy.Eq):
        return _equations(gold.lhs - gold.rhs, answer.lhs - answer.rhs)
    if not isinstance(gold, sympy.Expr) or not isinstance(answer, sympy.Expr):
        return None
    ours, theirs = translated(gold), translated(answer)
    if ours is not None and theirs is not None:
        return same_tree(ours, theirs)
    renamed = _renamed(gold, answer)
    if renamed is None and gold.free_symbols and answer.free_symbols:
        return None
    return _by_places(gold, answer if renamed is None else renamed)  # a formula may have the value of a constant


def _by_places(gold: Any, answer: Any) -> bool | None:
    import sympy

    share = NEAR if gold.has(sympy.Float) or answer.has(sympy.Float) else SAME
    if not gold.free_symbols and not answer.free_symbols:
        values = _number(gold), _number(answer)
        return None if values[0] is None or values[1] is None else _near(values[0], values[1], share)
    pairs = [(_at(gold, place), _at(answer, place)) for place in PLACES]
    known = [(one, other) for one, other in pairs if one is not None and other is not None]
    if len(known) < 2:
        return None
    if not all(_near(one, other, share) for one, other in known):
        return False
    one, other = _at(gold, NEGATIVE), _at(answer, NEGATIVE)  # a root of a square is not x there; logarithms are complex
    return one is None or other is None or any(one[1:] + other[1:]) or _near(one, other, share)


def translated(expression: Any) -> Node | None:
    """The tree of a sympy expression; None if a part of it has no counterpart."""
    try:
        return _translated(expression)
    except (KeyError, RecursionError):
        return None


def _translated(part: Any) -> Node:  # noqa: PLR0911 - a kind, a return
    if part.is_Float:
        return _decimal(part)
    if part.is_Rational:
        return ("num", Fraction(int(part.p), int(part.q)))
    if part.is_Symbol:
        return ("sym", part.name)
    if not part.args:
        return (_CONSTANTS[type(part).__name__],)
    operands = [_translated(operand) for operand in part.args]
    name = type(part).__name__
    if name == "log":
        whole: Node = ("fn", "ln", operands[0])
        return whole if len(operands) == 1 else ("div", whole, ("fn", "ln", operands[1]))
    if name in _KINDS:
        return (_KINDS[name], *operands)
    return ("fn", _FUNCTIONS[name], *operands)


def _decimal(number: Any) -> Node:
    """sympy's number with a point as a long decimal: how many digits were written, it does not know."""
    mantissa, _, exponent = str(number).partition("e")
    place = Fraction(10) ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    return ("dec", Fraction(str(number)), place)


_CONSTANTS = {"Pi": "pi", "Exp1": "e", "ImaginaryUnit": "i"}
_KINDS = {"Add": "add", "Mul": "mul", "Pow": "pow"}
_FUNCTIONS = {
    **{name: name for name in ("sin", "cos", "tan", "cot", "sec", "csc")},
    **{name: name for name in ("sinh", "cosh", "tanh", "coth", "sech", "csch")},
    **{f"a{name}": f"arc{name}" for name in ("sin", "cos", "tan", "sec", "csc")},
    **{f"a{name}h": f"ar{name}h" for name in ("sin", "cos", "tan")},
    **{name: name for name in ("exp", "factorial", "binomial", "gamma", "zeta", "floor", "gcd", "lcm", "re", "im")},
    **{"Abs": "abs", "ceiling": "ceil", "sign": "sgn", "Max": "max", "Min": "min", "Mod": "mod"},
    **{"factorial2": "double_factorial"},
}  # fmt: skip


def _opaque(expression: Any) -> Any:
    """The expression with derivatives and unknown functions as symbols of their own."""
    import sympy
    from sympy.core.function import AppliedUndef

    for kind in (sympy.Derivative, AppliedUndef):
        atoms = expression.atoms(kind) if isinstance(expression, sympy.Basic) else ()
        if atoms:
            expression = expression.xreplace({part: sympy.Symbol(f"<{part}>") for part in atoms})
    return expression


def _equations(gold: Any, answer: Any) -> bool | None:
    """Equations are the same if they give the same value to a symbol that is linear in both; None if none is."""
    renamed = _renamed(gold, answer)
    opaque = any(str(symbol).startswith("<") for symbol in gold.free_symbols | answer.free_symbols)
    if renamed is None:
        return False if opaque else None
    for symbol in sorted(gold.free_symbols, key=str):
        pairs = [(_root(gold, symbol, place), _root(renamed, symbol, place)) for place in PLACES]
        if all(one is not None and other is not None for one, other in pairs):
            return all(abs(one - other) <= 1e-9 * max(abs(one), abs(other)) for one, other in pairs)  # type: ignore
    return False if opaque else None


def _root(expression: Any, symbol: Any, place: tuple[float, float]) -> complex | None:
    """The zero of an expression, given values of the other symbols; None if it is not linear in the symbol."""
    values = [_at(_put(expression, {symbol: n}), place) for n in _integers()]
    try:
        zero, one, two = (complex(*map(float, value)) for value in values if value)
    except (ValueError, OverflowError):
        return None
    slope = one - zero
    if abs(slope) < 1e-12 or abs(two - one - slope) > 1e-9 * max(abs(one), abs(two), abs(zero)):
        return None
    return -zero / slope


def _integers() -> tuple[Any, ...]:
    import sympy

    return sympy.Integer(0), sympy.Integer(1), sympy.Integer(2)


def _renamed(gold: Any, answer: Any) -> Any:
    """The answer with the reference's symbols, where they differ in letter case alone; None if they differ in more."""
    ours, theirs = ({str(symbol): symbol for symbol in side.free_symbols} for side in (gold, answer))
    if set(ours) == set(theirs):
        return answer.xreplace({theirs[name]: ours[name] for name in theirs})
    folded = {name.lower(): name for name in ours}
    if len(folded) != len(ours) or {name.lower() for name in theirs} != set(folded) or len(theirs) != len(ours):
        return None
    return answer.xreplace({symbol: ours[folded[name.lower()]] for name, symbol in theirs.items()})


Complex = tuple[Fraction, Fraction]


def _at(expression: Any, place: tuple[float, float]) -> Complex | None:
    import sympy

    low, high = place
    symbols = sorted(expression.free_symbols, key=str)
    digits = 0 if isinstance(low, int) else 6
    values = {
        symbol: sympy.Rational(str(round(low + (high - low) * (i + 1) / (len(symbols) + 1), digits)))
        for i, symbol in enumerate(symbols)
    }
    return _number(_put(expression, values))


def _put(expression: Any, values: dict[Any, Any]) -> Any:
    """The expression with values for its symbols, not for the x within an integral up to x, or such a sum."""
    import sympy

    bound = expression.has(sympy.Integral, sympy.Sum, sympy.Product, sympy.Limit)
    return expression.subs(values) if bound else expression.xreplace(values)


def _number(expression: Any) -> Complex | None:
    """Real and imaginary part to at least 120 digits; None if it has no finite value."""
    import sympy

    if not isinstance(expression, sympy.Expr) or expression.free_symbols:
        return None
    tree = translated(expression)
    if tree is not None:
        return _evaluated(tree)
    try:
        parts = expression.evalf(DIGITS).as_real_imag()
        return Fraction(str(parts[0])), Fraction(str(parts[1]))
    except (ValueError, TypeError, ArithmeticError, AttributeError, NotImplementedError):
        return None


def _evaluated(tree: Node) -> Complex | None:
    try:
        (number, _), _ = enclosure.evaluate(tree, {}, Budget())
    except (Undefined, TooBig):
        return None
    return balls.fraction(number.real), balls.fraction(number.imag)


def _near(one: Complex, other: Complex, share: Fraction) -> bool:
    size = max(map(abs, (*one, *other)))
    return all(abs(a - b) <= share * size for a, b in zip(one, other, strict=True))
