"""Asking one of several servers that serve the same model, again and again where that may help."""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar
from zlib import crc32

from m1eval import Progress, RunnerError
from m1eval.report.words import short, span

from . import replies
from .line import Limits, Line, Reader, Reply, RequestFailed, TryAgain, Untrusted
from .pace import LONGEST_WAIT

_AGAIN = {408, 409, 425, 429, 500, 502, 503, 504, 529}
_TOO_MUCH = {429, 503, 529}
_SPENT = ("insufficient_quota", "insufficient balance", "insufficient credits")
AT_START = Limits(60.0, 10.0, 60.0)
_T = TypeVar("_T")


class Overlong(Exception):
    """The server refuses the prompt for its length."""


class Reported(Exception):
    """A reply or a stream reports an error with an HTTP status of its own."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"the server reports status {status}")
        self.status, self.body = status, body


class Refused(RequestFailed):
    """The server finds fault with the request (status 400 or 422)."""


class Sent(NamedTuple):
    """One request: `path` below the server's address, or from its root if it begins with two slashes."""

    method: str
    path: str
    payload: bytes = b""
    key: str = ""
    """Requests with the same key begin alike and had best go to the same server."""


class Came(NamedTuple):
    """What came of a request: the value, failed tries before it, seconds waited for a place, when it was sent."""

    value: Any
    failed: int
    queued: float
    sent: float
    first: float = 0.0
    """When the first token of a stream came; 0: not known."""

    @property
    def first_token(self) -> float:
        """Seconds from the request to the first token; 0: not known."""
        return self.first - self.sent if self.first else 0.0


class Servers:
    """The lines to all servers, with one way of trying again.

    `retries` tries after the first, the first after `backoff` seconds or less, each later one after up to twice as
    long. A server that is away costs no tries: it is waited for, up to `patience` seconds.
    """

    def __init__(
        self,
        lines: list[Line],
        clean: Callable[[str], str],
        denied: str,
        model: str,
        retries: int,
        backoff: float,
        patience: float,
    ) -> None:
        self.lines = lines
        self._clean = clean
        self._denied, self._model = denied, model
        self._retries, self._backoff, self._patience = retries, backoff, patience
        self._ended: RunnerError | None = None

    @property
    def concurrency(self) -> int:
        """Requests that all of them together are given at once."""
        return sum(line.pace.limit for line in self.lines)

    async def persist(
        self,
        sent: Sent,
        progress: Progress,
        read: Callable[[Reply, Reader | None], _T],
        listen: Callable[[Line], Reader] | None = None,
    ) -> Came:
        """What `read` makes of the reply, after as many tries as it takes.

        RequestFailed when that is not to be had, RunnerError when no request would fare better.
        """
        queued, failed, line = 0.0, 0, self.lines[0]
        while True:
            line = self._choose(sent.key, line if failed else None)
            begin = time.monotonic()
            ticket = await line.pace.take()
            started = time.monotonic()
            queued += started - begin
            reader = listen(line) if listen else None
            try:
                value = await self._value(line, sent, reader, read)
                line.found()
                line.pace.answered()
                return Came(value, failed, queued, started, reader.first if reader else 0.0)
            except (RequestFailed, Overlong) as error:
                line.found()
                raise type(error)(self._clean(str(error))) from None
            except TryAgain as again:
                reason = self._clean(str(again))
                wait = self._wait(line, again, reason, ticket, failed)
                failed += again.kind != "lost"
            finally:
                if reader is not None and reader.flows:
                    line.pace.flowing -= 1
                line.pace.give()
            progress.retry(reason, max(wait, line.pace.resting))
            await asyncio.sleep(wait)

    async def ask_once(self, line: Line, sent: Sent, progress: Progress) -> Any:
        """The JSON of a server's answer for the start, tried again only while the server says that it is busy."""
        failed = 0
        while True:
            try:
                reply = await self._once(line, sent, None, AT_START)
                line.found()
                return replies.parsed(reply.body, reply.charset) if reply.status == 200 else None
            except TryAgain as again:
                reason = self._clean(str(again))
                if failed >= self._retries or again.kind != "busy":
                    raise RequestFailed(f"{line.url}: {reason}") from None
                wait = min(LONGEST_WAIT, max(again.wait, self._backoff * 2**failed))
                failed += 1
            progress.retry(reason, wait)
            await asyncio.sleep(wait)

    async def aclose(self) -> None:
        """Close all connections."""
        for line in self.lines:
            await line.aclose()

    def _choose(self, key: str, but: Line | None) -> Line:
        """The server of the key while it has a place, else the one with the least to do; one that is away, to see.

        `but`: the server that has just failed, which comes last.
        """
        if self._ended:
            raise self._ended
        if len(self.lines) == 1:
            return self.lines[0]
        there = [line for line in self.lines if not line.pace.lost]
        for line in self.lines:
            if not there or (line.pace.lost and not line.pace.resting and not line.pace.taken):
                return line if there else min(self.lines, key=lambda line: line.pace.resting)
        if key and but is None:
            favourite = there[crc32(key.encode()) % len(there)]
            if favourite.pace.load < 1 and not favourite.pace.resting and not favourite.failing:
                return favourite
        return min(there, key=lambda line: (line is but, line.failing, line.pace.resting > 0, line.pace.load))

    async def _once(self, line: Line, sent: Sent, reader: Reader | None, limits: Limits | None = None) -> Reply:
        root = line.url.removesuffix("/v1") if sent.path.startswith("//") else line.url
        url = root + sent.path.replace("//", "/")
        try:
            reply = await line.ask(sent.method, url, sent.payload, reader, limits)
        except Untrusted as error:
            remedy = "SSL_CERT_FILE=ca.pem names the authority to trust"
            raise self._end(f"{line.url}: its certificate is not trusted: {error}; {remedy}") from None
        if line.pace.lost:
            line.found(well=False)
        if not 200 <= reply.status < 300:
            self._refuse(line, sent, reply)
        return reply

    async def _value(
        self, line: Line, sent: Sent, reader: Reader | None, read: Callable[[Reply, Reader | None], _T]
    ) -> _T:
        """What `read` makes of one reply; an error that the reply reports counts as if it had had that status."""
        try:
            return read(await self._once(line, sent, reader), reader)
        except Reported as error:
            self._refuse(line, sent, Reply(error.status, {}, error.body))
            raise

    def _refuse(self, line: Line, sent: Sent, reply: Reply) -> None:
        """The right error for a reply that is not a good one."""
        status, url = reply.status, line.url
        if sent.path != "/completions" and not sent.path.startswith("/chat") and status in {404, 405, 501}:
            return  # such a server does not have it
        words = replies.words(replies.decoded(reply.body))
        said = self._clean(f"{status} {words}")
        if status == 401 or (status == 403 and not line.works):
            raise self._end(f"{url}: {self._denied} ({said})")
        if status == 402 or (status == 429 and any(word in words.lower() for word in _SPENT)):
            raise self._end(f"{url}: nothing is left on the account ({said}); the same command continues the run")
        if status != 429 and replies.OVERLONG.search(words):
            raise Overlong(said)
        if status in _AGAIN:
            raise TryAgain(said, "busy" if status in _TOO_MUCH else "broken", replies.asked_wait(reply.headers))
        if status == 404:
            raise self._end(f"{url}{sent.path} or model '{self._model}' is not there ({said}); see --base-url")
        if 300 <= status < 400:
            target = self._clean(reply.headers.get("location", "elsewhere"))
            raise self._end(f"{url}{sent.path} has moved to {target}; give the new --base-url")
        raise Refused(said) if status in {400, 422} else RequestFailed(said)

    def _wait(self, line: Line, again: TryAgain, reason: str, ticket: int, failed: int) -> float:
        """Seconds until the next try; the error instead, if there is to be none."""
        if again.kind == "lost":
            if line.miss() > self._patience and all(line.pace.lost for line in self.lines):
                away = f"no connection for {span(self._patience)}"
                raise self._end(f"{line.url}: {reason}; {away}: the server is gone, the same command continues the run")
            return 0.0  # the line itself rests
        line.found(well=False)
        if again.kind in {"busy", "late"}:
            line.pace.too_much(ticket)
        if again.wait:
            line.pace.rest(again.wait)
        if failed >= self._retries:
            raise RequestFailed(f"{line.url}: {reason}" + (f" ({failed + 1} tries)" if failed else "")) from None
        return min(LONGEST_WAIT, max(again.wait, self._backoff * float(2**failed) * random.uniform(0.5, 1)))

    def _end(self, reason: str) -> RunnerError:
        """The error that ends the run, for all that wait too."""
        error = self._ended = RunnerError(f"http: {self._clean(reason)}")
        for line in self.lines:
            line.pace.end(error)
        return error


def clean(redacted: Callable[[str], str]) -> Callable[[str], str]:
    """One line of at most 300 characters, without secrets."""
    return lambda text: short(" ".join(redacted(text).split()), 300)
