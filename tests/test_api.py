"""The front door in Python: the same as the command line, in scripts, notebooks and asynchronous code."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import m1eval as package
from m1eval import (
    Output,
    Sample,
    UsageError,
    classify,
    compare,
    evaluate,
    evaluate_async,
    grade,
    load_task,
    read_results,
)

SMALL: dict[str, Any] = {"limit": 6, "display": "none"}


def odd(value: Any) -> Any:
    """A value of a type that the signature does not have."""
    return value


def comparable(run: dict[str, Any]) -> dict[str, Any]:
    """A run's description without what differs between two runs of the same."""
    return {k: v for k, v in run.items() if k not in ("path", "seconds", "request_seconds", "notes")}


def test_it_gives_what_the_command_prints(m1eval, tmp_path):
    results = evaluate("needle_small", "echo:gold,wrong", out=tmp_path / "python", repeats=2, max_tokens="1k", **SMALL)
    command = (
        "run",
        "--tasks",
        "needle_small",
        "--model",
        "echo:gold,wrong",
        "--out",
        tmp_path / "shell",
        "--limit",
        6,
    )
    printed = json.loads(m1eval(*command, "--repeats", 2, "--max-tokens", "1k", "--json").out)["runs"]
    assert list(map(comparable, results.to_dict()["runs"])) == list(map(comparable, printed))
    assert results.scores == {"needle_small": printed[0]["score"]}
    frame = results.samples
    assert len(frame) == 6
    assert frame.score.mean() == pytest.approx(printed[0]["score"])
    assert len(results.answers) == 12
    assert frame.equals(read_results(tmp_path / "python"))
    configs = [
        json.loads(next(tmp_path.glob(f"{side}/**/run.json")).read_text())["config"] for side in ("python", "shell")
    ]
    assert configs[0] == configs[1]


def test_it_continues_and_shows_a_table(tmp_path):
    first = len(evaluate(["needle_small"], "echo:gold", out=str(tmp_path), **SMALL).samples)
    again = evaluate(["needle_small"], "echo:gold", out=str(tmp_path), **SMALL | {"limit": 8})
    assert (first, len(again.samples)) == (6, 8)
    assert again.finished
    text, html = repr(again), again._repr_html_()
    assert "| needle_small | 1.000 |" in text
    assert str(again["needle_small"].path) in text
    assert "<td>needle_small</td>" in html
    assert again[0] is again["needle_small"]
    with pytest.raises(KeyError, match="there are needle_small"):
        again["needle"]


def test_names_from_elsewhere_cannot_write_html(tmp_path):
    task = tmp_path / "bold.yaml"
    task.write_text("title: Bold\ndataset: {file: rows.jsonl}\nprompt: '{{ q }}'\ntarget: '{{ a }}'\nscorer: exact\n")
    (tmp_path / "rows.jsonl").write_text('{"q": "1", "a": "1"}\n')
    results = evaluate(str(task), "echo:gold", out=tmp_path / "<b>x", display="none")
    assert "<b>" not in results._repr_html_()
    assert "&lt;b&gt;x" in results._repr_html_()


def test_in_a_notebook_a_loop_is_running_already(tmp_path):
    async def cell() -> Any:
        results = evaluate("needle_small", "echo:gold", out=tmp_path, **SMALL)
        other = await evaluate_async("needle_small", "echo:wrong", out=tmp_path, **SMALL)
        score, outcome = grade("aime24", "70", r"\boxed{70}")
        return results, other, score.value, outcome

    results, other, value, outcome = asyncio.run(cell())
    assert (results.scores, other.scores) == ({"needle_small": 1.0}, {"needle_small": 0.0})
    assert (value, outcome) == (1.0, "right")


def test_a_file_may_be_a_path_and_a_task_there_twice(tmp_path):
    file = Path(package.__file__).parents[1] / "tasks/long_context/needle_small.yaml"
    task = load_task(file)
    assert evaluate([file], "echo:gold", out=tmp_path / "a", **SMALL).scores == {"needle_small": 1.0}
    assert len(evaluate([task, task], "echo:gold", out=tmp_path / "b", **SMALL)) == 1


def test_without_pandas_the_extra_is_named(tmp_path, monkeypatch):
    results = evaluate("needle_small", "echo:gold", out=tmp_path, **SMALL)
    monkeypatch.setitem(sys.modules, "pandas", None)
    for frame in (lambda: results.samples, lambda: results.answers, lambda: read_results(tmp_path)):
        with pytest.raises(UsageError, match=r"m1eval\[frame\]"):
            frame()


def test_stop_finishes_what_is_in_flight(tmp_path):
    async def stop_after_the_first(stop: asyncio.Event) -> None:
        while not any(file.stat().st_size for file in tmp_path.rglob("samples.jsonl")):  # noqa: ASYNC110 - a file
            await asyncio.sleep(0.01)
        stop.set()

    async def cell() -> Any:
        stop = asyncio.Event()
        stopping = asyncio.create_task(stop_after_the_first(stop))
        options = {"option": {"latency": 0.2, "concurrency": 2}, "out": tmp_path, "stop": stop, "display": "none"}
        results = await evaluate_async("needle_small", "echo:gold", repeats=20, **options)
        await stopping
        return results

    results = asyncio.run(cell())
    assert not results.finished
    assert 0 < len(results.answers) < 240
    assert "not finished; the same call continues" in repr(results)
    whole = evaluate("needle_small", "echo:gold", repeats=20, out=tmp_path, display="none", option={"concurrency": 64})
    assert (whole.finished, len(whole.answers)) == (True, 240)


PRESSES = """
import asyncio, os, signal
import m1eval

class Runner(m1eval.Runner):
    def __init__(self, model): ...

    async def generate(self, request):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(0.1)
        await asyncio.sleep(60)
"""
INTERRUPTED = """
import signal
import m1eval

numbers = signal.SIGINT, signal.SIGTERM
signal.signal(signal.SIGTERM, lambda *_: None)
before = [signal.getsignal(number) for number in numbers]
try:
    m1eval.evaluate("needle_small", "./presses.py:x", display="none", concurrency=1)
except KeyboardInterrupt:
    print("interrupted")
print(before == [signal.getsignal(number) for number in numbers])
"""


def test_after_the_second_ctrl_c_the_session_heeds_the_next_one_as_before(tmp_path):
    (tmp_path / "presses.py").write_text(PRESSES)
    command = [sys.executable, "-c", INTERRUPTED]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.split() == ["interrupted", "True"], done.stderr


PRESSES_ONCE = """
import asyncio, os, signal
import m1eval

class Runner(m1eval.Runner):
    concurrency = 1
    presses = 1

    async def generate(self, request):
        if self.presses:
            self.presses = 0
            os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0.3)
        return m1eval.Output(text="x")
"""
IN_A_LOOP = """
import asyncio, signal
import m1eval

async def main():
    before = signal.getsignal(signal.SIGINT)
    results = m1eval.evaluate("needle_small", "./presses.py:x", display="none")
    await asyncio.sleep(0)
    print(results.finished, 0 < len(results.answers) < 12, before == signal.getsignal(signal.SIGINT))

asyncio.run(main())
"""


def test_the_first_ctrl_c_in_a_loop_of_asyncio_run_stops_the_evaluation(tmp_path):
    (tmp_path / "presses.py").write_text(PRESSES_ONCE)
    command = [sys.executable, "-c", IN_A_LOOP]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.split() == ["False", "True", "True"], done.stderr


def test_a_loaded_task_is_run_and_graded_like_a_named_one(tmp_path):
    task = load_task("needle_small", lengths="512", set={"samples": 2})
    results = evaluate(task, "echo:gold", out=tmp_path / "a", display="none")
    named = evaluate("needle_small", "echo:gold", lengths="512", set={"samples": 2}, out=tmp_path / "b", display="none")
    assert list(map(comparable, results.to_dict()["runs"])) == list(map(comparable, named.to_dict()["runs"]))
    record = next(results[0].records())
    score, outcome = grade(task, Sample(id="x", messages=[], target=record.target), record.text)
    assert (score.value, outcome) == (record.value, record.outcome)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"<think>\boxed{1}</think>It is \boxed{70}.", "right"),
        (r"\boxed{71}", "wrong"),
        ("no idea", "unparsed"),
        ("<think>still thinking", "truncated"),
    ],
)
def test_one_output_is_graded_as_in_a_run(text, expected):
    score, outcome = grade("aime24", "70", text)
    assert outcome == expected
    assert score.value == (expected == "right")
    assert classify(package.Output(text="x"), package.Score(value=1.0, answer="x")) == "right"


def test_comparing_is_what_the_command_prints(m1eval, tmp_path):
    runs = [evaluate("needle_small", f"echo:{script}", out=tmp_path, **SMALL) for script in ("wrong", "gold")]
    folders = [run[0].path for run in runs]
    printed = m1eval("compare", *folders, "--fail-if-worse", "0.1").out
    for sides in (runs, [run[0] for run in runs], folders, list(map(str, folders))):
        compared = compare(*sides, margin=0.1)
        assert f"{compared!r}\n" == printed
        assert (compared[0].difference, compared[0].gate) == (1.0, "not worse")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "limit must be a whole number of at least 1, not 0"),
        ({"limit": True}, "limit must be a whole number of at least 1, not True"),
        ({"limit": "ten"}, "limit must be a whole number of at least 1, not 'ten'"),
        ({"limitt": 3}, "unknown option 'limitt'; did you mean 'limit'?"),
        ({"nonsense": 3}, "data_dir, display, ids"),
        ({"dry_run": True}, "dry_run is an option of the command line only"),
        ({"json": True}, "json is an option of the command line only"),
        ({"fail_under": 0.5}, "fail_under is an option of the command line only"),
        ({"max_tokens": "x"}, "max_tokens: 'x' is not a number of tokens"),
        ({"temperature": float("nan")}, "temperature must be a number of at least 0, not nan"),
        ({"temperature": -1}, "temperature must be a number of at least 0, not -1"),
        ({"until_se": 0}, "until_se must be a number above 0 and at most 1, not 0"),
        ({"set": {"no_such_key": 1}}, "unknown key 'no_such_key'"),
        ({"set": 3}, "set: "),
        ({"option": [1]}, "option: "),
        ({"judge": ""}, "judge: "),
        ({"prices": "no.yaml"}, "prices: there is no file no.yaml"),
        ({"redo": 1}, "redo: 1 is not True or False"),
        ({"out": 3}, "out: 3 is not a path"),
        ({"ids": {"a": 1}}, "ids: "),
        ({"ids": []}, "ids: no name given"),
        ({"lengths": []}, "lengths: no name given"),
        ({"profile": "nope"}, "nope"),
    ],
)
def test_an_unsound_option_is_named(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as error:
        evaluate("needle_small", "echo:gold", display="none", **options)
    assert message in str(error.value)
    assert not list(Path().rglob("run.json"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: evaluate("", "echo:gold"), "no name given"),
        (lambda: evaluate([], "echo:gold"), "no name given"),
        (lambda: evaluate("needle_small", "nope:x"), "nope"),
        (lambda: evaluate(odd(["needle_small", None]), "echo:gold"), "no name given"),
        (lambda: evaluate(odd([3]), "echo:gold"), "3 is not the name of a task"),
        (lambda: evaluate(Path("no.yaml"), "echo:gold"), "no.yaml"),
        (lambda: evaluate("needle_small", odd(package.Runner())), "is not text such as echo:gold"),
        (
            lambda: evaluate("needle_small", "echo:gold", display=odd("fancy")),
            "display: 'fancy' is not full, plain, none",
        ),
        (
            lambda: evaluate([load_task("needle_small", temperature=each) for each in (0, 1)], "echo:gold"),
            "two of the tasks are named 'needle_small'",
        ),
        (lambda: load_task("demo"), "demo is a group of 3 tasks"),
        (lambda: load_task(odd(["needle_small"])), "is not the name of a task"),
        (lambda: grade("aime24", odd(70), "70"), "sample: 70 is neither"),
        (lambda: grade("aime24", "70", odd(70)), "output: 70 is neither"),
        (lambda: grade("aime24", "70", Output(text=odd(None))), "output: the output's text is None"),
        (lambda: grade("aime24", "70", Output(text="70", finish_reason=odd("done"))), "finish_reason is 'done'"),
        (lambda: compare("a", odd(["b"])), "not ['b']"),
        (lambda: compare(odd(3), "b"), "not 3"),
        (lambda: compare("a", "b", margin=float("nan")), "margin: nan is not a number from 0 to 1"),
        (lambda: compare("a", "b", margin=-0.1), "margin: -0.1 is not"),
        (lambda: load_task("aime24", judge="x"), "load_task has no option 'judge'"),
        (lambda: compare("a"), "two runs or more"),
        (lambda: compare("a", "b"), "no folder a"),
        (lambda: evaluate([load_task("needle_small")], "echo:gold", temperature=1.0), "a loaded task has its settings"),
    ],
)
def test_wrong_calls_are_refused_in_one_line(tmp_path, monkeypatch, call, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as error:
        call()
    assert message in str(error.value)
    assert "\n" not in str(error.value)
