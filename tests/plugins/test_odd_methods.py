"""Plugins whose methods are of the wrong kind, or raise what ends loops, coroutines and processes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from m1eval import M1evalError, evaluate
from tests.conftest import write

SCORE = "    async def score(self, o, s, c): return Score(value=1.0, answer='x')\n"
GENERATE = "    async def generate(self, request): return Output(text='Paris')\n"
SCORERS = {
    "async def score(self, o, s, c): yield 1": "score must not be a generator",
    "def score(self, o, s, c): yield 1": "score must not be a generator",
    "async def gold(self, sample): return 'x'": "gold must be def, not async def",
    "async def aggregate(self, records): return {}": "aggregate must be def, not async def",
    "async def vote(self, record): return ''": "vote must be def, not async def",
    "def same(self, first, second, context): return True": "same must be async def",
}
RUNNERS = {
    "def generate(self, request): return Output()": "generate must be async def",
    "async def generate(self, request): yield Output()": "generate must not be a generator",
    "def generate(self, request): yield Output()": "generate must not be a generator",
    "def start(self, progress): ...": "start must be async def",
    "def aclose(self): ...": "aclose must be async def",
    "async def describe(self): return {}": "describe must be def, not async def",
    "pinned = classmethod(lambda cls, options: (yield))": "pinned must not be a generator",
}
ERRORS = (
    "GeneratorExit('x')",
    "StopIteration('x')",
    "StopAsyncIteration('x')",
    "SystemExit('x')",
    "asyncio.CancelledError('x')",
    "BaseExceptionGroup('x', [SystemExit(1)])",
)
PLACES = (
    "scorer",
    "plain scorer",
    "episode",
    "runner",
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capitals: Path) -> Callable[..., Any]:
    """The results of the capitals with a scorer, a runner or an episode of this code."""
    monkeypatch.chdir(tmp_path)
    head = "import asyncio\nimport m1eval\nfrom m1eval import Output, Score\n"

    def call(*, scorer: str = SCORE, runner: str = GENERATE, episode: str = "") -> Any:
        write(tmp_path / "s.py", f"{head}class Scorer(m1eval.Scorer):\n{scorer}")
        write(tmp_path / "r.py", f"{head}class Runner(m1eval.Runner):\n    def __init__(self, model): ...\n{runner}")
        changes = {"scorer": "./s.py"}
        if episode:
            write(tmp_path / "_e.py", head + episode)
            changes["episode"] = "_e.run"
        return evaluate("capitals.yaml", "./r.py:x", set=changes, limit=3, out="o", display="none")

    return call


@pytest.mark.parametrize("method", SCORERS)
def test_a_scorer_method_of_the_wrong_kind_is_refused_with_its_line(run, method):
    with pytest.raises(M1evalError, match=rf"s\.py:\d: {SCORERS[method]}"):
        run(scorer=f"{'' if ' score' in method else SCORE}    {method}\n")


@pytest.mark.parametrize("method", RUNNERS)
def test_a_runner_method_of_the_wrong_kind_is_refused_with_its_line(run, tmp_path, method):
    with pytest.raises(M1evalError, match=rf"^r\.py:\d: {RUNNERS[method]}"):
        run(runner=f"{'' if ' generate' in method else GENERATE}    {method}\n")
    assert not (tmp_path / "o").exists()


def test_a_decorated_method_counts_as_the_one_behind_it(run):
    decorator = "    @(lambda f: __import__('functools').wraps(f)(lambda *a: f(*a)))\n"
    results = run(runner=decorator + GENERATE, scorer=decorator + SCORE)
    assert [record.outcome for record in results[0].records()] == ["right"] * 3


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("place", PLACES)
def test_whatever_is_raised_for_a_sample_is_its_error(run, place, error):
    code: dict[str, dict[str, str]] = {
        "scorer": {"scorer": f"    async def score(self, o, s, c): raise {error}\n"},
        "plain scorer": {"scorer": f"    def score(self, o, s, c): raise {error}\n"},
        "episode": {"episode": f"async def run(s, r, c): raise {error}\n"},
        "runner": {"runner": f"    async def generate(self, request): raise {error}\n"},
    }
    results = run(**code[place])
    records = list(results[0].records())
    assert (results.finished, [record.outcome for record in records]) == (True, ["errored"] * 3)
    assert {error.partition("(")[0].removeprefix("asyncio.") in str(record.error) for record in records} == {True}


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("method", ["start(self, progress)", "aclose(self)"])
def test_whatever_a_runner_raises_as_it_starts_and_ends_is_one_line(run, method, error):
    with pytest.raises(M1evalError, match=rf"^r\.py(:7)?: {method.partition('(')[0]} of runner \./r\.py raised "):
        run(runner=f"{GENERATE}    async def {method}: raise {error}\n")
