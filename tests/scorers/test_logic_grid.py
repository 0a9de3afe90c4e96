"""`logic_grid`: tables of cells, cell by cell."""

import json

import pytest

from m1eval import Sample, UsageError, load
from tests.scorers.grading import grade

GRID = {"House 1": {"Name": "Ann", "Pet": "cat"}, "House 2": {"Name": "Bob", "Pet": "dog"}}
ZEBRA = {"header": ["House", "Name", "Pet"], "rows": [["1", "Ann", "cat"], ["2", "Bob", "dog"]]}


@pytest.mark.parametrize("target", [json.dumps(GRID), json.dumps(ZEBRA)])
def test_a_grid_is_solved_if_all_its_cells_are(target):
    answer = json.dumps({"reasoning": "a { in a text", "solution": GRID})
    score = grade("logic_grid", f"First {{}} then\n```json\n{answer}\n```", target, rule="m1eval")
    assert (score.value, score.explanation, score.metrics["cells"]) == (1, "grid m1eval: 4 of 4 cells", 1)
    assert grade("logic_grid", answer, target).answer is None, "ZeroEval counts the braces of texts too"
    answer = answer.replace("a { in", "a bracket in")
    wrong = grade("logic_grid", answer.replace("dog", "cow"), target)
    assert (wrong.value, wrong.metrics["cells"]) == (0, 0.75)
    assert grade("logic_grid", answer.replace("dog", "cow"), target, partial=True).value == 0.75


def test_a_cell_is_compared_without_case_and_may_be_a_list_or_a_number():
    text = (
        '{"solution": {"House 1": {"Name": " ANN ", "Pet": ["Cat", "dog"]}, "House 2": {"Name": "bob", "Pet": "DOG"}}}'
    )
    assert grade("logic_grid", text, json.dumps(GRID)).value == 1
    assert grade("logic_grid", '{"solution": {"House 1": {"Age": 7}}}', '{"House 1": {"Age": "7"}}').value == 1


@pytest.mark.parametrize(
    "text", ["", "no braces", "{", "{}", '{"solution": null}', '{"a": "' + "{" * 10_000, "{" * 200_000]
)
def test_no_solution_is_not_an_answer(text):
    score = grade("logic_grid", text, json.dumps(GRID))
    assert (score.value, score.answer) == (0, None)


def test_a_reference_that_is_not_a_grid_is_named():
    with pytest.raises(UsageError, match="the target is not a grid"):
        grade("logic_grid", "{}", "not json")


def test_the_gold_grid_scores_one():
    scorer = load("scorers", "logic_grid").Scorer()
    gold = scorer.gold(Sample(id="1", messages=[], target=json.dumps(ZEBRA)))
    assert grade("logic_grid", gold, json.dumps(ZEBRA)).value == 1
