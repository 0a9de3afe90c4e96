"""The journal under kills, full and read-only disks, a jumping clock and damage; and what a run may spend."""

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import zstandard

from benchmarks.crash import crash
from m1eval import Stopped
from m1eval.store import prompts
from m1eval.store.journal import Journal
from m1eval.store.prompts import encode_frame, read_prompts
from m1eval.store.record import Record, encode_json
from tests.conftest import lines, run_of, write
from tests.http.conftest import Loopback, Reply


def test_kills_at_random_cost_no_more_than_what_was_in_flight(tmp_path):
    """About 8 s; `python -m benchmarks.crash` kills a hundred times."""
    outcome = crash(tmp_path, samples=150, kills=6, places=8, latency=0.05, seed=int(time.time()))
    assert (outcome.lines, outcome.distinct) == (150, 150), "none is lost, none is doubled"
    assert outcome.requests - 150 <= sum(outcome.flying)
    assert max(outcome.flying) <= 2 * 8, "only those in flight and those being written"


MOUNTED = """
set -e
mount -t tmpfs -o size=400k none {folder}
cd {folder}
{before}
code=0
"$@" || code=$?
[ ! -e x ] || cp -r x {out}
exit $code
"""


def mounted(tmp_path: Path, before: str) -> subprocess.CompletedProcess[str]:
    """A run in a small file system of its own, on which something is done before."""
    write(tmp_path / "t.jsonl", "".join(json.dumps({"q": f"{i} " + "x" * 4000}) + "\n" for i in range(400)))
    write(tmp_path / "t.yaml", "title: T\ndataset: {file: t.jsonl}\nprompt: '{{ q }}'\ntarget: x\nscorer: exact\n")
    (tmp_path / "disk").mkdir()
    script = MOUNTED.format(folder=tmp_path / "disk", before=before, out=tmp_path / "kept")
    namespace = ["unshare", "--map-root-user", "--mount"]
    try:
        allowed = subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip("this machine lets nobody mount a file system of their own (unshare --map-root-user --mount)")
    run = [sys.executable, "-m", "m1eval", "run", "--tasks", "../t.yaml", "--model", "echo", "-j", "2", "--out", "x"]
    return subprocess.run(
        [*namespace, "sh", "-c", script, "sh", *run],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_full_disk_stops_the_run_and_what_is_there_goes_on_elsewhere(tmp_path):
    done = mounted(tmp_path, ":")
    assert done.returncode == 3, done.stderr
    assert "samples.jsonl: No space left on device; what is finished is kept, run it again later" in done.stderr
    assert "Traceback" not in done.stderr
    records = lines(run_of(tmp_path / "kept") / "samples.jsonl")
    assert 0 < len(records) < 400
    again = [sys.executable, "-m", "m1eval", "run", "--tasks", "t.yaml", "--model", "echo", "--out", "kept", "--json"]
    whole = subprocess.run(again, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert whole.returncode == 0, whole.stderr
    after = lines(run_of(tmp_path / "kept") / "samples.jsonl")
    assert after[: len(records)] == records
    assert len({line["id"] for line in after}) == len(after) == 400


def test_a_read_only_disk_is_named_at_the_start(tmp_path):
    done = mounted(tmp_path, "mkdir x; mount -o remount,ro .")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "x/t/echo cannot be written: Read-only file system; --out another folder" in done.stderr


def test_a_file_that_becomes_read_only_stops_the_run_and_keeps_what_is_there(tmp_path):
    """The descriptor is taken over by one that refuses to write and to truncate, as after a remount."""

    async def scenario() -> None:
        journal = Journal(tmp_path / "x")
        await journal.append(Record(id="a", repeat=0, outcome="right", value=1.0, seed=1))
        closed = os.open(journal.path, os.O_RDONLY)
        os.dup2(closed, journal._file.fileno())
        os.close(closed)
        ends = await asyncio.gather(
            *(journal.append(Record(id=name, repeat=0, outcome="right", value=1.0)) for name in "bc"),
            return_exceptions=True,
        )
        assert [type(end) for end in ends] == [Stopped, Stopped]
        assert "what is finished is kept" in str(ends[0])
        assert journal.tally.finished == 1
        await journal.flush()
        journal.close()

    asyncio.run(scenario())
    assert [line["id"] for line in lines(run_of(tmp_path / "x") / "samples.jsonl")] == ["a"]


def test_a_clock_that_jumps_changes_no_duration(m1eval, capitals, tmp_path, monkeypatch):
    jumps = random.Random(1)
    monkeypatch.setattr(time, "time", lambda: jumps.uniform(-1e9, 2e9))
    command = (
        "run",
        "--tasks",
        capitals,
        "--model",
        "echo:gold",
        "-o",
        "latency=0.05",
        "--out",
        tmp_path / "x",
        "--json",
    )
    run = m1eval(*command).json()["runs"][0]
    assert run["outcomes"]["right"] == 12
    assert all(0.05 <= line["timing"]["total"] < 5 for line in lines(run_of(tmp_path / "x") / "samples.jsonl"))
    assert 0 < json.loads((run_of(tmp_path / "x") / "run.json").read_text())["seconds"] < 10
    assert m1eval(*command).json()["runs"][0] == run


@pytest.mark.parametrize("tail", [1500, 10_000, 2**20])
@pytest.mark.parametrize("torn", [b"", b"\x28\xb5\x2f\xfd\x20", b"\x28\xb5\x2f\xfd\x24\x05\x29\x00", b"\x00" * 50])
def test_prompts_are_mended_from_their_end(tmp_path, monkeypatch, tail, torn):
    monkeypatch.setattr(prompts, "TAIL", tail)
    draw, path = random.Random(3), tmp_path / "prompts.zst"
    names = [f"s{i}" for i in range(200)]
    noise = [draw.randbytes(draw.randrange(300)).hex() + zstandard.FRAME_HEADER.decode("latin-1") for _ in names]
    whole = b"".join(
        encode_frame(name, encode_json([{"role": "user", "content": text}]))
        for name, text in zip(names, noise, strict=True)
    )
    path.write_bytes(whole + torn)
    kept, end = prompts.recover(path)
    assert end == len(whole)
    assert "s199" in kept
    assert kept <= set(names)
    assert len(kept) == 200 if tail == 2**20 else 0 < len(kept) < 200
    assert [row["id"] for row in read_prompts(path)] == names


def test_prompts_of_errored_samples_are_kept_once_and_of_unbuilt_ones_when_they_are_there(tmp_path):
    def session(*records: tuple[Record, list[dict[str, Any]] | None]) -> None:
        async def scenario() -> None:
            journal = Journal(tmp_path / "x")
            for record, messages in records:
                await journal.append(record, messages)
            journal.close()

        asyncio.run(scenario())

    prompt = [{"role": "user", "content": "hello"}]
    failed = Record(id="a", repeat=0, outcome="errored", seed=7)
    unbuilt = Record(id="b", repeat=0, outcome="errored")
    session((failed, prompt), (unbuilt, None))
    for _ in range(2):
        session(*((Record(id=name, repeat=0, outcome="right", value=1.0, seed=7), prompt) for name in "ab"))
    assert [row["id"] for row in read_prompts(run_of(tmp_path / "x") / "prompts.zst")] == ["a", "b"]


# Spending
PRICES = "'m*': {input: 1000, output: 2000, cached: 100}\n"


def counted(prompt: int, output: int, cached: int = 0, **more: Any) -> Reply:
    usage = {"prompt_tokens": prompt, "completion_tokens": output, "prompt_tokens_details": {"cached_tokens": cached}}
    choices = [{"message": {"content": "Paris"}, "finish_reason": "stop"}]
    return Reply({"choices": choices, "usage": usage | more})


def ask(m1eval, server: Loopback, capitals, tmp_path, *more: Any):
    (tmp_path / "prices.yaml").write_text(PRICES)
    where = ("--model", "http:m", "--base-url", server.url, "--out", tmp_path / "x", "-j", 1, "--display", "none")
    return m1eval("run", "--tasks", capitals, *where, *more)


def test_what_a_run_costs_stands_in_table_json_and_records(m1eval, server, capitals, tmp_path):
    server.reply(counted(1000, 100, 400))  # 600 × 0.001 + 400 × 0.0001 + 100 × 0.002 = 0.84
    priced = ("--prices", tmp_path / "prices.yaml")
    run = ask(m1eval, server, capitals, tmp_path, *priced, "--json").json()["runs"][0]
    assert run["cost"] == pytest.approx(12 * 0.84)
    assert run["tokens"] == {"prompt": 12000, "cached": 4800, "reasoning": 0, "answer": 1200}
    assert {line["usage"]["cost"] for line in lines(run_of(tmp_path / "x") / "samples.jsonl")} == {0.84}
    table = ask(m1eval, server, capitals, tmp_path, *priced).out
    assert "|   cost |" in table
    assert "| $10.08 |" in table


def test_a_run_stops_before_it_costs_more(m1eval, server, capitals, tmp_path):
    server.reply(counted(1000, 0))  # $1
    limits = ("--prices", tmp_path / "prices.yaml", "--max-cost", 5)
    result = ask(m1eval, server, capitals, tmp_path, *limits)
    assert result.code == 3
    assert "stopped by --max-cost 5: $5.00 spent; the same command with a higher limit continues" in result.err
    assert len(server.posts) == 5
    assert ask(m1eval, server, capitals, tmp_path, *limits).code == 3
    assert len(server.posts) == 5, "what was spent before counts"
    assert ask(m1eval, server, capitals, tmp_path, *limits[:-1], 100).code == 0
    assert len(server.posts) == 12


def test_a_run_stops_before_it_takes_more_tokens(m1eval, server, capitals, tmp_path):
    server.reply(counted(900, 100))
    result = ask(m1eval, server, capitals, tmp_path, "--max-tokens-total", 4000)
    assert (result.code, len(server.posts)) == (3, 4)
    assert "stopped by --max-tokens-total 4000: 4,000 tokens used" in result.err


def test_a_price_that_the_server_reports_is_used(m1eval, server, capitals, tmp_path):
    server.reply(counted(10, 10, cost=0.25))
    assert ask(m1eval, server, capitals, tmp_path, "--json").json()["runs"][0]["cost"] == 3.0


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--max-cost", 5), "--max-cost: no prices of 'm' are known"),
        (("--prices", "none.yaml"), "does not exist"),
        (("--prices", "other.yaml"), "no pattern fits 'm'"),
        (("--prices", "wrong.yaml"), "wrong.yaml:1: "),
        (("--max-tokens-total", "4x"), "is not a number of tokens"),
    ],
)
def test_wrong_prices_are_answered_with_what_to_do(m1eval, server, capitals, tmp_path, monkeypatch, more, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.yaml").write_text("gpt-*: {input: 1, output: 2}\n")
    (tmp_path / "wrong.yaml").write_text("m: {input: 1}\n")
    result = ask(m1eval, server, capitals, tmp_path, *more)
    assert (result.code, words in result.err) == (2, True), result.err
    assert server.posts == []


def test_a_public_service_has_its_prices_and_a_machine_of_ones_own_has_none():
    from m1eval.model.prices import find
    from m1eval.types import Usage

    pytest.importorskip("genai_prices")
    price = find("gpt-5", "https://api.openai.com/v1")
    assert price is not None
    assert price(Usage(prompt=1_000_000, answer=1_000_000)) > 1
    assert find("gpt-5", "http://localhost:8000/v1") is None
    assert find("gpt-5", "http://10.0.0.7:8000/v1") is None
    assert find("no-such-model-anywhere", "https://api.openai.com/v1") is None


def test_samples_with_the_same_prefix_run_together(m1eval, server, tmp_path):
    rows = [{"text": f"text {i % 3}", "q": i} for i in range(12)]
    write(tmp_path / "t.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    keys = "title: T\ndataset: {file: t.jsonl}\nprefix: '{{ text }}'\nprompt: '{{ text }} {{ q }}'\n"
    (tmp_path / "t.yaml").write_text(keys + "target: x\nscorer: exact\n")
    server.reply(counted(1, 1))
    m1eval(
        "run",
        "--tasks",
        tmp_path / "t.yaml",
        "--model",
        "http:m",
        "--base-url",
        server.url,
        "--out",
        tmp_path / "x",
        "-j",
        1,
    )
    texts = [asked.body["messages"][0]["content"][:6] for asked in server.posts]
    assert texts == sorted(texts)
