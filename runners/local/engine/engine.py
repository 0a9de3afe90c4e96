"""The engine: one thread that schedules batches, runs them, and updates the sequences with their output.

On a GPU a step is scheduled and launched while the one before still runs, whose output is processed afterwards. A
sequence that turns out to have ended has computed one token too many, which is discarded.
"""

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import NamedTuple, Protocol

from m1eval import Progress

from .scheduler import Scheduled, Scheduler
from .sequence import ScheduledBatch, Sequence, StepOutput


class Executor(Protocol):
    """Runs batches: a ModelRunner, or several of them in processes."""

    def run(self, batch: ScheduledBatch) -> Callable[[], StepOutput]: ...


class _InFlightStep(NamedTuple):
    batch: ScheduledBatch
    scheduled: list[Scheduled]
    output: Callable[[], StepOutput]


class Engine:
    """Runs sequences; `async_scheduling`: launch a step before the previous one is done.

    `threaded` False: there is no thread, and the caller calls `step`, which makes a schedule reproducible.
    """

    def __init__(
        self, executor: Executor, scheduler: Scheduler, *, async_scheduling: bool, threaded: bool = True
    ) -> None:
        self.executor, self.scheduler, self.async_scheduling = executor, scheduler, async_scheduling
        self._in_flight: _InFlightStep | None = None
        self._inbox: SimpleQueue[Sequence | None] = SimpleQueue()
        self._gate = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="m1eval-local", daemon=True) if threaded else None
        if self._thread:
            self._thread.start()

    def submit(self, sequence: Sequence) -> None:
        """Submit a sequence from any thread; RuntimeError once the engine is closed."""
        with self._gate:
            if self._closed:
                raise RuntimeError("the engine is closed")
            self._inbox.put(sequence)

    def close(self) -> None:
        """Stop after the current step and wait for the thread; unfinished sequences fail."""
        with self._gate:
            self._closed = True
        self._inbox.put(None)
        if self._thread:
            self._thread.join()

    def step(self) -> bool:
        """Receive submitted sequences and run one step; returns whether work is left. Only without a thread."""
        if self._idle:
            return False
        self._receive()
        self._try_step()
        return not self._idle

    def _run(self) -> None:
        try:
            while self._receive():
                self._try_step()
        finally:  # however the thread ends, no caller waits forever
            with self._gate:
                self._closed = True
            while not self._inbox.empty():
                if sequence := self._inbox.get():
                    self.scheduler.waiting.append(sequence)
            for sequence in [*self.scheduler.running, *self.scheduler.waiting]:
                _fail(sequence, RuntimeError("the engine was closed before the answer was finished"))

    @property
    def _idle(self) -> bool:
        return not self.scheduler.has_unfinished and not self._in_flight and self._inbox.empty()

    def _receive(self) -> bool:
        """Receive submitted sequences, blocking when there is nothing else to do; False if the engine is closed."""
        idle = not self.scheduler.has_unfinished and not self._in_flight
        try:
            while True:
                sequence = self._inbox.get(block=idle)
                if sequence is None:
                    return False
                self.scheduler.waiting.append(sequence)
                idle = False
        except Empty:
            return True

    def _try_step(self) -> None:
        try:
            self._step()
        except Exception as error:  # noqa: BLE001  the sample boundary: running sequences fail, later ones may succeed
            self._fail_running(error)

    def _step(self) -> None:
        next_step = self.scheduler.schedule()
        previous, self._in_flight = self._in_flight, None
        if next_step:
            batch, scheduled = next_step
            self._in_flight = _InFlightStep(batch, scheduled, self.executor.run(batch))
        if previous:
            self._finish_step(previous)
        if self._in_flight and not self.async_scheduling:
            step, self._in_flight = self._in_flight, None
            self._finish_step(step)

    def _finish_step(self, step: _InFlightStep) -> None:
        output = step.output()
        _report_progress(step)
        for sequence in self.scheduler.update(step.batch, step.scheduled, output):
            sequence.finished_at = time.monotonic()
            if sequence.error:
                _fail(sequence, sequence.error)
            elif sequence.future.set_running_or_notify_cancel():
                sequence.future.set_result(None)

    def _fail_running(self, error: Exception) -> None:
        self._in_flight = None
        for sequence in self.scheduler.reset():
            _fail(sequence, error)


def _report_progress(step: _InFlightStep) -> None:
    """Report token counts, in one call per listener and step."""
    token_counts: dict[int, tuple[Progress, list[int]]] = {}
    for i, (sequence, epoch) in enumerate(step.scheduled):
        if epoch != sequence.epoch:
            continue
        _, counts = token_counts.setdefault(id(sequence.progress), (sequence.progress, [0, 0]))
        chunk = step.batch.chunks[i] if step.batch.chunks else None
        if chunk:
            counts[0] += max(min(chunk.end, len(sequence.prompt_token_ids)) - chunk.start, 0)
        counts[1] += chunk is None or chunk.output_index >= 0
    for progress, (prompt, output) in token_counts.values():
        progress.tokens(prompt=prompt, output=output)


def _fail(sequence: Sequence, error: Exception) -> None:
    if sequence.future.set_running_or_notify_cancel():
        sequence.future.set_exception(error)
