"""The exceptions of the http runner; messages are one line.

RequestFailed              no usable answer, after all retries
  BadRequest               the server rejects the request itself
RetryableError             another attempt may succeed
  ReportedError            the server reports an error in place of an answer
ContextLengthExceeded      the prompt is longer than the context window
UntrustedCertificate       the server's certificate is not accepted
ProxyRefused               the proxy in front of the server lets nothing through
"""

from typing import Literal

from .errors import ServerError

FailureKind = Literal["unreachable", "malformed", "timeout", "overloaded"]


class RequestFailed(Exception):
    """One request got no usable answer; the message is one line."""


class BadRequest(RequestFailed):
    """The server rejects the request itself."""

    def __init__(self, message: str, error: ServerError | None = None) -> None:
        super().__init__(message)
        self.error = error or ServerError(message)


class RetryableError(Exception):
    """A failure worth another attempt, after `wait` seconds if the server asks for it.

    `kind`: there is no connection ("unreachable"), the response is not an answer ("malformed"), none came in time
    ("timeout"), the server has too many requests ("overloaded").
    """

    def __init__(self, reason: str, kind: FailureKind = "malformed", wait: float = 0.0) -> None:
        super().__init__(reason)
        self.kind = kind
        self.wait = wait
        self.page = False
        """Whether an HTML page came in place of an answer."""


class ReportedError(RetryableError):
    """An error in place of an answer: in a body with status 200, or in the middle of a stream."""

    def __init__(self, error: ServerError) -> None:
        super().__init__(f"the server reports {error}")
        self.error = error


class ContextLengthExceeded(Exception):
    """The server refuses the prompt for its length."""

    def __init__(self, message: str, error: ServerError) -> None:
        super().__init__(message)
        self.error = error


class UntrustedCertificate(Exception):
    """The server's certificate is not accepted."""


class ProxyRefused(Exception):
    """The proxy in front of the server refuses to let a request through."""
