"""The start of the http runner, and errors for wrong options."""

import asyncio
import base64
import re
from contextlib import aclosing
from typing import Any

import pytest

from m1eval import Output, RunnerError, UsageError
from tests.http.conftest import (
    KEY,
    Loopback,
    RecordingProgress,
    Reply,
    answer,
    ask,
    http,
    one_line,
    question,
    runner,
    start,
)
from tests.serving import Closed, Rude


# The start
def test_the_start_finds_the_model_and_its_window(server: Loopback) -> None:
    server.models = Reply({"data": [{"id": "other"}, {"id": "org/m", "max_model_len": 32768, "permission": [1]}]})
    client = start(server)
    assert client.context_window == 32768
    assert client.describe() == {"base_url": server.url, "server_model": {"id": "org/m", "max_model_len": 32768}}
    assert server.posts == []
    assert start(server, window=1000).context_window == 1000


@pytest.mark.parametrize("meta", [{"n_ctx_train": 8192, "n_ctx": 1024}, {"n_ctx": 1024}])
def test_the_window_that_llamacpp_serves_wins_over_the_trained_one(server: Loopback, meta: dict[str, int]) -> None:
    server.models = Reply({"data": [{"id": "m", "meta": meta}]})
    assert start(server).context_window == 1024


def test_an_unlisted_model_is_tried_and_the_first_refusal_names_the_closest(server: Loopback) -> None:
    server.models = Reply({"data": [{"id": "MiniMax-M1-80k"}, {"id": "qwen3"}]})
    assert start(server, "MiniMax-M1-40k").notes == [
        f"{server.url} lists no model 'MiniMax-M1-40k'; did you mean MiniMax-M1-80k? it is asked anyway"
    ]
    server.reply(Reply({"error": {"message": "The model does not exist", "code": "model_not_found"}}, 404))
    with pytest.raises(RunnerError) as error:
        ask_after_start(server, "MiniMax-M1-40k")
    assert one_line(error) == (
        f"http: {server.url}: model 'MiniMax-M1-40k' is not there (404 The model does not exist model_not_found); "
        "did you mean MiniMax-M1-80k? (models: MiniMax-M1-80k, qwen3)"
    )


def ask_after_start(server: Loopback, model: str = "m", **options: Any) -> Output:
    async def scenario() -> Output:
        async with aclosing(runner(server, model, **options)) as client:
            await client.start(RecordingProgress())
            output: Output = await client.generate(question())
        return output

    return asyncio.run(scenario())


MISSING: dict[str, Reply] = {
    "OpenAI": Reply({"error": {"message": "The model `m` does not exist or you do not have access to it."}}, 404),
    "OpenRouter": Reply({"error": {"message": "m is not a valid model ID", "code": 400}}, 400),
    "with status 400": Reply({"error": {"message": "Model not found", "code": "model_not_found"}}, 400),
    "Azure": Reply({"error": {"code": "DeploymentNotFound", "message": "The API deployment does not exist."}}, 404),
    "vLLM": Reply({"object": "error", "message": "The model `m` does not exist.", "type": "NotFoundError"}, 404),
    "Ollama": Reply({"error": {"message": 'model "m" not found, try pulling it first', "type": "api_error"}}, 404),
    "in a body with status 200": Reply({"error": {"message": "no", "code": "model_not_found"}}),
}


@pytest.mark.parametrize("name", MISSING)
def test_a_model_that_is_not_there_ends_the_run_at_the_first_request(server: Loopback, name: str) -> None:
    server.models = Reply({"data": [{"id": "mm"}]})
    with pytest.raises(RunnerError, match=r"did you mean mm\?") as error:
        ask_after_start(server.reply(MISSING[name]))
    one_line(error)
    assert len(server.posts) == 1


HEARD: dict[str, Reply] = {
    "403": Reply({"error": "forbidden"}, 403),
    "400": Reply({"error": "bad request"}, 400),
    "500": Reply(status=500),
    "a page": Reply(b"<html><title>Welcome</title></html>", headers={"Content-Type": "text/html"}),
    "a page with 403": Reply(b"<html><title>Just a moment...</title></html>", 403),
    "a restricted key": Reply(
        {"error": "You have insufficient permissions for this operation. Missing scopes: api.model.read."}, 401
    ),
    "a redirect": Reply(status=302, headers={"Location": "/login"}),
    "too long a list": Reply(b" " * 2**20, repeat=65),
}


@pytest.mark.parametrize("name", [name for name in HEARD if name != "too long a list"])
def test_a_model_list_that_is_denied_is_a_note_and_the_first_request_decides(server: Loopback, name: str) -> None:
    server.models = HEARD[name]
    client = start(server)
    assert len(client.notes) == 1
    assert client.notes[0].startswith(f"{server.url} does not list its models: ")
    assert ask_after_start(server).text == "Paris"
    server.reply(Reply({"error": {"message": "Incorrect API key provided"}}, 401))
    with pytest.raises(RunnerError, match=r"set \$OPENAI_API_KEY"):
        ask_after_start(server)


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("message", ["Incorrect API key provided: sk-1", "Missing API key", "invalid token"])
def test_a_wrong_key_is_reported_at_the_start(server: Loopback, status: int, message: str) -> None:
    server.models = Reply({"error": {"message": message}}, status)
    with pytest.raises(RunnerError, match=r"set \$OPENAI_API_KEY to a key"):
        start(server)
    assert server.posts == []


@pytest.mark.parametrize(
    "reply",
    [
        Reply({"error": {"message": "API key not valid. Please pass a valid API key.", "code": 400}}, 400),
        Reply({"choices": None, "base_resp": {"status_code": 1004, "status_msg": "login fail: invalid api key"}}),
    ],
)
def test_a_wrong_key_may_come_with_any_status(server: Loopback, reply: Reply) -> None:
    with pytest.raises(RunnerError, match=r"set \$OPENAI_API_KEY"):
        ask(server.reply(reply))


LISTS: list[tuple[str, Any]] = [
    ("m:nitro", {"data": [{"id": "org/m", "context_length": 512}]}),
    ("openai/gpt-x", {"data": [{"id": "openai/*"}]}),
    ("m", {"models": [{"name": "m", "model": "m", "context_length": 512}]}),
    ("m:8b", {"models": [{"name": "m:8b"}]}),
    ("m", [{"id": "m"}]),
    ("m", {"data": ["m", "n"]}),
    ("gemini-2.5-pro", {"models": [{"name": "models/gemini-2.5-pro", "inputTokenLimit": 1048576}]}),
    ("Qwen3-8B", {"data": [{"id": "qwen3-8b"}]}),
    ("lora", {"data": [{"id": "base", "max_model_len": 512}, {"id": "lora", "parent": "base"}]}),
    ("m", {"models": {"m": {"context_window": 512}}}),
    ("zzz", {"data": [{"id": "a"}], "has_more": True}),
]


@pytest.mark.parametrize(("model", "listing"), LISTS)
def test_a_model_is_found_in_lists_of_many_forms(server: Loopback, model: str, listing: Any) -> None:
    server.models = Reply(listing)
    assert start(server, model).notes == []


@pytest.mark.parametrize(
    "reply", [Reply(status=404), Reply(status=405), Reply({"data": []}), Reply({"data": [1, {}]}), Reply([])]
)
def test_a_server_without_a_model_list_is_accepted(server: Loopback, reply: Reply) -> None:
    server.models = reply
    assert start(server).context_window is None


def test_a_server_that_is_busy_at_the_start_is_waited_for(server: Loopback) -> None:
    server.models = Reply({"error": {"message": "Loading model"}}, 503)

    async def scenario() -> None:
        progress = RecordingProgress()
        async with aclosing(runner(server, retries=20)) as client:
            starting = asyncio.create_task(client.start(progress))
            await progress.waiting.wait()
            server.models = Reply({"data": [{"id": "m"}]})
            await starting

    asyncio.run(scenario())


@pytest.mark.parametrize("scheme", ["refused", "no name", "silent TLS", "broken TLS"])
def test_an_unreachable_server_ends_the_start_without_retries(server: Loopback, scheme: str) -> None:
    with Rude() as rude, Closed() as closed:
        urls = {
            "refused": f"http://127.0.0.1:{closed}/v1",
            "no name": "http://no-such-host.invalid/v1",
            "silent TLS": f"https://127.0.0.1:{server.port}/v1",
            "broken TLS": f"https://127.0.0.1:{rude}/v1",
        }
        with pytest.raises(RunnerError, match=r"cannot connect.*is the server up, and is base_url= right") as error:
            start(server, base_url=urls[scheme], backoff=60, connect_timeout=1)
    assert urls[scheme] in one_line(error)
    assert ("connection refused" in str(error.value)) is (scheme == "refused")


def test_a_page_in_place_of_an_api_ends_the_run_after_a_few_retries(server: Loopback) -> None:
    page = Reply(b"<html><title>Welcome</title></html>", headers={"Content-Type": "text/html"})
    server.models = page
    with pytest.raises(RunnerError, match=r"is not an API .*'Welcome'.*is base_url= right"):
        ask_after_start(server.reply(page))
    assert len(server.posts) == 3
    assert ask_after_start(server.reply(page, answer())).text == "Paris", "it may pass"


# The options
def test_the_address_may_stand_in_the_environment(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    assert start(server, base_url=None).describe()["base_url"] == server.url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:{}/v1/", "/v1"),
        ("http://127.0.0.1:{}/v1/chat/completions", "/v1"),
        ("http://127.0.0.1:{}/v1/models/", "/v1"),
        ("HTTP://127.0.0.1:{}/api", "/api"),
        ("http://127.0.0.1:{}", ""),
        (" http://127.0.0.1:{}/v1 ", "/v1"),
    ],
)
def test_addresses_are_accepted_as_people_paste_them(server: Loopback, url: str, expected: str) -> None:
    assert ask_after_start(server, base_url=url.format(server.port)).text == "Paris"
    assert [request.path for request in server.received] == [f"{expected}/models", f"{expected}/chat/completions"]


@pytest.mark.parametrize("login", ["u:p@ss", "u:p%40ss", "u:p:s@s"])
def test_a_password_may_hold_an_at_sign_and_is_shown_nowhere(server: Loopback, login: str) -> None:
    client = start(server, base_url=server.url.replace("//", f"//{login}@"))
    sent = base64.b64decode(server.received[0].headers["authorization"].removeprefix("Basic ")).decode()
    assert sent == login.replace("%40", "@")
    assert client.describe()["base_url"] == client.base_url == server.url


def test_a_wrong_address_does_not_show_its_password() -> None:
    with pytest.raises(UsageError) as error:
        http.Runner("m", base_url="http://user:hunter22@h:notaport/v1?key=hunter33")
    assert "hunter" not in one_line(error)


def test_azure_deployments_get_their_version_and_their_own_key(
    server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    server.models = Reply({"error": {"code": "404", "message": "Resource not found"}}, 404)
    url = server.url.replace("/v1", "/openai/deployments/gpt-4o?api-version=2024-10-21&sig=very-secret")
    client = start(server, base_url=url)
    assert ask_after_start(server, base_url=url).text == "Paris"
    post = server.posts[0]
    assert post.path == "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21&sig=very-secret"
    assert post.headers["api-key"] == KEY
    assert "authorization" not in post.headers
    shown = server.url.replace("/v1", "/openai/deployments/gpt-4o?api-version=2024-10-21&sig=***")
    assert client.describe()["base_url"] == shown
    assert client.notes == []
    assert "very-secret" not in client.base_url


@pytest.mark.parametrize(
    ("value", "sent"),
    [("$ORG", "org-1"), ("a ${ORG}b", "a org-1b"), ("$$ORG", "$ORG"), ("5$", "5$"), ("$5", "$5"), (7, "7")],
)
def test_variables_in_headers_are_filled_in(
    server: Loopback, monkeypatch: pytest.MonkeyPatch, value: Any, sent: str
) -> None:
    monkeypatch.setenv("ORG", "org-1")
    ask(server, headers={"x-org": value})
    assert server.posts[0].headers["x-org"] == sent


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": ""}, 'model="http:NAME"'),
        ({}, 'base_url="http://host:port/v1", or set OPENAI_BASE_URL'),
        ({"base_url": "localhost:8000"}, "localhost:8000 has no scheme; write http://localhost:8000"),
        ({"base_url": "127.0.0.1:8000/v1"}, "write http://127.0.0.1:8000/v1"),
        ({"base_url": "api.openai.com/v1"}, "write http://api.openai.com/v1, or https://"),
        ({"base_url": "file:///tmp/v1"}, "has not the form http://host:port/v1"),
        ({"base_url": "http://"}, "has not the form http://host:port/v1"),
        ({"base_url": "http://h:notaport/v1"}, "http://h:notaport/v1 has no port between 1 and 65535"),
        ({"base_url": "http://h:0/v1"}, "no port between 1 and 65535"),
        ({"base_url": "http://h:99999/v1"}, "no port between 1 and 65535"),
        ({"base_url": "http://[::1/v1"}, "no such host"),
        ({"base_url": "http://h/v1,http://h/v1/"}, "names a server twice"),
        ({"base_url": "http://h/v1", "headers": '{"x": "$NOPE"}'}, "x names $NOPE, which is not set"),
        ({"base_url": "http://h/v1", "headers": '{"x": "a\\nb"}'}, "the value of x has a line break"),
        ({"base_url": "http://h/v1", "headers": {"X-A": "1", "x-a": "2"}}, "x-a is given twice"),
        ({"base_url": "http://h/v1", "headers": '{"a": "1", "a": "2"}'}, "'a' is given twice"),
        ({"base_url": "http://h/v1", "headers": {"a b": "1"}}, "'a b' is not the name of a header"),
        ({"base_url": "http://h/v1", "headers": {"a": ["1"]}}, "the value of a is not a text"),
        ({"base_url": "http://h/v1", "retries": -1}, "retries must be a whole number of at least 0, not -1"),
        ({"base_url": "http://h/v1", "retries": 1.5}, "retries must be a whole number of at least 0, not 1.5"),
        ({"base_url": "http://h/v1", "concurrency": 0}, "concurrency must be a whole number of at least 1, not 0"),
        (
            {"base_url": "http://h/v1", "concurrency": True},
            "concurrency must be a whole number of at least 1, not True",
        ),
        ({"base_url": "http://h/v1", "n": 0}, "n must be a whole number of at least 1, not 0"),
        ({"base_url": "http://h/v1", "n": None}, "n must be a whole number of at least 1, not None"),
        ({"base_url": "http://h/v1", "window": "abc"}, "window: 'abc' is not a number of tokens"),
        ({"base_url": "http://h/v1", "timeout": "abc"}, "timeout must be a number of seconds above 0, not 'abc'"),
        ({"base_url": "http://h/v1", "timeout": float("nan")}, "timeout must be a number of seconds above 0, not nan"),
        ({"base_url": "http://h/v1", "timeout": 0}, "timeout must be a number of seconds above 0, not 0"),
        ({"base_url": "http://h/v1", "read_timeout": -1}, "read_timeout must be a number of seconds above 0, not -1"),
        (
            {"base_url": "http://h/v1", "connect_timeout": []},
            "connect_timeout must be a number of seconds above 0, not []",
        ),
        ({"base_url": "http://h/v1", "patience": "inf"}, "patience must be a number of seconds, 0 or more, not 'inf'"),
        ({"base_url": "http://h/v1", "backoff": -0.1}, "backoff must be a number of seconds, 0 or more, not -0.1"),
        ({"base_url": "http://h/v1", "extra_body": "{"}, "extra_body is not JSON"),
        (
            {"base_url": "http://h/v1", "extra_body": '{"n": 4}'},
            'all answers but one away; write option={"n": 4} instead',
        ),
        ({"base_url": "http://h/v1", "extra_body": {"n": "4"}}, 'option={"n": 4}'),
        ({"base_url": "http://h/v1", "headers": "[1]"}, "headers is not a JSON object"),
        ({"base_url": "http://h/v1", "thinking": "maybe"}, "auto, yes or no"),
    ],
)
@pytest.mark.usefixtures("server")
def test_wrong_options_are_answered_with_what_to_do(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)) as error:
        http.Runner(**{"model": "m", **options})
    one_line(error)


def test_what_does_not_change_the_answer_is_loose() -> None:
    assert {"base_url", "timeout", "retries", "concurrency", "headers", "api_key_env"} <= http.Runner.unpinned_options
    assert not http.Runner.unpinned_options & {"extra_body", "thinking", "window"}
