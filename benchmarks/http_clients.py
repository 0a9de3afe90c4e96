"""Compares the cost of HTTP clients: `python -m benchmarks.http_clients [--n 5000] [--places 128] [--python PYTHON]`.

Each library sends the same small chat completions to the same server, in its own process; PYTHON is an interpreter with
the libraries (aiohttp, httpx2, httpx, niquests, pyreqwest, aiosonic, uvloop). Missing ones are skipped.
"""

import argparse
import asyncio
import importlib.util
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.overhead import ROOT, Server, measured

BODY = json.dumps(
    {
        "model": "mock",
        "messages": [{"role": "user", "content": "Item 17: what is 1 + 2? " + "x" * 120}],
        "temperature": 0,
        "max_tokens": 64,
    }
).encode()
HEADERS = {"content-type": "application/json", "authorization": "Bearer x"}
Post = Callable[[], Awaitable[bytes]]


async def _aiohttp(url: str, places: int, n: int) -> None:
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=HEADERS) as session:

        async def post() -> bytes:
            async with session.post(url, data=BODY) as response:
                return await response.read()

        await _all(post, places, n)


async def _httpx(url: str, places: int, n: int, library: str = "httpx") -> None:
    httpx: Any = importlib.import_module(library)
    limits = httpx.Limits(max_connections=places, max_keepalive_connections=places)
    async with httpx.AsyncClient(headers=HEADERS, limits=limits, timeout=600) as client:

        async def post() -> bytes:
            return bytes((await client.post(url, content=BODY)).content)

        await _all(post, places, n)


async def _httpx2(url: str, places: int, n: int) -> None:
    await _httpx(url, places, n, "httpx2")


async def _niquests(url: str, places: int, n: int) -> None:
    niquests: Any = importlib.import_module("niquests")
    async with niquests.AsyncSession(pool_connections=1, pool_maxsize=places) as session:

        async def post() -> bytes:
            response = await session.post(url, data=BODY, headers=HEADERS)
            return bytes(response.content)

        await _all(post, places, n)


async def _pyreqwest(url: str, places: int, n: int) -> None:
    client: Any = importlib.import_module("pyreqwest.client")
    async with client.ClientBuilder().build() as session:

        async def post() -> bytes:
            request = session.post(url).headers(HEADERS).body_bytes(BODY).build()
            return bytes(await (await request.send()).bytes())

        await _all(post, places, n)


async def _aiosonic(url: str, places: int, n: int) -> None:
    aiosonic: Any = importlib.import_module("aiosonic")
    connectors: Any = importlib.import_module("aiosonic.connectors")
    pools: Any = importlib.import_module("aiosonic.pools")
    connector = connectors.TCPConnector(pool_configs={":default": pools.PoolConfig(size=places)})
    async with aiosonic.HTTPClient(connector) as client:

        async def post() -> bytes:
            return bytes(await (await client.post(url, headers=HEADERS, data=BODY)).content())

        await _all(post, places, n)


async def _all(post: Post, places: int, n: int) -> None:
    left = iter(range(n))

    async def work() -> None:
        for _ in left:
            assert b"choices" in await post()

    await asyncio.gather(*(work() for _ in range(places)))


CLIENTS = {
    "aiohttp": _aiohttp,
    "httpx2": _httpx2,
    "httpx": _httpx,
    "niquests": _niquests,
    "pyreqwest": _pyreqwest,
    "aiosonic": _aiosonic,
}


def _child(name: str, url: str, places: int, n: int) -> None:
    client, _, loop = name.partition("+")
    if importlib.util.find_spec(client) is None or (loop and importlib.util.find_spec(loop) is None):
        sys.exit(42)
    scenario = CLIENTS[client](url, places, n)
    if loop:
        uvloop: Any = importlib.import_module("uvloop")
        uvloop.run(scenario)
    else:
        asyncio.run(scenario)


def main() -> None:
    """Measure every client in several rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=5000)
    parser.add_argument("--places", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--child", nargs=2, metavar=("CLIENT", "URL"))
    arguments = parser.parse_args()
    if arguments.child:
        client, url = arguments.child
        _child(client, url, arguments.places, arguments.n)
        return
    names = [*CLIENTS, *(f"{name}+uvloop" for name in ("aiohttp", "httpx2"))]
    measurements: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
    with Server() as server:
        for _ in range(arguments.rounds):
            for name in names:
                url = f"{server.url}/chat/completions"
                size = ["--places", str(arguments.places), "--n", str(arguments.n)]
                process = measured(
                    [arguments.python, "-m", "benchmarks.http_clients", *size, "--child", name, url], cwd=ROOT
                )
                if process.code not in {0, 42}:
                    print(f"{name} failed (exit code {process.code})", file=sys.stderr)
                elif not process.code:
                    measurements[name].append((process.wall, process.cpu, process.peak))
    print("| client | requests/s | CPU ms/request | peak MB |\n|---|--:|--:|--:|")
    for name, rows in measurements.items():
        if rows:
            wall, cpu, peak = sorted(rows)[len(rows) // 2]
            print(f"| {name} | {arguments.n / wall:,.0f} | {1000 * cpu / arguments.n:.2f} | {peak:.0f} |")


if __name__ == "__main__":
    main()
