"""`--until-se`: more answers where they reduce the error most, and no more than needed."""

import json
import math

import pytest

from m1eval import adaptive
from tests.conftest import lines, run_of


def test_the_error_is_that_of_the_answers_alone():
    counts = {"a": (2.0, 4), "b": (4.0, 4)}
    variances = [(3 / 6) * (3 / 6), (5 / 6) * (1 / 6)]
    assert adaptive.error(counts) == pytest.approx(math.sqrt(sum(v / 4 for v in variances)) / 2)
    assert adaptive.error({"a": (0.0, 0)}) == math.inf


def test_the_next_answers_go_where_they_vary():
    counts = {"sure": (8.0, 8), "unsure": (4.0, 8)}
    more = adaptive.more(counts, 0.0, most=100, batch=6)
    assert more["unsure"] > 8
    assert more["unsure"] - 8 > more.get("sure", 8) - 8
    assert sum(more.values()) - 8 * len(more) == 6


def test_it_stops_at_the_error_asked_for_and_at_the_most_answers():
    counts = {str(i): (2.0, 4) for i in range(10)}
    target = adaptive.error(counts) * 0.9
    more = adaptive.more(counts, target, most=100, batch=10_000)
    after = {name: (2.0 * more.get(name, 4) / 4, more.get(name, 4)) for name in counts}
    assert adaptive.error(after) <= target * 1.05
    assert max(adaptive.more(counts, 1e-6, most=6, batch=10_000).values()) == 6
    assert adaptive.more(counts, 1.0, most=100, batch=10) == {}


def test_a_run_adds_answers_until_the_error_is_small_enough(m1eval, capitals, tmp_path):
    run = ("run", "--tasks", capitals, "--model", "echo:gold,wrong", "--out", tmp_path / "r", "--repeats", 2, "--json")
    (before,) = m1eval(*run).json()["runs"]
    assert "adaptive" not in before
    (after,) = m1eval(*run, "--until-se", 0.05).json()["runs"]
    told = after["adaptive"]
    assert told["answer_stderr"] <= 0.05
    assert told["answers_least"] >= 2
    assert told["answers_most"] > told["answers_least"]
    records = lines(run_of(tmp_path / "r") / "samples.jsonl")
    assert len(records) == sum(after["outcomes"].values()) > 24
    assert len({(record["id"], record["repeat"]) for record in records}) == len(records)
    assert after["owed"] == 0
    (again,) = m1eval(*run, "--until-se", 0.05).json()["runs"]
    assert again["outcomes"] == after["outcomes"], "the same command has nothing left to do"
    shown = m1eval(*run[:-1], "--until-se", 0.05)
    assert "adaptive, " in shown.out
    assert "wanted 0.05" in shown.out
    meta = json.loads((run_of(tmp_path / "r") / "run.json").read_text())
    assert meta["summary"]["adaptive"]["until_se"] == 0.05


def test_a_target_that_cannot_be_met_ends_at_the_most_answers(m1eval, capitals, tmp_path):
    run = ("run", "--tasks", capitals, "--model", "echo:gold,wrong", "--out", tmp_path / "r", "--until-se", 0.0001)
    (summary,) = m1eval(*run, "--json").json()["runs"]
    assert summary["adaptive"]["answers_most"] == adaptive.MOST
    assert summary["adaptive"]["answer_stderr"] > 0.0001


@pytest.mark.parametrize("value", ["0", "2", "x"])
def test_an_impossible_error_is_refused(m1eval, capitals, value):
    assert m1eval("run", "--tasks", capitals, "--model", "echo:gold", "--until-se", value).code == 2
