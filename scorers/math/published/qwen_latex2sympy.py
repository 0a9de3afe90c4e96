r"""The third reader of Qwen2.5-Math's evaluation: lists, matrices, and what sympy's own grammar for LaTeX cannot read.

The published script has a fork of latex2sympy for it, which no package carries cleanly. This reads lists and matrices
as the fork does, cell by cell, and leaves the rest to latex2sympy2-extended, whose sets and intervals the fork lacks.
"""

import re
from typing import Any

_SPACES = re.compile(r"\\(?:displaystyle|qquad|quad|,)|[~$]")
_MATRIX = re.compile(r"\\begin\{([pbv]?)matrix\}((?:(?!\\begin|\\end).)*)\\end\{\1matrix\}", re.DOTALL)
_NUMBER = re.compile(r"(?P<number>\d*(?:,\d{3})*\.\d+|\d+(?:,\d{3})*)(?P<percent>\\%)?")
_CLOSING = {"[": "]", "{": "}"}
_TOKEN = re.compile(r"\\\\|\\[a-zA-Z]+|\\?.", re.DOTALL)
_POWER_OF_TEN = re.compile(r"(?<=\d)E[+-]?\d")
_OPENING = frozenset({"(", "[", "{", r"\{", r"\begin"})
_ENDING = frozenset({")", "]", "}", r"\}", r"\end"})
_STOPPING = frozenset({"&", r"\\", r"\right", "."})
_FOREIGN = frozenset(
    {*'"#@?`%', r"\cup", r"\cap", r"\pm", r"\mp", r"\circ", r"\dots", r"\ldots", r"\cdots", r"\approx", r"\mathbb"}
)
_BACKSLASHED = re.compile(r"\\[^a-zA-Z{}|%\\]")
_TRANSPOSED = re.compile(r"\d'+\s*\d")
_UNFINISHED = re.compile(r"(?:[-+*/^=<>,;:]|\\(?:cdot|times|le|ge|ne|in|sqrt|ln|log|sin|cos|tan|frac))\s*\Z")


def read(text: str) -> Any:
    """A sympy object, or a list of them; an exception where the text is not understood."""
    import sympy
    from sympy.parsing.latex import parse_latex

    plain = _NUMBER.sub(_number, _understood(_SPACES.sub(" ", text).strip()))
    if matrix := _MATRIX.fullmatch(plain):
        rows = matrix[2].removesuffix("\\\\").split("\\\\")
        return sympy.Matrix([[_exact(parse_latex(cell, strict=True)) for cell in row.split("&")] for row in rows])
    if values := _listed(plain):
        return [_value(value) for value in values]
    return _value(plain, changed=plain != text)


def _understood(text: str) -> str:
    """The text before the first token that no expression can continue with: the grammar there wants no end of the text.

    `52&` is 52. A letter that the grammar does not have is an error, unless it follows such a token.
    """
    depth, listed = 0, False
    for match in _TOKEN.finditer(text):
        token, place = match[0], match.start()
        part_of_number = token == "." and text[match.end() : match.end() + 1].isdigit()
        stops = token in _STOPPING and not part_of_number
        stops = stops or (token == "E" and not _POWER_OF_TEN.match(text, place))
        if depth == 0 and (stops or token in _ENDING):
            text = text[:place].strip()
            break
        if token in _FOREIGN or not token.isascii() or _BACKSLASHED.match(token):
            raise ValueError("no letter of the published reader")
        depth += (token in _OPENING) - (token in _ENDING)
        listed = listed or (depth == 1 and token in ",;" and text[0] in _CLOSING)
        if depth == 0 and listed and token == _CLOSING[text[0]]:
            text = text[: match.end()]
            break
    if depth or not text or _UNFINISHED.search(text) or text.startswith("'") or _TRANSPOSED.search(text):
        raise ValueError("an unfinished text, or a number that is transposed")
    return text


def _number(match: re.Match[str]) -> str:
    """A number without commas and leading zeros, as the grammar there has it; digits behind it are a factor."""
    number = match["number"].replace(",", "").lstrip("0")
    number = number if number[:1].isdigit() else f"0{number}"
    number = rf"\frac{{{number}}}{{100}}" if match["percent"] else number
    return rf"{number} \cdot " if match.string[match.end() :].lstrip()[:1].isdigit() else number


def _listed(text: str) -> list[str]:
    """The values of `a, b`, `[a, b]` or `{a, b}`, whatever follows the bracket; none if the text is not a list."""
    values: list[str] = []
    bracketed = text[:1] in _CLOSING
    depth, begin, separator = 0, int(bracketed), ""
    for place in range(begin, len(text)):
        letter = text[place]
        if depth == 0 and bracketed and letter == _CLOSING[text[0]]:
            break
        depth += (letter in "([{") - (letter in ")]}")
        if depth == 0 and letter in ",;":
            if letter != (separator := separator or letter):
                if bracketed:
                    raise ValueError("a list with two kinds of separators")
                break
            values.append(text[begin:place])
            begin = place + 1
    else:
        if bracketed:
            return []
        place = len(text)
    return [*values, text[begin:place]] if values else []


def _value(text: str, *, changed: bool = True) -> Any:
    from sympy import Eq, Expr, MatrixBase
    from sympy.parsing.latex import parse_latex
    from sympy.parsing.latex.errors import LaTeXParsingError

    if changed:
        try:
            return _exact(parse_latex(text))
        except LaTeXParsingError:
            pass
    from latex2sympy2_extended.latex2sympy2 import latex2sympy

    value = latex2sympy(text)
    if not isinstance(value, Expr | MatrixBase | Eq):
        raise TypeError(f"{type(value).__name__} is unknown to the published reader")
    return _exact(value)


def _exact(value: Any) -> Any:
    """A value whose decimals are fractions, and whose letter e is the number."""
    import sympy

    numbers = {number: sympy.Rational(str(number)) for number in value.atoms(sympy.Float)}
    return value.xreplace({**numbers, sympy.Symbol("e"): sympy.E})
