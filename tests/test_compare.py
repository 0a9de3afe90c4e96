"""`m1eval compare`: the paired difference of two runs, what was set differently, and what flipped."""

import json

import pytest

from tests.conftest import write


@pytest.fixture
def sums(tmp_path):
    """A task of 24 sums."""
    rows = [json.dumps({"q": f"{i} + {i}", "a": str(2 * i)}) for i in range(1, 25)]
    (tmp_path / "sums.jsonl").write_text("\n".join(rows) + "\n")
    text = 'title: Sums\ndataset: {file: sums.jsonl}\nprompt: "{{ q }}"\ntarget: "{{ a }}"\nscorer: exact\n'
    return write(tmp_path / "sums.yaml", text)


@pytest.fixture
def runs(m1eval, sums, tmp_path):
    """Runs of the task by models that are right always, half of the time, and never."""
    made = {}
    for name, script in (("all", "gold"), ("half", "gold,wrong"), ("none", "wrong"), ("errors", "gold,error")):
        made[name] = tmp_path / name
        m1eval("run", "--tasks", sums, "--model", f"echo:{script}", "--out", made[name], "--display", "none")
    return made


def test_a_clear_difference_is_shown_with_its_flips(m1eval, runs):
    result = m1eval("compare", runs["half"], runs["all"], "--json")
    (pair,) = result.json()["comparisons"]
    half = pair["scores"][0]
    assert result.code == 0
    assert pair["scores"][1] == 1
    assert pair["difference"] == pytest.approx(1 - half)
    assert pair["p"] < 0.01
    assert len(pair["only_b"]) == round(24 * (1 - half))
    assert pair["only_a"] == []
    assert pair["both_right"] == round(24 * half)
    assert pair["config"] == {}
    low, high = pair["interval"]
    assert low < pair["difference"] < high
    text = m1eval("compare", runs["half"], runs["all"]).out
    assert f"score   {half:.3f} → 1.000" in text
    assert "(paired, 24 samples)" in text
    assert "only B: sums-" in text


def test_a_run_and_itself_do_not_differ(m1eval, runs):
    (pair,) = m1eval("compare", runs["half"], runs["half"], "--json").json()["comparisons"]
    assert (pair["difference"], pair["p"], pair["stderr"]) == (0, 1, 0)
    low, high = pair["interval"]
    assert low < 0 < high, "that no difference was seen does not prove that there is none"
    assert 0 < pair["minimum_detectable"] < 0.5


def test_settings_that_differ_come_first(m1eval, sums, runs, tmp_path):
    other = tmp_path / "short"
    m1eval("run", "--tasks", sums, "--model", "echo:gold", "--out", other, "--max-tokens", 40, "--display", "none")
    lines = m1eval("compare", runs["all"], other).out.splitlines()
    assert lines[1] == "config  generation.max_tokens – → 40"


@pytest.mark.parametrize(("by", "code"), [("0", 1), ("0.1", 1), ("0.2", 5), ("1", 0)])
def test_a_worse_run_fails_the_gate(m1eval, runs, by, code):
    assert m1eval("compare", runs["all"], runs["half"], "--fail-if-worse", by, "--fail-if-inconclusive").code == code
    assert m1eval("compare", runs["half"], runs["all"], "--fail-if-worse", by).code == 0


def test_several_comparisons_are_adjusted(m1eval, runs):
    pairs = m1eval("compare", runs["all"], runs["half"], runs["none"], "--json").json()["comparisons"]
    assert [pair["p_adjusted"] for pair in pairs] == sorted((pair["p_adjusted"] for pair in pairs), reverse=True)
    assert all(pair["p_adjusted"] >= pair["p"] for pair in pairs)


def test_folders_of_runs_are_matched_by_task(m1eval, runs, tmp_path):
    for side, name in (("x", "all"), ("y", "half")):
        (tmp_path / side).mkdir()
        runs[name].rename(tmp_path / side / "sums")
    (pair,) = m1eval("compare", tmp_path / "x", tmp_path / "y", "--json").json()["comparisons"]
    assert pair["task"] == "sums"


def test_errored_samples_are_left_out_and_counted(m1eval, runs):
    (pair,) = m1eval("compare", runs["all"], runs["errors"], "--json").json()["comparisons"]
    assert pair["errored"][1] > 0
    assert pair["samples"] == 24 - pair["errored"][1]
    assert pair["left_out"] == pair["errored"][1]
    shown = m1eval("compare", runs["all"], runs["errors"]).out
    lost = pair["errored"][1]
    right = round(pair["scores"][1] * (24 - lost))
    low, high = right / 24 - 1, (right + lost) / 24 - 1
    assert f"errored and left out: A 0, B {lost}; whatever they were, Δ of all samples is in {low:+.3f}" in shown
    assert f"to {high:+.3f}; hard problems may err more often" in shown


def test_what_cannot_be_compared_is_said_in_one_line(m1eval, runs, capitals, tmp_path):
    m1eval("run", "--tasks", capitals, "--model", "echo:gold", "--out", tmp_path / "c", "--display", "none")
    for arguments, message in (
        ((runs["all"],), "name two runs or more"),
        ((runs["all"], tmp_path / "nothing"), "no folder"),
        ((runs["all"], tmp_path / "c"), "no task in both"),
    ):
        result = m1eval("compare", *arguments)
        assert (result.code, result.err.count("\n")) == (2, 1)
        assert message in result.err
