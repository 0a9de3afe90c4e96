"""Guarantees for a grader's author: real processes, killed when they hang, contained when they burst."""

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from m1eval import load
from m1eval.sandbox.workers import Pool
from tests.conftest import ROOT

PROBE = """
import os, signal, sys, time

class Awkward(Exception):
    def __init__(self, first, second):
        super().__init__(first)

def square(x): return x * x
def pid(): return os.getpid()
def nap(seconds): time.sleep(seconds); return os.getpid()
def spin(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
    return os.getpid()
def divide(a, b): return a / b
def awkward(): raise Awkward("no way", "back")
def leave(): sys.exit(7)
def die(): os.kill(os.getpid(), signal.SIGKILL)
def bomb(): return len(bytearray(64 * 2**30))
def tower(): return len(str(10 ** 10 ** 10))
def echo(text): return text
def unpicklable(): return lambda: 1
def read(): return sys.stdin.read(), os.read(0, 10)
def speak(): os.write(1, b"from a grader")
def quote(): print("\\x1b[31mquoted"); print("\\x9b1m", file=sys.stderr, flush=True); sys.stdout.flush()
def ignore_signals(started=os.devnull):
    for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGINT): signal.signal(number, signal.SIG_IGN)
    open(started, "w").close()
    while True: pass
"""


@pytest.fixture(scope="module")
def probe(tmp_path_factory):
    """A scorer plugin given by path, whose functions the workers must find too."""
    file = tmp_path_factory.mktemp("plugins") / "probe.py"
    file.write_text(PROBE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("M1EVAL_FILES", os.environ.get("M1EVAL_FILES", ""))
        module = load("scorers", str(file))
        yield module
    sys.modules.pop(module.__name__, None)


def in_pool(scenario: Callable[[Pool], Awaitable[Any]], **options: Any) -> Any:
    """Run `scenario(workers)` in a fresh pool, which must leave no process behind."""

    async def run() -> Any:
        async with Pool(**options) as workers:
            return await scenario(workers)

    result = asyncio.run(run())
    assert multiprocessing.active_children() == []
    return result


async def until_there_is(file: Path) -> None:
    """Wait for a file that another process makes."""
    exists = file.exists
    async with asyncio.timeout(30):
        while not exists():  # noqa: ASYNC110 - there is no event of another process
            await asyncio.sleep(0.01)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_call_returns_its_result_from_another_process(probe):
    async def scenario(workers):
        return [await workers.run(probe.square, 12, timeout=30), await workers.run(probe.pid, timeout=30)]

    square, pid = in_pool(scenario, size=1)
    assert square == 144
    assert pid != os.getpid()
    assert gone(pid)


def test_an_exception_passes_as_itself(probe):
    async def scenario(workers):
        with pytest.raises(ZeroDivisionError, match="division by zero"):
            await workers.run(probe.divide, 1, 0, timeout=30)

    in_pool(scenario, size=1)


def test_what_cannot_be_carried_over_becomes_a_runtime_error_and_harms_nobody(probe):
    async def scenario(workers):
        with pytest.raises(RuntimeError, match=r"Awkward: no way"):
            await workers.run(probe.awkward, timeout=30)
        with pytest.raises(RuntimeError, match="SystemExit: 7"):
            await workers.run(probe.leave, timeout=30)
        with pytest.raises(AttributeError, match="lambda"):
            await workers.run(probe.unpicklable, timeout=30)
        return await workers.run(probe.square, 3, timeout=30)

    assert in_pool(scenario, size=1) == 9


@pytest.mark.parametrize("name", ["ignore_signals", "tower"])
def test_a_busy_loop_that_ignores_signals_is_killed_at_its_timeout_and_later_calls_work(probe, name):
    async def scenario(workers):
        victim = await workers.run(probe.pid, timeout=30)
        with pytest.raises(TimeoutError, match=f"{name} took longer than 0.5 s"):
            await workers.run(getattr(probe, name), timeout=0.5)
        return victim, await workers.run(probe.square, 5, timeout=30)

    victim, later = in_pool(scenario, size=1)
    assert later == 25
    assert gone(victim)


def test_waiting_in_the_queue_does_not_count_towards_the_timeout(probe):
    async def scenario(workers):
        start = time.monotonic()
        pids = await asyncio.gather(*(workers.run(probe.spin, 0.3, timeout=1) for _ in range(6)))
        return pids, time.monotonic() - start

    pids, seconds = in_pool(scenario, size=1)
    assert seconds > 1.8, "six calls of 0.3 s must have queued for longer than the timeout of 1 s"
    assert len(set(pids)) == 1


def test_time_in_which_a_call_does_not_get_the_processor_does_not_count_towards_the_timeout(probe):
    async def scenario(workers):
        return await workers.run(probe.nap, 0.6, timeout=0.2), await workers.run(probe.spin, 0.05, timeout=0.2)

    first, second = in_pool(scenario, size=1)
    assert first == second


def test_a_call_that_waits_forever_is_killed_too(probe, monkeypatch):
    monkeypatch.setattr("m1eval.sandbox.workers.WAIT", (2, 0.3))

    async def scenario(workers):
        with pytest.raises(TimeoutError, match=r"nap did not end within 0\.7 s"):
            await workers.run(probe.nap, 600, timeout=0.2)
        return await workers.run(probe.square, 3, timeout=30)

    assert in_pool(scenario, size=1) == 9


def test_importing_a_slow_grader_does_not_count_towards_the_timeout(tmp_path, monkeypatch):
    monkeypatch.setenv("M1EVAL_FILES", os.environ.get("M1EVAL_FILES", ""))
    busy = "import time\nend = time.process_time() + 3\nwhile time.process_time() < end: pass\n"
    (tmp_path / "slow_import.py").write_text(f"{busy}def one(): return 1\n")
    plugin = load("scorers", str(tmp_path / "slow_import.py"))

    async def scenario(workers):
        return await workers.run(plugin.one, timeout=2.5)

    assert in_pool(scenario, size=1) == 1


def test_a_memory_bomb_is_contained(probe):
    async def scenario(workers):
        with pytest.raises(RuntimeError, match="bomb wants more than 1 GiB of memory"):
            await workers.run(probe.bomb, timeout=30)
        return await workers.run(probe.square, 6, timeout=30)

    assert in_pool(scenario, size=1, memory=2**30) == 36


def test_a_worker_that_dies_costs_one_call(probe):
    async def scenario(workers):
        with pytest.raises(RuntimeError, match=r"die ended its worker process \(exit code -9\)"):
            await workers.run(probe.die, timeout=30)
        return await workers.run(probe.square, 7, timeout=30)

    assert in_pool(scenario, size=1) == 49


def test_a_pool_whose_idle_workers_were_killed_starts_again(probe):
    async def scenario(workers):
        os.kill(await workers.run(probe.pid, timeout=30), signal.SIGKILL)
        while workers._pool.active:  # noqa: ASYNC110 - until pebble has seen it
            await asyncio.sleep(0.01)
        return await workers.run(probe.square, 8, timeout=30)

    assert in_pool(scenario, size=1) == 64


def test_long_arguments_pass_and_do_not_block_other_calls(probe):
    async def scenario(workers):
        calls = [workers.run(probe.echo, "9" * 500_000, timeout=30) for _ in range(8)]
        return await asyncio.gather(*calls, workers.run(probe.square, 2, timeout=30))

    *texts, square = in_pool(scenario, size=2)
    assert {len(text) for text in texts} == {500_000}
    assert square == 4


def test_a_cancelled_call_frees_its_worker(probe, tmp_path):
    async def scenario(workers):
        hanging = asyncio.create_task(workers.run(probe.ignore_signals, str(tmp_path / "started"), timeout=60))
        await until_there_is(tmp_path / "started")
        hanging.cancel()
        return await asyncio.wait_for(workers.run(probe.square, 9, timeout=30), 60)

    assert in_pool(scenario, size=1) == 81


def test_closing_ends_calls_that_still_run(probe, tmp_path):
    async def scenario() -> int:
        workers = Pool(1)
        pid = await workers.run(probe.pid, timeout=30)
        hanging = asyncio.create_task(workers.run(probe.ignore_signals, str(tmp_path / "started"), timeout=60))
        await until_there_is(tmp_path / "started")
        await asyncio.wait_for(workers.aclose(), 60)
        with pytest.raises(asyncio.CancelledError):
            await hanging
        return int(pid)

    assert gone(asyncio.run(scenario()))
    assert multiprocessing.active_children() == []


def test_a_pool_never_used_starts_nothing():
    async def scenario() -> list[Any]:
        async with Pool():
            return multiprocessing.active_children()

    assert asyncio.run(scenario()) == []


def test_a_worker_reads_nothing_and_its_prints_go_to_stderr(probe, capfd):
    async def scenario(workers):
        await workers.run(probe.speak, timeout=30)
        return await workers.run(probe.read, timeout=30)

    assert in_pool(scenario, size=1) == ("", b"")
    assert capfd.readouterr() == ("", "from a grader")


def test_what_a_grader_prints_of_an_answer_does_not_control_the_terminal(probe, capfd):
    async def scenario(workers):
        await workers.run(probe.quote, timeout=30)

    in_pool(scenario, size=1)
    out, err = capfd.readouterr()
    assert (out, sorted(err.split())) == ("", ["\\x1b[31mquoted", "\\x9b1m"])


def test_a_function_in_a_folder_of_m1eval_path_works_and_a_missing_name_is_named(tmp_path):
    (tmp_path / "scorers").mkdir()
    (tmp_path / "scorers" / "mine.py").write_text("def double(x):\n    return 2 * x\n")
    script = tmp_path / "run.py"
    script.write_text(
        "import asyncio, os\n"
        "from m1eval import load\n"
        "from m1eval.sandbox.workers import Pool\n"
        "async def main():\n"
        "    mine = load('scorers', 'mine')\n"
        "    async with Pool(1) as workers:\n"
        "        print(await workers.run(mine.double, 21, timeout=30))\n"
        "        late = lambda: 0\n"
        "        late.__module__, late.__qualname__ = mine.__name__, 'late'\n"
        "        mine.late = late\n"
        "        try:\n"
        "            await workers.run(late, timeout=30)\n"
        "        except AttributeError as error:\n"
        "            print(error)\n"
        "        print(await workers.run(mine.double, 1, timeout=30))\n"
        "if __name__ == '__main__':\n"
        "    asyncio.run(main())\n"
    )
    done = run_script(script, M1EVAL_PATH=str(tmp_path))
    assert done.stderr == ""
    first, told, last = done.stdout.splitlines()
    assert (first, last) == ("42", "2")
    assert "'late'" in told


def test_a_pool_left_open_neither_hangs_the_program_nor_survives_it(tmp_path):
    script = tmp_path / "forget.py"
    script.write_text(
        "import asyncio, os, time\n"
        "from m1eval.sandbox.workers import Pool\n"
        "async def main():\n"
        "    print(await Pool(1).run(os.getpid, timeout=30))\n"
        "if __name__ == '__main__':\n"
        "    asyncio.run(main())\n"
    )
    done = run_script(script)
    assert done.returncode == 0
    assert gone(int(done.stdout))


def test_workers_do_not_outlive_a_killed_parent(tmp_path):
    script = tmp_path / "killed.py"
    (tmp_path / "spinning.py").write_text("def spin():\n    open('started', 'w').close()\n    while True: pass\n")
    script.write_text(
        "import asyncio, os\n"
        "from m1eval.sandbox.workers import Pool\n"
        "from spinning import spin\n"
        "async def main():\n"
        "    workers = Pool(1)\n"
        "    print(await workers.run(os.getpid, timeout=30), flush=True)\n"
        "    await workers.run(spin, timeout=600)\n"
        "if __name__ == '__main__':\n"
        "    asyncio.run(main())\n"
    )
    command = [sys.executable, str(script)]
    with subprocess.Popen(
        command, cwd=tmp_path, env=with_package(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        asyncio.run(until_there_is(tmp_path / "started"))
        assert not gone(worker)
        parent.kill()
    deadline = time.monotonic() + 5
    while not gone(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert gone(worker)


def with_package(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def run_script(script: Path, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(script)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=with_package(**env), check=False)
