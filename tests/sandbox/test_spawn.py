"""Workers of a script that has no `if __name__ == "__main__"`: it runs once, from a file or from standard input."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

SCRIPT = """
import asyncio, sys
from operator import add
from m1eval.sandbox.workers import Pool

def own(x):
    return x

async def main():
    async with Pool(1) as workers:
        print(await workers.run(add, 1, 2, timeout=60))
        try:
            await workers.run(own, 1, timeout=60)
        except RuntimeError as error:
            print(error)

asyncio.run(main())
"""
OUTPUT = "3\n__main__.own is defined in the script itself; a worker can only import it from a module\n"


@pytest.mark.parametrize("way", ["file", "standard input", "-c"])
def test_a_script_without_a_main_guard_runs_once(tmp_path, way):
    (tmp_path / "script.py").write_text(SCRIPT)
    words = {"file": ["script.py"], "standard input": ["-"], "-c": ["-c", SCRIPT]}[way]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=tmp_path,
        env=environment,
        input=SCRIPT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == (OUTPUT, "")


def test_processes_of_others_still_import_the_main_module(tmp_path):
    """Also while a worker of ours has been started in the same process before."""
    (tmp_path / "script.py").write_text(
        "import multiprocessing\n"
        "from m1eval.sandbox.spawn import WorkerContext\n"
        "def own(queue): queue.put(__name__)\n"
        "if __name__ == '__main__':\n"
        "    worker = WorkerContext().Process(target=print, args=('ours',)); worker.start(); worker.join()\n"
        "    spawn = multiprocessing.get_context('spawn'); queue = spawn.Queue()\n"
        "    theirs = spawn.Process(target=own, args=(queue,)); theirs.start(); print(queue.get()); theirs.join()\n"
    )
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("ours\n__mp_main__\n", "")
