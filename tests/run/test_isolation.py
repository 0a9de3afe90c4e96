"""Scorers and episodes that change what they are given: no other repeat, record, prompt or caller sees it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from m1eval import Output, Sample, Usage, evaluate, grade
from m1eval.types import isolated, isolated_output
from tests.conftest import Result, write

TASK = """
title: T
dataset: {file: t.jsonl}
prompt: "{{ q }}"
target: "yes"
scorer: ./changes.py
EPISODE
"""
CHANGES = """
import m1eval

def change(*samples):
    for sample in samples:
        sample.metadata["tests"].pop()
        sample.metadata["level"] += 1
        sample.messages.append({"role": "user", "content": "more"})
        sample.messages[0]["content"] += "!"
        sample.target += "?"

class Scorer(m1eval.Scorer):
    async def score(self, output, sample, context):
        seen = [len(sample.metadata["tests"]), sample.metadata["level"], len(sample.messages), sample.target]
        change(sample)
        output.tool_calls.append({"x": 1})
        output.metadata["more"] = 1
        output.usage.answer += 100
        return m1eval.Score(value=float(output.text == "yes"), answer=str(seen))

async def run(sample, runner, context):
    change(sample)
    return await runner.generate(m1eval.Request(messages=sample.messages))
"""


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """A task whose scorer changes the sample and the output, with more lines of its file."""
    monkeypatch.chdir(tmp_path)

    def make(episode: str = "") -> str:
        write(tmp_path / "t.jsonl", '{"q": "a", "tests": [1, 2, 3], "level": 1}\n')
        write(tmp_path / "changes.py", CHANGES)
        write(tmp_path / "_changes.py", CHANGES)
        write(tmp_path / "t.yaml", TASK.replace("EPISODE", episode))
        return "t.yaml"

    return make


@pytest.mark.parametrize(
    ("episode", "seen"),
    [("", [3, 1, 1, "yes"]), ("episode: _changes.run", [2, 2, 2, "yes?"])],
    ids=["plain", "episode"],
)
def test_each_repeat_begins_with_the_sample_as_the_task_has_it(task, m1eval: Callable[..., Result], episode, seen):
    [run] = evaluate(task(episode), "echo:gold", out="o", repeats=3, display="none")
    records = list(run.records())
    assert {record.answer for record in records} == {str(seen)}
    assert [(record.tool_calls, record.usage.answer) for record in records] == [([], 1)] * 3
    assert {record.target for record in records} == {seen[-1]}
    assert [prompt["messages"] for prompt in run.prompts()] == [[{"role": "user", "content": "a"}]]
    if not episode:
        assert m1eval("score", run.path).code == 0
        assert [record.answer for record in run.records()] == [str(seen)] * 3


def test_grading_in_python_and_checking_change_nothing_either(task, m1eval: Callable[..., Result]):
    sample = Sample(id="1", messages=[{"role": "user", "content": "a"}], target="yes")
    sample.metadata = {"tests": [1, 2], "level": 1}
    output = Output(text="yes")
    grades = [grade(task(), sample, output) for _ in range(2)]
    assert grades[0] == grades[1]
    assert (sample.target, sample.metadata, output) == ("yes", {"tests": [1, 2], "level": 1}, Output(text="yes"))
    assert m1eval("check", "./t.yaml").code == 0


def test_a_copy_shares_texts_and_no_containers():
    parts = [{"type": "text", "text": "long"}]
    sample = Sample(id="1", messages=[{"role": "user", "content": parts}], metadata={"a": {"b": [{1}]}, "c": (1,)})
    own = isolated(sample)
    assert own == sample
    assert own.messages[0]["content"][0] is not parts[0]
    assert own.messages[0]["content"][0]["text"] is parts[0]["text"]
    own.metadata["a"]["b"][0].add(2)
    assert sample.metadata["a"]["b"] == [{1}]
    output = Output(text="x", logprobs=[0.5], usage=Usage(prompt=3), metadata={"n": []})
    other = isolated_output(output)
    assert other == output
    for one, two in ((other.usage, output.usage), (other.timing, output.timing), (other.logprobs, output.logprobs)):
        assert one is not two
