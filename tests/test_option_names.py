"""Messages name options as whoever asks has to write them: as keywords in Python, as options on the command line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from m1eval import M1evalError, compare, evaluate, grade, load_task, read_results
from m1eval.option_names import command_line, option, override, runner_option, traceback_hint
from tests.conftest import Result, write

JUDGED = """
title: Judged
dataset: {file: t.jsonl}
prompt: "{{ q }}"
target: "yes"
scorer: {judge: {rubric: "{{ text }}"}}
"""
CASES: list[tuple[dict[str, Any], list[str], str, str]] = [
    ({"set": {"nope": 1}}, ["--set", "nope=1"], 'set={"nope": 1}: unknown key', "--set nope=1: unknown key"),
    ({"max_cost": 1}, ["--max-cost", "1"], "max_cost=: no prices", "--max-cost: no prices"),
    (
        {"concurrency": 2, "option": {"concurrency": 3}},
        ["--concurrency", "2", "-o", "concurrency=3"],
        'concurrency=2 and option={"concurrency": 3} contradict',
        "--concurrency 2 and -o concurrency=3 contradict",
    ),
    ({"tokenizer": "o/p/q"}, ["--tokenizer", "o/p/q"], 'tokenizer="o/p/q"', "--tokenizer o/p/q"),
    ({"lengths": "4k"}, ["--lengths", "4k"], "lengths=: none of these tasks", "--lengths: none of these tasks"),
    ({"seed": 1}, ["--seed", "1"], "out= elsewhere, or redo=True", "--out elsewhere, or --redo"),
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capitals: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "judged.yaml", JUDGED)
    write(tmp_path / "t.jsonl", '{"q": "a"}\n')
    return tmp_path


@pytest.mark.parametrize(("keywords", "words", "in_python", "in_shell"), CASES)
def test_an_error_names_the_option_as_it_was_given(
    here, m1eval: Callable[..., Result], keywords, words, in_python, in_shell
):
    evaluate("capitals.yaml", "echo:gold", limit=2, seed=0, out="x", display="none")
    with pytest.raises(M1evalError) as error:
        evaluate("capitals.yaml", "echo:gold", **{"limit": 2, "out": "x", "display": "none"} | keywords)
    result = m1eval("run", "-t", "capitals.yaml", "-m", "echo:gold", "--limit", 2, "--out", "x", *words)
    assert in_python in str(error.value)
    assert "--" not in str(error.value)
    assert in_shell in result.err


@pytest.mark.parametrize(
    "call",
    [
        lambda: evaluate("judged.yaml", "echo:gold"),
        lambda: grade("judged.yaml", "yes", "yes"),
        lambda: evaluate("judged.yaml", "echo:gold", judge=["echo:gold", "echo:gold,latency"]),
        lambda: evaluate("capitals.yaml", "http:x"),
        lambda: evaluate("capitals.yaml", "http:", base_url="http://localhost:1"),
        lambda: evaluate("capitals.yaml", "http:x", base_url="http://localhost:1 http://localhost:1"),
        lambda: evaluate("capitals.yaml,judged.yaml", "echo:gold", judge="echo:gold", ids="x"),
        lambda: load_task("capitals.yaml", set="nope"),
        lambda: evaluate(load_task("capitals.yaml"), "echo:gold", max_tokens=5),
        lambda: grade("judged.yaml", "yes", "yes", judge=[3]),  # type: ignore[list-item]
        lambda: evaluate("capitals.yaml", "echo:gold", out="x" * 300),
        lambda: evaluate("x" * 300, "echo:gold"),
        lambda: compare("x" * 300, "b"),
        lambda: read_results("x" * 300),
    ],
)
@pytest.mark.usefixtures("here")
def test_no_error_in_python_speaks_of_the_command_line(monkeypatch, call):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(M1evalError) as error:
        call()
    assert "--" not in str(error.value)
    assert " -o " not in str(error.value)


def test_the_forms_of_an_option():
    def forms() -> list[str]:
        values = option("max_tokens"), option("redo", True), option("max_cost", 0.5), option("judge", "http:x")
        return [*values, runner_option("window", "TOKENS"), override("a.b=1"), traceback_hint()]

    in_python = ["max_tokens=", "redo=True", "max_cost=0.5", 'judge="http:x"', 'option={"window": TOKENS}']
    assert forms() == [*in_python, 'set={"a.b": 1}', ""]
    with command_line():
        in_shell = ["--max-tokens", "--redo", "--max-cost 0.5", "--judge http:x", "-o window=TOKENS"]
        assert forms() == [*in_shell, "--set a.b=1", "; --debug shows the traceback"]
    assert forms()[:1] == ["max_tokens="]
