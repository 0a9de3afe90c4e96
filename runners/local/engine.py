"""The engine: one thread that plans steps, has the device run them, and tells the sequences what came of it.

On a GPU a step is planned and launched while the one before still runs; what the earlier one found is looked at then. A
sequence that turns out to have ended has computed one token too many, which nobody sees.
"""

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import NamedTuple, Protocol

from m1eval import Progress

from .scheduler import Scheduler, Turn
from .sequence import Plan, Result, Sequence


class Runs(Protocol):
    """What computes plans: a Device, or several of them."""

    def run(self, plan: Plan) -> Callable[[], Result]: ...


class _Step(NamedTuple):
    plan: Plan
    turns: list[Turn]
    result: Callable[[], Result]


class Engine:
    """Runs sequences; `ahead`: launch a step before the one before is done.

    `threaded` False: nothing runs by itself, and `step` is called instead, which makes a schedule repeatable.
    """

    def __init__(self, device: Runs, scheduler: Scheduler, *, ahead: bool, threaded: bool = True) -> None:
        self.device, self.scheduler, self.ahead = device, scheduler, ahead
        self._under_way: _Step | None = None
        self._inbox: SimpleQueue[Sequence | None] = SimpleQueue()
        self._gate = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="m1eval-local", daemon=True) if threaded else None
        if self._thread:
            self._thread.start()

    def submit(self, sequence: Sequence) -> None:
        """Hand a sequence over, from any thread; RuntimeError once the engine is closed."""
        with self._gate:
            if self._closed:
                raise RuntimeError("the engine is closed")
            self._inbox.put(sequence)

    def close(self) -> None:
        """Stop after the step in hand; what is unfinished fails. Waits for the thread."""
        with self._gate:
            self._closed = True
        self._inbox.put(None)
        if self._thread:
            self._thread.join()

    def step(self) -> bool:
        """Take in what was submitted and do one step; whether anything is left to do. Only without a thread."""
        if self._idle:
            return False
        self._collect()
        self._try()
        return not self._idle

    def _run(self) -> None:
        try:
            while self._collect():
                self._try()
        finally:  # however the thread ends, nobody waits for ever
            with self._gate:
                self._closed = True
            while not self._inbox.empty():
                if sequence := self._inbox.get():
                    self.scheduler.waiting.append(sequence)
            for sequence in [*self.scheduler.running, *self.scheduler.waiting]:
                _fail(sequence, RuntimeError("the engine was closed before the answer was finished"))

    @property
    def _idle(self) -> bool:
        return not self.scheduler.busy and not self._under_way and self._inbox.empty()

    def _collect(self) -> bool:
        """Take in what was submitted; sleep when there is nothing else to do. False: close."""
        idle = not self.scheduler.busy and not self._under_way
        try:
            while True:
                sequence = self._inbox.get(block=idle)
                if sequence is None:
                    return False
                self.scheduler.waiting.append(sequence)
                idle = False
        except Empty:
            return True

    def _try(self) -> None:
        try:
            self._work()
        except Exception as error:  # noqa: BLE001  the sample boundary: those running fail, later ones may succeed
            self._drop(error)

    def _work(self) -> None:
        planned = self.scheduler.plan()
        before, self._under_way = self._under_way, None
        if planned:
            plan, turns = planned
            self._under_way = _Step(plan, turns, self.device.run(plan))
        if before:
            self._accept(before)
        if self._under_way and not self.ahead:
            step, self._under_way = self._under_way, None
            self._accept(step)

    def _accept(self, step: _Step) -> None:
        result = step.result()
        _tell(step)
        for sequence in self.scheduler.accept(step.plan, step.turns, result):
            sequence.ended = time.monotonic()
            if sequence.error:
                _fail(sequence, sequence.error)
            elif sequence.future.set_running_or_notify_cancel():
                sequence.future.set_result(None)

    def _drop(self, error: Exception) -> None:
        self._under_way = None
        for sequence in self.scheduler.reset():
            _fail(sequence, error)


def _tell(step: _Step) -> None:
    """One call per listener and step."""
    heard: dict[int, tuple[Progress, list[int]]] = {}
    for i, (sequence, turn) in enumerate(step.turns):
        if turn != sequence.turn:
            continue
        _, counts = heard.setdefault(id(sequence.progress), (sequence.progress, [0, 0]))
        piece = step.plan.pieces[i] if step.plan.pieces else None
        if piece:
            counts[0] += max(min(piece.begin + len(piece.ids), len(sequence.prompt)) - piece.begin, 0)
        counts[1] += piece is None or piece.nth >= 0
    for progress, (prompt, output) in heard.values():
        progress.tokens(prompt=prompt, output=output)


def _fail(sequence: Sequence, error: Exception) -> None:
    if sequence.future.set_running_or_notify_cancel():
        sequence.future.set_exception(error)
