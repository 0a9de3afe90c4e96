"""Retries after broken connections, overloads and malformed responses."""

import asyncio
import gzip
import importlib
import json
import time
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from tests.http.conftest import (
    Failed,
    Loopback,
    RecordingProgress,
    Reply,
    answer,
    ask,
    http,
    one_line,
    question,
    runner,
)

responses = importlib.import_module(f"{http.__name__}.responses")

PASSING: dict[str, Reply] = {
    "429": Reply({"error": {"message": "slow down"}}, 429),
    "408": Reply(status=408),
    "500": Reply({"detail": "oops"}, 500),
    "HTML 503": Reply(b"<html><style>p {}</style><h1>Service  Unavailable</h1></html>", 503),
    "reset": Reply(cut_at=-1),
    "closed at once": Reply(answer().body, cut_at=0),
    "reset in mid-body": Reply(answer().body, cut_at=25),
    "half a body, whole reply": Reply(json.dumps(answer().body).encode()[:40]),
    "no JSON": Reply(b"upstream connect error"),
    "deep JSON": Reply(b"[" * 100_000),
    "bad gzip": Reply(b"no gzip", headers={"Content-Encoding": "gzip"}),
    "a list": Reply([1, 2]),
    "no choices": Reply({"choices": []}),
    "choices null": Reply({"choices": None}),
    "choice of the wrong type": Reply({"choices": ["Paris"]}),
    "no message": Reply({"choices": [{"finish_reason": "stop", "message": None}]}),
    "content of the wrong type": answer({"answer": "Paris"}),
    "part of the wrong type": answer([7]),
    "tool_calls of the wrong type": answer(None, tool_calls="f()"),
    "error with status 200": Reply({"error": {"message": "provider down", "code": 502}}),
    **{str(status): Reply(status=status) for status in (409, 425, 499, 502, 503, 504, 507, 529, 530, 598, 599)},
    **{f"Cloudflare {status}": Reply(b"<html>error code: 5xx</html>", status) for status in range(520, 528)},
    "overloaded, with status 200": Reply({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}),
}
WALLS: dict[str, Reply] = {
    "a challenge with 200": Reply(
        b"<!DOCTYPE html><title>Just a moment...</title>", headers={"Content-Type": "text/html"}
    ),
    "a challenge with 403": Reply(b"<!DOCTYPE html><title>Just a moment...</title>", 403),
    "405": Reply(b"<html><body>Method blocked</body></html>", 405),
    "404 of an ingress": Reply(b"<html><h1>404 page not found</h1></html>", 404),
    "400": Reply(b"<html><h1>Bad Request</h1></html>", 400),
}


@pytest.mark.parametrize("name", PASSING)
def test_a_passing_failure_is_retried(server: Loopback, name: str) -> None:
    progress = RecordingProgress()
    output = ask(server.reply(PASSING[name], PASSING[name], answer()), question(progress=progress))
    assert (output.text, output.retries) == ("Paris", 2)
    assert len(server.posts) == 3
    assert len(progress.retries) == 2
    assert all("\n" not in reason and reason for reason, _ in progress.retries)
    assert [request.body for request in server.posts] == [server.posts[0].body] * 3


@pytest.mark.parametrize("name", PASSING)
def test_a_lasting_failure_ends_in_one_clear_line_after_the_last_try(server: Loopback, name: str) -> None:
    with pytest.raises(Failed, match=r"\(3 tries\)$") as error:
        ask(server.reply(PASSING[name]), retries=2, backoff=0.001)
    assert server.url in one_line(error)
    assert len(server.posts) == 3


@pytest.mark.parametrize("name", WALLS)
def test_a_firewalls_page_in_the_middle_of_a_run_is_retried(server: Loopback, name: str) -> None:
    server.reply(answer(), WALLS[name], WALLS[name], answer())

    async def scenario() -> list[int]:
        async with aclosing(runner(server)) as client:
            outputs = [await client.generate(question()) for _ in range(2)]
        return [output.retries for output in outputs]

    assert asyncio.run(scenario()) == [0, 2]


@pytest.mark.parametrize("status", [400, 413, 418, 501, 505])
def test_what_does_not_pass_is_not_tried_again(server: Loopback, status: int) -> None:
    with pytest.raises(Failed, match=f"{status} no"):
        ask(server.reply(Reply({"error": {"message": "no"}}, status)))
    assert len(server.posts) == 1


def test_a_request_of_too_many_bytes_is_not_mistaken_for_a_long_prompt(server: Loopback) -> None:
    with pytest.raises(
        Failed, match=r"413 Request Entity Too Large nginx: the request has \d+ bytes, and a proxy"
    ) as error:
        ask(server.reply(Reply(b"<html><h1>Request Entity Too Large</h1>nginx</html>", 413)))
    one_line(error)


def test_the_servers_words_are_in_the_error(server: Loopback) -> None:
    with pytest.raises(Failed, match="503 Service Unavailable"):
        ask(server.reply(PASSING["HTML 503"]), retries=0)
    with pytest.raises(Failed, match="429 slow down"):
        ask(server.reply(PASSING["429"]), retries=0)


def test_an_answer_that_times_out_is_retried(server: Loopback) -> None:
    output = ask(server.reply(answer()._replace(delay=60), answer()), timeout=2)
    assert (output.text, output.retries) == ("Paris", 1)
    with pytest.raises(Failed, match=r"no answer within 0\.2 s"):
        ask(server.reply(answer()._replace(delay=60)), timeout=0.2, retries=0)


def test_time_in_the_queue_does_not_count_against_the_timeout(server: Loopback) -> None:
    outputs = ask(
        server.reply(answer()._replace(delay=0.5)), *(question() for _ in range(6)), concurrency=1, timeout=2.5
    )
    assert [output.retries for output in outputs] == [0] * 6


def test_waits_grow_and_vary(server: Loopback) -> None:
    progress = RecordingProgress()
    with pytest.raises(Failed):
        ask(server.reply(PASSING["429"]), question(progress=progress), retries=4, backoff=0.02)
    waits = [wait for _, wait in progress.retries]
    assert all(0.01 * 2**i <= wait <= 0.02 * 2**i for i, wait in enumerate(waits))
    assert len({wait / 2**i for i, wait in enumerate(waits)}) > 1


def test_retry_after_is_honoured(server: Loopback) -> None:
    progress = RecordingProgress()
    begin = time.monotonic()
    ask(server.reply(Reply(status=429, headers={"Retry-After": "1"}), answer()), question(progress=progress))
    assert time.monotonic() - begin > 0.9
    assert 0.9 < progress.retries[0][1] <= 4


SOON = datetime.now(UTC) + timedelta(hours=1)
WAITS: list[tuple[dict[str, str], str, float]] = [
    ({"retry-after": "7"}, "", 7),
    ({"retry-after": "1.5"}, "", 1.5),
    ({"retry-after-ms": "1500", "retry-after": "2"}, "", 1.5),
    ({"retry-after": format_datetime(SOON, usegmt=True)}, "", 3600),
    ({"retry-after": SOON.strftime("%A, %d-%b-%y %H:%M:%S GMT")}, "", 3600),
    ({"retry-after": SOON.strftime("%a %b %e %H:%M:%S %Y")}, "", 3600),
    ({"retry-after": SOON.isoformat(timespec="seconds")}, "", 3600),
    ({"retry-after": "30s"}, "", 30),
    ({"retry-after": "-5"}, "", 0),
    ({"retry-after": "nan"}, "", 0),
    ({"retry-after": "inf"}, "", 0),
    ({"retry-after": "9" * 400}, "", 0),
    ({"retry-after": "Mon, 01 Jan 1990 00:00:00 GMT"}, "", 0),
    ({"retry-after": "Mon, 99 Foo 2020"}, "", 0),
    ({"retry-after-ms": "-1"}, "", 0),
    ({"retry-after": str(int(SOON.timestamp()))}, "", 3600),
    ({"x-ms-retry-after-ms": "1500"}, "", 1.5),
    ({}, 'slow down {"retryDelay": "45s"}', 45),
    ({}, "try again in about 5 minutes", 300),
    ({}, "请求过于频繁，请在 30 秒后重试", 30),
    ({}, "Rate limit reached. Please try again in 20s. Visit x", 20),
    ({}, "Please try again in 1.2s.", 1.2),
    ({}, "Please try again in 350ms.", 0.35),
    ({}, "Please try again in 6m12s.", 372),
    ({}, "Please retry in 45.25s.", 45.25),
    ({}, "try again after 2 minutes", 120),
    ({}, "Retry after 30 seconds", 30),
    ({}, "try again in 1h2m", 3720),
    ({}, "You may try again in a while, 20s of audio were sent", 0),
    ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-remaining-requests": "59"}, "", 0),
    (
        {
            "x-ratelimit-reset-requests": "1s",
            "x-ratelimit-remaining-requests": "59",
            "x-ratelimit-reset-tokens": "6m0s",
            "x-ratelimit-remaining-tokens": "0",
        },
        "",
        360,
    ),
    ({"x-ratelimit-reset": str(int(SOON.timestamp())), "x-ratelimit-remaining": "0"}, "", 3600),
    ({"x-ratelimit-reset": str(int(SOON.timestamp() * 1000)), "x-ratelimit-remaining": "0"}, "", 3600),
]


@pytest.mark.parametrize(("headers", "message", "wait"), WAITS, ids=range(len(WAITS)))
def test_waits_are_read_in_every_form(headers: dict[str, str], message: str, wait: float) -> None:
    assert responses.retry_after(headers, message) == pytest.approx(wait, abs=1800 if wait == 3600 else 0.01)


@pytest.mark.parametrize("header", ["999999999", "nan", "-5", "soon", "Mon, 99 Foo 2020", ""])
def test_an_absurd_retry_after_is_bounded(server: Loopback, header: str) -> None:
    async def scenario() -> float:
        progress = RecordingProgress()
        async with aclosing(
            runner(server.reply(Reply(status=429, headers={"Retry-After": header}), answer()))
        ) as client:
            going = asyncio.create_task(client.generate(question(progress=progress)))
            await progress.waiting.wait()
            going.cancel()
            await asyncio.gather(going, return_exceptions=True)
        return progress.retries[0][1]

    assert asyncio.run(scenario()) <= (120 if header.startswith("9") else 0.02)


def test_a_response_without_end_is_not_read(server: Loopback) -> None:
    huge = gzip.compress(b" " * (65 * 2**20))
    with pytest.raises(Failed, match="longer than 64 MB"):
        ask(server.reply(Reply(huge, headers={"Content-Encoding": "gzip"})))
    assert len(server.posts) == 1


def test_an_endless_error_is_read_to_its_first_megabyte(server: Loopback) -> None:
    reply = Reply(b"<p>oops </p>" * 2**16, 400, repeat=200)
    with pytest.raises(Failed, match="400 oops oops"):
        ask(server.reply(reply))
    assert len(server.posts) == 1
