"""Plugins are files found by name, wherever they lie."""

import json
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from m1eval import UsageError, available, load, plugins
from tests.conftest import ROOT, write

SCORER = """
from m1eval import Score

class Scorer:
    async def score(self, output, sample, tools):
        return Score(value=0.25, answer="x")

def double(x):
    return 2 * x
"""
RUNNER = """
from m1eval import Output

class Runner:
    def __init__(self, model, *, word="hello"):
        self.word = word

    async def generate(self, request):
        return Output(text=self.word)

    async def aclose(self):
        pass
"""
TASK = """
title: Mine
dataset: {file: mine.jsonl}
prompt: "{{ question }}"
target: "{{ answer }}"
scorer: mine
repeats: 2
"""


@pytest.fixture
def folder(tmp_path):
    """An empty folder with one plugin of each kind."""
    write(tmp_path / "tasks" / "mine.yaml", TASK)
    write(tmp_path / "tasks" / "mine.jsonl", '{"question": "1+1?", "answer": "2"}\n')
    write(tmp_path / "scorers" / "mine.py", SCORER)
    write(tmp_path / "runners" / "mine.py", RUNNER)
    return tmp_path


def test_a_name_is_a_file():
    assert load("scorers", "exact").Scorer.__module__ == "m1eval.plugins.scorers.exact"
    assert {"echo", "http", "local"} <= set(available("runners"))
    assert {"aime24", "mrcr", "needle"} <= set(available("tasks", "**/*.yaml"))


def test_a_scorer_survives_pickling_into_another_process():
    scorer = load("scorers", "exact").Scorer()
    assert type(pickle.loads(pickle.dumps(scorer))) is type(scorer)


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("scorers", "maths", "no scorer 'maths'; did you mean math?"),
        ("runners", "qqqqqq", "no runner 'qqqqqq'; there are echo"),
        ("runners", "./nowhere.py", "no file ./nowhere.py"),
    ],
)
def test_a_name_that_is_not_there(kind, name, words):
    with pytest.raises(UsageError) as error:
        load(kind, name)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_plugins_of_the_current_folder_run_by_name(folder, shell):
    result = shell("run", "--tasks", "mine", "--model", "mine:any", "--json")
    assert result.code == 0, result.err
    (run,) = result.json()["runs"]
    assert (run["score"], run["repeats"], run["path"]) == (0.25, 2, "results/mine/any")


def test_plugins_of_a_named_folder(folder, shell, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    result = shell(
        *("run", "--tasks", "mine", "--model", "mine:any", "-o", "word=bye", "--json"),
        cwd=elsewhere,
        env={"M1EVAL_PATH": str(folder)},
    )
    assert result.code == 0, result.err
    assert result.json()["runs"][0]["score"] == 0.25


def test_plugins_by_path(tmp_path, shell):
    write(tmp_path / "a" / "my_task.yaml", TASK.replace("scorer: mine", "scorer: ./my_scorer.py"))
    write(tmp_path / "a" / "mine.jsonl", '{"question": "1+1?", "answer": "2"}\n')
    write(tmp_path / "a" / "my_scorer.py", SCORER)
    write(tmp_path / "b" / "my_runner.py", RUNNER)
    result = shell("run", "--tasks", "a/my_task.yaml", "--model", "./b/my_runner.py:any", "--json", "--out", "x")
    assert result.code == 0, result.err
    assert result.json()["runs"][0]["score"] == 0.25


def test_a_file_given_by_path_can_be_imported_by_worker_processes(tmp_path, monkeypatch):
    monkeypatch.setenv("M1EVAL_FILES", "")
    path = write(tmp_path / "late_scorer.py", SCORER)
    double = load("scorers", str(path)).double
    for method in ("spawn", "forkserver"):
        with ProcessPoolExecutor(1, mp_context=get_context(method)) as pool:
            assert pool.submit(double, 21).result() == 42


def test_a_file_that_hides_a_built_in_one_is_announced_and_recorded(tmp_path, shell, capitals):
    write(tmp_path / "scorers" / "exact.py", SCORER)
    result = shell("run", "--tasks", capitals, "--model", "echo:gold", "--json", "--out", "x")
    assert "scorers/exact.py is used in place of the built-in scorers/exact.py" in result.err
    assert "in place of" in (tmp_path / "x" / "run.json").read_text()
    assert result.json()["runs"][0]["score"] == 0.25


def test_a_file_beside_but_not_in_its_folder_is_pointed_out(tmp_path, shell, capitals):
    result = shell("run", "--tasks", "capitals", "--model", "echo:gold")
    hint = "there is a file capitals.yaml here: name it ./capitals.yaml, or put it into ./tasks/"
    assert (result.code, result.err) == (2, f"Error: no task 'capitals'; {hint}\n")


def test_a_missing_package_is_named_with_its_extra(tmp_path, shell, capitals):
    write(tmp_path / "runners" / "needy.py", "import nowhere_to_be_found\n\nclass Runner: ...\n")
    result = shell("run", "--tasks", capitals, "--model", "needy")
    assert (result.code, result.err) == (
        2,
        "Error: runner 'needy' needs a package that is not installed: "
        "nowhere_to_be_found.  pip install nowhere_to_be_found\n",
    )
    assert plugins.remedy("reasoning_gym") == "reasoning_gym.  pip install 'm1eval[gym]'"


def test_an_option_that_a_plugin_does_not_have(shell, capitals):
    result = shell("run", "--tasks", capitals, "--model", "echo:gold", "-o", "latncy=1")
    assert (result.code, result.err) == (2, "Error: runner echo: unknown option 'latncy'; did you mean 'latency'?\n")


@pytest.mark.parametrize("kind", ["tasks", "scorers", "runners"])
def test_no_plugin_folder_is_a_package(kind):
    if not (ROOT / kind).is_dir():
        pytest.skip("the plugin folders are in the wheel, not beside the tests")
    assert not (ROOT / kind / "__init__.py").exists(), "it would hide the user's folder of the same kind"


@pytest.mark.parametrize(
    "file", ["scorers/math.py", "scorers/math/__init__.py", "runners/http.py", "runners/http/__init__.py"]
)
def test_a_file_that_hides_a_built_in_folder_is_announced_and_recorded(file, tmp_path, shell, capitals):
    kind, name = file.split("/")[0], file.split("/")[1].removesuffix(".py")
    write(tmp_path / file, SCORER if kind == "scorers" else RUNNER)
    capitals.write_text(capitals.read_text().replace("scorer: exact", "scorer: math"))
    model = "echo:gold" if kind == "scorers" else "http:m"
    result = shell("run", "--tasks", capitals, "--model", model, "--out", "x")
    said = f"{file} is used in place of the built-in {kind}/{name}/"
    assert f"note: {said}\n" in result.err
    meta = json.loads((tmp_path / "x" / "run.json").read_text())
    assert meta["shadowing"] == [said]
    assert meta["files"][kind.removesuffix("s")].endswith(file)
    assert f"note: {said}\n" in shell("run", "--tasks", capitals, "--model", model, "--dry-run", "--out", "y").err


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


STRAY = 'raise SystemExit("a stray file was executed")\n'


@pytest.mark.parametrize(
    "stray",
    [
        *("scorers.py", "tasks.py", "runners.py", "plugins.py", "m1eval_plugins.py"),
        *("scorers/__init__.py", "tasks/__init__.py", "runners/__init__.py", "__init__.py"),
        *("json.py", "typing.py", "re.py", "asyncio.py", "msgspec.py", "secrets.py", "random.py"),
        *("scorers/json.py", "scorers/typing.py", "scorers/re.py", "scorers/_boxed.py", "runners/asyncio.py"),
        *("scorers/broken.py", "runners/broken.py", "tasks/_helper.py", "conftest.py", "sitecustomize_.py"),
    ],
)
def test_a_stray_file_is_not_executed(stray, tmp_path, shell, capitals):
    write(tmp_path / stray, "def broken(:\n" if "broken" in stray else STRAY)
    capitals.write_text(capitals.read_text().replace("scorer: exact", "scorer: math"))
    result = shell("run", "--tasks", capitals, "--model", "echo:gold", "--out", "x", "--json")
    assert result.code == 0, result.err
    assert result.json()["runs"][0]["score"] == 1.0
    assert "stray" not in result.err


@pytest.mark.parametrize("stray", ["scorers.py", "scorers/__init__.py", "scorers/_helper.py", "json.py"])
def test_a_stray_file_beside_plugins_of_the_user_is_not_executed(stray, folder, shell):
    write(folder / stray, STRAY)
    result = shell("run", "--tasks", "mine", "--model", "mine:any", "--json", env={"M1EVAL_PATH": str(folder)})
    assert result.code == 0, result.err
    assert result.json()["runs"][0]["score"] == 0.25


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
    own = "from ._boxed import last_boxed\n" + SCORER.replace("0.25", "float(last_boxed('x') == 'mine')")
    write(tmp_path / "scorers" / "own.py", own)
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
