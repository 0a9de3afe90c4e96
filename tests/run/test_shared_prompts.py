"""Several answers to one request share its prompt, which is paid for, counted and limited once."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import m1eval as package
from m1eval.model.prices import Rates
from m1eval.run.spending import Spending
from m1eval.store.journal import Journal
from m1eval.store.record import Record, encode_record, parse_header
from m1eval.types import JudgeReply, Output, Usage
from m1eval.validation import as_usage, total_usage
from tests.conftest import Result, lines, run_of, write
from tests.http.conftest import Loopback, ReceivedRequest, Reply

PROMPT, ANSWER = 7000, 35
RATES = "'*': {input: 1000, cached: 100, output: 2000}\n"


class Counting(Loopback):
    """Gives as many answers as it is asked for, and counts what it would put on the bill."""

    def __init__(self, cached: int = 0) -> None:
        self.sent = self.written = self.cached = 0
        self.finish: Callable[[int], str] = lambda _: "stop"
        self.refuses = self.empty = 0
        """Number of requests that are answered without a choice."""
        self._cached = cached
        super().__init__()
        self.script = self.count

    def count(self, asked: ReceivedRequest) -> Reply:
        n = asked.body.get("n", 1)
        self.sent, self.written, self.cached = self.sent + PROMPT, self.written + n * ANSWER, self.cached + self._cached
        usage = {"prompt_tokens": PROMPT, "completion_tokens": n * ANSWER}
        usage["prompt_tokens_details"] = {"cached_tokens": self._cached}
        if self.empty:
            self.empty -= 1
            return Reply({"choices": [], "usage": usage})
        message = {"content": "Paris"}
        choices = [{"index": i, "message": message, "finish_reason": self.finish(i)} for i in range(n)]
        return Reply({"choices": choices, "usage": usage})

    @property
    def total(self) -> int:
        return self.sent + self.written


@pytest.fixture
def serve(request: pytest.FixtureRequest) -> Callable[..., Counting]:
    def make(**how: Any) -> Counting:
        runner = Counting(**how)
        request.addfinalizer(runner.stop)
        return runner

    return make


@pytest.fixture
def ask(m1eval: Callable[..., Result], capitals: Path, tmp_path: Path) -> Callable[..., Result]:
    write(tmp_path / "prices.yaml", RATES)
    where = ("--prices", tmp_path / "prices.yaml", "--out", tmp_path / "x", "--display", "none", "--json")

    def call(server: Loopback, *more: object, task: Path = capitals) -> Result:
        options = ("--base-url", server.url, "-o", "n=4", "-o", "backoff=0.01", "--max-tokens", ANSWER, "-j", 1, *where)
        return m1eval("run", "--tasks", task, "--model", "http:m", *options, *more)

    return call


def tokens(found: dict[str, Any]) -> int:
    return sum(found["tokens"][name] for name in ("prompt", "reasoning", "answer"))


def test_a_run_and_the_command_that_continues_it_count_what_the_server_counts(ask, serve, tmp_path):
    server = serve(cached=1000)
    (first,) = ask(server, "--limit", 2, "-k", 4).json()["runs"]
    assert (len(server.posts), tokens(first)) == (2, server.total)
    assert (first["tokens"]["prompt"], first["tokens"]["cached"]) == (server.sent, server.cached)
    bill = (server.sent - 0.9 * server.cached + 2 * server.written) / 1000
    assert first["cost"] == pytest.approx(bill)
    whole = 2 * server.total
    limited = ask(server, "--limit", 2, "-k", 8, "--max-tokens-total", whole + PROMPT // 4)
    (second,) = limited.json()["runs"]
    assert (limited.code, len(server.posts), tokens(second)) == (0, 4, whole), limited.err
    third = ask(server, "--limit", 2, "-k", 12, "--max-tokens-total", whole)
    assert (third.code, len(server.posts)) == (3, 4)
    assert f"--max-tokens-total {whole}: {whole:,} tokens used" in third.err


def test_each_record_tells_its_prompt_and_who_pays_for_it(ask, serve, tmp_path):
    server = serve(cached=1000)
    assert ask(server, "--limit", 1, "-k", 4).code == 0
    folder = run_of(tmp_path / "x")
    usages = [line["usage"] for line in lines(folder / "samples.jsonl")]
    assert [(each["prompt"], each.get("shared")) for each in usages] == [(PROMPT, None)] + [(PROMPT, PROMPT)] * 3
    assert [each.get("cached") for each in usages] == [1000, None, None, None]
    table = package.read(str(folder))
    assert list(table["shared_tokens"]) == [0, PROMPT, PROMPT, PROMPT]
    assert (table["prompt_tokens"] - table["shared_tokens"]).sum() == server.sent
    pandas = pytest.importorskip("pandas")
    assert list(pandas.read_parquet(folder / "samples.parquet")["shared_tokens"]) == [0, PROMPT, PROMPT, PROMPT]


def test_answers_that_errored_and_were_asked_again_are_counted_once_each(ask, serve, tmp_path):
    server = serve()
    server.finish = lambda i: "content_filter" if i == 0 else "stop"  # the one that pays for the prompt
    assert ask(server, "--limit", 1, "-k", 4).code == 3
    (first,) = [each for each in lines(run_of(tmp_path / "x") / "samples.jsonl") if each["outcome"] == "errored"]
    server.finish = lambda _: "stop"
    assert ask(server, "--limit", 1, "-k", 4).code == 0
    assert len(server.posts) > 1
    assert first["error"]
    stopped = ask(server, "--limit", 1, "-k", 8, "--max-tokens-total", server.total)
    assert (stopped.code, f": {server.total:,} tokens used" in stopped.err) == (3, True), stopped.err


@pytest.mark.parametrize("filtered", [False, True])
def test_useless_replies_are_counted_once_next_to_the_answers(ask, serve, tmp_path, filtered):
    server = serve()
    server.empty = 1
    server.finish = lambda _: "content_filter" if filtered else "stop"
    ask(server, "--limit", 1, "-k", 4, "-o", "retries=2")
    total = total_usage(package_usage(line) for line in lines(run_of(tmp_path / "x") / "samples.jsonl"))
    assert len(server.posts) > 1
    assert (total.sent, total.output) == (server.sent, server.written)


def package_usage(line: dict[str, Any]) -> Usage:
    usage = {name: count for name, count in line.get("usage", {}).items() if name != "cost"}
    return Usage(**usage)


RUNNER = """
from m1eval import Output, RunnerError, Usage

class Runner:
    max_n = 4
    tokenizer = None

    def __init__(self, model, **options):
        self.how = model

    async def generate(self, request):
        return (await self.generate_n(request, 1))[0]

    async def generate_n(self, request, n):
        usage = Usage(prompt=1000, cached=400, answer=10)
        if self.how == "refused":
            return [Output(finish_reason="refused_context", error="too long", usage=Usage(prompt=1000))] * n
        if self.how == "one":
            return [Output(text="Paris", usage=usage)] * n
        if self.how == "usage":
            return [Output(text="Paris", usage=usage) for _ in range(n)]
        outputs = [Output(text="Paris", usage=Usage(prompt=1000, cached=400, answer=10)) for _ in range(n - 1)]
        return [RuntimeError("broken"), *outputs]

    async def aclose(self):
        pass
"""


@pytest.mark.parametrize(
    ("how", "expected"), [("one", 1040), ("usage", 1040), ("first_failed", 1030), ("refused", 1000)]
)
def test_other_runners_need_not_say_who_pays(m1eval, capitals, tmp_path, how, expected):
    runner = write(tmp_path / "own.py", RUNNER)
    where = (
        "--tasks",
        capitals,
        "--model",
        f"{runner}:{how}",
        "--limit",
        1,
        "--out",
        tmp_path / "x",
        "--json",
        "--max-tokens",
        10,
    )
    (run,) = m1eval("run", *where, "-k", 4).json()["runs"]
    assert tokens(run) == expected
    more = m1eval("run", *where, "-k", 5, "--max-tokens-total", expected)
    assert f"{expected:,} tokens used" in more.err, more.err
    assert tokens(more.json()["runs"][0]) == expected


@pytest.mark.parametrize(("how", "expected"), [("usage", 3030), ("refused", 3000)])
def test_turns_of_an_episode_count_once_each(m1eval, capitals, tmp_path, how, expected):
    write(tmp_path / "own.py", RUNNER)
    code = """
        from m1eval import Output, Request

        async def run(sample, runner, context):
            for _ in range(3):
                output = await runner.generate(Request(messages=sample.messages))
            return output
    """
    write(tmp_path / "_thrice.py", code)
    task = write(tmp_path / "thrice.yaml", capitals.read_text() + "\nepisode: _thrice.run\n")
    where = ("--tasks", task, "--model", f"{tmp_path / 'own.py'}:{how}", "--limit", 1, "--out", tmp_path / "x")
    (run,) = m1eval("run", *where, "--max-tokens", 10, "--json").json()["runs"]
    assert tokens(run) == expected
    more = m1eval("run", *where, "--max-tokens", 10, "-k", 2, "--max-tokens-total", expected)
    assert f"{expected:,} tokens used" in more.err, more.err


def test_prices_and_limits_leave_out_what_another_answer_pays_for():
    paid, shared = Usage(prompt=100, cached=40, answer=10), Usage(prompt=100, shared=100, answer=10)
    rates = Rates(input=1e6, cached=1e5, output=2e6)
    assert rates(paid) == pytest.approx(60 + 4 + 20)
    assert rates(shared) == pytest.approx(20)
    spending = Spending(rates)
    spending.charge(paid)
    spending.charge(shared)
    again = Spending(rates)
    again.add_previous(total_usage([paid, shared]))
    assert spending.limits.tokens == again.limits.tokens == 120
    assert spending.limits.cost == again.limits.cost == pytest.approx(104)


@pytest.mark.parametrize(("given", "kept"), [(-1, 0), (101, 100), (float("nan"), 0), (30, 30), (True, 1)])
def test_a_share_that_cannot_be_is_put_right(given, kept):
    usage = as_usage(Usage(prompt=100, shared=given))
    assert (usage.shared, usage.sent) == (kept, 100 - kept)


@pytest.mark.parametrize("shared", [-5, 101, 2**60])
def test_a_line_with_an_impossible_share_does_not_count(shared):
    record = Record(id="a", repeat=0, outcome="right", value=1.0, usage=Usage(prompt=100))
    forged = json.loads(encode_record(record))
    forged["usage"]["shared"] = shared
    assert "usage" in str(parse_header(json.dumps(forged).encode()))


def test_an_output_without_a_share_is_written_without_one():
    record = Record(id="a", repeat=0, outcome="right", value=1.0, usage=Output(usage=Usage(prompt=9)).usage)
    assert json.loads(encode_record(record))["usage"] == {"prompt": 9}


def test_a_judges_reply_that_decides_on_a_later_answer_is_paid_for_once(tmp_path):
    reply = JudgeReply(judge="j", key="k", text="Verdict: YES", usage=Usage(prompt=500, answer=5))
    useless = JudgeReply(judge="j", key="u", text="", usage=Usage(prompt=300, answer=3), error="cut off")
    answer = Usage(prompt=100, answer=10)

    async def write_all() -> Journal:
        journal = Journal(tmp_path / "run")
        first = Record(id="a", repeat=0, outcome="errored", error="x", usage=answer, judge_replies=[reply, useless])
        again = Record(id="a", repeat=0, outcome="right", value=1.0, usage=answer, verdicts=[reply])
        for record in (first, again):
            await journal.append(record)
        return journal

    journal = asyncio.run(write_all())
    gone = journal.prepare()
    assert (gone.prompt, gone.answer) == (100 + 300, 10 + 3), "the reply that decides stays in the journal"
    journal.close()
    assert [line["outcome"] for line in lines(tmp_path / "run" / "samples.jsonl")] == ["right"]
