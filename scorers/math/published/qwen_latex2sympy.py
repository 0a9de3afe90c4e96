r"""The third reader of Qwen2.5-Math's evaluation: lists, matrices, and what sympy's own grammar for LaTeX cannot read.

The published script has a fork of latex2sympy for it, which no package carries cleanly. This reads lists and matrices
as the fork does, cell by cell, and leaves the rest to latex2sympy2-extended, whose sets and intervals the fork lacks.
"""

import re
from typing import Any

_SPACES = re.compile(r"\\(?:displaystyle|qquad|quad|,)|[~$]")
_MATRIX = re.compile(r"\\begin\{([pbv]?)matrix\}((?:(?!\\begin|\\end).)*)\\end\{\1matrix\}", re.DOTALL)
_NUMBER = re.compile(r"\d*(?:,\d{3})*\.\d+|\d+(?:,\d{3})*")
_CLOSING = {"[": "]", "{": "}"}


def read(text: str) -> Any:
    """A sympy object, or a list of them; an exception where the text is not understood."""
    import sympy
    from sympy.parsing.latex import parse_latex

    if not text.isascii():
        raise ValueError("no letter of the published reader")
    plain = _NUMBER.sub(_number, _SPACES.sub(" ", text).strip())
    if matrix := _MATRIX.fullmatch(plain):
        rows = matrix[2].removesuffix("\\\\").split("\\\\")
        return sympy.Matrix([[_exact(parse_latex(cell, strict=True)) for cell in row.split("&")] for row in rows])
    if values := _listed(plain):
        return [_value(value) for value in values]
    return _value(plain, changed=plain != text)


def _number(found: re.Match[str]) -> str:
    """A number without commas and leading zeros, as the grammar there has it; digits behind it are a factor."""
    number = found[0].replace(",", "").lstrip("0")
    number = number if number[:1].isdigit() else f"0{number}"
    return rf"{number} \cdot " if found.string[found.end() :].lstrip()[:1].isdigit() else number


def _listed(text: str) -> list[str]:
    """The values of `a, b`, `[a, b]` or `{a, b}`, whatever follows the bracket; none where the text is no list."""
    values: list[str] = []
    bracketed = text[:1] in _CLOSING
    depth, begin = 0, int(bracketed)
    for place in range(begin, len(text)):
        letter = text[place]
        if depth == 0 and bracketed and letter == _CLOSING[text[0]]:
            break
        depth += (letter in "([{") - (letter in ")]}")
        if depth == 0 and letter in ",;":
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
    """A value whose decimals are fractions."""
    import sympy

    return value.xreplace({number: sympy.Rational(str(number)) for number in value.atoms(sympy.Float)})
