"""The small scorers: grid, regex and f1."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m1eval import Output, Sample, Score, UsageError, load
from m1eval.sandbox.workers import Pool

GRID = {"House 1": {"Name": "Ann", "Pet": "cat"}, "House 2": {"Name": "Bob", "Pet": "dog"}}
ZEBRA = {"header": ["House", "Name", "Pet"], "rows": [["1", "Ann", "cat"], ["2", "Bob", "dog"]]}


def grade(name: str, text: str, target: str, tools: Any = None, **options: Any) -> Score:
    sample = Sample(id="1", messages=[], target=target)
    score: Score = asyncio.run(load("scorers", name).Scorer(**options).score(Output(text=text), sample, tools))
    return score


@pytest.fixture(scope="module")
def tools():
    workers = Pool(1)
    yield SimpleNamespace(workers=workers)
    asyncio.run(workers.aclose())


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
def test_no_solution_is_no_answer(text):
    score = grade("logic_grid", text, json.dumps(GRID))
    assert (score.value, score.answer) == (0, None)


def test_a_reference_that_is_no_grid_is_named():
    with pytest.raises(UsageError, match="the target is no grid"):
        grade("logic_grid", "{}", "not json")


def test_the_gold_grid_scores_one():
    scorer = load("scorers", "logic_grid").Scorer()
    gold = scorer.gold(Sample(id="1", messages=[], target=json.dumps(ZEBRA)))
    assert grade("logic_grid", gold, json.dumps(ZEBRA)).value == 1


def test_a_pattern_finds_the_answer(tools):
    assert grade("regex", "Result: 7\nResult: 8", "8", tools, pattern=r"Result: (\d+)").value == 1
    assert grade("regex", "Result: 7\nResult: 8", "7", tools, pattern=r"Result: (\d+)", take="first").value == 1
    assert grade("regex", "RESULT: x", "X", tools, pattern=r"result: (.+)", flags="i", ignore_case=True).value == 1
    assert grade("regex", "nothing", "8", tools, pattern=r"\d+").answer is None


def test_a_pattern_that_never_ends_is_given_up(tools):
    grade("regex", "a", "a", tools, pattern="a", timeout=30)
    score = grade("regex", "a" * 40 + "b", "a", tools, pattern=r"(a+)+c", timeout=0.5)
    assert (score.value, score.answer is None) == (0, False), "it ends on prose: the answer is out of the ordinary"
    with pytest.raises(TimeoutError, match="nor on plain prose"):
        grade("regex", "Some words, and some more of them to read", "a", tools, pattern=r"(\S+\s?)*!", timeout=0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pattern": "("}, "no regular expression"),
        ({"pattern": "a", "take": "all"}, "take"),
        ({"pattern": "a", "flags": "q"}, "flags"),
    ],
)
def test_a_wrong_option_of_regex_is_named(options, message):
    with pytest.raises(UsageError, match=message):
        load("scorers", "regex").Scorer(**options)


def test_f1_counts_shared_words_of_the_best_reference():
    score = grade("f1", "The Eiffel Tower, in Paris", "Eiffel tower | Big Ben", separator="|")
    assert score.value == pytest.approx(2 * 2 / (4 + 2))
    assert grade("f1", "a Big Ben!", "Eiffel tower | Big Ben", separator="|").metrics["exact"] == 1
    assert grade("f1", "", "x").answer is None


@given(st.text(max_size=80).filter(str.strip))
def test_f1_of_a_text_with_itself_is_one(text):
    score = grade("f1", text, text)
    assert score.value == 1
