"""Kill a run again and again, at random, and count what it cost: `python -m benchmarks.crash`.

A server on the loopback counts every request. Each kill is a SIGKILL of the whole process; the same
command goes on. In the end each (sample, repeat) must stand in the journal once, and no more may have been asked again
than was in flight at the kills: asked and not yet on disk.
"""

import argparse
import asyncio
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
TASK = "title: T\ndataset: {file: t.jsonl}\nid: '{{ q }}'\nprompt: '{{ q }}'\ntarget: 'yes'\nscorer: ./odd.py\n"
SCORER = """
from decimal import Decimal
from fractions import Fraction
import numpy
from m1eval import Score

VALUES = [True, numpy.float32(1), Fraction(1, 3), Decimal("0.25"), numpy.array(0.5), numpy.int64(0), numpy.bool_(True)]


class Scorer:
    async def score(self, output, sample, tools):
        return Score(value=VALUES[int(sample.id[1:]) % len(VALUES)], answer=7, metrics={1: numpy.float64(0.5)})
"""
"""Scores of every type that plugins return."""


class Counting:
    """An OpenAI-compatible server in a thread that says yes after a while, and counts what it was asked."""

    def __init__(self, latency: float) -> None:
        self.requests = 0
        """Requests for answers that have come."""
        self._latency = latency
        self._loop = asyncio.new_event_loop()
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = next(
                    (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line), 0
                )
                body = json.loads(await reader.readexactly(size)) if size else None
                said = await self._said(body)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(said), said))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _said(self, body: dict[str, Any] | None) -> bytes:
        if body is None:
            return json.dumps({"data": [{"id": "m"}]}).encode()
        self.requests += 1
        await asyncio.sleep(self._latency)
        choice = {"message": {"content": "yes"}, "finish_reason": "stop"}
        return json.dumps({"choices": [choice], "usage": {"completion_tokens": 1}}).encode()


class Came(NamedTuple):
    """What a run with kills came to: lines of the journal, requests for its samples, and what was in flight."""

    lines: int
    distinct: int
    requests: int
    flying: list[int]
    """At each kill, samples that were asked and not yet on disk."""


def crash(folder: Path, samples: int, kills: int, places: int, latency: float, seed: int, full: int = 0) -> Came:
    """Run `samples` in `folder` with `kills` kills spread over the whole run, and `full` full disks among them.

    A disk is full for a process whose files may grow by a few kilobytes only.
    """
    server, draw, flying = Counting(latency), random.Random(seed), list[int]()
    (folder / "t.jsonl").write_text("".join(json.dumps({"q": f"q{i}"}) + "\n" for i in range(samples)))
    (folder / "t.yaml").write_text(TASK)
    (folder / "odd.py").write_text(SCORER)
    fill = set(draw.sample(range(kills), min(full, kills)))
    command = [
        sys.executable,
        "-m",
        "m1eval",
        "run",
        "--tasks",
        "t.yaml",
        "--model",
        "http:m",
        "--base-url",
        server.url,
    ]
    command += ["-j", str(places), "--out", "x", "--display", "none"]
    quiet: dict[str, Any] = {
        "stdout": subprocess.DEVNULL,
        "env": {**os.environ, "PYTHONPATH": str(ROOT)},
        "cwd": folder,
    }
    journal = folder / "x" / "samples.jsonl"
    for kill in range(kills):
        room = (journal.stat().st_size if journal.exists() else 0) + draw.randrange(100, 4000)
        limit = (lambda size=room: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))) if kill in fill else None
        with subprocess.Popen(command, **quiet, preexec_fn=limit) as run:  # noqa: PLW1509 - no threads but the server's
            # Somewhere between its start and a share of the work that leaves some for the kills to come.
            most = (samples - written(journal)) / (kills - kill + 1)
            goal, before = server.requests + draw.uniform(0, 1.5) * most, server.requests - written(journal)
            while server.requests <= goal and run.poll() is None:
                time.sleep(0.001)
            time.sleep(draw.uniform(0, 1.5 * latency))
            run.send_signal(signal.SIGKILL)
            run.wait()
        time.sleep(2 * latency)  # the server takes what was still on the line
        flying.append(server.requests - written(journal) - before)
    subprocess.run(command, check=True, **quiet)
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    return Came(len(lines), len({(line["id"], line["repeat"]) for line in lines}), server.requests, flying)


def written(journal: Path) -> int:
    """Whole lines on disk."""
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def main() -> None:
    """Kill, and print what it came to."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--full", type=int, default=20, help="How many of the kills are of a process with a full disk.")
    ask.add_argument("--samples", type=int, default=1000)
    ask.add_argument("--kills", type=int, default=100)
    ask.add_argument("--concurrency", type=int, default=16)
    ask.add_argument("--latency", type=float, default=0.05)
    ask.add_argument("--seed", type=int, default=0)
    given = ask.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        came = crash(Path(folder), given.samples, given.kills, given.concurrency, given.latency, given.seed, given.full)
    again = came.requests - given.samples
    print(
        "| kills | full disks | samples | lines | distinct | requests | again | in flight at the kills | most at one |"
    )
    print("|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    figures = (given.kills, given.full, given.samples, came.lines, came.distinct, came.requests, again)
    print(f"| {' | '.join(map(str, [*figures, sum(came.flying), max(came.flying)]))} |")
    sys.exit(not (came.lines == came.distinct == given.samples and again <= sum(came.flying)))


if __name__ == "__main__":
    main()
