"""Texts of authors, read at run time: the pinned ones or an error in one line, and nothing of them is executed."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from m1eval.task.published_texts import constant
from tests.conftest import Result, write
from tests.tasks.hub import Handler
from tests.tasks.hub_dataset import in_own_process

DATA = b"open('ran', 'w')\nX = 'words of others'\n"
SHA = hashlib.sha256(DATA).hexdigest()


def task(folder: Path, url: str, sha256: str, constant: str | None = "X") -> str:
    write(folder / "d" / "t.jsonl", '{"q": "1", "a": "a"}\n')
    text = "title: T\ndataset: {file: d/t.jsonl}\nprompt: '{{ texts.x }} {{ q }}'\ntarget: a\nscorer: exact\n"
    text += f"texts:\n  x:\n    url: {url}\n    sha256: {sha256}\n"
    return str(write(folder / "t.yaml", text + (f"    constant: {constant}\n" if constant else "")))


@pytest.mark.parametrize(
    ("data", "constant", "words"),
    [
        (b"X = {[]: 1}\n", "X", "unhashable"),
        (b"X = " + b"-" * 100_000 + b"1\n", "X", "x.py: "),
        (b"X = " + b"lambda: " * 5_000 + b"1\n", "X", "x.py: "),
        (b"X = 1" + b"+1" * 100_000, "X", "recursion"),
        (b"X = '\xe9'\n", "X", "utf-8"),
        (b"caf\xe9", None, "utf-8"),
        (b"X = open('ran', 'w').strip()\n", "X", "x.py: "),
        (b"X = 'a'\0\n", "X", "null bytes"),
        (b"<html>", "X", "invalid syntax"),
        (b"Y = 'a'\n", "X", "no constant X"),
        (b"X = 'a'\nif X:\n    X += 'b'\n", "X", "X is changed in line 2"),
        (b"X = {'a': 'b'}\nX['a'] = 'c'\n", "X", "X is changed in line 2"),
        (b"X = {'a': ['b']}\nX['a'].append('c')\n", "X", "X is changed in line 2"),
        (b"X, Y = 'a', 'b'\n", "X", "X is changed in line 1"),
        (b"X = 'a'\nX *= 2\n", "X", "X is changed in line 2"),
        (b"X = 'a'\nX += Y\n", "X", "line 2 would have to be executed"),
        (b"X = f'a{1}'\n", "X", "line 1 would have to be executed"),
    ],
)
def test_a_file_that_is_not_what_its_task_says(send, tmp_path, data, constant, words):
    write(tmp_path / "d" / "x.py", "").write_bytes(data)
    path = task(tmp_path, "https://example.org/x.py", hashlib.sha256(data).hexdigest(), constant)
    (done,) = send([["run", "-t", path, "-m", "echo:gold", "--out", "out", "--data-dir", "d"]])
    assert (done.code, done.err.count("\n")) == (2, 1), done
    assert "t.yaml:" in done.err
    assert words in done.err
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def read(hub: Any, tmp_path: Path) -> Any:
    """Run a task with a text at an address, in a process that has caches of its own."""
    hub.raw["x.py"] = DATA
    url = f"{hub.url.replace('127.0.0.1', 'localhost')}/raw/x.py"
    path = task(tmp_path, url, SHA)
    command = ["run", "-t", path, "-m", "echo:gold", "--out", "out", "--redo"]

    def call(**env: str) -> Result:
        return in_own_process(hub, tmp_path, *command, **{"M1EVAL_CACHE": str(tmp_path / "cache"), **env})

    return call


@pytest.mark.parametrize("damage", [b"", DATA[:-20], b"X = 'other'\n"])
def test_a_kept_file_that_was_damaged_is_read_again(read, tmp_path, damage):
    assert read().code == 0
    assert not (tmp_path / "ran").exists()
    cached = tmp_path / "cache" / "texts" / SHA
    cached.write_bytes(damage)
    offline = read(HF_HUB_OFFLINE="1")
    assert offline.code in (0, 2), "it may be in the cache of `datasets`"
    assert "another version" not in offline.err
    assert read().code == 0
    assert cached.read_bytes() == DATA
    shutil.rmtree(tmp_path / "cache")
    for path in (each for each in (tmp_path / "home").rglob("*") if each.is_file()):
        if path.read_bytes() == DATA:
            path.write_bytes(damage)
    assert read().code == 0, "nor is the copy of the library taken for it"


def test_another_file_at_the_address_is_still_refused(read, hub, tmp_path):
    hub.raw["x.py"] = b"X = 'other'\n"
    done = read()
    assert (done.code, done.err.count("\n")) == (2, 1), done
    assert "it is another version" in done.err
    assert not list(tmp_path.glob("cache/texts/*"))


def test_the_error_says_why_a_published_file_is_missing(read, hub):
    def missing(handler: Handler) -> bool:
        if handler.where.startswith("/raw/"):
            handler.refuse(404)
            return True
        return False

    with hub.failing(missing):
        done = read()
    assert (done.code, done.err.count("\n")) == (2, 1), done
    assert "404" in done.err
    assert "put the file x.py into a folder" in done.err


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("X = 'a'\nX += 'b'\nX += 'c'\n", "abc"),
        ("X = 'a' + 'b'\n", "ab"),
        ("X = ('a' + ' b ').strip() + 'c'\n", "a bc"),
        ("X: str = 'a'\n", "a"),
        ("X: str\nX = 'a'\nX = 'b'\n", "b"),
        ("X = ['a']\nX += ['b']\n", ["a", "b"]),
        ("X = {'a': 'b'}\nprint(X['a'].strip(), X)\ndef f():\n    X = 'c'\n    return X\n", {"a": "b"}),
        ("def X(y):\n    return 'a' + 'b'\n", "ab"),
    ],
)
def test_constants_that_are_put_together(source, value):
    assert constant(source, "X") == value
