"""Progress reports of runners."""

from typing import Protocol


class Progress(Protocol):
    """Receiver of runners' progress reports: the terminal display, or `NullProgress`, which ignores them."""

    def status(self, text: str) -> None: ...
    def tokens(self, *, prompt: int = 0, output: int = 0) -> None: ...
    def retry(self, reason: str, wait: float) -> None: ...


class NullProgress:
    """A Progress that shows nothing."""

    def status(self, text: str) -> None:
        """Ignore it."""

    def tokens(self, *, prompt: int = 0, output: int = 0) -> None:
        """Ignore it."""

    def retry(self, reason: str, wait: float) -> None:
        """Ignore it."""
