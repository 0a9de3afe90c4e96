"""Forged and damaged files: what cannot be is named and does not count, nothing bursts, nothing is lost silently."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pandas
import pytest
import zstandard

from m1eval import UsageError
from m1eval.store import prompts
from m1eval.store.journal_state import SHOWN, JournalState, records
from m1eval.store.prompts import encode_frame, read_prompts
from m1eval.task import dataset
from m1eval.types import MAX_REPEATS
from tests.conftest import lines, run_of, write

GOOD: dict[str, Any] = {"id": "capitals-01", "repeat": 0, "outcome": "right", "value": 1.0}
FORGED: dict[str, tuple[dict[str, Any], str]] = {
    "a score above one": ({"value": 3334.33}, "score 3334.33 is not in [0, 1]"),
    "a score below zero": ({"value": -0.5}, "score -0.5 is not in [0, 1]"),
    "a right answer without a score": ({"value": 0.0}, "score 0 is none of outcome right"),
    "half a right answer": ({"value": 0.5}, "score 0.5 is none of outcome right"),
    "a wrong answer with a score": ({"outcome": "wrong"}, "score 1 is none of outcome wrong"),
    "an error with a score": ({"outcome": "errored"}, "score 1 is none of outcome errored"),
    "a part that is the whole": ({"outcome": "partial"}, "score 1 is none of outcome partial"),
    "a score of text": ({"value": "1"}, "Expected `float | null`, got `str` - at `$.value`"),
    "a score of truth": ({"value": True}, "Expected `float | null`, got `bool` - at `$.value`"),
    "a score of nothing": ({"value": None}, "score 0 is none of outcome right"),
    "repeat -1": ({"repeat": -1}, "repeat -1 is not in [0, 100,000)"),
    "repeat 1e9": ({"repeat": 10**9}, "repeat 1000000000 is not in [0, 100,000)"),
    "repeat 2^63": ({"repeat": 2**63}, "repeat 9.22e+18 is not in"),
    "repeat 0.5": ({"repeat": 0.5}, "Expected `int`"),
    "an outcome of no kind": ({"outcome": "brilliant"}, "Invalid enum value 'brilliant'"),
    "no id": ({"id": None}, "Expected `str`, got `null`"),
    "negative usage": ({"usage": {"answer": -5}}, "its usage is negative"),
    "endless usage": ({"usage": {"prompt": 2**63}}, "its usage is negative or more than can be"),
    "a negative cost": ({"usage": {"cost": -1.0}}, "its usage is negative"),
    "a negative time": ({"timing": {"total": -1.0}}, "a time of -1 s cannot be"),
    "a time of null": ({"timing": {"total": None}}, "Expected `float`, got `null`"),
    "a seed of 100 bits": ({"seed": 2**100}, "seed 1.27e+30 has more than 64 bits"),
}


@pytest.mark.parametrize("name", FORGED)
def test_what_cannot_be_is_named_asked_again_and_kept(m1eval, capitals, tmp_path, name):
    command = ("run", "--tasks", capitals, "--model", "echo:gold", "--out", tmp_path / "x", "--display", "none")
    first = m1eval(*command, "--json").json()["runs"][0]
    journal = run_of(tmp_path / "x") / "samples.jsonl"
    change, words = FORGED[name]
    whole = journal.read_bytes().splitlines(keepends=True)
    forged = msgspec.json.encode(json.loads(whole[0]) | GOOD | change) + b"\n"
    journal.write_bytes(b"".join([forged, *whole[1:]]))
    again = m1eval(*command)
    assert again.code == 0, again.err
    assert f"samples.jsonl:1: {words}" in again.out
    assert "the line is ignored, and its sample is run again" in again.out
    assert journal.read_bytes().startswith(forged), "what nobody understands is not thrown away"
    assert len(list(records(journal))) == 12
    last = m1eval(*command, "--json").json()["runs"][0]
    assert [f"samples.jsonl:1: {words}" in note for note in last["notes"]] == [True], "as long as the line is there"
    timed = {"seconds": 0, "request_seconds": 0, "tokens": 0, "notes": []}
    assert {**last, **timed} == {**first, **timed}


ODD: dict[str, dict[str, Any]] = {
    "metrics of text": {"metrics": {"a": "x"}},
    "a verdict of a number": {"verdicts": [1]},
    "a text that is a list": {"text": ["x"]},
    "retries of text": {"retries": "many"},
    "a finish of no kind": {"finish_reason": "boredom"},
}


@pytest.mark.parametrize("name", ODD)
def test_what_counts_is_the_same_for_all_who_read(tmp_path, name):
    path = tmp_path / "samples.jsonl"
    path.write_bytes(msgspec.json.encode(GOOD | ODD[name]) + b"\n")
    assert JournalState(path).tally.score == 1
    (record,) = records(path)
    assert (record.id, record.outcome, record.value) == ("capitals-01", "right", 1.0)


@pytest.mark.parametrize(
    "line",
    [
        b'{"id": "a", "repeat": 0, "outcome": "right", "value": 1e400}',
        b'{"id": "a", "repeat": 0, "outcome": "right", "value": NaN}',
        b'{"id": "a", "repeat": 0, "outcome": "right", "metadata": ' + b"[" * 100_000,
        b'{"id": "a", "repeat": 0, "outcome": "right", "metadata": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001,
        b'{"id": "a\xff", "repeat": 0, "outcome": "right"}',
        b"\0" * 4096,
        b"[" * 100_000,
        b"null",
    ],
)
def test_a_line_that_is_none_counts_nowhere(tmp_path, line):
    path = tmp_path / "samples.jsonl"
    path.write_bytes(line + b"\n" + msgspec.json.encode(GOOD) + b"\n")
    done = JournalState(path)
    assert (done.tally.scored, [*done.torn, *done.invalid]) == (1, [1])
    assert len(list(records(path))) == 1


def test_a_forged_number_of_answers_takes_no_memory(tmp_path):
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps(GOOD | {"repeat": 10**12 + n}) + "\n" for n in range(1000)))
    done = JournalState(path)
    assert len(done.invalid) == 1000
    assert done.completed_mask("capitals-01") == 0
    path.write_text(json.dumps(GOOD | {"repeat": MAX_REPEATS - 1}) + "\n")
    assert JournalState(path).has("capitals-01", MAX_REPEATS - 1)


def test_numbers_that_could_not_be_read_again_are_not_written(m1eval, capitals, tmp_path):
    write(
        tmp_path / "odd.py",
        """
        from m1eval import Output, Timing, Usage

        class Runner:
            def __init__(self, model: str): ...

            async def generate(self, request):
                usage = Usage(prompt=-5, answer=2**63, cost=float("nan"))
                return Output(text=request.sample.gold, usage=usage, timing=Timing(total=float("inf"), queue=-1.0))

            async def aclose(self): ...
        """,
    )
    command = ("run", "--tasks", capitals, "--model", f"{tmp_path / 'odd.py'}:x", "--out", tmp_path / "x")
    m1eval(*command)
    assert {line["value"] for line in lines(run_of(tmp_path / "x") / "samples.jsonl")} == {1.0}
    done = JournalState(run_of(tmp_path / "x") / "samples.jsonl")
    assert (done.tally.scored, done.torn, done.invalid) == (12, [], {})


def _flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(255 - byte for byte in data[middle : middle + 2]) + data[middle + 2 :]


def _bomb(_: bytes) -> bytes:
    bomb = zstandard.ZstdCompressor(level=3).compress(b"\0" * 2**28)
    assert len(bomb) < 50_000
    return bomb


def _unsized(_: bytes) -> bytes:
    compressor = zstandard.ZstdCompressor(write_content_size=False)
    return compressor.compress(b'{"id": "a"}\n' + b" " * 2**20)


@pytest.mark.parametrize("damage", [_flipped, _bomb, _unsized])
def test_damaged_prompts_are_set_aside_and_the_run_goes_on(
    m1eval, capitals, tmp_path, damage: Callable[[bytes], bytes]
):
    command = ("run", "--tasks", capitals, "--model", "echo:gold", "--out", tmp_path / "x", "--display", "none")
    m1eval(*command)
    file = run_of(tmp_path / "x") / "prompts.zst"
    file.write_bytes(damage(file.read_bytes()) if damage is not _flipped else b"".join(map(_flipped, _frames(file))))
    result = m1eval(*command, "--repeats", 2)
    assert result.code == 0, result.err
    assert "prompts.zst is damaged and set aside as prompts.zst.damaged" in result.out
    assert (run_of(tmp_path / "x") / "prompts.zst.damaged").exists()
    assert len(lines(run_of(tmp_path / "x") / "samples.jsonl")) == 24
    assert "is damaged" not in m1eval(*command, "--repeats", 2).out


def _frames(file: Path) -> list[bytes]:
    return [encode_frame(row["id"], msgspec.json.encode(row["messages"])) for row in read_prompts(file)]


def test_a_decompression_bomb_among_prompts_is_refused(tmp_path):
    (tmp_path / "p.zst").write_bytes(encode_frame("a", b"[]") + _bomb(b""))
    with pytest.raises(prompts.Damaged):
        list(read_prompts(tmp_path / "p.zst"))


STRANGE = [
    {"id": "nobody", "repeat": 0, "outcome": "right", "value": 1.0, "usage": {"answer": 5, "cost": 3.0}},
    {"id": "capitals-13", "repeat": 0, "outcome": "right", "value": 1.0},
    {"id": "capitals-00", "repeat": 0, "outcome": "wrong"},
    {"id": "capitals-1", "repeat": 0, "outcome": "wrong"},
    {"id": "capitals-٠١", "repeat": 0, "outcome": "wrong"},
    {"id": "other-01", "repeat": 0, "outcome": "errored", "error": "a strange reason", "seed": 1},
    {"id": "other-01", "repeat": 0, "outcome": "errored", "error": "a strange reason", "seed": 1},
    {"id": "", "repeat": 7, "outcome": "partial", "value": 0.5},
]


@pytest.mark.parametrize("ids", ["", "id: '{{ country }}'\n"])
def test_lines_of_no_sample_stay_and_do_not_count(m1eval, capitals, tmp_path, ids):
    capitals.write_text(capitals.read_text() + ids)
    command = ("run", "--tasks", capitals, "--model", "echo:wrong", "--repeats", 2, "--out", tmp_path / "x")
    m1eval(*command, "--limit", 3)
    journal = run_of(tmp_path / "x") / "samples.jsonl"
    forged = b"".join(msgspec.json.encode(line) + b"\n" for line in STRANGE)
    journal.write_bytes(journal.read_bytes() + forged)
    again = m1eval(*command)
    assert again.code == 0, again.err
    assert "samples.jsonl:7, 8, 9, 10, 11, 12, 13, 14: 8 lines are of no sample of the task" in again.out
    assert forged in journal.read_bytes(), "what is not understood is not thrown away"
    run = m1eval(*command, "--json").json()["runs"][0]
    assert (run["score"], run["outcomes"]["wrong"], run["outcomes"]["errored"], run["cost"]) == (0, 24, 0, None)
    assert "adaptive" not in run
    assert run["figures"]["pass@2"] == 0
    table = pandas.read_parquet(run_of(tmp_path / "x") / "samples.parquet")
    assert len(table) == 24
    assert not table.duplicated(["id", "repeat"]).any()


def test_lines_of_no_sample_alone_are_not_thrown_away(m1eval, capitals, tmp_path):
    command = ("run", "--tasks", capitals, "--out", tmp_path / "x", "--model")
    m1eval(*command, "echo:gold", "--limit", 1)
    journal = run_of(tmp_path / "x") / "samples.jsonl"
    journal.write_bytes(b"".join(msgspec.json.encode(GOOD | {"id": f"x{n}"}) + b"\n" for n in range(20)))
    before = journal.read_bytes()
    first = ", ".join(map(str, range(1, SHOWN + 1)))
    again = m1eval(*command, "echo:gold", "--limit", 1)
    assert f"samples.jsonl:{first}, …: 20 lines are of no sample of the task" in again.out
    assert journal.read_bytes().startswith(before)
    assert JournalState(journal, {f"x{n}" for n in range(20)}).tally.scored == 1
    journal.write_bytes(before)
    m1eval("run", "--tasks", capitals, "--out", tmp_path / "x", "--model", "echo:gold", "--limit", 1, "--dry-run")
    assert journal.read_bytes() == before


def test_samples_that_this_command_does_not_ask_are_none_of_strangers(m1eval, capitals, tmp_path):
    capitals.write_text(capitals.read_text() + "id: '{{ country }}'\n")
    command = ("run", "--tasks", capitals, "--model", "echo:gold", "--out", tmp_path / "x")
    m1eval(*command)
    some = m1eval(*command, "--ids", "Peru,Chad", "--json")
    assert (some.code, some.json()["runs"][0]["outcomes"]["right"]) == (0, 12)
    assert "of no sample" not in some.err


@pytest.mark.parametrize(
    "change",
    [
        {"config": []},
        {"config": None},
        {"task": 5},
        {"runner": 5},
        {"runner": {"pinned": 3}},
        {"overlength": [1]},
        {"overlength": {"skipped": 5}},
        {"summary": []},
        {"summary": {"figures": 7}},
        {"seconds": "x"},
        {"seconds": -1},
    ],
)
def test_a_forged_run_json_is_one_line(m1eval, capitals, tmp_path, change):
    command = ("run", "--tasks", capitals, "--model", "echo:gold", "--out", tmp_path / "x", "--display", "none")
    m1eval(*command)
    file = run_of(tmp_path / "x") / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    for each in (command, (*command, "--dry-run"), ("compare", tmp_path / "x", tmp_path / "x")):
        result = m1eval(*each)
        assert (result.code, result.err.count("\n")) == (2, 1), result.err
        assert "run.json cannot be read: " in result.err
    assert m1eval("lengths", tmp_path / "x").err.count("\n") <= 1


# Data


def read(path: Path) -> list[Any]:
    table = dataset.read_rows([path])
    return [table[i] for i in range(len(table))]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_byte_order_mark_and_other_line_ends_are_read(tmp_path, end, packed):
    data = ("\ufeff" + end.join(['{"a": 1}', "", '{"a": 2}', ""])).encode()
    file = tmp_path / ("x.jsonl.gz" if packed else "x.jsonl")
    file.write_bytes(gzip.compress(data) if packed else data)
    assert read(file) == [{"a": 1}, {"a": 2}]


def test_a_json_file_with_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "x.json").write_text('\ufeff[{"a": 1}]')
    assert read(tmp_path / "x.json") == [{"a": 1}]


@pytest.mark.parametrize("name", ["x.jsonl", "x.json"])
def test_rows_nested_too_deep_are_one_line(tmp_path, name):
    row = '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}"
    (tmp_path / name).write_text(f"[{row}]" if name == "x.json" else f'{{"a": 1}}\n{row}\n')
    with pytest.raises(UsageError, match="nested too deep"):
        read(tmp_path / name)


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv"])
def test_a_gzip_bomb_is_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(dataset, "LONGEST_LINE", 2**22)
    monkeypatch.setattr(dataset, "LARGEST_JSON", 2**22)
    file = tmp_path / f"x.{kind}.gz"
    file.write_bytes(gzip.compress(b"[" + b" " * 2**25))
    with pytest.raises(UsageError, match=r"x\.\w+\.gz") as error:
        read(file)
    assert "\n" not in str(error.value)


def test_a_gzip_bomb_of_short_lines_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "MAX_EXPANSION", (2**22, 500))
    file = tmp_path / "x.jsonl.gz"
    file.write_bytes(gzip.compress(b"\n" * 2**25))
    with pytest.raises(UsageError, match="bytes become more than"):
        read(file)


def test_a_broken_gzip_is_one_line(tmp_path):
    data = bytearray(gzip.compress(b'{"a": 1}\n' * 1000))
    data[20:40] = bytes(20)
    (tmp_path / "x.jsonl.gz").write_bytes(data)
    with pytest.raises(UsageError, match=r"x\.jsonl\.gz: cannot be read"):
        read(tmp_path / "x.jsonl.gz")


def test_a_line_that_is_too_long_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "LONGEST_LINE", 1000)
    (tmp_path / "x.jsonl").write_text('{"a": 1}\n{"a": "' + "x" * 2000 + '"}\n')
    with pytest.raises(UsageError, match=r"x\.jsonl:2: a line of more than"):
        read(tmp_path / "x.jsonl")


def test_amounts_without_bound_add_up_to_nothing_that_cannot_be_read(shell, capitals, tmp_path):
    write(
        tmp_path / "runners" / "odd.py",
        """
        from m1eval import Output, Timing, Usage

        class Runner:
            def __init__(self, model: str): ...

            def describe(self):
                return {"scale": float("nan"), "pinned": {"limit": float("inf")}}

            async def generate(self, request):
                usage = Usage(prompt=5, answer=2, cost=1.7e308)
                return Output(text=request.sample.gold, usage=usage, timing=Timing(total=1.7e308))

            async def aclose(self): ...
        """,
    )
    command = ("run", "--tasks", capitals, "--model", "odd:x", "--out", "x", "--json")
    (run,) = shell(*command).json()["runs"]
    assert (run["score"], run["cost"], run["request_seconds"] < 60) == (1.0, None, True)
    again = shell(*command)
    assert "damaged" not in again.out + again.err
    assert "Infinity" not in again.out + (run_of(tmp_path / "x") / "run.json").read_text()


@pytest.mark.parametrize(("key", "value"), [("usage", {"cost": 1e308}), ("timing", {"total": 1e308})])
def test_lines_with_amounts_that_cannot_be_do_not_count(tmp_path, key, value):
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps(GOOD | {key: value, "repeat": n}) + "\n" for n in range(3)))
    done = JournalState(path)
    assert (len(done.invalid), done.cost, done.tally.seconds) == (3, 0, 0)


@pytest.mark.parametrize("figures", ["{'a': numpy.float64(0.5), 'b': float('inf'), 3: None}", "{'a': 'much'}", "[1]"])
def test_figures_of_any_type_leave_a_run_that_is_whole(shell, capitals, tmp_path, figures):
    write(
        tmp_path / "scorers" / "exact.py",
        f"""
        import numpy
        from m1eval import Score

        class Scorer:
            async def score(self, output, sample, context):
                return Score(value=1.0)

            def aggregate(self, records):
                return {figures}
        """,
    )
    done = shell("run", "--tasks", capitals, "--model", "echo:gold", "--out", "x", "--json")
    run = done.json()["runs"][0]
    assert run["figures"] == ({"a": 0.5, "b": None, "3": None} if "0.5" in figures else {})
    assert any("aggregate is left out" in note for note in run["notes"]) == (not run["figures"])
    assert json.loads((run_of(tmp_path / "x") / "run.json").read_text())["summary"]["score"] == 1.0
