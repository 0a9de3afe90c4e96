"""Scores that are the mean over a benchmark's tasks: what is printed, against a slow recomputation from the journal."""

import json
import re
from pathlib import Path

import pytest

from m1eval import task
from tests.conftest import lines, write

SIZES = {"a": 12, "b": 3, "c": 5}


def benchmark(folder: Path, average: str = "average: part\n") -> Path:
    """A task of three parts of unequal size."""
    rows = [{"part": part, "i": i} for part, size in SIZES.items() for i in range(size)]
    write(folder / "t.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    keys = "title: T\ndataset: {file: t.jsonl}\nprompt: '{{ part }} {{ i }}'\ntarget: x\nscorer: exact\n"
    return write(folder / "t.yaml", keys + average)


def slowly(folder: Path, column: str = "part") -> float:
    """The mean over parts of the mean over samples of the mean over answers."""
    parts: dict[str, dict[str, list[float]]] = {}
    for record in lines(folder / "samples.jsonl"):
        if record["outcome"] != "errored":
            samples = parts.setdefault(str(record["metadata"][column]), {})
            samples.setdefault(record["id"], []).append(record["value"])
    means = [sum(sum(v) / len(v) for v in samples.values()) / len(samples) for samples in parts.values()]
    return sum(means) / len(means)


@pytest.mark.parametrize("repeats", [1, 3])
def test_the_score_is_the_mean_over_the_parts(m1eval, tmp_path, repeats):
    named = benchmark(tmp_path)
    command = ("run", "--tasks", named, "--model", "echo:gold,wrong,gold,wrong,wrong", "-k", repeats, "--out")
    out = m1eval(*command, tmp_path / "x").out
    expected = slowly(tmp_path / "x")
    assert re.search(rf"^\| t +\| +{expected:.3f}", out, re.MULTILINE), out
    (run,) = m1eval(*command, tmp_path / "x", "--json").json()["runs"]
    assert run["score"] == pytest.approx(expected, abs=1e-12)
    assert run["interval"][0] < expected < run["interval"][1]


def test_without_the_key_samples_weigh_the_same(m1eval, tmp_path):
    command = (
        "run",
        "--tasks",
        benchmark(tmp_path, ""),
        "--model",
        "echo:gold,wrong,gold,wrong,wrong",
        "--json",
        "--out",
    )
    (run,) = m1eval(*command, tmp_path / "x").json()["runs"]
    values = [record["value"] for record in lines(tmp_path / "x" / "samples.jsonl")]
    assert run["score"] == pytest.approx(sum(values) / len(values), abs=1e-12)


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("infinitebench", "subtask"),
        ("babilong", "subtask"),
        ("ruler_generated", "subtask"),
        ("multichallenge", "axis"),
        ("multichallenge_273", "axis"),
        ("longbench_v2", None),
        ("mmlu_pro", None),
    ],
)
def test_benchmarks_whose_authors_average_tasks_do(name, column):
    (found,) = task.load([name])
    assert found.definition.average == column


def test_rulers_score_is_the_mean_of_its_subtasks(m1eval, tmp_path):
    asked = ("--tasks", "ruler_generated", "--lengths", "4k", "--set", "samples=2", "--set", "subtasks=[vt,cwe,fwe]")
    m1eval("run", *asked, "--model", "echo:gold,wrong,gold", "--out", tmp_path / "x", "--limit", 4)
    shown = m1eval("lengths", tmp_path / "x", "--json").json()
    assert shown["lengths"][0]["score"] == pytest.approx(slowly(tmp_path / "x", "subtask"), abs=1e-12)
