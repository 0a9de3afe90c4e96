"""Tasks of samples in flight, which are cancelled without cutting off what cleans up after them."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from m1eval.run.context import CLEANUP_SECONDS, Context


class SampleTasks:
    """A group of tasks: `async with` waits for all of them, and cancels them if it is cancelled itself.

    A task whose context is being closed then is left to it, for `CLEANUP_SECONDS` for each manager that was entered.
    The tasks raise nothing themselves.
    """

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[None], Sequence[Context]] = {}
        self._is_cancelled = False

    def start(self, work: Coroutine[Any, Any, None], contexts: Sequence[Context]) -> None:
        """Start a task that works with these contexts, and closes them."""
        task = asyncio.create_task(work)
        self._tasks[task] = contexts
        task.add_done_callback(self._tasks.pop)

    async def __aenter__(self) -> "SampleTasks":
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is not None:
            self._cancel()
        cancellation: asyncio.CancelledError | None = None
        while self._tasks:
            try:
                await asyncio.wait(self._tasks)
            except asyncio.CancelledError as cancelled:
                cancellation = cancelled
                self._cancel()
        if cancellation is not None:
            raise cancellation

    def _cancel(self) -> None:
        """Cancel the tasks, the first time that it is called: whoever cleans up is not disturbed again."""
        if self._is_cancelled:
            return
        self._is_cancelled = True
        for task, contexts in self._tasks.items():
            closing = [context.limit_cleanup() for context in contexts]
            if not any(closing):
                task.cancel()
            elif not all(closing):  # several answers to one request, some of them still being graded
                asyncio.get_running_loop().call_later(CLEANUP_SECONDS, task.cancel)
