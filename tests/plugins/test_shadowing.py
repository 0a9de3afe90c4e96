"""A file of the user's that replaces a built-in one is announced; a stray one is not executed."""

import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from m1eval import load
from tests.conftest import ROOT, run_of, write
from tests.plugins.test_plugins import RUNNER, SCORER


@pytest.mark.parametrize(
    "file", ["scorers/math.py", "scorers/math/__init__.py", "runners/http.py", "runners/http/__init__.py"]
)
def test_a_file_that_hides_a_built_in_folder_is_announced_and_recorded(file, tmp_path, shell, capitals):
    kind, name = file.split("/")[0], file.split("/")[1].removesuffix(".py")
    write(tmp_path / file, SCORER if kind == "scorers" else RUNNER)
    capitals.write_text(capitals.read_text().replace("scorer: exact", "scorer: math"))
    model = "echo:gold" if kind == "scorers" else "http:m"
    result = shell("run", "--tasks", capitals, "--model", model, "--out", "x")
    note = f"{file} is used in place of the built-in {kind}/{name}/"
    assert f"note: {note}\n" in result.err
    meta = json.loads((run_of(tmp_path / "x") / "run.json").read_text())
    assert meta["shadowing"] == [note]
    assert meta["files"][kind.removesuffix("s")].endswith(file)
    assert f"note: {note}\n" in shell("run", "--tasks", capitals, "--model", model, "--dry-run", "--out", "y").err


def test_a_hidden_runner_of_a_judge_is_announced(tmp_path, shell, capitals):
    write(tmp_path / "runners" / "echo.py", RUNNER)
    judge = 'scorer: {judge: {rubric: "{{ output }}", verdicts: {A: 1, B: 0}}}'
    capitals.write_text(capitals.read_text().replace("scorer: exact", judge))
    write(tmp_path / "runners" / "mine.py", RUNNER)
    result = shell("run", "--tasks", capitals, "--model", "mine:m", "--judge", "echo:gold", "--out", "x", "--limit", 1)
    assert "note: runners/echo.py is used in place of the built-in runners/echo.py" in result.err


def test_hidden_profiles_and_published_figures_are_announced(tmp_path, shell, capitals):
    for path in ("runners/profiles/qwen3.yaml", "results/baselines/aime_2024.yaml"):
        copy = write(tmp_path / path, "")
        copy.write_text((ROOT / path).read_text() + "# mine\n")
    capitals.write_text(capitals.read_text() + "baselines: aime_2024\n")
    result = shell("run", "--tasks", capitals, "--model", "echo:gold", "--profile", "qwen3", "--out", "x")
    assert result.code == 0, result.err
    for path in ("runners/profiles/qwen3.yaml", "results/baselines/aime_2024.yaml"):
        assert f"note: {path} is used in place of the built-in {path}\n" in result.err


def test_a_copy_of_a_built_in_plugin_hides_nothing(tmp_path, shell, capitals):
    copy = write(tmp_path / "scorers" / "exact.py", "")
    copy.write_bytes((ROOT / "scorers" / "exact.py").read_bytes())
    assert "in place of" not in shell("run", "--tasks", capitals, "--model", "echo:gold", "--out", "x").err


STRAY = [
    *("scorers.py", "tasks.py", "runners.py", "plugins.py", "__init__.py", "conftest.py"),
    *("scorers/__init__.py", "tasks/__init__.py", "runners/__init__.py"),
    *("json.py", "typing.py", "re.py", "asyncio.py", "msgspec.py", "secrets.py", "random.py"),
    *("scorers/json.py", "scorers/typing.py", "scorers/re.py", "scorers/_boxed.py", "runners/asyncio.py"),
    *("scorers/unasked.py", "runners/unasked.py", "tasks/_helper.py"),
]
"""Files that nobody has asked for."""


@pytest.mark.parametrize("content", ["raise SystemExit(f'{__file__} was executed')\n", "def broken(:\n"])
@pytest.mark.parametrize("scorer", ["math", "mine"])
def test_stray_files_are_not_executed(content, scorer, tmp_path, shell, capitals):
    """All of them together: the first that is executed says its name."""
    for name in STRAY:
        write(tmp_path / name, content)
    write(tmp_path / "scorers" / "mine.py", SCORER)
    capitals.write_text(capitals.read_text().replace("scorer: exact", f"scorer: {scorer}"))
    result = shell(
        *("run", "--tasks", capitals, "--model", "echo:gold", "--out", "x", "--json"),
        env={"M1EVAL_PATH": str(tmp_path)},
    )
    assert result.code == 0, result.err
    assert result.json()["runs"][0]["score"] == {"math": 1.0, "mine": 0.25}[scorer]
    assert "was executed" not in result.err


def test_a_folder_without_code_and_a_dangling_link_hide_nothing(tmp_path, shell, capitals):
    (tmp_path / "scorers" / "exact").mkdir(parents=True)
    (tmp_path / "scorers" / "f1.py").symlink_to(tmp_path / "nowhere.py")
    (tmp_path / "tasks").write_text("a file, not a folder")
    for scorer in ("exact", "f1"):
        capitals.write_text(capitals.read_text().replace("scorer: exact", f"scorer: {scorer}"))
        result = shell("run", "--tasks", capitals, "--model", "echo:gold", "--out", scorer, "--json")
        assert (result.code, result.json()["runs"][0]["score"]) == (0, 1.0), result.err
        assert "in place of" not in result.err


def test_a_helper_serves_its_own_neighbours_alone(tmp_path, shell, capitals):
    """The built-in scorer keeps its `_boxed`, the user's has the user's, and may use the built-in ones besides."""
    write(tmp_path / "scorers" / "_boxed.py", "last_boxed = lambda text: 'mine'\n")
    local_scorer = "from ._boxed import last_boxed\n" + SCORER.replace("0.25", "float(last_boxed('x') == 'mine')")
    write(tmp_path / "scorers" / "own.py", local_scorer)
    write(tmp_path / "far" / "near.py", "from ._boxed import last_boxed\n" + SCORER)
    for scorer, score in (("own", 1.0), ("math", 1.0), ("./far/near.py", 0.25)):
        text = capitals.read_text().replace("scorer: exact", f"scorer: {scorer}")
        task = write(tmp_path / f"t{score}{len(scorer)}.yaml", text)
        result = shell("run", "--tasks", task, "--model", "echo:gold", "--out", scorer.replace("/", "-"), "--json")
        assert result.code == 0, result.err
        assert result.json()["runs"][0]["score"] == score


def test_two_scorers_of_one_name_grade_each_its_own_task(tmp_path, shell, capitals):
    for folder, score in (("a", "0.25"), ("b", "0.75")):
        write(tmp_path / folder / "mine.py", SCORER.replace("0.25", score))
        text = (
            capitals.read_text()
            .replace("scorer: exact", "scorer: ./mine.py")
            .replace("capitals.jsonl", "../capitals.jsonl")
        )
        write(tmp_path / folder / f"task_{folder}.yaml", text)
    result = shell("run", "--tasks", "a/task_a.yaml,b/task_b.yaml", "--model", "echo:gold", "--out", "x", "--json")
    assert [run["score"] for run in result.json()["runs"]] == [0.25, 0.75]


def test_a_plugin_of_an_odd_folder_works_in_worker_processes(tmp_path, monkeypatch):
    monkeypatch.setenv("M1EVAL_FILES", "")
    path = write(tmp_path / "a=b\nc d" / "odd_scorer.py", SCORER)
    double = load("scorers", str(path)).double
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(double, 21).result() == 42
