"""Ctrl-C while the command is still being imported, and again while Python shuts down: it ends silently.

Python's own handler would raise KeyboardInterrupt in the middle of somebody's import and print a traceback.
"""

# All of these are loaded when Python starts; the module signal would import enum first, which takes a moment.
import _signal  # type: ignore[import-not-found]
import os
import sys

INTERRUPTED = 130


def guard(*, again: bool = False) -> None:
    """Let Ctrl-C end the process, if it is the command m1eval and Python's own handler is in place.

    `again`: after `unguard` has said that it was so before.
    """
    if (again or _is_command()) and _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _leave)


def unguard() -> bool:
    """Let Ctrl-C raise KeyboardInterrupt as usual; whether it has not done so before."""
    guarded = _signal.getsignal(_signal.SIGINT) is _leave
    if guarded:
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    return guarded


def _leave(number: int, frame: object) -> None:
    os._exit(INTERRUPTED)


def _is_command() -> bool:
    """Whether this process is `m1eval` or `python -m m1eval`, and no worker of it nor a program that imports it.

    While Python looks for the module that -m names, argv says `-m`.
    """
    first, words = sys.argv[0] if sys.argv else "", sys.orig_argv[1:]
    if first == "-m":
        return "-m" in words and words[words.index("-m") + 1 :][:1] == ["m1eval"]
    return os.path.basename(first) == "m1eval" and first in words  # noqa: PTH119 - pathlib takes a moment too
