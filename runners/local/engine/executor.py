"""Tensor parallelism over processes: rank 0, this one, schedules; the other ranks hold their parts and follow.

Every rank receives every batch, in the same order, before rank 0 runs it. So all have the same blocks, slots and
states, capture the same CUDA graphs, and meet in every all-reduce; only batches are sent to them, and only errors come
back. One that fails or dies ends all of them: what it held is lost.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

import torch

from m1eval import NullProgress, RunnerError
from m1eval.sandbox.spawn import WorkerContext, WorkerProcess

from ..layers import sharding
from ..layers.kv_cache import KVCache
from ..layers.sharding import ALONE, Shard
from ..models import CausalLM
from ..weights.loader import load
from .memory import Capacity, EngineConfig
from .model_runner import ModelRunner
from .sequence import ScheduledBatch, StepOutput

SETUP_TIMEOUT = 600.0
"""Seconds for a rank to initialize after all have loaded, compiling kernels included."""
GRACE_PERIOD = 5.0
"""Seconds for a rank to exit by itself, or for the error of another rank to arrive."""


class WorkerConfig(NamedTuple):
    """Start-up parameters of a rank; `port` is that of the rendezvous store."""

    source: Path
    dtype: torch.dtype
    device_type: str
    """cuda or cpu."""
    shard: Shard
    port: int
    threads: int
    window: int | None = None
    ignored: tuple[str, ...] = ()

    @property
    def device(self) -> torch.device:
        """The device of this rank."""
        return (
            torch.device(self.device_type, self.shard.rank)
            if self.device_type == "cuda"
            else torch.device(self.device_type)
        )


class WorkerFailure(NamedTuple):
    """The last message of a rank: its error."""

    message: str


class Worker(NamedTuple):
    """A process of another rank and the pipe to it."""

    rank: int
    process: WorkerProcess
    pipe: "Connection[Any, Any]"


def build_model_runner(model: CausalLM, config: EngineConfig, capacity: Capacity, shard: Shard = ALONE) -> ModelRunner:
    """Allocate the KV cache of a model, and return its model runner."""
    pools = KVCache(
        model.cache_specs,
        blocks=capacity.num_blocks,
        rows=capacity.max_num_seqs,
        snapshots=capacity.num_snapshots,
        dtype=config.dtype,
        device=config.device,
    )
    return ModelRunner(
        model,
        pools,
        max_num_seqs=capacity.max_num_seqs,
        window=config.window,
        graphs=config.graphs,
        invariant=config.invariant,
        shard=shard,
    )


class MultiprocessExecutor:
    """Starts a process for each other rank, which loads immediately; after `initialize` it is an Executor.

    Every failure is a RunnerError in one line that names the rank, raised where it is waited for and by every later
    `run`. After an error, too, `close` must be called.
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
        self.failure: str | None = None
        """The first error, after which nothing runs any more."""
        self._store = sharding.create_store(size)
        self._messages: SimpleQueue[tuple[int, Any] | None] = SimpleQueue()
        self._gate, self._failed = threading.Lock(), threading.Event()
        self._model_runner: ModelRunner | None = None
        self._closing = False
        threads = torch.get_num_threads()
        worker_config = WorkerConfig(source, dtype, device.type, self.shard, self._store.port, threads, window, ignored)
        self.workers = [_start_worker(worker_config._replace(shard=Shard(rank, size))) for rank in range(1, size)]
        self._listener = threading.Thread(target=self._listen, name="m1eval-ranks", daemon=True)
        self._listener.start()

    def initialize(self, model: CausalLM, config: EngineConfig) -> Capacity:
        """Initialize all ranks with the capacity that fits on each; `model` is that of rank 0."""
        self._gather()  # "loaded", without a timeout
        self._send(config)
        try:
            sharding.join_group(self._store, self.shard, config.device)
            capacity = config.capacity(model)
            shared = Capacity(*map(min, zip(capacity, *self._gather(SETUP_TIMEOUT), strict=True)))
            self._send(shared)
            self._model_runner = build_model_runner(model, config, shared, self.shard)
        except Exception as error:
            raise self._to_runner_error(error) from error
        self._gather(SETUP_TIMEOUT)
        return shared

    def run(self, batch: ScheduledBatch) -> Callable[[], StepOutput]:
        """Run a batch as ModelRunner does; RunnerError once any rank has failed."""
        self._raise_if_failed()
        assert self._model_runner is not None
        try:
            self._send(batch)
            wait_for_output = self._model_runner.run(batch)
        except Exception as error:
            raise self._to_runner_error(error) from error

        def result() -> StepOutput:
            try:
                output = wait_for_output()
            except Exception as error:
                raise self._to_runner_error(error) from error
            self._raise_if_failed()  # the result of a broken all-reduce is invalid
            return output

        return result

    def close(self) -> None:
        """Stop all other processes; the engine must be closed."""
        with self._gate:
            healthy = self.failure is None and self._model_runner is not None
            self._closing, self.failure = True, self.failure or "local: the model was closed"
        self._messages.put(None)
        if healthy and self._model_runner is not None:
            if self._model_runner.device.type == "cuda":
                torch.cuda.synchronize(self._model_runner.device)
            with suppress(OSError):
                self._send(None)
        else:  # they may be waiting for a dead rank, or loading weights
            for worker in self.workers:
                worker.process.kill()
        if self._model_runner is not None and self._model_runner.graphs:
            self._model_runner.graphs.captured.clear()
        sharding.leave_group()
        self._listener.join(GRACE_PERIOD)
        if self._listener.is_alive():
            for worker in self.workers:
                worker.process.kill()
            self._listener.join()
        for worker in self.workers:
            worker.pipe.close()
            worker.process.join()
            worker.process.close()
        self.workers, self._model_runner = [], None

    def _send(self, message: Any) -> None:
        frame = ForkingPickler.dumps(message)
        for worker in self.workers:
            worker.pipe.send_bytes(frame)

    def _gather(self, seconds: float | None = None) -> list[Any]:
        """Receive one message from each other rank."""
        messages: dict[int, Any] = {}
        deadline = None if seconds is None else time.monotonic() + seconds
        while len(messages) < len(self.workers):
            try:
                message = self._messages.get(timeout=None if deadline is None else max(deadline - time.monotonic(), 0))
            except Empty:
                missing = min({other.rank for other in self.workers} - messages.keys())
                self._fail(f"{self._name(missing)} was not ready after {seconds:.0f} s")
                message = None
            self._raise_if_failed()
            assert message is not None
            messages[message[0]] = message[1]
        return [messages[rank] for rank in sorted(messages)]

    def _listen(self) -> None:
        """Receive messages and failures of the ranks until all have exited."""
        workers = {worker.pipe: worker for worker in self.workers}
        while workers:
            for pipe in wait(list(workers)):
                other = workers[pipe]  # type: ignore[index]
                try:
                    message = other.pipe.recv()
                except (EOFError, OSError):
                    del workers[other.pipe]
                    other.process.join(GRACE_PERIOD)
                    self._fail(f"{self._name(other.rank)} has ended (exit code {other.process.exitcode})")
                    continue
                if isinstance(message, WorkerFailure):
                    self._fail(f"{self._name(other.rank)}: {message.message}")
                else:
                    self._messages.put((other.rank, message))

    def _name(self, rank: int) -> str:
        return f"local: rank {rank} of {self.shard.size}"

    def _fail(self, message: str) -> None:
        """Record the first failure, and wake whoever waits for a rank."""
        with self._gate:
            if self._closing or self.failure:
                return
            self.failure = message
        self._failed.set()
        self._messages.put(None)
        sharding.abort()

    def _raise_if_failed(self) -> None:
        if self.failure:
            raise RunnerError(self.failure)

    def _to_runner_error(self, error: Exception) -> RunnerError:
        """The error to raise after one here, which another rank may have caused: its message may arrive later."""
        if isinstance(error, RunnerError):
            return error
        self._failed.wait(GRACE_PERIOD)
        self._fail(f"{self._name(0)}: {_error_line(error)}")
        return RunnerError(self.failure)


def _start_worker(config: WorkerConfig) -> Worker:
    spawn = WorkerContext()  # never fork: there are threads, and perhaps a GPU in use
    here, there = spawn.Pipe()
    rank = config.shard.rank
    process = spawn.Process(target=worker_main, args=(there, config), name=f"m1eval-local-{rank}", daemon=True)
    process.start()
    there.close()
    return Worker(rank, process, here)


def worker_main(pipe: "Connection[Any, Any]", config: WorkerConfig) -> None:
    """Main function of a worker process: run as one rank until told to stop or rank 0 is gone, then exit."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # rank 0 handles Ctrl-C
    os.dup2(2, 1)  # stdout is for results
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    try:
        _run_worker(pipe, config)
    except (EOFError, BrokenPipeError):
        os._exit(1)
    except Exception as error:  # noqa: BLE001  the boundary of the process: rank 0 reports it
        with suppress(OSError):
            pipe.send(WorkerFailure(_error_line(error)))
        os._exit(1)
    os._exit(0)  # without tearing down the process group, which can block on other ranks


def _exit_with_parent() -> None:
    """Exit with rank 0, wherever this process is waiting."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _run_worker(pipe: "Connection[Any, Any]", config: WorkerConfig) -> None:
    if config.device_type == "cuda":
        torch.cuda.set_device(config.device)
    torch.set_num_threads(config.threads)  # as many as rank 0: another number would round differently
    loaded = load(
        config.source,
        dtype=config.dtype,
        device=config.device,
        progress=NullProgress(),
        shard=config.shard,
        window=config.window,
        ignored=config.ignored,
    )
    model: Any = loaded.model
    pipe.send("loaded")
    engine_config: EngineConfig = pipe.recv()._replace(device=config.device)
    sharding.join_group(sharding.connect_store(config.port, config.shard.size), config.shard, config.device)
    pipe.send(engine_config.capacity(model))
    model_runner = build_model_runner(model, engine_config, pipe.recv(), config.shard)
    pipe.send("ready")
    while (batch := pipe.recv()) is not None:
        model_runner.run(batch)


def _error_line(error: Exception) -> str:
    message = (str(error).strip().splitlines() or [""])[0]
    return message.removeprefix("local: ") if isinstance(error, RunnerError) else f"{type(error).__name__}: {message}"
