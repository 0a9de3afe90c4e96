"""Refusals, and keys that are never shown."""

import asyncio
import json
import re
import time
from contextlib import aclosing
from typing import Any

import pytest

from m1eval import Output, RunnerError, Sampling
from tests.http.conftest import (
    KEY,
    Failed,
    Loopback,
    ReceivedRequest,
    RecordingProgress,
    Reply,
    answer,
    ask,
    one_line,
    question,
    runner,
    start,
)


# What is refused
@pytest.mark.parametrize(
    "error",
    [
        {
            "message": "This model's maximum context length is 2048 tokens. However, you requested 3000 tokens",
            "code": 400,
        },
        {"message": "The decoder prompt (length 5000) is longer than the maximum model length of 2048."},
        {"message": "You passed 2049 input tokens. However, the model's context length is only 2048 tokens"},
        {"message": "request (3031 tokens) exceeds the available context size (1024 tokens)", "code": 400},
        {"message": "too big", "type": "exceed_context_size_error"},
        {"message": "Please reduce the length. " + "x" * 500, "code": "context_length_exceeded"},
        {"message": "litellm.ContextWindowExceededError: litellm.BadRequestError: no", "type": None},
        {"message": "The input (9000 tokens) is longer than the model's context length (8192 tokens)."},
        {"message": "Requested token count exceeds the model's maximum context length of 8192 tokens."},
    ],
)
@pytest.mark.parametrize("status", [400, 500])
def test_an_overlong_prompt_is_an_output_not_an_error(server: Loopback, error: dict[str, Any], status: int) -> None:
    output = ask(server.reply(Reply({"error": error}, status)))
    assert (output.finish_reason, output.text) == ("refused_context", "")
    assert output.error is not None
    assert error["message"][:20] in output.error
    assert len(output.error) <= 300
    assert len(server.posts) == 1


def test_a_prompt_that_fits_is_sent_without_max_tokens_when_those_do_not_fit(server: Loopback) -> None:
    def as_vllm(request: ReceivedRequest) -> Reply:
        if "max_tokens" in request.body:
            words = "'max_tokens' is too large: 80000. This model's maximum context length is 2048 tokens"
            return Reply({"error": {"message": words}}, 400)
        return answer()

    server.script = as_vllm
    output = ask(server, question(sampling=Sampling(max_tokens=80_000)))
    assert (output.text, output.finish_reason) == ("Paris", "stop")
    assert "max_tokens" in output.metadata
    assert len(server.posts) == 2


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_bad_request_fails_without_retries_with_the_servers_message(server: Loopback, status: int) -> None:
    with pytest.raises(Failed, match=f"{status} .*temperature must be positive") as error:
        ask(server.reply(Reply({"detail": [{"msg": "temperature must be\npositive"}]}, status)))
    one_line(error)
    assert len(server.posts) == 1


@pytest.mark.parametrize(("code", "tries"), [(2013, 1), (1027, 1), (1039, 2), (1033, 2)])
def test_minimaxs_codes_stand_for_what_http_has_statuses_for(server: Loopback, code: int, tries: int) -> None:
    reply = {"choices": None, "base_resp": {"status_code": code, "status_msg": "invalid params, or else"}}
    with pytest.raises(Failed, match="invalid params, or else"):
        ask(server.reply(Reply(reply)), retries=1)
    assert len(server.posts) == tries


@pytest.mark.parametrize("finish", ["abort", "content_filter", ["stop"]])
def test_an_answer_that_the_server_gave_up_on_is_an_error(server: Loopback, finish: Any) -> None:
    with pytest.raises(Failed, match=re.escape(f"finish_reason {finish!r}")):
        ask(server.reply(answer("Par", finish)))


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_ends_the_run_and_names_the_variable(
    server: Loopback, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    reply = Reply({"error": {"message": f"Incorrect API key provided: {KEY}."}}, status)
    with pytest.raises(RunnerError, match=r"set \$OPENAI_API_KEY"):
        ask(server.reply(reply))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(RunnerError, match=r"the key in \$OPENAI_API_KEY is refused") as error:
        ask(server.reply(reply))
    assert KEY not in one_line(error)
    server.models = reply
    with pytest.raises(RunnerError, match=r"the key in \$OPENAI_API_KEY is refused") as error:
        start(server)
    assert KEY not in one_line(error)


def test_a_vanished_model_and_a_moved_server_end_the_run(server: Loopback) -> None:
    with pytest.raises(RunnerError, match=r"model 'm' is not there \(404 The model does not exist"):
        ask(server.reply(Reply({"error": {"message": "The model does not exist"}}, 404)))
    with pytest.raises(RunnerError, match="has moved to https://elsewhere/v1"):
        ask(server.reply(Reply(status=307, headers={"Location": "https://elsewhere/v1"})))
    assert len(server.posts) == 2


def test_a_server_that_goes_away_is_waited_for_and_then_ends_the_run(server: Loopback) -> None:
    async def scenario() -> list[BaseException | Output]:
        async with aclosing(runner(server, concurrency=2, retries=0, patience=1)) as client:
            await client.generate(question())
            await asyncio.to_thread(server.stop)
            ends = await asyncio.gather(*(client.generate(question()) for _ in range(5)), return_exceptions=True)
            ends += await asyncio.gather(client.generate(question()), return_exceptions=True)
        return ends

    begin = time.monotonic()
    ends = asyncio.run(scenario())
    assert time.monotonic() - begin > 1
    assert [type(end) for end in ends] == [RunnerError] * 6, "no sample is charged with it"
    assert "connection refused; no connection for 1s: the server is gone, the same command continues" in str(ends[0])


# Keys
@pytest.mark.parametrize("status", [400, 404, 429, 500, 302])
def test_a_key_that_the_server_echoes_is_never_shown(
    server: Loopback, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OTHER", "other-secret-value")
    progress = RecordingProgress()
    echo = Reply(
        {"error": {"message": f"headers: Bearer {KEY}, x-key: other-secret-value", "code": KEY}},
        status,
        {"Location": f"http://x/?key={KEY}"},
    )
    with pytest.raises((Failed, RunnerError)) as error:
        ask(server.reply(echo), question(progress=progress), headers={"x-key": "$OTHER"}, retries=1)
    for text in [one_line(error), *(reason for reason, _ in progress.retries)]:
        assert KEY not in text
        assert "other-secret-value" not in text
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__ or error.value.__context__ is None


def test_a_key_echoed_in_the_model_list_is_not_described(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.models = Reply({"data": [{"id": "m", "owner": f"Bearer {KEY}", "meta": {"key": KEY, "n_ctx": 512}}]})
    described = start(server).describe()
    assert described["server_model"]["owner"] == "Bearer ***"
    assert KEY not in json.dumps(described)
