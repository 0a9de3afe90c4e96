"""`m1eval score`: a run that is graded again is the run that the other scorer would have made."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m1eval.store.stored import StoredRun
from tests.cli.conftest import QUESTIONS, VOLATILE, counts, state
from tests.conftest import Result, lines, write

KINDS = ["yes", "no", "half", "odd", "fails", "refused", "draft", "cut"]


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


def test_what_replaced_answers_took_is_not_forgotten(work: Any, m1eval: Callable[..., Result]):
    folder = work([["yes"], ["no"]], "a")
    journal = folder / "samples.jsonl"
    first, *others = lines(journal)
    lost = {"id": first["id"], "repeat": 0, "outcome": "errored", "error": "x", "usage": {"prompt": 900, "answer": 70}}
    journal.write_text("".join(json.dumps(line) + "\n" for line in (lost, first, *others)))
    m1eval("score", folder)
    assert StoredRun.open(folder).meta["superseded"] == {"prompt": 900, "answer": 70}
