"""Runs that version 0.1.0 wrote: `tests/data/runs_0_1_0` has three that were stopped half way."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import m1eval as package
from m1eval.store import config
from m1eval.store.config import difference, ignored_digests
from tests.conftest import ROOT

RUNS = {
    "capitals": (["-t", "./capitals.yaml"], 6),
    "zebralogic": (["-t", "zebralogic", "--data-dir", "data"], 2),
    "needle_small": (["-t", "needle_small", "--set", "lengths=[512]"], 3),
}
"""Task to the command's options and the number of answers in the journal."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(ROOT / "tests/data/runs_0_1_0", tmp_path / "runs")
    monkeypatch.chdir(tmp_path / "runs")
    return tmp_path / "runs"


def command(task: str, *more: object) -> list[object]:
    return ["run", *RUNS[task][0], "-m", "echo:gold,wrong", *more]


def lines(folder: Path, task: str) -> list[str]:
    return (folder / "results" / task / "gold-wrong/samples.jsonl").read_text().splitlines()


def meta(folder: Path, task: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((folder / "results" / task / "gold-wrong/run.json").read_text())
    return data


@pytest.mark.parametrize("task", RUNS)
def test_the_same_command_continues_the_run(m1eval: Any, folder: Path, task: str) -> None:
    before = lines(folder, task)
    assert len(before) == RUNS[task][1]
    again = m1eval(*command(task, "-n", 3 if task != "zebralogic" else 2))
    assert again.code == 0, again.err
    assert lines(folder, task) == before
    grown = m1eval(*command(task, "--json"))
    assert grown.code == 0, grown.err
    after = lines(folder, task)
    assert after[: len(before)] == before
    ids = [(record["id"], record["repeat"]) for record in map(json.loads, after)]
    assert len(set(ids)) == len(ids) > len(before)
    note = f"continued by m1eval {package.__version__}; its first answers were graded by 0.1.0"
    assert note in meta(folder, task)["summary"]["notes"]
    assert meta(folder, task)["earlier_versions"] == ["0.1.0"]
    assert note in m1eval(*command(task)).out


def test_growing_repeats_continue_too(m1eval: Any, folder: Path) -> None:
    before = lines(folder, "capitals")
    assert m1eval(*command("capitals", "-n", 3, "-k", 4)).code == 0
    assert lines(folder, "capitals")[:6] == before
    assert len(lines(folder, "capitals")) == 12


@pytest.mark.parametrize("file", ["capitals.jsonl", "capitals.yaml"])
def test_other_files_of_the_user_are_another_run(m1eval: Any, folder: Path, file: str) -> None:
    (folder / file).write_text((folder / file).read_text().replace("Paris", "Lyon").replace("alone", "only"))
    refused = m1eval(*command("capitals"))
    assert (refused.code, len(lines(folder, "capitals"))) == (2, 6)
    assert "was made with" in refused.err


def test_a_scorer_of_the_user_in_place_of_a_built_in_one_is_another_run(shell: Any, folder: Path) -> None:
    (folder / "scorers").mkdir()
    (folder / "scorers/exact.py").write_text((ROOT / "scorers/exact.py").read_text() + "# mine\n")
    (folder / "scorers/_unicode.py").write_text((ROOT / "scorers/_unicode.py").read_text())
    (folder / "scorers/_columns.py").write_text((ROOT / "scorers/_columns.py").read_text())
    refused = shell(*command("capitals"), cwd=folder)
    assert refused.code == 2
    assert "scorer file: " in refused.err


def test_a_built_in_file_that_decides_otherwise_since_is_another_run(
    m1eval: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(config.CHANGED_SINCE, "scorers/exact.py", "0.2.0.dev0")
    refused = m1eval(*command("capitals"))
    assert refused.code == 2
    assert "scorer file: " in refused.err
    assert m1eval(*command("zebralogic")).code == 0


def test_old_and_new_runs_are_read_and_compared(m1eval: Any, folder: Path) -> None:
    assert m1eval("run", *RUNS["zebralogic"][0], "-m", "echo:gold", "--out", "new").code == 0
    compared = m1eval("compare", "results/zebralogic/gold-wrong", "new/zebralogic/gold")
    assert compared.code == 0, compared.err
    assert "logic_grid" not in compared.out
    lengths = m1eval("lengths", "results/needle_small/gold-wrong")
    assert lengths.code == 0, lengths.err
    assert "0.667" in lengths.out
    pytest.importorskip("pandas")
    frame = package.read_results("results/**")
    assert dict(frame.groupby("task").size()) == {"capitals": 3, "zebralogic": 2, "needle_small": 3}


SHADOWING = "x is used in place of the built-in "
BUILTIN = {"scorer": "scorers/exact.py", "generator _needle.py": "tasks/long_context/_needle.py"}


@pytest.mark.parametrize(
    ("meta", "ignored"),
    [
        ({"m1eval": "0.2.0"}, set()),
        ({"m1eval": "0.1.0"}, set(BUILTIN)),
        ({"m1eval": "0.1.0", "shadowing": [SHADOWING + "scorers/x.py"]}, {"generator _needle.py"}),
        ({"m1eval": "0.1.0", "shadowing": [SHADOWING + "tasks/x.yaml"]}, {"scorer"}),
        ({"m1eval": "0.2.0.dev0", "builtin_digests": ["scorer"]}, {"scorer"}),
    ],
)  # fmt: skip
def test_which_digests_do_not_decide(meta: dict[str, Any], ignored: set[str]) -> None:
    assert ignored_digests(meta, BUILTIN, "0.2.0") == ignored


@pytest.mark.parametrize(
    ("version", "changed", "decides"),
    [
        ("0.1.0", "0.2.0", True),
        ("0.2.0.dev0", "0.2.0", True),
        ("0.2.0.dev0", "0.2.0.dev0", False),
        ("0.2.0", "0.2.0.dev3", False),
        ("0.10.0", "0.9.0", False),
    ],
)
def test_a_change_counts_for_runs_of_versions_before_it(
    monkeypatch: pytest.MonkeyPatch, version: str, changed: str, decides: bool
) -> None:
    monkeypatch.setitem(config.CHANGED_SINCE, "scorers/exact.py", changed)
    assert ("scorer" not in ignored_digests({"m1eval": version}, BUILTIN, "1.0.0")) == decides


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("grid", "logic_grid", True),
        ({"grid": {"rule": "zeroeval"}}, {"logic_grid": {"rule": "zeroeval"}}, True),
        ({"grid": {"rule": "zeroeval"}}, {"logic_grid": {"rule": "m1eval"}}, False),
        ("grid", "exact", False),
        ("grid", "grid", True),
        ("exact", {"exact": {"strip": True}}, False),
    ],
)
def test_a_renamed_plugin_is_the_same_one(old: Any, new: Any, same: bool) -> None:
    assert (difference({"task": {"scorer": old}}, {"task": {"scorer": new}}) == "") == same
