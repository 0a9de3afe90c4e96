"""Servers on the loopback, in threads of their own, that leave no socket open when they are stopped."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class _Connection(asyncio.StreamReaderProtocol):
    """A connection that is known from the moment in which it is accepted until its socket is closed."""

    def __init__(self, serve: Serve, known: "set[_Connection]", loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(asyncio.StreamReader(limit=2**26, loop=loop), serve, loop=loop)
        self._known = known
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._known.add(self)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._known.discard(self)


class Server:
    """`serve` is called for each connection; `stop` ends all of them, read or not, and joins the thread."""

    def __init__(self, serve: Serve, *, tls: ssl.SSLContext | None = None) -> None:
        self._serve, self._tls = serve, tls
        self._known: set[_Connection] = set()
        self._kept: socket.socket | None = None
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(self._listen())
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def pause(self) -> None:
        """Close the port and all connections, as a server that is gone; the port is kept for `resume`."""
        self._kept = socket.socket()
        self._kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._kept.bind(("127.0.0.1", self.port))  # bound and not listening: connections are refused
        self._do(self._end())

    def resume(self) -> None:
        """Listen again on the same port."""
        self._server = self._do(self._listen(self.port))
        self._let_go()

    def stop(self) -> None:
        """Close everything; returns when it is closed."""
        if self._thread.is_alive():
            self._do(self._end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
        self._let_go()

    def _let_go(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _listen(self, port: int = 0) -> asyncio.Server:
        return await self._loop.create_server(
            lambda: _Connection(self._serve, self._known, self._loop), "127.0.0.1", port, ssl=self._tls, reuse_port=True
        )

    async def _end(self) -> None:
        for listening in self._server.sockets:
            self._loop.remove_reader(listening.fileno())
        await asyncio.sleep(0)  # what was accepted just now gets its transport, which a closed server would not give it
        self._server.close()
        while tasks := [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        while self._known:  # what is still to be sent is given up, and what was not read
            for connection in list(self._known):
                if connection.transport is not None:
                    connection.transport.abort()
            await asyncio.sleep(0)


class Closed:
    """A port on which nobody listens, and which nobody else can take meanwhile."""

    def __enter__(self) -> int:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        return int(self._socket.getsockname()[1])

    def __exit__(self, *_: object) -> None:
        self._socket.close()


class Rude:
    """A server that answers in plain words to whoever connects, and speaks no TLS."""

    def __enter__(self) -> int:
        self._server = Server(self._answer)
        return self._server.port

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    @staticmethod
    async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.read(1)
            writer.write(b"HTTP/1.1 400 No TLS here\r\n\r\n")
            await writer.drain()
        writer.close()
