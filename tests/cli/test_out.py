"""Folders of `--out`: one layout whatever the number of tasks, and nothing left of what came to nothing."""

import os
from pathlib import Path

import pytest

from m1eval import read, read_results
from m1eval.store import folder
from tests.conftest import write
from tests.serving import Closed

ECHO = ("--model", "echo:gold", "--display", "none")


@pytest.fixture
def two(capitals, monkeypatch, tmp_path):
    """Two tasks in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b.yaml").write_text(capitals.read_text())
    return ("./capitals.yaml", "./b.yaml")


def paths(result):
    assert result.code == 0, result.err
    return [run["path"] for run in result.json()["runs"]]


def folders(below: Path) -> list[str]:
    return sorted(path.relative_to(below).as_posix() for path in below.rglob("*") if path.is_dir())


def test_the_layout_is_that_of_results_whatever_the_number_of_tasks(m1eval, two):
    run = ("run", *ECHO, "--json")
    assert paths(m1eval(*run, "-t", two[0])) == ["results/capitals/gold"]
    assert paths(m1eval(*run, "-t", two[0], "--out", "o")) == ["o/capitals/gold"]
    assert paths(m1eval(*run, "-t", ",".join(two), "--out", "o")) == ["o/capitals/gold", "o/b/gold"]
    other = m1eval("run", "-t", two[0], "--model", "echo:wrong", "--json", "--out", "o", "--display", "none")
    assert paths(other) == ["o/capitals/wrong"]


@pytest.mark.parametrize("flat", ["o", "o/capitals"])
def test_a_run_where_an_earlier_version_kept_it_goes_on_there(m1eval, two, tmp_path, flat):
    run = ("run", "-t", two[0], *ECHO, "--json", "--out")
    m1eval(*run, "made", "--limit", 3)
    (tmp_path / flat).parent.mkdir(exist_ok=True)
    Path("made/capitals/gold").rename(flat)
    result = m1eval(*run, "o")
    assert paths(result) == [flat]
    assert result.json()["runs"][0]["samples"] == 12
    assert "continues" in result.err
    assert folders(Path("o")) == ([] if flat == "o" else ["capitals"])


@pytest.mark.parametrize("more", [(), ("--redo",), ("--dry-run",)])
@pytest.mark.parametrize("other", ["task", "model", "tasks"])
def test_the_folder_of_another_run_is_refused(m1eval, two, other, more):
    m1eval("run", "-t", two[0], *ECHO, "--out", "made")
    run = "made/capitals/gold"
    before = {path.name: path.read_bytes() for path in Path(run).iterdir()}
    tasks = {"task": two[1], "model": two[0], "tasks": ",".join(two)}[other]
    model = "echo:wrong" if other == "model" else "echo:gold"
    result = m1eval("run", "-t", tasks, "--model", model, "--out", run, *more)
    words = (
        f"Error: --out {run} is itself the folder of a run (capitals with echo:gold); name a folder that holds runs\n"
    )
    assert (result.code, result.err) == (2, words)
    assert {path.name: path.read_bytes() for path in Path(run).iterdir()} == before


def test_a_run_that_a_killed_redo_has_moved_aside_is_still_there(m1eval, two):
    m1eval("run", "-t", two[0], *ECHO, "--out", "made")
    Path("made/capitals/gold").rename("flat")
    aside = folder.aside_path(Path("flat"))
    Path("flat").rename(aside)
    Path("flat").mkdir()
    result = m1eval("run", "-t", two[0], *ECHO, "--out", "flat", "--json")
    assert paths(result) == ["flat"]
    assert "the earlier run is back in place" in result.err
    assert not aside.exists()


def test_two_models_whose_names_are_alike_do_not_meet_below_out(m1eval, two, tmp_path):
    runner = """
        from m1eval import Output

        class Runner:
            async def generate(self, request):
                return Output(text=request.sample.gold)

            async def aclose(self):
                pass

            def __init__(self, model):
                pass
    """
    write(tmp_path / "any.py", runner)
    run = ("run", "-t", two[0], "--display", "none", "--json", "--out", "o", "--model")
    first, second = (paths(m1eval(*run, f"./any.py:{name}"))[0] for name in ("A/b", "a/B"))
    assert first == "o/capitals/a--b"
    assert second.startswith("o/capitals/a--b-")
    assert [paths(m1eval(*run, f"./any.py:{name}"))[0] for name in ("a/B", "A/b")] == [second, first]


@pytest.mark.parametrize("out", ["new", "new/and/below", "there", "there/below"])
@pytest.mark.parametrize("more", [(), ("--redo",)])
def test_only_folders_that_the_command_has_made_are_removed(m1eval, two, out, more):
    Path("there").mkdir()
    Path("there/capitals").mkdir()
    before = folders(Path())
    with Closed() as port:
        server = ("--model", "http:m", "--base-url", f"http://127.0.0.1:{port}/v1", "-o", "patience=0")
        assert m1eval("run", "-t", ",".join(two), *server, "--out", out, *more).code == 4
    assert folders(Path()) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_made_leaves_none_behind(m1eval, two):
    Path("closed").mkdir(mode=0o555)
    result = m1eval("run", "-t", two[0], *ECHO, "--out", "closed/x")
    assert (result.code, result.err.count("\n")) == (2, 1)


@pytest.mark.parametrize("out", ["loop", "loop/x", "file/x", f"new/{'y' * 300}"])
def test_a_folder_that_cannot_be_is_one_line_and_leaves_none_behind(m1eval, two, out):
    Path("loop").symlink_to("loop")
    Path("file").write_text("mine")
    result = m1eval("run", "-t", two[0], *ECHO, "--out", out)
    assert (result.code, result.err.count("\n")) == (2, 1), result.err
    assert folders(Path()) == []


def test_a_folder_above_runs_means_all_of_them(m1eval, two, tmp_path):
    needles = ("--set", "samples=2", "--set", "lengths=[2000,4000]")
    for name, model in (("x", "echo:gold"), ("y", "echo:wrong")):
        m1eval("run", "-t", "needle_small", "--model", model, "--out", name, "--display", "none", *needles)
        m1eval("run", "-t", two[0], "--model", model, "--out", name, "--display", "none")
    assert len(m1eval("compare", "x", "y", "--json").json()["comparisons"]) == 2
    for name in ("x", "y"):
        m1eval("run", "-t", two[1], "--model", "echo:error", "--out", name, "--display", "none")
    for found in (read_results("x"), read_results("x/**"), read("x"), read("[x]")):
        assert sorted(set(found["task"])) == ["b", "capitals", "needle_small"]
    shown = m1eval("lengths", "x", "y")
    assert shown.code == 0
    assert [line for line in shown.out.splitlines() if line.endswith("):")] == [
        "capitals, echo:gold (x/capitals/gold):",
        "needle_small, echo:gold (x/needle_small/gold):",
        "capitals, echo:wrong (y/capitals/wrong):",
        "needle_small, echo:wrong (y/needle_small/wrong):",
    ]
    assert shown.err.count("is left out: no sample says how long its prompt was") == 2
    assert len(m1eval("lengths", "x", "y", "--json").out.splitlines()) == 4
    several = m1eval("lengths", "x", "y", "--svg", tmp_path / "a.svg")
    assert (several.code, "--svg goes with one run" in several.err) == (2, True)
    assert m1eval("lengths", "x/needle_small", "--svg", tmp_path / "a.svg").code == 0
    assert (tmp_path / "a.svg").exists()
    none = m1eval("lengths", "x/b")
    assert (none.code, none.err.count("\n")) == (2, 1)
