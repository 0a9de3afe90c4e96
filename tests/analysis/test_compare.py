"""`m1eval compare`: the paired difference of two runs, what was set differently, and what flipped."""

import json
import random

import pytest

from tests.conftest import lines, run_of, write

NEEDLE = ("run", "--tasks", "needle", "--lengths", "2k", "--set", "depths=[0,100]", "--model", "echo:gold")


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
    folders = {}
    for name, script in (("all", "gold"), ("half", "gold,wrong"), ("none", "wrong"), ("errors", "gold,error")):
        folders[name] = tmp_path / name
        m1eval("run", "--tasks", sums, "--model", f"echo:{script}", "--out", folders[name], "--display", "none")
    return folders


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


def test_another_scorer_has_another_file_of_course(m1eval, sums, runs, tmp_path):
    command = ("run", "--tasks", sums, "--model", "echo:gold", "--out", tmp_path / "x", "--display", "none")
    m1eval(*command, "--set", "scorer=contains")
    assert m1eval("compare", runs["all"], tmp_path / "x").out.splitlines()[1] == "config  scorer exact → contains"


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
    assert f"errored and left out: A 0, B {lost}; bounds of Δ over all samples {low:+.3f}" in shown
    assert f"to {high:+.3f}; hard problems may error more often" in shown


def test_what_cannot_be_compared_is_said_in_one_line(m1eval, runs, capitals, tmp_path):
    m1eval("run", "--tasks", capitals, "--model", "echo:gold", "--out", tmp_path / "c", "--display", "none")
    for arguments, message in (
        ((runs["all"],), "name two runs or more"),
        ((runs["all"], tmp_path / "nothing"), "no folder"),
        ((runs["all"], tmp_path / "c"), "no task in both"),
        ((runs["all"], tmp_path), "; name one of them"),
    ):
        result = m1eval("compare", *arguments)
        assert (result.code, result.err.count("\n")) == (2, 1)
        assert message in result.err


def test_other_problems_under_the_same_ids_are_refused(m1eval, tmp_path):
    """Two seeds of a generator number other needles alike."""
    for seed in (0, 1):
        m1eval(*NEEDLE, "--seed", seed, "--out", tmp_path / str(seed))
    result = m1eval("compare", tmp_path / "0", tmp_path / "1")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "other problems of needle under the same ids (seed 0 and 1)" in result.err


def test_problems_are_paired_by_what_was_asked(m1eval, tmp_path):
    """The same rows in another order have other ids and are the same problems."""
    rows = [{"q": f"{i} + {i}", "a": str(2 * i)} for i in range(1, 13)]
    keys = 'title: S\ndataset: {file: sums.jsonl}\nprompt: "{{ q }}"\ntarget: "{{ a }}"\nscorer: exact\n'
    for name, ordered in (("a", rows), ("b", rows[::-1])):
        write(tmp_path / name / "sums.yaml", keys)
        write(tmp_path / name / "sums.jsonl", "".join(json.dumps(row) + "\n" for row in ordered))
        script = "gold" if name == "a" else "gold,wrong"
        task = tmp_path / name / "sums.yaml"
        m1eval("run", "--tasks", task, "--model", f"echo:{script}", "--out", tmp_path / f"run-{name}")
    (pair,) = m1eval("compare", tmp_path / "run-a", tmp_path / "run-b", "--json").json()["comparisons"]
    assert (pair["samples"], pair["left_out"], pair["other_prompts"]) == (12, 0, 0)
    records = {record["target"]: record for record in lines(run_of(tmp_path / "run-b") / "samples.jsonl")}
    mine = {record["id"]: record["target"] for record in lines(run_of(tmp_path / "run-a") / "samples.jsonl")}
    assert {mine[name] for name in pair["only_a"]} == {t for t, record in records.items() if record["value"] == 0}


def test_a_changed_prompt_is_another_way_to_ask_the_same_problem(m1eval, sums, tmp_path):
    for name, more in (("plain", ()), ("asked", ("--system", "Answer with a number."))):
        m1eval("run", "--tasks", sums, "--model", "echo:gold", "--out", tmp_path / name, *more)
    (pair,) = m1eval("compare", tmp_path / "plain", tmp_path / "asked", "--json").json()["comparisons"]
    assert (pair["samples"], pair["other_prompts"]) == (24, 24)
    assert (
        "24 samples with different prompts in A and B" in m1eval("compare", tmp_path / "plain", tmp_path / "asked").out
    )


def forged(folder, answers, *, cluster="", group="", columns=None):
    """A run whose samples have such answers, by sample; None is an errored one."""
    folder.mkdir(parents=True)
    written = []
    for name, values in answers.items():
        for repeat, value in enumerate(values):
            outcome = "errored" if value is None else "right" if value == 1 else "partial" if value else "wrong"
            record = {"id": name, "repeat": repeat, "outcome": outcome, "value": value, "target": name}
            record |= {"cluster": cluster and cluster(name), "group": group and group(name)}
            record["metadata"] = columns(name) if columns else {}
            written.append(json.dumps(record) + "\n")
    (folder / "samples.jsonl").write_text("".join(written))
    (folder / "run.json").write_text(json.dumps({"task": "made", "model": folder.name, "config": {}}))
    return folder


def test_one_answer_against_sixteen_of_the_same_model_shows_nothing(m1eval, tmp_path):
    rng = random.Random(7)
    significant = 0
    for trial in range(40):
        a = forged(tmp_path / f"a{trial}", {f"s{i}": [float(rng.random() < 0.9)] for i in range(10)})
        b = forged(tmp_path / f"b{trial}", {f"s{i}": [float(rng.random() < 0.9) for _ in range(16)] for i in range(10)})
        (pair,) = m1eval("compare", a, b, "--json").json()["comparisons"]
        significant += pair["p"] < 0.05 or pair["these_problems"]["p"] < 0.05
        for effect in (pair, pair["these_problems"]):
            low, high = effect["interval"]
            assert -1 <= low <= pair["difference"] <= high <= 1
            assert (effect["p"] < 0.05) == (not low <= 0 <= high)
        assert (pair["repeats"], pair["repeats_least"]) == ([1, 16], [1, 16])
    assert significant <= 4


def test_clusters_and_groups_are_those_of_the_records(m1eval, tmp_path):
    values = {f"s{i}": [float(i % 5 < 2)] for i in range(40)}
    better = {f"s{i}": [float(i % 5 < 3)] for i in range(40)}
    alone = [forged(tmp_path / name, each) for name, each in (("a", values), ("b", better))]
    texts = {"cluster": lambda name: f"text {int(name[1:]) % 5}"}
    shared = [forged(tmp_path / f"{name}-shared", each, **texts) for name, each in (("a", values), ("b", better))]
    column = {"columns": lambda name: {"text": int(name[1:]) % 5}}
    named = [forged(tmp_path / f"{name}-named", each, **column) for name, each in (("a", values), ("b", better))]
    (plain,) = m1eval("compare", *alone, "--json").json()["comparisons"]
    (clustered,) = m1eval("compare", *shared, "--json").json()["comparisons"]
    (by_column,) = m1eval("compare", *named, "--cluster", "text", "--json").json()["comparisons"]
    assert (plain["clusters"], clustered["clusters"], by_column["clusters"]) == (40, 5, 5)
    assert plain["p"] < 0.01
    assert clustered["p"] > 0.1, "what is easier in one text of five may be that text's doing"
    assert by_column["interval"] == clustered["interval"]
    assert "on 5 texts" in m1eval("compare", *shared).out
    assert "in 5 clusters by text" in m1eval("compare", *named, "--cluster", "text").out
    refused = m1eval("compare", *named, "--cluster", "nothing")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "it has text" in refused.err
    halves = {"group": lambda name: "few" if int(name[1:]) < 4 else "many"}
    grouped = [forged(tmp_path / f"{name}-grouped", each, **halves) for name, each in (("a", values), ("b", better))]
    (pair,) = m1eval("compare", *grouped, "--json").json()["comparisons"]
    assert pair["difference"] == pytest.approx((1 / 4 + 7 / 36) / 2)
    assert pair["scores"][0] == pytest.approx((2 / 4 + 14 / 36) / 2)


def test_lost_answers_bound_the_difference(m1eval, tmp_path):
    a = forged(tmp_path / "a", {f"s{i}": [1.0, 0.0] for i in range(10)})
    b = forged(tmp_path / "b", {f"s{i}": [1.0, None] if i < 6 else [None, None] for i in range(10)})
    (pair,) = m1eval("compare", a, b, "--json").json()["comparisons"]
    assert (pair["samples"], pair["difference"]) == (6, 0.5)
    assert pair["difference_errors_wrong"] == pytest.approx(0.6 * 0.5 - 0.5)
    assert pair["difference_errors_right"] == pytest.approx(0.5)
    assert pair["difference_bounds"] == pytest.approx([-0.2, 0.5])


def test_a_gate_over_many_tasks_fails_on_what_is_certain_of_all(m1eval, tmp_path):
    """Twenty tasks, one of which is just beyond 5% by itself."""
    for i in range(20):
        worse = 5 if i == 0 else 0
        for side, lost in (("a", 0), ("b", worse)):
            answers = {f"s{j}": [float(j >= lost)] for j in range(30)}
            folder = forged(tmp_path / side / f"task{i}", answers)
            (folder / "run.json").write_text(json.dumps({"task": f"task{i}", "model": side, "config": {}}))
    alone = m1eval("compare", tmp_path / "a" / "task0", tmp_path / "b" / "task0", "--fail-if-worse", 0)
    assert alone.code == 1
    together = m1eval("compare", tmp_path / "a", tmp_path / "b", "--fail-if-worse", 0, "--json")
    assert together.code == 0
    assert [pair["gate"] for pair in together.json()["comparisons"]].count("worse") == 0
    strict = m1eval("compare", tmp_path / "a", tmp_path / "b", "--fail-if-worse", 0, "--fail-if-inconclusive")
    assert strict.code == 5
    assert m1eval("compare", tmp_path / "a", tmp_path / "b", "--fail-if-inconclusive").code == 2


def test_a_duplicate_question_is_paired_once(m1eval, tmp_path):
    folders = []
    for name, right in (("a", "0000"), ("b", "0xxx")):
        rows = [{"name": f"{name}{i}", "given": given} for i, given in enumerate(right)]
        rows += [{"name": f"{name}-other", "given": "0"}]
        data = "".join(
            json.dumps({**row, "q": f"question {row['name'][1:] * (i == 4)}"}) + "\n" for i, row in enumerate(rows)
        )
        write(tmp_path / name / "data.jsonl", data)
        keys = (
            "title: T\ndataset: {file: data.jsonl}\nid: '{{ name }}'\nprompt: '{{ q }}'\ntarget: '0'\nscorer: exact\n"
        )
        named = write(tmp_path / name / "twice.yaml", keys)
        folders.append(tmp_path / f"run-{name}")
        m1eval("run", "--tasks", named, "--model", "echo:gold", "--out", folders[-1], "--display", "none")
        journal = run_of(folders[-1]) / "samples.jsonl"
        records = [json.loads(line) for line in journal.read_text().splitlines()]
        for record in records:
            if record["metadata"]["given"] == "x":
                record |= {"outcome": "wrong", "value": 0.0}
        journal.write_text("".join(json.dumps(record) + "\n" for record in records))
    (pair,) = m1eval("compare", *folders, "--json").json()["comparisons"]
    assert (pair["samples"], pair["left_out"]) == (5, 0)
    assert pair["scores"] == [1.0, 0.4], "as in the tables of the runs"
    assert len(pair["only_a"]) == 3


@pytest.fixture
def suites(m1eval, sums, tmp_path):
    """Folders of three tasks: one is whole in both, one errored in the second, one has other samples there."""
    for name in ("lost", "halves"):
        write(tmp_path / f"{name}.yaml", sums.read_text())
    folders = {}
    for out, script in (("a", "gold"), ("b", "error")):
        folders[out] = tmp_path / out
        common = ("--out", folders[out], "--display", "none")
        m1eval("run", "--tasks", sums, "--model", "echo:gold,wrong", *common)
        m1eval("run", "--tasks", tmp_path / "lost.yaml", "--model", f"echo:{script}", *common)
        ids = f"halves-0{1 if out == 'a' else 2}"
        half = m1eval("run", "--tasks", tmp_path / "halves.yaml", "--ids", ids, "--model", "echo:gold", *common)
        assert half.code == 0, half.err
    return folders


def test_a_task_that_cannot_be_compared_does_not_keep_the_others_from_it(m1eval, suites):
    result = m1eval("compare", suites["a"], suites["b"], "--json")
    output = result.json()
    assert (result.code, [pair["task"] for pair in output["comparisons"]]) == (0, ["sums"])
    reasons = {each["task"]: each["reason"] for each in output["skipped"]}
    assert set(reasons) == {"lost", "halves"}
    assert "have no problem of lost that both have scored" in reasons["lost"]
    assert "have no sample of halves in common" in reasons["halves"]
    assert output["comparisons"][0].get("p_adjusted") is None, "one comparison alone needs no correction"
    text = m1eval("compare", suites["a"], suites["b"])
    assert text.code == 0
    assert "skipped lost: " in text.out
    assert "skipped halves: " in text.out
    assert "(paired, 24 samples)" in text.out


def test_a_task_that_is_skipped_leaves_the_gate_undecided(m1eval, suites):
    gate = ("compare", suites["a"], suites["b"], "--fail-if-worse", 0.9)
    assert m1eval(*gate).code == 0
    assert m1eval(*gate, "--fail-if-inconclusive").code == 5
    same = ("compare", suites["a"] / "sums", suites["b"] / "sums", "--fail-if-worse", 0.9, "--fail-if-inconclusive")
    assert m1eval(*same).code == 0


@pytest.mark.parametrize("as_json", [False, True])
def test_nothing_to_compare_is_an_error_in_one_line(m1eval, suites, as_json):
    command = ("compare", suites["a"] / "lost", suites["b"] / "lost", *(["--json"] if as_json else []))
    result = m1eval(*command)
    assert (result.code, result.out) == (2, "")
    assert result.err.count("\n") == 1
    assert "have no problem of lost that both have scored" in result.err
