"""A logic-grid puzzle: every cell of the table must be right.

Source: src/evaluation/zebra_grid_eval.py and eval_utils.py of WildEval/ZeroEval: the answer is the last complete JSON
object, a cell is right if it is the reference's text in small letters without blanks around it (of a list the first
item), a puzzle is solved if all its cells are. A cell that is a number and braces inside a text, on which the official
code fails, are read here as what they are.
"""

import json
from typing import Any

import msgspec

from m1eval import Output, Sample, Score, Tools, UsageError

Grid = dict[str, dict[str, str]]


class Scorer:
    """1 if the whole grid is right; `metrics.cells`: the share of its cells that are.

    The reference is the target as JSON, `{"House 1": {"Name": "Ann", …}, …}`, or ZebraLogic's own `{"header": […],
    "rows": [[…], …]}`. `partial: true` makes the share of cells the value.
    """

    def __init__(self, *, partial: bool = False) -> None:
        self.partial = partial

    async def score(self, output: Output, sample: Sample, tools: Tools) -> Score:
        """Compare cell by cell; no JSON object with a solution is no answer."""
        wanted = reference(sample.target)
        given = solution(output.text)
        if given is None:
            return Score(value=0.0, explanation="grid: no JSON solution", metrics={"cells": 0.0})
        cells = [(house, column) for house, row in wanted.items() for column in row]
        right = sum(given.get(house, {}).get(column) == wanted[house][column] for house, column in cells)
        share = right / len(cells)
        return Score(
            value=share if self.partial else float(right == len(cells)),
            answer=json.dumps(given, ensure_ascii=False)[:400],
            explanation=f"grid: {right} of {len(cells)} cells",
            metrics={"cells": share},
        )

    def gold(self, sample: Sample) -> str:
        """The reference in the form that the puzzle's prompt asks for."""
        return json.dumps({"reasoning": "", "solution": reference(sample.target)}, ensure_ascii=False)


def reference(target: str) -> Grid:
    """The cells of a reference; UsageError if it is none."""
    try:
        data = msgspec.json.decode(target)
        if isinstance(data, dict) and isinstance(data.get("header"), list):
            data = {f"House {i}": dict(zip(data["header"], row, strict=True)) for i, row in enumerate(data["rows"], 1)}
            data = {house: {k: v for k, v in row.items() if k != "House"} for house, row in data.items()}
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"scorer grid: the target is no grid: {error}") from None
    grid = _cells(data)
    if not grid or not any(grid.values()):
        raise UsageError("scorer grid: the target has no cells")
    return grid


def solution(text: str) -> Grid | None:
    """The cells of the last JSON object in a text that has some; linear in time."""
    for candidate in reversed(objects(text)):
        try:
            data = msgspec.json.decode(candidate)
        except (msgspec.DecodeError, RecursionError):
            continue
        if isinstance(data, dict) and (grid := _cells(data.get("solution", data))):
            return grid
    return None


def objects(text: str, most: int = 50) -> list[str]:
    """The last `most` complete outermost `{...}` of a text; braces inside quoted strings do not count."""
    found: list[str] = []
    start, depth, quoted, escaped = -1, 0, False, False
    for i, character in enumerate(text):
        if escaped:
            escaped = False
        elif depth and character == "\\":
            escaped = quoted
        elif depth and character == '"':
            quoted = not quoted
        elif character == "{" and not quoted:
            start = i if depth == 0 else start
            depth += 1
        elif character == "}" and depth and not quoted:
            depth -= 1
            if depth == 0:
                found = [*found[-most + 1 :], text[start : i + 1]]
    return found


def _cells(data: Any) -> Grid:
    if not isinstance(data, dict):
        return {}
    return {
        str(house): {str(column): _cell(value) for column, value in row.items()}
        for house, row in data.items()
        if isinstance(row, dict)
    }


def _cell(value: Any) -> str:
    if isinstance(value, list):
        value = value[0] if value else ""
    return str("" if value is None else value).strip().lower()
