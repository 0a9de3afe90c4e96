r"""Mathematical equality of two single values, numbers or formulas in LaTeX.

`same_value` reads both with the grammar of `expression` and decides

* exact numbers exactly: as fractions, as residues where they are too large to be written out, else by their digits up
  to a bound below which no difference can be left (`enclosure`); no rounding decides between exact numbers;
* formulas as functions of their symbols (`functions`);
* values with a decimal point as the exact decimals that they are, or to nine digits if a decimal of nine or more digits
  is written: 1.41421356237 is √2, but 3.14 is not π, and 0.33 is not 1/3.

Conventions:

* Where a notation has two common readings (`Reading`), two texts are the same if they agree under one and the same.
* `i` is the imaginary unit, unless it looks like an index: next to j or k, as a subscript, as the index of a sum, or
  inside floor, ceiling, factorial, binomial, mod or gcd. `j` is the imaginary unit where it is the only letter, or
  where the other side has i in its place.
* `e` is Euler's number, unless it is in a row of letters (with c and d, or with d and f).
* A symbol may be in the other case (P for p) if no two symbols of a formula become one.
* A percent or degree sign that only one side has may be left out: 50\% is 0.5 and 50, 180° is π and 180.
* A number that can be evaluated differs from one that cannot, being too large or undefined.
"""

from fractions import Fraction
from itertools import combinations

from . import balls, enclosure
from .exact import Budget, Irrational, TooBig, Undefined, rational
from .expression import parse
from .functions import nearly, same_function
from .residues import Residues, agree
from .trees import Node, Reading, Unread, kinds, substitute, symbols

_COUNTING = {"floor", "ceil", "factorial", "double_factorial", "binomial", "permutations", "mod", "gcd", "lcm"}
_MOST_READINGS = 12
_LONG = 10**8


def same_value(gold: str, answer: str) -> bool | None:
    """Whether two texts are the same value; None if one is not understood or nothing can be said."""
    try:
        choices = parse(gold).choices | parse(answer).choices
    except (Unread, RecursionError):
        return None
    verdicts: list[bool | None] = []
    budget = Budget()
    for reading in _readings(choices):
        try:
            verdict = same_tree(parse(gold, reading).node, parse(answer, reading).node, budget)
        except (Unread, RecursionError):
            verdict = False  # only the common reading is a text's own
        if verdict:
            return True
        verdicts.append(verdict)
    return None if None in verdicts else False


def _readings(choices: Reading) -> list[Reading]:
    """All combinations of the readings that matter, the common ones first."""
    single = [choice for choice in Reading if choice & choices]
    combined = [sum(some, Reading.PLAIN) for n in range(len(single) + 1) for some in combinations(single, n)]
    return [Reading(reading) for reading in combined[:_MOST_READINGS]]


def has_values(text: str) -> bool:
    """Whether a text is a formula in symbols that can be evaluated here at several points."""
    try:
        node = parse(text).node
    except (Unread, RecursionError):
        return False
    zero: Node = ("num", Fraction(0))
    return bool(symbols(node)) and same_function(node, ("add", node, zero), Budget()) is True


def constant(text: str) -> Fraction | None:
    """The real number that a text is, to at least 100 digits; None if it is not understood or not a real number."""
    try:
        node = parse(text).node
        node = _constants_for_letters(node, node)[0]
        (number, error), at = enclosure.evaluate(node, {}, Budget())
        return balls.fraction(at.real((number, error)))
    except (Unread, RecursionError, Undefined, TooBig):
        return None


def same_tree(gold: Node, answer: Node, budget: Budget | None = None) -> bool | None:
    """Whether two trees are the same value or function; None if nothing can be said."""
    budget = budget or Budget()
    gold, answer = _constants_for_letters(gold, answer)
    gold, answer = _unknown_functions(gold, budget), _unknown_functions(answer, budget)
    answer = _in_same_case(gold, answer)
    if _unclear(symbols(gold)) != _unclear(symbols(answer)):
        return None
    verdict = _same(gold, answer, budget)
    for sign in ("pct", "deg"):
        if verdict is False and ((plain := _without(gold, sign)) == gold) != (_without(answer, sign) == answer):
            verdict = _same(plain, _without(answer, sign), budget)
    return verdict


def _same(gold: Node, answer: Node, budget: Budget) -> bool | None:
    if gold == answer:
        return True
    near = _has_long_decimal(gold) or _has_long_decimal(answer)
    verdict = agree(gold, answer, budget)
    if verdict or (verdict is False and not near):
        return verdict
    if symbols(gold) or symbols(answer):
        return same_function(gold, answer, budget, near=near)
    return _same_constant(gold, answer, budget, near=near)


def _same_constant(gold: Node, answer: Node, budget: Budget, *, near: bool) -> bool | None:
    try:
        one, other = rational(gold, {}, budget), rational(answer, {}, budget)
        if not near or one.denominator == other.denominator == 1:
            return one == other
    except (Irrational, TooBig, Undefined):
        pass
    principal = "i" in kinds(gold) | kinds(answer)
    try:
        if near:
            return nearly(gold, answer, {}, budget, principal=principal)[0] and _near_enough(gold, answer, budget)
        return enclosure.same(gold, answer, {}, budget, principal=principal)[0]
    except (Undefined, TooBig):
        return False if _is_ordinary(gold) is not _is_ordinary(answer) else None


def _near_enough(gold: Node, answer: Node, budget: Budget) -> bool:
    """Whether a number that is one decimal differs by less than one unit of its last digit, or by 10^-9 at most."""
    places = [side[2] for side in (gold, answer) if side[0] == "dec"]
    if not places:
        return True
    (one, _), _ = enclosure.evaluate(gold, {}, budget)
    (other, _), _ = enclosure.evaluate(answer, {}, budget)
    difference = balls.fraction(abs(one - other))
    return bool(difference < max(Fraction(1, 10**9), *places) * Fraction(999, 1000))


def _is_ordinary(node: Node) -> bool:
    """Whether a number can be evaluated."""
    try:
        enclosure.evaluate(node, {}, Budget(20_000), principal=True)
    except (Undefined, TooBig):
        return False
    return True


def _constants_for_letters(gold: Node, answer: Node) -> tuple[Node, Node]:
    """Both sides with the letters i, j and e as constants, where they are."""
    ours, theirs = symbols(gold), symbols(answer)
    names = ours | theirs
    if not names & {"i", "j", "e"}:
        return gold, answer
    constants: dict[str, Node] = {}
    if "e" in names and not {"c", "d"} <= names and not {"d", "f"} <= names:
        constants["e"] = ("e",)
    counted = _counting(gold) | _counting(answer)
    indexed = {part for name in names for part in name.partition("_")[2]}
    if "i" in names and not {"j", "k"} & names and "i" not in counted | indexed:
        constants["i"] = ("i",)
    only_j = names <= {"j", "e"} or ("i" in names and "k" not in names and ("j" in ours) != ("j" in theirs))
    if "j" in names and only_j and not {"i", "j"} & (counted | indexed) and ("i" in ours) is not ("j" in ours):
        constants |= {"i": ("i",), "j": ("i",)}
    elif names <= {"j", "e"} and not {"j"} & (counted | indexed):
        constants["j"] = ("i",)
    return substitute(gold, constants), substitute(answer, constants)


def _counting(node: Node) -> set[str]:
    """The symbols inside functions of integers, and the indices of sums."""
    if node[0] == "fn" and node[1] in _COUNTING:
        return symbols(node)
    names = {node[1]} if node[0] in ("sum", "prod") else set[str]()
    return names.union(*(_counting(part) for part in node[1:] if isinstance(part, tuple)))


def _unknown_functions(node: Node, budget: Budget) -> Node:
    """A tree with the values of unknown functions as symbols: f(x+1) and f(1+x) are one."""
    if node[0] == "app":
        arguments = [_unknown_functions(part, budget) for part in node[2:]]
        try:
            residues = [Residues(0, budget).value(part) for part in arguments]
        except (Undefined, TooBig):
            return ("sym", f"{node[1]}({arguments!r})")
        return ("sym", f"{node[1]}({residues})")
    if node[0] in ("num", "dec", "sym") or "app" not in kinds(node):
        return node
    return tuple(_unknown_functions(part, budget) if isinstance(part, tuple) else part for part in node)


def _in_same_case(gold: Node, answer: Node) -> Node:
    """The answer with the reference's symbols, where they differ in letter case alone."""
    ours, theirs = symbols(gold), symbols(answer)
    if ours == theirs or len(ours) != len(theirs):
        return answer
    folded = {name.lower(): name for name in ours}
    if len(folded) != len(ours) or {name.lower() for name in theirs} != set(folded):
        return answer
    return substitute(answer, {name: ("sym", folded[name.lower()]) for name in theirs})


def _unclear(names: set[str]) -> set[str]:
    """The symbols that may be written in other ways: words, and indices with a calculation in them."""
    return {name for name in names if name.startswith("word:") or any(sign in name for sign in "+-*/\\")}


def _without(node: Node, sign: str) -> Node:
    """A tree without percent or degree signs that are not inside a function."""
    if node[0] == sign:
        return _without(node[1], sign)
    if node[0] in ("add", "mul", "div"):
        return (node[0], *(_without(part, sign) for part in node[1:]))
    return node


def _has_long_decimal(node: Node) -> bool:
    """Whether a decimal of nine or more digits is written."""
    if node[0] == "dec":
        return bool(node[1].denominator > 1 or node[2] > 1) and abs(node[1]) >= _LONG * node[2]
    return any(_has_long_decimal(part) for part in node[1:] if isinstance(part, tuple))
