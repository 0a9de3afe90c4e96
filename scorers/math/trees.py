"""Expression trees: plain tuples, no algebra, no evaluation.

A node is a tuple: its kind, then its operands.

* `("num", Fraction)`; `("dec", Fraction, place)` for a number written with a decimal point, `place` being the value of
  one unit of its last digit; `("pi",)`, `("e",)`, `("i",)`; `("sym", name)` for a letter with index, prime and accent.
* `("add", …)`, `("mul", …)`, `("div", a, b)`, `("pow", a, b)`, `("root", a, n)`, `("deg", a)`, `("pct", a)`.
* `("fn", name, …)` for a known function, `("app", name, …)` for an unknown one (`f(x)`), `("sum" | "prod", name, low,
  high, body)`.
"""

from enum import IntFlag
from fractions import Fraction
from typing import Any, NamedTuple

Node = tuple[Any, ...]


class Unread(Exception):
    """The text is not one value in this grammar."""


class Reading(IntFlag):
    """The less common reading of notations that have two."""

    PLAIN = 0
    SLASH_TAKES_PRODUCT = 1
    r"""`1/2x` is 1/(2x); otherwise it is (1/2)x."""
    FUNCTION_TAKES_TERM = 2
    r"""`\sin x/2` is sin(x/2) and `\ln 2(x+1)` is ln(2(x+1)); otherwise the argument ends before `/` and brackets."""
    LOG_TEN = 4
    r"""`\log` without a base is decimal; otherwise natural."""
    LETTER_TIMES_BRACKET = 8
    """`f(x)` is a product; otherwise the value of an unknown function."""
    EULER_E = 16
    """`2e-3` is 2e − 3; otherwise 0.002."""
    POINT_BRACKET_PRODUCT = 32
    """`0.5(3)` is a product; otherwise the repeating decimal 0.5333…"""
    C_CHOOSES = 64
    """`C_n^k` is a binomial coefficient; otherwise a power of the letter."""


class Parsed(NamedTuple):
    """A tree, and the readings for which the text would have another one."""

    node: Node
    choices: Reading


MINUS_ONE: Node = ("num", Fraction(-1))


def negative(node: Node) -> Node:
    """A node with the other sign; a number stays a number."""
    if node[0] == "num":
        return ("num", -node[1])
    if node[0] == "dec":
        return ("dec", -node[1], node[2])
    return ("mul", MINUS_ONE, node)


def product(factors: list[Node]) -> Node:
    """The product of one factor or more."""
    return factors[0] if len(factors) == 1 else ("mul", *factors)


def quotient(over: list[Node], under: list[Node]) -> Node:
    """The product of some factors over that of others, of which there may be none."""
    return ("div", product(over), product(under)) if under else product(over)


def symbols(node: Node) -> set[str]:
    """The names of the free symbols of a tree."""
    if node[0] == "sym":
        return {node[1]}
    if node[0] in ("sum", "prod"):
        return symbols(node[2]) | symbols(node[3]) | (symbols(node[4]) - {node[1]})
    return set().union(*(symbols(part) for part in node[1:] if isinstance(part, tuple)))


def substitute(node: Node, values: dict[str, Node]) -> Node:
    """A tree with nodes in the place of free symbols."""
    if node[0] == "sym":
        return values.get(node[1], node)
    if node[0] in ("sum", "prod"):
        inner = {name: value for name, value in values.items() if name != node[1]}
        return (*node[:2], substitute(node[2], values), substitute(node[3], values), substitute(node[4], inner))
    if len(node) == 1 or node[0] in ("num", "dec"):
        return node
    return tuple(substitute(part, values) if isinstance(part, tuple) else part for part in node)


def kinds(node: Node) -> set[str]:
    """The kinds of node in a tree, and the names of its functions."""
    names = {node[0], node[1]} if node[0] == "fn" else {node[0]}
    return names.union(*(kinds(part) for part in node[1:] if isinstance(part, tuple)))
