"""Episodes of several requests over http: tokens, cost, limits and settings count every turn."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Result, lines, run_of, write
from tests.http.conftest import Loopback, ReceivedRequest, Reply, answer

GENERATION = "{temperature: 0.7, top_p: 0.9, top_k: 20, min_p: 0.05, max_tokens: 500, stop: ['###']}"
FIVE = """
from m1eval import Request

async def run(sample, runner, context):
    messages = list(sample.messages)
    for turn in range(5):
        output = await runner.generate(Request(messages=messages))
        messages += [{"role": "assistant", "content": output.text}, {"role": "user", "content": f"turn {turn}"}]
    return output
"""
USAGE = {"prompt_tokens": 100, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 40}}


@pytest.fixture
def episode(server: Loopback, m1eval: Callable[..., Result], tmp_path: Path) -> Callable[..., Result]:
    """Run an episode's code over some samples; at a dollar per thousand tokens."""
    write(tmp_path / "prices.yaml", "'*': {input: 1000, output: 1000}\n")

    def call(code: str, *more: object, samples: int = 1) -> Result:
        write(tmp_path / "_turns.py", code)
        write(tmp_path / "t.jsonl", "".join(json.dumps({"q": f"q{i}"}) + "\n" for i in range(samples)))
        task = "title: T\ndataset: {file: t.jsonl}\nid: '{{ q }}'\nprompt: '{{ q }}'\ntarget: right\nscorer: exact\n"
        task += f"episode: _turns.run\ngeneration: {GENERATION}\n"
        where = ("--model", "http:m", "--base-url", server.url, "--out", tmp_path / "x", "--display", "none")
        options = ("-o", "retries=1", "-o", "backoff=0.01", "--prices", tmp_path / "prices.yaml", "--json")
        return m1eval("run", "--tasks", write(tmp_path / "t.yaml", task), *where, *options, *more)

    return call


def records(folder: Path) -> list[dict[str, Any]]:
    return lines(run_of(folder / "x") / "samples.jsonl")


def test_five_turns_count_as_five(server: Loopback, episode: Callable[..., Result], tmp_path: Path):
    server.script = lambda request: (
        Reply(status=500) if len(server.posts) == 2 else answer("right", usage=USAGE, reasoning="Hm." * 5)
    )
    run = episode(FIVE).json()["runs"][0]
    [record] = records(tmp_path)
    assert len(server.posts) == 6, "one was tried again"
    usage = record["usage"]
    assert (usage["prompt"], usage["cached"], usage["reasoning"] + usage["answer"]) == (500, 200, 50)
    assert usage["cost"] == pytest.approx(0.55)
    assert (record["retries"], record["metadata"]["requests"], record["outcome"]) == (1, 5, "right")
    assert 0 < record["timing"]["total"] < 20
    assert (run["tokens"]["prompt"], run["tokens"]["answer"] + run["tokens"]["reasoning"]) == (500, 50)
    assert run["cost"] == pytest.approx(0.55)


def test_a_limit_counts_every_turn_and_no_episode_begins_that_may_not_end(
    server: Loopback, episode: Callable[..., Result], tmp_path: Path
):
    server.reply(answer("right", usage=USAGE))
    result = episode(FIVE, "--max-cost", 2, "-j", 1, samples=10)
    assert (result.code, len(records(tmp_path)), len(server.posts)) == (3, 2, 10)
    assert "--max-cost 2: $1.10 spent" in result.err
    assert sum(record["usage"]["cost"] for record in records(tmp_path)) == pytest.approx(1.10)
    again = episode(FIVE, "--max-cost", 4, "-j", 1, samples=10)
    assert (again.code, len(records(tmp_path)), len(server.posts)) == (3, 6, 30), again.err


def test_an_episode_may_send_parallel_requests_and_survive_a_failed_one(
    server: Loopback, episode: Callable[..., Result], tmp_path: Path
):
    code = """
    import asyncio
    from m1eval import Output, Request, Usage

    async def run(sample, runner, context):
        one = Request(messages=sample.messages)
        ask = [runner.generate(Request(messages=[{"role": "user", "content": text}])) for text in ("a", "bad", "b")]
        outputs = await asyncio.gather(runner.generate(one), *ask, return_exceptions=True)
        assert sum(isinstance(output, Exception) for output in outputs) == 1
        return Output(text="right", usage=Usage(prompt=7, answer=7, cost=7), metadata={"mine": 1})
    """
    bad = Reply({"error": {"message": "bad words"}}, 400)
    server.script = lambda request: bad if request.body["messages"][0]["content"] == "bad" else answer(usage=USAGE)
    episode(code)
    [record] = records(tmp_path)
    assert (record["usage"]["prompt"], record["usage"]["answer"]) == (300, 30)
    assert record["usage"]["cost"] == pytest.approx(0.33)
    assert record["metadata"] == {"q": "q0", "mine": 1, "requests": 4}


def test_the_cost_of_a_failed_episode_is_recorded(server: Loopback, episode: Callable[..., Result], tmp_path: Path):
    server.script = lambda request: answer(usage=USAGE) if len(server.posts) <= 3 else answer("no", "content_filter")
    result = episode(FIVE, samples=2, *("-j", 1))  # noqa: B026
    first = records(tmp_path)[0]
    assert (first["outcome"], first["usage"]["prompt"], first["metadata"]["requests"]) == ("errored", 310, 4)
    assert first["usage"]["cost"] == pytest.approx(0.33 + 0.018), "the filtered answer is paid for too"
    assert result.json()["runs"][0]["cost"] == pytest.approx(0.33 + 2 * 0.018)


def test_an_episode_without_requests_says_itself_what_it_took(episode: Callable[..., Result], tmp_path: Path):
    episode("""
    from m1eval import Output, Usage

    async def run(sample, runner, context):
        return Output(text="right", usage=Usage(prompt=10, answer=10))
    """)
    [record] = records(tmp_path)
    assert (record["usage"], "requests" in record["metadata"]) == ({"prompt": 10, "answer": 10, "cost": 0.02}, False)


SETTINGS = {"temperature": 0.7, "top_p": 0.9, "top_k": 20, "min_p": 0.05, "max_tokens": 500, "stop": ["###"]}


@pytest.mark.parametrize(
    ("own", "sent"),
    [
        ("", {}),
        ("stop=('END',)", {"stop": ["END"]}),
        ("stop=()", {}),
        ("temperature=0", {"temperature": 0}),
        ("temperature=0.0, seed=5", {"temperature": 0.0, "seed": 5}),
        ("top_k=1, min_p=0", {"top_k": 1, "min_p": 0}),
        ("max_tokens=9", {"max_tokens": 9}),
        ("top_p=1", {"top_p": 1}),
    ],
)
def test_what_a_turn_leaves_open_is_the_tasks(
    server: Loopback, episode: Callable[..., Result], own: str, sent: dict[str, Any]
):
    code = f"""
    from m1eval import Request, Sampling

    async def run(sample, runner, context):
        return await runner.generate(Request(messages=sample.messages, sampling=Sampling({own})))
    """
    episode(code)
    [request] = server.posts
    assert SETTINGS | sent | {"seed": sent.get("seed", request.body["seed"])} == {
        key: value for key, value in request.body.items() if key in {*SETTINGS, "seed"}
    }


def test_a_request_that_is_used_again_belongs_to_the_sample_that_asks(server: Loopback, episode: Callable[..., Result]):
    code = """
    from m1eval import Request

    ALWAYS = Request(messages=[{"role": "user", "content": "the same"}])

    async def run(sample, runner, context):
        return await runner.generate(ALWAYS)
    """
    seeds: list[int] = []

    def reply(request: ReceivedRequest) -> Reply:
        seeds.append(request.body["seed"])
        return answer()

    server.script = reply
    episode(code, samples=4)
    assert len(set(seeds)) == 4


def test_the_transcript_is_what_was_sent_and_answered(server: Loopback, episode: Callable[..., Result], tmp_path: Path):
    server.script = lambda asked: answer(f"reply {len(server.posts)}", usage=USAGE, reasoning="Hm.")
    episode(FIVE)
    [record] = records(tmp_path)
    transcript = record["transcript"]
    assert [(entry["role"], entry["content"]) for entry in transcript] == [
        *(("assistant", "reply 1"), ("user", "turn 0"), ("assistant", "reply 2"), ("user", "turn 1")),
        *(("assistant", "reply 3"), ("user", "turn 2"), ("assistant", "reply 4"), ("user", "turn 3")),
        ("assistant", "reply 5"),
    ]
    sent = [{key: entry[key] for key in ("role", "content")} for entry in transcript[:-1]]
    assert server.posts[-1].body["messages"][1:] == sent
    usages = [entry["usage"] for entry in transcript if entry["role"] == "assistant"]
    for name, total in record["usage"].items():
        assert sum(usage.get(name, 0) for usage in usages) == pytest.approx(total), name
    assert {entry["reasoning"] for entry in transcript if entry["role"] == "assistant"} == {"Hm."}


def test_several_answers_to_one_request_of_an_episode_are_counted(
    server: Loopback, episode: Callable[..., Result], tmp_path: Path
):
    server.reply(answer("right", usage=USAGE))
    episode("""
    from m1eval import Output, Request

    async def run(sample, runner, context):
        outputs = await runner.generate_n(Request(messages=sample.messages), 3)
        assert runner.context_window is None or runner.context_window > 0
        return outputs[0]
    """)
    [record] = records(tmp_path)
    assert (record["usage"]["prompt"], record["metadata"]["requests"]) == (100 * len(server.posts), len(server.posts))
    assert [entry["role"] for entry in record["transcript"]] == ["assistant"] * len(server.posts)


def test_an_episode_that_waits_holds_no_place(server: Loopback, episode: Callable[..., Result], tmp_path: Path):
    """Three episodes on one place, each of which waits until all have sent a request."""
    server.reply(answer("right", usage=USAGE))
    result = episode(
        """
    import asyncio
    from m1eval import Request

    asked, all_asked = [], asyncio.Event()

    async def run(sample, runner, context):
        await runner.generate(Request(messages=sample.messages))
        asked.append(sample.id)
        if len(asked) == 3:
            all_asked.set()
        await asyncio.wait_for(all_asked.wait(), 20)
        return await runner.generate(Request(messages=sample.messages))
    """,
        *("-j", 1),
        samples=3,
    )
    assert (result.code, len(server.posts), server.max_in_flight) == (0, 6, 1)


def test_with_one_place_an_episode_that_does_not_wait_is_asked_to_its_end(
    server: Loopback, episode: Callable[..., Result], tmp_path: Path
):
    server.reply(answer("right", usage=USAGE))
    episode(FIVE, "-j", 1, samples=3)
    questions = [post.body["messages"][0]["content"] for post in server.posts]
    assert [questions.index(question) for question in dict.fromkeys(questions)] == [0, 5, 10]
