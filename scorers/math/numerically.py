"""Are two sympy expressions the same, going by their values? Quicker than simplifying, and it never gives up midway.

Two formulas that agree at several odd places to many digits are the same one; two that differ clearly are not. What has
no value (derivatives, unknown functions, relations that are no equations) is left to others: None.
"""

from fractions import Fraction
from typing import Any

DIGITS = 30
PLACES = ((0.7391, 1.3127), (1.9173, 0.4519), (-0.8347, 2.2713))
"""Pairs of numbers (and one more below zero) between which the values of a formula's symbols lie."""
NEGATIVE = (-1.7391, -0.4127)
NEAR = Fraction(1, 10**9)
EXACT = Fraction(1, 10**25)
SAME = Fraction(1, 10**12)


def constant(expression: Any) -> Fraction | None:
    """The real number that an expression is; None if it is none."""
    value = _number(expression)
    return value[0] if value and not value[1] else None


def same(gold: Any, answer: Any) -> bool | None:  # noqa: PLR0911 - a case, a return
    """Whether two expressions or two equations have the same values; None if that cannot be said."""
    import sympy

    gold, answer = _opaque(gold), _opaque(answer)
    if isinstance(gold, sympy.Eq) and isinstance(answer, sympy.Eq):
        return _equations(gold.lhs - gold.rhs, answer.lhs - answer.rhs)
    if not isinstance(gold, sympy.Expr) or not isinstance(answer, sympy.Expr):
        return None
    renamed = _renamed(gold, answer)
    if renamed is None and gold.free_symbols and answer.free_symbols:
        return None
    if not gold.free_symbols and not answer.free_symbols:
        return _constants(gold, answer)
    renamed = answer if renamed is None else renamed  # a formula may have the value of a constant
    pairs = [(_at(gold, place), _at(renamed, place)) for place in PLACES]
    known = [(one, other) for one, other in pairs if one is not None and other is not None]
    if len(known) < 2:
        return None
    if not all(_near(one, other, SAME) for one, other in known):
        return False
    one, other = _at(gold, NEGATIVE), _at(renamed, NEGATIVE)  # a root of a square is no x there; logarithms are complex
    return one is None or other is None or any(one[1:] + other[1:]) or _near(one, other, SAME)


def _opaque(expression: Any) -> Any:
    """The expression with derivatives and unknown functions as symbols of their own."""
    import sympy
    from sympy.core.function import AppliedUndef

    for kind in (sympy.Derivative, AppliedUndef):
        found = expression.atoms(kind) if isinstance(expression, sympy.Basic) else ()
        if found:
            expression = expression.xreplace({part: sympy.Symbol(f"<{part}>") for part in found})
    return expression


def _constants(gold: Any, answer: Any) -> bool | None:
    values = _number(gold), _number(answer)
    if values[0] is None or values[1] is None:
        return None
    import sympy

    rounded = gold.has(sympy.Float) or answer.has(sympy.Float)
    return _near(values[0], values[1], NEAR if rounded else EXACT)


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
    """Where an expression is zero, the other symbols having their values; None if it is not linear in the symbol."""
    found = [_at(expression.xreplace({symbol: n}), place) for n in _integers()]
    try:
        zero, one, two = (complex(*map(float, value)) for value in found if value)
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
    values = {
        symbol: sympy.Rational(str(round(low + (high - low) * (i + 1) / (len(symbols) + 1), 6)))
        for i, symbol in enumerate(symbols)
    }
    return _number(expression.xreplace(values))


def _number(expression: Any) -> Complex | None:
    """Real and imaginary part to 30 digits; None if it has no finite value."""
    import sympy

    if not isinstance(expression, sympy.Expr) or expression.free_symbols:
        return None
    try:
        parts = expression.evalf(DIGITS).as_real_imag()
        return Fraction(str(parts[0])), Fraction(str(parts[1]))
    except (ValueError, TypeError, ArithmeticError, AttributeError, NotImplementedError):
        return None


def _near(one: Complex, other: Complex, share: Fraction) -> bool:
    size = max(map(abs, (*one, *other)))
    return all(abs(a - b) <= share * size for a, b in zip(one, other, strict=True))
