"""Replies that a runner paid for and cannot use: they count towards the limits and the cost of the sample."""

from contextvars import ContextVar
from typing import Protocol

from m1eval.types import Usage


class Payer(Protocol):
    """The account that a request in flight is charged to."""

    def discard(self, usage: Usage | None) -> None:
        """Count an unusable reply; None if its tokens are unknown. Raises if a limit leaves no room for another."""


current_payer: ContextVar[Payer | None] = ContextVar("current_payer", default=None)


def discard(usage: Usage | None) -> None:
    """Report, from a runner, that a reply was paid for and cannot be used; None if its usage is unknown.

    Raises a `Stopped` where a limit leaves no room to ask again. Does nothing outside a request.
    """
    if (payer := current_payer.get()) is not None:
        payer.discard(usage)
