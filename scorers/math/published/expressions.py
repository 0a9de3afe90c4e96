"""sympy's `parse_expr` without its `eval`.

sympy turns a text into Python code token by token, which is only rewriting, and then evaluates the code. Here the code
is read as a syntax tree and built up from numbers, symbols, operators and sympy's own functions. Attributes, strings,
lambdas, comprehensions and names outside sympy's mathematics raise ValueError.
"""

import ast
import builtins
import operator
import types
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.BitXor: operator.xor,
    ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.MatMult: operator.matmul,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda one, other: one in other,
    ast.NotIn: lambda one, other: one not in other,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}
_UNARY: dict[type, Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Invert: operator.invert,
    ast.Not: operator.not_,
}
_NAMED_BY_TEXT = ("Symbol", "Integer", "Float", "Function", "Rational", "Number")
"""Functions that sympy's rewriting calls with a string; only Number evaluates it."""
_PLAIN = [
    "sqrt",
    "cbrt",
    "root",
    "real_root",
    "gcd",
    "lcm",
    "simplify",
    "expand",
    "factor",
    "cancel",
    "together",
    "apart",
    "nsimplify",
    "N",
    "diff",
    "integrate",
    "limit",
    "product",
    "summation",
    "solve",
    "totient",
    "prime",
    "factors",
    "det",
    "trace",
    "trigsimp",
    "binomial_coefficients",
    "igcd",
    "ilcm",
    "div",
    "rem",
    "quo",
]
_BUILTIN = {"abs": abs, "pow": pow, "round": round, "sum": sum, "divmod": divmod, "len": len, "all": all, "any": any}


class UnknownName(ValueError):
    """A name that sympy's evaluation knows, and that is not an object of mathematics. `shown`: the object as a text."""

    def __init__(self, name: str, shown: str):
        super().__init__(f"no name of mathematics: {name}")
        self.name = name
        self.shown = shown


def parsed(
    text: str,
    *,
    implicit: bool = False,
    caret: bool = False,
    rational: bool = False,
    evaluate: bool = True,
    aliases: dict[str, str] | None = None,
) -> Any:
    """The result of `parse_expr` for a text; raises where it does.

    `implicit`: products and functions without signs are read (implicit_multiplication_application). `rational`:
    decimals become fractions. `caret`: `^` is a power, not an exclusive or. All in the order that sympy has them.
    `aliases`: more names for objects of sympy.
    """
    from sympy.parsing import sympy_parser

    steps = list(sympy_parser.standard_transformations)
    steps += [sympy_parser.implicit_multiplication_application] if implicit else []
    steps += [sympy_parser.rationalize] if rational else []
    steps += [sympy_parser.convert_xor] if caret else []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        known = {name: _names()[one] for name, one in (aliases or {}).items()}
        code = sympy_parser.stringify_expr(text, known, _names(), tuple(steps))
        tree = ast.parse(code.lstrip(" \t"), mode="eval") if evaluate else sympy_parser.evaluateFalse(code)
        for node in ast.walk(tree) if aliases else ():
            if isinstance(node, ast.Name):
                node.id = (aliases or {}).get(node.id, node.id)
        return _value(tree.body)


def sympified(text: Any, *, rational: bool = False, aliases: dict[str, str] | None = None) -> Any:
    """The result of `sympify` for a text or an object; raises where it does."""
    import sympy

    if not isinstance(text, str):
        return sympy.sympify(text, rational=rational)
    return parsed(text.replace("\n", ""), caret=True, rational=rational, aliases=aliases)


@cache
def _names() -> dict[str, Any]:
    """The names that sympy's rewriting knows: all of `from sympy import *` and Python's built-in functions."""
    import sympy

    names = {name: getattr(sympy, name) for name in sympy.__all__}
    names |= {name: one for name, one in vars(builtins).items() if isinstance(one, types.BuiltinFunctionType)}
    return names | {"max": sympy.Max, "min": sympy.Min}


@cache
def _allowed() -> dict[str, Any]:
    """The names that may be used: sympy's constants, its classes of mathematical objects, and plain functions."""
    import sympy

    names = {}
    for name, one in _names().items():
        is_class = isinstance(one, type) and issubclass(one, sympy.Basic | sympy.MatrixBase)
        if isinstance(one, sympy.Basic) or is_class or name in _PLAIN:
            names[name] = one
    return names | _BUILTIN


def _value(node: ast.AST) -> Any:  # noqa: PLR0911 - a kind of node, a return
    match node:
        case ast.BinOp():
            return _chain(node)
        case ast.Constant(value=None | bool() | int() | float() | complex()):
            return node.value
        case ast.Name():
            if node.id not in _allowed():
                raise UnknownName(node.id, str(_names().get(node.id, "")))
            return _allowed()[node.id]
        case ast.Call():
            return _call(node)
        case ast.UnaryOp():
            return _UNARY[type(node.op)](_value(node.operand))
        case ast.Compare():
            return _comparison(node)
        case ast.BoolOp():
            ends = isinstance(node.op, ast.Or)
            for part in node.values[:-1]:
                value = _value(part)
                if bool(value) is ends:
                    return value
            return _value(node.values[-1])
        case ast.Tuple():
            return tuple(_value(part) for part in node.elts)
        case ast.List():
            return [_value(part) for part in node.elts]
        case ast.Set():
            return {_value(part) for part in node.elts}
        case ast.Dict() if all(node.keys):
            return {_value(key): _value(part) for key, part in zip(node.keys, node.values, strict=True) if key}
        case ast.Subscript(slice=ast.Tuple() | ast.Call() | ast.UnaryOp() | ast.BinOp()):
            return _value(node.value)[_value(node.slice)]
    raise ValueError(f"no arithmetic: {type(node).__name__}")


def _chain(node: ast.AST) -> Any:
    """A row of operators, which leans to the left, without a recursion for each of its terms."""
    row: list[ast.BinOp] = []
    while isinstance(node, ast.BinOp):
        row.append(node)
        node = node.left
    value = _value(node)
    for step in reversed(row):
        value = _BINARY[type(step.op)](value, _value(step.right))
    return value


def _comparison(node: ast.Compare) -> Any:
    left = _value(node.left)
    for number, (sign, side) in enumerate(zip(node.ops, node.comparators, strict=True), 1):
        right = _value(side)
        holds = _BINARY[type(sign)](left, right)
        if number == len(node.ops) or not holds:
            break
        left = right
    return holds


def _call(node: ast.Call) -> Any:
    import sympy

    texts = [part.value for part in node.args if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    if texts:
        named = isinstance(node.func, ast.Name) and node.func.id in _NAMED_BY_TEXT
        if not named or len(texts) != len(node.args) or node.keywords:
            raise ValueError("a text as an argument")
        name = node.func.id  # type: ignore[attr-defined]
        if name == "Number":  # which would evaluate it
            number = sympified(texts[0])
            if not isinstance(number, sympy.Number):
                raise ValueError("no number")
            return number
        return _allowed()[name](*texts)
    function = _value(node.func)
    if not (isinstance(function, type | sympy.Basic) or function in _callables()):
        raise TypeError("not a function")
    if any(word.arg is None for word in node.keywords):
        raise ValueError("no arithmetic: **")
    words = {str(word.arg): _value(word.value) for word in node.keywords}
    return function(*[_value(part) for part in node.args], **words)


@cache
def _callables() -> tuple[Any, ...]:
    return tuple(one for name, one in _allowed().items() if name in _PLAIN or name in _BUILTIN)
