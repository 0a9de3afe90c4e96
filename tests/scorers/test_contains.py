"""The small text scorers, contains and exact."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from m1eval import Output, Sample, Score, UsageError, classify, load


def graded(
    scorer: str, text: str, target: str = "", *, metadata: dict[str, Any] | None = None, **options: Any
) -> Score:
    grader = load("scorers", scorer).Scorer(**options)
    sample = Sample(id="s", messages=[], target=target, metadata=metadata or {})
    score: Score = asyncio.run(grader.score(Output(text=text), sample, SimpleNamespace()))
    return score


@pytest.mark.parametrize(
    ("text", "target", "options", "value"),
    [
        ("The code is 4711.", "4711", {}, 1.0),
        ("The code is 4712.", "4711", {}, 0.0),
        ("PARIS, of course", "Paris", {}, 1.0),
        ("PARIS, of course", "Paris", {"case": True}, 0.0),
        ("STRASSE", "straße", {}, 1.0),
        ("one and three", "one|two|three|four", {"separator": "|"}, 0.5),
        ("one and three", "one|two|three|four", {"separator": "|", "need": "any"}, 1.0),
        ("none of them", "one|two", {"separator": "|", "need": "any"}, 1.0),
        ("nothing", "one|two", {"separator": "|", "need": "any"}, 0.0),
        ("one|two", "one|two", {}, 1.0),
        ("a and b", " a | b ", {"separator": "|"}, 1.0),
    ],
)
def test_the_value_is_the_share_of_references_found(text, target, options, value):
    assert graded("contains", text, target, **options).value == value


def test_references_may_come_from_a_column():
    score = graded("contains", "3, 5 and 7", metadata={"primes": [3, 5, 11]}, column="primes")
    assert score.value == pytest.approx(2 / 3)


@pytest.mark.parametrize("target", ["", " \n\t", "\u3000"])
@pytest.mark.parametrize("text", ["", "Paris", "I am sorry."])
@pytest.mark.parametrize(
    ("scorer", "options", "metadata"),
    [
        ("exact", {"ignore_case": True}, {}),
        ("f1", {}, {}),
        ("contains", {"separator": ","}, {}),
        ("regex", {"pattern": "(.*)"}, {}),
        ("mrcr", {}, {"random_string_to_prepend": "Paris"}),
        ("mr_niah", {}, {}),
        ("longbench_v2", {}, {}),
        ("babilong", {}, {"subtask": "qa1", "question": "Where is Mary?"}),
        ("infinitebench", {}, {"subtask": "longbook_qa_eng", "answers": ["", " "]}),
    ],
)
def test_a_missing_reference_is_named_whatever_the_answer(scorer, options, metadata, text, target):
    with pytest.raises(UsageError, match=rf"scorer {scorer}: .*sample s "):
        graded(scorer, text, target, metadata=metadata, **options)


def test_one_reference_of_several_may_be_empty():
    assert graded("f1", "Paris", "|Paris", separator="|").value == 1
    assert graded("contains", "Paris", "|Paris", separator="|").value == 1
    answers = {"subtask": "longbook_qa_eng", "answers": ["", "Paris"]}
    assert graded("infinitebench", "Paris", metadata=answers).value == 1
    assert graded("graphwalks", "Final Answer: []", metadata={"answer_nodes": []}).value == 1


@pytest.mark.parametrize("scorer", ["contains", "exact"])
def test_an_empty_output_has_no_answer(scorer):
    score = graded(scorer, " \n", "4711")
    assert (score.value, score.answer) == (0.0, None)
    assert classify(Output(), score) == "unparsed"


@pytest.mark.parametrize("scorer", ["contains", "exact"])
def test_another_answer_is_wrong_and_kept_short(scorer):
    score = graded(scorer, "I cannot say. " * 100, "4711")
    assert classify(Output(), score) == "wrong"
    assert score.answer is not None
    assert len(score.answer) == 80


@pytest.mark.parametrize(
    ("options", "target", "message"),
    [
        ({"need": "some"}, "a", "need is 'all' or 'any'"),
        ({"separator": ""}, "a", "separator is empty"),
        ({"separator": "|"}, " | ", "has no reference"),
        ({"column": "primes"}, "a", "has no list in column 'primes'"),
    ],
)
def test_what_cannot_be_looked_for_is_said(options, target, message):
    with pytest.raises(UsageError, match=message.replace("|", "\\|")):
        graded("contains", "a", target, **options)


@pytest.mark.parametrize("options", [{}, {"separator": "|"}, {"separator": "|", "need": "any"}])
def test_the_gold_text_scores_one(options):
    scorer = load("scorers", "contains").Scorer(**options)
    sample = Sample(id="s", messages=[], target="red|green")
    assert graded("contains", scorer.gold(sample), sample.target, **options).value == 1.0


@pytest.mark.parametrize(
    ("text", "options", "value"),
    [
        ("Yes", {}, 1.0),
        ("\n Yes \n", {}, 1.0),
        ("yes", {}, 0.0),
        ("yes", {"ignore_case": True}, 1.0),
        ("Yes.", {"ignore_case": True}, 0.0),
    ],
)
def test_exact_is_the_same_text_but_for_white_space_around_it(text, options, value):
    assert graded("exact", text, " Yes ", **options).value == value
