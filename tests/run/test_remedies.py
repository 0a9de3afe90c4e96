"""A command that does not continue a run: the settings in pairs, and commands that keep the answers, which work."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from m1eval import UsageError, evaluate, read
from m1eval.store.config import difference
from m1eval.store.stored import StoredRun
from tests.conftest import Result, lines, run_of, write

GRADER = """
    import m1eval
    from m1eval import Score

    class Scorer(m1eval.Scorer):
        def __init__(self, *, right: str = "Paris", also: str = ""): ...

        async def score(self, output, sample, context):
            return Score(value=1.0, answer=output.text)
"""
REGRADE, CONTINUE = "without asking again: m1eval ", "to continue with its own grader, add: "


@pytest.fixture
def command(capitals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The command of a run in `tmp_path/x`."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "mine.py", GRADER)
    write(tmp_path / "other one.py", GRADER + "    # other\n")
    return ["run", "-t", capitals, "-m", "echo:gold", "--out", "x", "--display", "none"]


def advised(message: str, begin: str) -> list[str]:
    """The arguments of a command that a message advises."""
    return shlex.split(message.partition(begin)[2].partition("; to continue")[0])


SCORERS = (
    "exact",
    "contains",
    {"./mine.py": {"right": "it's é"}},
    {"./mine.py": {"also": "x"}},
    "./other one.py",
    {"regex": {"pattern": "(.*)"}},
)


@pytest.mark.parametrize("first", SCORERS, ids=str)
def test_another_scorer_does_not_ask_the_model_again(
    m1eval: Callable[..., Result], command: list[object], capitals: Path, tmp_path: Path, first: Any
):
    text = capitals.read_text()
    for number, second in enumerate(each for each in SCORERS if each != first):
        here = [*command[:-4], "--out", tmp_path / f"out {number}", *command[-2:]]
        capitals.write_text(text.replace("scorer: exact", f"scorer: {json.dumps(first)}"))
        assert m1eval(*here).code == 0
        before = lines(tmp_path / f"out {number}" / "samples.jsonl")
        capitals.write_text(text.replace("scorer: exact", f"scorer: {json.dumps(second)}"))
        refused = m1eval(*here).err
        assert "--redo" not in refused
        assert m1eval(*here, *advised(refused, CONTINUE)).code == 0, refused
        assert m1eval(*advised(refused, REGRADE)).code == 0, refused
        assert m1eval(*here).code == 0, refused
        after = lines(tmp_path / f"out {number}" / "samples.jsonl")
        assert [line["time"] for line in after if line.get("graded")] == [line["time"] for line in before]


def test_a_command_with_another_scorer_names_it_to_score(
    m1eval: Callable[..., Result], command: list[object], tmp_path: Path
):
    m1eval(*command)
    for setting in ("scorer=contains", "scorer={'./mine.py': {right: x}}"):
        refused = m1eval(*command, "--set", setting).err
        assert m1eval(*advised(refused, REGRADE)).code == 0, refused
        assert m1eval(*command, "--set", setting).code == 0


def test_a_scorer_file_that_was_edited_grades_again(
    m1eval: Callable[..., Result], command: list[object], tmp_path: Path
):
    options = ("--set", "scorer=./mine.py")
    m1eval(*command, *options)
    (tmp_path / "mine.py").write_text((tmp_path / "mine.py").read_text() + "# edited\n")
    refused = m1eval(*command, *options).err
    assert "(scorer file: " in refused
    assert CONTINUE not in refused, "its own grader is gone"
    assert advised(refused, REGRADE) == ["score", str(run_of(tmp_path / "x").relative_to(tmp_path))]
    assert m1eval(*advised(refused, REGRADE)).code == 0
    assert m1eval(*command, *options).code == 0


def test_other_judges_are_named_too(m1eval: Callable[..., Result], command: list[object], tmp_path: Path):
    write(
        tmp_path / "yes.py",
        """
        from m1eval import Output

        class Runner:
            def __init__(self, model, *, words="YES"):
                self.words = words

            async def generate(self, request):
                return Output(text=f"Verdict: {self.words}")

            async def aclose(self): ...
        """,
    )
    rubric = {"judge": {"rubric": "{{ answer }}: Verdict?", "verdicts": {"YES": 1, "WRONG": 0}}}
    judged = (*command, "--set", f"scorer={json.dumps(rubric)}")
    assert m1eval(*judged, "--judge", "./yes.py:a").code == 0
    other = (*judged, "--judge", "./yes.py:b,words=WRONG")
    refused = m1eval(*other).err
    assert '(judges: ./yes.py:a, now ./yes.py:b,words="WRONG")' in refused
    assert advised(refused, CONTINUE) == ["--judge", "./yes.py:a"]
    assert m1eval(*advised(refused, REGRADE)).code == 0, refused
    assert StoredRun.open(run_of(tmp_path / "x")).tally.outcomes["wrong"] == 12
    assert m1eval(*other).code == 0


def test_less_than_there_is(m1eval: Callable[..., Result], command: list[object], tmp_path: Path):
    m1eval(*command, "-n", 10, "-k", 2)
    folder = run_of(tmp_path / "x").relative_to(tmp_path)
    before = (folder / "samples.jsonl").read_bytes()
    refused = m1eval(*command, "--limit", 4, "-k", 2)
    assert (refused.code, "--redo" in refused.err) == (2, False)
    assert "(limit: 10, now 4); a run can grow, not shrink: continue it with --limit 10" in refused.err
    assert f"see its answers with m1eval show {folder} --limit 4, or" in refused.err
    assert m1eval("show", folder, "--limit", 4).code == 0
    with pytest.raises(UsageError) as error:
        evaluate("capitals.yaml", "echo:gold", out="x", limit=4, repeats=2)
    assert f'see its answers with m1eval.read("{folder}").head(4), or' in str(error.value)
    assert len(read(folder).head(4)) == 4
    assert "continue it with --repeats 2 and with --limit 10, see" in m1eval(*command, "--limit", 5).err
    planned = m1eval(*command, "--limit", 5, "-k", 2, "--dry-run")
    assert planned.code == 0
    assert "10 of 10 answers done" in planned.out
    assert f"without --dry-run this is refused: {folder} was made with" in planned.out
    [plan] = m1eval(*command, "--limit", 5, "-k", 2, "--dry-run", "--json").json()["plans"]
    assert (plan["done"], plan["owed"], plan["note"].partition(" was ")[0]) == (10, 0, str(folder))
    [plan] = m1eval(*command, "--limit", 11, "-k", 2, "--dry-run", "--json").json()["plans"]
    assert (plan["done"], plan["owed"], plan["note"]) == (20, 2, "")
    assert (folder / "samples.jsonl").read_bytes() == before


def test_long_settings_are_shown_where_they_differ():
    prompt = "Answer the question in one word, and with nothing else at all: what is the capital of "
    pairs = difference({"task": {"prompt": f"{prompt}France?"}}, {"task": {"prompt": f"{prompt}Peru?"}})
    assert pairs == "prompt: … capital of France?, now … capital of Peru?"
    assert difference({"a": "x" * 100}, {"a": "y"}) == f"a: {'x' * 37}…, now y"
    other = difference({"task": {"scorer": {"f1": {"x": 1}}}}, {"task": {"scorer": {"regex": {"y": 2}}}})
    assert other == "scorer: f1, now regex"
    assert difference({"a": 1, "b": 2}, {"b": 3}) == "a: 1, now not set; b: 2, now 3"
    assert difference({"a": {"b": True, "c": ["x"]}}, {"a": {}}) == 'a.b: true, now not set; a.c: ["x"], now not set'
