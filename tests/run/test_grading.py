"""Journal round trip of every type of number or text that a scorer or a runner returns."""

import asyncio
import json
import re
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy
import pytest

from m1eval import Output, Score, Usage
from m1eval.exits import isolate_exits
from m1eval.store.journal_state import JournalState, records
from m1eval.store.record import Record, encode_record
from m1eval.validation import as_number, as_output, as_score
from tests.conftest import lines, run_of, write


class Half(float):
    """A float of a plugin's own."""


GOOD: list[Any] = [True, 1, 0.5, Half(0.5), Fraction(1, 2), Decimal("0.5"), numpy.float32(0.5), numpy.float16(1)]
GOOD += [numpy.bool_(True), numpy.int8(1), numpy.array(0.5), numpy.longdouble(0.5)]


def named(value: Any) -> str:
    """The name of a case, the same in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


BAD: list[Any] = ["0.5", b"1", complex(0.5), numpy.complex64(1), None, [0.5], {}, numpy.array([0.5]), object(), float]


@pytest.mark.parametrize("value", GOOD, ids=named)
def test_numbers_of_any_type_become_floats(value):
    assert type(as_number(value)) is float
    assert as_number(value) == float(value)


def test_a_tensor_without_dimensions_is_a_number():
    torch = pytest.importorskip("torch")
    assert as_number(torch.tensor(0.5, requires_grad=True)) == 0.5
    with pytest.raises(TypeError):
        as_number(torch.tensor([0.5]))


@pytest.mark.parametrize("value", BAD, ids=named)
def test_what_is_not_a_number_is_refused(value):
    with pytest.raises(TypeError, match="not a"):
        as_number(value)


def test_a_number_beyond_floats_is_refused():
    with pytest.raises(ValueError, match="too large"):
        as_number(10**400)


@pytest.mark.parametrize("value", [*BAD, float("nan"), float("inf"), -0.1, 1.1, Fraction(3, 2), 10**400], ids=named)
def test_a_score_that_is_none_names_the_scorer_file(value):
    with pytest.raises(ValueError, match=r"^mine\.py: "):
        as_score(Score(value=value), Path("mine.py"))


@pytest.mark.parametrize("score", [None, 0.5, {"value": 1.0}, "right", Output()], ids=named)
def test_what_is_not_a_score_names_the_scorer_file(score):
    with pytest.raises(ValueError, match=r"^mine\.py: .*not a Score"):
        as_score(score, Path("mine.py"))


def test_metrics_and_answers_become_plain():
    metrics: Any = {"a": numpy.float32(0.5), 3: True, "c": Fraction(1, 4), "n": None, "i": float("inf")}
    answer: Any = 42
    score = as_score(Score(value=1.0, answer=answer, metrics=metrics), Path("s.py"))
    assert (score.answer, score.metrics) == ("42", {"a": 0.5, "3": 1.0, "c": 0.25})
    for bad in ("x", complex(1)):
        wrong: Any = {"a": bad}
        with pytest.raises(ValueError, match="metric 'a'"):
            as_score(Score(value=1.0, metrics=wrong), Path("s.py"))


@pytest.mark.parametrize(
    ("count", "kept"),
    [(3.0, 3), (numpy.int64(7), 7), (numpy.float32(3), 3), (-1, 0), (2**64, 0), (10**400, 0), ("5", 0), (None, 0)],
)
def test_counts_of_tokens_become_plain(count, kept):
    output = as_output(Output(usage=Usage(prompt=count, answer=count)))
    assert (output.usage.prompt, type(output.usage.answer), output.usage.answer) == (kept, int, kept)


@pytest.mark.parametrize(
    ("cost", "kept"), [(float("nan"), None), (Decimal("0.5"), 0.5), (-1, None), (numpy.float32(0), 0.0), ("free", None)]
)
def test_a_cost_is_dollars_or_unknown(cost, kept):
    assert as_output(Output(usage=Usage(cost=cost))).usage.cost == kept


LOOP: list[Any] = []
LOOP.append(LOOP)
DEEP: Any = "end"
for _ in range(5000):
    DEEP = [DEEP]
ODD: list[Any] = [
    {1: "a", ("b", 2): 3, None: 4},
    {"big": 10**30, "nan": float("nan")},
    {"object": object(), "type": int, "set": {1, 2}, "array": numpy.arange(3)},
    {"half": "\ud83d", "\ud83d": 1},
    {"loop": LOOP},
    {"deep": DEEP},
]


@pytest.mark.parametrize("metadata", ODD, ids=lambda odd: str(list(odd))[:30])
def test_metadata_of_any_kind_is_written_and_read_back(tmp_path, metadata):
    line = encode_record(Record(id="a", repeat=0, outcome="right", value=1.0, metadata=metadata))
    (tmp_path / "samples.jsonl").write_bytes(line)
    (read,) = records(tmp_path / "samples.jsonl")
    assert (read.outcome, read.value, len(read.metadata)) == ("right", 1.0, len(metadata))


class Unprintable:
    """An object whose text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


@pytest.mark.parametrize(
    "odd", [{"metadata": {"x": Unprintable()}}, {"logprobs": ["x"]}, {"verdicts": [3]}, {"finish_reason": "boredom"}]
)
def test_what_cannot_be_read_back_is_errored_and_never_written_as_it_is(tmp_path, odd):
    record = Record(id="a", repeat=0, outcome="right", value=1.0, usage=Usage(answer=3), **odd)
    (tmp_path / "samples.jsonl").write_bytes(encode_record(record))
    done = JournalState(tmp_path / "samples.jsonl")
    assert (record.outcome, done.tally.outcomes["errored"], done.tally.usage.answer) == ("errored", 1, 3)
    assert (done.torn, done.invalid) == ([], {})


SCORER = """
    from decimal import Decimal
    from fractions import Fraction
    import numpy
    from m1eval import Score

    class Odd(float): ...

    VALUES = [True, numpy.float32(1), Fraction(1, 3), Decimal("0.25"), Odd(0.5), numpy.array(0.0), False, 1,
              "0.5", 1j, None, float("nan")]

    class Scorer:
        async def score(self, output, sample, context):
            return Score(value=VALUES[int(sample.id[-2:]) - 1], answer=7, metrics={"m": numpy.float64(0.5)})
"""

RUNNER = """
    from m1eval import Output, Timing, Usage
    import numpy

    class Runner:
        def __init__(self, model: str): ...

        async def generate(self, request):
            usage = Usage(prompt=3.0, answer=numpy.int32(2), cost=float("nan"))
            return Output(text="x", usage=usage, timing=Timing(total=float("inf")), metadata={1: {2: object()}})

        async def aclose(self): ...
"""


def test_a_run_of_odd_types_is_kept_whole_and_asks_nothing_again(shell, capitals, tmp_path):
    write(tmp_path / "scorers" / "exact.py", SCORER)
    write(tmp_path / "runners" / "odd.py", RUNNER)
    command = ("run", "--tasks", capitals, "--model", "odd:x", "--out", "x", "--json")
    first = shell(*command)
    run = first.json()["runs"][0]
    assert (first.code, run["outcomes"]["errored"], run["owed"]) == (3, 4, 4), first.err
    journal = run_of(tmp_path / "x") / "samples.jsonl"
    before = {line["id"]: line for line in lines(journal)}
    assert sum("scorers/exact.py" in line.get("error", "") for line in before.values()) == 4
    again = shell(*command)
    assert "torn" not in again.err
    assert "ignored" not in again.err
    tokens = {"prompt": 36, "cached": 0, "reasoning": 0, "answer": 24}
    assert again.json()["runs"][0]["tokens"] == run["tokens"] == tokens
    after = {line["id"]: line for line in lines(journal)}
    assert {k: v for k, v in after.items() if v["outcome"] != "errored"} == {
        k: v for k, v in before.items() if v["outcome"] != "errored"
    }
    assert json.loads(json.dumps(after)) == after


def test_an_error_of_a_plugin_that_is_not_an_exception_only_fails_the_sample():
    class Skipped(BaseException):
        """A skip as test frameworks raise it."""

    async def score() -> None:
        raise Skipped("not today")

    with pytest.raises(RuntimeError, match="Skipped: not today"):
        asyncio.run(isolate_exits(score()))
