"""`m1eval score` that is killed, interrupted or out of disk: old grades or new ones count, and it continues."""

import errno
import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from m1eval.run import grading, regrade
from m1eval.store import files, regrading
from m1eval.store.stored import StoredRun
from tests.cli.conftest import QUESTIONS, counts, state
from tests.conftest import Result, lines, write


def test_a_command_that_was_killed_leaves_the_old_grades_and_continues(
    work: Any, m1eval: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = work(QUESTIONS, "a")
    before = counts(folder)
    setting = ("--set", "scorer={'./graded.py': {right: 'no'}}")
    appended: list[str] = []
    append = regrading.Staging.append

    def die(staging: regrading.Staging, record: Any) -> None:
        if len(appended) == 3:
            raise KeyboardInterrupt
        append(staging, record)
        appended.append(record.id)

    with monkeypatch.context() as patch:
        patch.setattr(regrading.Staging, "append", die)
        assert m1eval("score", folder, *setting).code == 130
    gc.collect()  # the task that was killed logs its traceback, which must not happen while source is being parsed
    assert counts(folder) == before
    m1eval("score", folder, *setting)
    assert StoredRun.open(folder).tally.outcomes["right"] == 1
    assert not (folder / "samples.jsonl.grading").exists()


def test_a_kill_between_run_json_and_the_journal_is_finished_by_the_next_command(
    work: Any, m1eval: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder, whole = work(QUESTIONS, "a"), work(QUESTIONS, "b")
    setting = ("--set", "scorer={'./graded.py': {right: 'no'}}")
    m1eval("score", whole, *setting)
    with monkeypatch.context() as patch:
        patch.setattr("m1eval.store.journal.regrading.merge", lambda folder: False)
        m1eval("score", folder, *setting)
    assert (folder / "samples.jsonl.grading").exists()
    m1eval("score", folder, *setting)
    assert StoredRun.open(folder).tally.outcomes == StoredRun.open(whole).tally.outcomes


def test_a_full_disk_leaves_the_old_grades_and_the_same_command_continues(
    work: Any, m1eval: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = work(QUESTIONS, "a")
    before = counts(folder)
    setting = ("--set", "scorer={'./graded.py': {right: 'no'}}")
    written: list[bytes] = []
    append = files.append

    def fill(file: Any, data: bytes, **how: Any) -> None:
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(file, data, **how)
        written.append(data)

    with monkeypatch.context() as patch:
        patch.setattr(regrading, "append", fill)
        result = m1eval("score", folder, *setting)
    assert result.code == 3
    assert "samples.jsonl.grading cannot be written: No space left on device; the earlier grades count" in result.err
    assert counts(folder) == before
    m1eval("score", folder, *setting)
    assert StoredRun.open(folder).tally.outcomes["right"] == 1


def test_a_disk_without_room_for_the_merged_journal_keeps_the_room_it_has(
    work: Any, m1eval: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
):
    folder = work(QUESTIONS, "a")

    def fill(raw: bytes) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(regrading, "_without_shared", fill)
        error = m1eval("score", folder).err
        assert "No space left on device; the new grades count" in error, "--out is not advised, which score lacks"
    assert not (folder / "samples.jsonl.new").exists()
    assert m1eval("score", folder).code in (0, 3)


def test_a_grade_of_an_answer_that_was_asked_again_does_not_replace_the_new_one(
    work: Any, m1eval: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
):
    folder = work([["odd"], ["yes"]], "a", "{breaks: odd}")
    with monkeypatch.context() as patch:
        patch.setattr(regrade, "_commit", interrupt)
        m1eval("score", folder, "--set", "scorer={'./graded.py': {right: odd}}")
    assert (folder / "samples.jsonl.grading").exists()
    journal = folder / "samples.jsonl"
    asked_again = [
        {"outcome": "truncated", "value": 0.0, "explanation": grading.UNFINISHED, "reasoning": "new", "text": ""}
        | {"id": line["id"], "repeat": 0, "time": line["time"] + 1, "finish_reason": "length", "digest": line["digest"]}
        | {"target": "yes"}
        if line["outcome"] == "errored"
        else line
        for line in lines(journal)
    ]
    journal.write_text("".join(json.dumps(line) + "\n" for line in asked_again))
    m1eval("score", folder, "--set", "scorer={'./graded.py': {right: odd}}")
    [record] = [record for record in StoredRun.open(folder).records() if record.id == "t-1"]
    assert (record.outcome, record.reasoning) == ("truncated", "new")


def test_a_kill_before_the_summary_leaves_it_to_the_next_command(
    work: Any, m1eval: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
):
    questions = [["yes", "no"], ["no", "odd"]]
    folder, fresh = work(questions, "a"), work(questions, "b", "{right: 'no'}")
    with monkeypatch.context() as patch:
        patch.setattr(regrade, "_summed_up", interrupt)
        m1eval("score", folder, "--set", "scorer={'./graded.py': {right: 'no'}}")
    assert "summary" not in StoredRun.open(folder).meta
    work(questions, "a", "{right: 'no'}")
    assert state(folder)[:3] == state(fresh)[:3]
    assert [each["score"] for each in StoredRun.open(folder).meta["gradings"]] == [0.25, 0.5]


PRESSES = """
import os, signal
import m1eval

class Scorer(m1eval.Scorer):
    async def score(self, output, sample, context):
        if sample.id == "t-2":
            os.kill(os.getpid(), signal.SIGINT)
        return m1eval.Score(value=0.5, answer=output.text)
"""


def test_a_ctrl_c_when_everything_is_being_graded_keeps_the_grades_and_begins_no_other_run(
    work: Any, m1eval: Callable[..., Result], tmp_path: Path
):
    folders = [work([["yes"], ["no"]], out) for out in "ab"]
    write(tmp_path / "presses.py", PRESSES)
    both = m1eval("score", *folders, "--scorer", tmp_path / "presses.py")
    assert (both.code, "1 of 2 runs is graded" in both.err) == (130, True), both.err
    assert [len(StoredRun.open(folder).meta.get("gradings", ())) for folder in folders] == [2, 0]
    assert m1eval("score", folders[1], "--scorer", tmp_path / "presses.py").code == 0
    assert [StoredRun.open(folder).description.score for folder in folders] == [0.5, 0.5]


def interrupt(*args: object) -> None:
    raise KeyboardInterrupt
