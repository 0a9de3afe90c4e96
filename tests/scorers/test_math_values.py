"""`same_value`: exact numbers, formulas at many points, notations; every equality has near misses beside it."""

import importlib
import json
from pathlib import Path

import pytest

from m1eval import load

values = importlib.import_module(f"{load('scorers', 'math').__name__}.values")
CASES = [json.loads(line) for line in (Path(__file__).parent / "math_values.jsonl").read_text().splitlines()]
VERDICTS = {"same": True, "other": False, "unread": None}


@pytest.mark.parametrize("subject", sorted({case["subject"] for case in CASES}))
def test_two_values_are_the_same_or_not(subject):
    """A line of the table: a reference, texts that are the same value, other values, and what is not read."""
    wrong = []
    for case in CASES:
        if case["subject"] != subject:
            continue
        for kind, verdict in VERDICTS.items():
            for answer in case.get(kind, ()):
                for pair in ((case["gold"], answer), (answer, case["gold"])):
                    if (found := values.same_value(*pair)) is not verdict:
                        wrong.append((*pair, verdict, found))
    assert wrong == []


def test_every_reference_of_the_table_is_itself():
    golds = [case["gold"] for case in CASES if "unread" not in case]
    assert [gold for gold in golds if not values.same_value(gold, gold)] == []
