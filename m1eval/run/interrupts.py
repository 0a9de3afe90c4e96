"""Ctrl-C, which always works: the first lets requests in flight finish, the second cancels, the third ends the process.

SIGTERM and SIGHUP, with which schedulers end a job, count as Ctrl-C does, but wait for requests in flight for DRAIN
seconds at most.

Python runs signal handlers between its own instructions, so that one that is caught in a long call in C (a regular
expression, say, in any thread, as it holds the interpreter's lock) would never run. Therefore a handler takes
one signal (SA_RESETHAND): the kernel removes it as it delivers the signal, the handler installs itself again when it
runs, and a Ctrl-C that arrives before that ends the process. So does each that arrives after the decision to cancel. A
shell shows 130 for it, and the journal holds whole lines up to the last that was written.
"""

import asyncio
import ctypes
import signal
import sys
import threading
from collections.abc import Awaitable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from m1eval import early

T = TypeVar("T")

_SA_RESETHAND = 0x80000000


class _Action(ctypes.Structure):
    """`struct sigaction` of Linux, glibc and musl alike."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_ulong * (1024 // (8 * ctypes.sizeof(ctypes.c_ulong)))),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


DRAIN = 30.0
"""Seconds that requests in flight have after SIGTERM or SIGHUP, which schedulers follow up with SIGKILL."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_received: list[int] = []


def exit_code() -> int:
    """The exit code after an interruption, as a shell shows it: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
    return 128 + (_received[0] if _received else signal.SIGINT)


def is_urgent() -> bool:
    """Whether the first signal was one that leaves no more than DRAIN seconds."""
    return bool(_received) and _received[0] != signal.SIGINT


class Interrupts:
    """Signals while a run goes on; `stop` is set by the first if it drains, else the current task is cancelled.

    To be made and entered in the task that is to be cancelled. Does nothing if not `handled`, nor outside the main
    thread, where Python handles no signals. SIGHUP stays ignored where it was, as under nohup.
    """

    def __init__(self, stop: asyncio.Event, *, handled: bool = True) -> None:
        self._handled = handled and threading.current_thread() is threading.main_thread()
        self.drains = False
        """Whether requests are in flight that are worth waiting for."""
        self._stop = stop
        self._previous_handlers: dict[int, Any] = {}
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        _received.clear()

    def __enter__(self) -> "Interrupts":
        if self._handled:
            for number in _SIGNALS:
                if signal.getsignal(number) not in (None, signal.SIG_IGN) or number == signal.SIGINT:
                    self._previous_handlers[number] = signal.signal(number, self._on_signal)
                    _reset_after_one(number)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, before in self._previous_handlers.items():
            if before is not None and signal.getsignal(number) == self._on_signal:
                signal.signal(number, before)

    def _on_signal(self, number: int, _: object) -> None:
        """The handler; the loop may be in the middle of anything."""
        _received.append(number)
        leave = len(_received) > 1 or not self.drains
        for each in self._previous_handlers:
            if leave:
                signal.signal(each, signal.SIG_DFL)  # to stay so: whatever hangs from now on, the next one ends it
            elif each == number:
                signal.signal(each, self._on_signal)
                _reset_after_one(each)
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._stop_or_cancel, leave)

    def _stop_or_cancel(self, leave: bool) -> None:
        self._stop.set()
        if leave:
            self._cancel()
        elif is_urgent():
            self._loop.call_later(DRAIN, self._cancel)

    def _cancel(self) -> None:
        if self._task and not self._task.done():
            self._task.cancel()


@contextmanager
def kept_handlers() -> Iterator[None]:
    """Leave the handlers of signals as they were: a Python session goes on after a Ctrl-C that ends a command."""
    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in _SIGNALS if is_main}
    try:
        yield
    finally:
        for number, handler in reversed(before.items()):  # Ctrl-C last, as from then on it may raise here
            if handler is not None and signal.getsignal(number) != handler:
                signal.signal(number, handler)


@contextmanager
def raised_here() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt while a running loop waits for this block.

    The handler of `asyncio.run` cancels a task of that loop instead, which takes effect once the block is left.
    """
    with kept_handlers():
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGINT) not in (None, signal.SIG_IGN):
            signal.signal(signal.SIGINT, signal.default_int_handler)
        yield


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine as the command line does: with Python's own handler of Ctrl-C, which asyncio replaces."""
    watched = early.unwatch()
    try:
        return asyncio.run(work)
    finally:
        if watched:
            early.rewatch()


async def interruptible(work: Awaitable[T]) -> T:
    """Await something that the first Ctrl-C cancels and the second ends with the process."""
    with Interrupts(asyncio.Event()):
        return await work


def _reset_after_one(number: int) -> None:
    """Have the kernel remove a signal's handler as it delivers the signal; on systems other than Linux it stays."""
    if sys.platform != "linux":
        return
    libc, action = ctypes.CDLL(None, use_errno=True), _Action()
    if not libc.sigaction(number, None, ctypes.byref(action)):
        action.flags = ctypes.c_int(action.flags | _SA_RESETHAND).value
        libc.sigaction(number, ctypes.byref(action), None)
