"""The separation bound of algebraic numbers: how small a difference of two can be without being zero.

Burnikel, Fleischer, Mehlhorn and Schirra, A strong and easily computable separation bound for arithmetic expressions
involving radicals, Algorithmica 27 (2000).
"""

import math
from fractions import Fraction

from .exact import Irrational, whole
from .trees import Node

MAX_BITS = 20_000
"""A greater bound is not used."""


def separation(gold: Node, answer: Node) -> int:
    """Bits below which a difference of two algebraic numbers is zero; 0 if they are not, or it is too many."""
    roots: set[Node] = set()
    try:
        upper, lower = _measure(("add", gold, ("mul", ("num", Fraction(-1)), answer)), roots, [2000])
        degree = math.prod(int(root[2][1]) for root in roots)
        bits = (degree - 1) * upper + lower + 2
    except (Irrational, OverflowError):
        return 0
    return math.ceil(bits) if bits < MAX_BITS else 0


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
