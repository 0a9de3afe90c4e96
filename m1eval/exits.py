"""Plugin code that exits, or raises what ends coroutines and tasks; apart, as the listing needs no asyncio."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")


async def isolate_exits(coroutine: Awaitable[T]) -> T:
    """The result; an exit of plugin code, or its CancelledError without a cancellation, becomes a RuntimeError."""
    task = asyncio.current_task()
    try:
        return await coroutine
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        if isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling()):
            raise
        if isinstance(error, GeneratorExit) and not _is_running(task):  # the coroutine is being closed, as its loop is
            raise
        text = f"{type(error).__name__}: {error}".rstrip(": ")
        raise RuntimeError(text).with_traceback(error.__traceback__) from error


def _is_running(task: "asyncio.Task[Any] | None") -> bool:
    """Whether this code runs in the task, and not in whatever closes a coroutine that never ended."""
    try:
        return asyncio.current_task() is task
    except RuntimeError:
        return False
