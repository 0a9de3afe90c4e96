"""One model over several processes: this one is rank 0 and plans, the others hold their parts and do as it does.

Every rank is sent every plan, in the same order, before rank 0 runs it itself. So all have the same blocks, rows and
states at the same places, capture the same CUDA graphs, and meet in every sum; nothing but plans goes to them, and
nothing but trouble comes back. One that fails or dies is the end of all: what it held is lost.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

import torch

from m1eval import NullProgress, RunnerError

from . import parallel
from .device import Device
from .loading import load
from .models import Language
from .parallel import ALONE, Shard
from .sequence import Plan, Result
from .sizing import Room, Wanted
from .step import Pools

PATIENCE = 600.0
"""Seconds for a rank to set itself up after all have loaded, kernels being compiled included."""
GRACE = 5.0
"""Seconds for a rank to end by itself, or for news of one that has failed."""


class Job(NamedTuple):
    """What a rank is told at its start; `port` is where they meet."""

    source: Path
    dtype: torch.dtype
    kind: str
    """cuda or cpu."""
    shard: Shard
    port: int
    threads: int
    window: int | None = None
    ignored: tuple[str, ...] = ()

    @property
    def device(self) -> torch.device:
        """The rank's own."""
        return torch.device(self.kind, self.shard.rank) if self.kind == "cuda" else torch.device(self.kind)


class Failed(NamedTuple):
    """The last that is heard of a rank."""

    line: str


class Rank(NamedTuple):
    """Another process and the way to it."""

    number: int
    process: SpawnProcess
    pipe: "Connection[Any, Any]"


def hold(model: Language, wanted: Wanted, room: Room, shard: Shard = ALONE) -> Device:
    """The memory for a model, and the device that runs it."""
    pools = Pools(
        model.memory,
        blocks=room.blocks,
        rows=room.rows,
        snapshots=room.snapshots,
        dtype=wanted.dtype,
        device=wanted.device,
    )
    return Device(
        model,
        pools,
        rows=room.rows,
        window=wanted.window,
        graphs=wanted.graphs,
        invariant=wanted.invariant,
        shard=shard,
    )


class Ranks:
    """Processes for the other ranks, which begin to load at once; after `hold`, one device in the eyes of the engine.

    Whatever goes wrong is RunnerError in one line that names the rank, at once where it is waited for and in every
    later `run`. After an error, too, `close` is owed.
    """

    def __init__(
        self,
        source: Path,
        dtype: torch.dtype,
        device: torch.device,
        size: int,
        *,
        window: int | None = None,
        ignored: tuple[str, ...] = (),
    ) -> None:
        self.shard = Shard(0, size)
        self.wrong: str | None = None
        """What ended it all."""
        self._store = parallel.meeting(size)
        self._heard: SimpleQueue[tuple[int, Any] | None] = SimpleQueue()
        self._gate, self._ended = threading.Lock(), threading.Event()
        self._device: Device | None = None
        self._closing = False
        threads = torch.get_num_threads()
        job = Job(source, dtype, device.type, self.shard, self._store.port, threads, window, ignored)
        self.others = [_start(job._replace(shard=Shard(rank, size))) for rank in range(1, size)]
        self._listener = threading.Thread(target=self._listen, name="m1eval-ranks", daemon=True)
        self._listener.start()

    def hold(self, model: Language, wanted: Wanted) -> Room:
        """Get all ranks ready to run their parts, with room for what fits on each; `model` is that of rank 0."""
        self._gather()  # "loaded", however long that takes
        self._send(wanted)
        try:
            parallel.join(self._store, self.shard, wanted.device)
            own = wanted.room(model)
            room = Room(*map(min, zip(own, *self._gather(PATIENCE), strict=True)))
            self._send(room)
            self._device = hold(model, wanted, room, self.shard)
        except Exception as error:
            raise self._end(error) from error
        self._gather(PATIENCE)
        return room

    def run(self, plan: Plan) -> Callable[[], Result]:
        """As Device; RunnerError once any rank has failed."""
        self._check()
        assert self._device is not None
        try:
            self._send(plan)
            found = self._device.run(plan)
        except Exception as error:
            raise self._end(error) from error

        def result() -> Result:
            try:
                got = found()
            except Exception as error:
                raise self._end(error) from error
            self._check()  # what a broken sum gave is nothing
            return got

        return result

    def close(self) -> None:
        """End all other processes; the engine must not run any more."""
        with self._gate:
            sound = self.wrong is None and self._device is not None
            self._closing, self.wrong = True, self.wrong or "local: the model was closed"
        self._heard.put(None)
        if sound and self._device is not None:
            if self._device.device.type == "cuda":
                torch.cuda.synchronize(self._device.device)
            with suppress(OSError):
                self._send(None)
        else:  # they may wait for a rank that is gone, or be reading weights
            for other in self.others:
                other.process.kill()
        if self._device is not None and self._device.graphs:
            self._device.graphs.made.clear()
        parallel.leave()
        self._listener.join(GRACE)
        if self._listener.is_alive():
            for other in self.others:
                other.process.kill()
            self._listener.join()
        for other in self.others:
            other.pipe.close()
            other.process.join()
            other.process.close()
        self.others, self._device = [], None

    def _send(self, message: Any) -> None:
        frame = ForkingPickler.dumps(message)
        for other in self.others:
            other.pipe.send_bytes(frame)

    def _gather(self, seconds: float | None = None) -> list[Any]:
        """One message of each other rank."""
        found: dict[int, Any] = {}
        end = None if seconds is None else time.monotonic() + seconds
        while len(found) < len(self.others):
            try:
                heard = self._heard.get(timeout=None if end is None else max(end - time.monotonic(), 0))
            except Empty:
                late = min({other.number for other in self.others} - found.keys())
                self._fail(f"{self._name(late)} was not ready after {seconds:.0f} s")
                heard = None
            self._check()
            assert heard is not None
            found[heard[0]] = heard[1]
        return [found[rank] for rank in sorted(found)]

    def _listen(self) -> None:
        """Note what ranks say, until all have ended."""
        talking = {other.pipe: other for other in self.others}
        while talking:
            for pipe in wait(list(talking)):
                other = talking[pipe]  # type: ignore[index]
                try:
                    message = other.pipe.recv()
                except (EOFError, OSError):
                    del talking[other.pipe]
                    other.process.join(GRACE)
                    self._fail(f"{self._name(other.number)} has ended (exit code {other.process.exitcode})")
                    continue
                if isinstance(message, Failed):
                    self._fail(f"{self._name(other.number)}: {message.line}")
                else:
                    self._heard.put((other.number, message))

    def _name(self, rank: int) -> str:
        return f"local: rank {rank} of {self.shard.size}"

    def _fail(self, line: str) -> None:
        """Note what happened first, and wake who waits for a rank."""
        with self._gate:
            if self._closing or self.wrong:
                return
            self.wrong = line
        self._ended.set()
        self._heard.put(None)
        parallel.abort()

    def _check(self) -> None:
        if self.wrong:
            raise RunnerError(self.wrong)

    def _end(self, error: Exception) -> RunnerError:
        """What to raise after an error here, whose cause may be another rank: news of that come a little later."""
        if isinstance(error, RunnerError):
            return error
        self._ended.wait(GRACE)
        self._fail(f"{self._name(0)}: {_line(error)}")
        return RunnerError(self.wrong)


def _start(job: Job) -> Rank:
    spawn = get_context("spawn")  # never a fork: there are threads, and perhaps a GPU in use
    here, there = spawn.Pipe()
    rank = job.shard.rank
    process = spawn.Process(target=serve, args=(there, job), name=f"m1eval-local-{rank}", daemon=True)
    process.start()
    there.close()
    return Rank(rank, process, here)


def serve(pipe: "Connection[Any, Any]", job: Job) -> None:
    """Be one of the ranks but the first, until told to end or rank 0 is gone. Ends the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for rank 0 to take
    os.dup2(2, 1)  # stdout is for results
    threading.Thread(target=_follow, daemon=True).start()
    try:
        _serve(pipe, job)
    except (EOFError, BrokenPipeError):
        os._exit(1)
    except Exception as error:  # noqa: BLE001  the boundary of the process: rank 0 says it
        with suppress(OSError):
            pipe.send(Failed(_line(error)))
        os._exit(1)
    os._exit(0)  # without taking down what other ranks may be part of, which can wait for them


def _follow() -> None:
    """End with rank 0, wherever this process is waiting then."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _serve(pipe: "Connection[Any, Any]", job: Job) -> None:
    if job.kind == "cuda":
        torch.cuda.set_device(job.device)
    torch.set_num_threads(job.threads)  # as many as rank 0: other numbers would round otherwise
    loaded = load(
        job.source,
        dtype=job.dtype,
        device=job.device,
        progress=NullProgress(),
        shard=job.shard,
        window=job.window,
        ignored=job.ignored,
    )
    model: Any = loaded.model
    pipe.send("loaded")
    wanted: Wanted = pipe.recv()._replace(device=job.device)
    parallel.join(parallel.found(job.port, job.shard.size), job.shard, job.device)
    pipe.send(wanted.room(model))
    device = hold(model, wanted, pipe.recv(), job.shard)
    pipe.send("ready")
    while (plan := pipe.recv()) is not None:
        device.run(plan)


def _line(error: Exception) -> str:
    said = (str(error).strip().splitlines() or [""])[0]
    return said.removeprefix("local: ") if isinstance(error, RunnerError) else f"{type(error).__name__}: {said}"
