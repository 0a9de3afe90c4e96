"""Styles, lists, sets of numbers, both signs, equations, options, matrices: what is the same and what only looks so."""

import json
from pathlib import Path
from typing import Any

import math_verify  # here and not in a worker: `slow` is called directly on texts that end
import pytest

from m1eval import load

math = load("scorers", "math")
PAIRS = [json.loads(line) for line in Path(__file__).with_name("structure.jsonl").read_text().splitlines()]
KINDS = sorted({pair["kind"] for pair in PAIRS})


def verdict(gold: str, answer: str, precision: str = "exact") -> tuple[bool, str]:
    decided: tuple[bool, str] = math.quick(gold, answer, precision) or math.slow(gold, answer, precision, math_verify)
    return decided


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [pair for pair in PAIRS if pair["kind"] == kind]


@pytest.mark.parametrize("kind", KINDS)
def test_each_pair_gets_its_verdict(kind):
    wrong = [
        (pair["gold"], pair["answer"], decided)
        for pair in of_kind(kind)
        if (decided := verdict(pair["gold"], pair["answer"]))[0] != pair["same"]
    ]
    assert wrong == []


@pytest.mark.parametrize("kind", KINDS)
def test_exchanging_reference_and_answer_changes_nothing(kind):
    wrong = [
        (pair["answer"], pair["gold"], decided)
        for pair in of_kind(kind)
        if not pair.get("one_way") and (decided := verdict(pair["answer"], pair["gold"]))[0] != pair["same"]
    ]
    assert wrong == []


@pytest.mark.parametrize("kind", KINDS)
def test_each_text_is_itself_and_the_rule_has_a_name(kind):
    for pair in of_kind(kind):
        for text in (pair["gold"], pair["answer"]):
            right, rule = verdict(text, text)
            assert right, text
            assert rule
    assert all(verdict(pair["gold"], pair["answer"])[1] for pair in of_kind(kind)[:20])


def test_half_of_the_table_are_near_misses():
    near_misses = sum(not pair["same"] for pair in PAIRS)
    assert len(PAIRS) >= 400
    assert near_misses >= 0.35 * len(PAIRS)


STYLES = [
    r"\underline{%s}", r"\boldsymbol{%s}", r"\textcolor{blue}{%s}", r"{\color{blue} %s}", r"\color{red}%s",
    r"\ensuremath{%s}", r"\bm{%s}", r"\displaystyle %s", r"{\bf %s}", r"\mathop{%s}", r"\phantom{0}%s",
    r"\hspace{1em}%s", r"%s\quad", r"\left. %s \right.", r"%s\tag{1}", r"\boxed{%s}",
    r"\begin{aligned}%s\end{aligned}", "**%s**", "$%s$",
]  # fmt: skip


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("text", ["29", r"\frac{1}{2}", "x^{2}+1", r"\sqrt{3}", "(1,2)", "[2,5)", r"\{1,2\}"])
def test_styles_within_styles_change_nothing(style, text):
    for outer in STYLES[:6]:
        assert verdict(text, outer % (style % text))[0], (outer, style)
        assert not verdict(text, outer % (style % "28"))[0], (outer, style)


def test_with_precision_gold_an_uncertainty_is_no_second_answer():
    for gold, answer in (
        (r"9.8\pm0.1", "9.8"),
        (r"9.8\pm0.1", r"9.8 \pm 0.1"),
        ("9.8", r"9.8\pm0.1"),
        (r"9.8\pm0.1", "9.75"),
    ):
        assert verdict(gold, answer, "gold")[0], (gold, answer)
    for gold, answer in (
        (r"9.8\pm0.1", "9.5"),
        (r"9.8\pm0.1", r"9.8\pm0.2"),
        ("9.8", r"8\pm3"),
        (r"9.8\pm0.1", "9.7, 9.9"),
    ):
        assert not verdict(gold, answer, "gold")[0], (gold, answer)
    assert verdict(r"9.8\pm0.1", "9.7, 9.9")[0], "with exact precision it is two values"


NAMES = {
    "Alice, Bob": [
        (r"\text{Alice and Bob}", True),
        (r"\text{Bob and Alice}", True),
        (r"\text{Alice}, \text{Bob}", True),
        (r"\text{Alice or Bob}", False),
        ("Alice or Bob", False),
        (r"\text{Alice and Carol}", False),
        (r"\text{Alice and Alice}", False),
        (r"\text{Alice, Bob and Carol}", False),
        (r"\text{neither Alice and Bob}", False),
        (r"\text{Alice}", False),
    ],
    r"\text{red car, blue bike}": [
        (r"\text{blue bike and red car}", True),
        (r"\text{blue car and red bike}", False),
        (r"\text{red blue and car bike}", False),
    ],
}


@pytest.mark.parametrize("gold", NAMES)
def test_lists_of_names_are_the_same_in_any_order_name_by_name(gold):
    for answer, right in NAMES[gold]:
        assert verdict(gold, answer)[0] is right, answer
