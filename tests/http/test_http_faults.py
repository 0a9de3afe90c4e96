"""A run against a faulty server: each sample ends right, or errored with its reason."""

import asyncio
import json
import random
import ssl
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Result, lines, run_of, write
from tests.http.conftest import (
    Failed,
    Loopback,
    ReceivedRequest,
    Reply,
    answer,
    ask,
    one_line,
    question,
    start,
    streamed,
)
from tests.serving import Server

PAGE = b"<html><head><title>503</title></head><body><h1>Service Unavailable</h1></body></html>"
WHOLE = json.dumps(answer("right").body).encode()
PASSING: dict[str, Reply] = {
    "429": Reply({"error": {"message": "Rate limit reached"}}, 429, {"Retry-After": "0.05"}),
    "500": Reply({"error": {"message": "EngineCore died"}}, 500),
    "503 page": Reply(PAGE, 503, {"Content-Type": "text/html"}),
    "reset": Reply(cut_at=-1),
    "half a body": Reply(answer("right").body, cut_at=len(WHOLE) // 2),
    "half JSON": Reply(WHOLE[: len(WHOLE) // 2]),
    "no JSON": Reply(b"upstream connect error or disconnect/reset before headers"),
    "no choices": Reply({"choices": [], "usage": {}}),
    "wrong types": Reply({"choices": [{"message": {"content": 42}, "finish_reason": "stop"}]}),
    "choices a text": Reply({"choices": "right"}),
    "a broken stream": streamed("ri", cut=True),
    "hang": answer("right")._replace(delay=30),
    "odd bytes": Reply(b"\xff\xfe\x00{\x9f\x92"),
}
HARMLESS: dict[str, Reply] = {
    "a stream": streamed("right"),
    "a slow drip": Reply(answer("right").body, drip=0.002),
    "utf-16": Reply(
        json.dumps(answer("right").body).encode("utf-16"), headers={"Content-Type": "x/json; charset=utf-16"}
    ),
    "latin-1": Reply(WHOLE, headers={"Content-Type": "application/json; charset=iso-8859-1"}),
    "no such charset": Reply(WHOLE, headers={"Content-Type": "application/json; charset=klingon"}),
}
LASTING: dict[str, tuple[Reply, str, str | None]] = {
    "null content": (answer(None), "unparsed", None),
    "empty content": (answer(""), "unparsed", None),
    "a filter": (answer("ri", "content_filter"), "errored", "finish_reason 'content_filter'"),
    "a bad request": (
        Reply({"error": {"message": "prompt has bad words"}}, 400),
        "errored",
        "400 prompt has bad words",
    ),
    "a forbidden prompt": (Reply({"error": {"message": "moderated"}}, 403), "errored", "403 moderated"),
    "100 MB": (Reply(b" " * 2**20, repeat=100), "errored", "longer than 64 MB"),
    "always 500": (PASSING["500"], "errored", "500 EngineCore died (3 tries)"),
}


def task(folder: Path, n: int) -> Path:
    """A task whose questions are the samples' numbers."""
    write(folder / "t.jsonl", "".join(json.dumps({"q": f"sample {i}"}) + "\n" for i in range(n)))
    return write(
        folder / "t.yaml",
        "title: T\ndataset: {file: t.jsonl}\nid: '{{ q }}'\nprompt: '{{ q }}'\ntarget: right\nscorer: mine\n",
    )


@pytest.fixture
def grader(tmp_path: Path) -> None:
    """A scorer that finds no answer in an empty text."""
    write(
        tmp_path / "scorers" / "mine.py",
        """
        from m1eval import Score

        class Scorer:
            async def score(self, output, sample, context):
                return Score(value=float(output.text == sample.target), answer=output.text or None)
        """,
    )


def command(server: Loopback, folder: Path, *more: object, retries: int = 2) -> list[str]:
    options = ("-o", "backoff=0.01", "-o", f"retries={retries}", "-o", "timeout=60")
    whole = ("run", "--tasks", folder / "t.yaml", "--model", "http:m", "--base-url", server.url, "--out", folder / "x")
    return [str(word) for word in (*whole, *options, "--json", *more)]


@pytest.mark.usefixtures("grader")
def test_two_thousand_samples_with_a_third_of_the_replies_at_fault(
    server: Loopback, tmp_path: Path, shell: Any
) -> None:
    """About 15 s: half of the faults pass after one or two retries, some are permanent, the others harmless."""
    n, draw = 2000, random.Random(7)
    task(tmp_path, n)
    kinds: dict[str, tuple[str, str]] = {}
    for i in range(n):
        if draw.random() < 0.3:
            kind = draw.choice("pphl")
            names = {"p": list(PASSING), "h": list(HARMLESS), "l": list(LASTING)}[kind]
            name = draw.choice([name for name in names if name != "hang" and (name != "100 MB" or draw.random() < 0.2)])
            kinds[f"sample {i}"] = (name, kind)
    tries: Counter[str] = Counter()
    healed = threading.Event()

    def reply(request: ReceivedRequest) -> Reply:
        sample = request.body["messages"][0]["content"]
        tries[sample] += 1
        name, kind = kinds.get(sample, ("", ""))
        if kind == "l" and not healed.is_set():
            return LASTING[name][0]
        if kind == "h":
            return HARMLESS[name]
        return PASSING[name] if kind == "p" and tries[sample] == 1 else answer("right")

    server.script = reply
    first: Result = shell(*command(server, tmp_path), timeout=110)
    records = {line["id"]: line for line in lines(run_of(tmp_path / "x") / "samples.jsonl")}
    assert len(records) == n, "none is lost"
    assert len(lines(run_of(tmp_path / "x") / "samples.jsonl")) == n, "none is doubled"
    for sample, record in records.items():
        name, kind = kinds.get(sample, ("", ""))
        outcome, reason = LASTING[name][1:] if kind == "l" else ("right", None)
        assert record["outcome"] == outcome, (sample, name, record)
        assert (reason or "") in record.get("error", ""), (sample, name, record)
        assert record.get("retries", 0) == (1 if kind == "p" else 0), (sample, name, record)
    errored = sum(record["outcome"] == "errored" for record in records.values())
    assert (first.code, errored > 20) == (3, True), first.err
    attempts = dict(tries)
    healed.set()
    again: Result = shell(*command(server, tmp_path), timeout=60)
    assert again.code == 0, again.err
    assert sum(tries.values()) - sum(attempts.values()) == errored, "only what errored is attempts again"
    outcomes = again.json()["runs"][0]["outcomes"]
    assert outcomes["right"] + outcomes["unparsed"] == n


@pytest.mark.parametrize("name", PASSING)
def test_each_passing_fault_costs_one_try(server: Loopback, name: str) -> None:
    output = ask(server.reply(PASSING[name], answer("right")), timeout=2 if name == "hang" else 60)
    assert (output.text, output.retries) == ("right", 1)


@pytest.mark.parametrize("name", HARMLESS)
def test_each_harmless_oddity_costs_nothing(server: Loopback, name: str) -> None:
    output = ask(server.reply(HARMLESS[name]), timeout=60)
    assert (output.text, output.retries) == ("right", 0)


@pytest.mark.parametrize("headers", [{}, {"Transfer-Encoding": "chunked"}])
def test_a_response_of_100_mb_is_given_up_without_holding_it(server: Loopback, headers: dict[str, str]) -> None:
    with pytest.raises(Failed, match="longer than 64 MB"):
        ask(server.reply(Reply(b" " * 2**20, repeat=100, headers=headers)))


@pytest.mark.usefixtures("grader")
def test_a_server_that_restarts_in_the_middle_costs_no_sample(server: Loopback, tmp_path: Path) -> None:
    task(tmp_path, 60)
    server.script = lambda _: answer("right")._replace(delay=0.1)
    call = [sys.executable, "-m", "m1eval", *command(server, tmp_path, "-j", 4, retries=1)]
    with subprocess.Popen(call, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while len(server.posts) < 20:
            assert process.poll() is None, "it asks"
            threading.Event().wait(0.01)
        server.pause()
        threading.Event().wait(2)
        assert process.poll() is None, "the server is waited for"
        server.resume()
        out, err = process.communicate(timeout=60)
    assert (process.returncode, json.loads(out)["runs"][0]["outcomes"]["right"]) == (0, 60), err


@pytest.mark.usefixtures("grader")
def test_a_model_that_vanishes_ends_the_run_and_keeps_what_is_there(
    server: Loopback, tmp_path: Path, shell: Any
) -> None:
    task(tmp_path, 40)
    server.script = lambda _: answer("right") if len(server.posts) <= 20 else Reply({"detail": "no model loaded"}, 404)
    result = shell(*command(server, tmp_path, "-j", 2))
    assert result.code == 4
    assert "model 'm' is not there (404 no model loaded)" in result.err
    assert {line["outcome"] for line in lines(run_of(tmp_path / "x") / "samples.jsonl")} == {"right"}
    assert 18 <= len(lines(run_of(tmp_path / "x") / "samples.jsonl")) <= 20


def test_an_account_without_money_ends_the_run(server: Loopback) -> None:
    from m1eval import RunnerError

    for reply in (
        Reply({"error": {"message": "Insufficient Balance"}}, 402),
        Reply({"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}, 429),
        Reply({"error": {"message": "Your account is suspended", "type": "exceeded_current_quota_error"}}, 429),
        Reply({"error": {"message": "Access denied", "code": "Arrearage"}}, 400),
        Reply({"error": {"message": "用户额度不足", "code": "insufficient_user_quota"}}, 403),
    ):
        with pytest.raises(RunnerError, match="nothing is left on the account"):
            ask(server.reply(reply))


@contextmanager
def self_signed(folder: Path, page: bytes) -> Iterator[str]:
    """A TLS server with a self-signed certificate."""
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    try:
        subprocess.run([*command, "-keyout", "key.pem", "-out", "ca.pem"], cwd=folder, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no openssl on this machine to make a certificate with")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.pem", folder / "key.pem")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(page), page))
        await writer.drain()
        writer.close()

    server = Server(serve, tls=context)
    try:
        yield f"https://localhost:{server.port}/v1"
    finally:
        server.stop()


def test_a_certificate_that_is_not_trusted_ends_the_start_and_may_be_named(tmp_path: Path, shell: Any) -> None:
    page = json.dumps({"data": [{"id": "other"}]}).encode()
    with self_signed(tmp_path, page) as url:
        (tmp_path / "t.jsonl").write_text("{}\n")
        write(tmp_path / "t.yaml", "title: T\ndataset: {file: t.jsonl}\nprompt: q\ntarget: x\nscorer: exact\n")
        run = ("run", "--tasks", "t.yaml", "--model", "http:m", "--base-url", url, "--display", "none")
        refused = shell(*run)
        assert (refused.code, refused.err.count("\n")) == (4, 1)
        assert "its certificate is not trusted: self-signed certificate; SSL_CERT_FILE=ca.pem" in refused.err
        trusted = shell(*run, "-o", "retries=0", env={"SSL_CERT_FILE": "ca.pem"})
        assert trusted.code == 3
        assert "lists no model 'm'" in trusted.out, "the way is open"


def test_a_host_without_an_address_ends_the_start_with_one_line(server: Loopback) -> None:
    from m1eval import RunnerError

    with pytest.raises(
        RunnerError, match=r"http://no-such-host\.invalid/v1: cannot connect.*is base_url= right"
    ) as error:
        start(server, base_url="http://no-such-host.invalid/v1", connect_timeout=30)
    one_line(error)


def test_silence_in_the_middle_of_a_stream_is_noticed_long_before_the_time_of_the_answer(server: Loopback) -> None:
    stalls = streamed("right", stall=60)
    output = ask(server.reply(stalls, streamed("right")), question(), timeout=90, read_timeout=2)
    assert (output.text, output.retries) == ("right", 1)
    with pytest.raises(Failed, match=r"not a byte for 0\.3 s"):
        ask(server.reply(stalls), question(), timeout=90, read_timeout=0.3, retries=0)
