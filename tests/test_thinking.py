"""The split between thinking and answer, case by case; the cases are a file so that others can run them too."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m1eval import Output, Score, outcome_of, split_thinking

CASES = [json.loads(line) for line in Path(__file__).with_name("thinking_conformance.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_conformance(case):
    split = split_thinking(
        case["text"], opened=case["opened"], truncated=case["truncated"], reasoning=case["reasoning"]
    )
    assert (split.text, split.unfinished) == (case["answer"], case["unfinished"])
    if "thoughts" in case:
        assert split.reasoning == case["thoughts"]
    assert "\\boxed{7}" not in split.text, "a draft must never be graded"


def test_the_cases_cover_what_harnesses_get_wrong():
    names = " ".join(case["case"] for case in CASES)
    for subject in (
        "closed block",
        "closing tag only",
        "truncated",
        "without tag",
        "nested",
        "repeated",
        "plain answer",
    ):
        assert subject in names
    for subject in ("reasoning field", "inline code", "fence", "quoted"):
        assert subject in names


def test_other_tags():
    split = split_thinking("[THINK]a[/THINK]b", tags=("[THINK]", "[/THINK]"))
    assert split == ("b", "a", False)


def test_a_truncated_draft_is_truncated_whatever_the_grader_says():
    output = Output(text="", unfinished_thinking=True, finish_reason="length")
    assert outcome_of(output, Score(value=1.0, answer="7")) == "truncated"


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "a", "\n", "`", "```", '"', " b "]), max_size=30), st.booleans()
)
def test_any_text_is_split_and_an_unfinished_one_has_no_answer(parts, truncated):
    for opened in (None, True, False):
        split = split_thinking("".join(parts), opened=opened, truncated=truncated)
        assert not (split.unfinished and split.text)


@given(st.text(max_size=200))
def test_a_plain_answer_is_kept_whole(text):
    if "think>" not in text:
        assert split_thinking(text).text == text
