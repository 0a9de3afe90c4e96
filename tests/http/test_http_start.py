"""How the http runner meets a server, and what it says to wrong options."""

import asyncio
import re
from typing import Any

import pytest

from m1eval import RunnerError, UsageError
from tests.http.conftest import Loopback, Says, Watch, http, one_line, runner, start
from tests.serving import Closed, Rude


# The start
def test_the_start_finds_the_model_and_its_window(server: Loopback) -> None:
    server.models = Says({"data": [{"id": "other"}, {"id": "org/m", "max_model_len": 32768, "permission": [1]}]})
    made = start(server)
    assert made.window == 32768
    assert made.describe() == {"base_url": server.url, "server_model": {"id": "org/m", "max_model_len": 32768}}
    assert server.posts == []
    assert start(server, window=1000).window == 1000


@pytest.mark.parametrize("meta", [{"n_ctx_train": 8192, "n_ctx": 1024}, {"n_ctx": 1024}])
def test_the_window_that_llamacpp_serves_wins_over_the_trained_one(server: Loopback, meta: dict[str, int]) -> None:
    server.models = Says({"data": [{"id": "m", "meta": meta}]})
    assert start(server).window == 1024


def test_an_unknown_model_is_answered_with_the_nearest(server: Loopback) -> None:
    server.models = Says({"data": [{"id": "MiniMax-M1-80k"}, {"id": "qwen3"}]})
    with pytest.raises(RunnerError) as error:
        start(server, "MiniMax-M1-40k")
    assert one_line(error) == (
        f"server at {server.url} has no model 'MiniMax-M1-40k'; did you mean MiniMax-M1-80k? "
        "(models: MiniMax-M1-80k, qwen3)"
    )


@pytest.mark.parametrize(
    "says", [Says(status=404), Says(status=405), Says({"data": []}), Says({"data": [1, {}]}), Says([])]
)
def test_a_server_without_a_model_list_is_taken_at_its_word(server: Loopback, says: Says) -> None:
    server.models = says
    assert start(server).window is None


def test_a_server_that_is_busy_at_the_start_is_waited_for(server: Loopback) -> None:
    server.models = Says({"error": {"message": "Loading model"}}, 503)

    async def story() -> None:
        made, watch = runner(server, retries=20), Watch()
        starting = asyncio.create_task(made.start(watch))
        await watch.waiting.wait()
        server.models = Says({"data": [{"id": "m"}]})
        await starting
        await made.aclose()

    asyncio.run(story())


@pytest.mark.parametrize("scheme", ["refused", "no name", "silent TLS", "broken TLS"])
def test_a_server_that_cannot_be_reached_ends_the_start_at_once(server: Loopback, scheme: str) -> None:
    with Rude() as rude, Closed() as closed:
        urls = {
            "refused": f"http://127.0.0.1:{closed}/v1",
            "no name": "http://no-such-host.invalid/v1",
            "silent TLS": f"https://127.0.0.1:{server.port}/v1",
            "broken TLS": f"https://127.0.0.1:{rude}/v1",
        }
        with pytest.raises(RunnerError, match=r"cannot connect.*is the server up, and is --base-url right") as error:
            start(server, base_url=urls[scheme], backoff=60, connect_timeout=1)
    assert urls[scheme] in one_line(error)
    assert ("connection refused" in str(error.value)) is (scheme == "refused")


def test_a_page_that_is_no_api_ends_the_start_at_once(server: Loopback) -> None:
    server.models = Says(b"<html><title>Welcome</title></html>")
    with pytest.raises(RunnerError, match=r"no JSON: 'Welcome'.*--base-url right"):
        start(server, backoff=10)


# The options
def test_the_address_may_stand_in_the_environment(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    assert start(server, base_url=None).describe()["base_url"] == server.url


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": ""}, "--model http:NAME"),
        ({}, "--base-url http://host:port/v1, or set OPENAI_BASE_URL"),
        ({"base_url": "localhost:8000"}, "http://host:port/v1"),
        ({"base_url": "http://h/v1", "extra_body": "{"}, "extra_body is not JSON"),
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
    assert {"base_url", "timeout", "retries", "concurrency", "headers", "api_key_env"} <= http.Runner.loose
    assert not http.Runner.loose & {"extra_body", "thinking", "window"}
