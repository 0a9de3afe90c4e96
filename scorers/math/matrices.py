r"""Matrices, vectors and systems: rows of cells from any environment, brackets and factors aside.

A column is the same as a tuple or as `\langle1,2\rangle`, and so is a row; a row is not a column. A determinant
(`vmatrix`) is a number, never a matrix.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from .cutting import outer_brackets, split_top_level

Same = Callable[[str, str], bool]

_MATRIX = re.compile(
    r"(?P<factor>[^&]*?)(?:\\cdot(?![a-zA-Z])|\\times(?![a-zA-Z])|\*)?\s*(?P<open>[(\[|]|\\\{|\\\||)\s*"
    r"\\begin\{(?P<kind>[a-zA-Z]+)\*?\}(?P<body>.*)\\end\{(?P=kind)\*?\}\s*(?P<close>[)\]|]|\\\}|\\\||)\s*"
    r"(?P<transposed>\^\s*\{?\s*(?:\\text|\\mathrm|\\top|\\intercal|\\prime|[tT'])\{?[tT]?\}*)?\Z",
    re.DOTALL,
)
_CASES = re.compile(r"[^&]*?\\begin\{[dr]?cases\}(?P<body>.*)\\end\{[dr]?cases\}\Z", re.DOTALL)
_SYSTEM = re.compile(r"\\(begin|end)\{[dr]?cases\}")
_LINES = re.compile(r"\\(?:hline|hdashline|toprule|midrule|bottomrule)(?![a-zA-Z])")


class Matrix(NamedTuple):
    """Rows of cells, all of one length."""

    rows: list[list[str]]

    @property
    def is_vector(self) -> bool:
        """Whether there is one row or one column."""
        return len(self.rows) == 1 or len(self.rows[0]) == 1

    @property
    def cells(self) -> list[str]:
        """All cells, row by row."""
        return [cell for row in self.rows for cell in row]


def read(text: str) -> Matrix | None:
    """The matrix that a whole text is, a factor multiplied out; None for determinants and all else."""
    if r"\begin" not in text:
        return _nested(text) if text.startswith("[[") or text.startswith("[ [") else None
    match = _MATRIX.match(text)
    if not match or r"\begin" in match["factor"] or "vmatrix" in match["kind"].lower() or "cases" in match["kind"]:
        return None
    if r"\end{" + match["kind"] in match["body"] or match["open"] in ("|", r"\|") or re.search("[=,]", match["factor"]):
        return None
    rows = _rows(match["body"])
    if not rows or len({len(row) for row in rows}) != 1:
        return None
    if factor := match["factor"].strip().rstrip("*").strip():
        sign = factor in ("-", "+")
        rows = [[f"{factor}({cell})" if sign else f"({factor})({cell})" for cell in row] for row in rows]
    if match["transposed"]:
        rows = [list(column) for column in zip(*rows, strict=True)]
    return Matrix(rows)


def compare(gold: str, answer: str, same: Same) -> bool | None:
    """Whether two matrices or vectors are the same; None where neither side is one."""
    ours, theirs = read(gold), read(answer)
    if ours and theirs:
        shape = len(ours.rows) == len(theirs.rows) and len(ours.rows[0]) == len(theirs.rows[0])
        return shape and all(same(a, b) for a, b in zip(ours.cells, theirs.cells, strict=True))
    matrix, other = (ours, answer) if ours else (theirs, gold)
    if matrix is None:
        return _piecewise(gold, answer, same)
    group = outer_brackets(other)
    if not group or group.brackets not in ("()", "[]"):
        return None if re.search(r"\\begin|[a-zA-Z]\s*\\|[A-Za-z]", other) else False
    values = split_top_level(group.values[0], r"[,;]")
    if not matrix.is_vector or len(values) != len(matrix.cells) or (group.brackets == "[]" and len(values) < 3):
        return False
    pairs = zip(matrix.cells, values, strict=True)
    return all(same(a, b) if ours else same(b, a) for a, b in pairs)


def flat_system(text: str) -> str:
    r"""A brace over equations, `\begin{cases}x=1\\y=2\end{cases}`, as a list; with conditions it stays."""
    if "cases" not in text or "&" in _SYSTEM.sub("", re.sub(r"&\s*(?==)", "", text)):
        return text
    flat = _SYSTEM.sub("", re.sub(r"&\s*(?==)", "", text)).strip().strip("{}")
    return ", ".join(part.strip(" ,") for part in flat.split(r"\\") if part.strip(" ,"))


def _piecewise(gold: str, answer: str, same: Same) -> bool | None:
    """Functions by cases, the cases in any order."""
    sides = [_CASES.match(text) for text in (gold, answer)]
    if not sides[0] or not sides[1]:
        return None
    ours, theirs = (_rows(side["body"]) for side in sides if side)
    left = list(theirs)
    for row in ours:
        match = next((other for other in left if _same_case(row, other, same)), None)
        if match is None:
            return False
        left.remove(match)
    return not left


def _same_case(row: list[str], other: list[str], same: Same) -> bool:
    cleaned = [
        [re.sub(r"\\text\{\s*(?:if|for|when)?\s*\}|[,.]\s*$", "", cell).strip() for cell in r] for r in (row, other)
    ]
    return len(row) == len(other) and all(same(a.strip(" ,"), b.strip(" ,")) for a, b in zip(*cleaned, strict=True))


def _rows(body: str) -> list[list[str]]:
    body = _LINES.sub("", body)
    return [
        [cell.strip() for cell in split_top_level(row, "&")] for row in split_top_level(body, r"\\\\") if row.strip()
    ]


def _nested(text: str) -> Matrix | None:
    """`[[1,2],[3,4]]`, as programs print it."""
    group = outer_brackets(text)
    rows = [outer_brackets(row) for row in split_top_level(group.values[0], ",")] if group else []
    if not rows or not all(row and row.brackets == "[]" for row in rows):
        return None
    cells = [split_top_level(row.values[0], ",") for row in rows if row]
    return Matrix(cells) if len({len(row) for row in cells}) == 1 else None
