"""The engine: sequences of token ids in, longer ones out. It knows neither text nor requests.

One thread owns model and cache. Each step it computes, in one flat batch, the next token of every running sequence and
the next piece of the prompts that are still being read; sequences join and leave between any two steps.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Literal

import torch

from m1eval import Progress, Silent

from .cache import Cache, Place
from .models import Language
from .sampling import Draw, choose


@dataclass(eq=False, slots=True, kw_only=True)
class Sequence:
    """A prompt and what is drawn after it; `future` is done when `finish` is set, and cancelling it drops the sequence.

    `limit` counts new tokens. A token in `ends` ends the sequence and belongs to `tokens`. `watch` is told each new
    token in the engine's thread, and ends the sequence by True. Times are those of time.monotonic().
    """

    prompt: list[int]
    limit: int
    draw: Draw
    ends: frozenset[int] = frozenset()
    watch: Callable[[int], bool] | None = None
    progress: Progress = field(default_factory=Silent)
    future: "Future[None]" = field(default_factory=Future)
    tokens: list[int] = field(default_factory=list)
    finish: Literal["stop", "length"] | None = None
    place: Place | None = None
    submitted: float = field(default_factory=time.monotonic)
    started: float = 0.0
    first: float = 0.0
    ended: float = 0.0

    @property
    def known(self) -> int:
        """Tokens that the cache holds."""
        return self.place.length if self.place else 0

    @property
    def owed(self) -> int:
        """Tokens to compute before the next one can be drawn."""
        return len(self.prompt) + len(self.tokens) - self.known

    def piece(self, count: int) -> list[int]:
        """The next `count` tokens to compute."""
        if self.tokens:
            return self.tokens[-1:]
        return self.prompt[self.known : self.known + count]


class Engine:
    """Runs sequences, `batch` at once, reading prompts in pieces of at most `chunk` tokens a step."""

    def __init__(self, model: Language, cache: Cache, *, batch: int, chunk: int) -> None:
        self.model, self.cache, self.batch, self.chunk = model, cache, batch, chunk
        self.running: list[Sequence] = []
        self.waiting: deque[Sequence] = deque()
        self._inbox: SimpleQueue[Sequence | None] = SimpleQueue()
        self._gate = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="m1eval-local", daemon=True)
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
        self._thread.join()

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while self._collect():
                    self._work()
        finally:  # however the thread ends, nobody waits for ever
            with self._gate:
                self._closed = True
            while not self._inbox.empty():
                if sequence := self._inbox.get():
                    self.waiting.append(sequence)
            for sequence in [*self.running, *self.waiting]:
                _fail(sequence, RuntimeError("the engine was closed before the answer was finished"))
            self.cache.clear()

    def _collect(self) -> bool:
        """Take in what was submitted; sleep when there is nothing else to do. False: close."""
        idle = not self.running and not self.waiting
        try:
            while True:
                sequence = self._inbox.get(block=idle)
                if sequence is None:
                    return False
                self.waiting.append(sequence)
                idle = False
        except Empty:
            return True

    def _work(self) -> None:
        for sequence in [s for s in self.running if s.future.cancelled()]:
            self._leave(sequence)
        while self.waiting and len(self.running) < self.batch:
            self._join(self.waiting.popleft())
        if not self.running:
            return
        try:
            self._step()
        except Exception as error:  # noqa: BLE001  the sample boundary: those in this step fail, later ones may succeed
            for sequence in self.running:
                _fail(sequence, error)
            self.running.clear()
            self.cache.clear()

    def _join(self, sequence: Sequence) -> None:
        if not sequence.future.cancelled():
            sequence.place, sequence.started = self.cache.take(), time.monotonic()
            self.running.append(sequence)

    def _leave(self, sequence: Sequence) -> None:
        assert sequence.place is not None
        self.running.remove(sequence)
        self.cache.give(sequence.place)
        sequence.place = None

    def _batch(self) -> list[tuple[Sequence, Place, int]]:
        """Who computes how many tokens in this step: first those that are drawing, then prompts in order of arrival."""
        placed = [(s, s.place) for s in self.running if s.place]
        batch = sorted(((s, place, 1) for s, place in placed if s.tokens), key=lambda item: item[1].slot)
        left = self.chunk
        for sequence, place in placed:
            if not sequence.tokens and left:
                batch.append((sequence, place, min(left, sequence.owed)))
                left -= batch[-1][2]
        return batch

    def _step(self) -> None:
        batch = self._batch()
        ids = [token for sequence, _, count in batch for token in sequence.piece(count)]
        step = self.cache.plan([(place, count) for _, place, count in batch])
        device = step.positions.device
        hidden = self.model(torch.tensor(ids, device=device), step)
        ready = [i for i, (sequence, _, _) in enumerate(batch) if sequence.owed == 0]
        drawn: list[int] = []
        if ready:
            scores = self.model.logits(hidden[[step.last[i] for i in ready]])
            drawing = [batch[i][0] for i in ready]
            drawn = choose(scores, [s.draw for s in drawing], [len(s.tokens) for s in drawing])
        self._tell(batch, ready)
        for i, token in zip(ready, drawn, strict=True):
            self._accept(batch[i][0], token)

    def _tell(self, batch: list[tuple[Sequence, Place, int]], ready: list[int]) -> None:
        """One call per listener and step."""
        heard: dict[int, tuple[Progress, list[int]]] = {}
        for i, (sequence, _, count) in enumerate(batch):
            _, counts = heard.setdefault(id(sequence.progress), (sequence.progress, [0, 0]))
            counts[0] += 0 if sequence.tokens else count
            counts[1] += i in ready
        for progress, (prompt, output) in heard.values():
            progress.tokens(prompt=prompt, output=output)

    def _accept(self, sequence: Sequence, token: int) -> None:
        try:
            finish = _finish(sequence, token)
        except Exception as error:  # noqa: BLE001  the sample boundary: only this sequence fails
            self._leave(sequence)
            _fail(sequence, error)
            return
        if finish:
            self._leave(sequence)
            sequence.finish, sequence.ended = finish, time.monotonic()
            if sequence.future.set_running_or_notify_cancel():
                sequence.future.set_result(None)


def _finish(sequence: Sequence, token: int) -> Literal["stop", "length"] | None:
    """Append a token and say whether, and why, the sequence ends with it."""
    if token < 0:
        raise FloatingPointError("the model's logits are not finite: its weights or its dtype are broken")
    sequence.first = sequence.first or time.monotonic()
    sequence.tokens.append(token)
    if token in sequence.ends or (sequence.watch and sequence.watch(token)):
        return "stop"
    return "length" if len(sequence.tokens) >= sequence.limit else None


def _fail(sequence: Sequence, error: Exception) -> None:
    if sequence.future.set_running_or_notify_cancel():
        sequence.future.set_exception(error)
