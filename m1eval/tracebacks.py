"""Tracebacks of errors that become the outcome of a sample: with --debug, the first of each reason."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from m1eval import terminal

_printed: ContextVar[set[str] | None] = ContextVar("_printed", default=None)


@contextmanager
def printed(*, debug: bool) -> Iterator[None]:
    """While this lasts, print the traceback of the first error of each reason on standard error if `debug`."""
    token = _printed.set(set() if debug else None)
    try:
        yield
    finally:
        _printed.reset(token)


def show(error: Exception, text: str, sample: str) -> None:
    """Print the traceback of a sample's error; `text` is the reason that its record has."""
    kinds = _printed.get()
    if kinds is None:
        return
    from m1eval.store.reasons import kind_of

    if (kind := kind_of(text)) not in kinds:
        kinds.add(kind)
        terminal.block(f"{sample}: {''.join(traceback.format_exception(error))}".rstrip("\n"), err=True)
