"""Reasons of errored samples: in the display, below the table, in `--json`; grouped, in bounded memory."""

import json
import sys
import tracemalloc

import pytest

from m1eval.store.journal import Journal
from m1eval.store.journal_state import JournalState
from m1eval.store.reasons import MAX_KINDS, Reasons
from m1eval.store.record import Record
from tests.conftest import run_of, write

RUNNER = """
from m1eval import Output

class Runner:
    calls = 0

    def __init__(self, model, *, heal=False):
        self.heal = heal

    async def generate(self, request):
        Runner.calls += 1
        if self.heal:
            return Output(text=request.sample.gold)
        n = Runner.calls
        if n <= 6:
            raise ConnectionError(f"http://h:80{n:02}/v1: 500 request req_{n}ab83f00{n} failed after {n}.5 s")
        if n <= 8:
            raise ValueError(f"no such model '{n * 'x'}'")
        if n <= 11:
            raise KeyError("abc"[n - 9])
        return Output(text=request.sample.gold)

    async def aclose(self):
        pass

    unpinned_options = frozenset({"heal"})
"""


@pytest.fixture
def failing(tmp_path):
    return write(tmp_path / "failing.py", RUNNER)


def test_reasons_are_grouped_below_the_table_and_in_json(shell, capitals, failing, tmp_path):
    command = ("run", "--tasks", capitals, "--model", f"{failing}:m", "--out", "x", "-j", 1)
    result = shell(*command, "--display", "plain")
    assert result.code == 3
    first = "ConnectionError: http://h:8001/v1: 500 request req_1ab83f001 failed after 1.5 s (failing.py:15)"
    assert f"capitals: errored 6 × {first} (such as capitals-" in result.out
    assert "capitals: errored 2 × ValueError: no such model 'xxxxxxx' (failing.py:17) (such as " in result.out
    assert "capitals: errored 3 × KeyError: 'a' (failing.py:19) (such as " in result.out
    assert f"· errored 6 × {first}" in result.err, "in the plain display too"
    summary = json.loads((run_of(tmp_path / "x") / "run.json").read_text())["summary"]
    assert [(each["reason"], each["count"]) for each in summary["errors"]] == [
        (first, 6),
        ("KeyError: 'a' (failing.py:19)", 3),
        ("ValueError: no such model 'xxxxxxx' (failing.py:17)", 2),
    ]
    # what is continued and comes well leaves the list
    healed = shell(*command, "-o", "heal=true", "--json")
    assert healed.code == 0, healed.err
    assert "errors" not in healed.json()["runs"][0]


def test_the_reasons_of_an_earlier_command_are_known(shell, capitals, failing):
    command = ("run", "--tasks", capitals, "--model", f"{failing}:m", "--out", "x", "-j", 1, "--json")
    first = shell(*command).json()["runs"][0]["errors"]
    assert sum(each["count"] for each in first) == 11
    limited = shell(*command).json()["runs"][0]["errors"]
    assert sum(each["count"] for each in limited) == 11


def test_more_kinds_than_are_shown_are_counted():
    reasons = Reasons()
    for word in ["one", "two", "three", "four", "five"]:
        reasons.add(f"error of {word}", word)
    reasons.add("error of five", "again")
    assert reasons.lines() == [
        "2 × error of five (such as five)",
        "1 × error of one (such as one)",
        "1 × error of two (such as two)",
        "2 × 2 more kinds",
    ]
    assert reasons.built(4)[-1] == {"reason": "1 more kind", "count": 1, "example": "four"}


def test_a_million_distinct_messages_take_the_memory_of_a_few():
    """Words, not only numbers, differ; none of the counts is lost."""
    letters = str.maketrans("0123456789", "abcdefghij")
    reasons = Reasons()
    tracemalloc.start()
    kinds = [
        reasons.add(f"{str(i).translate(letters)} went {str(i * 7).translate(letters)} wrong" * 9, str(i))
        for i in range(5_000)
    ]
    size = tracemalloc.get_traced_memory()[0] - sys.getsizeof(kinds)
    tracemalloc.stop()
    assert size < 5e5
    assert len(set(kinds)) <= 2 * MAX_KINDS + 1
    assert sum(each.count for each in reasons.most_frequent()) == 5_000
    assert sum(each["count"] for each in reasons.built()) == 5_000
    for kind in kinds:
        reasons.drop(kind)
    assert not reasons.most_frequent()


def test_a_reason_is_cut_and_on_one_line():
    reasons = Reasons()
    reasons.add("a\nb\t" + "x" * 10_000_000, "id")
    (reason,) = reasons.most_frequent()
    assert reason.reason.startswith("a b xxx")
    assert len(reason.reason) <= 300


def test_a_record_that_is_not_an_error_has_no_reason(tmp_path):
    """A refusal has its words in `error` too."""
    import asyncio

    async def scenario() -> None:
        journal = Journal(tmp_path)
        await journal.append(Record(id="a", repeat=0, outcome="refused_context", error="too long"))
        await journal.append(Record(id="b", repeat=0, outcome="errored", error="boom"))
        await journal.append(Record(id="b", repeat=0, outcome="errored", error="bang"))
        journal.close()

    asyncio.run(scenario())
    assert [(each.reason, each.count) for each in JournalState(tmp_path / "samples.jsonl").reasons.most_frequent()] == [
        ("bang", 1)
    ]
