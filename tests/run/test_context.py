"""The context of a sample: what an episode leaves for its scorer is closed after grading, however that ends."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from m1eval.run.context import Resources
from tests.conftest import Result, lines, run_of, write

TASK = """
title: T
dataset: {file: t.jsonl}
prompt: "{{ q }}"
target: "yes"
scorer: ./graded.py
episode: _asks.run
"""
EPISODE = """
from contextlib import asynccontextmanager
from pathlib import Path
from m1eval import Output, RunnerError

LOG = Path(__file__).with_name("log")

def log(text):
    with LOG.open("a") as file:
        file.write(text + "\\n")

@asynccontextmanager
async def box(name):
    log(f"open {name}")
    try:
        yield name
    finally:
        log(f"close {name}")

async def run(sample, runner, context):
    assert sample is context.sample
    context.state["box"] = await context.enter_async(box(str(context.repeat)))
    context.callback(log, "callback")
    if sample.messages[0]["content"] == "ends the run":
        raise RunnerError("gone")
    if sample.messages[0]["content"] == "fails":
        raise ValueError("no")
    return Output(text="yes")
"""
SCORER = """
from pathlib import Path
import m1eval
from m1eval import Score

class Scorer(m1eval.Scorer):
    async def score(self, output, sample, context):
        box = context.state.get("box")
        with Path(__file__).with_name("log").open("a") as file:
            file.write(f"grade {box}\\n")
        if sample.messages[0]["content"] == "raises":
            raise RuntimeError("broken")
        return Score(value=1.0, answer="yes")
"""


@pytest.fixture
def run(m1eval: Callable[..., Result], tmp_path: Path) -> Callable[..., list[str]]:
    """Trace of an episode and its scorer, line by line."""

    def call(question: str, *options: object, episode: str = EPISODE) -> list[str]:
        write(tmp_path / "t.yaml", TASK)
        write(tmp_path / "t.jsonl", f'{{"q": "{question}"}}\n')
        write(tmp_path / "_asks.py", episode)
        write(tmp_path / "graded.py", SCORER)
        m1eval("run", "-t", tmp_path / "t.yaml", "-m", "echo:gold", "--out", tmp_path / "x", "--display=none", *options)
        return (tmp_path / "log").read_text().splitlines()

    return call


@pytest.mark.parametrize(
    ("question", "outcome", "graded"),
    [("fine", "right", True), ("fails", "errored", False), ("raises", "errored", True)],
)
def test_what_an_episode_opens_is_closed_after_grading(
    run: Callable[..., list[str]], tmp_path: Path, question: str, outcome: str, graded: bool
):
    steps = ["open 0", *["grade 0"] * graded, "callback", "close 0"]
    assert run(question) == steps
    assert lines(run_of(tmp_path / "x") / "samples.jsonl")[0]["outcome"] == outcome


def test_what_an_episode_opens_is_closed_when_the_run_ends(run: Callable[..., list[str]], tmp_path: Path):
    assert run("ends the run") == ["open 0", "callback", "close 0"]
    assert not (tmp_path / "x").exists()


def test_each_repeat_has_a_context_of_its_own(run: Callable[..., list[str]]):
    steps = run("fine", "--repeats", 3)
    assert sorted(steps) == sorted(
        [f"{what} {n}" for what in ("open", "grade", "close") for n in range(3)] + ["callback"] * 3
    )


def test_an_error_while_closing_leaves_the_grade(run: Callable[..., list[str]], tmp_path: Path):
    run("fine", episode=EPISODE.replace('context.callback(log, "callback")', "context.callback(lambda: 1 / 0)"))
    [record] = lines(run_of(tmp_path / "x") / "samples.jsonl")
    assert record["outcome"] == "right"
    assert re.fullmatch(r"after grading: ZeroDivisionError: division by zero \(.*_asks\.py:\d+\)", record["error"])


def test_what_an_episode_left_is_missed_when_its_answers_are_graded_again(
    run: Callable[..., list[str]], m1eval: Callable[..., Result], tmp_path: Path
):
    run("fine")
    folder = run_of(tmp_path / "x")
    result = m1eval("score", folder)
    assert (result.code, "reads what the episode left" in result.err) == (2, True), result.err
    [record] = lines(folder / "samples.jsonl")
    assert record["outcome"] == "right"
    assert m1eval("score", folder, "--scorer", "exact").code == 0


CHANGES = """
from m1eval import Output

async def run(sample, runner, context):
    sample.metadata["turns"] = 2
    return Output(text="yes")
"""


@pytest.mark.parametrize(
    ("reads", "code"), [('sample.metadata.get("turns", 0)', 2), ("2 * len(sample.target) // 3", 0)]
)
def test_what_an_episode_changed_in_its_sample_is_missed_when_its_answers_are_graded_again(
    run: Callable[..., list[str]], m1eval: Callable[..., Result], tmp_path: Path, reads: str, code: int
):
    write(tmp_path / "log", "")
    run("fine", episode=CHANGES)
    folder = run_of(tmp_path / "x")
    head, _, _ = SCORER.partition("        box")
    write(tmp_path / "turns.py", f"{head}        return Score(value={reads} / 2, answer='yes')")
    result = m1eval("score", folder, "--scorer", tmp_path / "turns.py")
    assert (result.code, "reads 'metadata' of the sample" in result.err) == (code, code == 2), result.err
    [record, *_] = lines(folder / "samples.jsonl")
    assert (record["outcome"], record["metadata"]["changed_by_episode"]) == ("right", "metadata")


def test_a_closed_context_takes_nothing_that_it_would_never_leave():
    log: list[str] = []

    @asynccontextmanager
    async def box(name: str) -> AsyncIterator[None]:
        await asyncio.sleep(0)
        log.append(f"open {name}")
        yield
        log.append(f"close {name}")

    async def use() -> None:
        context = Resources().context()
        late = asyncio.create_task(context.enter_async(box("late")))
        await asyncio.sleep(0)
        await context.aclose()
        with pytest.raises(RuntimeError, match="its context is closed"):
            await late
        with pytest.raises(RuntimeError, match="its context is closed"):
            await context.enter_async(box("never"))
        with pytest.raises(RuntimeError, match="its context is closed"):
            context.callback(log.append, "never")

    asyncio.run(use())
    assert log == ["open late"]


STRAY = """
import asyncio
from m1eval import Output, Request

TASKS = []

async def run(sample, runner, context):
    TASKS.append(asyncio.create_task(runner.generate(Request(messages=sample.messages))))
    await asyncio.sleep(context.repeat / 10_000)
    return Output(text="yes")
"""


def test_a_request_that_an_episode_does_not_await_does_not_change_what_is_recorded(
    run: Callable[..., list[str]], tmp_path: Path
):
    run("fine", "--repeats", 60, "-o", "latency=0.006", episode=STRAY)
    folder = run_of(tmp_path / "x")
    records = lines(folder / "samples.jsonl")
    stored = json.loads((folder / "run.json").read_text())["summary"]["tokens"]
    for kind in ("prompt", "answer"):
        assert stored[kind] == sum(record.get("usage", {}).get(kind, 0) for record in records)


def test_a_context_lends_the_resources_and_keeps_a_state_of_its_own():
    async def use() -> None:
        resources = Resources()
        first, second = resources.context(), resources.context()
        first.state["x"] = 1
        assert (second.state, first.workers is second.workers) == ({}, True)
        closed: list[int] = []
        first.callback(closed.append, 1)
        first.callback(closed.append, 2)
        for _ in range(2):
            await first.aclose()
        assert closed == [2, 1]
        await resources.aclose()

    asyncio.run(use())
