"""Everything that is printed goes through here: without control characters, without secrets, whatever the stream.

Names and errors come from servers, models, data, files and the environment. What could move the cursor, colour the
screen, reverse the reading direction or hide itself is shown as an escape: `\\x1b`, `\\u202e`. While `guarded` lasts,
what others write to the standard streams (tracebacks, warnings, libraries) is treated alike.
"""

import errno
import json as _json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO, cast

from m1eval import secrets

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_UNSAFE = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff"
    "\ufff9-\ufffb\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Controls (Cc) but for tab and newline, format characters (Cf) but for the joiners of emoji and scripts and signs that
are visible, line and paragraph separators, lone surrogates."""
_ASCII_FALLBACK = str.maketrans(
    {"…": "...", "–": "-", "—": "-", "·": "-", "×": "x", "±": "+/-", "→": "->", "≤": "<=", "≥": ">="}
)
"""For streams that cannot show what we write ourselves."""


def printable(text: str, *, newlines: bool = True) -> str:
    """The text with control and invisible characters as escapes; newlines too, unless `newlines`."""
    text = _UNSAFE.sub(_escape, text)
    return text if newlines else text.replace("\n", "\\n")


def line(text: str = "", *, err: bool = False) -> None:
    """Print one line; a newline in it is shown as an escape, so that data cannot forge lines."""
    _write(printable(secrets.redact(text), newlines=False), err=err)


def block(text: str, *, err: bool = False) -> None:
    """Print a text of several lines."""
    _write(printable(secrets.redact(text)), err=err)


def json(data: Any, *, indent: int | None = None) -> None:
    """Print data as one JSON document on standard output, in ASCII, which any stream and terminal takes."""
    text = _dump(data, indent)
    if secrets.redact(text) != text:
        text = _dump(secrets.redact_tree(data), indent)
    _write(text)


def cell(text: str) -> str:
    """A text as one line of a table."""
    return printable(secrets.redact(text), newlines=False)


def styled(text: str, style: str = "") -> "Text":
    """A text for a rich console, in which no markup means anything."""
    from rich.text import Text

    return Text(cell(text), style=style)


def console(*, stderr: bool = False) -> "Console":
    """A rich console that writes its own control codes and nobody else's."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class Safe(Console):
        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
            for part in super().render(renderable, options):
                safe = part if part.control else part._replace(text=printable(secrets.redact(part.text)))
                yield safe

    stream = sys.stderr if stderr else sys.stdout
    raw = stream.raw_stream if isinstance(stream, _Guard) else stream
    return Safe(file=raw, markup=False, emoji=False, highlight=False)


def is_terminal(*, err: bool = False) -> bool:
    """Whether a person looks at the stream."""
    stream = sys.stderr if err else sys.stdout
    return stream is not None and stream.isatty()


class OutputLost(Exception):
    """Standard output takes no more; what else the command has to do is done. `quiet`: its reader has gone."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror or str(error))
        self.quiet = error.errno == errno.EPIPE


_lost: list[OutputLost] = []


def lost_output() -> OutputLost | None:
    """Error that ended standard output since `guarded` began; None if it still takes text."""
    return _lost[0] if _lost else None


@contextmanager
def guarded() -> Iterator[None]:
    """While this lasts, whatever is written to the standard streams is printable and without secrets."""
    before = sys.stdout, sys.stderr
    _lost.clear()
    sys.stdout = cast("TextIO", sys.stdout and _Guard(sys.stdout, _lost.append))
    sys.stderr = cast("TextIO", sys.stderr and _Guard(sys.stderr, lambda _: None))
    try:
        yield
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError):  # a process may be started without one
                stream.flush()
    finally:
        sys.stdout, sys.stderr = before


def guard_process() -> None:
    """Make the standard streams of this process safe from now on; for worker processes, which only print."""
    sys.stdout = cast("TextIO", sys.stdout and _Guard(sys.stdout, lambda _: None))
    sys.stderr = cast("TextIO", sys.stderr and _Guard(sys.stderr, lambda _: None))


class _Guard:
    """A text stream that escapes and masks what passes, and goes on without its reader when that has gone."""

    def __init__(self, stream: Any, on_lost: Callable[[OutputLost], None]) -> None:
        self._on_lost = on_lost
        self.raw_stream = stream
        with suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        """Write what is safe of a text."""
        self._attempt(lambda: self.raw_stream.write(self._fit_encoding(printable(secrets.redact(text)))))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write several texts."""
        for each in lines:
            self.write(each)

    def flush(self) -> None:
        """Send what was written."""
        self._attempt(self.raw_stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw_stream, name)

    def _fit_encoding(self, text: str) -> str:
        encoding = getattr(self.raw_stream, "encoding", None) or "utf-8"
        if text.isascii() or encoding.lower().startswith("utf"):
            return text
        return text.translate(_ASCII_FALLBACK)

    def _attempt(self, action: Any) -> None:
        try:
            action()
        except OSError as error:
            self._on_lost(OutputLost(error))
            with suppress(OSError, ValueError, AttributeError):  # what is still buffered goes nowhere, without a word
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self.raw_stream.fileno())
                os.close(nowhere)


def _write(text: str, *, err: bool = False) -> None:
    stream: Any = sys.stderr if err else sys.stdout
    if stream is None:
        return
    stream.write(f"{text}\n")
    stream.flush()


def _dump(data: Any, indent: int | None) -> str:
    return _json.dumps(data, indent=indent).replace("\x7f", "\\u007f")


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
