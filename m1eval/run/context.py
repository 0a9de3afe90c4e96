"""Context of scorers and episodes: resources of the whole run, lent to each (sample, repeat)."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

from m1eval import terminal
from m1eval.errors import NoJudge
from m1eval.option_names import option
from m1eval.types import Sample, isolated

if TYPE_CHECKING:
    from m1eval.run.judges import JudgePanel
    from m1eval.sandbox.workers import Pool

T = TypeVar("T")

CLEANUP_SECONDS = 30.0
"""Seconds that each entered manager has to be left once the run is cancelled; containers have ten to stop in."""


class Resources:
    """The worker processes and the judges of a command, made once and closed at its end."""

    def __init__(self, judges: "JudgePanel | None" = None) -> None:
        self._judges = judges

    @property
    def judges(self) -> "JudgePanel":
        """The judges; UsageError if none was named."""
        if self._judges is None:
            raise NoJudge(f"this task is graded by a judge: name one, such as {option('judge', 'http:gpt-4o')}")
        return self._judges

    @cached_property
    def workers(self) -> "Pool":
        """The worker processes, started at their first use."""
        from m1eval.sandbox.workers import Pool

        return Pool()

    def context(self, sample: Sample | None = None, repeat: int = 0) -> "Context":
        """A context that lends these resources; without a sample for what concerns several, such as a vote."""
        return Context(self, sample or Sample(id="", messages=[]), repeat)

    async def aclose(self) -> None:
        """End the workers and the judges, if there are any."""
        if "workers" in self.__dict__:
            await self.workers.aclose()
        if self._judges is not None:
            await self._judges.aclose()


class Context:
    """The context of one (sample, repeat), from its first request until it is graded.

    Its sample is a copy, so that no other repeat sees what an episode or a scorer changes in it.
    """

    __slots__ = (
        *("_exit_stack", "_is_closed", "_is_closing", "_is_limited", "_resources", "_state", "_timeout"),
        *("repeat", "sample"),
    )

    def __init__(self, resources: Resources, sample: Sample, repeat: int) -> None:
        self.sample, self.repeat = isolated(sample), repeat
        self._resources = resources
        self._state: dict[str, Any] | None = None  # made when it is asked for, like the stack, as few samples need it
        self._exit_stack: AsyncExitStack | None = None
        self._is_closed = self._is_closing = self._is_limited = False
        self._timeout: asyncio.Timeout | None = None

    @property
    def workers(self) -> "Pool":
        """The worker processes of the run."""
        return self._resources.workers

    @property
    def judges(self) -> "JudgePanel":
        """The judges of the run; UsageError if none was named."""
        return self._resources.judges

    @property
    def state(self) -> dict[str, Any]:
        """Values that the episode leaves for its scorer."""
        if self._state is None:
            self._state = {}
        return self._state

    async def enter_async(self, manager: AbstractAsyncContextManager[T]) -> T:
        """Enter an `async with` that is left after grading, such as that of a container."""
        self.check_open()
        name = getattr(getattr(manager, "func", None), "__qualname__", type(manager).__qualname__)
        async with AsyncExitStack() as entered:
            value = await entered.enter_async_context(manager)
            self.check_open()
            self._stack().push_async_exit(partial(self._leave, entered.pop_all(), name))
        return value

    def callback(self, function: Callable[..., Any], *args: Any) -> None:
        """Call a function after grading, the last one first."""
        self.check_open()
        self._stack().callback(function, *args)

    async def aclose(self) -> None:
        """Leave what was entered, the last first; raises the last error after all of them. Calling it again is safe."""
        self._is_closed = True
        if self._exit_stack is not None:
            stack, self._exit_stack = self._exit_stack, None
            self._is_closing = True
            try:
                await stack.aclose()
            finally:
                self._is_closing = False

    def check_open(self) -> None:
        """RuntimeError once it is being closed, as nothing would be left any more, nor counted."""
        if self._is_closed:
            place = f"{self.sample.id}, repeat {self.repeat}"
            raise RuntimeError(f"{place} is graded, and its context is closed; was a task not awaited?")

    def limit_cleanup(self) -> bool:
        """Give each manager `CLEANUP_SECONDS` from now on; whether one is being left at the moment."""
        self._is_limited = True
        if self._timeout is not None:
            self._timeout.reschedule(asyncio.get_running_loop().time() + CLEANUP_SECONDS)
        return self._is_closing

    async def _leave(self, entered: AsyncExitStack, name: str, *error: Any) -> bool | None:
        """Leave one manager, or give it up when its time is over."""
        self._timeout = timeout = asyncio.timeout(CLEANUP_SECONDS if self._is_limited else None)
        try:
            async with timeout:
                return await entered.__aexit__(*error)
        except TimeoutError:
            if not timeout.expired():
                raise
            place = f"{self.sample.id}, repeat {self.repeat}"
            terminal.line(f"{place}: {name} is not cleaned up: given up after {CLEANUP_SECONDS:g} s", err=True)
            return None
        finally:
            self._timeout = None

    def _stack(self) -> AsyncExitStack:
        if self._exit_stack is None:
            self._exit_stack = AsyncExitStack()
        return self._exit_stack
