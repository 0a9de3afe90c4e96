"""Asking one of several servers that serve the same model, again and again where that may help."""

import asyncio
import random
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn, TypeVar
from zlib import crc32

from m1eval import Progress, RunnerError
from m1eval.report.words import short, span

from . import context_length, errors, parameters, replies
from .errors import Reported, ServerError
from .line import Barred, Limits, Line, Reader, Reply, RequestFailed, TryAgain, Untrusted
from .pace import LONGEST_WAIT

_AGAIN = {408, 409, 420, 425, 429, 499}
_NEVER = {501, 505}
"""What of the server's own faults (5xx, those of Cloudflare and its like among them) does not pass."""
_TOO_MUCH = {429, 503, 529}
_BUSY = re.compile(
    r"overloaded|rate[_ ]limit|too[_ ]many[_ ]requests|unavailable|capacity|resource_exhausted", re.IGNORECASE
)
_LASTING = {401, 407, 413, 414, 431}
"""Refusals that stay the same though they come as a page."""
_SPENT = ("insufficient_quota", "insufficient balance", "insufficient credits")
_PAGES = 2
"""Tries after the first while a server shows nothing but pages."""
_NO_MODEL = re.compile(
    r"\bmodel\b[^.;]{0,80}(?:not found|n[o']t exist|not a valid model|not (?:currently )?loaded|unknown)"
    r"|(?:no such|unknown|invalid|unsupported|not a valid) model\b|deployment[^.;]{0,60}(?:not exist|not found)|模型不存在",
    re.IGNORECASE,
)
_NO_MODEL_CODES = {
    "model_not_found",
    "deploymentnotfound",
    "model_not_exist",
    "invalid_model",
    "unknown_model",
    "no_such_model",
}
_SCOPE = re.compile(
    r"scope|permission|not (?:allowed|permitted|authori[sz]ed) to|access to (?:this|the) (?:route|resource|endpoint)|\broute\b",
    re.I,
)
_KEY = re.compile(
    r"(?:invalid|incorrect|wrong|expired|revoked|missing|no|malformed|provide)[\w '-]{0,30}(?:key|token|credential|auth)"
    r"|(?:key|token|credential)s?\b.{0,60}(?:invalid|incorrect|not valid|required|missing|expired|not found|revoked)"
    r"|unauthenticated|authentication",
    re.IGNORECASE,
)
_BAD_KEY = re.compile(
    r"(?:api[ _-]?key|secret key|access token)\b.{0,60}(?:invalid|not valid|incorrect|missing|expired|field)"
    r"|(?:invalid|incorrect|missing|expired) api[ _-]?key|api_key_invalid|invalid_api_key",
    re.IGNORECASE,
)
"""As Gemini says it with status 400, and MiniMax with 200."""
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
        return int(self.body.get("n") or 1) if self.body else 1


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
            except Refused:
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
            except (TryAgain, RequestFailed) as error:
                raise RequestFailed(f"{line.url}: {self._clean(str(error))}") from None
            if reply.status == 200:
                try:
                    data = replies.parsed(reply.body, reply.charset)
                except TryAgain as error:
                    return None, self._clean(str(error))
                line.found()
                return data, ""
            error = errors.read(replies.decoded(reply.body))
            said = self._clean(f"{reply.status} {error}")
            if reply.status == 407:
                self._deny_proxy(line, said)
            if reply.status in {401, 403} and _wrong_key(reply.status, error):
                raise self._end(f"{line.url}: {self._denied} ({said})")
            if reply.status not in _TOO_MUCH or failed >= self._retries:
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
        self._judge(line, sent, status, error, said)
        if status and status not in _AGAIN and status < 500:
            raise Refused(said, error)
        busy = status in _TOO_MUCH or bool(_BUSY.search(str(error)))
        raise TryAgain(said, "busy" if busy else "broken", replies.asked_wait({}, error.message))

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
        if error.page and line.works and 400 <= status < 500 and status not in _LASTING:
            raise TryAgain(said)  # a firewall's, in the middle of the run
        if status == 401 or (status == 403 and not line.works):
            raise self._end(f"{url}: {self._denied} ({said})")
        self._judge(line, sent, status, error, said)
        if status in _AGAIN or (status >= 500 and status not in _NEVER):
            wait = replies.asked_wait(reply.headers, error.message)
            raise TryAgain(said, "busy" if status in _TOO_MUCH else "broken", wait)
        if status == 404 or (status == 405 and not self.answered):
            raise self._end(f"{url}{sent.path} or model '{self._model}' is not there ({said}); {self.remedy}")
        if 300 <= status < 400:
            target = self._clean(reply.headers.get("location", "elsewhere"))
            raise self._end(f"{url}{sent.path} has moved to {target}; give the new --base-url")
        if status == 413:
            said = f"{said}: the request has {len(sent.payload):,} bytes, and a proxy or the server takes fewer"
        raise Refused(said, error) if status in {400, 422, 501} else RequestFailed(said)

    def _judge(self, line: Line, sent: Sent, status: int, error: ServerError, said: str) -> None:
        """Raise what an error means whatever its status and the way it came."""
        said = self._clean(said)
        spent = str(error).lower()
        if status == 402 or (status in {0, 429} and any(word in spent for word in _SPENT)):
            raise self._end(f"{line.url}: nothing is left on the account ({said}); the same command continues the run")
        if status in {0, 400} and not self.answered and _BAD_KEY.search(str(error)):
            raise self._end(f"{line.url}: {self._denied} ({said})")
        if context_length.exceeded(status, error, sent.payload):
            raise Overlong(said, error)
        if status in {0, 400, 403, 404, 422} and self._lacks_model(status, error):
            raise self._end(f"{line.url}: model '{self._model}' is not there ({said}); {self.remedy}")
        if status in {0, 500, 501, 503}:
            alone = status in {500, 501} and sent.choices > 1 and not self._several
            if alone or parameters.find(error, sent.body or {}):
                raise Refused(said, error)

    def _lacks_model(self, status: int, error: ServerError) -> bool:
        """Whether an error says that the model is not there; by its words only as long as the model has not answered."""
        if error.code.lower() in _NO_MODEL_CODES:
            return True
        return not self.answered and status != 0 and bool(_NO_MODEL.search(errors.unquoted(error.message)))

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


def _wrong_key(status: int, error: ServerError) -> bool:
    """Whether a refusal to list the models says that the key is wrong, and not that it may only do other things."""
    if error.page or _SCOPE.search(error.message):
        return False
    return status == 401 or bool(_KEY.search(f"{error.message} {error.code}"))
