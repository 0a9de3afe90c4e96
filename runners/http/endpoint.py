"""The way to one server, and the only place that knows the HTTP library: one request, one reply, no judgement.

aiohttp is the maintained client with the least cost for each request; `benchmarks/http_clients.py` compares.
"""

import asyncio
import base64
import io
import resource
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal, NamedTuple, NoReturn, Protocol

import aiohttp
from yarl import URL

from m1eval.reservation import discard

from .limiter import AdaptiveLimiter
from .options import Address
from .proxies import Proxy

MAX_RESPONSE_BYTES = 64 * 2**20
"""Bytes of a response that are held; a longer one is no answer."""
MAX_ERROR_BYTES = 2**20
"""Bytes of an error that are read; the rest of it is left where it is."""
FAILURES_TO_AVOID, AVOID_SECONDS = 3, 5.0
"""After so many failures in a row a server is avoided for so many seconds, where there are others."""
END_GRACE = 0.25
"""Seconds in which a response may end after its stream has said that it is at its end."""
SINGLE_WRITE_BYTES = 2**19
"""Bytes of a request that are sent in one piece."""


class RequestFailed(Exception):
    """One request got no usable answer; the message is one line."""


class RetryableError(Exception):
    """A failure worth another attempt, after `wait` seconds if the server asks for it.

    `kind`: there is no connection ("unreachable"), the response is not an answer ("malformed"), none came in time
    ("timeout"), the server has too many requests ("overloaded").
    """

    def __init__(
        self,
        reason: str,
        kind: Literal["unreachable", "malformed", "timeout", "overloaded"] = "malformed",
        wait: float = 0.0,
    ) -> None:
        super().__init__(reason)
        self.kind = kind
        self.wait = wait
        self.page = False
        """Whether an HTML page came in place of an answer."""


class UntrustedCertificate(Exception):
    """The server's certificate is not accepted."""


class ProxyRefused(Exception):
    """The proxy before the server refuses to let a request through."""


class HttpResponse(NamedTuple):
    """An HTTP response; the body of a stream is empty, as its reader has it. `charset`: what its type says, if any."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    charset: str | None = None


class ResponseReader(Protocol):
    """Reads a response as it comes, which may be a stream of server-sent events or a whole body."""

    is_stream: bool
    """Whether a stream came in place of a whole body."""
    body: bytearray
    """The whole body, if no stream came."""
    done: bool
    """Whether the stream has said that it is at its end."""
    has_started: bool
    """Whether its first token has come."""
    first_token_at: float
    """When that was, by the monotonic clock; 0 before."""

    @property
    def is_complete(self) -> bool:
        """Whether the answer is whole, though more may come."""

    def on_headers(self, content_type: str, charset: str | None) -> None: ...
    def feed(self, chunk: bytes) -> None: ...
    def completion(self) -> Any: ...


class Timeouts(NamedTuple):
    """Seconds for a whole exchange, for a connection, and between two pieces of a stream."""

    total: float
    connect: float
    read: float


class Endpoint:
    """A pool of keep-alive connections to one server, with its pace."""

    def __init__(
        self,
        address: Address,
        headers: dict[str, str],
        timeouts: Timeouts,
        limiter: AdaptiveLimiter,
        proxy: Proxy | None = None,
    ) -> None:
        self.url, self.display_url = address.url, address.display_url
        self.query = f"?{address.query}" if address.query else ""
        self.limiter = limiter
        self.has_succeeded = False
        """Whether it has answered a request."""
        self.unreachable_since: float | None = None
        self._connect_failures = self._failures = 0
        self._failed_at = 0.0
        self._headers = headers
        self._timeouts = timeouts
        self._proxy = proxy
        # Named here, as aiohttp's own reading of the environment would send the logins of a .netrc too.
        self._proxy_options: dict[str, Any] = {"proxy": proxy.url} if proxy else {}
        if proxy and proxy.login:
            login = {"proxy-authorization": f"Basic {base64.b64encode(proxy.login.encode()).decode()}"}
            if address.url.startswith("https:"):  # only the proxy sees it
                self._proxy_options["proxy_headers"] = login
            else:
                self._headers = headers | login
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self,
        method: str,
        url: str,
        payload: bytes,
        reader: ResponseReader | None = None,
        timeouts: Timeouts | None = None,
    ) -> HttpResponse:
        """Send a request and read the reply, a stream into `reader`; TryAgain when the line is down or breaks."""
        session = self._session or self._open_session()
        timeouts = timeouts or self._timeouts
        begin = time.monotonic()
        body: Any = (payload if len(payload) <= SINGLE_WRITE_BYTES else io.BytesIO(payload)) if payload else None
        try:
            async with asyncio.timeout(timeouts.total) as clock:
                # No redirects: they turn a POST into a GET and may carry the key to another host.
                async with session.request(
                    method, URL(url, encoded=True), data=body, allow_redirects=False, **self._proxy_options
                ) as response:
                    if reader is not None and 200 <= response.status < 300:
                        reader.on_headers(response.content_type, response.charset)
                        await _read_stream(response, reader, clock, timeouts)
                        return HttpResponse(response.status, response.headers, bytes(reader.body), response.charset)
                    body = await (_read_body(response) if response.status < 300 else _read_error(response))
                    return HttpResponse(response.status, response.headers, body, response.charset)
        except aiohttp.ClientConnectorCertificateError as error:
            raise UntrustedCertificate(getattr(error.certificate_error, "verify_message", "") or str(error)) from None
        except aiohttp.ClientHttpProxyError as error:
            self._raise_proxy_error(error)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            through = f" through the proxy {self._proxy.url}" if self._proxy else ""
            raise RetryableError(f"cannot connect{through}: {_connect_reason(error)}", "unreachable") from None
        except TimeoutError:
            if reader is not None and reader.is_complete:
                return HttpResponse(200, {}, b"")
            is_silent = reader is not None and reader.is_stream and time.monotonic() - begin < timeouts.total
            reason = f"not a byte for {timeouts.read:g} s" if is_silent else f"no answer within {timeouts.total:g} s"
            _record_discarded(method)
            raise RetryableError(reason, "timeout") from None
        except (aiohttp.ClientError, OSError) as error:
            if reader is not None and reader.is_complete:
                return HttpResponse(200, {}, b"")
            _record_discarded(method)
            raise RetryableError(f"the connection broke: {str(error) or type(error).__name__}") from None

    def _raise_proxy_error(self, error: aiohttp.ClientHttpProxyError) -> NoReturn:
        """Raise what a proxy that opens no way to the server means; Barred if it never will."""
        message = f"{error.status} {error.message}".strip()
        if self._proxy and error.status < 500:
            raise ProxyRefused(f"the proxy {self._proxy.url} lets nothing through to it ({message})") from None
        raise RetryableError(f"the proxy cannot reach it: {message}") from None

    @property
    def is_failing(self) -> bool:
        """Whether its last answers were none, so that others had best be asked for a while."""
        return self._failures >= FAILURES_TO_AVOID and time.monotonic() - self._failed_at < AVOID_SECONDS

    def on_response(self, *, ok: bool = True) -> None:
        """It is there, and has answered `well` or not."""
        self.has_succeeded |= ok
        self._failures = 0 if ok else self._failures + 1
        self._failed_at = time.monotonic()
        if self.unreachable_since is not None:
            self.unreachable_since, self._connect_failures, self.limiter.unreachable = None, 0, False

    def on_unreachable(self) -> float:
        """It cannot be reached: let it rest, longer each time; the seconds since it was there."""
        now = time.monotonic()
        if self.unreachable_since is None:
            self.unreachable_since = now
        if not self.limiter.pause_left:
            self.limiter.pause(min(10.0, 0.25 * 2**self._connect_failures))
            self._connect_failures += 1
        self.limiter.unreachable = True
        return now - self.unreachable_since

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _open_session(self) -> aiohttp.ClientSession:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with suppress(ValueError, OSError):  # a connection is a file, and shells allow 1,024
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536) if hard > 0 else 65536, hard))
        # The pace is the limit, and its waiting is not on the request's clock.
        connector = aiohttp.TCPConnector(limit=0, socket_factory=_keepalive_socket)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._timeouts.connect)
        self._session = aiohttp.ClientSession(
            connector=connector, headers=self._headers, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
        )
        return self._session


def _keepalive_socket(address: Any) -> socket.socket:
    """A socket that notices within two minutes when the other machine is gone, though nothing is to be sent."""
    family, kind, protocol, *_ = address
    keepalive_socket = socket.socket(family, kind, protocol)
    keepalive_socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):
            keepalive_socket.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return keepalive_socket


async def _read_body(response: aiohttp.ClientResponse) -> bytes:
    chunks, size = [], 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > MAX_RESPONSE_BYTES:
            raise RequestFailed(f"the response is longer than {MAX_RESPONSE_BYTES >> 20} MB")
        chunks.append(chunk)
    return b"".join(chunks)


async def _read_error(response: aiohttp.ClientResponse) -> bytes:
    """What an error says, which is at its beginning."""
    chunks, size = [], 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk[: MAX_ERROR_BYTES - size])
        size += len(chunk)
        if size >= MAX_ERROR_BYTES:
            break
    return b"".join(chunks)


async def _read_stream(
    response: aiohttp.ClientResponse, reader: ResponseReader, clock: asyncio.Timeout, timeouts: Timeouts
) -> None:
    now = asyncio.get_running_loop().time
    end = clock.when() or now() + timeouts.total
    async for chunk in response.content.iter_any():
        reader.feed(chunk)
        if reader.done:
            break
        if reader.is_stream:
            clock.reschedule(min(end, now() + timeouts.read))
    if reader.done and not response.content.at_eof():
        with suppress(TimeoutError):  # the rest is nothing, but a connection that was read to its end is kept
            async with asyncio.timeout(END_GRACE):
                await response.content.readany()


def _connect_reason(error: aiohttp.ClientError) -> str:
    if isinstance(getattr(error, "os_error", None), ConnectionRefusedError):
        return "connection refused"
    return getattr(error, "strerror", None) or str(error) or "no connection in time"


def _record_discarded(method: str) -> None:
    """Have a request counted that the server may have answered at a cost, though nobody will know."""
    if method == "POST":
        discard(None)
