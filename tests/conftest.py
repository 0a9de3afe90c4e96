"""Fixtures: the command line in this process or in one of its own, and tasks small enough to read."""

import gc
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import pytest

from m1eval.cli import main
from m1eval.model.runner_tokenizer import CharacterTokenizer
from m1eval.task.load import load_tasks

ROOT = Path(__file__).resolve().parents[1]

# Examples have no deadline: machines may be loaded.
hypothesis.settings.register_profile("m1eval", deadline=None)
hypothesis.settings.load_profile("m1eval")


class Result(NamedTuple):
    """Output of a command and its exit code."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A cache for this test session alone."""
    os.environ["M1EVAL_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module", autouse=True)
def _leaks() -> Iterator[None]:
    """Collect what a module leaves open at its end, so that the warning names it and not another."""
    yield
    gc.collect()


@pytest.fixture
def m1eval(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a command in this process."""
    monkeypatch.setenv("M1EVAL_FILES", "")

    def call(*args: object) -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main.main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return Result(int(left.value.code or 0), out, err)

    return call


@pytest.fixture
def shell(tmp_path: Path) -> Callable[..., Result]:
    """Run `python -m m1eval` in a process of its own, in the test's folder."""

    def call(*args: object, cwd: Path = tmp_path, env: dict[str, str] | None = None, timeout: float = 60) -> Result:
        done = subprocess.run(
            [sys.executable, "-m", "m1eval", *map(str, args)],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def capitals(tmp_path: Path) -> Path:
    """A task of twelve questions in a file of its own."""
    rows = "France Paris|Italy Rome|Spain Madrid|Peru Lima|Japan Tokyo|Egypt Cairo|Chad N'Djamena|Cuba Havana"
    rows += "|Nepal Kathmandu|Kenya Nairobi|Fiji Suva|Iran Tehran"
    lines = [json.dumps(dict(zip(("country", "city"), row.split(), strict=True))) for row in rows.split("|")]
    (tmp_path / "capitals.jsonl").write_text("\n".join(lines) + "\n")
    return write(
        tmp_path / "capitals.yaml",
        """
        title: Capitals
        dataset: {file: capitals.jsonl}
        prompt: "What is the capital of {{ country }}?"
        target: "{{ city }}"
        scorer: exact
        """,
    )


GONE = """
    from m1eval import Output, RunnerError

    class Runner:
        concurrency = 1

        def __init__(self, model):
            self.calls = 0

        async def generate(self, request):
            self.calls += 1
            if self.calls > 3:
                raise RunnerError("the server is gone; start it again")
            return Output(text=request.sample.gold)

        async def aclose(self):
            pass
"""
"""A runner whose server goes away after three answers."""


def write(path: Path, text: str) -> Path:
    """Write an indented text without its indentation."""
    import textwrap

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text).lstrip("\n"))
    return path


def run_of(out: Path) -> Path:
    """The folder of the only run below `--out`; `out` itself if there is none."""
    folders = {file.parent for name in ("run.json", "samples.jsonl") for file in out.rglob(name)}
    assert len(folders) < 2, f"several runs below {out}: {sorted(folders)}"
    return folders.pop() if folders else out


def lines(path: Path) -> list[dict[str, Any]]:
    """The records of a journal: a file, or the one of the only run below the folder where the file would be."""
    if not path.exists():
        path = run_of(path.parent) / path.name
    return [json.loads(line) for line in path.read_text().splitlines()]


def digests(name: str, overrides: list[str], seed: int, numbers: list[int]) -> set[str]:
    """The digests of a task's samples as this process makes them, and two others with other hash seeds."""
    script = (
        "import hashlib, json, sys; from m1eval.task.load import load_tasks\n"
        "from m1eval.model.runner_tokenizer import CharacterTokenizer\n"
        "name, overrides, seed, numbers = json.loads(sys.argv[1])\n"
        "samples = load_tasks([name], overrides)[0].samples(CharacterTokenizer(), seed)\n"
        "print(hashlib.sha256(repr([samples.sample(i) for i in numbers]).encode()).hexdigest())"
    )
    here = load_tasks([name], overrides)[0].samples(CharacterTokenizer(), seed)
    hashes = {hashlib.sha256(repr([here.sample(i) for i in numbers]).encode()).hexdigest()}
    for hash_seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", script, json.dumps([name, overrides, seed, numbers])]
        hashes.add(subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.strip())
    return hashes


class Characters(CharacterTokenizer):
    """A tokenizer of one token for each character."""

    approximate = False

    def encode(self, text: str) -> list[int]:
        return [ord(character) for character in text]

    def count(self, messages: Any) -> int:
        return sum(len(m["content"]) + 4 for m in messages)


class Chat:
    """A tokenizer of the tests' own, with a template like ChatML."""

    def __init__(self, core: Any) -> None:
        self.core = core
        self.longest = 0

    def encode(self, text: str) -> list[int]:
        self.longest = max(self.longest, len(text))
        ids: list[int] = self.core.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Any) -> str:
        text: str = self.core.decode(list(ids))
        return text

    def count(self, messages: Any) -> int:
        turns = [f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages]
        return len(self.encode("".join(turns) + "<|im_start|>assistant\n"))
