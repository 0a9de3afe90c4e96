"""Ctrl-C while the command is still being imported, and again while Python shuts down: it ends silently.

Python's own handler would raise KeyboardInterrupt in the middle of somebody's import and print a traceback.
"""

# All of these are loaded when Python starts; the module signal would import enum first, which takes a moment.
import _signal  # type: ignore[import-not-found]
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # the name alone is enough for type checkers; typing takes a moment
    from types import FrameType

INTERRUPTED = 130
MESSAGE = "interrupted; the same command continues"


def guard(*, again: bool = False) -> None:
    """Let Ctrl-C end the process, if it is the command m1eval and Python's own handler is in place.

    `again`: after `watch` has said that it was so before.
    """
    if (again or _is_command()) and _signal.getsignal(_signal.SIGINT) in (_signal.default_int_handler, _interrupt):
        _signal.signal(_signal.SIGINT, _leave)


def watch() -> bool:
    """Let Ctrl-C raise KeyboardInterrupt, except during an import; whether it ended the process before.

    An import may turn the exception into another one (`TypeError` in the C code of `from _ssl import x`), or swallow it
    with an optional module. What the command holds at such a moment is what a SIGKILL would leave.
    """
    guarded = _signal.getsignal(_signal.SIGINT) is _leave
    if guarded:
        _signal.signal(_signal.SIGINT, _interrupt)
    return guarded


def unwatch() -> bool:
    """Put Python's own handler in place, for which asyncio looks; whether `_interrupt` was there before."""
    watched = _signal.getsignal(_signal.SIGINT) is _interrupt
    if watched:
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    return watched


def rewatch() -> None:
    """Undo `unwatch`, unless somebody else has installed a handler since."""
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _interrupt)


def _leave(number: int, frame: object) -> None:
    os._exit(INTERRUPTED)


def _interrupt(number: int, frame: "FrameType | None") -> None:
    caller = frame
    while caller is not None:
        if caller.f_code.co_filename == "<frozen importlib._bootstrap>":
            os.write(2, MESSAGE.encode() + b"\n")
            _leave(number, frame)
        caller = caller.f_back
    _signal.default_int_handler(number, frame)


def _is_command() -> bool:
    """Whether this process is `m1eval` or `python -m m1eval`, and no worker of it nor a program that imports it.

    While Python looks for the module that -m names, argv says `-m`.
    """
    first, words = sys.argv[0] if sys.argv else "", sys.orig_argv[1:]
    if first == "-m":
        return "-m" in words and words[words.index("-m") + 1 :][:1] == ["m1eval"]
    return os.path.basename(first) == "m1eval" and first in words  # noqa: PTH119 - pathlib takes a moment too


# Importing this module is enough: no moment is left between its import and the guard.
guard()
