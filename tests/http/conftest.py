"""A real server on the loopback, which does to each request what the test's script says, and ways to ask it."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from m1eval import NullProgress, Request, load
from tests.serving import Server

http = load("runners", "http")
KEY = "sk-very-secret-0123456789"
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
Failed: type[Exception] = http.RequestFailed


class Asked(NamedTuple):
    """One request as the server saw it; `line` numbers the connection it came by."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    line: int


class Says(NamedTuple):
    """One reply. `body` is sent as JSON unless it is bytes, `repeat` times; `cut`: bytes of it sent before the
    connection breaks; `drip`: seconds between its bytes; `stall`: seconds before the rest from its middle on."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = {}  # noqa: RUF012  never changed
    cut: int | None = None
    wait: float = 0.0
    repeat: int = 1
    drip: float = 0.0
    stall: float = 0.0


def answer(content: Any = "Paris", finish: Any = "stop", usage: Any = None, **message: Any) -> Says:
    """A chat completion with this content."""
    said = {"role": "assistant", "content": content, **message}
    usage = {"prompt_tokens": 10, "completion_tokens": 8} if usage is None else usage
    return Says({"model": "m", "choices": [{"index": 0, "message": said, "finish_reason": finish}], "usage": usage})


def event(data: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n"


def streamed(*texts: str, done: bool = True, cut: bool = False, usage: Any = None, **how: Any) -> Says:
    """A streamed chat completion whose choices have these texts, a character a piece."""
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
    return Says(b"".join(pieces + ends), headers={"Content-Type": "text/event-stream"}, **how)


class Loopback(Server):
    """The server; `script` holds the replies to POSTs in order (the last one again and again), or a function."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.models: Says = Says({"object": "list", "data": [{"id": "m", "object": "model"}]})
        self.script: list[Says] | Callable[[Asked], Says] = [answer()]
        self.most = 0
        """Most requests that were in progress at once."""
        self._running = self._lines = self._posts = 0
        super().__init__(self._exchange)
        self.url = f"http://127.0.0.1:{self.port}/v1"

    @property
    def posts(self) -> list[Asked]:
        """The requests for completions."""
        return [asked for asked in self.asked if asked.method == "POST"]

    def says(self, *replies: Says) -> "Loopback":
        """Script the replies to POSTs."""
        self.script, self._posts = list(replies), 0
        return self

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._lines += 1
        line = self._lines
        try:
            while asked := await _request(reader, line):
                self.asked.append(asked)
                self._running += 1
                self.most = max(self.most, self._running)
                try:
                    if not await self._reply(self._says(asked), writer):
                        break
                finally:
                    self._running -= 1
        except (ConnectionError, asyncio.CancelledError):  # cancelled: the end of the server, which need not be told
            pass
        finally:
            writer.close()

    def _says(self, asked: Asked) -> Says:
        if asked.method == "GET":
            return self.models
        if callable(self.script):
            return self.script(asked)
        self._posts += 1
        return self.script[min(self._posts, len(self.script)) - 1]

    async def _reply(self, says: Says, writer: asyncio.StreamWriter) -> bool:
        await asyncio.sleep(says.wait)
        body = says.body if isinstance(says.body, bytes) else json.dumps(says.body).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body) * says.repeat), **says.headers}
        if chunked := "Transfer-Encoding" in headers:
            del headers["Content-Length"]
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        sent = f"HTTP/1.1 {says.status} Scripted\r\n{head}\r\n".encode() + body
        if says.repeat > 1:
            piece = b"%x\r\n%b\r\n" % (len(body), body) if chunked else body
            writer.write(sent[: len(sent) - len(body)])
            for _ in range(says.repeat):
                writer.write(piece)
                await writer.drain()
            writer.write(b"0\r\n\r\n" if chunked else b"")
            return True
        if says.drip or says.stall:
            size = 1 if says.drip else len(sent) - len(body) // 2
            for start in range(0, len(sent), size):
                writer.write(sent[start : start + size])
                await writer.drain()
                await asyncio.sleep(says.drip or says.stall)
            return True
        if says.cut is None:
            writer.write(sent)
            await writer.drain()
            return True
        if says.cut >= 0:
            writer.write(sent[: len(sent) - len(body) + says.cut])
            await writer.drain()
        else:  # not a byte, and a reset in place of an end
            writer.transport.abort()
        return False


async def _request(reader: asyncio.StreamReader, line: int) -> Asked | None:
    try:
        first, *rest = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    headers = {name.lower(): value.strip() for name, _, value in (text.partition(":") for text in rest if text)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    method, path, _ = first.split(" ")
    return Asked(method, path, headers, json.loads(body) if body else None, line)


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


class Watch(NullProgress):
    """A Progress that remembers."""

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
    """The output of one request or the outputs of several at once; the first error is raised."""

    async def story() -> Any:
        made = runner(server, **options)
        try:
            outputs = await asyncio.gather(*(made.generate(request) for request in requests or [question()]))
        finally:
            await made.aclose()
        return outputs if len(outputs) > 1 else outputs[0]

    return asyncio.run(story())


def start(server: Loopback, model: str = "m", **options: Any) -> Any:
    """A runner after its start, closed again."""

    async def story() -> Any:
        made = runner(server, model, **options)
        try:
            await made.start(Watch())
        finally:
            await made.aclose()
        return made

    return asyncio.run(story())


def question(**fields: Any) -> Request:
    return Request(messages=QUESTION, **fields)


def one_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 500
    return text
