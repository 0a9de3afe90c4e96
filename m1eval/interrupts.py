"""Ctrl-C, which always works: the first lets what is in flight finish, the second leaves, the third ends the process.

Python runs signal handlers between its own instructions, so that one that is caught in a long call in C (a regular
expression, say, in any thread, as it holds the interpreter's lock) would never run. Therefore a handler is good for one
signal (SA_RESETHAND): the kernel takes it away as it delivers the signal, the handler puts itself back when it runs,
and a Ctrl-C that comes while the one before could not be heeded ends the process. So does each that comes after the
decision to leave. A shell shows 130 for it, and the journal holds whole lines up to the last that was written.
"""

import asyncio
import ctypes
import signal
import sys
import threading
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, TypeVar

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


class Interrupts:
    """SIGINT while a run goes on; `stop` is set by the first if it drains, else the current task is cancelled.

    To be made and entered in the task that is to be cancelled. Does nothing outside the main thread, where Python
    handles no signals.
    """

    def __init__(self, stop: asyncio.Event) -> None:
        self.drains = False
        """Whether requests are in flight that are worth waiting for."""
        self._stop = stop
        self._presses = 0
        self._before: Any = None
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._pressed)
            _good_for_one()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._before is not None and signal.getsignal(signal.SIGINT) == self._pressed:
            signal.signal(signal.SIGINT, self._before)

    def _pressed(self, *_: object) -> None:
        """The handler; the loop may be in the middle of anything."""
        self._presses += 1
        if self._presses > 1 or not self.drains:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # to stay so: whatever hangs from now on, the next one ends it
        else:
            signal.signal(signal.SIGINT, self._pressed)
            _good_for_one()
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._heed, self._presses > 1 or not self.drains)

    def _heed(self, leave: bool) -> None:
        if self._task and leave:
            self._task.cancel()
        self._stop.set()


async def interruptible(work: Awaitable[T]) -> T:
    """Await something that the first Ctrl-C cancels and the second ends with the process."""
    with Interrupts(asyncio.Event()):
        return await work


def _good_for_one() -> None:
    """Let the kernel take SIGINT's handler away at the first signal; elsewhere than on Linux it stays."""
    if sys.platform != "linux":
        return
    libc, action = ctypes.CDLL(None, use_errno=True), _Action()
    if not libc.sigaction(signal.SIGINT, None, ctypes.byref(action)):
        action.flags = ctypes.c_int(action.flags | _SA_RESETHAND).value
        libc.sigaction(signal.SIGINT, ctypes.byref(action), None)
