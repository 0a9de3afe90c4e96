"""Replies of judges in every form and dress, and texts that must not be taken for a verdict."""

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from m1eval import load

judge = load("scorers", "judge")
TABLE = Path(__file__).with_name("judge_replies.jsonl")
NAMES = {"A": "CORRECT", "B": "INCORRECT", "C": "NOT_ATTEMPTED"}
VERDICTS: dict[str, tuple[str, Any, str]] = {
    "line": ("line", ["YES", "NO"], "verdict"),
    "line3": ("line", list(NAMES.values()), "verdict"),
    "json": ("json", ["YES", "NO"], "verdict"),
    "letter": ("letter", NAMES, "verdict"),
    "fields": ("fields", ["YES", "NO"], "correct"),
    "fields2": ("fields", ["YES", "NO"], "verdict"),
    "first_letter": ("first_letter", NAMES, "verdict"),
}


def _rows() -> list[dict[str, Any]]:
    return [json.loads(line) for line in TABLE.read_text("utf-8").splitlines()]


def _read(row: dict[str, Any]) -> str | None:
    form, verdicts, field = VERDICTS[row["form"]]
    result: str | None = judge.read(row["reply"], verdicts, form, row.get("answer", ""), field)
    return result


@pytest.mark.parametrize("form", VERDICTS)
def test_replies_are_read_as_the_table_says(form: str) -> None:
    rows = [row for row in _rows() if row["form"] == form]
    assert len(rows) >= 20
    wrong = [(row["reply"], row["verdict"], got) for row in rows if (got := _read(row)) != row["verdict"]]
    assert wrong == []


def test_half_of_the_table_are_traps() -> None:
    rows = _rows()
    assert len(rows) >= 400
    assert 2 * sum(row["verdict"] is None for row in rows) >= len(rows)


def test_no_trap_becomes_a_verdict_by_blanks_around_it() -> None:
    for row in _rows():
        if row["form"] != "first_letter" and row["verdict"] is None:
            assert _read(row | {"reply": f"\n\n{row['reply']}\n \n"}) is None, row["reply"]


def test_the_first_letter_is_the_one_of_simple_evals_on_any_text() -> None:
    draw = random.Random(0)
    pieces = [
        *'ABCabc .\n"*:-',
        "CORRECT",
        "INCORRECT",
        "NOT_ATTEMPTED",
        "Ａ",
        "Б",
        "\x00",
        "\ud800",
        "As",
        "grade: ",
        "é",
    ]
    for _ in range(100_000):
        text = "".join(draw.choices(pieces, k=draw.randrange(8)))
        result = re.search(r"(A|B|C)", text)
        assert judge.read(text, NAMES, "first_letter") == (result.group(0) if result else "C"), text
