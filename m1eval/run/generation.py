"""Requests of the loop and of episodes to the runner: each has its place, the task's settings, and is paid for."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec

from m1eval.progress import Progress
from m1eval.protocols import Context, Runner
from m1eval.run.reservation import Episode, LimitReached, Reservation
from m1eval.run.spending import Spending
from m1eval.store.record import Record
from m1eval.task.task import Task
from m1eval.types import Output, Request, Sample, Sampling, Timing, Usage
from m1eval.validation import add_usage, as_output, total_usage

POLL_SECONDS = 0.25
"""Seconds after which a runner is asked again how many requests it likes."""


class CutOff(RuntimeError):
    """An answer was cut off by the limit that it was given so that the command keeps to its own."""

    def __init__(self, output: Output) -> None:
        tokens = f"{output.usage.output:,} tokens"
        super().__init__(f"after {tokens}, to stay within what may be spent; give the task max_tokens, or spend more")
        self.output = output


class ConcurrencyLimit:
    """The requests in flight: as many as `wanted` says at the moment, which a runner may change as it learns."""

    def __init__(self, wanted: Callable[[], int]) -> None:
        self.wanted = wanted
        self.taken = 0
        self._given = asyncio.Event()

    async def acquire(self) -> None:
        """Wait for a place and take it."""
        while self.taken >= max(1, self.wanted()):
            self._given.clear()
            with suppress(TimeoutError):  # more may be wanted though none was given back
                async with asyncio.timeout(POLL_SECONDS):
                    await self._given.wait()
        self.taken += 1

    def release(self) -> None:
        """Give a place back."""
        self.taken -= 1
        self._given.set()


class Session(NamedTuple):
    """How a run is carried out: whom to ask, what to ask with, what it may cost, and when to stop."""

    runner: Runner
    tools: Context
    progress: Progress
    places: ConcurrencyLimit
    spending: Spending
    stop: asyncio.Event


def seed_of(run_seed: int, sample: str, repeat: int) -> int:
    """The seed of one request, in [0, 2^31): the same for every model, another for every repeat."""
    key = f"{run_seed}\0{sample}\0{repeat}".encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:4], "big") >> 1


class Spent:
    """What the requests of one episode took together, counted where they are made.

    An episode may ask several at once, go on without one that has failed, and make up the output that it returns.
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
    """The runner as an episode sees it: requests carry the task's settings, seed and progress by themselves."""

    def __init__(self, asking: Session, sample: Sample, repeat: int, task: Task, seed: int) -> None:
        self.spent = Spent()
        self._runner, self._progress, self._spending = asking.runner, asking.progress, asking.spending
        self._stop = asking.stop
        self._episode: Episode | None = None
        self._sample = sample
        self._repeat = repeat
        self._sampling = msgspec.structs.replace(task.definition.generation, seed=seed)
        self._think = task.definition.think

    @property
    def varies(self) -> bool:
        """Whether answers to one prompt differ: greedy ones do not, and servers refuse to write several."""
        return self._sampling.temperature != 0

    async def episode(self, task: Task, context: Context) -> Output:
        """The task's own episode with all that its requests took, or one request and its output."""
        if not task.episode:
            return await self._request(Request(messages=self._sample.messages, tools=self._sample.tools))
        first = self._with_defaults(Request(messages=self._sample.messages, tools=self._sample.tools))
        self._episode = await self._spending.begin_episode(first, self._stop)
        try:
            output = msgspec.structs.replace(as_output(await task.episode(self._sample, self, context)))
        finally:
            self._spending.end_episode(self._episode, self.spent.usage)
        if self.spent.requests:  # the output may be one of those that were counted, hence the copy
            self.spent.write_to(output)
        else:
            self._spending.charge(output.usage)
        return output

    async def generate(self, request: Request) -> Output:
        """Ask for an episode, with what the request leaves open filled in."""
        output = await self._request(request, turn=True)
        self.spent.add(output)
        if self._episode:
            self._episode.spent(output.usage)
        return output

    async def _request(self, request: Request, *, turn: bool = False) -> Output:
        """One request that is paid for; LimitReached if there is no room for it, CutOff if a limit of ours cut it."""
        request = self._with_defaults(request)
        discarded: list[Usage] = []

        async def send(reservation: Reservation) -> tuple[Output, int | None]:
            self.spent.requests += turn
            try:
                output = as_output(await self._runner.generate(_capped(request, reservation)))
            except Exception as error:
                _count_error_usage(reservation, error)
                raise
            reservation.settle([output])
            return output, reservation.max_tokens

        try:
            output, limit = await self._spending.run_paid(
                send, request, stop=self._stop, inner=turn, discarded=discarded
            )
        except Exception:
            self._count_discarded(discarded)
            raise
        for usage in discarded:
            self.spent.add(Output(usage=usage)) if turn else add_usage(output.usage, usage)
        if output.finish_reason == "length" and limit is not None:
            if turn:
                self.spent.add(output)
            raise CutOff(output)
        return output

    def _count_discarded(self, discarded: Sequence[Usage]) -> None:
        """Keep what replies took that could not be used."""
        for each in discarded:
            self.spent.requests += not self.spent.requests
            self.spent.add(Output(usage=each))

    async def generate_n(self, request: Request, n: int) -> Sequence[Output | Exception]:
        """Up to `n` answers to one prompt."""
        request = self._with_defaults(request)
        discarded: list[Usage] = []

        async def send(reservation: Reservation) -> tuple[Sequence[Output | Exception], int | None]:
            try:
                came = await self._runner.generate_n(_capped(request, reservation), n)
                # Copies, as a runner may return one output several times and each gets a usage of its own.
                outputs = [
                    each if isinstance(each, Exception) else msgspec.structs.replace(as_output(each)) for each in came
                ]
            except Exception as error:
                _count_error_usage(reservation, error)
                raise
            reservation.settle(outputs)
            return outputs, reservation.max_tokens

        try:
            outputs, limit = await self._spending.run_paid(send, request, n, stop=self._stop, discarded=discarded)
        except Exception:
            self._count_discarded(discarded)
            raise
        first = next((each for each in outputs if isinstance(each, Output)), None)
        if first is None:
            self._count_discarded(discarded)
        else:
            first.usage = total_usage([first.usage, *discarded])
        return [_unless_cut_off(each) for each in outputs] if limit else outputs

    def _with_defaults(self, request: Request) -> Request:
        """A copy of the request, as an episode may use it again for another turn or sample."""
        return msgspec.structs.replace(
            request,
            sampling=_merge_sampling(request.sampling, self._sampling),
            think_budget=self._think if request.think_budget is None else request.think_budget,
            prefix_key=request.prefix_key or self._sample.prefix_key,
            sample=self._sample,
            repeat=self._repeat,
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
    """What came; CutOff in place of an answer that a limit of ours cut off."""
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
    own = {name: getattr(sampling, name) for name in sampling.__struct_fields__}
    return msgspec.structs.replace(default, **{name: value for name, value in own.items() if value not in (None, ())})
