"""Plugins of unusual shapes: what is odd about one is named in a line, before anything is asked."""

import re

import pytest

from tests.conftest import write

SCORE = "    async def score(self, output, sample, context): return Score(value=1.0, answer='x')\n"
SCORERS = {
    "a frozen dataclass with slots": (f"@dataclass(frozen=True, slots=True)\nclass Scorer:\n{SCORE}", None),
    "slots": (f"class Scorer:\n    __slots__ = ()\n{SCORE}", None),
    "an enumeration": (f"class Scorer(Enum):\n    A = 1\n{SCORE}", "s.py"),
    "a metaclass": (f"class Meta(type): ...\nclass Scorer(metaclass=Meta):\n{SCORE}", None),
    "needs_judge is text": (f"class Scorer:\n    needs_judge = 'no'\n{SCORE}", "needs_judge is not True or False"),
    "needs_judge is a method": (f"class Scorer:\n    def needs_judge(self): ...\n{SCORE}", "needs_judge is not True"),
    "votes is None": (
        f"class Scorer:\n    supports_majority_vote = None\n{SCORE}",
        "supports_majority_vote is not True",
    ),
}
GENERATE = "    async def generate(self, request): return Output(text='Paris')\n"
RUNNERS = {
    "concurrency is None": ("    concurrency = None\n", r"concurrency of runner \S+ is None"),
    "concurrency is 0": ("    concurrency = 0\n", r"concurrency of runner \S+ is 0"),
    "concurrency is text": ("    concurrency = 'many'\n", r"concurrency of runner \S+ is 'many'"),
    "max_n is None": ("    max_n = None\n", r"max_n of runner \S+ is None"),
    "window is text": ("    context_window = '32k'\n", r"context_window of runner \S+ is '32k'"),
    "describe gives a number": ("    def describe(self): return 3\n", r"describe of runner \S+ raised TypeError"),
    "describe raises": ("    def describe(self): raise KeyError('x')\n", r"describe of runner \S+ raised KeyError"),
    "describe gives None": ("    def describe(self): return None\n", None),
    "notes is None": ("    notes = None\n", None),
    "notes are numbers": ("    notes = [1]\n", None),
    "a metaclass": ("    pass\nRunner = type('Meta', (type,), {})('Runner', (Runner,), {})\n", None),
}


@pytest.mark.parametrize("shape", SCORERS)
def test_a_scorer_of_any_shape_grades_or_is_refused_in_one_line(m1eval, tmp_path, monkeypatch, capitals, shape):
    code, message = SCORERS[shape]
    monkeypatch.chdir(tmp_path)
    head = "from dataclasses import dataclass\nfrom enum import Enum\nfrom m1eval import Score\n"
    write(tmp_path / "s.py", head + code)
    done = m1eval(
        "run",
        "--tasks",
        capitals,
        "--set",
        f"scorer={tmp_path}/s.py",
        "--model",
        "echo:gold",
        "--limit",
        3,
        "--out",
        "o",
    )
    if message is None:
        assert done.code == 0, done.err
    else:
        assert (done.code, done.err.strip().count("\n")) == (2, 0)
        assert re.search(message, done.err)


@pytest.mark.parametrize("shape", RUNNERS)
def test_a_runner_of_any_shape_answers_or_is_refused_in_one_line(m1eval, tmp_path, monkeypatch, capitals, shape):
    body, message = RUNNERS[shape]
    monkeypatch.chdir(tmp_path)
    made = "    def __init__(self, model=''): ...\n"
    write(tmp_path / "r.py", f"from m1eval import Output\nclass Runner:\n{made}{GENERATE}{body}")
    done = m1eval("run", "--tasks", capitals, "--model", f"{tmp_path}/r.py:x", "--limit", 3, "--out", "o")
    if message is None:
        assert done.code == 0, done.err
    else:
        assert (done.code, done.err.strip().count("\n")) == (2, 0)
        assert re.search(message, done.err)
        assert not list(tmp_path.glob("o/**/samples.parquet"))


def test_a_runner_without_generate_is_refused_before_anything_is_asked(m1eval, tmp_path, monkeypatch, capitals):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "r.py", "class Runner:\n    def __init__(self, model=''): ...\n")
    done = m1eval("run", "--tasks", capitals, "--model", f"{tmp_path}/r.py:x", "--limit", 3, "--out", "o")
    assert (done.code, done.err.strip().count("\n")) == (2, 0)
    assert "r.py: the Runner has no generate; write async def generate(self, request) -> Output" in done.err
