"""No response fills the memory: endless or absurd ones fail with their reason, and little of them is held."""

import asyncio
import gzip
import json
import os
import subprocess
import sys
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest

from m1eval import Sampling
from tests.http.conftest import Failed, Loopback, Reply, ask, event, http, question
from tests.serving import Server

SSE = "Content-Type: text/event-stream\r\n"
MOST = 420 * 2**20
"""Allowed growth of a process in bytes: 64 MB of text, as text, in chunks and as a copy."""


def delta(**fields: Any) -> bytes:
    return event({"choices": [{"index": 0, "delta": fields}]})


def piece(data: Any) -> Callable[[int], bytes]:
    return lambda _: data if isinstance(data, bytes) else event(data)


def many(make: Callable[[int], bytes], times: int = 200) -> Callable[[int], bytes]:
    return lambda i: b"".join(make(n) for n in range(i * times, i * times + times))


LONG = "x" * 2**16
ENDLESS: dict[str, tuple[Callable[[int], bytes], str]] = {
    "choices": (
        many(lambda i: event({"choices": [{"index": i, "delta": {"content": "x"}}]})),
        "more than 1024 choices",
    ),
    "choices, negative": (many(lambda i: event({"choices": [{"index": -i, "delta": {}}]})), "more than 1024 choices"),
    "choices in one": (
        lambda i: event({"choices": [{"index": j, "delta": {}} for j in range(10**4)]}),
        "more than 1024 ch",
    ),
    "tool calls": (
        many(
            lambda i: delta(
                tool_calls=[{"index": i, "id": f"c{i}", "function": {"name": "f", "arguments": LONG[:500]}}]
            )
        ),
        "more than 4096 tool calls",
    ),
    "tool calls without index": (
        many(lambda i: delta(tool_calls=[{"id": f"c{i}", "function": {"name": "f"}}])),
        "tool calls",
    ),
    "arguments": (
        many(lambda i: delta(tool_calls=[{"index": 0, "function": {"arguments": LONG}}])),
        "longer than 64 MB",
    ),
    "names": (
        many(lambda i: delta(tool_calls=[{"index": 0, "function": {"name": f"{i}" + LONG}}])),
        "longer than 64 MB",
    ),
    "keys of a call": (many(lambda i: delta(tool_calls=[{"index": 0, f"{i}" + LONG: i}])), "longer than 64 MB"),
    "text": (many(lambda i: delta(content=LONG)), "longer than 64 MB"),
    "text in emoji": (many(lambda i: delta(content="😀" * 2**14)), "longer than 64 MB"),
    "thinking": (many(lambda i: delta(reasoning=LONG)), "longer than 64 MB"),
    "thinking in many fields": (
        many(lambda i: delta(reasoning=LONG, reasoning_content=LONG, thinking=LONG, refusal=LONG)),
        "longer than 64 MB",
    ),
    "parts": (many(lambda i: delta(content=[{"type": "text", "text": LONG}])), "longer than 64 MB"),
    "a line": (piece(b"data: " + LONG.encode()), "line of the stream is longer than 64 MB"),
    "a line without data": (piece(LONG.encode()), "line of the stream is longer than 64 MB"),
    "lines of an event": (
        piece((b"data: " + LONG[:100].encode() + b"\n") * 1000),
        "event of the stream is longer than 64 MB",
    ),
    "short lines of an event": (piece(b"data: 1\n" * 10_000), "event of the stream is longer than 64 MB"),
    "empty lines of an event": (piece(b"data:\n" * 10_000), "event of the stream is longer than 64 MB"),
    "space": (piece(b" \n" * 2**15), "longer than 64 MB"),
    "lists": (piece(b'data: {"choices": [' + b"[]," * 10**6), "line of the stream is longer than 64 MB"),
}
HARMLESS: dict[str, bytes] = {
    "keys": b"".join(delta(**{f"key{i}": LONG}) for i in range(20)),
    "logprobs": event({"choices": [{"delta": {}, "logprobs": {"content": [{"token": "a", "bytes": [1] * 9}] * 2000}}]}),
    "comments": b": OPENROUTER PROCESSING\n\n" * 10_000,
    "heartbeats": b'event: ping\ndata: {"type": "ping"}\n\n' * 10_000,
    "empty pieces": delta() * 10_000,
    "unknown fields": (b"x" * 500 + b": y\n") * 2000,
    "fields without an event": (b"id: " + LONG.encode() + b"\nretry: 1\nevent: e\n") * 20,
    "counts": event({"choices": [], "usage": {f"tokens{i}": i for i in range(20_000)}}),
    "roles": delta(role="assistant") * 10_000,
}


@contextmanager
def serving(reply: Callable[[asyncio.StreamWriter, str], Any]) -> Iterator[str]:
    """A server that answers each request by what `reply` writes for the first word of its path, and closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.partition(b":")[2]))
            await reply(writer, head.split(b" ")[1].decode().split("/")[1])
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = Server(serve)
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.stop()


ASKER = """
import asyncio, json, resource, sys
from m1eval import Request, load
http = load("runners", "http")

async def error_of(url, options):
    client = http.Runner("m", base_url=url, retries=0, timeout=60, **options)
    try:
        output = await client.generate(Request(messages=[{"role": "user", "content": "q"}]))
        return f"text {output.text[:50]}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        await client.aclose()

url, kinds, options = json.loads(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
errors = [asyncio.run(error_of(f"{url}/{kind}/v1", options)) for kind in kinds]
print(json.dumps([errors, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024]))
"""


def errors_and_growth(url: str, kinds: list[int], **options: Any) -> tuple[list[str], int]:
    """The result of one request of each kind in a separate process, and the growth of its memory in bytes."""
    call = [sys.executable, "-c", ASKER, json.dumps([url, kinds, options])]
    done = subprocess.run(call, capture_output=True, text=True, timeout=100, env=dict(os.environ), check=True)
    errors, growth = json.loads(done.stdout)
    return errors, growth


@pytest.mark.parametrize("part", range(4))
def test_an_endless_response_is_abandoned(part: int):
    names = list(ENDLESS)[part::4]

    async def reply(writer: asyncio.StreamWriter, kind: str) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\n{SSE}\r\n".encode())
        for i in count():
            writer.write(ENDLESS[names[int(kind)]][0](i))
            await writer.drain()

    with serving(reply) as url:
        errors, growth = errors_and_growth(url, list(range(len(names))))
    for name, words in zip(names, errors, strict=True):
        assert ENDLESS[name][1] in words, name
    assert growth < MOST


@pytest.mark.parametrize("name", HARMLESS)
def test_empty_chunks_are_not_held(name: str):
    noise = HARMLESS[name][: 2**20]
    noise = noise[: noise.rfind(b"\n\n") + 2] if b"\n\n" in noise else noise
    reader = http.stream.CompletionReader(lambda _: None)
    reader.feed(event({"choices": [{"delta": {"content": "Par"}}]}) + noise)
    tracemalloc.start()
    for _ in range(3):
        reader.feed(noise)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 2**17
    reader.feed(b"\n" + event({"choices": [{"delta": {"content": "is"}, "finish_reason": "stop"}]}))
    assert reader.completion()["choices"][0]["message"]["content"] == "Paris"


MANY = 6_000_000
PARTS = '{"finish_reason": "stop", "message": {"content": '
BODIES: dict[str, tuple[bytes, str]] = {
    "lists": (b'{"choices": [' + b"[]," * MANY + b"[]]}", "JSON of more than 4,000,000 parts"),
    "objects": (b'{"choices": [' + b"{}," * MANY + b"{}]}", "JSON of more than 4,000,000 parts"),
    "short texts": (b'{"choices": [' + PARTS.encode() + b"[" + b'"ab",' * MANY + b'""]}}]}', "4,000,000 parts"),
    "depth": (b'{"choices": ' + b"[" * 10**6, "not JSON"),
    "great depth": (b'{"choices": ' + b"[" * MANY, "4,000,000 parts"),
    "depth that closes": (b'{"choices": ' + b"[" * 300 + b"]" * 300 + b"}", "choice"),
    "parts in parts": (
        f'{{"choices": [{PARTS}{"[" * 300}"x"{"]" * 300}}}}}]}}'.encode(),
        "a part that is not an object",
    ),
    "texts in parts": (
        f'{{"choices": [{PARTS}'.encode() + b'[{"text": ' * 400 + b'"x"' + b"}]" * 400 + b"}}]}",
        "nested too deeply",
    ),
}


@pytest.mark.parametrize("how", ["body", "event", "gzip"])
def test_json_that_takes_more_memory_than_bytes_is_not_read(how: str):
    async def reply(writer: asyncio.StreamWriter, kind: str) -> None:
        body, head = list(BODIES.values())[int(kind)][0], "Content-Type: application/json\r\n"
        if how == "event":
            body, head = b"data: " + body + b"\n\n", SSE
        elif how == "gzip":
            body, head = gzip.compress(body, 1), head + "Content-Encoding: gzip\r\n"
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode() + body)
        await writer.drain()

    with serving(reply) as url:
        errors, growth = errors_and_growth(url, list(range(len(BODIES))), stream="yes" if how == "event" else "no")
    for name, words in zip(BODIES, errors, strict=True):
        assert BODIES[name][1] in words or (name == "texts in parts" and words == "text x"), name
        assert "RecursionError" not in words, name
    assert growth < MOST


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_what_is_small_only_on_the_line_is_not_held(encoding: str):
    """Two gigabytes of spaces in two megabytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31 if encoding == "gzip" else 15)
    start = packer.compress(b'data: {"a": "') + packer.flush(zlib.Z_SYNC_FLUSH)
    block = packer.compress(b" " * 2**26) + packer.flush(zlib.Z_FULL_FLUSH)

    async def reply(writer: asyncio.StreamWriter, kind: str) -> None:
        head = SSE if kind == "1" else "Content-Type: application/json\r\n"
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\n{head}\r\n".encode() + start)
        for _ in range(32):
            writer.write(block)
            await writer.drain()

    with serving(reply) as url:
        for stream in ("yes", "no"):
            errors, growth = errors_and_growth(url, [0, 1], stream=stream)
            assert all("longer than 64 MB" in words for words in errors)
            assert growth < MOST


def test_headers_and_trailers_have_an_end():
    async def reply(writer: asyncio.StreamWriter, kind: str) -> None:
        where = ("headers", "a header", "trailers")[int(kind)]
        writer.write(b"HTTP/1.1 200 OK\r\n" + (b"X: " if where == "a header" else b""))
        if where == "trailers":
            writer.write(f"Transfer-Encoding: chunked\r\n{SSE}\r\n0\r\n".encode())
        for i in range(3000):
            many = "".join(f"X-{i}-{n}: {'y' * 90}\r\n" for n in range(400))
            writer.write(b"1" * 40_000 if where == "a header" else many.encode())
            await writer.drain()

    with serving(reply) as url:
        errors, growth = errors_and_growth(url, [0, 1, 2])
    assert all(words.startswith("RequestFailed") for words in errors)
    assert growth < 60 * 2**20


def test_many_short_deltas_take_the_memory_of_their_text():
    one = event({"choices": [{"index": 0, "delta": {"content": "é¿"}, "finish_reason": None}]})
    reader = http.stream.CompletionReader(lambda _: None)
    reader.feed(one)
    tracemalloc.start()
    for _ in range(20):
        reader.feed(one * 2000)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 40_000 * 8 + 2**19, "a text of its own takes some sixty bytes"


def test_a_long_line_in_many_chunks_takes_time_in_proportion():
    def seconds(size: int) -> float:
        parser = http.stream.EventParser()
        begin = time.process_time()
        for _ in range(size // 64):
            parser.feed(b"x" * 64)
        return time.process_time() - begin

    small, large = (min(seconds(size) for _ in range(3)) for size in (2**20, 2**24))
    assert large < 64 * small, "sixteen times the bytes; 256 times the work if each chunk went through all before it"


def test_an_answer_of_many_megabytes_in_one_event_is_read(server: Loopback):
    text = "All work, and no play: [1, 2, 3].\n" * 300_000
    body = event({"choices": [{"delta": {"content": text}, "finish_reason": "stop"}]}) + event(b"[DONE]")
    output = ask(
        server.reply(Reply(body, headers={"Content-Type": "text/event-stream"})), question(sampling=Sampling())
    )
    assert output.text == text
    with pytest.raises(Failed, match="longer than 64 MB"):
        ask(
            server.reply(
                Reply(
                    event({"choices": [{"delta": {"content": "x" * (65 * 2**20)}}]}),
                    headers={"Content-Type": "text/event-stream"},
                )
            )
        )
