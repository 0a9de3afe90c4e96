"""The plan of a run: its samples, built when they are due, and the repeats that have no score yet."""

import asyncio
import time
from collections.abc import Iterator

from m1eval.protocols import Runner
from m1eval.run.overlength import Overlength
from m1eval.store.journal_state import JournalState
from m1eval.task.samples import Samples
from m1eval.task.task import Task
from m1eval.types import Sample

QUICK = 0.001
"""Seconds: samples that are built in less are built in the event loop, as a thread would cost more."""
IN_THREADS = 64
"""Maximum number of samples that are built in threads before one is tried in the event loop again."""


class Plan:
    """The samples of one task's run, how often each is asked, and what is done."""

    def __init__(
        self,
        task: Task,
        samples: Samples,
        numbers: list[int],
        repeats: int,
        seed: int,
        state: JournalState,
        overlength: Overlength,
    ):
        self.task = task
        self.samples = samples
        self.numbers = numbers
        self.repeats = repeats
        self.seed = seed
        self.done = state
        self.overlength = overlength
        self.extra_repeats: dict[str, int] = {}
        """Samples that get more answers than `repeats` (`--until-se`), with their number."""

    @property
    def total(self) -> int:
        """(sample, repeat)s in all."""
        return (len(self.numbers) - self.skipped) * self.repeats + sum(
            n - self.repeats for n in self.extra_repeats.values()
        )

    @property
    def skipped(self) -> int:
        """Samples that are left out, as their prompt is longer than the window."""
        return self.overlength.count_skipped(map(self.samples.id, self.numbers)) if self.overlength.skipped else 0

    def build(self, number: int, runner: Runner, repeat: int = 0) -> Sample | None:
        """A sample as this runner is asked it; None if it is to be left out, as it is longer than the window."""
        return self.overlength.apply(self.samples.sample(number, repeat), runner.context_window)

    def pending(self) -> Iterator[tuple[int, list[int]]]:
        """Samples without a score, by number, with the repeats that share a prompt."""
        for number in self.numbers:
            name = self.samples.id(number)
            max_repeats = self.extra_repeats.get(name, self.repeats)
            missing = ((1 << max_repeats) - 1) & ~self.done.completed_mask(name)
            if missing and name not in self.overlength.skipped:
                repeats = [r for r in range(max_repeats) if missing >> r & 1]
                yield from [(number, [r]) for r in repeats] if self.samples.varies(number) else [(number, repeats)]


class SampleBuilder:
    """Builds samples in the event loop while that is quick, else in a thread."""

    def __init__(self, plan: Plan, runner: Runner) -> None:
        self._plan, self._runner = plan, runner
        self._in_threads = self._next_in_threads = 1

    async def sample(self, number: int, repeat: int = 0) -> tuple[Sample | None, float]:
        """A sample, None if it is to be left out, and the seconds of building it."""
        if self._next_in_threads:
            sample, seconds, busy = await asyncio.to_thread(self._timed, number, repeat)
            # Its own processor time decides, as in a thread it also waits for the others.
            if busy < QUICK:
                self._next_in_threads -= 1
            return sample, seconds
        sample, seconds, _ = self._timed(number, repeat)
        # Samples that wait for a disk or a network stay slow, and are tried here less and less often.
        self._in_threads = 1 if seconds < QUICK else min(2 * self._in_threads, IN_THREADS)
        self._next_in_threads = 0 if seconds < QUICK else self._in_threads
        return sample, seconds

    def _timed(self, number: int, repeat: int) -> tuple[Sample | None, float, float]:
        begin, busy = time.monotonic(), time.thread_time()
        sample = self._plan.build(number, self._runner, repeat)
        return sample, time.monotonic() - begin, time.thread_time() - busy
