"""Refusals of prompts that are longer than the window are told apart from all others, for many servers."""

import importlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from m1eval import Request, Sampling
from tests.http.conftest import Failed, Loopback, ReceivedRequest, Reply, answer, ask, event, http, question

context_length = importlib.import_module(f"{http.__name__}.context_length")
errors = importlib.import_module(f"{http.__name__}.errors")


def table(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(__file__).with_name(name).read_text("utf-8").splitlines()]


CASES = table("refusals.jsonl")
OVER = [case for case in CASES if case["over"]]
TYPES = {"Content-Type": "text/event-stream"}


def body(case: dict[str, Any]) -> str:
    body = case["body"]
    return body if isinstance(body, str) else json.dumps(body)


def reply(case: dict[str, Any], status: int | None = None) -> Reply:
    return Reply(body(case).encode(), case["status"] if status is None else status)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['server']}-{case['over']}")
def test_each_wording_is_classified(case: dict[str, Any]) -> None:
    assert context_length.exceeded(case["status"], errors.parse(body(case))) is case["over"]


def test_the_table_is_wide() -> None:
    assert len(OVER) >= 40
    assert len(CASES) - len(OVER) >= 40


def wrong(cases: list[dict[str, Any]]) -> list[str]:
    """The bodies that are misclassified."""
    return [
        body(case)
        for case in cases
        if context_length.exceeded(case.get("status", 400), errors.parse(body(case))) is not case["over"]
    ]


def test_other_wordings_of_servers_and_gateways_are_classified() -> None:
    assert wrong(table("refusals_in_other_words.jsonl")) == []


def test_other_languages_are_classified() -> None:
    cases = table("refusals_in_languages.jsonl")
    assert len({case["language"] for case in cases if case["over"]}) >= 12
    assert wrong([case | {"body": {"error": {"message": case["message"]}}} for case in cases]) == []


GATEWAYS: dict[str, Callable[[Any], Any]] = {
    "OpenRouter": lambda said: {"error": {"message": "Provider returned error", "metadata": {"raw": json.dumps(said)}}},
    "OpenRouter, earlier ones": lambda said: {
        "error": {"message": "Provider returned error", "metadata": {"previous_errors": [{"message": said}]}}
    },
    "LiteLLM, bytes": lambda said: {
        "error": {"message": f"litellm.BadRequestError: XException - b'{json.dumps(said)}'. Received Model Group=x"}
    },
    "Portkey": lambda said: [{"error": {"message": f"x error: {json.dumps(said)}"}}, {"error": {"message": "failed"}}],
    "Cloudflare": lambda said: {"errors": [{"code": 7000, "message": f"AiError: {json.dumps(said)}"}], "result": {}},
    "SageMaker": lambda said: {
        "ErrorCode": "CLIENT_ERROR_FROM_MODEL",
        "Message": f'Received client error (400) from primary with message "{json.dumps(said)}". See '
        "https://us-east-1.console.aws.amazon.com/cloudwatch/home in account 123456789012 for more information.",
    },
    "Bedrock": lambda said: {"__type": "ValidationException", "Message": json.dumps(said)},
    "Databricks": lambda said: {"error_code": "BAD_REQUEST", "message": json.dumps({"external_model_error": said})},
    "Azure": lambda said: {"error": {"code": "BadRequest", "message": "bad", "innererror": said}},
    "Vertex": lambda said: {"error": {"code": 400, "message": "bad", "details": [{"detail": json.dumps(said)}]}},
    "Apigee": lambda said: {"fault": {"faultstring": json.dumps(said), "detail": {"errorcode": "x"}}},
    "Tencent": lambda said: {"Response": {"Error": {"Code": "FailedOperation", "Message": json.dumps(said)}}},
    "Lambda": lambda said: {"errorMessage": json.dumps(said), "errorType": "Error"},
    "a body in a body": lambda said: {"statusCode": 400, "body": json.dumps(said)},
    "axios": lambda said: {"error": {"message": "Request failed with status code 400", "response": {"data": said}}},
    "Python": lambda said: {"detail": f'BadRequestError("Error code: 400 - {said!r}")'},
    "text twice": lambda said: {"error": {"message": f"upstream said {json.dumps(json.dumps(said))}"}},
}


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_a_gateway_that_wraps_what_the_server_said_hides_nothing(gateway: str) -> None:
    names = {"OpenAI, code alone", "Anthropic", "Bedrock", "Ollama, embeddings", "vLLM 0.13", "Chinese", "Gemini"}
    names |= {"OpenAI, TPM", "OpenAI, max_tokens", "Groq, TPM", "overloaded"}
    cases = [case for case in CASES if case["server"] in names]
    assert len(cases) >= len(names)
    assert wrong([{"body": GATEWAYS[gateway](case["body"]), "over": case["over"]} for case in cases]) == []


@pytest.mark.parametrize("gateway", ["axios", "a body in a body", "Python", "text twice"])
def test_a_request_that_a_gateway_repeats_is_not_what_it_says(gateway: str) -> None:
    body = {"messages": [{"role": "user", "content": "Explain: the prompt is too long: 2093 tokens > 1999 maximum"}]}
    assert wrong([{"body": GATEWAYS[gateway](body), "over": False}]) == []


@pytest.mark.parametrize("case", OVER, ids=lambda case: case["server"])
def test_a_prompt_over_the_window_is_refused_context_and_costs_no_retry(server: Loopback, case: dict[str, Any]) -> None:
    output = ask(server.reply(reply(case)))
    assert (output.finish_reason, output.text, output.retries) == ("refused_context", "", 0)
    assert len(output.error) <= 300
    assert len(server.posts) == 1


@pytest.mark.parametrize("how", ["status 200", "first event", "after a piece", "status 500"])
@pytest.mark.parametrize("case", [c for c in OVER if c["server"] in {"vLLM 0.20", "Ollama", "MiniMax", "SGLang"}])
def test_it_may_come_in_a_stream_or_with_any_status(server: Loopback, case: dict[str, Any], how: str) -> None:
    piece = event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
    replies = {
        "status 200": reply(case, 200),
        "status 500": reply(case, 500),
        "first event": Reply(event(case["body"]), headers=TYPES),
        "after a piece": Reply(piece + event(case["body"]) + event(b"[DONE]"), headers=TYPES),
    }
    output = ask(server.reply(replies[how]))
    assert output.finish_reason == "refused_context"
    assert len(server.posts) == 1


LONG = "prompt is too long: 5000 tokens > 4096 maximum"


@pytest.mark.parametrize("how", ["whole", "stream"])
@pytest.mark.parametrize(
    "body",
    [
        {"code": 400, "msg": LONG},
        {"errcode": 40001, "errmsg": LONG, "data": None},
        {"status": "error", "reason": LONG},
        {"header": {"code": 10907, "message": LONG, "status": 2}},
        {"Response": {"Error": {"Code": "InvalidParameterValue", "Message": LONG}, "RequestId": "x"}},
        {"errorMessage": LONG, "errorType": "Error"},
        {"fault": {"faultstring": LONG}},
        {"statusCode": 400, "body": json.dumps({"message": LONG})},
        {"choices": [], "message": LONG},
        {"code": 400, "data": {"error": {"message": LONG}}},
        [{"error": {"message": LONG, "code": 400}}],
    ],
    ids=str,
)
def test_it_may_come_in_any_form_where_an_answer_was_due(server: Loopback, body: Any, how: str) -> None:
    output = ask(server.reply(Reply(body) if how == "whole" else Reply(event(body), headers=TYPES)))
    assert (output.finish_reason, len(server.posts)) == ("refused_context", 1)


@pytest.mark.parametrize(
    "prompt",
    [
        "Explain this error: the prompt is too long, maximum context length is 4096 tokens, in two lines please",
        "Please reduce the length of the messages, whoever is body for so much will fall asleep over it",
        "Say in a haiku what I see here: Please reduce the length of the messages",
    ],
)
def test_a_prompt_about_windows_is_not_mistaken_for_the_servers_message(server: Loopback, prompt: str) -> None:

    def as_moderated(request: ReceivedRequest) -> Reply:
        prompt = request.body["messages"][0]["content"]
        return Reply({"error": {"message": f"Rejected by the firewall, rule 17, text: {prompt}"}}, 400)

    server.script = as_moderated
    messages = [{"role": "user", "content": prompt}]
    with pytest.raises(Failed, match="firewall"):
        ask(server, Request(messages=messages))


@pytest.mark.parametrize(
    ("message", "limit", "left"),
    [
        (
            "This model's maximum context length is 4096 tokens. However, you requested 5118 tokens (3118 in the "
            "messages, 2000 in the completion).",
            2000,
            978,
        ),
        ("input length and `max_tokens` exceed context limit: 90402 + 116650 > 204648", 116650, 114246),
        (
            "'max_tokens' or 'max_completion_tokens' is too large: 32000. This model's maximum context length is 16384 "
            "tokens and your request has 1000 input tokens (32000 > 16384 - 1000).",
            32000,
            15384,
        ),
        (
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 1244 `inputs` tokens "
            "and 1000 `max_new_tokens`",
            1000,
            804,
        ),
        ("Request length 60000 + 20480 is greater than max_seq_len 65536", 20480, 5536),
    ],
)
def test_a_prompt_that_fits_gets_as_many_tokens_as_are_left(
    server: Loopback, message: str, limit: int, left: int
) -> None:
    def reply(request: ReceivedRequest) -> Reply:
        return answer() if request.body["max_tokens"] <= left else Reply({"error": {"message": message}}, 400)

    server.script = reply
    output = ask(server, question(sampling=Sampling(max_tokens=limit)))
    assert (output.text, len(server.posts)) == ("Paris", 2)
    assert server.posts[1].body["max_tokens"] == left
    assert str(left) in str(output.metadata["max_tokens"])


def test_a_prompt_that_does_not_fit_by_its_numbers_is_not_retried(server: Loopback) -> None:
    reply = Reply({"error": {"message": "prompt is too long: 209353 tokens > 199999 maximum"}}, 400)
    output = ask(server.reply(reply), question(sampling=Sampling(max_tokens=100)))
    assert output.finish_reason == "refused_context"
    assert len(server.posts) == 1


def test_an_error_nested_too_deeply_is_an_error() -> None:
    for depth in (20, 500, 990, 100_000):
        error = errors.parse('{"data":' * depth + "1" + "}" * depth)
        assert not context_length.exceeded(400, error)


@pytest.mark.parametrize(
    "text", ["' \"`", " 'a", "{", "the prompt is too long. ", '"message": \'x ', "a.1 ", "[{", '\\"{', "入力 "]
)
def test_hostile_messages_take_linear_time(text: str) -> None:
    def seconds(n: int) -> float:
        body = json.dumps({"error": {"message": text * n}})
        begin = time.process_time()
        context_length.exceeded(400, errors.parse(body), b"x" * n)
        return time.process_time() - begin

    assert min(seconds(200_000) for _ in range(2)) < 20 * max(min(seconds(20_000) for _ in range(3)), 0.005)
