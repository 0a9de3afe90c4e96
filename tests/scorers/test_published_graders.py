"""Verdicts of published graders, recorded by running them on texts of ours, and metadata of the wrong kind."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from m1eval import Output, Sample, Score, UsageError, load

ROWS = [
    json.loads(line) for line in Path(__file__).with_name("published.jsonl").read_text(encoding="utf-8").splitlines()
]


def graded(scorer: str, text: str, target: str = "", *, options: Any = None, metadata: Any = None) -> Score:
    grader = load("scorers", scorer).Scorer(**(options or {}))
    sample = Sample(id="s7", messages=[], target=target, metadata=metadata or {})
    score: Score = asyncio.run(grader.score(Output(text=text), sample, SimpleNamespace()))
    return score


@pytest.mark.parametrize("rule", sorted({row["rule"] for row in ROWS}))
def test_the_recorded_verdict_of_a_published_grader_is_ours(rule):
    """`python -m benchmarks.published_choice` compares many more texts with the published code itself."""
    rows = [row for row in ROWS if row["rule"] == rule]
    assert len(rows) >= 40
    differing = []
    for row in rows:
        score = graded(row["scorer"], row["text"], row["target"], options=row["options"], metadata=row["metadata"])
        same = score.answer == row["answer"] if "answer" in row else score.value == pytest.approx(row["value"])
        same &= "cells" not in row or score.metrics["cells"] == row["cells"]
        same &= "parsed" not in row or (score.answer is not None) == row["parsed"]
        if not same:
            differing.append((row["text"], row, score))
    assert not differing


@pytest.mark.parametrize(
    ("text", "nodes", "value"),
    [
        ("Final Answer: [a1, b2]", ["a1", "b2"], 0.5),  # the first node has the form's words on it
        ("Final Answer: [a1]", ["a1"], 1.0),  # nothing in common
        ("Final Answer: [x, b2]", ["a1", "b2"], 0.5),
        ("Final Answer: [x]", ["a1"], 1.0),
        ("Final Answer: []", [], 1.0),
        ("Final Answer: [a1, b2]\n", ["a1", "b2"], 0.0),  # the last line is empty
        ("Final Answer:  [a1, b2]", ["a1", "b2"], 0.0),  # two blanks
        ("a1, b2", ["a1", "b2"], 0.0),
    ],
)
def test_the_dataset_card_of_graphwalks_is_followed_to_the_letter(text, nodes, value):
    assert graded("graphwalks", text, options={"rule": "card"}, metadata={"answer_nodes": nodes}).value == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Final Answer: [a1, b2]", 1.0),
        ("Final Answer: ['a1', \"b2\"]\n\n", 1.0),
        ("Final Answer: [b2, a1, a1]", 1.0),
        ("Final Answer: [a1]", 2 / 3),
        ("Final Answer: [a1, b2, c3]", 0.8),
        ("Final Answer: [x]", 0.0),
        ("Final Answer: []", 0.0),
        ("Final Answer: [a1, b2]\nDone.", 0.0),
    ],
)
def test_the_sets_of_graphwalks_are_compared(text, value):
    assert graded("graphwalks", text, metadata={"answer_nodes": ["a1", "b2"]}).value == pytest.approx(value)


GRID = {"House 1": {"Name": "Ann", "Pet": "cat"}, "House 2": {"Name": "Bob", "Pet": "dog"}}
SOLVED = json.dumps({"reasoning": "r", "solution": GRID})


@pytest.mark.parametrize(
    ("text", "value", "parsed"),
    [
        (SOLVED, 1, True),
        (SOLVED.replace('"r"', '"First.\nSecond."'), 1, True),
        (json.dumps(json.loads(SOLVED), indent=2), 1, True),
        (f"{{}} {SOLVED} and so on", 1, True),
        (f"{SOLVED} {{}}", 0, False),  # the last object counts
        (json.dumps(GRID), 0, False),  # no "solution"
        (SOLVED.replace('"r"', '"a { in a text"'), 0, False),
        (SOLVED.replace('"r"', '"a {} in a text"'), 1, True),
        (SOLVED.replace('"r"', '"tab\there"'), 0, False),
        (SOLVED.replace('"cat"', '["Cat", "dog"]'), 1, True),
        (SOLVED.replace('"cat"', '["dog", "cat"]'), 0, True),
        (SOLVED.replace('"cat"', '" CAT "'), 1, True),
        (SOLVED.replace('"cat"', "null"), 0, True),
        (SOLVED.replace('"cat"', "7"), 0, True),
        (SOLVED.replace("House 2", "house 2"), 0, True),
        (SOLVED[:-1], 0, False),
        ('{"solution": {}}', 0, True),
        ('{"solution": []}', 0, True),
        ('{"solution": "House 1"}', 0, True),
    ],
)
def test_zero_eval_reads_what_it_reads(text, value, parsed):
    score = graded("logic_grid", text, json.dumps(GRID))
    assert (score.value, score.answer is not None) == (value, parsed)


@pytest.mark.parametrize(
    "text", [json.dumps(GRID), f"{SOLVED} {{}}", SOLVED.replace('"r"', '"a { b"'), SOLVED.replace('"r"', '"a\tb\nc"')]
)
def test_our_own_rule_of_grids_reads_more(text):
    assert graded("logic_grid", text, json.dumps(GRID), options={"rule": "m1eval"}).value == 1
    wrong = text.replace("dog", "cow")
    assert graded("logic_grid", wrong, json.dumps(GRID), options={"rule": "m1eval"}).value == 0


ACCENTED = [("caf\u00e9", "cafe\u0301"), ("\u1ec7", "e\u0323\u0302"), ("\u212b", "\u00c5"), ("\uac00", "\u1100\u1161")]


@pytest.mark.parametrize(("one", "other"), ACCENTED)
@pytest.mark.parametrize("scorer", ["exact", "contains", "f1"])
def test_a_letter_is_the_same_however_it_is_composed(scorer, one, other):
    assert graded(scorer, one, other).value == graded(scorer, other, one).value == 1


@pytest.mark.parametrize("scorer", ["exact", "contains", "f1"])
def test_another_accent_is_another_letter(scorer):
    assert graded(scorer, "caf\u00e8", "cafe\u0301").value == 0
    assert graded(scorer, "cafe", "cafe\u0301").value == 0


ODD: tuple[Any, ...] = (None, True, {})
NEEDS = [
    ("infinitebench", {"subtask": "passkey", "answers": ["1"]}, "subtask"),
    ("infinitebench", {"subtask": "passkey", "answers": ["1"]}, "answers"),
    ("babilong", {"subtask": "qa1", "question": "Where?"}, "subtask"),
    ("babilong", {"subtask": "qa1", "question": "Where?"}, "question"),
    ("graphwalks", {"answer_nodes": ["a"]}, "answer_nodes"),
    ("mrcr", {"random_string_to_prepend": "k"}, "random_string_to_prepend"),
    ("ruler", {"outputs": ["a"]}, "outputs"),
    ("reasoning_gym", {"dataset": "d", "config": "{}", "index": 1, "digest": 2}, "dataset"),
    ("reasoning_gym", {"dataset": "d", "config": "{}", "index": 1, "digest": 2}, "config"),
]


@pytest.mark.parametrize(("scorer", "row", "column"), NEEDS)
def test_metadata_of_the_wrong_kind_is_named_with_its_sample(scorer, row, column):
    odd = [{**row, column: value} for value in ODD] + [{k: v for k, v in row.items() if k != column}]
    for metadata in odd:
        with pytest.raises(UsageError, match=f"sample s7 .*'{column}'"):
            graded(scorer, "the answer", "x", metadata=metadata)


def test_targets_that_cannot_be_graded_are_named_with_their_sample():
    for scorer, target in (
        ("mr_niah", ""),
        ("mr_niah", " . "),
        ("logic_grid", "no"),
        ("logic_grid", "[]"),
        ("contains", ""),
    ):
        with pytest.raises(UsageError, match="s7"):
            graded(scorer, "the answer", target)
