"""`m1eval score`: which scorer and judges grade, and what its errors say."""

import fcntl
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from m1eval.store.stored import StoredRun
from tests.conftest import Result, run_of, write

MINE = """
    import m1eval
    from m1eval import Score

    class Scorer(m1eval.Scorer):
        def __init__(self, *, right: str = "Paris"):
            self.right = right

        async def score(self, output, sample, context):
            return Score(value=float(output.text == self.right), answer=output.text)
"""
JUDGE = """
    import m1eval
    from m1eval import Output, Usage

    class Runner(m1eval.Runner):
        concurrency = 1

        def __init__(self, model): ...

        async def generate(self, request):
            return Output(text="Verdict: YES", usage=Usage(prompt=1_000_000, answer=1))
"""
RUBRIC = {"judge": {"rubric": "{{ answer }}: Verdict?", "verdicts": {"YES": 1, "NO": 0}}}


@pytest.fixture
def command(capitals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The command of a run in `tmp_path/x`."""
    monkeypatch.chdir(tmp_path)
    return ["run", "-t", capitals, "-m", "echo:gold", "--out", "x", "--display", "none"]


def scorer_of(folder: Path) -> Any:
    return StoredRun.open(folder).config["task"]["scorer"]


def test_a_scorer_file_is_the_same_however_it_is_named(
    m1eval: Callable[..., Result], command: list[object], capitals: Path, tmp_path: Path, monkeypatch: Any
):
    write(tmp_path / "mine.py", MINE)
    write(tmp_path / "elsewhere" / "copy.py", MINE)
    m1eval(*command)
    folder = run_of(tmp_path / "x")
    assert m1eval("score", folder, "--scorer", "./mine.py").code == 0
    assert scorer_of(folder) == "mine.py", "as the task would name it"
    for name in ("./mine.py", tmp_path / "mine.py", "elsewhere/copy.py"):
        assert m1eval(*command, "--set", f"scorer={name}").code == 0, name
    capitals.write_text(capitals.read_text().replace("scorer: exact", "scorer: {./mine.py: {}}"))
    assert m1eval(*command).code == 0
    (tmp_path / "elsewhere" / "copy.py").write_text((tmp_path / "mine.py").read_text() + "# another\n")
    refused = m1eval(*command, "--set", "scorer=elsewhere/copy.py")
    assert "(scorer: mine.py, now elsewhere/copy.py)" in refused.err
    assert m1eval("score", folder, "--scorer", "elsewhere/copy.py").code == 0
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert m1eval("score", folder).code == 0, "found again from another folder"


def test_a_moved_folder_finds_its_scorer(m1eval: Callable[..., Result], command: list[object], tmp_path: Path):
    write(tmp_path / "mine.py", MINE)
    m1eval(*command)
    m1eval("score", run_of(tmp_path / "x"), "--scorer", "./mine.py")
    shutil.copytree(run_of(tmp_path / "x"), tmp_path / "y" / "moved")
    assert m1eval("score", tmp_path / "y" / "moved").code == 0
    (tmp_path / "mine.py").unlink()
    gone = m1eval("score", tmp_path / "y" / "moved")
    assert (gone.code, gone.err) == (2, "Error: y/moved/run.json: no file mine.py\n")


def test_a_task_file_that_is_gone_is_named(
    m1eval: Callable[..., Result], command: list[object], capitals: Path, tmp_path: Path
):
    m1eval(*command)
    capitals.unlink()
    gone = m1eval("score", run_of(tmp_path / "x"))
    assert f"the task's file {capitals} is gone, and no task is named 'capitals'; put it into ./tasks\n" in gone.err


def test_the_way_back_to_the_scorer_of_the_task(
    m1eval: Callable[..., Result], command: list[object], capitals: Path, tmp_path: Path
):
    write(tmp_path / "mine.py", MINE)
    m1eval(*command)
    folder = run_of(tmp_path / "x")
    m1eval("score", folder, "--set", "scorer={'./mine.py': {right: Rome}}")
    m1eval("score", folder)
    assert scorer_of(folder) == {"./mine.py": {"right": "Rome"}}, "what graded last stays"
    assert m1eval("score", folder, "--task-scorer").code == 0
    assert (scorer_of(folder), StoredRun.open(folder).tally.score) == ("exact", 1)
    assert m1eval(*command).code == 0
    capitals.write_text(capitals.read_text().replace("scorer: exact", "scorer: contains"))
    m1eval("score", folder)
    assert scorer_of(folder) == "contains", "the task's own is that of its file now"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--scorer", "conains"), "Error: --scorer conains: no scorer 'conains'; did you mean contains?"),
        (("--scorer", "./gone.py"), "Error: --scorer ./gone.py: no file ./gone.py"),
        (("--set", "scorer=conains"), "Error: --set scorer=conains: no scorer 'conains'; did you mean contains?"),
        (("--set", "scorer.exact.x=1"), "Error: --set scorer.exact.x=1: scorer exact: unknown option 'x'"),
        (("--scorer", "f1", "--task-scorer"), "Error: --scorer and --task-scorer both name a scorer; give one"),
        (("--scorer", "f1", "--set", "scorer=exact"), "Error: --scorer and --set scorer= both name a scorer"),
    ],
)
def test_errors_name_the_option(
    m1eval: Callable[..., Result], command: list[object], tmp_path: Path, options: tuple[str, ...], message: str
):
    m1eval(*command)
    refused = m1eval("score", run_of(tmp_path / "x"), *options)
    assert (refused.code, refused.err[: len(message)], refused.err.count("\n")) == (2, message, 1)


def test_options_for_judges_that_nothing_asks_are_named(
    m1eval: Callable[..., Result], command: list[object], tmp_path: Path
):
    m1eval(*command)
    result = m1eval("score", run_of(tmp_path / "x"), "--judge", "echo:gold", "--max-cost", 1)
    note = "note: none of these runs is graded by a judge; --judge and --max-cost are not used\n"
    assert (result.code, result.err) == (0, note)


def test_a_limit_of_the_cost_of_judges(m1eval: Callable[..., Result], command: list[object], tmp_path: Path):
    write(tmp_path / "yes.py", JUDGE)
    prices = write(tmp_path / "prices.yaml", "'*': {input: 1, output: 1}\n")
    m1eval(*command)
    folder = run_of(tmp_path / "x")
    before = (folder / "run.json").read_bytes()
    judged = ("score", folder, "--set", f"scorer={json.dumps(RUBRIC)}", "--judge", "./yes.py:j")
    unknown = m1eval(*judged, "--max-cost", 1)
    assert (unknown.code, "no prices of the judge 'j' are known; give --prices FILE" in unknown.err) == (2, True)
    stopped = m1eval(*judged, "--prices", prices, "--max-cost", 5)
    assert stopped.code == 3
    assert "stopped by --max-cost 5: $" in stopped.err
    assert "the earlier grades count, and the same command with a higher limit continues" in stopped.err
    assert (folder / "run.json").read_bytes() == before
    staged = [json.loads(line) for line in (folder / "samples.jsonl.grading").read_text().splitlines()[1:]]
    graded = sum(line["outcome"] == "right" for line in staged)
    assert 0 < graded <= 5
    again = m1eval(*judged, "--prices", prices, "--max-cost", 5)
    assert (again.code, "stopped by" in again.err) == (3, True), "what the first command spent counts"
    done = m1eval(*judged, "--prices", prices, "--max-cost", 100)
    assert (done.code, StoredRun.open(folder).tally.outcomes["right"]) == (0, 12)
    assert StoredRun.open(folder).meta["summary"]["figures"]["judge output tokens"] == 12


def test_a_folder_that_is_being_written_asks_to_wait(
    m1eval: Callable[..., Result], command: list[object], tmp_path: Path
):
    m1eval(*command)
    folder = run_of(tmp_path / "x")
    with (folder / "samples.jsonl").open("rb") as journal:
        fcntl.flock(journal, fcntl.LOCK_EX)
        assert m1eval("score", folder).err.endswith("gold is being written by another run; wait\n")
        assert m1eval(*command).err.endswith("is being written by another run; wait, or --out elsewhere\n")
