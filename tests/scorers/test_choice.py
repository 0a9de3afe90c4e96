"""Multiple choice: which letter is the answer, by our order and by two published ones, and how long that may take."""

import asyncio
import gzip
import json
import os
import random
import re
import time
from pathlib import Path
from typing import Any

import pytest

from m1eval import Output, Sample, Score, UsageError, load

choice = load("scorers", "choice")
SHARED = Path(os.environ.get("M1EVAL_SHARED", Path(__file__).resolve().parents[2] / ".." / "shared"))


def grade(text: str, target: str = "C", **options: Any) -> Score:
    sample = Sample(id="1", messages=[], target=target, metadata={"options": ["a", "b", "c", "d"]})
    score: Score = asyncio.run(choice.Scorer(**options).score(Output(text=text), sample, None))
    return score


FOUND = {
    "The answer is (C).": "C",
    "Answer: C": "C",
    "**Answer:** C": "C",
    "**Answer: (C)**": "C",
    "Answer: $\\boxed{C}$": "C",
    "\\boxed{C}": "C",
    "\\boxed{\\text{(C) Plane}}": "C",
    "\\boxed{\\text{C}}": "C",
    '```json\n{"reasoning": "…", "answer": "C"}\n```': "C",
    "The correct option is C.": "C",
    "C": "C",
    "C) the cell": "C",
    "(C)": "C",
    "It must be so.\n\nC": "C",
    "The answer is A. No, the answer is C.": "C",
    "first \\boxed{A}, then \\boxed{C}": "C",
    "The answer is I think unknown": None,
    "The best answer is Cell biology": None,
    "The answer is a matter of taste": None,
    "A closer look shows that B and D fail.": None,
    "": None,
}


@pytest.mark.parametrize("text", FOUND)
def test_the_letter_that_is_given_as_the_answer_is_found(text):
    score = grade(text, options=10)
    assert score.answer == FOUND[text]
    assert score.value == (FOUND[text] == "C")
    assert score.explanation.startswith("choice m1eval: ")


def test_a_letter_beyond_the_options_is_none():
    assert grade("The answer is (G).", options=4).answer is None
    assert grade("The answer is (G).", options="options").answer is None
    assert grade("The answer is (G).", options=10).answer == "G"


OFFICIAL = {
    ("mmlu_pro", "The answer is (B). The answer is (C)."): "B",  # the first
    ("mmlu_pro", "answer is C"): "C",
    ("mmlu_pro", "Answer: B or Answer: C\nAnswer: D"): "C",  # the last of the first line
    ("mmlu_pro", "Answer:\n\nC"): "C",
    ("mmlu_pro", "We take A, then C"): "C",  # the last lone letter
    ("mmlu_pro", "nothing here"): None,
    ("simple_evals", "Answer: C"): "C",
    ("simple_evals", "**Answer: C**"): "C",
    ("simple_evals", "answer : $c$"): "c",
    ("simple_evals", "Answer: B\nAnswer: C"): "B",
    ("simple_evals", "Answer: \\boxed{C}"): None,
    ("simple_evals", "The answer is C"): None,
}


@pytest.mark.parametrize("case", OFFICIAL, ids=" ".join)
def test_a_published_rule_finds_the_answers_of_its_original(case):
    rule, text = case
    assert grade(text, rule=rule).answer == OFFICIAL[case]


@pytest.mark.parametrize("seed", range(30))
def test_the_linear_rule_of_mmlu_pro_finds_what_its_patterns_find(seed):
    rng = random.Random(seed)
    parts = [
        "answer is (",
        "Answer: ",
        "answer:",
        " A",
        "B ",
        "\n",
        "C)",
        "D.",
        "xyz ",
        "I ",
        "answer is ",
        "nswer:",
        "  ",
    ]
    text = "".join(rng.choice(parts) for _ in range(rng.randint(1, 40)))
    letter = (
        re.search(r"answer is \(?([A-J])\)?", text)
        or re.search(r".*[aA]nswer:\s*([A-J])", text)
        or re.search(r"\b([A-J])\b(?!.*\b[A-J]\b)", text, re.DOTALL)
    )
    assert choice.mmlu_pro(text)[0] == (letter[1] if letter else None), text


def test_no_answer_may_be_a_guess_that_is_always_the_same():
    one, other = (grade("nothing here", rule="mmlu_pro", no_answer="guess") for _ in range(2))
    assert one.answer == other.answer
    assert one.answer is not None
    assert grade("", no_answer="guess").answer is None, "an empty answer is not even guessed for"


MEGABYTE = {
    "letters": "A" * 1_000_000,
    "lone letters": "A " * 500_000,
    "spaces": "answer:" + " " * 1_000_000,
    "mentions": "answer " * 140_000,
    "colons": "answer: " * 125_000,
    "boxes": "\\boxed{" * 140_000,
    "quotes": '"answer": ' * 100_000,
}


@pytest.mark.timeout(20)  # quadratic time would take hours
@pytest.mark.parametrize("name", MEGABYTE)
@pytest.mark.parametrize("rule", choice.RULES)
def test_a_megabyte_without_a_line_break_takes_no_time(name, rule):
    begin = time.process_time()
    choice.RULES[rule](MEGABYTE[name], choice.LETTERS)
    assert time.process_time() - begin < 15


@pytest.mark.parametrize(
    ("options", "message"),
    [({"rule": "mine"}, "rule is one of"), ({"options": 27}, "options is"), ({"no_answer": "x"}, "no_answer")],
)
def test_a_wrong_option_is_named(options, message):
    with pytest.raises(UsageError, match=message):
        choice.Scorer(**options)


def test_a_missing_column_of_options_is_named():
    with pytest.raises(UsageError, match="in column 'choices'"):
        grade("C", options="choices")


def test_recorded_predictions_of_mmlu_pro_are_reproduced():
    lines = (Path(__file__).resolve().parents[1] / "data" / "mmlu_pro_outputs.jsonl").read_text().splitlines()
    path = SHARED / "data" / "mmlu_pro" / "recorded_outputs.jsonl.gz"
    lines += gzip.decompress(path.read_bytes()).decode().split("\n") if path.is_file() else []
    rows = [json.loads(line) for line in lines if line]
    assert len(rows) >= 10
    other = [r["problem_id"] for r in rows if choice.mmlu_pro(r["output"])[0] != r["pred_by_current_official_regex"]]
    assert other == []
