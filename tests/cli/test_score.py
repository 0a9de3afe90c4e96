"""`m1eval score`: a run that is graded again is the run that the other scorer would have made."""

import errno
import gc
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m1eval.run import grading as grading_of_run
from m1eval.run import regrade
from m1eval.store import files, grading
from m1eval.store.stored import StoredRun
from tests.conftest import Result, lines, run_of, write

RUNNER = """
    import m1eval
    from m1eval import Output, Usage

    class Runner(m1eval.Runner):
        def __init__(self, model: str): ...

        async def generate(self, request):
            kind = request.messages[-1]["content"].split()[request.repeat]
            usage = Usage(prompt=10, reasoning=3, answer=2)
            if kind == "fails":
                raise RuntimeError("server")
            if kind == "refused":
                return Output(finish_reason="refused_context", error="too long")
            if kind == "draft":
                return Output(reasoning="hm", unfinished_thinking=True, finish_reason="length", usage=usage)
            if kind == "cut":
                return Output(text="", finish_reason="length", usage=usage)
            return Output(text=kind, reasoning="hm", usage=usage)
"""
SCORER = """
    import m1eval
    from m1eval import Score

    class Scorer(m1eval.Scorer):
        def __init__(self, *, right: str = "yes", breaks: str = ""):
            self.right, self.breaks = right, breaks

        async def score(self, output, sample, context):
            if output.text and output.text == self.breaks:
                raise RuntimeError("scorer")
            value = 0.5 if output.text == "half" else float(output.text == self.right)
            return Score(value=value, answer=output.text or None, explanation=f"is {self.right}", metrics={"m": value})

        def aggregate(self, records):
            return {"mean m": sum(record.metrics["m"] for record in records if record.metrics)}
"""
KINDS = ["yes", "no", "half", "odd", "fails", "refused", "draft", "cut"]


@pytest.fixture
def work(m1eval: Callable[..., Result], tmp_path: Path) -> Callable[..., Any]:
    """Run a task whose answers are the words of its questions; `options`: those of the scorer."""
    write(tmp_path / "words.py", RUNNER)
    write(tmp_path / "graded.py", SCORER)

    def call(questions: list[list[str]], out: str, options: str = "{}", *more: object) -> Path:
        task = "title: T\ndataset: {file: t.jsonl}\nprompt: '{{ q }}'\ntarget: 'yes'\n"
        write(tmp_path / "t.yaml", task + "scorer: {./graded.py: " + options + "}\n")
        write(tmp_path / "t.jsonl", "".join(json.dumps({"q": " ".join(words)}) + "\n" for words in questions))
        where = ("-m", tmp_path / "words.py:m", "--out", tmp_path / out, "--display", "none", "-k", len(questions[0]))
        result = m1eval("run", "-t", tmp_path / "t.yaml", *where, *more)
        assert result.code in (0, 3), result.err
        return run_of(tmp_path / out)

    return call


VOLATILE = {"time", "timing", "graded"}


def state(folder: Path) -> Any:
    """Content of a run folder, without times."""
    stored = StoredRun.open(folder)
    records = [
        {name: getattr(record, name) for name in record.__struct_fields__ if name not in VOLATILE}
        for record in stored.records()
    ]
    summary = stored.meta["summary"]
    kept = {key: summary[key] for key in summary if "seconds" not in key and key not in ("path", "changed", "notes")}
    counted = stored.summary
    live = {key: counted[key] for key in counted if "seconds" not in key and key not in ("path", "changed", "notes")}
    return sorted(map(str, records)), kept, live, stored.config


def counts(folder: Path) -> dict[str, Any]:
    """The summary of what the folder holds, without the note on an unfinished grading."""
    return {**StoredRun.open(folder).summary, "notes": []}


def parquet(folder: Path) -> Any:
    import pandas

    frame = pandas.read_parquet(folder / "samples.parquet")
    volatile = [name for name in frame.columns if name in VOLATILE or name.endswith("_seconds")]
    return frame.drop(columns=volatile).sort_values(["id", "repeat"]).reset_index(drop=True)


@settings(max_examples=8, suppress_health_check=list(HealthCheck))
@given(st.lists(st.lists(st.sampled_from(KINDS), min_size=2, max_size=2), min_size=1, max_size=6))
def test_the_same_scorer_changes_nothing_and_another_makes_its_own_run(
    work: Any, m1eval: Callable[..., Result], tmp_path: Path, questions: list[list[str]]
):
    for name in ("a", "b"):
        shutil.rmtree(tmp_path / name, ignore_errors=True)
    options = "{right: 'no', breaks: odd}"
    other = work(questions, "b", options)
    folder = work(questions, "a")
    before = state(folder)
    gradable = StoredRun.open(folder).tally.finished
    assert m1eval("score", folder).code in (0, 3)
    assert state(folder) == before
    m1eval("score", folder, "--set", "scorer={'./graded.py': {right: 'no', breaks: odd}}")
    all_failed = {word for words in questions for word in words} <= {"odd", "fails", "refused", "draft"}
    if not all_failed:
        assert state(folder) == state(other)
        assert parquet(folder).equals(parquet(other))
    assert gradable


QUESTIONS = [["yes", "no"], ["half", "fails"], ["draft", "yes"], ["refused", "cut"]]


def test_history_is_kept_and_the_run_continues(work: Any, m1eval: Callable[..., Result], tmp_path: Path):
    folder = work(QUESTIONS, "a")
    first = json.loads((folder / "run.json").read_text())
    setting = "scorer={'./graded.py': {right: 'no'}}"
    result = m1eval("score", folder, "--set", setting)
    assert "t: 5 graded again, " in result.out
    assert "right → wrong 2" in result.out
    assert "wrong → right 1" in result.out
    assert result.code == 3, "an answer has errored"
    meta = json.loads((folder / "run.json").read_text())
    assert [(each["number"], each["options"], each["score"]) for each in meta["gradings"]] == [
        (0, {}, first["summary"]["score"]),
        (1, {"right": "no"}, meta["summary"]["score"]),
    ]
    journal = lines(folder / "samples.jsonl")
    old = [
        line
        for line in journal
        if "text" not in line and line["outcome"] in ("right", "wrong") and not line.get("graded")
    ]
    assert len(old) == 3
    assert [line.get("graded", 0) for line in journal if line["id"] == "t-1"] == [1, 0, 1, 0]
    again = m1eval(
        *(
            "run",
            "-t",
            tmp_path / "t.yaml",
            "-m",
            tmp_path / "words.py:m",
            "--out",
            tmp_path / "a",
            "--display",
            "none",
        ),
        *("-k", 2, "--set", setting),
    )
    assert again.code == 3
    assert "was made with" not in again.err
    assert json.loads((folder / "run.json").read_text())["gradings"] == meta["gradings"]
    assert [line.get("graded", 0) for line in lines(folder / "samples.jsonl") if line["id"] == "t-1"] == [1, 0, 1, 0]
    assert {line.get("graded", 0) for line in lines(folder / "samples.jsonl") if line["outcome"] == "errored"} == {1}
    assert StoredRun.open(folder).summary["score"] == meta["summary"]["score"]
    refused = m1eval(
        *(
            "run",
            "-t",
            tmp_path / "t.yaml",
            "-m",
            tmp_path / "words.py:m",
            "--out",
            tmp_path / "a",
            "--display",
            "none",
        ),
        *("-k", 2),
    )
    assert (refused.code, "was made with" in refused.err) == (2, True)


def test_a_command_that_was_killed_leaves_the_old_grades_and_continues(
    work: Any, m1eval: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = work(QUESTIONS, "a")
    before = counts(folder)
    setting = ("--set", "scorer={'./graded.py': {right: 'no'}}")
    appended: list[str] = []
    append = grading.Staging.append

    def die(staging: grading.Staging, record: Any) -> None:
        if len(appended) == 3:
            raise KeyboardInterrupt
        append(staging, record)
        appended.append(record.id)

    with monkeypatch.context() as patch:
        patch.setattr(grading.Staging, "append", die)
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
        patch.setattr("m1eval.store.journal.grading.merge", lambda folder: False)
        m1eval("score", folder, *setting)
    assert (folder / "samples.jsonl.grading").exists()
    m1eval("score", folder, *setting)
    assert StoredRun.open(folder).tally.outcomes == StoredRun.open(whole).tally.outcomes


def test_a_sample_that_was_not_the_one_answered_is_refused_by_name(
    work: Any, m1eval: Callable[..., Result], tmp_path: Path
):
    folder = work([["yes", "no"]], "a")
    text = (tmp_path / "t.yaml").read_text()
    write(tmp_path / "t.yaml", text.replace("target: 'yes'", "target: 'no'"))
    assert m1eval("score", folder).code == 0, "the settings of the run count, not those that the file has now"
    journal = folder / "samples.jsonl"
    before = counts(folder)
    records = [line | ({"digest": "0" * 16} if line["repeat"] else {}) for line in lines(journal)]
    journal.write_text("".join(json.dumps(record) + "\n" for record in records))
    refused = m1eval("score", folder)
    assert refused.code == 2
    assert "the prompt or the target of sample 't-1' is not the one that was answered" in refused.err
    assert counts(folder) == before
    write(tmp_path / "t.jsonl", '{"q": "no yes"}\n')
    assert "data file" in m1eval("score", folder).err


def test_two_gradings_leave_two_generations_of_history(work: Any, m1eval: Callable[..., Result], tmp_path: Path):
    folder, other = work(QUESTIONS, "a"), work(QUESTIONS, "b", "{right: half}")
    for right in ("no", "half"):
        m1eval("score", folder, "--set", "scorer={'./graded.py': {right: " + right + "}}")
    assert state(folder) == state(other)
    assert [line.get("graded", 0) for line in lines(folder / "samples.jsonl") if line["id"] == "t-1"] == [2, 1, 0] * 2
    stored_score = StoredRun.open(folder).tally.score
    compared = m1eval("compare", folder, other, "--json").json()["comparisons"][0]
    assert {compared[key] for key in ("difference", "score_a", "score_b") if key in compared} <= {0, stored_score}


RUBRIC = {"rubric": "Reference: {{ target }} Answer: {{ answer }} Verdict?", "verdicts": {"YES": 1, "NO": 0}}
JUDGED = "scorer=" + json.dumps({"judge": RUBRIC})


def test_another_judge_grades_what_the_first_has_graded(work: Any, m1eval: Callable[..., Result], tmp_path: Path):
    for verdict in ("YES", "NO"):
        write(
            tmp_path / f"{verdict}.py",
            f"""
            import m1eval
            from m1eval import Output, Usage

            class Runner(m1eval.Runner):
                def __init__(self, model): ...

                async def generate(self, request):
                    return Output(text="Verdict: {verdict}", usage=Usage(prompt=7, answer=2))
            """,
        )
    judge = {verdict: ("--judge", f"{tmp_path / verdict}.py:j") for verdict in ("YES", "NO")}
    folder = work([["yes", "no"]], "a")
    assert m1eval("score", folder, "--set", JUDGED, *judge["YES"]).code == 0
    assert StoredRun.open(folder).tally.outcomes["right"] == 2
    refused = m1eval("score", folder)
    assert (refused.code, f"earlier: {tmp_path / 'YES.py'}:j" in refused.err) == (2, True)
    assert m1eval("score", folder, *judge["NO"]).code == 0
    stored = StoredRun.open(folder)
    assert stored.tally.outcomes["wrong"] == 2
    assert [grading["judges"] and grading["judges"][0]["model"] for grading in stored.meta["gradings"]] == [
        None,
        *(f"{tmp_path / verdict}.py:j" for verdict in ("YES", "NO")),
    ]
    assert stored.meta["summary"]["figures"]["judge prompt tokens"] == 14


def test_a_scorer_that_grades_nothing_is_refused(work: Any, m1eval: Callable[..., Result], tmp_path: Path):
    folder = work([["odd", "odd"]], "a")
    before = counts(folder)
    result = m1eval("score", folder, "--set", "scorer={'./graded.py': {breaks: odd}}")
    assert (result.code, "no answer could be graded" in result.err) == (2, True)
    assert counts(folder) == before
    assert m1eval("score", folder, "--set", "repeats=1").code == 2


def test_answers_whose_grading_had_failed_are_graded(work: Any, m1eval: Callable[..., Result], tmp_path: Path):
    folder = work([["odd", "yes"], ["no", "odd"]], "a", "{breaks: odd}")
    assert StoredRun.open(folder).tally.outcomes["errored"] == 2
    found = m1eval("score", folder, "--set", "scorer={'./graded.py': {right: odd}}", "--json").json()["runs"][0]
    assert found["outcomes"] == {**found["outcomes"], "right": 2, "wrong": 2, "errored": 0}
    assert {"from": "errored", "to": "right", "answers": 2} in found["changes"]
    assert found["graded"] == 4


def test_the_scorer_of_the_last_grading_stays_and_no_runner_is_needed(
    work: Any, m1eval: Callable[..., Result], tmp_path: Path
):
    folder = work([["yes", "no"]], "a")
    (tmp_path / "words.py").unlink()
    assert m1eval("score", folder, "--scorer", "exact").code == 0
    assert StoredRun.open(folder).config["task"]["scorer"] == "exact"
    assert m1eval("score", folder).code == 0
    assert StoredRun.open(folder).config["task"]["scorer"] == "exact", "the run keeps what it was graded with"


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
        patch.setattr(grading, "append", fill)
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
        patch.setattr(grading, "_without_shared", fill)
        assert "No space left on device" in m1eval("score", folder).err
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
        {"outcome": "truncated", "value": 0.0, "explanation": grading_of_run.UNFINISHED, "reasoning": "new", "text": ""}
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


def test_what_replaced_answers_took_is_not_forgotten(work: Any, m1eval: Callable[..., Result]):
    folder = work([["yes"], ["no"]], "a")
    journal = folder / "samples.jsonl"
    first, *others = lines(journal)
    lost = {"id": first["id"], "repeat": 0, "outcome": "errored", "error": "x", "usage": {"prompt": 900, "answer": 70}}
    journal.write_text("".join(json.dumps(line) + "\n" for line in (lost, first, *others)))
    m1eval("score", folder)
    assert StoredRun.open(folder).meta["superseded"] == {"prompt": 900, "answer": 70}


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
