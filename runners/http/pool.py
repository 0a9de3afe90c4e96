"""Asking one of several servers that serve the same model, again and again where that may help."""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, NoReturn, TypeVar
from zlib import crc32

from m1eval import Progress, RunnerError
from m1eval.report.words import short, span

from . import context_length, echoes, errors, parameters, refusals, responses
from .endpoint import (
    Endpoint,
    HttpResponse,
    ProxyRefused,
    RequestFailed,
    ResponseReader,
    RetryableError,
    Timeouts,
    UntrustedCertificate,
)
from .errors import Reported, ServerError
from .limiter import MAX_WAIT

_MAX_PAGE_RETRIES = 2
"""Tries after the first while a server shows nothing but pages."""
_PARAMETER_STATUSES = {0, 400, 403, 404, 422, 500, 501, 503}
"""Statuses with which servers find fault with a parameter; 0: in place of an answer."""
PROBE_TIMEOUTS = Timeouts(60.0, 10.0, 60.0)
_T = TypeVar("_T")


class ContextLengthExceeded(Exception):
    """The server refuses the prompt for its length."""

    def __init__(self, message: str, error: ServerError) -> None:
        super().__init__(message)
        self.error = error


class BadRequest(RequestFailed):
    """The server finds fault with the request itself."""

    def __init__(self, message: str, error: ServerError | None = None) -> None:
        super().__init__(message)
        self.error = error or ServerError(message)


class HttpRequest(NamedTuple):
    """One request: `path` below the server's address, or from its root if it begins with two slashes."""

    method: str
    path: str
    payload: bytes = b""
    key: str = ""
    """Requests with the same key begin alike and had best go to the same server."""
    body: Mapping[str, Any] | None = None
    """The fields of the payload."""

    @property
    def n(self) -> int:
        """The answers that are asked for at once."""
        n = self.body.get("n") if self.body else 1
        return n if isinstance(n, int) and n > 0 else 1


class Exchange(NamedTuple):
    """What came of a request: the value, failed tries before it, seconds waited for a place, when it was sent."""

    value: Any
    retries: int
    queued: float
    sent_at: float
    first_token_at: float = 0.0
    """When the first token of a stream came; 0: not known."""

    @property
    def first_token(self) -> float:
        """Seconds from the request to the first token; 0: not known."""
        return self.first_token_at - self.sent_at if self.first_token_at else 0.0


class EndpointPool:
    """The lines to all servers, with one way of trying again.

    `retries` tries after the first, the first after `backoff` seconds or less, each later one after up to twice as
    long. A server that is away costs no tries: it is waited for, up to `patience` seconds.
    """

    def __init__(
        self,
        endpoints: list[Endpoint],
        clean: Callable[[str], str],
        key_hint: str,
        model: str,
        retries: int,
        backoff: float,
        patience: float,
    ) -> None:
        self.endpoints = endpoints
        self._clean = clean
        self._key_hint, self._model = key_hint, model
        self._retries, self._backoff, self._patience = retries, backoff, patience
        self._fatal_error: RunnerError | None = None
        self.remedy = "see --base-url"
        """What to try where the model is not there."""
        self.has_answered = self._multiple_worked = False

    @property
    def concurrency(self) -> int:
        """Requests that all of them together are given at once."""
        return sum(line.limiter.limit for line in self.endpoints)

    async def request(
        self,
        request: HttpRequest,
        progress: Progress,
        read: Callable[[HttpResponse, ResponseReader | None], _T],
        new_reader: Callable[[Endpoint], ResponseReader] | None = None,
    ) -> Exchange:
        """What `read` makes of the reply, after as many tries as it takes.

        RequestFailed when that is not to be had, RunnerError when no request would fare better.
        """
        queued, retries, endpoint = 0.0, 0, self.endpoints[0]
        while True:
            endpoint = self._select(request.key, endpoint if retries else None)
            queued_at = time.monotonic()
            epoch = await endpoint.limiter.acquire()
            sent_at = time.monotonic()
            queued += sent_at - queued_at
            reader = new_reader(endpoint) if new_reader else None
            try:
                value = await self._attempt(endpoint, request, reader, read)
                endpoint.on_response()
                endpoint.limiter.on_success()
                self.has_answered = True
                self._multiple_worked |= request.n > 1
                return Exchange(value, retries, queued, sent_at, reader.first_token_at if reader else 0.0)
            except (BadRequest, ContextLengthExceeded):
                endpoint.on_response()
                raise
            except RequestFailed as error:
                endpoint.on_response()
                raise RequestFailed(self._clean(str(error))) from None
            except RetryableError as again:
                reason = self._clean(str(again))
                wait = self._retry_delay(endpoint, again, reason, epoch, retries)
                retries += again.kind != "unreachable"
            finally:
                if reader is not None and reader.has_started:
                    endpoint.limiter.streaming -= 1
                endpoint.limiter.release()
            progress.retry(reason, max(wait, endpoint.limiter.pause_left))
            await asyncio.sleep(wait)

    async def probe(self, endpoint: Endpoint, request: HttpRequest, progress: Progress) -> tuple[Any, str]:
        """The JSON of a server's answer for the start, and if there is none, why; only a wrong key is an error.

        Tried again only while the server says that it is busy; RequestFailed if it cannot be reached.
        """
        retries = 0
        while True:
            try:
                response = await self._send(endpoint, request, None, PROBE_TIMEOUTS)
            except (RetryableError, RequestFailed) as lost:
                raise RequestFailed(f"{endpoint.url}: {self._clean(str(lost))}") from None
            if response.status == 200:
                try:
                    data = responses.parse_json(response.body, response.charset)
                except RetryableError as none:
                    return None, self._clean(str(none))
                endpoint.on_response()
                return data, ""
            error = errors.parse(responses.decode_text(response.body))
            message = self._clean(f"{response.status} {error}")
            if response.status == 407:
                self._raise_proxy_login(endpoint, message)
            if response.status in {401, 403} and refusals.is_key_refused(response.status, error):
                raise self._fatal(f"{endpoint.url}: {self._key_hint} ({message})")
            if response.status not in refusals.OVERLOAD_STATUSES or retries >= self._retries:
                return None, message
            wait = min(MAX_WAIT, max(responses.retry_after(response.headers, str(error)), self._backoff * 2**retries))
            retries += 1
            progress.retry(message, wait)
            await asyncio.sleep(wait)

    async def aclose(self) -> None:
        """Close all connections."""
        for line in self.endpoints:
            await line.aclose()

    def _select(self, key: str, avoid: Endpoint | None) -> Endpoint:
        """The server of the key while it has a place, else the one with the least to do; one that is away, to see.

        `but`: the server that has just failed, which comes last.
        """
        if self._fatal_error:
            raise self._fatal_error
        if len(self.endpoints) == 1:
            return self.endpoints[0]
        reachable = [line for line in self.endpoints if not line.limiter.unreachable]
        for line in self.endpoints:
            if not reachable or (
                line.limiter.unreachable and not line.limiter.pause_left and not line.limiter.in_flight
            ):
                return line if reachable else min(self.endpoints, key=lambda line: line.limiter.pause_left)
        if key and avoid is None:
            preferred = reachable[crc32(key.encode()) % len(reachable)]
            if preferred.limiter.load < 1 and not preferred.limiter.pause_left and not preferred.is_failing:
                return preferred
        return min(
            reachable, key=lambda line: (line is avoid, line.is_failing, line.limiter.pause_left > 0, line.limiter.load)
        )

    async def _send(
        self, endpoint: Endpoint, request: HttpRequest, reader: ResponseReader | None, timeouts: Timeouts | None = None
    ) -> HttpResponse:
        root = endpoint.url.removesuffix("/v1") if request.path.startswith("//") else endpoint.url
        url = root + request.path.replace("//", "/") + endpoint.query
        try:
            response = await endpoint.send(request.method, url, request.payload, reader, timeouts)
        except UntrustedCertificate as error:
            remedy = "SSL_CERT_FILE=ca.pem names the authority to trust"
            raise self._fatal(f"{endpoint.url}: its certificate is not trusted: {error}; {remedy}") from None
        except ProxyRefused as error:
            raise self._fatal(f"{endpoint.url}: {error}; NO_PROXY=HOST goes around it") from None
        if endpoint.limiter.unreachable:
            endpoint.on_response(ok=False)
        return response

    async def _attempt(
        self,
        endpoint: Endpoint,
        request: HttpRequest,
        reader: ResponseReader | None,
        read: Callable[[HttpResponse, ResponseReader | None], _T],
    ) -> _T:
        """What `read` makes of a reply; the right error for one that is none, or that an error is reported in."""
        body = b""
        try:
            response = await self._send(endpoint, request, reader)
            if not 200 <= response.status < 300:
                self._raise_for_status(endpoint, request, response)
            body = response.body
            return read(response, reader)
        except Reported as told:
            self._raise_reported(endpoint, request, told.error)
        except RetryableError as again:
            if not endpoint.has_succeeded:
                again.page = errors.parse(responses.decode_text(body[:1000])).page
            raise

    def _raise_reported(self, endpoint: Endpoint, request: HttpRequest, error: ServerError) -> NoReturn:
        """The right error for one that came in place of an answer, with status 200 or in a stream."""
        status, message = errors.http_status(error), self._clean(f"the server reports {error}")
        if self._is_key_error(endpoint, status) and not refusals.is_out_of_credit(status, error):
            raise self._fatal(f"{endpoint.url}: {self._key_hint} ({message})")
        self._raise_known(endpoint, request, status, error, message)
        if status and not refusals.is_retryable(status):
            raise BadRequest(message, echoes.remove_echoes(error, request.payload))
        kind: Literal["overloaded", "malformed"] = "overloaded" if refusals.is_overload(status, error) else "malformed"
        raise RetryableError(message, kind, responses.retry_after({}, error.message))

    def _raise_for_status(self, endpoint: Endpoint, request: HttpRequest, response: HttpResponse) -> None:
        """The right error for a reply that is not a good one."""
        status, url = response.status, endpoint.url
        completes = request.path == "/completions" or request.path.startswith("/chat")
        if not completes and status in {404, 405, 501}:
            return  # such a server does not have it
        error = errors.parse(responses.decode_text(response.body))
        message = self._clean(f"{status} {error}")
        if status == 407:
            self._raise_proxy_login(endpoint, message)
        firewall = error.page and 400 <= status < 500 and status not in refusals.PERMANENT_STATUSES
        if firewall and (self.has_answered or (endpoint.has_succeeded and status not in {404, 405})):
            raise RetryableError(message)
        if self._is_key_error(endpoint, status) and not refusals.is_out_of_credit(status, error):
            raise self._fatal(f"{url}: {self._key_hint} ({message})")
        self._raise_known(endpoint, request, status, error, message)
        if refusals.is_retryable(status):
            wait = responses.retry_after(response.headers, error.message)
            raise RetryableError(message, "overloaded" if status in refusals.OVERLOAD_STATUSES else "malformed", wait)
        if status == 404 or (not self.has_answered and (status == 405 or (status == 501 and error.page))):
            raise self._fatal(f"{url}{request.path} or model '{self._model}' is not there ({message}); {self.remedy}")
        if 300 <= status < 400:
            target = self._clean(response.headers.get("location", "elsewhere"))
            raise self._fatal(f"{url}{request.path} has moved to {target}; give the new --base-url")
        if status == 413:
            message = (
                f"{message}: the request has {len(request.payload):,} bytes, and a proxy or the server takes fewer"
            )
        if status in {400, 422, 501}:
            raise BadRequest(message, echoes.remove_echoes(error, request.payload))
        raise RequestFailed(message)

    @staticmethod
    def _is_key_error(endpoint: Endpoint, status: int) -> bool:
        """Whether a status says that the key is wrong; 403 may be about one request once others were answered."""
        return status == 401 or (status == 403 and not endpoint.has_succeeded)

    def _raise_known(
        self, endpoint: Endpoint, request: HttpRequest, status: int, error: ServerError, message: str
    ) -> None:
        """Raise what an error means whatever its status and the way it came."""
        message = self._clean(message)
        whole = error
        if status not in refusals.OVERLOAD_STATUSES:
            error = echoes.remove_echoes(error, request.payload)
        if refusals.is_out_of_credit(status, error):
            raise self._fatal(
                f"{endpoint.url}: nothing is left on the account ({message}); the same command continues the run"
            )
        if status in {0, 400} and not self.has_answered and refusals.mentions_wrong_key(error):
            raise self._fatal(f"{endpoint.url}: {self._key_hint} ({message})")
        if context_length.exceeded(status, whole, request.payload):
            raise ContextLengthExceeded(message, whole)
        if status in _PARAMETER_STATUSES and request.body and parameters.find_adjustments(error, request.body):
            raise BadRequest(message, error)
        if status < 500 and refusals.is_model_missing(
            error, by_words=status in _PARAMETER_STATUSES - {0} and not self.has_answered
        ):
            raise self._fatal(f"{endpoint.url}: model '{self._model}' is not there ({message}); {self.remedy}")
        if status in {500, 501} and request.n > 1 and not self._multiple_worked:
            raise BadRequest(message, error)

    def _raise_proxy_login(self, endpoint: Endpoint, message: str) -> NoReturn:
        raise self._fatal(
            f"{endpoint.url}: the proxy wants a login ({message}); HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT"
        )

    def _retry_delay(self, endpoint: Endpoint, error: RetryableError, reason: str, epoch: int, retries: int) -> float:
        """Seconds until the next try; the error instead, if there is to be none."""
        if error.kind == "unreachable":
            if endpoint.on_unreachable() > self._patience and all(line.limiter.unreachable for line in self.endpoints):
                away = f"no connection for {span(self._patience)}"
                raise self._fatal(
                    f"{endpoint.url}: {reason}; {away}: the server is gone, the same command continues the run"
                )
            return 0.0  # the line itself rests
        endpoint.on_response(ok=False)
        if error.kind in {"overloaded", "timeout"}:
            endpoint.limiter.on_overload(epoch)
        if error.wait:
            endpoint.limiter.pause(error.wait)
        if error.page and not endpoint.has_succeeded and retries >= min(self._retries, _MAX_PAGE_RETRIES):
            raise self._fatal(f"{endpoint.url} answers with a page and is no API ({reason}); is --base-url right?")
        if retries >= self._retries:
            raise RequestFailed(f"{endpoint.url}: {reason}" + (f" ({retries + 1} tries)" if retries else "")) from None
        return min(MAX_WAIT, max(error.wait, self._backoff * float(2**retries) * random.uniform(0.5, 1)))

    def _fatal(self, reason: str) -> RunnerError:
        """The error that ends the run, for all that wait too."""
        error = self._fatal_error = RunnerError(f"http: {self._clean(reason)}")
        for line in self.endpoints:
            line.limiter.close(error)
        return error


def make_clean(redact: Callable[[str], str]) -> Callable[[str], str]:
    """One line of at most 300 characters, without secrets."""
    return lambda text: short(" ".join(redact(text).split()), 300)
