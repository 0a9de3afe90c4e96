"""Plugins are files found by name, wherever they lie."""

import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from m1eval import UsageError, available, load, plugins
from tests.conftest import ROOT, run_of, write

SCORER = """
from m1eval import Score

class Scorer:
    async def score(self, output, sample, context):
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
def test_an_unknown_plugin_is_an_error_with_the_known_names(kind, name, words):
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


def test_plugins_are_loaded_by_path(tmp_path, shell):
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
    assert "in place of" in (run_of(tmp_path / "x") / "run.json").read_text()
    assert result.json()["runs"][0]["score"] == 0.25


def test_a_file_next_to_but_not_in_its_folder_is_pointed_out(tmp_path, shell, capitals):
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
        pytest.skip("the plugin folders are in the wheel, not next to the tests")
    assert not (ROOT / kind / "__init__.py").exists(), "it would hide the user's folder of the same kind"
