"""Streamed answers: assembly, timing, and broken streams; and several answers to one prompt."""

import asyncio
import json
import time
from contextlib import aclosing
from typing import Any

import pytest

from m1eval import RunnerError, Sampling
from tests.conftest import run_of
from tests.http.conftest import (
    Failed,
    Loopback,
    ReceivedRequest,
    Reply,
    answer,
    ask,
    event,
    http,
    question,
    runner,
    streamed,
)


def stream(*pieces: Any, done: bool = True) -> Reply:
    body = b"".join(event(piece) for piece in pieces) + (event(b"[DONE]") if done else b"")
    return Reply(body, headers={"Content-Type": "text/event-stream; charset=utf-8"})


def delta(finish: str | None = None, index: int = 0, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": fields, "finish_reason": finish}]}


def test_a_long_answer_is_streamed_and_a_short_one_is_not(server: Loopback):
    server.script = lambda request: streamed("right") if request.body.get("stream") else answer("right")
    for most, streams in ((64, False), (8000, True), (None, True)):
        assert ask(server, question(sampling=Sampling(max_tokens=most))).text == "right"
        assert server.posts[-1].body.get("stream", False) is streams
    ask(server, stream="no")
    assert "stream" not in server.posts[-1].body
    ask(server, question(sampling=Sampling(max_tokens=5)), stream="yes")
    assert server.posts[-1].body["stream_options"] == {"include_usage": True}


def test_the_time_to_the_first_token_is_known(server: Loopback):
    output = ask(server.reply(streamed("right", drip=0.002, delay=0.2)))
    assert 0.2 < output.timing.first_token < output.timing.total
    assert output.usage.output == 5
    assert ask(server.reply(answer("right"))).timing.first_token == 0


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_thinking_comes_in_its_own_field(server: Loopback, name: str):
    pieces = [delta(role="assistant", content=""), *(delta(None, 0, **{name: part}) for part in ("Ly", "on?"))]
    usage = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 6}}
    output = ask(server.reply(stream(*pieces, delta(content="Par"), delta("stop", content="is"), usage)))
    assert (output.text, output.reasoning, output.finish_reason) == ("Paris", "Lyon?", "stop")
    assert (output.usage.prompt, output.usage.output) == (9, 6)


def test_the_same_thinking_under_both_names_counts_once(server: Loopback):
    piece = delta(reasoning="Hm", reasoning_content="Hm")
    assert ask(server.reply(stream(piece, delta("stop", content="A")))).reasoning == "Hm"


def test_tool_calls_come_in_deltas(server: Loopback):
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}
    more = [{"index": 0, "function": {"arguments": part}} for part in ('{"a"', ": 1}")]
    other = {"index": 1, "id": "c2", "function": {"name": "g", "arguments": "{}"}}
    pieces = [delta(tool_calls=[first]), *(delta(tool_calls=[call]) for call in more), delta(tool_calls=[other])]
    output = ask(server.reply(stream(*pieces, delta("tool_calls"))))
    assert [call["function"] for call in output.tool_calls] == [
        {"name": "f", "arguments": '{"a": 1}'},
        {"name": "g", "arguments": "{}"},
    ]
    assert (output.tool_calls[0]["id"], output.finish_reason) == ("c1", "tool_calls")


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_chunks_may_be_split_anywhere(size: int):
    counts: list[int] = []
    body = b": a comment\r\n\r\nevent: x\r\n" + bytes(streamed("Grüße 😀").body).replace(b"\n", b"\r\n")
    reader = http.stream.CompletionReader(counts.append)
    for start in range(0, len(body), size):
        reader.feed(body[start : start + size])
    assert reader.completion()["choices"][0]["message"]["content"] == "Grüße 😀"
    assert sum(counts) == 7


def test_an_end_without_its_mark_is_an_end_if_the_answer_is_whole(server: Loopback):
    """Stream of transformers' server, which sends no [DONE]."""
    assert ask(server.reply(stream(delta("stop", content="Paris"), done=False))).text == "Paris"
    with pytest.raises(Failed, match="the stream ended in the middle of an answer"):
        ask(server.reply(stream(delta(content="Par"), done=False)), retries=0)


@pytest.mark.parametrize(
    ("piece", "words"),
    [
        ({"error": {"message": "CUDA error", "code": 500}}, "the server reports CUDA error"),
        (b"no json", "not JSON: 'no json'"),
        ([1], "is not an object"),
        ({"choices": {"a": 1}}, "are not a list"),
        ({"choices": [1]}, "is not an object"),
        ({"choices": [{"delta": "text"}]}, "has no message"),
        ({"choices": [{"delta": {"content": 7}}]}, "content is a int"),
        ({"choices": [{"delta": {"tool_calls": [3]}}]}, "tool call of the stream is not an object"),
    ],
)
def test_what_is_wrong_in_a_stream_is_tried_again_with_its_reason(server: Loopback, piece: Any, words: str):
    broken = stream(delta(content="Par"), piece)
    with pytest.raises(Failed, match=words):
        ask(server.reply(broken), retries=0)
    assert ask(server.reply(broken, streamed("right"))).retries == 1


def test_an_error_that_comes_as_a_field_of_its_own_is_none_the_less_one(server: Loopback):
    """Error field of llama.cpp until the end of 2025."""
    line = b'error: {"code": 500, "message": "the slot is gone", "type": "server_error"}\n\n'
    body = event(delta(content="Par")) + line + event(b"[DONE]")
    broken = Reply(body, headers={"Content-Type": "text/event-stream"})
    with pytest.raises(Failed, match="the server reports the slot is gone"):
        ask(server.reply(broken), retries=0)
    assert ask(server.reply(broken, streamed("right"))).text == "right"
    full = line.replace(b"the slot is gone", b"the request exceeds the available context size")
    refusal = Reply(full + event(b"[DONE]"), headers={"Content-Type": "text/event-stream"})
    assert ask(server.reply(refusal)).finish_reason == "refused_context"


def test_missing_usage_is_counted(server: Loopback):
    assert ask(server.reply(streamed("right", usage={}))).usage.output == 5


@pytest.mark.parametrize("refused", ["stream_options", "stream"])
def test_a_server_that_cannot_stream_gets_requests_without(server: Loopback, refused: str):
    def strict(request: ReceivedRequest) -> Reply:
        if refused in request.body:
            return Reply({"detail": f"Unexpected field: {refused}"}, 422)
        return streamed("right", usage={}) if "stream" in request.body else answer("right")

    server.script = strict
    assert [output.text for output in ask(server, question(), question())] == ["right", "right"]


def test_raw_completions_are_streamed_too(server: Loopback):
    from m1eval import Request

    pieces = [{"choices": [{"index": 0, "text": part, "finish_reason": None}]} for part in ("a ", "time")]
    last = {"choices": [{"index": 0, "text": "", "finish_reason": "length"}]}
    request = Request(prompt="Once upon ", sampling=Sampling(max_tokens=2000))
    output = ask(server.reply(stream(*pieces, last)), request, thinking="no")
    assert (output.text, output.finish_reason) == ("a time", "length")


# Several answers from one prompt
def several(*texts: str) -> dict[str, Any]:
    choices = [{"message": {"content": text}, "finish_reason": "stop", "index": i} for i, text in enumerate(texts)]
    return {"choices": choices, "usage": {"prompt_tokens": 100, "completion_tokens": 60}}


TASK = "title: T\ndataset: {file: t.jsonl}\nid: '{{ q }}'\nprompt: '{{ q }}'\ntarget: right\nscorer: exact\n"


def run(m1eval: Any, server: Loopback, folder: Any, *more: Any) -> Any:
    (folder / "t.jsonl").write_text('{"q": "a"}\n{"q": "b"}\n')
    (folder / "t.yaml").write_text(TASK + "repeats: 8\n")
    where = ("--model", "http:m", "--base-url", server.url, "--out", folder / "x")
    return m1eval("run", "--tasks", folder / "t.yaml", *where, "-o", "backoff=0.01", *more, "--json")


def test_one_request_brings_several_repeats_and_each_is_a_record(server: Loopback, m1eval: Any, tmp_path: Any):
    server.script = lambda request: Reply(several(*["right", "wrong!"] * (request.body["n"] // 2)))
    result = run(m1eval, server, tmp_path, "-o", "n=4")
    summary = result.json()["runs"][0]
    assert [request.body["n"] for request in server.posts] == [4, 4, 4, 4]
    assert (summary["outcomes"]["right"], summary["outcomes"]["wrong"]) == (8, 8)
    assert summary["tokens"]["answer"] == 4 * 60, "the tokens of a request are divided among its answers"
    sent = (summary["tokens"]["prompt"], summary["tokens"]["cached"])
    assert sent == (400, 0), "the prompt of a request is sent once"
    from tests.conftest import lines

    records = lines(run_of(tmp_path / "x") / "samples.jsonl")
    assert len({(record["id"], record["repeat"]) for record in records}) == 16
    assert {record["metadata"]["choices"] for record in records} == {4}


def test_the_rest_is_requested_from_a_server_that_gives_fewer(server: Loopback, m1eval: Any, tmp_path: Any):
    server.script = lambda request: answer("right")
    assert run(m1eval, server, tmp_path, "-o", "n=8", "-j", 1).json()["runs"][0]["outcomes"]["right"] == 16
    assert len(server.posts) == 16


def test_a_server_that_refuses_several_gets_requests_for_one(server: Loopback, m1eval: Any, tmp_path: Any):
    server.script = lambda request: Reply({"detail": "n > 1"}, 400) if "n" in request.body else answer("right")
    assert run(m1eval, server, tmp_path, "-o", "n=8", "-j", 1).json()["runs"][0]["outcomes"]["right"] == 16


def test_one_answer_of_several_may_fail_alone(server: Loopback, m1eval: Any, tmp_path: Any):
    broken = several("right", "ri")
    broken["choices"][1]["finish_reason"] = "content_filter"
    server.script = lambda request: Reply(broken)
    result = run(m1eval, server, tmp_path, "-o", "n=2")
    outcomes = result.json()["runs"][0]["outcomes"]
    assert (outcomes["right"], outcomes["errored"], result.code) == (8, 8, 3)


def test_a_thinking_budget_goes_before_several_answers(server: Loopback, m1eval: Any, tmp_path: Any):
    server.script = rendering("<think>\n", "Lyon? No, ", "right")
    more = ("-o", "n=8", "--think", 20, "--max-tokens", 100)
    assert run(m1eval, server, tmp_path, *more).json()["runs"][0]["outcomes"]["right"] == 16
    assert not any("n" in request.body for request in server.posts)


def test_greedy_answers_are_the_same_and_are_not_requested_together(server: Loopback, m1eval: Any, tmp_path: Any):
    server.script = lambda request: answer("right")
    run(m1eval, server, tmp_path, "-o", "n=8", "--set", "generation.temperature=0")
    assert not any("n" in request.body for request in server.posts)


# Thinking budgets
def rendering(tail: str, first: str, second: str = "Paris") -> Any:
    """A server like llama.cpp's, which renders prompts; the first completion is truncated, the second ends."""

    def reply(request: ReceivedRequest) -> Reply:
        if request.path == "/apply-template":
            return Reply({"prompt": f"<user>{request.body['messages'][0]['content']}{tail}"})
        going_on = "</think>" in request.body["prompt"]
        text, finish = (second, "stop") if going_on else (first, "length" if "</think>" not in first else "stop")
        counts = {"prompt_tokens": 9, "completion_tokens": request.body["max_tokens"] if finish == "length" else 3}
        return Reply({"choices": [{"text": text, "finish_reason": finish}], "usage": counts})

    return reply


def test_thinking_beyond_its_budget_is_ended_and_the_answer_follows(server: Loopback):
    server.script = rendering("<think>\n", "Lyon? No, ")
    output = ask(
        server, question(think_budget=20, sampling=Sampling(max_tokens=100)), think_end="Enough.\n</think>\n\n"
    )
    first, second = server.posts[1:]
    assert first.body["prompt"].endswith("<think>\n")
    assert (first.body["max_tokens"], second.body["max_tokens"]) == (20, 80)
    assert second.body["prompt"] == first.body["prompt"] + "Lyon? No, Enough.\n</think>\n\n"
    assert (output.text, output.reasoning) == ("Paris", "Lyon? No, Enough.")
    assert output.metadata["thinking"] == {"budget": 20, "by": "continue", "forced": True, "tokens": 20}
    assert (output.usage.reasoning, output.usage.answer) == (20, 3)


def test_thinking_that_ends_by_itself_is_not_ended(server: Loopback):
    server.script = rendering("<think>\n", "Paris.</think>Paris")
    output = ask(server, question(think_budget=20, sampling=Sampling(max_tokens=100)))
    assert (output.text, output.reasoning, len(server.posts)) == ("Paris", "Paris.", 2)
    assert output.metadata["thinking"]["forced"] is False


def test_a_budget_of_nothing_leaves_an_empty_block(server: Loopback):
    server.script = rendering("<assistant>", "never asked")
    output = ask(server, question(think_budget=0, sampling=Sampling(max_tokens=100)))
    assert server.posts[1].body["prompt"].endswith("<assistant><think>\n\n</think>\n\n")
    assert (output.text, output.reasoning, output.usage.reasoning) == ("Paris", "", 0)


def test_an_answer_that_the_budget_has_cut_goes_on_as_it_is(server: Loopback):
    """A model that does not think, under `--think`: nothing is inserted into its answer."""
    server.script = lambda request: (
        Reply({"prompt": "<assistant>"})
        if request.path == "/apply-template"
        else Reply({"choices": [{"text": "Par", "finish_reason": "length"}]})
        if request.body["prompt"] == "<assistant>"
        else Reply({"choices": [{"text": "is", "finish_reason": "stop"}]})
    )
    output = ask(server, question(think_budget=20, sampling=Sampling(max_tokens=100)))
    assert (output.text, output.metadata["thinking"]["forced"]) == ("Paris", False)


def test_a_server_like_vllm_renders_in_tokens(server: Loopback):
    def reply(request: ReceivedRequest) -> Reply:
        if request.path == "/apply-template":
            return Reply(status=404)
        if request.path == "/tokenize":
            return Reply({"tokens": [1, 2, 3] if "messages" in request.body else [7, 8]})
        if request.path == "/detokenize":
            return Reply({"prompt": "<think>\n"})
        if request.body["prompt"] == [1, 2, 3]:
            return Reply(
                {"choices": [{"text": "Lyon? ", "finish_reason": "length"}], "usage": {"completion_tokens": 5}}
            )
        assert request.body["prompt"] == [1, 2, 3, 7, 8]
        return Reply({"choices": [{"text": "Paris", "finish_reason": "stop"}], "usage": {"completion_tokens": 1}})

    server.script = reply
    output = ask(server, question(think_budget=5, sampling=Sampling(max_tokens=100)))
    assert (output.text, output.usage.reasoning, output.usage.answer) == ("Paris", 5, 1)


def test_the_error_for_a_server_that_renders_no_prompts_names_the_alternatives(server: Loopback):
    server.script = lambda request: Reply(status=404)
    with pytest.raises(RunnerError, match=r'cannot render prompts.*option=\{"think_by": "vllm\|sglang'):
        ask(server, question(think_budget=5, sampling=Sampling(max_tokens=100)))


@pytest.mark.parametrize(
    ("way", "fields"),
    [
        ("vllm", {"thinking_token_budget": 9}),
        ("sglang", {"custom_params": {"thinking_budget": 9}}),
        ("qwen", {"enable_thinking": True, "thinking_budget": 9}),
        ("openrouter", {"reasoning": {"max_tokens": 9}}),
        ("nim", {"nvext": {"max_thinking_tokens": 9}}),
        ("template", {"chat_template_kwargs": {"thinking_budget": 9}}),
    ],
)
def test_a_servers_own_budget_is_requested_and_checked(server: Loopback, way: str, fields: dict[str, Any]):
    output = ask(server.reply(answer("Paris", reasoning="Hm.")), question(think_budget=9), think_by=way)
    assert fields.items() <= server.posts[0].body.items()
    assert output.metadata["thinking"]["by"] == way
    ignored = answer("Paris", usage={"completion_tokens": 900}, reasoning="Hm." * 500)
    with pytest.raises(RunnerError, match="did not keep the thinking budget"):
        ask(server.reply(ignored), question(think_budget=9), think_by=way)


def test_a_drip_of_tokens_is_not_silence(server: Loopback):
    begin = time.monotonic()
    output = ask(server.reply(streamed("right", drip=0.005)), read_timeout=1.5)
    assert (output.text, output.retries, time.monotonic() - begin > 1.5) == ("right", 0, True)


def at_once(server: Loopback, n: int) -> Any:
    """The outputs of one request for `n` answers."""

    async def scenario() -> Any:
        async with aclosing(runner(server)) as client:
            return await client.generate_n(question(), n)

    return asyncio.run(scenario())


@pytest.mark.parametrize("how", ["whole", "stream"])
def test_an_error_of_one_choice_leaves_the_others(server: Loopback, how: str):
    failed = {"message": "the engine died", "code": 500}
    texts = [{"index": i, "message": {"content": "AxC"[i]}, "finish_reason": "stop"} for i in range(3)]
    texts[1] = {"index": 1, "message": {"content": ""}, "finish_reason": "error", "error": failed}
    broken = {"choices": [{"index": 1, "delta": {"content": ""}, "finish_reason": "error", "error": failed}]}
    pieces = [
        delta(None, 0, content="A"),
        delta(None, 1, content="x"),
        broken,
        delta("stop"),
        delta("stop", 2, content="C"),
    ]
    server.reply(Reply({"choices": texts}) if how == "whole" else stream(*pieces))
    outputs = at_once(server, 3)
    assert [(output.text, output.retries) for output in outputs] == [("A", 0), ("C", 0)]
    assert len(server.posts) == 1


def test_an_error_of_the_only_choice_is_that_of_the_answer(server: Loopback):
    error = {"message": "prompt is too long: 9000 tokens > 8192 maximum", "code": 400}
    broken = {"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error", "error": error}]}
    for done in (True, False):
        assert ask(server.reply(stream(delta(content="A"), broken, done=done))).finish_reason == "refused_context"


def test_an_empty_entry_among_the_choices_is_ignored(server: Loopback):
    choice = {"index": 0, "message": {"content": "A"}, "finish_reason": "stop"}
    assert [output.text for output in at_once(server.reply(Reply({"choices": [choice, None]})), 2)] == ["A"]


@pytest.mark.parametrize("charset", ["idna", "punycode", "undefined", "rot13", "hex", "no-such", '"utf-8;x"'])
def test_an_unknown_charset_is_treated_as_utf8(server: Loopback, charset: str):
    whole = answer("Paris").body | {"id": "\ud83d"}
    reply = Reply(json.dumps(whole).encode() + b" ", headers={"Content-Type": f"application/json; charset={charset}"})
    assert ask(server.reply(reply)).text == "Paris"
    ends = Reply(b'{"choices": [{"text": "\xff"}]}', headers=reply.headers)
    assert ask(server.reply(ends)).text == "\ufffd"
