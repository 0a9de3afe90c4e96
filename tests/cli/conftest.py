"""A run whose answers are given, to be graded again, and what its folder says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from m1eval.store.stored import StoredRun
from tests.conftest import Result, run_of, write

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
QUESTIONS = [["yes", "no"], ["half", "fails"], ["draft", "yes"], ["refused", "cut"]]


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
