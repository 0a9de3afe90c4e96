"""The letter that our own rule of `choice` finds in some 3,100 texts, nearly half of them traps."""

import asyncio
import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from m1eval import Output, Sample, Score, UsageError, classify, load

choice = load("scorers", "choice")
ROWS = [json.loads(line) for line in Path(__file__).with_name("choice.jsonl").read_text(encoding="utf-8").splitlines()]


def graded(text: str, target: str = "C", *, cut: bool = False, listed: Any = None, **options: Any) -> Score:
    sample = Sample(id="s7", messages=[], target=target, metadata={"options": listed} if listed is not None else {})
    output = Output(text=text, finish_reason="length" if cut else "stop")
    score: Score = asyncio.run(choice.Scorer(**options).score(output, sample, SimpleNamespace()))
    return score


@pytest.mark.parametrize("kind", sorted({row["kind"] for row in ROWS}))
def test_the_letter_of_each_text_is_found_and_no_other(kind):
    wrong = {}
    for row in ROWS:
        if row["kind"] == kind:
            score = graded(row["text"], row["letter"] or "C", cut=row.get("cut", False), options=row["options"])
            if score.answer != row["letter"] or score.value != (row["letter"] is not None):
                wrong[row["text"]] = (row["letter"], score.answer, score.explanation)
    assert not wrong


def test_the_table_is_large_and_half_of_it_are_traps():
    assert len(ROWS) > 1000
    assert len({(row["text"], row["options"], row.get("cut")) for row in ROWS}) == len(ROWS)
    traps = sum(row["letter"] is None or bool(row.get("trap")) for row in ROWS)
    assert traps > 0.45 * len(ROWS), Counter(row["kind"] for row in ROWS)


@pytest.mark.parametrize("letter", "ABDEFGHIJ")
def test_every_wording_gives_every_letter(letter):
    """Wordings that give C give the other letters, but for words that only A and I could be part of."""
    wrong = {}
    for row in ROWS:
        text = row["text"]
        alone = text.count("C") == 1 and not any(other in text for other in "ABDEFGHIJ")
        if row["letter"] == "C" and row["kind"] in ("English wording", "box", "dress") and alone:
            answer = choice.letter_of(text.replace("C", letter))[0]
            if answer != letter and not (letter in "AI" and answer is None):
                wrong[text] = answer
    assert not wrong


LISTED = ["hydrogen", "helium", "60 J", "a small dog"]


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("The answer is hydrogen.", "A"),
        ("The answer is: Hydrogen", "A"),
        ("\\boxed{\\text{helium}}", "B"),
        ("Answer: 60 J", "C"),
        ("60 J", "C"),
        ("**60 J**", "C"),
        ("The answer is a small dog.", "D"),
        ('{"answer": "helium"}', "B"),
        ('{"reasoning": "hydrogen is lighter", "answer": "60 J"}', "C"),
        ('{"reasoning": "helium", "answer": "neon"}', None),
        ("Let me think.\n<answer>A small dog</answer>", "D"),
        ("<answer>hydrogen, helium</answer>", None),
        ("The answer is a cat.", None),
        ("The answer is 61 J.", None),
        ("The answer is hydrogen or helium.", None),
        ("hydrogen is lighter than helium", None),
        ("The answer is not hydrogen.", None),
        ("The answer is helium. So the answer is (A).", "A"),
        ("The answer is A or B. hydrogen", None),
    ],
)
def test_an_options_text_counts_as_its_letter_where_no_letter_is_given(text, letter):
    assert graded(text, options="options", listed=LISTED).answer == letter


def test_a_text_of_two_options_is_not_an_answer():
    assert graded("60", options="options", listed=["60", "60 ", "3"]).answer is None


def test_the_outcome_of_no_letter_is_unparsed_and_that_of_another_is_wrong():
    none, other = graded("The answer is A or C."), graded("The answer is B.")
    assert (classify(Output(text="x"), none), classify(Output(text="x"), other)) == ("unparsed", "wrong")
    assert "several letters" in none.explanation


@pytest.mark.parametrize("listed", [None, "ABCD", 4, ["one"], {"A": 1}, ["x"] * 11])
def test_a_column_without_a_list_of_options_is_named_with_its_sample(listed):
    with pytest.raises(UsageError, match="sample s7 has no list of 2 to 10 options in column 'options'"):
        graded("C", options="options", listed=listed)


@pytest.mark.parametrize("target", ["", "hydrogen", "AB", "K", "3"])
def test_a_target_that_is_not_a_letter_is_named_with_its_sample(target):
    with pytest.raises(UsageError, match="target of sample s7 is not a letter"):
        graded("C", target)


@pytest.mark.parametrize(("options", "target", "last"), [(2, "C", "B"), ("options", "D", "C")])
def test_a_target_beyond_the_options_is_named_before_it_is_asked(options, target, last):
    sample = Sample(id="s7", messages=[], target=target, metadata={"options": ["one", "two", "three"]})
    scorer = choice.Scorer(options=options)
    with pytest.raises(UsageError, match=f"target of sample s7 is not a letter from A to {last}: '{target}'"):
        scorer.gold(sample)
    assert f"from A to {last}" in scorer.gold_fault(sample)
    assert graded(f"The answer is ({target}).", target, options=options, listed=["one", "two", "three"]).value == 0


@pytest.mark.parametrize("target", ["c", "(C)", " C. ", "C)"])
def test_a_target_may_have_markup_around_its_letter(target):
    assert graded("The answer is C.", target).value == 1


@pytest.mark.parametrize(
    "text", ["\0", "\ud800", "C\0", "\\boxed{\ud800}", "\\boxed{" * 3000 + "C" + "}" * 3000, "answer is " * 9]
)
def test_hostile_texts_have_an_outcome(text):
    assert graded(text).value in (0.0, 1.0)


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("答案是Earth", "C"),
        ("答案是 Earth。", "C"),
        ("I'd go with Earth.", "C"),
        ("The answer is Earth.", "C"),
        ("答案不是Earth", None),
        ("如果更大，答案是Earth", None),
        ("I'd go with Earth or Mars.", None),
        ("I wouldn't go with Earth.", None),
        ("If it were larger, I'd go with Earth.", None),
        ("I'd go with Earth if it were larger.", None),
        ("I don't think I'd go with Earth.", None),
        ("I don't think the answer is Earth.", None),
    ],
)
def test_the_text_of_an_option_is_its_letter_where_it_is_chosen(text, letter):
    score = graded(text, options="options", listed=["Mars", "Venus", "Earth", "Moon"])
    assert score.answer == letter, score


@pytest.mark.parametrize(
    ("listed", "letter"),
    [(["G. Washington", "B. Franklin", "A. Lincoln"], "C"), (["Lincoln", "Grant", "Adams"], "A")],
)
def test_a_first_name_is_not_a_letter_where_it_is_part_of_an_options_text(listed, letter):
    assert graded("Answer: A. Lincoln", options="options", listed=listed).answer == letter
