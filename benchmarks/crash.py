"""Kill runs, fill their disks and start them all at once, and count what it cost: `python -m benchmarks.crash`.

A server on the loopback counts every request. *Kills* are SIGKILLs of the whole process at random, and the same command
goes on; *full disks* are a small tmpfs that grows a little each time, or a limit of the size of files where nobody may
mount one. In the end each (sample, repeat) must be in the journal once, and no more may have been asked again than
was in flight: asked and not yet on disk. After a kill of `--redo`, the earlier run must be back or the new one begun.
Of many commands that start at once, one may run.
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
    async def score(self, output, sample, context):
        return Score(value=VALUES[int(sample.id[1:]) % len(VALUES)], answer=7, metrics={1: numpy.float64(0.5)})
"""
"""Scores of every type that plugins return."""


class Counting:
    """An OpenAI-compatible server in a thread that says yes after a while, and counts what it was asked."""

    def __init__(self, latency: float) -> None:
        self.requests = 0
        """Requests for answers that have come."""
        self.opened = threading.Event()
        """Set while answers are given; they are held back meanwhile."""
        self.opened.set()
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
                reply = await self._said(body)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(reply), reply))
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
        while not self.opened.is_set():  # noqa: ASYNC110 - it is set in another thread
            await asyncio.sleep(0.01)
        choice = {"message": {"content": "yes"}, "finish_reason": "stop"}
        return json.dumps({"choices": [choice], "usage": {"completion_tokens": 1}}).encode()


class Counts(NamedTuple):
    """Counts after a run with crashes: lines of the journal, requests for its samples, and what was in flight."""

    lines: int
    distinct: int
    requests: int
    flying: list[int]
    """At each crash, samples that were asked and not yet on disk."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing is lost or duplicated, and only requests in flight were repeated."""
        return self.lines == self.distinct and self.requests - self.lines <= sum(self.flying)


class Runs:
    """One run of the real command, begun again and again in one folder."""

    def __init__(self, folder: Path, samples: int, places: int, latency: float) -> None:
        self.server = Counting(latency)
        self.folder, self.samples, self.latency = folder, samples, latency
        (folder / "t.jsonl").write_text("".join(json.dumps({"q": f"q{i}"}) + "\n" for i in range(samples)))
        (folder / "t.yaml").write_text(TASK)
        (folder / "odd.py").write_text(SCORER)
        what = ["--tasks", "t.yaml", "--model", "http:m", "--base-url", self.server.url]
        self._command = [sys.executable, "-m", "m1eval", "run", *what, "-j", str(places), "--out", "x"]

    @property
    def journal(self) -> Path:
        """The journal; where it will be if it is not there."""
        return next((self.folder / "x").rglob("samples.jsonl"), self.folder / "x" / "samples.jsonl")

    @property
    def written(self) -> int:
        """Whole lines on disk."""
        return self.journal.read_bytes().count(b"\n") if self.journal.exists() else 0

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The records."""
        return [json.loads(line) for line in self.journal.read_text().splitlines()]

    def start(self, *options: str, max_size: int | None = None, **how: Any) -> "subprocess.Popen[str]":
        """The command; `max_size`: bytes up to which its files may grow."""
        limit = None if max_size is None else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (max_size, max_size))
        return subprocess.Popen(
            [*self._command, "--display", "none", *options],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            preexec_fn=limit,  # noqa: PLW1509 - no threads but the server's
            text=True,
            **how,
        )

    def end(self) -> None:
        """Run to the end."""
        with self.start() as run:
            if code := run.wait():
                raise SystemExit(f"the last command ends with {code}")

    def counts(self, flying: list[int]) -> Counts:
        """Counts at the end."""
        keys = {(line["id"], line["repeat"]) for line in self.lines}
        return Counts(len(self.lines), len(keys), self.server.requests, flying)


def crash(folder: Path, samples: int, kills: int, places: int, latency: float, seed: int) -> Counts:
    """Run `samples` with `kills` kills spread over the whole run."""
    runs, draw, flying = Runs(folder, samples, places, latency), random.Random(seed), list[int]()
    for kill in range(kills):
        with runs.start() as run:
            # Somewhere between its start and a share of the work that leaves some for the kills to come.
            mean_step = (samples - runs.written) / (kills - kill + 1)
            goal, before = runs.server.requests + draw.uniform(0, 1.5) * mean_step, runs.server.requests - runs.written
            while runs.server.requests <= goal and run.poll() is None:
                time.sleep(0.001)
            time.sleep(draw.uniform(0, 1.5 * latency))
            run.send_signal(signal.SIGKILL)
            run.wait()
        time.sleep(2 * latency)  # the server takes what was still on the line
        flying.append(runs.server.requests - runs.written - before)
    runs.end()
    return runs.counts(flying)


def fill(
    folder: Path, samples: int, times: int, places: int, latency: float, *, mount: bool
) -> tuple[Counts, list[int]]:
    """Run `samples` on a disk that is full `times` times, and what the commands ended with."""
    runs, flying, codes = Runs(folder, samples, places, latency), list[int](), list[int]()
    room = 420 * samples // times  # bytes of a line, about
    disk = folder / "x"
    disk.mkdir()
    for time_ in range(times):
        size = (time_ + 1) * room
        if mount:
            how = f"remount,size={size + 24000}" if time_ else f"size={size + 24000}"
            subprocess.run(["mount", "-t", "tmpfs", "-o", how, "none", disk], check=True)
        before = runs.server.requests - runs.written
        with runs.start(max_size=None if mount else size, stderr=subprocess.DEVNULL) as run:
            codes.append(run.wait())
        flying.append(runs.server.requests - runs.written - before)
    if mount:
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
    runs.end()
    counts = runs.counts(flying)
    if mount:
        subprocess.run(["umount", disk], check=True)
    return counts, codes


class Redone(NamedTuple):
    """After kills of `--redo`: how often the earlier run was back, the new one begun, or something else there."""

    back: int
    begun: int
    lost: int


def redo(folder: Path, samples: int, kills: int, places: int, latency: float, seed: int) -> Redone:
    """Kill `--redo` at random moments, from its start to its first answers."""
    runs, draw, outcomes = (
        Runs(folder, samples, places, latency),
        random.Random(seed),
        {"back": 0, "begun": 0, "lost": 0},
    )
    runs.end()
    for _ in range(kills):
        begin, before, times = time.time(), runs.server.requests, [line["time"] for line in runs.lines]
        with runs.start("--redo") as run:
            goal = before + draw.choice((0, 0, 1, places, 2 * places))
            while runs.server.requests < goal and run.poll() is None:
                time.sleep(0.001)
            time.sleep(draw.uniform(0, 0.7) if goal == before else draw.uniform(0, 2 * latency))
            run.send_signal(signal.SIGKILL)
            run.wait()
        time.sleep(2 * latency)
        requests_before = runs.server.requests
        runs.end()
        now = [line["time"] for line in runs.lines]
        num_kept = samples - (
            runs.server.requests - requests_before
        )  # answers of the killed command that were not asked again
        if now == times and num_kept == samples:
            outcomes["back"] += 1
        elif len(now) == samples and min(now) > begin and num_kept > 0:
            outcomes["begun"] += 1
        else:
            outcomes["lost"] += 1
    return Redone(**outcomes)


def starts(folder: Path, samples: int, many: int) -> tuple[list[int], int]:
    """Start `many` commands together in one folder: their exit codes and the number of requests."""
    runs = Runs(folder, samples, samples, 0.0)
    runs.server.opened.clear()
    those = [runs.start(stderr=subprocess.PIPE) for _ in range(many)]
    while sum(each.poll() is None for each in those) > 1:
        time.sleep(0.01)
    runs.server.opened.set()
    endings = [(each.communicate()[1], each.returncode) for each in those]
    if not all(code == 0 or "is being written by another run" in words for words, code in endings):
        raise SystemExit(f"said is {endings}")
    return sorted(code for _, code in endings), runs.server.requests


def _mounts() -> bool:
    """Whether this process may mount a file system."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["mount", "-t", "tmpfs", "none", folder], capture_output=True, check=False)
        if done.returncode == 0:
            subprocess.run(["umount", folder], check=True)
        return done.returncode == 0


def main() -> None:
    """Run all kinds of crashes and print a table."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, number, words in (
        ("samples", 1000, "of the run that is killed"),
        ("kills", 100, ""),
        ("full", 20, "full disks"),
        ("redos", 20, "kills of --redo"),
        ("starts", 50, "at once"),
        ("concurrency", 16, ""),
        ("seed", 0, ""),
    ):
        ask.add_argument(f"--{name}", type=int, default=number, help=words)
    ask.add_argument("--latency", type=float, default=0.05)
    args = ask.parse_args()
    how, failed = (args.concurrency, args.latency), False
    print("| what | samples | lines | distinct | requests | again | in flight | most at one |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        counts = crash(Path(folder), args.samples, args.kills, *how, args.seed)
        failed |= _print(f"{args.kills} kills", args.samples, counts)
    mount = _mounts()
    with tempfile.TemporaryDirectory() as folder:
        counts, codes = fill(Path(folder), args.samples, args.full, *how, mount=mount)
        ways = "on a tmpfs" if mount else "by the size of files"
        failed |= _print(f"{args.full} full disks {ways}, exit codes {sorted(set(codes))}", args.samples, counts)
    with tempfile.TemporaryDirectory() as folder:
        redone = redo(Path(folder), 60, args.redos, 4, args.latency, args.seed)
        print(f"{args.redos} kills of --redo: {redone.back} back, {redone.begun} begun, {redone.lost} lost")
    with tempfile.TemporaryDirectory() as folder:
        ends, requests = starts(Path(folder), 20, args.starts)
        print(f"{args.starts} starts at once: {ends.count(0)} ran, {ends.count(2)} refused, {requests} requests for 20")
    sys.exit(failed or redone.lost > 0 or ends.count(0) != 1 or requests != 20)


def _print(what: str, samples: int, came: Counts) -> bool:
    """Print a row; return whether anything was lost, duplicated or requested in vain."""
    again = came.requests - samples
    figures = (samples, came.lines, came.distinct, came.requests, again, sum(came.flying), max(came.flying))
    print(f"| {what} | {' | '.join(map(str, figures))} |", flush=True)
    return not came.is_whole or came.lines != samples


if __name__ == "__main__":
    main()
