"""Rules for values in a relation: families with an integer, inequalities, residues, tolerances, ratios."""

import re
from fractions import Fraction

from . import regions
from .clock import HALF_DAY, TIME
from .comparator import Comparator, Verdict
from .cutting import rename_letters, split_top_level
from .notation import number, split

_MODULO = re.compile(
    r"(?P<value>.*?)(?P<open>\()?\s*(?:\\[pb]?mod(?![a-zA-Z])|\\text\{\s*mod(?:ulo)?\s*\}|\\operatorname\{mod\}|(?<![a-zA-Z\\])mod(?:ulo)?(?![a-zA-Z]))"
    r"\s*\{?\s*(?P<modulus>\w+)\s*\}?(?(open)\))\s*",
    re.DOTALL,
)
_CONDITION = re.compile(r"[<>]|\\(?:le|ge|ne|in|nu|mid)(?![a-zA-Z])|(?:(?<![\\a-zA-Z])[a-zA-Z]{2,}\W+){3}")
_COLON = r":|\\text\s*\{\s*to\s*\}|(?<=\d)\s+to\s+(?=\d)"
_FREE = re.compile(
    r"(?P<letter>[a-z])\s*\\in\s*\\mathbb ?\{?[ZN]\}?(?:[_^]\{?[^{}]*\}?)?"
    r"|(?:\\text\{)?\s*(?:where|for|with)?\s*(?:all|any|some|every)?\s*\}?\s*(?P<other>[a-z])?\s*(?:\\text\{)?\s*"
    r"(?:is an(?:y)?)?\s*integers?\s*(?P<last>[a-z])?\s*\}?\s*(?P<end>[a-z])?"
)
_TOLERANCE = re.compile(r"\(?(?P<value>-?[\d.]+)\s*\\pm\s*(?P<margin>[\d.]+)\)?(?P<rest>.*)", re.DOTALL)


def integer_families(gold: str, answer: str, comparator: Comparator) -> Verdict | None:
    r"""A family such as `\frac{\pi}{4} + k\pi, k \in \mathbb{Z}`; the integer may have another letter."""
    (ours, letter, domain), (theirs, other, values) = _family(gold), _family(answer)
    if not letter and not other:
        return None
    if letter and other and domain != values:
        return False, "integers of another sign"
    if letter and other and letter != other:
        theirs = rename_letters(theirs, {other: letter})
    return comparator.compare(ours, theirs)


def _family(text: str) -> tuple[str, str, bool]:
    """The values, the letter of the integer in them ("" for none), and whether it may be negative."""
    parts = split_top_level(text, r"[,;]|(?<=\s)(?=\(?\\text\{\s*(?:where|for)\b)|(?=\(\s*[a-z]\s*\\in(?![a-zA-Z]))")
    match = _FREE.fullmatch(parts[-1].strip("() ")) if len(parts) > 1 else None
    letter = next((match[name] for name in ("letter", "other", "last", "end") if match[name]), "") if match else ""
    if not match or not letter:
        return text, "", True
    negative = not match["letter"] or not re.search(r"N|[_^]", match[0].partition(r"\in")[2])
    return ", ".join(parts[:-1]).rstrip(" ,("), letter, negative


def number_sets(gold: str, answer: str, comparator: Comparator) -> Verdict | None:
    same = regions.compare(gold, answer, lambda one, other: comparator.compare(one, other)[0], comparator.place)
    return None if same is None else (same, "sets of numbers")


def inequalities(gold: str, answer: str, comparator: Comparator) -> Verdict | None:
    """Two sides and a sign between them, perhaps reversed."""
    sides = [split_top_level(text, r"\\(?:le|ge)(?![a-zA-Z])|[<>]") for text in (gold, answer)]
    if not all(len(side) == 2 and all(side) for side in sides) or any("=" in text for text in (gold, answer)):
        return None
    signs = [re.search(r"\\(?:le|ge)(?![a-zA-Z])|[<>]", text) for text in (gold, answer)]
    strict = [bool(sign and sign[0] in "<>") for sign in signs]
    if strict[0] != strict[1]:
        return False, "inequalities"
    low, other = (
        [*side][:: -1 if sign and sign[0] in (">", r"\ge") else 1] for side, sign in zip(sides, signs, strict=True)
    )
    same = all(comparator.compare(a, b)[0] for a, b in zip(low, other, strict=True))
    return (True, "inequalities") if same else None


def residue_classes(gold: str, answer: str, comparator: Comparator) -> Verdict | None:
    r"""`N \equiv 3 \pmod 7`: residues of one modulus; the residue alone is the answer, too."""
    ours, theirs = _residue(gold), _residue(answer)
    if ours and theirs:
        if ours[1] != theirs[1]:
            return False, "residues: another modulus"
        modulus = number(ours[1])
        reduced = [
            [_reduced(value, modulus.value if modulus else None) for value in split_top_level(side[0], ",")]
            for side in (ours, theirs)
        ]
        return comparator.compare(", ".join(reduced[0]), ", ".join(reduced[1]))[0], "residues"
    if not re.search(r"\\(?:pmod|equiv)(?![a-zA-Z])", gold + answer):
        return None
    if ours:
        return comparator.compare(ours[0], answer)
    return comparator.compare(gold, theirs[0]) if theirs else None


def _residue(text: str) -> tuple[str, str] | None:
    match = _MODULO.fullmatch(text) if "mod" in text else None
    if match is None or not match["value"].strip():
        return None
    before = match["value"].rpartition(r"\equiv")[0]
    if _CONDITION.search(before):  # it says more than the residue
        return None
    parts = [split_top_level(part, r"\\equiv(?![a-zA-Z])|=")[-1] for part in split(match["value"])]
    return ", ".join(parts), match["modulus"]


def _reduced(value: str, modulus: Fraction | None) -> str:
    parsed = number(value)
    integers = parsed and modulus and parsed.value.denominator == modulus.denominator == 1
    return str(parsed.value % modulus) if parsed and modulus and integers else value


def tolerance(gold: str, answer: str, comparator: Comparator) -> Verdict | None:
    r"""Comparison for `precision: gold`, where `9.8 \pm 0.1` is one measured value and not two answers."""
    ours, theirs = (_TOLERANCE.fullmatch(text) for text in (gold, answer))
    if not comparator.tolerant or (not ours and not theirs):
        return None
    if theirs:
        answer = theirs["value"] + theirs["rest"]
    if not ours:
        return comparator.compare(gold, answer)
    if theirs and Fraction(ours["margin"]) != Fraction(theirs["margin"]):
        return False, "another tolerance"
    value = number(answer) if ours["rest"].strip() == "" else None
    if value and abs(value.value - Fraction(ours["value"])) <= Fraction(ours["margin"]):
        return True, "within the tolerance"
    return comparator.compare(ours["value"] + ours["rest"], answer)


def ratios(gold: str, answer: str, comparator: Comparator) -> Verdict | None:
    """`3:4` is 6:8 and 3/4; two times of day are the same only minute by minute."""
    days = [HALF_DAY.search(text) for text in (gold, answer)]
    ours, theirs = (_ratio_terms(HALF_DAY.sub("", text)) for text in (gold, answer))
    if len(ours) < 2 and len(theirs) < 2:
        return None
    times = [TIME.fullmatch(HALF_DAY.sub("", text).strip()) for text in (gold, answer)]
    if times[0] and times[1]:
        halves = {day[1].lower() for day in days if day}
        return [*map(int, times[0].groups())] == [*map(int, times[1].groups())] and len(halves) < 2, "times"
    if len(ours) > 1 and len(theirs) > 1:
        if len(ours) != len(theirs):
            return False, "ratios"
        quotients = [[rf"\frac{{{term}}}{{{side[0]}}}" for term in side[1:]] for side in (ours, theirs)]
        return all(comparator.same(a, b)[0] for a, b in zip(*quotients, strict=True)), "ratios"
    if len(ours) > 2 or len(theirs) > 2:
        return False, "ratios"
    fractions = [
        rf"\frac{{{side[0]}}}{{{side[1]}}}" if len(side) == 2 else text
        for side, text in ((ours, gold), (theirs, answer))
    ]
    return comparator.same(*fractions)[0], "ratios"


def _ratio_terms(text: str) -> list[str]:
    terms = split_top_level(re.sub(r"\\text\s*\{\s*:\s*\}", ":", text), _COLON)
    plain = all(term and len(term) < 60 and not re.search(r"[=<>,]|\\to|(?<!\\)[a-z]{3}", term) for term in terms)
    return terms if len(terms) > 1 and plain else []
