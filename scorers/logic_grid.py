"""A logic-grid puzzle: every cell of the table must be right.

`rule: zeroeval` (default) gives the verdicts of src/evaluation/zebra_grid_eval.py and eval_utils.py of
WildEval/ZeroEval. The answer is the last complete `{...}`, counted by its braces wherever they are; line feeds are
removed before it is parsed as JSON; without a `solution` in it there is no answer. A cell is right if it is the
reference's text in small letters without blanks around it (of a list the first item); a puzzle is solved if all its
cells are. Where that code stops with an error, the grade goes on: a cell that is a number is read as its text,
anything else as a wrong cell.

`rule: m1eval` also reads a grid without the key `solution`, an object before a later one without a grid, and
braces inside texts.
"""

import json
import re
from collections import deque
from collections.abc import Callable
from typing import Any, Literal

from m1eval import Context, Output, Sample, Score, UsageError

from ._columns import TargetScorer
from ._quotations import objects

Grid = dict[str, dict[str, str]]
Rule = Literal["zeroeval", "m1eval"]

MAX_OBJECTS = 50
"""Maximum number of objects, from the last one back, that the rule `m1eval` tries."""

_BRACE = re.compile(r"[{}]")


class Scorer(TargetScorer):
    """1 if the whole grid is right; `metrics.cells`: the share of its cells that are.

    The reference is the target as JSON, `{"House 1": {"Name": "Ann", …}, …}`, or ZebraLogic's own `{"header": […],
    "rows": [[…], …]}`. `partial: true` makes the share of cells the value. `rule`: `zeroeval` or `m1eval`.
    """

    def __init__(self, *, partial: bool = False, rule: Rule = "zeroeval") -> None:
        if rule not in RULES:
            raise UsageError(f"rule is one of {', '.join(RULES)}, not '{rule}'")
        self.partial = partial
        self.rule = rule

    async def score(self, output: Output, sample: Sample, context: Context) -> Score:
        """Compare cell by cell; without a JSON object with a solution there is no answer."""
        reference = _reference_of(sample)
        grid = RULES[self.rule](output.text)
        if grid is None:
            return Score(value=0.0, explanation=f"grid {self.rule}: no JSON solution", metrics={"cells": 0.0})
        cells = [(house, column) for house, row in reference.items() for column in row]
        right = sum(grid.get(house, {}).get(column) == reference[house][column] for house, column in cells)
        share = right / len(cells)
        return Score(
            value=share if self.partial else float(right == len(cells)),
            answer=json.dumps(grid, ensure_ascii=False).encode("utf-8", "replace").decode()[:400],
            explanation=f"grid {self.rule}: {right} of {len(cells)} cells",
            metrics={"cells": share},
        )

    def vote(self, record: Any) -> str | None:
        """The cells of a grid in one order."""
        grid = RULES[self.rule](record.text)
        return None if grid is None else json.dumps(grid, ensure_ascii=True, sort_keys=True)

    def gold(self, sample: Sample) -> str:
        """The reference in the form that the puzzle's prompt asks for."""
        return json.dumps({"reasoning": "", "solution": _reference_of(sample)}, ensure_ascii=False)


def _reference_of(sample: Sample) -> Grid:
    try:
        return reference(sample.target)
    except UsageError as error:
        raise UsageError(f"scorer logic_grid: sample {sample.id}: {error}") from None


def reference(target: str) -> Grid:
    """The cells of a reference; UsageError if it is not a grid."""
    try:
        data = json.loads(target)
        if isinstance(data, dict) and isinstance(data.get("header"), list):
            data = {f"House {i}": dict(zip(data["header"], row, strict=True)) for i, row in enumerate(data["rows"], 1)}
            data = {house: {k: v for k, v in row.items() if k != "House"} for house, row in data.items()}
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"the target is not a grid: {error}") from None
    grid = _cells(data)
    if not grid or not any(grid.values()):
        raise UsageError("the target has no cells")
    return grid


def zeroeval(text: str) -> Grid | None:
    """The cells of the last complete object by ZeroEval's rule; None if it has no solution."""
    start, depth, last = -1, 0, None
    for brace in _BRACE.finditer(text):
        if brace[0] == "{":
            start = brace.start() if depth == 0 else start
            depth += 1
        elif depth:
            depth -= 1
            last = (start, brace.end()) if depth == 0 else last
    if last is None:
        return None
    data = _parse_json(text[slice(*last)].replace("\n", ""))
    cells = data.get("solution") if isinstance(data, dict) else None
    return None if cells is None else _cells(cells)


def solution(text: str) -> Grid | None:
    """The cells of the last JSON object in a text that has some; linear in time."""
    for start, end in reversed(deque(objects(text), maxlen=MAX_OBJECTS)):
        data = _parse_json(text[start:end], strict=False)
        if isinstance(data, dict) and (grid := _cells(data.get("solution", data))):
            return grid
    return None


def _parse_json(text: str, *, strict: bool = True) -> Any:
    """A text parsed as JSON; None if it is not JSON, or nested deeper or with longer numbers than Python reads."""
    try:
        return json.loads(text, strict=strict)
    except (ValueError, RecursionError):
        return None


def _cells(data: Any) -> Grid:
    if not isinstance(data, dict):
        return {}
    return {
        str(house): {str(column): _cell(value) for column, value in row.items()}
        for house, row in data.items()
        if isinstance(row, dict)
    }


def _cell(value: Any) -> str:
    """The text that is compared; "" if there is none."""
    if isinstance(value, list):
        value = value[0] if value else ""
    return str("" if value is None or isinstance(value, list | dict) else value).lower().strip()


RULES: dict[str, Callable[[str], Grid | None]] = {"zeroeval": zeroeval, "m1eval": solution}
