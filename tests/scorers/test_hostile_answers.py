"""Degenerate answers of a megabyte through every scorer, as the loop calls it: graded, and nobody waits meanwhile."""

import asyncio
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.hostile_answers import ANSWERS, measure
from m1eval import JudgeReply, Output, Sample, Usage, load
from m1eval.run.context import Context
from m1eval.run.generation import ConcurrencyLimit, Session
from m1eval.run.grading import Attempt, graded_record
from m1eval.run.spending import Spending
from m1eval.sandbox.workers import Pool
from tests.hostile import FORMS

SIZE = 200_000
EVERY = {"mrcr": 8, "math": 2, "logic_grid": 2, "infinitebench": 2}
"""Stride over the forms for the slowest scorers."""
GRID = json.dumps({"House 1": {"Name": "Ann"}})
RUBRIC = {"rubric": "{{ answer }}", "verdicts": {"YES": 1, "NO": 0}, "confidence": r"(?i)confidence\W{0,6}(\d{1,3})"}

CASES: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "math": ("math", {}, "12", {}),
    "choice": ("choice", {}, "C", {}),
    "choice mmlu_pro": ("choice", {"rule": "mmlu_pro"}, "C", {}),
    "exact": ("exact", {"ignore_case": True}, "A b", {}),
    "contains": ("contains", {}, "answer is (B", {}),
    "regex": ("regex", {"pattern": r"answer is (\w+)"}, "A", {}),
    "f1": ("f1", {}, "a and b", {}),
    "logic_grid": ("logic_grid", {}, GRID, {}),
    "graphwalks": ("graphwalks", {}, "", {"answer_nodes": ["a", "b"]}),
    "mrcr": ("mrcr", {"timeout": 0.5}, "keywords and words", {"random_string_to_prepend": "key"}),
    "mr_niah": ("mr_niah", {}, "one. two", {}),
    "ruler": ("ruler", {}, "", {"outputs": ["one", "two"]}),
    "babilong": ("babilong", {}, "garden", {"subtask": "qa1", "question": "Where?"}),
    "longbench_v2": ("longbench_v2", {}, "A", {}),
    "infinitebench": ("infinitebench", {}, "", {"subtask": "longbook_qa_chn", "answers": ["答案"]}),
    "judge": ("judge", RUBRIC, "12", {}),
}


class Judges:
    """A judge that says the candidate's answer back, and then its verdict."""

    async def ask(self, messages: Any, *, attempt: int = 0, known: Any = None) -> list[JudgeReply]:
        return [
            JudgeReply(
                judge="j",
                key="k",
                text="> " + messages[0]["content"][:3000].replace("\n", "\n> ") + "\nVerdict: NO",
                usage=Usage(),
            )
        ]


async def scenario(name: str) -> tuple[dict[str, str], float]:
    """The errors of the forms that errored, and the longest time for which the loop did nothing else."""
    scorer, options, target, row = CASES[name]
    task = SimpleNamespace(
        scorer=load("scorers", scorer).Scorer(**options),
        source=SimpleNamespace(where=lambda key: "task.yaml:1"),
        definition=SimpleNamespace(average=None),
        scorer_file=Path("scorer.py"),
    )
    longest, errors = 0.0, {}

    async def heart() -> None:
        nonlocal longest
        while True:
            begin = time.thread_time()  # of this thread's own work: the machine may be busy with other things
            await asyncio.sleep(0.01)
            longest = max(longest, time.thread_time() - begin)

    nobody: Any = None
    async with Pool(2) as workers:
        beating = asyncio.create_task(heart())
        resources: Any = SimpleNamespace(workers=workers, judges=Judges())
        session = Session(
            *(nobody, resources, nobody),
            *(ConcurrencyLimit(lambda: 1), Spending(), asyncio.Event()),
        )
        sample = Sample(id="s", messages=[], target=target, metadata=row)
        work: Any = SimpleNamespace(task=task)
        for form, make in list(FORMS.items())[:: EVERY.get(name, 1)]:
            text = ("key" if scorer == "mrcr" else "") + make(SIZE)
            record = await graded_record(work, Attempt(0, 1, Output(text=text)), Context(resources, sample, 0), session)
            if record.outcome == "errored":
                errors[form] = record.error or ""
        beating.cancel()
    return errors, longest


@pytest.mark.parametrize("name", CASES)
def test_every_form_is_graded_and_the_loop_goes_on(name):
    errors, longest = asyncio.run(scenario(name))
    assert not errors
    assert longest < 1


@pytest.mark.parametrize(
    ("scorer", "answer"),
    [("math", "styles in a box"), ("choice", "a closed box of backslashes"), ("graphwalks", "final answers")],
)
def test_a_run_against_a_server_that_says_such_things_comes_to_its_end(tmp_path, scorer, answer):
    outcome, _ = measure(scorer, ANSWERS[answer](200_000), tmp_path)
    assert outcome in ("2 wrong", "2 unparsed")
