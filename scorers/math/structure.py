r"""Compare answers by what they are made of: one list of rules, from the first that applies comes the verdict.

A rule takes the reference and the answer, tidy, and says right, wrong or (None) that it is another rule's. Rules call
`compare` for the parts of what they take apart; a single value goes to the caller's `leaf`.
"""

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import product
from typing import NamedTuple

from . import bases, matrices, names, regions
from .cutting import Group, balanced, cut, opened, renamed
from .notation import bare, number, split

Verdict = tuple[bool, str]

_PLUS_MINUS = re.compile(r"\\(pm|mp)(?![a-zA-Z])\s*")
_MOST_SIGNS = 6
_EMPTY = re.compile(
    r"(?:there (?:is|are|exists?) )?no (?:real |such |integer |positive |valid |possible )*"
    r"(?:solutions?|values?|roots?|numbers?|integers?|[a-z])(?: exists?)?"
    r"|none(?: exist)?|(?:the )?empty set|\{ ?\}|\\emptyset"
)
_DEFAULT_OPTION = r"(?:(?i:option|choice|answer)\s*:?\s*)?"
_MORE = r"(?:\\text\s*\{\s*)?(?:and|or)\b"
_LEADING = re.compile(
    rf"{_DEFAULT_OPTION}(?:\(\s*([A-J])\s*\)|([A-J])[).:])\s*(?=[^\s+*/^=).,:])(?!- |{_MORE})(.+)", re.DOTALL
)
_TRAILING = re.compile(r"(.*[\d})\]])\s*\(\s*([A-J])\s*\)", re.DOTALL)
_LETTER = re.compile(r"\(?([A-J])\)?")
_MODULO = re.compile(
    r"(?P<value>.*?)(?P<open>\()?\s*(?:\\[pb]?mod(?![a-zA-Z])|\\text\{\s*mod(?:ulo)?\s*\}|\\operatorname\{mod\}|(?<![a-zA-Z\\])mod(?:ulo)?(?![a-zA-Z]))"
    r"\s*\{?\s*(?P<modulus>\w+)\s*\}?(?(open)\))\s*",
    re.DOTALL,
)
_CONDITION = re.compile(r"[<>]|\\(?:le|ge|ne|in|nu|mid)(?![a-zA-Z])|(?:(?<![\\a-zA-Z])[a-zA-Z]{2,}\W+){3}")
_COLON = r":|\\text\s*\{\s*to\s*\}|(?<=\d)\s+to\s+(?=\d)"
_TIME = re.compile(r"([01]?\d|2[0-4]):([0-5]\d)")
_HALF_DAY = re.compile(r"\s*(?:\\(?:text|mathrm)\{)?\s*([ap])\.?\s*m\.?\s*\}?\Z", re.IGNORECASE)
_FREE = re.compile(
    r"(?P<letter>[a-z])\s*\\in\s*\\mathbb ?\{?[ZN]\}?(?:[_^]\{?[^{}]*\}?)?"
    r"|(?:\\text\{)?\s*(?:where|for|with)?\s*(?:all|any|some|every)?\s*\}?\s*(?P<other>[a-z])?\s*(?:\\text\{)?\s*"
    r"(?:is an(?:y)?)?\s*integers?\s*(?P<last>[a-z])?\s*\}?\s*(?P<end>[a-z])?"
)
_REMARK = re.compile(r"\s*\\text\s*\{\s*(?:each )?with probability\s*\}[^,;]*?(?=,|;|\\text|\Z)")
_TOLERANCE = re.compile(r"\(?(?P<value>-?[\d.]+)\s*\\pm\s*(?P<margin>[\d.]+)\)?(?P<rest>.*)", re.DOTALL)
_POINT = re.compile(r"([A-Z](?:_(?:\{\w+\}|\w))?'*)\s*(\(.*\))", re.DOTALL)
_QUANTITY = re.compile(r"[a-z]{2,}|.*[-+^].*")


class Leaf(NamedTuple):
    """How single values are compared, where a number lies (None: not known), and whether decimals have a tolerance."""

    same: Callable[[str, str], Verdict]
    place: Callable[[str], Fraction | None]
    tolerant: bool = False


def compare(gold: str, answer: str, leaf: Leaf) -> Verdict:
    """The verdict of the first rule that applies, and its name."""
    gold, answer = matrices.flat_system(gold), matrices.flat_system(answer)
    for rule in RULES:
        if verdict := rule(gold, answer, leaf):
            return verdict
    return leaf.same(gold, answer)


def same_text(gold: str, answer: str, _: Leaf | None = None) -> Verdict | None:
    """Letter by letter, styles and blanks aside."""
    one, other = bare(gold), bare(answer)
    if one == other:
        return True, "same text"
    named = [re.sub(r"^\(?[A-J]\)", "", text).lower().strip("()") for text in (one, other)]
    return (True, "same text") if one.isalpha() and len(one) > 1 and named[0] == named[1] else None


def empty(gold: str, answer: str, _: Leaf | None = None) -> Verdict | None:
    r"""`\emptyset`, `\{\}`, "no solution": nothing at all, whatever it is called."""
    sides = [_is_empty(text) for text in (gold, answer)]
    if not any(sides):
        return None
    return all(sides), "empty set"


def _is_empty(text: str) -> bool:
    plain = re.sub(r"\s+", " ", re.sub(r"\\text\s*\{([^{}]*)\}", r"\1", text)).strip(" .").lower()
    return bool(_EMPTY.fullmatch(re.sub(r"\\([{}])", r"\1", plain)))


def _option(gold: str, answer: str, leaf: Leaf) -> Verdict | None:
    """The letter of an option in front of its value or behind it: `(E) 70`."""
    (ours, value), (theirs, given) = _lettered(gold), _lettered(answer)
    if ours and theirs:
        right = ours == theirs and compare(value, given, leaf)[0]
        return right, "option letter and value"
    if ours:
        letter = _LETTER.fullmatch(bare(answer))
        return (letter[1] == ours, "option letter") if letter else compare(value, answer, leaf)
    if theirs:
        letter = _LETTER.fullmatch(bare(gold))
        return (letter[1] == theirs, "option letter") if letter else compare(gold, given, leaf)
    return None


def _lettered(text: str) -> tuple[str, str]:
    text = (
        re.sub(r"(?<=[A-J]) (?=[).:])", "", re.sub(r"\\(?:text|mathrm)\{([^{}]*)\}", r"\1 ", text)).strip()
        if re.search(r"\{[^{}]*[A-J]\W", text)
        else text
    )
    if found := _LEADING.fullmatch(text):
        value = found[3].strip()
        if re.search(r"\d|\\[a-z]", value) and not re.search(r"\([A-J]\)", value):
            return found[1] or found[2], value
    if found := _TRAILING.fullmatch(text):
        return found[2], found[1].strip()
    return "", text


def _remarks(gold: str, answer: str, leaf: Leaf) -> Verdict | None:
    r"""`E_1 \text{ with probability } \frac13`: what is said of a value in passing, where one side says it alone."""
    (ours, said), (theirs, other) = (_REMARK.subn("", text) for text in (gold, answer))
    one_side = bool(said) != bool(other)
    return (
        compare(ours.strip(" ,"), theirs.strip(" ,"), leaf)
        if one_side and len(split(answer)) == len(split(gold))
        else None
    )


def _conditions(gold: str, answer: str, leaf: Leaf) -> Verdict | None:
    r"""A family such as `\frac{\pi}{4} + k\pi, k \in \mathbb{Z}`; the integer may have another letter."""
    (ours, letter, domain), (theirs, other, values) = _family(gold), _family(answer)
    if not letter and not other:
        return None
    if letter and other and domain != values:
        return False, "integers of another sign"
    if letter and other and letter != other:
        theirs = renamed(theirs, {other: letter})
    return compare(ours, theirs, leaf)


def _family(text: str) -> tuple[str, str, bool]:
    """The values, the letter of the integer in them ("" for none), and whether it may be negative."""
    parts = cut(text, r"[,;]|(?<=\s)(?=\(?\\text\{\s*(?:where|for)\b)|(?=\(\s*[a-z]\s*\\in(?![a-zA-Z]))")
    found = _FREE.fullmatch(parts[-1].strip("() ")) if len(parts) > 1 else None
    letter = next((found[name] for name in ("letter", "other", "last", "end") if found[name]), "") if found else ""
    if not found or not letter:
        return text, "", True
    negative = not found["letter"] or not re.search(r"N|[_^]", found[0].partition(r"\in")[2])
    return ", ".join(parts[:-1]).rstrip(" ,("), letter, negative


def _regions(gold: str, answer: str, leaf: Leaf) -> Verdict | None:
    found = regions.compare(gold, answer, lambda one, other: compare(one, other, leaf)[0], leaf.place)
    return None if found is None else (found, "sets of numbers")


def _inequalities(gold: str, answer: str, leaf: Leaf) -> Verdict | None:
    """Two sides and a sign between them, perhaps turned round."""
    sides = [cut(text, r"\\(?:le|ge)(?![a-zA-Z])|[<>]") for text in (gold, answer)]
    if not all(len(side) == 2 and all(side) for side in sides) or any("=" in text for text in (gold, answer)):
        return None
    signs = [re.search(r"\\(?:le|ge)(?![a-zA-Z])|[<>]", text) for text in (gold, answer)]
    strict = [bool(sign and sign[0] in "<>") for sign in signs]
    if strict[0] != strict[1]:
        return False, "inequalities"
    low, other = (
        [*side][:: -1 if sign and sign[0] in (">", r"\ge") else 1] for side, sign in zip(sides, signs, strict=True)
    )
    same = all(compare(a, b, leaf)[0] for a, b in zip(low, other, strict=True))
    return (True, "inequalities") if same else None


def _residues(gold: str, answer: str, leaf: Leaf) -> Verdict | None:
    r"""`N \equiv 3 \pmod 7`: residues of one modulus; the residue alone is the answer, too."""
    ours, theirs = _residue(gold), _residue(answer)
    if ours and theirs:
        if ours[1] != theirs[1]:
            return False, "residues: another modulus"
        modulus = number(ours[1])
        reduced = [
            [_reduced(value, modulus.value if modulus else None) for value in cut(side[0], ",")]
            for side in (ours, theirs)
        ]
        return compare(", ".join(reduced[0]), ", ".join(reduced[1]), leaf)[0], "residues"
    if not re.search(r"\\(?:pmod|equiv)(?![a-zA-Z])", gold + answer):
        return None
    if ours:
        return compare(ours[0], answer, leaf)
    return compare(gold, theirs[0], leaf) if theirs else None


def _residue(text: str) -> tuple[str, str] | None:
    found = _MODULO.fullmatch(text) if "mod" in text else None
    if found is None or not found["value"].strip():
        return None
    before = found["value"].rpartition(r"\equiv")[0]
    if _CONDITION.search(before):  # it says more than the residue
        return None
    parts = [cut(part, r"\\equiv(?![a-zA-Z])|=")[-1] for part in split(found["value"])]
    return ", ".join(parts), found["modulus"]


def _reduced(value: str, modulus: Fraction | None) -> str:
    found = number(value)
    integers = found and modulus and found.value.denominator == modulus.denominator == 1
    return str(found.value % modulus) if found and modulus and integers else value


def _assigned(gold: str, answer: str, leaf: Leaf) -> Verdict | None:  # noqa: PLR0911 - a case, a return
    """`x=1, y=2`: by names where both have them, else in the order of the names or as they stand."""
    ours, theirs = names.assignments(gold), names.assignments(answer)
    if ours and theirs:
        values = {name.lower(): value for name, value in theirs}
        if {name.lower() for name, _ in ours} != {*values}:
            return False, "values of other names"
        same = all(compare(value, values[name.lower()], leaf)[0] for name, value in ours)
        return same, "values by name"
    pairs, other = (ours, answer) if ours else (theirs, gold)
    if not pairs:
        return None
    if "=" in other and not names.read(other).name:
        return None
    plain = names.read(other).values[0]
    group = opened(plain)
    if names.indexed(pairs) and not (group and group.brackets == "()"):
        listed = ", ".join(value for _, value in pairs)
        return compare(listed, plain, leaf) if ours else compare(plain, listed, leaf)
    matrix = matrices.read(plain)
    values_there = (
        matrix.cells if matrix else cut(group.values[0], r"[,;]") if group and group.brackets == "()" else split(plain)
    )
    orders = [names.in_order(pairs)]
    if not group and not matrix:
        orders.append([value for _, value in pairs])
    for order in orders:
        if len(order) == len(values_there) and all(
            compare(b, a, leaf)[0] if not ours else compare(a, b, leaf)[0]
            for a, b in zip(order, values_there, strict=True)
        ):
            return True, "same values in the same order"
    return False, "other values, or in another order"


def _named(gold: str, answer: str, leaf: Leaf) -> Verdict | None:  # noqa: PLR0911 - a case, a return
    """`x = 5`, `f(x) = x + 1`, chains; see `names`."""
    if any(len([part for part in split(text) if len(cut(part, "=")) > 1]) > 1 for text in (gold, answer)):
        return None
    ours, theirs = names.read(gold), names.read(answer)
    if ours.values == [gold] and theirs.values == [answer]:
        return None
    equations = [side.is_equation for side in (ours, theirs)]
    if any(equations) and ("=" in gold) and ("=" in answer):
        return leaf.same(gold, answer)
    if ours.is_equation and _QUANTITY.fullmatch(cut(gold, "=")[0]):
        return False, "a value for an equation"
    values = theirs.values
    if ours.name and theirs.name:
        if not names.compatible(ours.name, theirs.name):
            if all(re.search(r"[a-zA-Z]", re.sub(r"\\[a-zA-Z]+", "", side.values[0])) for side in (ours, theirs)):
                return leaf.same(gold, answer)
            return False, "another name"
        variables = [names.same_variables(ours.name, theirs.name, value) for value in values]
        values = [value for value in variables if value is not None]
    verdicts = [compare(value, given, leaf) for value in ours.values for given in values]
    return next(
        (verdict for verdict in verdicts if verdict[0]), verdicts[-1] if verdicts else (False, "other variables")
    )


def _tolerance(gold: str, answer: str, leaf: Leaf) -> Verdict | None:
    r"""With `precision: gold`, `9.8 \pm 0.1` is one measured value and not two answers."""
    ours, theirs = (_TOLERANCE.fullmatch(text) for text in (gold, answer))
    if not leaf.tolerant or (not ours and not theirs):
        return None
    if theirs:
        answer = theirs["value"] + theirs["rest"]
    if not ours:
        return compare(gold, answer, leaf)
    if theirs and Fraction(ours["margin"]) != Fraction(theirs["margin"]):
        return False, "another tolerance"
    value = number(answer) if ours["rest"].strip() == "" else None
    if value and abs(value.value - Fraction(ours["value"])) <= Fraction(ours["margin"]):
        return True, "within the tolerance"
    return compare(ours["value"] + ours["rest"], answer, leaf)


def _signs(gold: str, answer: str, leaf: Leaf) -> Verdict | None:
    r"""`\pm` gives two values, several of them all combinations; with `\mp` the upper signs and the lower ones."""
    if not _PLUS_MINUS.search(gold + answer):
        return None
    sides = []
    for text in (gold, answer):
        group = opened(text)
        parts = split(group.values[0]) if group and group.brackets == "{}" else split(text)
        values = [value for part in parts for value in both_signs(part)]
        sides.append(_distinct(values, leaf))
    if len(sides[0]) != len(sides[1]):
        return False, "both signs: another number of values"
    return _matched(sides[0], sides[1], leaf), "both signs"


def both_signs(text: str) -> list[str]:
    r"""The values of a text with `\pm` and `\mp`, else the text itself."""
    signs = _PLUS_MINUS.findall(text)
    if not signs or len(signs) > _MOST_SIGNS:
        return [text]
    if "mp" in signs and len(signs) > 1:
        choices: Sequence[Sequence[str]] = [["+-"[s == "mp"] for s in signs], ["-+"[s == "mp"] for s in signs]]
    else:
        choices = list(product("+-", repeat=len(signs)))
    values = []
    for choice in choices:
        left = iter(choice)
        value = _PLUS_MINUS.sub(lambda _, left=left: next(left), text)  # type: ignore[misc]
        values.append(re.sub(r"(^|[({\[,=^/])\s*\+", r"\1", value))
    return values


def _distinct(values: list[str], leaf: Leaf) -> list[str]:
    distinct: list[str] = []
    for value in values:
        if not any(compare(value, other, leaf)[0] for other in distinct):
            distinct.append(value)
    return distinct


def _matrices(gold: str, answer: str, leaf: Leaf) -> Verdict | None:
    found = matrices.compare(gold, answer, lambda one, other: compare(one, other, leaf)[0])
    return None if found is None else (found, "matrices")


def _ratios(gold: str, answer: str, leaf: Leaf) -> Verdict | None:
    """`3:4` is 6:8 and 3/4; two times of day are the same only minute by minute."""
    days = [_HALF_DAY.search(text) for text in (gold, answer)]
    ours, theirs = (_terms(_HALF_DAY.sub("", text)) for text in (gold, answer))
    if len(ours) < 2 and len(theirs) < 2:
        return None
    times = [_TIME.fullmatch(_HALF_DAY.sub("", text).strip()) for text in (gold, answer)]
    if times[0] and times[1]:
        halves = {day[1].lower() for day in days if day}
        return [*map(int, times[0].groups())] == [*map(int, times[1].groups())] and len(halves) < 2, "times"
    if len(ours) > 1 and len(theirs) > 1:
        if len(ours) != len(theirs):
            return False, "ratios"
        quotients = [[rf"\frac{{{term}}}{{{side[0]}}}" for term in side[1:]] for side in (ours, theirs)]
        return all(leaf.same(a, b)[0] for a, b in zip(*quotients, strict=True)), "ratios"
    if len(ours) > 2 or len(theirs) > 2:
        return False, "ratios"
    fractions = [
        rf"\frac{{{side[0]}}}{{{side[1]}}}" if len(side) == 2 else text
        for side, text in ((ours, gold), (theirs, answer))
    ]
    return leaf.same(*fractions)[0], "ratios"


def _terms(text: str) -> list[str]:
    terms = cut(re.sub(r"\\text\s*\{\s*:\s*\}", ":", text), _COLON)
    plain = all(term and len(term) < 60 and not re.search(r"[=<>,]|\\to|(?<!\\)[a-z]{3}", term) for term in terms)
    return terms if len(terms) > 1 and plain else []


def _points(gold: str, answer: str, leaf: Leaf) -> Verdict | None:
    """`P(1,2)` for the point (1,2), where one side alone has the name."""
    (ours, point), (theirs, other) = _point(gold), _point(answer)
    if bool(ours) == bool(theirs) or not (opened(point) and opened(other)):
        return None
    return compare(point, other, leaf)


def _point(text: str) -> tuple[str, str]:
    """The name of a point and its coordinates; "" and the text itself for all else."""
    found = _POINT.fullmatch(text)
    group = opened(found[2]) if found else None
    if found and group and group.brackets == "()" and len(split(group.values[0])) > 1:
        return found[1], found[2]
    return "", text


def _listed(gold: str, answer: str, leaf: Leaf) -> Verdict | None:  # noqa: PLR0911 - a case, a return
    """Lists, tuples and sets, value by value."""
    one, other = _group(gold), _group(answer)
    if one and other:
        if one.brackets != other.brackets and len(one.values) == 1 and _is_single_tuple(one):
            return compare(one.values[0], answer, leaf)
        if one.brackets != other.brackets and len(other.values) == 1 and _is_single_tuple(other):
            return compare(gold, other.values[0], leaf)
        return _groups(one, other, leaf)
    ours, theirs = one or _bare_list(gold), other or _bare_list(answer)
    if len(ours.values) > 1 and len(theirs.values) > 1:
        return _groups(ours, theirs, leaf)
    if len(ours.values) > 1 and len(theirs.values) == 1 and not _relational(gold + answer):
        return False, "one value for several"
    if len(ours.values) == 1 and len(theirs.values) > 1 and not _relational(gold + answer):
        return False, "several values for one"
    if one and not other and len(one.values) == 1:
        return compare(one.values[0], answer, leaf)
    if other and not one and len(other.values) == 1:
        return compare(gold, other.values[0], leaf)
    return None


def _group(text: str) -> Group | None:
    group = opened(text)
    values = split(group.values[0]) if group else []
    return Group(group.brackets, values) if group and values else None


def _bare_list(text: str) -> Group:
    """The values of a list without brackets; a sentence is one value."""
    in_words = re.findall(r"(?<![\\a-zA-Z])[a-z]{3,}", re.sub(r"\\[a-z]+\{[^{}]*\}", " ", text))
    single = len(set(in_words) - {"and"}) > 1 or not balanced(text) or number(text) is not None
    return Group("", [text] if single else split(text))


def _relational(text: str) -> bool:
    return bool(re.search(r"[<>]|\\(?:le|ge|ne|cup|cap|in|mid|setminus|begin)(?![a-z])", text))


def _groups(gold: Group, answer: Group, leaf: Leaf) -> Verdict:  # noqa: PLR0911 - a case, a return
    kinds = [group.brackets if len(group.values) < 3 or group.brackets != "[]" else "" for group in (gold, answer)]
    if {*kinds} & {"{}"} and {*kinds} & {"()", "[]", "[)", "(]"} and len(gold.values) + len(answer.values) > 2:
        return False, "a set for a tuple, or a tuple for a set"
    ours, theirs = gold.values, answer.values
    if {*kinds} & {"{}"} and sum(map(_is_set, ours)) != sum(map(_is_set, theirs)):
        return False, "a set for a value, or a value for a set"
    ordered = any(kind not in ("", "{}") for kind in kinds) and "{}" not in kinds
    if not ordered and "{}" in kinds:
        ours, theirs = _distinct(ours, leaf), _distinct(theirs, leaf)
    if len(ours) != len(theirs):
        return False, "another number of values"
    if bases.in_part(theirs) and not any(map(bases.numeral, ours)):
        return False, "a base for some of the values"
    if all(compare(value, given, leaf)[0] for value, given in zip(ours, theirs, strict=True)):
        return True, "same values in the same order"
    if ordered:
        return False, "other values, or in another order"
    return (True, "same values in another order") if _matched(ours, theirs, leaf) else (False, "other values")


def _is_single_tuple(group: Group) -> bool:
    """Whether a set has one element, and that is a tuple."""
    inner = opened(group.values[0])
    return group.brackets == "{}" and inner is not None and inner.brackets == "()"


def _is_set(text: str) -> bool:
    group = opened(text)
    return group is not None and group.brackets == "{}"


def _matched(ours: Sequence[str], theirs: Sequence[str], leaf: Leaf) -> bool:
    left = list(theirs)
    for value in ours:
        match = next((given for given in left if compare(value, given, leaf)[0]), None)
        if match is None:
            return False
        left.remove(match)
    return True


Rule = Callable[[str, str, Leaf], Verdict | None]
RULES: tuple[Rule, ...] = (
    same_text,
    empty,
    _option,
    _remarks,
    _conditions,
    _regions,
    _residues,
    _assigned,
    _inequalities,
    _named,
    _tolerance,
    _signs,
    _matrices,
    _ratios,
    _points,
    _listed,
)
"""In the order in which they are asked; those that are sure of a notation come before those that take texts apart."""
