"""The http runner on a line that breaks and with servers that are busy or confused."""

import asyncio
import gzip
import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from tests.http.conftest import Failed, Loopback, Says, Watch, answer, ask, one_line, question, runner

PASSING: dict[str, Says] = {
    "429": Says({"error": {"message": "slow down"}}, 429),
    "408": Says(status=408),
    "500": Says({"detail": "oops"}, 500),
    "HTML 503": Says(b"<html><style>p {}</style><h1>Service  Unavailable</h1></html>", 503),
    "reset": Says(cut=-1),
    "closed at once": Says(answer().body, cut=0),
    "reset in mid-body": Says(answer().body, cut=25),
    "half a body, whole reply": Says(json.dumps(answer().body).encode()[:40]),
    "no JSON": Says(b"upstream connect error"),
    "deep JSON": Says(b"[" * 100_000),
    "bad gzip": Says(b"no gzip", headers={"Content-Encoding": "gzip"}),
    "a list": Says([1, 2]),
    "no choices": Says({"choices": []}),
    "choices null": Says({"choices": None}),
    "choice of the wrong type": Says({"choices": ["Paris"]}),
    "no message": Says({"choices": [{"finish_reason": "stop", "message": None}]}),
    "content of the wrong type": answer({"text": "Paris"}),
    "part of the wrong type": answer([7]),
    "tool_calls of the wrong type": answer(None, tool_calls="f()"),
    "error with status 200": Says({"error": {"message": "provider down", "code": 502}}),
}


@pytest.mark.parametrize("name", PASSING)
def test_a_passing_failure_is_tried_again(server: Loopback, name: str) -> None:
    watch = Watch()
    output = ask(server.says(PASSING[name], PASSING[name], answer()), question(progress=watch))
    assert (output.text, output.retries) == ("Paris", 2)
    assert len(server.posts) == 3
    assert len(watch.retries) == 2
    assert all("\n" not in reason and reason for reason, _ in watch.retries)
    assert [asked.body for asked in server.posts] == [server.posts[0].body] * 3


@pytest.mark.parametrize("name", PASSING)
def test_a_lasting_failure_ends_in_one_clear_line_after_the_last_try(server: Loopback, name: str) -> None:
    with pytest.raises(Failed, match=r"\(3 tries\)$") as error:
        ask(server.says(PASSING[name]), retries=2, backoff=0.001)
    assert server.url in one_line(error)
    assert len(server.posts) == 3


def test_the_servers_words_are_in_the_error(server: Loopback) -> None:
    with pytest.raises(Failed, match="503 Service Unavailable"):
        ask(server.says(PASSING["HTML 503"]), retries=0)
    with pytest.raises(Failed, match="429 slow down"):
        ask(server.says(PASSING["429"]), retries=0)


def test_an_answer_that_does_not_come_in_time_is_tried_again(server: Loopback) -> None:
    output = ask(server.says(answer()._replace(wait=60), answer()), timeout=2)
    assert (output.text, output.retries) == ("Paris", 1)
    with pytest.raises(Failed, match=r"no answer within 0\.2 s"):
        ask(server.says(answer()._replace(wait=60)), timeout=0.2, retries=0)


def test_waiting_for_a_place_is_not_on_the_clock_of_the_answer(server: Loopback) -> None:
    outputs = ask(server.says(answer()._replace(wait=0.5)), *(question() for _ in range(6)), concurrency=1, timeout=2.5)
    assert [output.retries for output in outputs] == [0] * 6


def test_waits_grow_and_vary(server: Loopback) -> None:
    watch = Watch()
    with pytest.raises(Failed):
        ask(server.says(PASSING["429"]), question(progress=watch), retries=4, backoff=0.02)
    waits = [wait for _, wait in watch.retries]
    assert all(0.01 * 2**i <= wait <= 0.02 * 2**i for i, wait in enumerate(waits))
    assert len({wait / 2**i for i, wait in enumerate(waits)}) > 1


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(server: Loopback, form: str) -> None:
    when = "1" if form == "seconds" else format_datetime(datetime.now(UTC) + timedelta(seconds=4), usegmt=True)
    watch = Watch()
    begin = time.monotonic()
    ask(server.says(Says(status=429, headers={"Retry-After": when}), answer()), question(progress=watch))
    assert time.monotonic() - begin > 0.9
    assert 0.9 < watch.retries[0][1] <= 4


@pytest.mark.parametrize("asked", ["999999999", "nan", "-5", "soon", "Mon, 99 Foo 2020", ""])
def test_an_absurd_retry_after_is_bounded(server: Loopback, asked: str) -> None:
    async def story() -> float:
        made, watch = runner(server.says(Says(status=429, headers={"Retry-After": asked}), answer())), Watch()
        going = asyncio.create_task(made.generate(question(progress=watch)))
        await watch.waiting.wait()
        going.cancel()
        await asyncio.gather(going, return_exceptions=True)
        await made.aclose()
        return watch.retries[0][1]

    assert asyncio.run(story()) <= (120 if asked.startswith("9") else 0.02)


def test_a_response_without_end_is_not_read(server: Loopback) -> None:
    huge = gzip.compress(b" " * (65 * 2**20))
    with pytest.raises(Failed, match="longer than 64 MB"):
        ask(server.says(Says(huge, headers={"Content-Encoding": "gzip"})))
    assert len(server.posts) == 1
