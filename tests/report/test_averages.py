"""Scores that are the mean over a benchmark's tasks: what is printed, against a slow recomputation from the journal."""

import json
import re
from pathlib import Path

import pytest

from m1eval.store import metrics
from m1eval.store.record import Record
from m1eval.store.tally import Tally, mean_over_groups
from m1eval.task.load import load_tasks
from m1eval.types import Usage
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
    (found,) = load_tasks([name])
    assert found.definition.average == column


def test_rulers_score_is_the_mean_of_its_subtasks(m1eval, tmp_path):
    options = ("--tasks", "ruler_generated", "--lengths", "4k", "--set", "samples=2", "--set", "subtasks=[vt,cwe,fwe]")
    m1eval("run", *options, "--model", "echo:gold,wrong,gold", "--out", tmp_path / "x", "--limit", 4)
    shown = m1eval("lengths", tmp_path / "x", "--json").json()
    assert shown["lengths"][0]["score"] == pytest.approx(slowly(tmp_path / "x", "subtask"), abs=1e-12)


def answered(counts: dict[str, list[tuple[int, int]]]) -> list[Record]:
    """Records of samples by group, each with a number of right and of wrong answers."""
    return [
        Record(id=f"{group}{i}", repeat=repeat, outcome="right" if repeat < right else "wrong", value=repeat < right)
        for group, samples in counts.items()
        for i, (right, wrong) in enumerate(samples)
        for repeat in range(right + wrong)
    ]


def grouped(records: list[Record]) -> list[Record]:
    for record in records:
        record.group = record.id[0]
    return records


def test_figures_of_several_answers_are_means_over_the_parts():
    records = grouped(answered({"a": [(0, 4)] * 40, "b": [(3, 1)] * 4}))
    by_name = {figure.name: figure for figure in metrics.metrics(metrics.collect(records), 4)}
    for name in ("pass@2", "pass@4", "G-Pass@4 (half)"):
        assert by_name[name].value == 0.5, f"{name}: none of one part and all of the other"
        assert by_name[name].bounds == (0.5, 0.5)
        low, high = by_name[name].interval or (1, 0)
        assert low < 0.5 < high
    assert by_name["pass@2"].value >= mean_over_groups((r.score, r.group) for r in records), "as any pass@k is"


def test_figures_of_one_part_are_what_they_are_without_parts():
    records = answered({"a": [(1, 3), (4, 0), (0, 4), (2, 2), (3, 1)]})
    plain = metrics.metrics(metrics.collect(records), 4)
    assert metrics.metrics(metrics.collect(grouped(records)), 4) == plain


def test_samples_that_could_not_be_built_are_no_part_of_their_own():
    tally = Tally()
    for i in range(20):
        tally.add(f"a{i}", "right", 1.0, Usage(), cluster="one text", group="a")
        tally.add(f"b{i}", "wrong", 0.0, Usage(), cluster="another", group="b")
    tally.add("lost", "errored", 0.0, Usage())
    assert tally.bounds == pytest.approx((20 / 41, 21 / 41)), "one of 41 samples moves the score by no more"
    tally.add("a0", "errored", 0.0, Usage())
    assert tally.score == 0.5, "a repeat that could not be built does not take its sample out of its part"
    assert tally.clusters == 2
