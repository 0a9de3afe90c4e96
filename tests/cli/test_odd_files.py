"""Odd files where an option or a command wants one: one line, a documented exit code, nothing written elsewhere."""

import json
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import m1eval as package
from m1eval import UsageError
from tests import odd

BYTES = {
    "empty": b"",
    "blank": b" \n\n",
    "binary": bytes(range(256)) * 4,
    "utf-16": "echo: {input: 1, output: 1}".encode("utf-16"),
    "zeros": bytes(4096),
    "gzip": zlib.compress(b"x" * 100),
    "null": b"null",
    "number": b"1",
    "list": b"[1, 2]",
    "text": b'"x"',
    "cut": b'{"a": ',
    "deep": b"[" * 100_000,
    "twice": b"a: 1\na: 2\n",
}
PRICES = ["-1", "nan", ".nan", ".inf", "1e400", "x", "[]", "{}", "null", "true", "1e30", "''", "2026-01-01"]


@pytest.fixture
def folder(m1eval, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of the commands, with a task of one sample and a run."""
    monkeypatch.chdir(tmp_path)
    odd.make(tmp_path)
    assert m1eval("run", *odd.NEEDED["run"], "--out", "runs/t").code == 0
    return tmp_path


def prices() -> dict[str, bytes]:
    """Files of prices, in each of which something is odd."""
    rates = [f"gold: {{input: {value}, output: 1}}" for value in PRICES]
    rates += [f"gold: {{input: 1, output: 1, cached: {value}}}" for value in PRICES]
    rates += [f"{value}: {{input: 1, output: 1}}" for value in PRICES] + [f"gold: {value}" for value in PRICES]
    rates += ["gold: {input: 1}", "gold: {input: 1, output: 1, more: 1}", "'[': {input: 1, output: 1}", "? [a]\n: 1"]
    return BYTES | {text: text.encode() for text in rates}


def test_odd_prices_end_in_one_line(m1eval, folder):
    files = prices()
    for number, content in enumerate(files.values()):
        Path(f"prices{number}.yaml").write_bytes(content)
    words = ["run", *odd.NEEDED["run"], "--max-cost", "1", "--prices"]
    problems = odd.all_wrong(m1eval, [[*words, f"prices{number}.yaml"] for number in range(len(files))])
    assert not problems, problems


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "parquet", "jsonl.gz", "parquet.gz"])
def test_odd_data_ends_in_one_line(m1eval, folder, suffix):
    for number, content in enumerate(BYTES.values()):
        place = Path(f"data{number}")
        place.mkdir()
        (place / f"t.{suffix}").write_bytes(content)
    words = ["run", *odd.NEEDED["run"], "--data-dir"]
    problems = odd.all_wrong(m1eval, [[*words, f"data{number}"] for number in range(len(BYTES))])
    assert not problems, problems


def test_odd_data_folders_end_in_one_line(m1eval, folder):
    Path("link").symlink_to("link")
    Path("loop").mkdir()
    Path("loop/t.jsonl").symlink_to("t.jsonl")
    Path("device").mkdir()
    Path("device/t.jsonl").symlink_to("/dev/zero")
    Path("inside/t.jsonl").mkdir(parents=True)
    os.mkfifo("pipe")
    words = ["run", *odd.NEEDED["run"]]
    tried = [[*words, "--data-dir", name] for name in ("link", "loop", "device", "inside", "pipe", "t.jsonl", "/proc")]
    problems = odd.all_wrong(m1eval, [*tried, [*words, "--prices", "link"], [*words, "--prices", "inside"]])
    assert not problems, problems


VALUES = {
    "null": None,
    "negative": -1,
    "fraction": 0.5,
    "huge": 10**30,
    "text": "x",
    "list": [1],
    "mapping": {"a": 1},
    "true": True,
}


def places(content: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Key paths of the values in run.json, down to three levels."""
    for key, value in content.items():
        yield (*above, key)
        if isinstance(value, dict) and len(above) < 2:
            yield from places(value, (*above, key))


def with_value(content: dict[str, Any], place: tuple[str, ...], value: Any) -> bytes:
    """A run.json with another value in one place."""
    copy = json.loads(json.dumps(content))
    inner = copy
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return json.dumps(copy, indent=1).encode()


def damaged(kind: str) -> Iterator[tuple[str, Path]]:
    """A copy of the run in runs/t with one odd run.json after another; the folder, and what is odd."""
    run = next(Path("runs/t").rglob("run.json")).parent
    content = json.loads((run / "run.json").read_text())
    files = BYTES
    if kind != "bytes":
        files = {".".join(place): with_value(content, place, VALUES[kind]) for place in places(content)}
    copy = Path("odd", run.relative_to("runs/t"))
    for name, data in files.items():
        shutil.rmtree("odd", ignore_errors=True)
        shutil.copytree(run, copy)
        (copy / "run.json").write_bytes(data)
        yield f"{name}: {kind}", copy


def shown(problems: list[str]) -> str:
    return f"{len(problems)}:\n" + "\n".join(problems[:30])


@pytest.mark.parametrize("kind", ["bytes", *VALUES])
@pytest.mark.parametrize(
    "words", ["compare runs/t odd", "compare odd runs/t --json", "lengths odd", "lengths odd --json"]
)
def test_odd_results_end_in_one_line(m1eval, folder, kind, words):
    results = [(name, odd.wrong(m1eval, words.split())) for name, _ in damaged(kind)]
    problems = [f"{name}: {problem}" for name, problem in results if problem]
    assert not problems, shown(problems)


@pytest.mark.parametrize(
    ("kind", "finished"),
    [
        *((kind, True) for kind in ("bytes", *VALUES)),
        *((kind, False) for kind in ("null", "negative", "text", "mapping")),
    ],
)
def test_odd_results_are_continued_or_refused_in_one_line(m1eval, folder, kind, finished):
    """An unfinished run has no answer yet and needs all of run.json."""
    words, results = ["run", *odd.NEEDED["run"], "--out", "odd"], []
    for name, place in damaged(kind):
        if not finished:
            (place / "samples.jsonl").write_bytes(b"")
        results.append((name, odd.wrong(m1eval, words, may_change={place})))
    problems = [f"{name}: {problem}" for name, problem in results if problem]
    assert not problems, shown(problems)


@pytest.mark.parametrize("kind", ["bytes", *VALUES])
@pytest.mark.parametrize("read", ["read", "read_results"])
def test_odd_results_are_read_or_refused(folder, kind, read):
    problems = []
    for name, place in damaged(kind):
        try:
            frame = getattr(package, read)(place)
        except UsageError as error:
            if str(place) not in str(error) or "\n" in str(error):
                problems.append(f"{name}: {error}")
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            problems.append(f"{name}: {type(error).__name__}: {error}")
        else:
            assert len(frame) == 1
    assert not problems, shown(problems)
