"""New grades count all at the same moment: readers and kills at every write of `m1eval score`."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from m1eval.store import files, regrading
from m1eval.store.stored import UNFINISHED, StoredRun
from tests.conftest import Result, lines, run_of, write

GRADER = """
    import m1eval
    from m1eval import Score

    class Scorer(m1eval.Scorer):
        def __init__(self, *, right: str):
            self.right = right

        async def score(self, output, sample, context):
            if output.text == "Rome":
                raise ValueError("no grade for Rome")
            return Score(value=float(output.text == self.right), answer=output.text)
"""
AGAIN = ("--set", "scorer={'./mine.py': {right: Paris}}")


@pytest.fixture
def command(capitals: Path, tmp_path: Path) -> tuple[object, ...]:
    """The command of a run in `tmp_path/x`, and the file of another scorer."""
    write(tmp_path / "mine.py", GRADER)
    return (
        "run",
        "-t",
        capitals,
        "-m",
        "echo:gold",
        "--display",
        "none",
        "--ids",
        "capitals-01,capitals-02,capitals-03",
    )


def seen(stored: StoredRun) -> Any:
    """The view of a reader of a run: its scorer, counts and answers."""
    answers = sorted(
        (each.id, each.repeat, each.outcome, each.value, each.error, each.text, each.target)
        for each in stored.records()
    )
    summary = stored.meta.get("summary")
    if summary is not None:
        assert (summary["score"], summary["outcomes"]) == (stored.tally.score, stored.summary["outcomes"])
    return stored.config["task"]["scorer"], stored.tally.score, dict(stored.tally.outcomes), answers


@contextmanager
def at_each_write(monkeypatch: pytest.MonkeyPatch, visit: Callable[[], None]) -> Iterator[None]:
    """Call a function before and after each call that changes a file for good."""

    def visited(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            visit()
            try:
                return function(*args, **options)
            finally:
                visit()

        return call

    with monkeypatch.context() as patch:
        for name in ("replace", "unlink", "fsync", "ftruncate"):
            patch.setattr(os, name, visited(getattr(os, name)))
        patch.setattr(regrading, "append", visited(files.append))
        yield


def test_readers_and_kills_at_every_write(
    m1eval: Callable[..., Result], command: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    m1eval(*command, "--out", tmp_path / "x")
    folder = run_of(tmp_path / "x")
    before = StoredRun.open(folder)
    old, states = seen(before), list[Any]()
    kills: dict[Any, Path] = {}

    def visit() -> None:
        with pytest.MonkeyPatch.context() as patch:  # copying is not a write of the command
            for name, function in originals.items():
                patch.setattr(os, name, function)
            states.append(seen(StoredRun.open(folder)))
            assert seen(StoredRun(folder, before.meta)) == old, "a reader that has read run.json before"
            content = tuple((each.name, each.read_bytes()) for each in sorted(folder.iterdir()))
            if content not in kills:
                kills[content] = tmp_path / "kills" / str(len(kills))
                shutil.copytree(folder, kills[content] / folder.parent.name / folder.name)

    originals = {name: getattr(os, name) for name in ("replace", "unlink", "fsync", "ftruncate")}
    with at_each_write(monkeypatch, visit):
        assert m1eval("score", folder, *AGAIN).code == 3, "an answer has errored"
    new = seen(StoredRun.open(folder))
    assert (new[0], new[1], new[2]["errored"]) == ({"./mine.py": {"right": "Paris"}}, 0.5, 1)
    assert states == [old] * states.count(old) + [new] * states.count(new), "the one or the other, in this order"
    assert min(states.count(old), states.count(new)) > 4
    assert len(kills) > 8
    for place in kills.values():
        run = run_of(place)
        state = seen(StoredRun.open(run))
        assert state in (old, new)
        same_grader = AGAIN if state == new else ()
        assert "was made with" not in m1eval(*command, "--out", place, *same_grader).err
        assert seen(StoredRun.open(run))[:3] == state[:3], "continuing a run keeps its grades"
        m1eval("score", run, *AGAIN)
        assert seen(StoredRun.open(run)) == new
        numbers = [(line["id"], line.get("graded", 0)) for line in lines(run / "samples.jsonl")]
        assert len(set(numbers)) == len(numbers), "no line is there twice"


def test_a_reader_says_that_a_grading_is_not_finished(
    m1eval: Callable[..., Result], command: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    m1eval(*command, "--out", tmp_path / "x")
    folder = run_of(tmp_path / "x")

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("m1eval.run.regrade._commit", interrupt)
        m1eval("score", folder, *AGAIN)
    assert StoredRun.open(folder).summary["notes"] == [UNFINISHED]
    m1eval("score", folder, *AGAIN)
    assert UNFINISHED not in StoredRun.open(folder).summary["notes"]


def test_a_run_json_that_is_rebuilt_keeps_the_number_of_the_grades(
    m1eval: Callable[..., Result], command: tuple[object, ...], tmp_path: Path
):
    m1eval(*command, "--out", tmp_path / "x")
    folder = run_of(tmp_path / "x")
    m1eval("score", folder, *AGAIN)
    new = seen(StoredRun.open(folder))
    (folder / "run.json").write_bytes((folder / "run.json").read_bytes()[:200])
    assert "rebuilt from the journal" in m1eval(*command, "--out", tmp_path / "x", *AGAIN).out
    assert seen(StoredRun.open(folder))[:3] == new[:3]
    assert [each["number"] for each in json.loads((folder / "run.json").read_text())["gradings"]] == [1]
