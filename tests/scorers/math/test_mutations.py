"""References changed in one place are wrong, in both directions; rewritten ones stay right.

The references here resemble those of the recorded sets; `python -m benchmarks.mutations DATA` takes the sets
themselves. Which changes matter is decided by an evaluator that shares nothing with the scorer, and by construction.
"""

import os
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from benchmarks.mutations import different, grade, mutations, references, same_answers
from benchmarks.plain_values import differ, read
from tests.conftest import ROOT

REFERENCES = Path(__file__).with_name("references.txt").read_text().splitlines()
MOST = 2
"""Mutations of one kind that are graded of each reference: the first ones; the benchmark takes all."""


@cache
def chosen(text: str) -> list[tuple[str, str]]:
    kinds: Counter[str] = Counter()
    cases = []
    for kind, changed in different(text):
        kinds[kind] += 1
        if kinds[kind] <= MOST:
            cases.append((kind, changed))
    return cases


@pytest.mark.parametrize("part", range(6))
def test_a_reference_changed_in_one_place_is_wrong(part):
    counts: Counter[str] = Counter()
    passes = []
    for text in REFERENCES[part::6]:
        for kind, changed in chosen(text):
            for gold, answer in ((text, changed), (changed, text)):
                right, how = grade((gold, answer))
                counts[kind] += 1
                if right:
                    passes.append((kind, gold, answer, how))
    assert counts.total() > 300
    assert not passes


@pytest.mark.parametrize("part", range(3))
def test_a_reference_in_another_dress_is_right(part):
    cases = [(text, changed) for text in REFERENCES[part::3] for _, changed in same_answers(text)]
    assert len(cases) > 100
    assert not [case for case in cases if grade(case)[0] is not True]


def test_every_kind_of_mutation_is_among_them():
    kinds = Counter(kind for text in REFERENCES for kind, _ in chosen(text))
    assert set(kinds) == {
        "digit", "sign", "operator", "exponent", "function", "sum", "bracket", "element dropped", "element added",
        "elements exchanged",
    }  # fmt: skip
    assert all(n >= 5 for n in kinds.values()), kinds
    assert len(REFERENCES) >= 150


SAME = [
    ("x^1", "x"), ("1+x-1", "x"), ("0", "-0"), (r"\{1,2\}", r"\{2,1\}"), ("1,2", "2,1"), (r"\frac{2}{4}", r"\frac12"),
    (r"\pm 3", r"-\pm 3"), ("y=2x", "2y=4x"), ("3!", "6"), (r"\sqrt{8}", r"2\sqrt2"), ("2^{1000}", r"2^{999}\cdot 2"),
    (r"\binom{5}{2}", "10"), (r"\sin^2 x+\cos^2 x", "1"), ("e^{i\\pi}", "-1"), ("12,345", "12345"), (r"\log_2 8", "3"),
]  # fmt: skip
OTHER = [
    ("x^2", "x"), ("(1,2)", "(2,1)"), ("(1,2)", "[1,2)"), ("1,2", "1,2,3"), ("2^{100}", "2^{100}+1"),
    ("y=2x", "y=2x+1"),
    (r"\sqrt{2}", "1.41421356237309504880168872420969807857"), ("x_1", "x_2"), ("3", "4"), ("i", "-i"),
    ("52_8", "52_9"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_check_calls_nothing_different_that_is_the_same(one, other):
    assert not differ(read(one), read(other))


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_the_check_sees_differences(one, other):
    assert differ(read(one), read(other))


def test_a_mutation_that_changes_nothing_is_left_out():
    assert ("sign", "-(0)") in list(mutations("0"))
    assert "-(0)" not in [changed for _, changed in different("0")]


def test_references_of_the_recorded_sets_are_read():
    shared = Path(os.environ.get("M1EVAL_SHARED", ROOT.parent / "shared")) / "data"
    if not shared.is_dir():
        pytest.skip(f"no recorded sets in {shared}")
    recorded = list(references(shared))
    readable = sum(bool(different(text)) for _, text in recorded[::25])
    assert len(recorded) > 1000
    assert readable > 0.85 * len(recorded[::25])
