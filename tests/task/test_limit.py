"""`--limit` takes as many samples of each length, depth and subtask as can be; random, the same for all, growing."""

import csv
import itertools
import json
from collections import Counter
from typing import Any

import pytest

from m1eval.model.runner_tokenizer import CharacterTokenizer
from m1eval.task import dataset, selection
from m1eval.task.load import load_tasks
from tests.conftest import run_of, write

TASK = """
title: T
dataset: {file: rows.jsonl}
prompt: "{{ q }}"
target: x
scorer: exact
"""


def spread(values):
    """Sorted counts of the values."""
    return sorted(Counter(values).values())


def table(tmp_path, columns, text=TASK):
    lines = [json.dumps({"q": f"question {i}", **row}) for i, row in enumerate(columns)]
    write(tmp_path / "rows.jsonl", "\n".join(lines) + "\n")
    return load_tasks([str(write(tmp_path / "t.yaml", text))])[0].samples(CharacterTokenizer(), 0)


def test_four_of_two_lengths_are_two_and_two(tmp_path):
    lengths = [4096] * 20 + [8192] * 20
    samples = table(tmp_path, [{"length": n} for n in lengths])
    seen = set()
    for seed in range(20):
        chosen = samples.select(limit=4, ids=None, seed=seed)
        assert chosen == samples.select(limit=4, ids=None, seed=seed) == sorted(chosen)
        assert spread(lengths[i] for i in chosen) == [2, 2]
        seen.update(chosen)
    assert len(seen) > 30, "they are random"


@pytest.mark.parametrize(
    "shape", [(2, 5), (5, 2), (3, 3), (4, 6), (6, 4), (2, 2, 2), (3, 4, 2), (13, 6), (1, 7), (8, 12, 3)]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_every_beginning_of_a_grid_is_even(shape, seed):
    cells = list(itertools.product(*map(range, shape)))
    columns = {f"c{i}": [cell[i] for cell in cells] * 3 for i in range(len(shape))}
    numbers = range(3 * len(cells))
    before = set[int]()
    for limit in range(1, len(numbers) + 1, 1 if len(numbers) < 100 else 7):
        chosen = selection.limited(numbers, limit, seed, columns)
        assert len(set(chosen)) == limit
        assert before <= set(chosen), "a larger limit holds the smaller one"
        before = set(chosen)
        for values in columns.values():
            counts = Counter(values[i] for i in chosen)
            least = min(counts[value] for value in set(values))
            assert max(counts.values()) - least <= 1


def test_a_grid_with_holes_and_unequal_parts_is_as_even_as_can_be():
    cells = [(length, name) for length in (1, 2, 3) for name in "abcdefgh" if length == 1 or name < "e"]
    columns: dict[str, list[Any]] = {"length": [c[0] for c in cells] * 4, "subtask": [c[1] for c in cells] * 4}
    for limit in (3, 6, 8):
        chosen = selection.limited(range(4 * len(cells)), limit, 0, columns)
        for values in columns.values():
            counts = Counter(values[i] for i in chosen)
            assert max(counts.values()) - min(counts[value] for value in set(values)) <= 2
    few = {"length": [1] * 3 + [2] * 97}
    assert spread(few["length"][i] for i in selection.limited(range(100), 10, 0, few)) == [3, 7]


def test_many_lengths_are_put_together():
    lengths = [1000 + 7 * i for i in range(10_000)]
    chosen = selection.limited(range(len(lengths)), 28, 0, {"length": lengths})
    counts = spread(lengths[i].bit_length() for i in chosen)
    assert max(counts) - min(counts) <= 1
    depths = [i / 10_000 for i in range(10_000)]
    chosen = selection.limited(range(len(depths)), 20, 0, {"depth": depths})
    assert spread(int(depths[i] * 10) for i in chosen) == [2] * 10


@pytest.mark.parametrize("odd", [None, [1], {"a": 1}, True, "long", 1e300, -5])
def test_odd_values_of_the_columns_do_no_harm(tmp_path, odd):
    samples = table(tmp_path, [{"length": odd if i % 2 else 4096} for i in range(20)])
    chosen = samples.select(limit=6, ids=None, seed=0)
    assert spread(i % 2 for i in chosen) == [3, 3]
    mixed = {"length": [odd if i % 2 else i for i in range(500)]}
    assert len(selection.limited(range(500), 9, 0, mixed)) == 9


def test_without_such_columns_the_choice_is_what_it_was(tmp_path):
    samples = table(tmp_path, [{} for _ in range(20)])
    assert samples.select(limit=4, ids=None, seed=0) == [10, 14, 16, 18]
    assert samples.select(limit=6, ids=None, seed=7) == [6, 7, 11, 15, 17, 18]
    same = table(tmp_path, [{"length": 4096} for _ in range(20)])
    assert same.select(limit=4, ids=None, seed=0) == [10, 14, 16, 18]


@pytest.mark.parametrize(
    ("task", "columns"),
    [
        ("needle", ("length", "depth")),
        ("multi_needle", ("length", "needles")),
        ("ruler_generated", ("length", "subtask")),
        ("nolima_synth", ("length", "depth", "hops")),
        ("mrcr_synth", ("length", "needles")),
    ],
)
def test_the_generated_tasks_build_nothing_to_choose(task, columns):
    samples = load_tasks([task])[0].samples(CharacterTokenizer(), 0)
    assert tuple(samples.stratified_columns) == columns
    chosen = samples.select(limit=8, ids=None, seed=0)
    for values in samples.stratified_columns.values():
        counts = Counter(values[i] for i in chosen)
        assert max(counts.values()) - min(counts[value] for value in set(values)) <= 1
    name = samples.id(chosen[0])
    assert str(samples.stratified_columns["length"][chosen[0]]) in name


def test_subtasks_of_reasoning_gym_are_even():
    pytest.importorskip("reasoning_gym")
    samples = load_tasks(["reasoning_gym_small"])[0].samples(CharacterTokenizer(), 0)
    (values,) = samples.stratified_columns.values()
    counts = Counter(values[i] for i in samples.select(limit=len(set(values)), ids=None, seed=0))
    assert set(counts.values()) == {1}


def test_rows_of_a_generator_and_of_csv_have_columns_too(tmp_path):
    code = "def rows():\n    for i in range(30):\n        yield {'q': f'{i}', 'length': 10 if i < 20 else 20}\n"
    write(tmp_path / "_made.py", code)
    text = TASK.replace("file: rows.jsonl", "generate: _made.rows")
    chosen = table(tmp_path, [], text).select(limit=4, ids=None, seed=0)
    assert spread(i < 20 for i in chosen) == [2, 2]
    with (tmp_path / "t.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("q", "subtask"), *((str(i), "ab"[i > 24]) for i in range(30))])
    chosen = table(tmp_path, [], TASK.replace("rows.jsonl", "t.csv")).select(limit=4, ids=None, seed=0)
    assert spread(i > 24 for i in chosen) == [2, 2]


def test_the_rest_of_the_rows_is_not_read(tmp_path):
    """A million characters a row, of which the column is all that becomes an object."""
    line = json.dumps({"length": 7, "text": "x" * 1_000_000}) + "\n"
    path = tmp_path / "big.jsonl"
    path.write_text(line * 30)
    table = dataset.columns(dataset.read_rows([path]), selection.COLUMNS)
    assert table == {"length": [7] * 30}


def test_a_run_continues_with_a_larger_limit(tmp_path, m1eval):
    table(tmp_path, [{"length": 4096 * (1 + i % 3), "depth": i % 5} for i in range(60)])
    command = ("run", "--tasks", tmp_path / "t.yaml", "--model", "echo:gold", "--out", tmp_path / "x", "--json")
    for limit in (3, 5, 20):
        (run,) = m1eval(*command, "--limit", limit).json()["runs"]
        assert (run["samples"], run["outcomes"]["right"]) == (limit, limit)


def test_a_limited_run_of_before_continues_with_its_own_samples(tmp_path, m1eval):
    """Run whose run.json does not say that the choice was even; it was random."""
    samples = table(tmp_path, [{"length": 4096 * (1 + i % 2)} for i in range(40)])
    before, after = (
        [samples.id(i) for i in samples.select(limit=limit, ids=None, seed=0, even=False)] for limit in (4, 8)
    )
    command = ("run", "--tasks", tmp_path / "t.yaml", "--model", "echo:gold", "--out", tmp_path / "x", "--json")
    assert m1eval(*command, "--ids", ",".join(before)).code == 0
    path = run_of(tmp_path / "x") / "run.json"
    meta = json.loads(path.read_text())
    meta["config"] |= {"ids": [], "limit": 4}
    del meta["data"]["choice"]
    path.write_text(json.dumps(meta))
    result = m1eval(*command, "--limit", 8)
    (run,) = result.json()["runs"]
    assert (result.code, run["samples"], run["outcomes"]["right"]) == (0, 8, 8)
    records = (run_of(tmp_path / "x") / "samples.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in records][:4] == before
    assert {json.loads(line)["id"] for line in records} == set(after)


def test_a_choice_that_is_not_as_the_set_is_does_not_estimate_it(m1eval, tmp_path):
    """Eight of 40 easy and 4 hard ones: half of each, while the set is mostly easy."""
    rows = [{"q": f"{i}", "a": "x", "subtask": "hard" if i < 4 else "easy"} for i in range(44)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    keys = 'title: T\ndataset: {file: t.jsonl}\nprompt: "{{ q }}"\ntarget: "{{ a }}"\nscorer: exact\n'
    (tmp_path / "t.yaml").write_text(keys)
    (tmp_path / "average.yaml").write_text(keys + "average: subtask\n")
    command = ("run", "--model", "echo:gold,wrong", "--limit", 8)
    (run,) = m1eval(*command, "--tasks", tmp_path / "t.yaml", "--out", tmp_path / "a", "--json").json()["runs"]
    assert run["unlike"] == ["subtask"]
    assert run["these_problems"]["interval"] == run["interval"], "it is said of these eight alone"
    shown = m1eval(*command, "--tasks", tmp_path / "t.yaml", "--out", tmp_path / "a").out
    assert "nor an estimate of it: --limit takes equally many of each subtask, unlike the full set" in shown
    averaged = m1eval(*command, "--tasks", tmp_path / "average.yaml", "--out", tmp_path / "v", "--json")
    (named,) = m1eval(
        *("run", "--model", "echo:gold", "--tasks", tmp_path / "t.yaml", "--ids", "t-01,t-02"),
        *("--out", tmp_path / "n", "--json"),
    ).json()["runs"]
    assert named["unlike"] == ["ids"]
    assert averaged.json()["runs"][0]["unlike"] == [], "the subtasks weigh the same in the score of the whole set too"
