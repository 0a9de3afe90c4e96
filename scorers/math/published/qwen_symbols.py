"""Whether Qwen2.5-Math's evaluation takes two formulas for the same: what grader.py does with sympy, without `eval`."""

import math
from collections.abc import Callable, Iterator
from typing import Any

from . import qwen_latex2sympy
from .expressions import parsed, sympified


def same_formula(answer: str, gold: str) -> bool:
    """Whether one of several ways to compare finds two formulas the same; what fails to be read stays a text."""
    one, other = _read(answer), _read(gold)
    return any(_holds(way, one, other) for way in _WAYS)


def _read(text: str) -> Any:
    for reader in _readers():
        for form in (text.replace("\\\\", "\\"), text):
            try:
                return reader(form)
            except Exception:  # noqa: BLE001 - as there: whatever it raises, the next one is tried
                continue
    return text


def _readers() -> Iterator[Callable[[str], Any]]:
    from sympy.parsing.latex import parse_latex

    yield parse_latex
    yield parsed
    yield qwen_latex2sympy.read


def _holds(way: Callable[[Any, Any], Any], one: Any, other: Any) -> bool:
    try:
        return bool(way(one, other))
    except Exception:  # noqa: BLE001 - as there: a way that does not apply is passed over
        return False


def _identical(one: Any, other: Any) -> Any:
    return str(one) == str(other) or one == other


def _equal(one: Any, other: Any) -> Any:
    import sympy

    if isinstance(other, str) and isinstance(one, sympy.Expr):
        return one.equals(sympified(other))  # as `equals` reads a text, but for its eval
    return one.equals(other) or sympy.simplify(one - other) == 0


def _sides(one: Any, other: Any) -> Any:
    return abs(one.lhs - one.rhs).equals(abs(other.lhs - other.rhs))


def _close(one: Any, other: Any) -> Any:
    values = [float(sympified(side, rational=True).evalf()) for side in (one, other)]
    return math.isclose(values[1], values[0], rel_tol=1e-4)


def _matrices(one: Any, other: Any) -> Any:
    if one.shape != other.shape:
        return False
    rounded = [side.applyfunc(lambda value: round(value, 3)) for side in (one, other)]
    return rounded[0].equals(rounded[1])


_WAYS = (_identical, _equal, _sides, _close, _matrices)
