"""A dataset of two commits, a task of it, and what commands print and write about it."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from tests.conftest import Result, run_of
from tests.tasks.hub import Handler, Hub, environment

# import A, B, FILE, NAME, TEXT, commits, parquet_of, refuse, refused, rows, run
from tests.tasks.hub_files import columns, table

A, B = "a" * 40, "b" * 40
NAME = "org/set"
FILE = "data/test-00000-of-00001.parquet"
TEXT = columns(q=pa.string(), a=pa.string())


def rows(*words: str) -> bytes:
    return table([{"q": word, "a": word.upper()} for word in words], TEXT)


def parquet_of(content: pa.Table) -> bytes:
    """A file of parquet."""
    out = io.BytesIO()
    parquet.write_table(content, out)
    return out.getvalue()


def run(task: str, *more: str) -> list[str]:
    name = Path(task).stem
    out = () if "--out" in more else ("--out", f"out/{name}")
    return ["run", "-t", task, "-m", "echo:gold", "--json", "--display", "none", *out, *more]


def in_own_process(hub: Hub, folder: Path, *arguments: str, **env: str) -> Result:
    """A command in a process of its own, where the libraries read their settings and log to the terminal."""
    command = [sys.executable, "-m", "m1eval", *arguments]
    env = environment(hub, HF_HOME=str(folder / "home"), **env)
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, check=False)
    return Result(done.returncode, done.stdout, done.stderr)


def refused(done: Result, *words: str, remedy: str = "") -> None:
    """Assert one line on standard error, with the place in the task file and the remedy."""
    assert done.code == 2, done
    assert done.err.count("\n") == 1, done.err
    assert re.match(r"Error: \S+\.yaml:\d+: ", done.err)
    for word in (*words, remedy):
        assert word in done.err, done.err
    assert len(done.err) < 700


def commits(folder: Path, name: str = "t") -> list[str | None]:
    data = json.loads((run_of(folder / "out" / name) / "run.json").read_text())["data"]
    return [table["commit"] for table in data["tables"]]


def refuse(status: int, times: int, path: str = "", method: str = "", **headers: str) -> Any:
    """A fault: a number of refusals with a status, of a path and a method."""
    left = [times]

    def fault(handler: Handler) -> bool:
        if (
            left[0]
            and path in handler.where
            and handler.command.startswith(method)
            and handler.where != "/api/agent-harnesses"
        ):
            left[0] -= 1
            handler.refuse(status, message="", **headers)
            return True
        return False

    return fault
