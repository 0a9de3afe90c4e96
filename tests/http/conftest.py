"""A loopback server that follows a test's script, and helpers that send it requests."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import aclosing
from typing import Any, NamedTuple

import pytest

from m1eval import NullProgress, Request, load
from tests.serving import Server

http = load("runners", "http")
KEY = "sk-very-secret-0123456789"
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
Failed: type[Exception] = http.RequestFailed


class ReceivedRequest(NamedTuple):
    """One request as the server saw it; `connection`: its number."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    connection: int


class Reply(NamedTuple):
    """One reply after `delay` seconds. `body` is sent as JSON unless it is bytes, `repeat` times; `cut_at`: bytes of it
    sent before the connection breaks; `drip`: seconds between its bytes; `stall`: seconds of silence in its middle."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = {}  # noqa: RUF012  never changed
    cut_at: int | None = None
    delay: float = 0.0
    repeat: int = 1
    drip: float = 0.0
    stall: float = 0.0


def answer(content: Any = "Paris", finish: Any = "stop", usage: Any = None, **message: Any) -> Reply:
    """A chat completion with this content."""
    message = {"role": "assistant", "content": content, **message}
    usage = {"prompt_tokens": 10, "completion_tokens": 8} if usage is None else usage
    return Reply({"model": "m", "choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": usage})


def event(data: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n"


def streamed(*texts: str, done: bool = True, cut: bool = False, usage: Any = None, **how: Any) -> Reply:
    """A streamed chat completion whose choices have these texts, a character per chunk."""
    pieces = [
        event({"choices": [{"index": i, "delta": {"content": letter}, "finish_reason": None}]})
        for i, text in enumerate(texts)
        for letter in text
    ]
    ends = (
        []
        if cut
        else [event({"choices": [{"index": i, "delta": {}, "finish_reason": "stop"} for i in range(len(texts))]})]
    )
    if not cut:
        counts = {"prompt_tokens": 10, "completion_tokens": sum(map(len, texts))} if usage is None else usage
        ends += [event({"choices": [], "usage": counts})] * bool(counts) + [event(b"[DONE]")] * done
    return Reply(b"".join(pieces + ends), headers={"Content-Type": "text/event-stream"}, **how)


class Loopback(Server):
    """The server; `script` holds the replies to POSTs in order (the last one repeats), or a function."""

    def __init__(self) -> None:
        self.received: list[ReceivedRequest] = []
        self.models: Reply = Reply({"object": "list", "data": [{"id": "m", "object": "model"}]})
        self.script: list[Reply] | Callable[[ReceivedRequest], Reply] = [answer()]
        self.max_in_flight = 0
        """Maximum number of requests in flight."""
        self._running = self._num_connections = self._num_posts = 0
        super().__init__(self._serve)
        self.url = f"http://127.0.0.1:{self.port}/v1"

    @property
    def posts(self) -> list[ReceivedRequest]:
        """The POST requests."""
        return [request for request in self.received if request.method == "POST"]

    def reply(self, *replies: Reply) -> "Loopback":
        """Script the replies to POSTs."""
        self.script, self._num_posts = list(replies), 0
        return self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._num_connections += 1
        connection = self._num_connections
        try:
            while request := await _read_request(reader, connection):
                self.received.append(request)
                self._running += 1
                self.max_in_flight = max(self.max_in_flight, self._running)
                try:
                    if not await self._send(self._scripted_reply(request), writer):
                        break
                finally:
                    self._running -= 1
        except (ConnectionError, asyncio.CancelledError):  # cancelled by `stop`
            pass
        finally:
            writer.close()

    def _scripted_reply(self, request: ReceivedRequest) -> Reply:
        if request.method == "GET":
            return self.models
        if callable(self.script):
            return self.script(request)
        self._num_posts += 1
        return self.script[min(self._num_posts, len(self.script)) - 1]

    async def _send(self, reply: Reply, writer: asyncio.StreamWriter) -> bool:
        await asyncio.sleep(reply.delay)
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body) * reply.repeat), **reply.headers}
        if chunked := "Transfer-Encoding" in headers:
            del headers["Content-Length"]
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        sent = f"HTTP/1.1 {reply.status} Scripted\r\n{head}\r\n".encode() + body
        if reply.repeat > 1:
            piece = b"%x\r\n%b\r\n" % (len(body), body) if chunked else body
            writer.write(sent[: len(sent) - len(body)])
            for _ in range(reply.repeat):
                writer.write(piece)
                await writer.drain()
            writer.write(b"0\r\n\r\n" if chunked else b"")
            return True
        if reply.drip or reply.stall:
            size = 1 if reply.drip else len(sent) - len(body) // 2
            for start in range(0, len(sent), size):
                writer.write(sent[start : start + size])
                await writer.drain()
                await asyncio.sleep(reply.drip or reply.stall)
            return True
        if reply.cut_at is None:
            writer.write(sent)
            await writer.drain()
            return True
        if reply.cut_at >= 0:
            writer.write(sent[: len(sent) - len(body) + reply.cut_at])
            await writer.drain()
        else:  # no byte, and a reset
            writer.transport.abort()
        return False


async def _read_request(reader: asyncio.StreamReader, connection: int) -> ReceivedRequest | None:
    try:
        first, *rest = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    headers = {name.lower(): value.strip() for name, _, value in (text.partition(":") for text in rest if text)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    method, path, _ = first.split(" ")
    return ReceivedRequest(method, path, headers, json.loads(body) if body else None, connection)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """A loopback server, and an environment without keys."""
    proxies = [form for name in ("http", "https", "all", "no") for form in (f"{name}_proxy", f"{name.upper()}_PROXY")]
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "AZURE_OPENAI_API_KEY", *proxies):
        monkeypatch.delenv(name, raising=False)
    loopback = Loopback()
    try:
        yield loopback
    finally:
        loopback.stop()


class RecordingProgress(NullProgress):
    """A Progress that records its calls."""

    def __init__(self) -> None:
        self.retries: list[tuple[str, float]] = []
        self.counted = self.total = (0, 0)
        self.waiting = asyncio.Event()

    def retry(self, reason: str, wait: float) -> None:
        self.retries.append((reason, wait))
        self.waiting.set()

    def tokens(self, *, prompt: int = 0, output: int = 0) -> None:
        self.counted = (prompt, output)
        self.total = (self.total[0] + prompt, self.total[1] + output)


def runner(server: Loopback, model: str = "m", **options: Any) -> Any:
    return http.Runner(model, **{"base_url": server.url, "backoff": 0.02, **options})


def ask(server: Loopback, *requests: Request, **options: Any) -> Any:
    """The output of one request or the outputs of several concurrent ones; the first error is raised."""

    async def scenario() -> Any:
        async with aclosing(runner(server, **options)) as client:
            tasks = [asyncio.create_task(client.generate(request)) for request in requests or [question()]]
            try:
                outputs = await asyncio.gather(*tasks)
            finally:  # after an error, the others may still be opening sockets that `aclose` does not know of
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        return outputs if len(outputs) > 1 else outputs[0]

    return asyncio.run(scenario())


def start(server: Loopback, model: str = "m", **options: Any) -> Any:
    """A runner after `start`, closed."""

    async def scenario() -> Any:
        async with aclosing(runner(server, model, **options)) as client:
            await client.start(RecordingProgress())
        return client

    return asyncio.run(scenario())


def question(**fields: Any) -> Request:
    return Request(messages=QUESTION, **fields)


def one_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 500
    return text
