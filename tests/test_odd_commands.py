"""Odd values for every option of every command: one line, a documented exit code, nothing written elsewhere.

The commands are made from click's own list of parameters, so that a new option is tried as soon as it is there.
"""

from pathlib import Path
from typing import Any

import click
import pytest

from m1eval.cli import cli

VALUES = {
    "empty": "",
    "blank": " ",
    "negative": "-3",
    "zero": "0",
    "huge": "1" + "0" * 30,
    "long": "x" * 5000,
    "nan": "nan",
    "inf": "inf",
    "unit": "5q",
    "unicode": "naïve‑☃",
    "nul": "a\0b",
    "newline": "a\nb",
    "escape": "\x1b[31m[red]",
    "commas": ",,",
    "equals": "=",
    "key": "a=",
    "home": "~nobody-here/x",
    "surrogate": "\udcff",
}
NEEDED = {
    "run": ["--tasks", "./t.yaml", "--model", "echo:gold", "--display", "none"],
    "check": ["./t.yaml"],
    "bench": ["echo:gold"],
    "lengths": ["runs/t"],
    "compare": ["runs/t", "runs/t"],
    "completion": ["bash"],
}
"""What a command cannot do without, besides the option that is tried."""
CODES = {0, 1, 2, 3, 4, 5}
WRITTEN = {"results", "runs", "t.yaml", "t.jsonl"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of the commands, with a task of one sample."""
    monkeypatch.chdir(tmp_path)
    Path("t.jsonl").write_text('{"q": "a"}\n')
    Path("t.yaml").write_text("title: T\ndataset: {file: t.jsonl}\nprompt: '{{ q }}'\ntarget: a\nscorer: exact\n")
    return tmp_path


def given(command: click.Command, param: click.Parameter, value: str) -> list[str]:
    """The words of a command line that give a value to one of its parameters."""
    name = command.name or ""
    if isinstance(param, click.Option):
        words = [max(param.opts, key=len), *([] if param.is_flag else [value])]
        return [name, *NEEDED.get(name, []), *words]
    return [name, value] if value.startswith("-") is False else [name, "--", value]


def odd_commands(name: str) -> list[list[str]]:
    """Each parameter of a command with each value, and given twice."""
    command = cli.commands[name]
    words = []
    for param in command.params:
        flag = isinstance(param, click.Option) and param.is_flag
        for value in [""] if flag else VALUES.values():
            words.append(given(command, param, value))
            if isinstance(param, click.Option) and not flag:
                words.append([*given(command, param, value), max(param.opts, key=len), f"{value}1"])
    return words


def wrong(result: Any, words: list[str], strange: set[str]) -> str:
    """What is wrong with how a command ended, if anything."""
    lines = [line for line in result.err.splitlines() if not line.startswith(("note:", "Usage:", "Try "))]
    errors = [line for line in lines if "rror" in line]
    said = result.out + result.err
    if result.code not in CODES or "Traceback" in said or "internal error" in said or len(errors) > 1:
        return f"{words!r:.200}: {result.code} {result.err[-400:]!r}"
    if result.code == 2 and not errors:
        return f"{words!r:.200}: no error line"
    if any(ord(letter) < 32 and letter != "\n" for letter in said):
        return f"{words!r:.200}: controls on the terminal"
    if strange:
        return f"{words!r:.200}: wrote {strange}"
    return ""


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_odd_values_end_in_one_line(m1eval, folder, name):
    tried = odd_commands(name)
    if name in {"lengths", "compare"}:
        m1eval("run", *NEEDED["run"], "--out", "runs/t")
    found, known = [], set(WRITTEN)
    for words in tried:
        result = m1eval(*words)
        if "--out" in words:
            known.add(words[words.index("--out") + 1])
        if problem := wrong(result, words, {path.name for path in folder.iterdir()} - known):
            found.append(problem)
    assert not found, f"{len(found)} of {len(tried)}:\n" + "\n".join(found[:20])


def test_there_are_hundreds_of_them():
    assert sum(len(odd_commands(name)) for name in cli.commands) > 500
