"""Where runners report what they are doing."""

from typing import Protocol


class Progress(Protocol):
    """Where runners say what they are doing; the terminal display is one, `NullProgress` ignores it all."""

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
