"""`--until-se`: as many answers as the error asks for, decided by the answers to other samples."""

import json
import math
import random
import statistics

import pytest

from m1eval.run import adaptive
from m1eval.store.tally import SampleTotals
from tests.conftest import lines


def sums(*values):
    totals = SampleTotals()
    for value in values:
        totals = totals.add(value)
    return totals


def first_answers(chances, k, made):
    return {f"s{i}": sums(*(float(made.random() < chance) for _ in range(k))) for i, chance in enumerate(chances)}


def test_no_answer_decides_on_the_number_of_its_own_half():
    rng = random.Random(1)
    first = first_answers([rng.random() for _ in range(40)], 2, rng)
    one, other = adaptive.split(first)
    assert sorted([*one, *other]) == sorted(first)
    assert abs(len(one) - len(other)) <= 1
    before = adaptive.allocate(first, 0.02, 2)
    changed = {**first, **{name: sums(1.0, 1.0) for name in one}}
    after = adaptive.allocate(changed, 0.02, 2)
    assert [after[name] for name in one] == [before[name] for name in one]
    assert all(after[name] < before[name] for name in other), "sure answers in one half, fewer in the other"
    assert adaptive.allocate(dict(reversed(first.items())), 0.02, 2) == before, "the order of the samples is nothing"


def test_all_of_a_half_get_as_many_and_never_too_many():
    rng = random.Random(2)
    first = first_answers([0.5] * 30, 2, rng)
    for target in (0.5, 0.05, 0.01, 1e-6):
        allocation = adaptive.allocate(first, target, 2)
        for half in adaptive.split(first):
            assert len({allocation[name] for name in half}) == 1
        assert min(allocation.values()) >= 2
        assert max(allocation.values()) <= 2 * adaptive.MAX_FACTOR
    assert set(adaptive.allocate(first, 0.5, 2).values()) == {2}
    assert set(adaptive.allocate(first, 1e-6, 2).values()) == {2 * adaptive.MAX_FACTOR}
    assert adaptive.allocate({"one": sums(0.0, 1.0)}, 1e-6, 1) == {"one": 2}
    assert (adaptive.pilot(1), adaptive.pilot(4)) == (2, 4)


@pytest.mark.parametrize("chances", [[0.9] * 40, [0.8] * 40, [i / 39 for i in range(40)], [0.97] * 28 + [0.1] * 12])
def test_the_error_asked_for_is_reached_and_the_score_not_moved(chances):
    rng = random.Random(5)
    n, target, trials = len(chances), 0.02, 400
    moved, reached = [], 0
    true_noise = [chance * (1 - chance) for chance in chances]
    for _ in range(trials):
        first = first_answers(chances, 2, rng)
        allocation = adaptive.allocate(first, target, 2)
        more = [sum(rng.random() < chance for _ in range(allocation[f"s{i}"] - 2)) for i, chance in enumerate(chances)]
        means = [(first[f"s{i}"].total + more[i]) / allocation[f"s{i}"] for i in range(n)]
        moved.append(statistics.fmean(means) - statistics.fmean(chances))
        error = math.sqrt(sum(noise / allocation[f"s{i}"] for i, noise in enumerate(true_noise))) / n
        reached += error <= target * 1.1
    spread = statistics.stdev(moved) / math.sqrt(trials)
    assert abs(statistics.fmean(moved)) < max(0.001, 3 * spread)
    assert reached > 0.75 * trials


def test_a_run_adds_answers_until_the_error_is_small_enough(m1eval, capitals, tmp_path):
    run = ("run", "--tasks", capitals, "--model", "echo:gold,wrong", "--out", tmp_path / "r", "--repeats", 2, "--json")
    (before,) = m1eval(*run).json()["runs"]
    assert "adaptive" not in before
    (after,) = m1eval(*run, "--until-se", 0.06).json()["runs"]
    adaptive_summary = after["adaptive"]
    assert adaptive_summary["answer_stderr"] <= 0.07
    assert 2 < adaptive_summary["answers_least"] <= adaptive_summary["answers_most"] <= 32
    records = [record for file in (tmp_path / "r").rglob("samples.jsonl") for record in lines(file)]
    assert len(records) == sum(after["outcomes"].values()) > 24
    assert len({(record["id"], record["repeat"]) for record in records}) == len(records)
    assert after["owed"] == 0
    counts = {record["id"]: 0 for record in records}
    for record in records:
        counts[record["id"]] += 1
    assert len(set(counts.values())) <= 2, "one number of answers for each half"
    (again,) = m1eval(*run, "--until-se", 0.06).json()["runs"]
    assert again["outcomes"] == after["outcomes"], "the same command has nothing left to do"
    shown = m1eval(*run[:-1], "--until-se", 0.06)
    assert "adaptive: " in shown.out
    assert "(target 0.06)" in shown.out
    (meta,) = [json.loads(file.read_text()) for file in (tmp_path / "r").rglob("run.json")]
    assert meta["summary"]["adaptive"]["until_se"] == 0.06


def test_a_target_that_cannot_be_met_ends_at_the_most_answers(m1eval, capitals, tmp_path):
    run = ("run", "--tasks", capitals, "--model", "echo:gold,wrong", "--out", tmp_path / "r", "--until-se", 0.0001)
    (summary,) = m1eval(*run, "--json").json()["runs"]
    assert summary["adaptive"]["answers_most"] == adaptive.MAX_FACTOR
    assert summary["adaptive"]["answer_stderr"] > 0.0001


def test_it_is_the_same_whether_it_ran_in_one_command_or_in_several(m1eval, capitals, tmp_path):
    """Stopped by a limit of tokens again and again, the run ends with the same answers."""
    run = ("run", "--tasks", capitals, "--model", "echo:gold,wrong", "--until-se", 0.06, "--json")
    (whole,) = m1eval(*run, "--out", tmp_path / "a").json()["runs"]
    for limit in range(100, 20_000, 400):
        result = m1eval(*run, "--out", tmp_path / "b", "--max-tokens-total", limit)
        if result.code == 0:
            break
    (parts,) = result.json()["runs"]
    assert parts["adaptive"] == whole["adaptive"]
    assert parts["score"] == whole["score"]


@pytest.mark.parametrize("value", ["0", "2", "x", "nan", "inf", "-1"])
def test_an_impossible_error_is_refused(m1eval, capitals, value):
    assert m1eval("run", "--tasks", capitals, "--model", "echo:gold", "--until-se", value).code == 2


def test_the_error_of_a_mean_over_unequal_parts_is_reached():
    made, target, reached = random.Random(3), 0.05, 0
    sizes = {"a": 40, "b": 4}
    for _ in range(200):
        first = {}
        for part, size in sizes.items():
            for i in range(size):
                values = [float(made.random() < 0.5) for _ in range(2)]
                first[f"{part}{i}"] = SampleTotals(sum(values), 2, sum(values), group=part)
        allocation = adaptive.allocate(first, target, 2)
        variance = sum(0.25 / n / (2 * sizes[name[0]]) ** 2 for name, n in allocation.items())
        reached += math.sqrt(variance) <= target
    assert reached >= 150, "in about four of five runs"
