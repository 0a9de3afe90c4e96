"""Clean-up of what an episode entered: a cancelled run waits for it, for a while, and a third Ctrl-C does not."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from m1eval import Sample
from m1eval.run import context as contexts
from m1eval.run.context import Context, Resources
from m1eval.run.sample_tasks import SampleTasks
from tests.conftest import Result, lines, write

TASK = """
title: T
dataset: {file: t.jsonl}
prompt: "{{ q }}"
target: "yes"
scorer: exact
episode: _asks.run
"""
EPISODE = """
import asyncio, os, signal
from contextlib import asynccontextmanager
from pathlib import Path
from m1eval import Output

LOG = Path(__file__).with_name("log")
leaving, cancelled = asyncio.Event(), asyncio.Event()

def log(text):
    with LOG.open("a") as file:
        file.write(text + "\\n")

@asynccontextmanager
async def worktree():
    try:
        yield
    finally:
        await asyncio.sleep(0)
        log("worktree removed")

@asynccontextmanager
async def container():
    try:
        yield
    finally:
        log("stopping")
        leaving.set()
        await cancelled.wait()
        AT_THE_END
        await asyncio.wait_for(asyncio.sleep(0), 60)
        log("container removed")

async def run(sample, runner, context):
    if sample.messages[0]["content"] == WHICH:
        await context.enter_async(worktree())
        await context.enter_async(container())
        return Output(text="yes")
    await leaving.wait()
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0)
    try:
        await asyncio.Event().wait()
    finally:
        cancelled.set()
"""


@pytest.fixture
def interrupted(shell: Callable[..., Result], tmp_path: Path) -> Callable[[str], tuple[Result, list[str]]]:
    """A run that gets two Ctrl-Cs while a container stops, and what was cleaned up; the argument runs after them."""

    def call(at_the_end: str = "pass") -> tuple[Result, list[str]]:
        write(tmp_path / "t.yaml", TASK)
        write(tmp_path / "t.jsonl", '{"q": "opens"}\n{"q": "presses"}\n')
        write(tmp_path / "_asks.py", EPISODE.replace("WHICH", "'opens'").replace("AT_THE_END", at_the_end))
        result = shell("-t", "t.yaml", "-m", "echo:gold", "--out", "x", "--display", "none")
        return result, (tmp_path / "log").read_text().splitlines()

    return call


def test_the_second_ctrl_c_lets_clean_up_that_has_begun_come_to_its_end(interrupted, tmp_path):
    result, log = interrupted()
    assert log == ["stopping", "container removed", "worktree removed"]
    assert (result.code, result.err) == (130, "interrupted; the same command continues\n")
    assert [record["outcome"] for record in lines(tmp_path / "x" / "samples.jsonl")] == ["right"]


def test_the_third_ctrl_c_ends_the_process_during_clean_up(interrupted):
    result, log = interrupted("os.kill(os.getpid(), signal.SIGINT)")
    assert (result.code, log) == (-signal.SIGINT, ["stopping"])


@pytest.mark.parametrize("begun", [True, False])
def test_clean_up_that_does_not_end_is_given_up_with_a_line(monkeypatch, capsys, begun):
    monkeypatch.setattr(contexts, "CLEANUP_SECONDS", 0.01)
    log: list[str] = []

    @asynccontextmanager
    async def box(name: str, event: asyncio.Event) -> AsyncIterator[None]:
        try:
            yield
        finally:
            log.append(f"stop {name}")
            await event.wait()

    async def use() -> None:
        context, entered, never = Resources().context(Sample(id="t-1", messages=[])), asyncio.Event(), asyncio.Event()

        async def work(context: Context) -> None:
            try:
                await context.enter_async(box("outer", never))
                await context.enter_async(box("inner", never))
                if not begun:
                    entered.set()
                    await never.wait()
                asyncio.get_running_loop().call_soon(entered.set)
            finally:
                await context.aclose()

        async def group() -> None:
            async with SampleTasks() as tasks:
                tasks.start(work(context), [context])

        task = asyncio.create_task(group())
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(use())
    assert log == ["stop inner", "stop outer"]
    name = f"{test_clean_up_that_does_not_end_is_given_up_with_a_line.__qualname__}.<locals>.box"
    line = f"t-1, repeat 0: {name} is not cleaned up: given up after 0.01 s\n"
    assert capsys.readouterr().err == 2 * line


def test_what_is_entered_keeps_its_value_and_its_errors():
    async def use() -> None:
        context = Resources().context()

        @asynccontextmanager
        async def fails() -> AsyncIterator[int]:
            yield 3
            raise TimeoutError("its own")

        assert await context.enter_async(fails()) == 3
        with pytest.raises(TimeoutError, match="its own"):
            await context.aclose()
        with pytest.raises(TypeError, match="asynchronous context manager"):
            await Resources().context().enter_async(object())  # type: ignore[arg-type]

    asyncio.run(use())
