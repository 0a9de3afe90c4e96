"""One server's endpoint, and the only file that knows the HTTP library: one request, one response, no judgement.

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
from typing import Any, NamedTuple, NoReturn, Protocol

import aiohttp
from yarl import URL

from m1eval import discard

from .exceptions import ProxyRefused, RequestFailed, RetryableError, UntrustedCertificate
from .limiter import AdaptiveLimiter
from .options import Address
from .proxies import Proxy

MAX_RESPONSE_BYTES = 64 * 2**20
"""Size of a response that is held in memory; a longer one is not an answer."""
MAX_ERROR_BYTES = 2**20
"""Size up to which an error's body is read."""
FAILURES_TO_AVOID, AVOID_SECONDS = 3, 5.0
"""Failures in a row after which a server is avoided where there are others, and for how long."""
END_GRACE = 0.25
"""Seconds in which a response may end after its stream has sent the end mark."""
SINGLE_WRITE_BYTES = 2**19
"""Size up to which a request's body is sent in one piece."""


class HttpRequest(NamedTuple):
    """One request: `path` below the server's address, or from its root if it begins with two slashes."""

    method: str
    path: str
    payload: bytes = b""
    key: str = ""
    """Requests with the same key share a prefix and had best go to the same server."""
    body: Mapping[str, Any] | None = None
    """The fields of the payload."""

    @property
    def n(self) -> int:
        """The number of answers requested."""
        n = self.body.get("n") if self.body else 1
        return n if isinstance(n, int) and n > 0 else 1


class HttpResponse(NamedTuple):
    """An HTTP response; the body of a stream is empty, as its reader has it. `charset`: from its content type."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    charset: str | None = None


class ResponseReader(Protocol):
    """Reads a response as it arrives, which may be a stream of server-sent events or a whole body."""

    is_stream: bool
    """Whether a stream came in place of a whole body."""
    body: bytearray
    """The whole body, if no stream came."""
    done: bool
    """Whether the stream has sent its end mark."""
    has_started: bool
    """Whether the first token has come."""
    first_token_at: float
    """Time of the first token by the monotonic clock; 0 before."""

    @property
    def is_complete(self) -> bool:
        """Whether the answer is complete, though more may come."""

    def on_headers(self, content_type: str, charset: str | None) -> None: ...
    def feed(self, chunk: bytes) -> None: ...
    def completion(self) -> Any: ...


class Timeouts(NamedTuple):
    """Seconds for a whole exchange, for a connection, and between two chunks of a stream."""

    total: float
    connect: float
    read: float


class Endpoint:
    """One server with its keep-alive connections and its limiter."""

    def __init__(
        self,
        address: Address,
        headers: dict[str, str],
        timeouts: Timeouts,
        limiter: AdaptiveLimiter,
        proxy: Proxy | None = None,
    ) -> None:
        self.url, self.display_url = address.url, address.display_url
        self.limiter = limiter
        self.has_succeeded = False
        """Whether the server has answered a request."""
        self.unreachable_since: float | None = None
        self._query = f"?{address.query}" if address.query else ""
        self._connect_failures = self._failures = 0
        self._failed_at = 0.0
        self._headers = headers
        self._timeouts = timeouts
        self._proxy = proxy
        # Passed explicitly, as aiohttp's own use of the environment would send the logins of a .netrc too.
        self._proxy_options: dict[str, Any] = {"proxy": proxy.url} if proxy else {}
        if proxy and proxy.login:
            login = {"proxy-authorization": f"Basic {base64.b64encode(proxy.login.encode()).decode()}"}
            if address.url.startswith("https:"):  # only the proxy sees it
                self._proxy_options["proxy_headers"] = login
            else:
                self._headers = headers | login
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self, request: HttpRequest, reader: ResponseReader | None = None, timeouts: Timeouts | None = None
    ) -> HttpResponse:
        """Send a request and read the response, a stream into `reader`; RetryableError when the connection fails."""
        session = self._session or self._open_session()
        timeouts = timeouts or self._timeouts
        begin = time.monotonic()
        payload = request.payload
        data: Any = (payload if len(payload) <= SINGLE_WRITE_BYTES else io.BytesIO(payload)) if payload else None
        try:
            async with asyncio.timeout(timeouts.total) as clock:
                # No redirects: they turn a POST into a GET and may carry the key to another host.
                async with session.request(
                    request.method, self._url_of(request), data=data, allow_redirects=False, **self._proxy_options
                ) as response:
                    if reader is not None and 200 <= response.status < 300:
                        reader.on_headers(response.content_type, response.charset)
                        await _read_stream(response, reader, clock, timeouts)
                        return HttpResponse(response.status, response.headers, bytes(reader.body), response.charset)
                    body = await (_read_body(response) if response.status < 300 else _read_error(response))
                    return HttpResponse(response.status, response.headers, body, response.charset)
        except aiohttp.ClientConnectorCertificateError as error:
            verify_message = getattr(error.certificate_error, "verify_message", "")
            raise UntrustedCertificate(verify_message or str(error)) from None
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
            _count_discarded(request)
            raise RetryableError(reason, "timeout") from None
        except (aiohttp.ClientError, OSError) as error:
            if reader is not None and reader.is_complete:
                return HttpResponse(200, {}, b"")
            _count_discarded(request)
            raise RetryableError(f"the connection broke: {str(error) or type(error).__name__}") from None

    def _url_of(self, request: HttpRequest) -> URL:
        root = self.url.removesuffix("/v1") if request.path.startswith("//") else self.url
        return URL(root + request.path.replace("//", "/") + self._query, encoded=True)

    def _raise_proxy_error(self, error: aiohttp.ClientHttpProxyError) -> NoReturn:
        """Raise for a proxy that opens no connection to the server; ProxyRefused if it never will."""
        message = f"{error.status} {error.message}".strip()
        if self._proxy and error.status < 500:
            raise ProxyRefused(f"the proxy {self._proxy.url} lets nothing through to it ({message})") from None
        raise RetryableError(f"the proxy cannot reach it: {message}") from None

    @property
    def is_failing(self) -> bool:
        """Whether its last requests failed, so that other servers are preferred for a while."""
        return self._failures >= FAILURES_TO_AVOID and time.monotonic() - self._failed_at < AVOID_SECONDS

    def on_response(self, *, ok: bool = True) -> None:
        """Note that the server is reachable, and whether its response was usable."""
        self.has_succeeded |= ok
        self._failures = 0 if ok else self._failures + 1
        self._failed_at = time.monotonic()
        if self.unreachable_since is not None:
            self.unreachable_since, self._connect_failures, self.limiter.unreachable = None, 0, False

    def on_unreachable(self) -> float:
        """Pause after a failed connection, longer each time; the seconds since the server was last reachable."""
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
        # The limiter bounds the connections, and its queue does not run on the request's clock.
        connector = aiohttp.TCPConnector(limit=0, socket_factory=_keepalive_socket)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._timeouts.connect)
        self._session = aiohttp.ClientSession(
            connector=connector, headers=self._headers, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
        )
        return self._session


def _keepalive_socket(address: Any) -> socket.socket:
    """A socket that notices within two minutes when the other machine is gone, though nothing is to be sent."""
    family, kind, protocol, *_ = address
    connection = socket.socket(family, kind, protocol)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return connection


async def _read_body(response: aiohttp.ClientResponse) -> bytes:
    chunks, size = [], 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > MAX_RESPONSE_BYTES:
            raise RequestFailed(f"the response is longer than {MAX_RESPONSE_BYTES >> 20} MB")
        chunks.append(chunk)
    return b"".join(chunks)


async def _read_error(response: aiohttp.ClientResponse) -> bytes:
    """The beginning of an error's body, which holds the message."""
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
        with suppress(TimeoutError):  # the rest is empty, but only a connection that was read to its end is reused
            async with asyncio.timeout(END_GRACE):
                await response.content.readany()


def _connect_reason(error: aiohttp.ClientError) -> str:
    if isinstance(getattr(error, "os_error", None), ConnectionRefusedError):
        return "connection refused"
    return getattr(error, "strerror", None) or str(error) or "no connection in time"


def _count_discarded(request: HttpRequest) -> None:
    """Count a request that the server may have answered at a cost, though the answer is lost."""
    if request.method == "POST":
        discard(None)
