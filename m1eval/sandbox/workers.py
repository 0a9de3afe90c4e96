"""Worker processes for graders that may hang, crash or eat memory: `async with Pool() as workers: ...`.

On pebble's process pool; a worker is killed by its own timer of processor time. Processes are spawned, never forked:
the parent has threads and perhaps a GPU. Functions are named by import path, plugins too (`m1eval.plugins.…`).
"""

import asyncio
import ctypes
import os
import pickle
import resource
import signal
import sys
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import resource_tracker
from typing import Any

from m1eval import terminal
from m1eval.sandbox.spawn import WorkerContext, WorkerProcess

_PR_SET_PDEATHSIG = 1
WAIT = 8, 30.0
"""A factor of the timeout, and seconds on top, after which a call that waits instead of computing is given up."""


class Pool:
    """A pool of `size` worker processes (default min(4, cores)), started at first use.

    `memory`: address space of one worker in bytes; a function that wants more ends as RuntimeError.
    """

    def __init__(self, size: int | None = None, *, memory: int = 4 * 2**30):
        self.size = size or min(4, len(os.sched_getaffinity(0)))
        self.memory = memory
        self._pool: Any = None
        self._pending: set[Any] = set()

    async def run(self, function: Callable[..., Any], *args: Any, timeout: float) -> Any:
        """Call a module-level function in a worker and return its result, or raise what it raised.

        TimeoutError: killed after `timeout` seconds of processor time, so that a busy machine changes no verdict; one
        that waits instead of computing is killed much later (`WAIT`). The clock runs from the start of the call, not
        from its place in the queue. RuntimeError: the worker died or ran out of memory, or what it raised cannot be
        carried over.
        """
        from pebble import ProcessExpired

        name = f"{function.__module__}.{function.__qualname__}"
        if function.__module__ == "__main__":
            raise RuntimeError(f"{name} is defined in the script itself; a worker can only import it from a module")
        job = _Job(pickle.dumps((function, args)))
        wait = WAIT[0] * timeout + WAIT[1]
        future: Any = self._start_pool().schedule(_call, args=(job, timeout), timeout=wait)
        self._pending.add(future)
        try:
            returned, value = pickle.loads(await asyncio.wrap_future(future))
        except TimeoutError:
            raise TimeoutError(f"{name} did not end within {wait:g} s") from None
        except ProcessExpired as death:
            if death.exitcode == -signal.SIGPROF:
                raise TimeoutError(f"{name} took longer than {timeout:g} s") from None
            raise RuntimeError(f"{name} ended its worker process (exit code {death.exitcode})") from None
        except BrokenProcessPool:
            raise RuntimeError(f"{name} was lost with the worker processes") from None
        finally:
            self._pending.discard(future)
        if returned:
            return value
        if isinstance(value, MemoryError):
            raise RuntimeError(f"{name} wants more than {self.memory / 2**30:g} GiB of memory")
        raise value

    async def aclose(self) -> None:
        """End the workers; calls still running are cancelled."""
        for future in list(self._pending):
            future.cancel()
        if self._pool is not None:
            pool, self._pool = self._pool, None
            pool.stop()
            await asyncio.to_thread(pool.join)

    async def __aenter__(self) -> "Pool":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _start_pool(self) -> Any:
        from pebble import ProcessPool

        if self._pool is not None and not self._pool.active:  # pebble gives up when a worker dies while all are idle
            self._pool.stop()
            self._pool.join()
            self._pool = None
        if self._pool is None:
            limits = self.memory, os.getpid()
            self._pool = ProcessPool(self.size, initializer=_limit_worker, initargs=limits, context=_Spawn())
        return self._pool


class _Worker(WorkerProcess):
    terminate = WorkerProcess.kill
    """pebble asks first and waits 3 s, holding up every other call; a hanging grader has nothing to save."""

    def start(self) -> None:
        """Start with signals blocked, which the process inherits: those of a terminal or scheduler are for us alone."""
        resource_tracker.ensure_running()  # which would let SIGINT through again if it was started below
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Spawn(WorkerContext):
    Process = _Worker

    def __init__(self) -> None:
        self.locks: list[Any] = []

    def RLock(self) -> Any:  # noqa: N802  as in multiprocessing
        """A lock kept until the pool is gone: pebble drops its own while a worker may still be starting up on it."""
        self.locks.append(super().RLock())
        return self.locks[-1]


class _Job:
    """A pickled call that is opened as the worker takes it, so that importing a grader is not on the call's clock."""

    def __init__(self, pickled: bytes):
        self.pickled = pickled

    def __reduce__(self) -> tuple[Callable[[bytes], Any], tuple[bytes]]:
        return _unpickle, (self.pickled,)


def _unpickle(pickled: bytes) -> Any:
    try:
        return pickle.loads(pickled)
    except Exception as error:  # noqa: BLE001  kept for `_call`, which has a caller to tell
        return error


def _call(job: Any, timeout: float) -> bytes:
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # which ends the process, in the middle of a C function too
    signal.setitimer(signal.ITIMER_PROF, timeout)
    try:
        if isinstance(job, Exception):
            raise job
        function, args = job
        return pickle.dumps((True, function(*args)))
    except BaseException as error:  # noqa: BLE001  the boundary of the process: raised again in `run`
        return _encode_error(error)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _encode_error(error: BaseException) -> bytes:
    """The error itself if it survives pickling and `await` (SystemExit would end the run), else its text."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        with suppress(Exception):  # whatever its own pickling does
            carried = pickle.dumps((False, error))
            pickle.loads(carried)
            return carried
    return pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))


def _limit_worker(memory: int, parent: int) -> None:
    """Limit a worker: memory, no core dumps, nothing to read, prints to stderr, and no life after its parent."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (memory if hard == resource.RLIM_INFINITY else min(memory, hard), hard))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    terminal.guard_process()  # what a grader prints may quote a model
