r"""Names in front of values: `x = 5`, `f(x) = x + 1`, `\angle ABC = 30^\circ`, and chains such as `x = 2 + 3 = 5`.

A name says nothing where only one side has it. Where both have one, other names are other answers, but a word
(`\text{Area}`), and `y` for `f(x)`, match any name; the variable of a function may be renamed.
"""

import re
from typing import NamedTuple

from .cutting import outer_brackets, rename_letters, split_top_level, split_with_separators

_EQUALS = r"=|\\(?:approx|simeq|Rightarrow|implies|Longrightarrow|iff|Leftrightarrow)(?![a-zA-Z])"
_APPROXIMATE = (r"\approx", r"\simeq")
_INDEX = r"(?:_(?:\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}|\w))?"
_ATOM = (
    r"(?:\\(?:vec|hat|overline|bar|tilde|overrightarrow|widehat|dot|mathbb|mathcal|mathrm|mathbf|text|operatorname)"
    r"\s*(?:\{[^{}]*\}|[a-zA-Z])|\\(?!frac|sqrt|pi(?![a-zA-Z])|begin|log|ln|sin|cos|tan|lim|sum|int|binom|infty)[a-zA-Z]+|[a-zA-Z])"
)
_NAME = re.compile(
    rf"m?\s*(?:\\(?:angle|triangle|square)\s*)?(?:{_ATOM}|[A-Z]{{2,4}}){_INDEX}'*"
    rf"(?:\^\{{-1\}})?\s*(?P<arguments>\([^()]*(?:\([^()]*\)[^()]*)*\))?{_INDEX}\Z"
)
_POINTS = re.compile(r"m?\s*(?:\\(?:angle|triangle|square|overline|vec)\s*)?[{|(\[]?\s*[A-Z]{2,4}\s*[}|)\]]?\Z")
_SEGMENTS = re.compile(r"\|\s*(?:\\?[a-zA-Z]+|[A-Z]{2})\s*\|\Z")
_TUPLE = re.compile(r"\(?\s*[a-zA-Z](?:_\{?\w+\}?)?(?:\s*,\s*[a-zA-Z](?:_\{?\w+\}?)?)+\s*\)?\Z")
_FUNCTION = re.compile(r"\(\s*[a-z](?:\s*,\s*[a-z])*\s*\)\Z")
_WORDS = re.compile(r"[A-Za-z]*[a-z]{2,}[A-Za-z\s]*\Z")


class Named(NamedTuple):
    """A value, its exact or other forms, and the name in front of it ("" for none)."""

    name: str
    values: list[str]
    is_equation: bool = False
    """Whether what is left of the sign is neither a name nor a number: `x + y = 2`."""


def read(text: str) -> Named:
    """A text as a named value: of a chain the last value, before and behind an approximation both."""
    text = re.sub(r"^\\(?:therefore|because|approx|simeq|sim)(?![a-zA-Z])\s*|^[=≈]\s*", "", text.strip())
    members, signs = split_with_separators(text, _EQUALS)
    if len(members) < 2 or not all(members) or re.search(r"[<>]|\\(?:le|ge|ne|equiv)(?![a-zA-Z])", text):
        return Named("", [text])
    if _is_name(members[0]):
        name, rest = members[0], members[1:]
        signs = signs[1:]
    elif len(members) == 2 and _is_name(members[1]) and not _is_name(members[0]):
        return Named(members[1], [members[0]])
    else:
        values = _forms(members, signs)
        numeric = not re.search(r"(?<![\\a-zA-Z])d?[a-zA-Z](?![a-zA-Z])", re.sub(r"\\[a-zA-Z]+", "", members[0]))
        return Named("", values, is_equation=len(members) == 2 and not numeric and signs[0] == "=")
    return Named(name, _forms(rest, signs))


def _forms(members: list[str], signs: list[str]) -> list[str]:
    """The last member, and the last one before an approximation."""
    forms = [members[-1]]
    for i, sign in enumerate(signs[: len(members) - 1]):
        if sign in _APPROXIMATE:
            forms.append(members[i])
            break
    return forms


def _is_name(text: str) -> bool:
    return bool(
        _NAME.match(text) or _POINTS.match(text) or _SEGMENTS.match(text) or _TUPLE.match(text) or _FUNCTION.match(text)
    )


def compatible(one: str, other: str) -> bool:
    """Whether two names may be names of one thing."""
    (ours, args), (theirs, others) = _canonical(one), _canonical(other)
    if ours == theirs or not ours or not theirs or _WORDS.match(ours) or _WORDS.match(theirs):
        return True
    if (ours == "y" and others) or (theirs == "y" and args):
        return True
    if re.fullmatch("[A-Z]{2,}", ours) or re.fullmatch("[A-Z]{2,}", theirs):
        angle = r"\angle" in one + other
        if len(ours) == len(theirs) == 3 and angle:
            return ours[1] == theirs[1] and {*ours} == {*theirs}
        return len(ours) != len(theirs) or sorted(ours) == sorted(theirs)
    if ours.partition("_")[0].lower() == theirs.partition("_")[0].lower():
        indices = ours.partition("_")[2], theirs.partition("_")[2]
        return not all(indices) or indices[0] == indices[1] or all(len(i) == 1 and i in "nkmij" for i in indices)
    return False


def _canonical(name: str) -> tuple[str, str]:
    """A name's letters and its arguments."""
    name = re.sub(r"\s+", "", re.sub(r"\\text\{([^{}]*)\}", r"\1", name))
    arguments = re.search(r"(?<=[\w}'])\(([^()]*)\)$", name)
    if arguments:
        name = name[: arguments.start()]
    name = re.sub(
        r"^\(.*\)$|^m(?=\\angle)|\\(?:angle|triangle|square|vec|hat|overline|bar|overrightarrow|widehat|mathbb|mathrm|mathbf|operatorname)(?![a-zA-Z])|[|{}()\[\]\s]",
        "",
        name,
    )
    return name, arguments[1] if arguments else ""


def same_variables(gold: str, answer: str, value: str) -> str | None:
    """The answer's value with the variables of the reference's function; None where another letter is in the way."""
    ours, theirs = (_letters(name) for name in (gold, answer))
    if not ours or not theirs or len(ours) != len(theirs) or ours == theirs:
        return value
    letters = dict(zip(theirs, ours, strict=True))
    used = set(
        re.findall(r"(?<![\\a-zA-Z])[a-zA-Z]|(?<=[a-z\d])[a-zA-Z](?![a-zA-Z])", re.sub(r"\\[a-zA-Z]+", " ", value))
    )
    if used & (set(ours) - set(theirs)):
        return None
    return rename_letters(value, letters)


def _letters(name: str) -> list[str]:
    arguments = _canonical(name)[1] or "".join(re.findall(r"_\{?([nkmij])\}?$", name))
    letters = [part.strip() for part in arguments.split(",")]
    return letters if all(len(letter) == 1 and letter.isalpha() for letter in letters) else []


def assignments(text: str) -> list[tuple[str, str]]:
    r"""`x=1, y=2` or `(x,y)=(1,2)` as pairs of a name and a value, in order; empty for all else."""
    parts = split_top_level(
        text, r"[,;]|\\text\s*\{[\s,]*and\s*\}|(?<=[\s,])and(?=\s)|\\(?:land|wedge|quad)(?![a-zA-Z])|\\\\"
    )
    parts = [part for part in parts if part]
    sides = [split_top_level(part, "=") for part in parts]
    if len(parts) == 1 and len(sides[0]) == 2 and _TUPLE.match(sides[0][0]):
        names = [name.strip() for name in sides[0][0].strip("() ").split(",")]
        group = outer_brackets(sides[0][1])
        values = split_top_level(group.values[0], r"[,;]") if group and group.brackets == "()" else []
        return list(zip(names, values, strict=True)) if len(names) == len(values) else []
    if len(parts) < 2 or not all(len(side) >= 2 and _is_name(side[0]) and all(side) for side in sides):
        return []
    names = [_canonical(side[0])[0] + _canonical(side[0])[1] for side in sides]
    if len(set(names)) != len(names):
        return []
    return [(_canonical(side[0])[0], side[-1]) for side in sides]


def in_order(pairs: list[tuple[str, str]]) -> list[str]:
    """The values in the order of the alphabet where the names are neighbours in it (x, y, z), else as written."""
    names = [name for name, _ in pairs]
    if all(len(name) == 1 for name in names):
        codes = sorted(map(ord, names))
        if codes == list(range(codes[0], codes[0] + len(codes))):
            return [value for _, value in sorted(pairs)]
    return [value for _, value in pairs]


def indexed(pairs: list[tuple[str, str]]) -> bool:
    """Whether the names differ in their index alone: x_1 and x_2 are two values of one unknown."""
    return len({name.partition("_")[0] for name, _ in pairs}) == 1
