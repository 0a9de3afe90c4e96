"""Servers of one model: choosing one for each request, and retrying."""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar
from zlib import crc32

from m1eval import Progress
from m1eval.option_names import option
from m1eval.text import format_duration, shorten

from . import errors, refusals, responses
from .endpoint import Endpoint, HttpRequest, HttpResponse, ResponseReader, Timeouts
from .error_policy import ErrorPolicy
from .exceptions import (
    BadRequest,
    ContextLengthExceeded,
    ProxyRefused,
    ReportedError,
    RequestFailed,
    RetryableError,
    UntrustedCertificate,
)
from .limiter import MAX_WAIT

_MAX_PAGE_RETRIES = 2
"""Retries while a server shows nothing but HTML pages."""
PROBE_TIMEOUTS = Timeouts(60.0, 10.0, 60.0)
_T = TypeVar("_T")


class Exchange(NamedTuple):
    """The result of a request: the value, retries before it, seconds in the queue, when it was sent."""

    value: Any
    retries: int
    queued: float
    sent_at: float
    first_token_at: float = 0.0
    """Time of a stream's first token; 0: not known."""

    @property
    def first_token(self) -> float:
        """Seconds from the request to the first token; 0: not known."""
        return self.first_token_at - self.sent_at if self.first_token_at else 0.0


class EndpointPool:
    """The endpoints of one model, with one retry policy.

    `retries` after the first attempt, the first after `backoff` seconds or less, each later one after up to twice as
    long. A server that cannot be reached costs no retries: it is waited for, up to `patience` seconds.
    """

    def __init__(
        self,
        endpoints: list[Endpoint],
        policy: ErrorPolicy,
        clean: Callable[[str], str],
        retries: int,
        backoff: float,
        patience: float,
    ) -> None:
        self.endpoints, self.policy, self._clean = endpoints, policy, clean
        self._retries, self._backoff, self._patience = retries, backoff, patience

    @property
    def concurrency(self) -> int:
        """Maximum number of requests in flight over all servers."""
        return sum(endpoint.limiter.limit for endpoint in self.endpoints)

    async def request(
        self,
        request: HttpRequest,
        progress: Progress,
        read: Callable[[HttpResponse, ResponseReader | None], _T],
        new_reader: Callable[[Endpoint], ResponseReader] | None = None,
    ) -> Exchange:
        """The response as parsed by `read`, after as many attempts as it takes.

        RequestFailed when there is no answer, RunnerError when no request would fare better.
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
                self.policy.has_answered = True
                self.policy.accepts_n |= request.n > 1
                return Exchange(value, retries, queued, sent_at, reader.first_token_at if reader else 0.0)
            except (BadRequest, ContextLengthExceeded):
                endpoint.on_response()
                raise
            except RequestFailed as error:
                endpoint.on_response()
                raise RequestFailed(self._clean(str(error))) from None
            except RetryableError as error:
                reason = self._clean(str(error))
                wait = self._retry_delay(endpoint, error, reason, epoch, retries)
                retries += error.kind != "unreachable"
            finally:
                if reader is not None and reader.has_started:
                    endpoint.limiter.streaming -= 1
                endpoint.limiter.release()
            progress.retry(reason, max(wait, endpoint.limiter.pause_left))
            await asyncio.sleep(wait)

    async def probe(self, endpoint: Endpoint, request: HttpRequest, progress: Progress) -> tuple[Any, str]:
        """The JSON of a server's answer at the start, and if there is none, why; only a wrong key is an error.

        Tried again only while the server is overloaded; RequestFailed if it cannot be reached.
        """
        retries = 0
        while True:
            try:
                response = await self._send(endpoint, request, None, PROBE_TIMEOUTS)
            except (RetryableError, RequestFailed) as error:
                raise RequestFailed(f"{endpoint.url}: {self._clean(str(error))}") from None
            if response.status == 200:
                try:
                    data = responses.parse_json(response.body, response.charset)
                except RetryableError as error:
                    return None, self._clean(str(error))
                endpoint.on_response()
                return data, ""
            server_error = errors.parse(responses.decode_text(response.body))
            self.policy.raise_at_start(endpoint, response.status, server_error)
            reason = self._clean(f"{response.status} {server_error}")
            if response.status not in refusals.OVERLOAD_STATUSES or retries >= self._retries:
                return None, reason
            retry_after = responses.retry_after(response.headers, str(server_error))
            wait = min(MAX_WAIT, max(retry_after, self._backoff * 2**retries))
            retries += 1
            progress.retry(reason, wait)
            await asyncio.sleep(wait)

    async def aclose(self) -> None:
        """Close all connections."""
        for endpoint in self.endpoints:
            await endpoint.aclose()

    def _select(self, key: str, avoid: Endpoint | None) -> Endpoint:
        """The server of the prefix key while it has room, else the least loaded one; an unreachable one as a probe.

        `avoid`: the server that has just failed, which comes last.
        """
        if self.policy.fatal_error:
            raise self.policy.fatal_error
        if len(self.endpoints) == 1:
            return self.endpoints[0]
        reachable = [endpoint for endpoint in self.endpoints if not endpoint.limiter.unreachable]
        if not reachable:
            return min(self.endpoints, key=lambda endpoint: endpoint.limiter.pause_left)
        for endpoint in self.endpoints:
            limiter = endpoint.limiter
            if limiter.unreachable and not limiter.pause_left and not limiter.in_flight:
                return endpoint
        if key and avoid is None:
            preferred = reachable[crc32(key.encode()) % len(reachable)]
            if preferred.limiter.load < 1 and not preferred.limiter.pause_left and not preferred.is_failing:
                return preferred
        return min(reachable, key=lambda it: (it is avoid, it.is_failing, it.limiter.pause_left > 0, it.limiter.load))

    async def _send(
        self, endpoint: Endpoint, request: HttpRequest, reader: ResponseReader | None, timeouts: Timeouts | None = None
    ) -> HttpResponse:
        try:
            response = await endpoint.send(request, reader, timeouts)
        except UntrustedCertificate as error:
            remedy = "SSL_CERT_FILE=ca.pem names the authority to trust"
            reason = f"{endpoint.url}: its certificate is not trusted: {error}; {remedy}"
            raise self.policy.fatal(reason) from None
        except ProxyRefused as error:
            raise self.policy.fatal(f"{endpoint.url}: {error}; NO_PROXY=HOST goes around it") from None
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
        """The response of one attempt as parsed by `read`; the right exception for an error in its place."""
        body = b""
        try:
            response = await self._send(endpoint, request, reader)
            if not 200 <= response.status < 300:
                self.policy.raise_for_status(endpoint, request, response)
            body = response.body
            return read(response, reader)
        except ReportedError as error:
            self.policy.raise_reported(endpoint, request, error.error)
        except RetryableError as error:
            if not endpoint.has_succeeded:
                error.page = errors.parse(responses.decode_text(body[:1000])).page
            raise

    def _retry_delay(self, endpoint: Endpoint, error: RetryableError, reason: str, epoch: int, retries: int) -> float:
        """Seconds until the next attempt; the exception instead, if there is to be none."""
        if error.kind == "unreachable":
            if endpoint.on_unreachable() > self._patience and all(it.limiter.unreachable for it in self.endpoints):
                what = f"no connection for {format_duration(self._patience)}: the server is gone"
                reason = f"{endpoint.url}: {reason}; {what}, the same command continues the run"
                raise self.policy.fatal(reason)
            return 0.0  # the endpoint itself pauses
        endpoint.on_response(ok=False)
        if error.kind in {"overloaded", "timeout"}:
            endpoint.limiter.on_overload(epoch)
        if error.wait:
            endpoint.limiter.pause(error.wait)
        if error.page and not endpoint.has_succeeded and retries >= min(self._retries, _MAX_PAGE_RETRIES):
            reason = f"{endpoint.url} answers with a page and is not an API ({reason}); is {option('base_url')} right?"
            raise self.policy.fatal(reason)
        if retries >= self._retries:
            raise RequestFailed(f"{endpoint.url}: {reason}" + (f" ({retries + 1} tries)" if retries else "")) from None
        return min(MAX_WAIT, max(error.wait, self._backoff * float(2**retries) * random.uniform(0.5, 1)))


def make_clean(redact: Callable[[str], str]) -> Callable[[str], str]:
    """A function that makes a text one line of at most 300 characters, without secrets."""
    return lambda text: shorten(" ".join(redact(text).split()), 300)
