"""What a run owes: its samples, built when they are due, with the repeats that have no score yet."""

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
"""Seconds: samples that are built in less are built on the spot, as a thread would cost more."""
IN_THREADS = 64
"""Samples at most that are built in threads before it is tried again whether one on the spot is quick."""


class Plan:
    """One task's share of a run: which samples, how often, and what of it is done."""

    def __init__(
        self,
        task: Task,
        samples: Samples,
        numbers: list[int],
        repeats: int,
        seed: int,
        done: JournalState,
        overlength: Overlength,
    ):
        self.task = task
        self.samples = samples
        self.numbers = numbers
        self.repeats = repeats
        self.seed = seed
        self.done = done
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
        """A sample as it is to be asked of this runner; None if it is longer than the window and to be left out."""
        return self.overlength.apply(self.samples.sample(number, repeat), runner.context_window)

    def pending(self) -> Iterator[tuple[int, list[int]]]:
        """What has no score yet: samples by number with those repeats that share a prompt."""
        for number in self.numbers:
            name = self.samples.id(number)
            most = self.extra_repeats.get(name, self.repeats)
            missing = ((1 << most) - 1) & ~self.done.completed_mask(name)
            if missing and name not in self.overlength.skipped:
                repeats = [r for r in range(most) if missing >> r & 1]
                yield from [(number, [r]) for r in repeats] if self.samples.varies(number) else [(number, repeats)]


class SampleBuilder:
    """Builds samples: on the spot while that is quick, else in a thread, where they keep nobody waiting."""

    def __init__(self, work: Plan, runner: Runner) -> None:
        self._work, self._runner = work, runner
        self._in_threads = self._next_in_threads = 1

    async def sample(self, number: int, repeat: int = 0) -> tuple[Sample | None, float]:
        """A sample, None if it is to be left out, and the seconds that it took."""
        if self._next_in_threads:
            sample, took, busy = await asyncio.to_thread(self._timed, number, repeat)
            # Of the time, only what it computed itself tells: in a thread it waits for the others.
            if busy < QUICK:
                self._next_in_threads -= 1
            return sample, took
        sample, took, _ = self._timed(number, repeat)
        # What waits for a disk or a network is slow again and again, and then tried less and less often.
        self._in_threads = 1 if took < QUICK else min(2 * self._in_threads, IN_THREADS)
        self._next_in_threads = 0 if took < QUICK else self._in_threads
        return sample, took

    def _timed(self, number: int, repeat: int) -> tuple[Sample | None, float, float]:
        begin, busy = time.monotonic(), time.thread_time()
        sample = self._work.build(number, self._runner, repeat)
        return sample, time.monotonic() - begin, time.thread_time() - busy
