"""The way to a server, and the only place that knows the HTTP library: one request, one reply, no judgement."""

import asyncio
import io
import time
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import aiohttp

LARGEST = 64 * 2**20
"""Bytes of a response that are read; a longer one is no answer."""


class RequestFailed(Exception):
    """One request got no usable answer; the message is one line."""


class TryAgain(Exception):
    """A failure worth another try, after `wait` seconds if the server says so.

    `kind`: there is no connection ("lost"), what came is no answer ("broken"), the server says not now ("busy").
    """

    def __init__(self, reason: str, kind: Literal["lost", "broken", "busy"] = "broken", wait: float = 0.0) -> None:
        super().__init__(reason)
        self.kind = kind
        self.wait = wait


class Reply(NamedTuple):
    """An HTTP response, decoded as UTF-8 with bad bytes replaced; `queued`: seconds the request waited for a place."""

    status: int
    headers: Mapping[str, str]
    body: str
    queued: float


class Line:
    """A pool of `places` keep-alive connections; `timeout`: seconds for a whole exchange once it has a place."""

    def __init__(self, url: str, headers: dict[str, str], timeout: float, connect_timeout: float, places: int) -> None:
        self.url = url
        self._headers = headers
        self._limits = aiohttp.ClientTimeout(total=timeout, sock_connect=connect_timeout)
        self._places = asyncio.Semaphore(places)
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, method: str, path: str, payload: bytes) -> Reply:
        """Send a request and read the reply; TryAgain when the line is down or breaks."""
        begin = time.monotonic()
        async with self._places:
            queued = time.monotonic() - begin
            if self._session is None:
                pool = aiohttp.TCPConnector(limit=0)  # the places are the limit, and their clock is not the request's
                self._session = aiohttp.ClientSession(connector=pool, headers=self._headers, timeout=self._limits)
            # No redirects: they turn a POST into a GET and may carry the key to another host.
            sent: dict[str, Any] = {"allow_redirects": False} | ({"data": io.BytesIO(payload)} if payload else {})
            try:
                async with self._session.request(method, self.url + path, **sent) as response:
                    return Reply(response.status, response.headers, await _text(response), queued)
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                raise TryAgain(f"cannot connect: {_reason(error)}", "lost") from None
            except TimeoutError:
                raise TryAgain(f"no answer within {self._limits.total:g} s") from None
            except (aiohttp.ClientError, OSError) as error:
                raise TryAgain(f"the connection broke: {str(error) or type(error).__name__}") from None

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()


async def _text(response: aiohttp.ClientResponse) -> str:
    chunks, size = [], 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > LARGEST:
            raise RequestFailed(f"the response is longer than {LARGEST >> 20} MB")
        chunks.append(chunk)
    return b"".join(chunks).decode("utf-8-sig", errors="replace")


def _reason(error: aiohttp.ClientError) -> str:
    if isinstance(getattr(error, "os_error", None), ConnectionRefusedError):
        return "connection refused"
    return getattr(error, "strerror", None) or "no connection in time"
