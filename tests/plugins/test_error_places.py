"""Errors of plugin code in a sample: recorded with their line, counted together, with a traceback by --debug."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Result, lines, write

Run = Callable[..., tuple[Result, set[str]]]
RUNNER = """
    from m1eval import Output

    class Refused(RuntimeError): ...

    class Runner:
        def __init__(self, model=""): ...

        async def generate(self, request):
            BODY
"""
BODIES = {
    "return Output(text=request.mesages)": "AttributeError: 'Request' object has no attribute 'mesages' (boom.py:9)",
    "raise Refused('not today')": "Refused: not today (boom.py:9)",
    "return 'Paris'": "TypeError: 'Paris' (str) was returned in place of an Output (boom.py:8)",
    "return Output(finish_reason='no')": "ValueError: the output's finish_reason is 'no', not one of length, "
    "refused_context, stop, tool_calls (boom.py:8)",
}


@pytest.fixture
def run(m1eval: Callable[..., Result], capitals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run three samples in the folder of the plugins; the result and the errors that were recorded."""
    monkeypatch.chdir(tmp_path)

    def call(*args: object, model: str = "echo:gold") -> tuple[Result, set[str]]:
        result = m1eval("run", "--tasks", capitals, "--model", model, "--limit", 3, "--out", "o", "--redo", *args)
        return result, {record["error"] for record in lines(next(tmp_path.glob("o/**/samples.jsonl")))}

    return call


@pytest.mark.parametrize("body", BODIES)
def test_an_error_of_a_runner_has_the_line_of_its_file(run: Run, tmp_path: Path, body: str):
    write(tmp_path / "boom.py", RUNNER.replace("BODY", body))
    result, errors = run(model="boom.py:x")
    assert errors == {BODIES[body]}
    assert f"3 × {BODIES[body]}" in result.out, "they are counted together"
    assert "Traceback" not in result.err


def test_an_error_of_a_scorer_has_the_line_of_its_file(run: Run, tmp_path: Path):
    write(tmp_path / "s.py", "class Scorer:\n    async def score(self, output, sample, context): return nothing\n")
    assert run("--set", "scorer=./s.py")[1] == {"NameError: name 'nothing' is not defined (s.py:2)"}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("give()", "KeyError: 'x' (_deep.py:2)"),
        ("3", "TypeError: 3 (int) was returned in place of an Output (_ask.py:2)"),
        ("await runner.generate(sample)", "AttributeError: 'Sample' object has no attribute 'sampling' (_ask.py:2)"),
    ],
)
def test_an_error_of_an_episode_has_the_innermost_line(run: Run, tmp_path: Path, capitals: Path, body: str, error: str):
    write(tmp_path / "_ask.py", f"from ._deep import give\nasync def run(sample, runner, context): return {body}\n")
    write(tmp_path / "_deep.py", "def give():\n    return {}['x']\n")
    capitals.write_text(capitals.read_text() + "episode: _ask.run\n")
    result, errors = run()
    assert errors == {error}, result.err


def test_an_error_of_a_built_in_plugin_has_the_line_by_its_name_in_the_package(run: Run):
    [error] = run(model="echo:error")[1]
    assert re.fullmatch(r"ConnectionError: echo was told to fail \(runners/echo\.py:\d+\)", error)


def test_debug_prints_the_first_traceback_of_each_reason(run: Run, tmp_path: Path):
    write(tmp_path / "boom.py", RUNNER.replace("BODY", "raise ValueError(request.sample.id)"))
    result, errors = run("--debug", model="boom.py:x")
    assert len(errors) == 3
    assert result.err.count("Traceback (most recent call last)") == 1
    assert 'boom.py", line 9, in generate' in result.err


def test_an_error_at_the_start_has_the_line_too(run: Run, m1eval: Any, tmp_path: Path, capitals: Path):
    text = "class Runner:\n    def __init__(self, model): ...\n    async def start(self, progress): self.x\n"
    write(tmp_path / "boom.py", text + "    async def generate(self, request): ...\n")
    result = m1eval("run", "--tasks", capitals, "--model", "boom.py:x", "--out", "o")
    assert result.err == (
        "Error: boom.py:3: start of runner boom.py raised AttributeError: 'Runner' object has no attribute 'x'\n"
    )
