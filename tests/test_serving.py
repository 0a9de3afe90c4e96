"""The servers of the tests themselves: one that leaves a socket open fails some other test, later."""

import asyncio
import gc
import socket
import warnings

from tests.serving import Server


def test_a_server_that_stops_while_clients_connect_leaves_no_socket_open() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", ResourceWarning)
        for _ in range(40):  # connections are accepted at the very moment in some rounds
            server = Server(serve)
            clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
            server.stop()
            for client in clients:
                client.close()
        gc.collect()
    assert [str(warning.message) for warning in seen] == []
