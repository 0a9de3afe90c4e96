"""Asking one of several servers that serve the same model, again and again where that may help."""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, NoReturn, TypeVar
from zlib import crc32

from m1eval import Progress, RunnerError
from m1eval.report.words import short, span

from . import context_length, echoes, errors, parameters, refusals, replies
from .errors import Reported, ServerError
from .line import Barred, Limits, Line, Reader, Reply, RequestFailed, TryAgain, Untrusted
from .pace import LONGEST_WAIT

_PAGES = 2
"""Tries after the first while a server shows nothing but pages."""
_ABOUT_IT = {0, 400, 403, 404, 422, 500, 501, 503}
"""Statuses with which servers find fault with a parameter; 0: in place of an answer."""
AT_START = Limits(60.0, 10.0, 60.0)
_T = TypeVar("_T")


class Overlong(Exception):
    """The server refuses the prompt for its length."""

    def __init__(self, said: str, error: ServerError) -> None:
        super().__init__(said)
        self.error = error


class Refused(RequestFailed):
    """The server finds fault with the request itself."""

    def __init__(self, said: str, error: ServerError | None = None) -> None:
        super().__init__(said)
        self.error = error or ServerError(said)


class Sent(NamedTuple):
    """One request: `path` below the server's address, or from its root if it begins with two slashes."""

    method: str
    path: str
    payload: bytes = b""
    key: str = ""
    """Requests with the same key begin alike and had best go to the same server."""
    body: Mapping[str, Any] | None = None
    """The fields of the payload."""

    @property
    def choices(self) -> int:
        """The answers that are asked for at once."""
        n = self.body.get("n") if self.body else 1
        return n if isinstance(n, int) and n > 0 else 1


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
        self.remedy = "see --base-url"
        """What to try where the model is not there."""
        self.answered = self._several = False

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
                self.answered = True
                self._several |= sent.choices > 1
                return Came(value, failed, queued, started, reader.first if reader else 0.0)
            except (Refused, Overlong):
                line.found()
                raise
            except RequestFailed as error:
                line.found()
                raise RequestFailed(self._clean(str(error))) from None
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

    async def ask_once(self, line: Line, sent: Sent, progress: Progress) -> tuple[Any, str]:
        """The JSON of a server's answer for the start, and if there is none, why; only a wrong key is an error.

        Tried again only while the server says that it is busy; RequestFailed if it cannot be reached.
        """
        failed = 0
        while True:
            try:
                reply = await self._reply(line, sent, None, AT_START)
            except (TryAgain, RequestFailed) as lost:
                raise RequestFailed(f"{line.url}: {self._clean(str(lost))}") from None
            if reply.status == 200:
                try:
                    data = replies.parsed(reply.body, reply.charset)
                except TryAgain as none:
                    return None, self._clean(str(none))
                line.found()
                return data, ""
            error = errors.read(replies.decoded(reply.body))
            said = self._clean(f"{reply.status} {error}")
            if reply.status == 407:
                self._deny_proxy(line, said)
            if reply.status in {401, 403} and refusals.denies(reply.status, error):
                raise self._end(f"{line.url}: {self._denied} ({said})")
            if reply.status not in refusals.TOO_MUCH or failed >= self._retries:
                return None, said
            wait = min(LONGEST_WAIT, max(replies.asked_wait(reply.headers, str(error)), self._backoff * 2**failed))
            failed += 1
            progress.retry(said, wait)
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

    async def _reply(self, line: Line, sent: Sent, reader: Reader | None, limits: Limits | None = None) -> Reply:
        root = line.url.removesuffix("/v1") if sent.path.startswith("//") else line.url
        url = root + sent.path.replace("//", "/") + line.query
        try:
            reply = await line.ask(sent.method, url, sent.payload, reader, limits)
        except Untrusted as error:
            remedy = "SSL_CERT_FILE=ca.pem names the authority to trust"
            raise self._end(f"{line.url}: its certificate is not trusted: {error}; {remedy}") from None
        except Barred as error:
            raise self._end(f"{line.url}: {error}; NO_PROXY=HOST goes around it") from None
        if line.pace.lost:
            line.found(well=False)
        return reply

    async def _value(
        self, line: Line, sent: Sent, reader: Reader | None, read: Callable[[Reply, Reader | None], _T]
    ) -> _T:
        """What `read` makes of a reply; the right error for one that is none, or that an error is reported in."""
        body = b""
        try:
            reply = await self._reply(line, sent, reader)
            if not 200 <= reply.status < 300:
                self._refuse(line, sent, reply)
            body = reply.body
            return read(reply, reader)
        except Reported as told:
            self._reported(line, sent, told.error)
        except TryAgain as again:
            if not line.works:
                again.page = errors.read(replies.decoded(body[:1000])).page
            raise

    def _reported(self, line: Line, sent: Sent, error: ServerError) -> NoReturn:
        """The right error for one that came in place of an answer, with status 200 or in a stream."""
        status, said = errors.status(error), self._clean(f"the server reports {error}")
        if self._denies(line, status) and not refusals.spent(status, error):
            raise self._end(f"{line.url}: {self._denied} ({said})")
        self._judge(line, sent, status, error, said)
        if status and not refusals.passes(status):
            raise Refused(said, echoes.left_out(error, sent.payload))
        kind: Literal["busy", "broken"] = "busy" if refusals.busy(status, error) else "broken"
        raise TryAgain(said, kind, replies.asked_wait({}, error.message))

    def _refuse(self, line: Line, sent: Sent, reply: Reply) -> None:
        """The right error for a reply that is not a good one."""
        status, url = reply.status, line.url
        completes = sent.path == "/completions" or sent.path.startswith("/chat")
        if not completes and status in {404, 405, 501}:
            return  # such a server does not have it
        error = errors.read(replies.decoded(reply.body))
        said = self._clean(f"{status} {error}")
        if status == 407:
            self._deny_proxy(line, said)
        firewall = error.page and 400 <= status < 500 and status not in refusals.LASTING
        if firewall and (self.answered or (line.works and status not in {404, 405})):
            raise TryAgain(said)
        if self._denies(line, status) and not refusals.spent(status, error):
            raise self._end(f"{url}: {self._denied} ({said})")
        self._judge(line, sent, status, error, said)
        if refusals.passes(status):
            wait = replies.asked_wait(reply.headers, error.message)
            raise TryAgain(said, "busy" if status in refusals.TOO_MUCH else "broken", wait)
        if status == 404 or (not self.answered and (status == 405 or (status == 501 and error.page))):
            raise self._end(f"{url}{sent.path} or model '{self._model}' is not there ({said}); {self.remedy}")
        if 300 <= status < 400:
            target = self._clean(reply.headers.get("location", "elsewhere"))
            raise self._end(f"{url}{sent.path} has moved to {target}; give the new --base-url")
        if status == 413:
            said = f"{said}: the request has {len(sent.payload):,} bytes, and a proxy or the server takes fewer"
        if status in {400, 422, 501}:
            raise Refused(said, echoes.left_out(error, sent.payload))
        raise RequestFailed(said)

    @staticmethod
    def _denies(line: Line, status: int) -> bool:
        """Whether a status says that the key is wrong; 403 may be about one request once others were answered."""
        return status == 401 or (status == 403 and not line.works)

    def _judge(self, line: Line, sent: Sent, status: int, error: ServerError, said: str) -> None:
        """Raise what an error means whatever its status and the way it came."""
        said = self._clean(said)
        whole = error
        if status not in refusals.TOO_MUCH:
            error = echoes.left_out(error, sent.payload)
        if refusals.spent(status, error):
            raise self._end(f"{line.url}: nothing is left on the account ({said}); the same command continues the run")
        if status in {0, 400} and not self.answered and refusals.wrong_key(error):
            raise self._end(f"{line.url}: {self._denied} ({said})")
        if context_length.exceeded(status, whole, sent.payload):
            raise Overlong(said, whole)
        if status in _ABOUT_IT and sent.body and parameters.find(error, sent.body):
            raise Refused(said, error)
        if status < 500 and refusals.lacks_model(error, by_words=status in _ABOUT_IT - {0} and not self.answered):
            raise self._end(f"{line.url}: model '{self._model}' is not there ({said}); {self.remedy}")
        if status in {500, 501} and sent.choices > 1 and not self._several:
            raise Refused(said, error)

    def _deny_proxy(self, line: Line, said: str) -> NoReturn:
        raise self._end(f"{line.url}: the proxy wants a login ({said}); HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT")

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
        if again.page and not line.works and failed >= min(self._retries, _PAGES):
            raise self._end(f"{line.url} answers with a page and is no API ({reason}); is --base-url right?")
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
