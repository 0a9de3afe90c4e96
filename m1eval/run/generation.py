"""Requests of the loop and of episodes to the runner: each has its slot, the task's settings, and is paid for."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec

from m1eval.plugins import foreign
from m1eval.progress import Progress
from m1eval.protocols import Context, Runner
from m1eval.run.context import Resources
from m1eval.run.reservation import LimitReached, Reservation
from m1eval.run.spending import Spending
from m1eval.store.record import Record
from m1eval.task.task import Task
from m1eval.types import Output, Request, Sampling, Timing, Usage
from m1eval.validation import add_usage, total_usage

POLL_SECONDS = 0.25
"""Seconds after which the limit is read again."""


class CutOff(RuntimeError):
    """An answer was truncated by a token limit that keeps the command within --max-cost or --max-tokens-total."""

    def __init__(self, output: Output) -> None:
        tokens = f"{output.usage.output:,} tokens"
        super().__init__(f"after {tokens}, to stay within what may be spent; give the task max_tokens, or spend more")
        self.output = output


class ConcurrencyLimit:
    """Limit on requests in flight: `limit()` at the moment, which a runner may change as it learns."""

    def __init__(self, limit: Callable[[], int]) -> None:
        self.limit = limit
        self.in_flight = 0
        self._released = asyncio.Event()

    async def acquire(self) -> None:
        """Wait for a slot and take it."""
        while self.in_flight >= max(1, self.limit()):
            self._released.clear()
            with suppress(TimeoutError):  # the limit may rise though no place was given back
                async with asyncio.timeout(POLL_SECONDS):
                    await self._released.wait()
        self.in_flight += 1

    def release(self) -> None:
        """Release a slot."""
        self.in_flight -= 1
        self._released.set()


class Session(NamedTuple):
    """Everything that an executing run shares: runner, resources, progress, limits, and the stop signal."""

    runner: Runner
    resources: Resources
    progress: Progress
    concurrency_limit: ConcurrencyLimit
    spending: Spending
    stop: asyncio.Event


def seed_of(run_seed: int, sample: str, repeat: int) -> int:
    """The seed of one request, in [0, 2^31): the same for every model, another for every repeat."""
    key = f"{run_seed}\0{sample}\0{repeat}".encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:4], "big") >> 1


class RequestTotals:
    """Usage, times and retries of the requests of one episode, counted where they are made.

    An episode may send several concurrently, go on without one that has failed, and make up the output that it returns.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.usage, self.timing = Usage(), Timing()
        self.retries = 0

    def add(self, output: Output) -> None:
        """Count one request's output."""
        add_usage(self.usage, output.usage)
        for name in self.timing.__struct_fields__:
            setattr(self.timing, name, getattr(self.timing, name) + getattr(output.timing, name))
        self.retries += output.retries

    def write_to(self, record: Output | Record) -> None:
        """Put the sums into a record, or in place of what an episode's output says of a single request."""
        if self.requests:
            record.usage, record.timing, record.retries = self.usage, self.timing, self.retries
            record.metadata = {**record.metadata, "requests": self.requests}


class BoundRunner(Runner):
    """The runner for one (sample, repeat): requests carry the task's settings, seed and progress, and are paid for."""

    _belongs_to_episode = False
    """Whether room is kept for all requests together, so that one is not to wait for other samples."""

    def __init__(self, session: Session, context: Context, task: Task, seed: int) -> None:
        self.totals = RequestTotals()
        self._runner, self._progress, self._spending = session.runner, session.progress, session.spending
        self._stop = session.stop
        self._context = context
        self._sampling = msgspec.structs.replace(task.definition.generation, seed=seed)
        self._think = task.definition.think

    @property
    def varies(self) -> bool:
        """Whether answers to one prompt differ: greedy ones do not, and servers refuse to write several."""
        return self._sampling.temperature != 0

    async def generate(self, request: Request) -> Output:
        """One answer; LimitReached if there is no room for it, CutOff if a limit of ours ended it."""
        [answer] = await self._request(request, 1)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def generate_n(self, request: Request, n: int) -> Sequence[Output | Exception]:
        """Up to `n` answers to one prompt; CutOff in place of those that a limit of ours ended."""
        return await self._request(request, n)

    async def _request(self, request: Request, n: int) -> Sequence[Output | Exception]:
        request = self._with_defaults(request)
        discarded: list[Usage] = []

        async def send(reservation: Reservation) -> tuple[Sequence[Output | Exception], int | None]:
            self._count_request()
            try:
                answers = await self._ask(_capped(request, reservation), n)
            except Exception as error:
                _count_error_usage(reservation, error)
                raise
            reservation.settle(answers)
            return answers, reservation.max_tokens

        try:
            answers, max_tokens = await self._spending.run_paid(
                send, request, n, stop=self._stop, inner=self._belongs_to_episode, discarded=discarded
            )
        except Exception:
            self._count_discarded(discarded)
            raise
        if discarded:
            self._add_discarded(answers, discarded)
        return answers if max_tokens is None else [_unless_cut_off(answer) for answer in answers]

    async def _ask(self, request: Request, n: int) -> Sequence[Output | Exception]:
        if n == 1:
            return [foreign.checked_output(await self._runner.generate(request), self._runner.generate)]
        # Copies, as a runner may return one output several times and each gets a usage of its own.
        return [
            answer
            if isinstance(answer, Exception)
            else msgspec.structs.replace(foreign.checked_output(answer, self._runner.generate_n))
            for answer in await self._runner.generate_n(request, n)
        ]

    def _count_request(self) -> None:
        """Count a request that is being sent."""

    def _add_discarded(self, answers: Sequence[Output | Exception], discarded: Sequence[Usage]) -> None:
        """Keep what replies took that could not be used, with the first answer if there is one."""
        for answer in answers:
            if isinstance(answer, Output):
                answer.usage = total_usage([answer.usage, *discarded])
                return
        self._count_discarded(discarded)

    def _count_discarded(self, discarded: Sequence[Usage]) -> None:
        """Keep what replies took that could not be used."""
        for usage in discarded:
            self.totals.requests += not self.totals.requests
            self.totals.add(Output(usage=usage))

    def _with_defaults(self, request: Request) -> Request:
        """A copy of the request, as an episode may use it again for another turn or sample."""
        sample = self._context.sample
        return msgspec.structs.replace(
            request,
            sampling=_merge_sampling(request.sampling, self._sampling),
            think_budget=self._think if request.think_budget is None else request.think_budget,
            prefix_key=request.prefix_key or sample.prefix_key,
            sample=sample,
            repeat=self._context.repeat,
            progress=self._progress,
        )

    async def aclose(self) -> None:
        """The runner is not an episode's to close."""


def _count_error_usage(reservation: Reservation, error: Exception) -> None:
    """Count what an error says that it took."""
    if isinstance(usage := getattr(error, "usage", None), Usage):
        with suppress(LimitReached):
            reservation.discard(usage)


def _unless_cut_off(output: Output | Exception) -> Output | Exception:
    """The answer, or CutOff in place of one that a limit of ours ended."""
    return CutOff(output) if isinstance(output, Output) and output.finish_reason == "length" else output


def _capped(request: Request, reservation: Reservation) -> Request:
    """The request with the limit of new tokens that its reservation sets."""
    if reservation.max_tokens is None:
        return request
    sampling = msgspec.structs.replace(request.sampling, max_tokens=reservation.max_tokens)
    return msgspec.structs.replace(request, sampling=sampling)


def _merge_sampling(sampling: Sampling, default: Sampling) -> Sampling:
    """The settings of a request, with the task's own for those that it leaves open."""
    if sampling == Sampling():
        return default
    settings = {name: getattr(sampling, name) for name in sampling.__struct_fields__}
    return msgspec.structs.replace(default, **{k: value for k, value in settings.items() if value not in (None, ())})
