"""A hub on the loopback interface with every dataset that the tasks name, and commands that use it."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from m1eval import available
from m1eval.task.definition import Definition
from m1eval.yaml_file import YamlFile
from tests.conftest import Result, write
from tests.tasks import hub_rows
from tests.tasks.hub import TOKEN, Hub, Repository, environment
from tests.tasks.hub_dataset import FILE, NAME, A, B, rows
from tests.tasks.hub_files import card, jsonl

Send = Callable[..., list[Result]]


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

    def call(commands: list[list[str]], *, token: str | None = TOKEN, offline: bool = False) -> list[Result]:
        batch = {"commands": commands, "token": token, "offline": offline}
        batch |= {"home": str(tmp_path / "home"), "folder": str(tmp_path)}
        assert worker.stdin
        assert worker.stdout
        worker.stdin.write(json.dumps(batch) + "\n")
        worker.stdin.flush()
        return [Result(**result) for result in json.loads(worker.stdout.readline())]

    return call


@pytest.fixture
def small(hub: Hub) -> Repository:
    """A dataset of two commits, of which the later one is `main`, and files that are chosen by name."""
    readme = card(default={"test": "data/test-*"})
    first = {"README.md": readme, FILE: rows("one", "two"), "x/one.jsonl": jsonl([{"q": "x1", "a": "X1"}])}
    first["x/two.jsonl"] = jsonl([{"q": "x2", "a": "X2"}])
    commits = {A: first, B: {"README.md": readme, FILE: rows("three")}}
    hub.repositories[NAME] = repository = Repository(commits, {"main": B})
    return repository


@pytest.fixture
def task(tmp_path: Path) -> Any:
    """A task of this dataset."""

    def make(name: str = "t", hub: str = NAME, revision: str = A, **keys: Any) -> str:
        dataset = json.dumps({"hub": hub, "revision": revision, **keys})
        text = f"title: T\ndataset: {dataset}\nprompt: '{{{{ q }}}}'\ntarget: '{{{{ a }}}}'\nscorer: exact\n"
        return str(write(tmp_path / f"{name}.yaml", text))

    return make
