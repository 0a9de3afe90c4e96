"""Extraction of final answers: a table of texts and their answers, half of them traps."""

import json
from pathlib import Path

import pytest

from m1eval import load
from tests.hostile import growth, repeated

math = load("scorers", "math")
boxed = math.extraction.boxed_answer.__globals__["boxes"]
TABLE = [json.loads(line) for line in Path(__file__).with_name("extraction.jsonl").read_text("utf-8").splitlines()]
UNITS = [
    *("\\boxed{", "\\boxed{1} and ", "$\\boxed{1}$\n- ", "\\boxed\\{"),
    *("\\boxed(", "\\boxed[", "\\colorbox{", "boxed{"),
    *("answer is ", "The answer is not ", "answer", "answer in ", "final answer\n", "# Answer\n", "**Answer**\n\n"),
    "answer\n",
    *("<answer>", "</answer>", "<answer>1</answer>", "[answer]", "#### "),
    *("#### 1\n", "#", "：", "答案是", "答え", "정답은 "),
    *('"answer": ', '"answer": [', "'answer': '", '"answer": {"value": ', "So "),
    *("∴ x = ", "x = 4 ✓\n", "\\[", "\\[ 4 \\]", "$$"),
    *("Die Antwort ist ", "La réponse est ", "Ответ: ", "Cevap ", "الجواب "),
    *("उत्तर ", "result is ", "solution ", "İ", "?", "✓"),
]  # fmt: skip


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row["text"][:40])
def test_what_must_be_found_is_found(row):
    answer = math.final_answer(row["text"], cut=row.get("cut", False), values=row.get("values", 1))
    assert answer == row["answer"]


def test_the_table_is_large_and_has_traps():
    assert len(TABLE) >= 400
    assert sum(row["answer"] is None for row in TABLE) >= 150


@pytest.mark.parametrize("unit", UNITS)
def test_finding_takes_linear_time(unit):
    assert growth(lambda text: math.final_answer(text, values=2), repeated(unit), 3_000) < 8


@pytest.mark.parametrize(
    ("reference", "values"),
    [("3", 1), ("3,5", 2), ("(2,3)", 2), (r"\{1, 2, 3\}", 3), ("10,000", 1), (r"\frac{1}{2}", 1), ("x=2", 1), ("", 1)],
)
def test_the_values_of_a_reference_are_counted(reference, values):
    assert math.how_many(reference) == values


def test_a_box_within_a_box_is_not_another_value():
    assert [box.content for box in boxed(r"\boxed{x = \boxed{5}} and \boxed{6}")] == ["x = {5}", "6"]
