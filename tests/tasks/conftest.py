"""A hub on the loopback interface with every dataset that the tasks name, and commands that use it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from m1eval import available
from m1eval.task.definition import Definition
from m1eval.yaml_file import YamlFile
from tests.conftest import ROOT
from tests.tasks import hub_rows
from tests.tasks.hub import TOKEN, Hub


class Done(NamedTuple):
    """What a command printed and its exit code."""

    code: int
    out: str
    err: str
    took: float


Send = Callable[..., list[Done]]


def definitions() -> dict[str, Definition]:
    """The shipped tasks that take rows from the hub."""
    files = {name: YamlFile.read(path) for name, path in available("tasks", "**/*.yaml").items()}
    converted = {name: file.convert(Definition) for name, file in files.items()}
    return {name: definition for name, definition in converted.items() if definition.dataset and definition.dataset.hub}


def pins() -> dict[str, str]:
    """The commit of each dataset, the open copies among them."""
    commits = {}
    for definition in definitions().values():
        assert definition.dataset
        commits[str(definition.dataset.hub)] = str(definition.dataset.revision)
        name, _, commit = definition.dataset.mirror.partition("@")
        commits |= {name: commit} if name else {}
    return commits


def environment(hub: Hub, **more: str) -> dict[str, str]:
    """The environment of a process that has this hub."""
    env = {name: value for name, value in os.environ.items() if not re.match("HF_|HUGGING", name)}
    return env | {"HF_ENDPOINT": hub.url, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"} | more


@pytest.fixture(scope="session")
def the_hub() -> Iterator[Hub]:
    with Hub() as hub:
        yield hub


@pytest.fixture
def hub(the_hub: Hub) -> Hub:
    """The hub as it should be."""
    the_hub.repositories = hub_rows.repositories(pins())
    the_hub.raw = dict(hub_rows.OUTSIDE)
    the_hub.fault = None
    the_hub.seen.clear()
    return the_hub


@pytest.fixture(scope="session")
def worker(the_hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator["subprocess.Popen[str]"]:
    """The process that runs commands."""
    script, home = Path(__file__).with_name("through_hub.py"), tmp_path_factory.mktemp("hf")
    command, env = [sys.executable, str(script)], environment(the_hub, HF_HOME=str(home))
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin
        process.stdin.close()


@pytest.fixture
def send(hub: Hub, worker: "subprocess.Popen[str]", tmp_path: Path) -> Send:
    """Run commands, with a cache of the test's own."""

    def call(commands: list[list[str]], *, token: str | None = TOKEN, offline: bool = False) -> list[Done]:
        batch = {"commands": commands, "token": token, "offline": offline}
        batch |= {"home": str(tmp_path / "home"), "folder": str(tmp_path)}
        assert worker.stdin
        assert worker.stdout
        worker.stdin.write(json.dumps(batch) + "\n")
        worker.stdin.flush()
        return [Done(**each) for each in json.loads(worker.stdout.readline())]

    return call
