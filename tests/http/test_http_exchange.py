"""The requests of the http runner, and its parsing of responses."""

import gzip
import json
from typing import Any

import pytest

from m1eval import Request, RunnerError, Sampling
from tests.http.conftest import KEY, QUESTION, Loopback, RecordingProgress, Reply, answer, ask, question, start

STREAMED = {"stream": True, "stream_options": {"include_usage": True}}


# What is sent
def test_a_question_is_sent_as_chat_with_only_what_was_set(server: Loopback) -> None:
    output = ask(server)
    assert (output.text, output.finish_reason, output.retries) == ("Paris", "stop", 0)
    [request] = server.posts
    assert (request.path, request.body) == ("/v1/chat/completions", {"model": "m", "messages": QUESTION} | STREAMED)
    assert "authorization" not in request.headers


def test_sampling_and_tools_are_passed_on(server: Loopback) -> None:
    sampling = Sampling(temperature=0, top_p=0.95, top_k=20, min_p=0.1, max_tokens=80_000, stop=("END",), seed=7)
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    ask(server, question(sampling=sampling, tools=tools))
    assert server.posts[0].body == {
        "model": "m",
        "messages": QUESTION,
        "tools": tools,
        "temperature": 0,
        "top_p": 0.95,
        "top_k": 20,
        "min_p": 0.1,
        "max_tokens": 80_000,
        "stop": ["END"],
        "seed": 7,
        **STREAMED,
    }


def test_extra_body_comes_last_and_null_removes_a_field(server: Loopback) -> None:
    extra = '{"temperature": 0.5, "max_tokens": null, "max_completion_tokens": 9, "chat_template_kwargs": {"a": true}}'
    ask(server, question(sampling=Sampling(temperature=1, max_tokens=9)), extra_body=extra)
    body = server.posts[0].body
    assert "max_tokens" not in body
    assert (body["temperature"], body["max_completion_tokens"]) == (0.5, 9)
    assert body["chat_template_kwargs"] == {"a": True}


@pytest.mark.parametrize("raw", [{"prompt": "Once upon"}, {"token_ids": [1, 2, 3]}])
def test_raw_prompts_and_token_ids_go_to_completions(server: Loopback, raw: dict[str, Any]) -> None:
    server.reply(
        Reply({"choices": [{"text": " a time", "finish_reason": "length"}], "usage": {"completion_tokens": 3}})
    )
    output = ask(server, Request(**raw, sampling=Sampling(max_tokens=3)), thinking="no")
    assert (output.text, output.finish_reason, output.usage.answer) == (" a time", "length", 3)
    assert server.posts[0].path == "/v1/completions"
    assert server.posts[0].body["prompt"] == next(iter(raw.values()))


def test_a_raw_prompt_without_a_limit_is_refused(server: Loopback) -> None:
    with pytest.raises(RunnerError, match="max_tokens"):
        ask(server, Request(prompt="Once upon"))
    assert server.posts == []


def test_prompts_of_megabytes_and_half_emoji_arrive(server: Loopback) -> None:
    text = "größer \ud83d" * 400_000
    ask(server, Request(messages=[{"role": "user", "content": text}]))
    assert server.posts[0].body["messages"][0]["content"] == text


def test_the_key_and_named_headers_come_from_the_environment(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    monkeypatch.setenv("ORG", "org-12345")
    ask(server, api_key_env="MY_KEY", headers='{"X-Org": "$ORG", "User-Agent": "mine"}')
    headers = server.posts[0].headers
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["x-org"] == "org-12345"


def test_credentials_in_the_address_become_a_header_and_are_shown_nowhere(server: Loopback) -> None:
    client = start(server, base_url=server.url.replace("//", "//user:pass%40word@") + "/")
    assert server.received[0].path == "/v1/models"
    assert server.received[0].headers["authorization"] == "Basic dXNlcjpwYXNzQHdvcmQ="
    assert client.describe()["base_url"] == server.url


def test_connections_are_reused_and_no_more_than_the_limit_are_open(server: Loopback) -> None:
    server.reply(answer()._replace(delay=0.05))
    outputs = ask(server, *(question() for _ in range(12)), concurrency=3)
    assert len(outputs) == 12
    assert server.max_in_flight == 3
    assert {request.connection for request in server.posts} == {1, 2, 3}
    assert max(output.timing.queue for output in outputs) > 0.1
    assert all(output.timing.total >= output.timing.queue + 0.05 for output in outputs)


# What is read
def test_usage_is_read_with_its_details(server: Loopback) -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "prompt_tokens_details": {"cached_tokens": 64},
        "completion_tokens_details": {"reasoning_tokens": 30},
    }
    progress = RecordingProgress()
    server.reply(answer("Paris", usage=usage, reasoning="Hm."))
    counts = ask(server, question(progress=progress)).usage
    assert (counts.prompt, counts.cached, counts.reasoning, counts.answer) == (100, 64, 30, 20)
    assert progress.counted == (100, 50)


def test_thinking_that_the_server_does_not_count_is_estimated_and_the_sum_is_right(server: Loopback) -> None:
    server.reply(answer("x" * 100, usage={"completion_tokens": 41}, reasoning_content="y" * 300))
    usage = ask(server).usage
    assert (usage.reasoning, usage.answer) == (31, 10)


@pytest.mark.parametrize(
    "usage", [[], {"completion_tokens": "many", "prompt_tokens_details": [1]}, {"prompt_tokens": -1}]
)
def test_usage_of_the_wrong_type_counts_as_nothing(server: Loopback, usage: Any) -> None:
    server.reply(answer(usage=usage))
    assert ask(server).usage.output == 0


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_reasoning_fields_are_kept_apart_from_the_answer(server: Loopback, field: str) -> None:
    server.reply(answer("Paris", **{field: "It could be \\boxed{Lyon}."}))
    output = ask(server)
    assert (output.text, output.reasoning) == ("Paris", "It could be \\boxed{Lyon}.")


def test_think_tags_in_the_content_are_split_off(server: Loopback) -> None:
    server.reply(answer("<think>Lyon?</think>Paris"), answer("Lyon?</think>Paris"))
    for _ in range(2):
        output = ask(server)
        assert (output.text, output.reasoning) == ("Paris", "Lyon?")


@pytest.mark.parametrize(
    ("reply", "thinking", "unfinished"),
    [
        (answer("Lyon, or", "length"), "auto", True),
        (answer("Lyon, or", "length"), "no", False),
        (answer("Lyon, or", "length"), False, False),
        (answer("Lyon, or", "stop"), "yes", True),
        (answer(None, "length", reasoning="Lyon, or"), "auto", True),
        (answer("The answer is", "length", reasoning="Lyon, or"), "auto", False),
    ],
)
def test_an_output_cut_in_its_thinking_has_no_answer(
    server: Loopback, reply: Reply, thinking: str | bool, unfinished: bool
) -> None:
    output = ask(server.reply(reply), thinking=thinking)
    assert output.unfinished_thinking is unfinished
    assert bool(output.text) is not unfinished


def test_tool_calls_come_without_content(server: Loopback) -> None:
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}]
    output = ask(server.reply(answer(None, "tool_calls", tool_calls=calls)))
    assert (output.text, output.tool_calls, output.finish_reason) == ("", calls, "tool_calls")


@pytest.mark.parametrize(
    ("content", "text", "reasoning"),
    [
        ([{"type": "text", "text": "Pa"}, {"type": "text", "text": "ris"}], "Paris", ""),
        (["Pa", "ris"], "Paris", ""),
        (
            [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"type": "text", "text": "A"}],
            "A",
            "Hm.",
        ),
        (None, "", ""),
        ("", "", ""),
    ],
)
def test_content_comes_as_text_as_parts_or_not_at_all(
    server: Loopback, content: Any, text: str, reasoning: str
) -> None:
    output = ask(server.reply(answer(content)))
    assert (output.text, output.reasoning) == (text, reasoning)


@pytest.mark.parametrize(
    ("body", "headers", "text"),
    [
        (json.dumps(answer("Gr\u00fc\u00dfe").body).encode().replace(b"Gr\\u00fc", b"Gr\xfc"), {}, "Gr\ufffd\u00dfe"),
        (b"\xef\xbb\xbf" + json.dumps(answer("Paris").body).encode(), {}, "Paris"),
        (json.dumps(answer("half \ud83d").body).encode(), {}, "half ?"),
        (json.dumps(answer("a b").body).encode().replace(b"a b", b"a\nb"), {}, "a\nb"),
        (gzip.compress(json.dumps(answer("Paris").body).encode()), {"Content-Encoding": "gzip"}, "Paris"),
    ],
    ids=["bad UTF-8", "byte order mark", "half an emoji", "raw newline", "gzip"],
)
def test_odd_encodings_do_no_harm(server: Loopback, body: bytes, headers: dict[str, str], text: str) -> None:
    output = ask(server.reply(Reply(body, headers=headers)))
    assert output.text == text
    output.text.encode()
