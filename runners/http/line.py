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

from .options import Address
from .pace import Pace
from .proxies import Proxy

LARGEST = 64 * 2**20
"""Bytes of a response that are held; a longer one is no answer."""
TOLD = 2**20
"""Bytes of an error that are read; the rest of it is left where it is."""
FAILING, AVOIDED = 3, 5.0
"""After so many failures in a row a server is avoided for so many seconds, where there are others."""
AFTER_END = 0.25
"""Seconds in which a response may end after its stream has said that it is at its end."""
AT_ONCE = 2**19
"""Bytes of a request that are sent in one piece."""


class RequestFailed(Exception):
    """One request got no usable answer; the message is one line."""


class TryAgain(Exception):
    """A failure worth another try, after `wait` seconds if the server says so.

    `kind`: there is no connection ("lost"), what came is no answer ("broken"), none came in time ("late"), the server
    says not now ("busy").
    """

    def __init__(
        self, reason: str, kind: Literal["lost", "broken", "late", "busy"] = "broken", wait: float = 0.0
    ) -> None:
        super().__init__(reason)
        self.kind = kind
        self.wait = wait
        self.page = False
        """Whether an HTML page came in place of an answer."""


class Untrusted(Exception):
    """The server's certificate is not accepted."""


class Barred(Exception):
    """The proxy before the server refuses to let a request through."""


class Reply(NamedTuple):
    """An HTTP response; the body of a stream is empty, as its reader has it. `charset`: what its type says, if any."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    charset: str | None = None


class Reader(Protocol):
    """Reads a response as it comes, which may be a stream of server-sent events or a whole body."""

    heard: bool
    """Whether a stream came in place of a whole body."""
    body: bytearray
    """The whole body, if no stream came."""
    done: bool
    """Whether the stream has said that it is at its end."""
    flows: bool
    """Whether its first token has come."""
    first: float
    """When that was, by the monotonic clock; 0 before."""

    @property
    def ended(self) -> bool:
        """Whether the answer is whole, though more may come."""

    def begin(self, content_type: str, charset: str | None) -> None: ...
    def feed(self, chunk: bytes) -> None: ...
    def completion(self) -> Any: ...


class Limits(NamedTuple):
    """Seconds for a whole exchange, for a connection, and between two pieces of a stream."""

    total: float
    connect: float
    read: float


class Line:
    """A pool of keep-alive connections to one server, with its pace."""

    def __init__(
        self, address: Address, headers: dict[str, str], limits: Limits, pace: Pace, proxy: Proxy | None = None
    ) -> None:
        self.url, self.shown = address.url, address.shown
        self.query = f"?{address.query}" if address.query else ""
        self.pace = pace
        self.works = False
        """Whether it has answered a request."""
        self.lost_since: float | None = None
        self._losses = self._failures = 0
        self._failed_at = 0.0
        self._headers = headers
        self._limits = limits
        self._proxy = proxy
        # Named here, as aiohttp's own reading of the environment would send the logins of a .netrc too.
        self._through: dict[str, Any] = {"proxy": proxy.url} if proxy else {}
        if proxy and proxy.login:
            login = {"proxy-authorization": f"Basic {base64.b64encode(proxy.login.encode()).decode()}"}
            if address.url.startswith("https:"):  # only the proxy sees it
                self._through["proxy_headers"] = login
            else:
                self._headers = headers | login
        self._session: aiohttp.ClientSession | None = None

    async def ask(
        self, method: str, url: str, payload: bytes, reader: Reader | None = None, limits: Limits | None = None
    ) -> Reply:
        """Send a request and read the reply, a stream into `reader`; TryAgain when the line is down or breaks."""
        session = self._session or self._opened()
        limits = limits or self._limits
        begin = time.monotonic()
        body: Any = (payload if len(payload) <= AT_ONCE else io.BytesIO(payload)) if payload else None
        try:
            async with asyncio.timeout(limits.total) as clock:
                # No redirects: they turn a POST into a GET and may carry the key to another host.
                async with session.request(
                    method, URL(url, encoded=True), data=body, allow_redirects=False, **self._through
                ) as response:
                    if reader is not None and 200 <= response.status < 300:
                        reader.begin(response.content_type, response.charset)
                        await _follow(response, reader, clock, limits)
                        return Reply(response.status, response.headers, bytes(reader.body), response.charset)
                    body = await (_body(response) if response.status < 300 else _beginning(response))
                    return Reply(response.status, response.headers, body, response.charset)
        except aiohttp.ClientConnectorCertificateError as error:
            raise Untrusted(getattr(error.certificate_error, "verify_message", "") or str(error)) from None
        except aiohttp.ClientHttpProxyError as error:
            self._kept_out(error)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            through = f" through the proxy {self._proxy.url}" if self._proxy else ""
            raise TryAgain(f"cannot connect{through}: {_reason(error)}", "lost") from None
        except TimeoutError:
            if reader is not None and reader.ended:
                return Reply(200, {}, b"")
            silent = reader is not None and reader.heard and time.monotonic() - begin < limits.total
            limit = f"not a byte for {limits.read:g} s" if silent else f"no answer within {limits.total:g} s"
            _discard(method)
            raise TryAgain(limit, "late") from None
        except (aiohttp.ClientError, OSError) as error:
            if reader is not None and reader.ended:
                return Reply(200, {}, b"")
            _discard(method)
            raise TryAgain(f"the connection broke: {str(error) or type(error).__name__}") from None

    def _kept_out(self, error: aiohttp.ClientHttpProxyError) -> NoReturn:
        """Raise what a proxy that opens no way to the server means; Barred if it never will."""
        words = f"{error.status} {error.message}".strip()
        if self._proxy and error.status < 500:
            raise Barred(f"the proxy {self._proxy.url} lets nothing through to it ({words})") from None
        raise TryAgain(f"the proxy cannot reach it: {words}") from None

    @property
    def failing(self) -> bool:
        """Whether its last answers were none, so that others had best be asked for a while."""
        return self._failures >= FAILING and time.monotonic() - self._failed_at < AVOIDED

    def found(self, *, well: bool = True) -> None:
        """It is there, and has answered `well` or not."""
        self.works |= well
        self._failures = 0 if well else self._failures + 1
        self._failed_at = time.monotonic()
        if self.lost_since is not None:
            self.lost_since, self._losses, self.pace.lost = None, 0, False

    def miss(self) -> float:
        """It cannot be reached: let it rest, longer each time; the seconds since it was there."""
        now = time.monotonic()
        if self.lost_since is None:
            self.lost_since = now
        if not self.pace.resting:
            self.pace.rest(min(10.0, 0.25 * 2**self._losses))
            self._losses += 1
        self.pace.lost = True
        return now - self.lost_since

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with suppress(ValueError, OSError):  # a connection is a file, and shells allow 1,024
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536) if hard > 0 else 65536, hard))
        # The pace is the limit, and its waiting is not on the request's clock.
        pool = aiohttp.TCPConnector(limit=0, socket_factory=_watched)
        times = aiohttp.ClientTimeout(total=None, sock_connect=self._limits.connect)
        self._session = aiohttp.ClientSession(
            connector=pool, headers=self._headers, timeout=times, cookie_jar=aiohttp.DummyCookieJar()
        )
        return self._session


def _watched(address: Any) -> socket.socket:
    """A socket that notices within two minutes when the other machine is gone, though nothing is to be sent."""
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made


async def _body(response: aiohttp.ClientResponse) -> bytes:
    chunks, size = [], 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > LARGEST:
            raise RequestFailed(f"the response is longer than {LARGEST >> 20} MB")
        chunks.append(chunk)
    return b"".join(chunks)


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """What an error says, which is at its beginning."""
    chunks, size = [], 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk[: TOLD - size])
        size += len(chunk)
        if size >= TOLD:
            break
    return b"".join(chunks)


async def _follow(response: aiohttp.ClientResponse, reader: Reader, clock: asyncio.Timeout, limits: Limits) -> None:
    now = asyncio.get_running_loop().time
    end = clock.when() or now() + limits.total
    async for chunk in response.content.iter_any():
        reader.feed(chunk)
        if reader.done:
            break
        if reader.heard:
            clock.reschedule(min(end, now() + limits.read))
    if reader.done and not response.content.at_eof():
        with suppress(TimeoutError):  # the rest is nothing, but a connection that was read to its end is kept
            async with asyncio.timeout(AFTER_END):
                await response.content.readany()


def _reason(error: aiohttp.ClientError) -> str:
    if isinstance(getattr(error, "os_error", None), ConnectionRefusedError):
        return "connection refused"
    return getattr(error, "strerror", None) or str(error) or "no connection in time"


def _discard(method: str) -> None:
    """Have a request counted that the server may have answered at a cost, though nobody will know."""
    if method == "POST":
        discard(None)
