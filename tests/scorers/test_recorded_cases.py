"""Answers that graders got wrong in public, and as many that are graded right and must stay so.

A few cases of our own are in tests/data; more, which are not ours, are read from next to the checkout if they are there
(`M1EVAL_SHARED` names another place). The tables in this folder are ours and cover the same kinds.
"""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from m1eval import Output, Sample, load
from m1eval.sandbox.workers import Pool

CASES = Path(os.environ.get("M1EVAL_SHARED", Path(__file__).resolve().parents[2] / ".." / "shared")) / "cases"
OWN = Path(__file__).resolve().parents[1] / "data" / "graders.jsonl"
RENAMED = {"grid": "logic_grid"}
"""Scorers that have another name in the cases."""


@pytest.fixture(scope="module")
def tools() -> Iterator[Any]:
    workers = Pool(1)
    yield SimpleNamespace(workers=workers)
    asyncio.run(workers.aclose())


def cases() -> dict[str, list[dict[str, Any]]]:
    table: dict[str, list[dict[str, Any]]] = {}
    files = [path for path in (OWN, CASES / "graders.jsonl") if path.is_file()]
    for line in (line for path in files for line in path.read_text("utf-8").splitlines()):
        case = json.loads(line)
        case["scorer"] = RENAMED.get(case["scorer"], case["scorer"])
        table.setdefault(case["scorer"], []).append(case)
    return table


async def verdict(case: dict[str, Any], tools: Any) -> str:
    """Verdict of the scorer on a case: 1, 0, or `unparsed` for 0 without an answer where the case asks for that."""
    scorer = load("scorers", case["scorer"]).Scorer(**(case["options"] or {}))
    sample = Sample(id="1", messages=[], target=case["target"], metadata=case["metadata"] or {})
    try:
        score = await scorer.score(Output(text=case["output"]), sample, tools)
    except TimeoutError:
        return "errored"
    if case["expected"] == "unparsed" and score.answer is None:
        return "unparsed"
    return f"{score.value:g}"


@pytest.mark.parametrize("scorer", ["choice", "contains", "infinitebench", "logic_grid", "math", "regex"])
def test_every_recorded_case_is_graded_as_it_should_be(scorer, tools):
    rows = cases()[scorer]

    async def grade() -> list[str]:
        return [await verdict(case, tools) for case in rows]

    verdicts = asyncio.run(grade())
    wrong = [
        f"{case['id']}: {case['output']!r} for {case['target']!r} gives {result}, not {case['expected']}"
        for case, result in zip(rows, verdicts, strict=True)
        if result != str(case["expected"])
    ]
    assert not wrong, "\n".join(wrong)


def test_no_scorer_of_the_recorded_cases_is_left_out():
    assert set(cases()) == {"choice", "contains", "infinitebench", "logic_grid", "math", "regex"}
