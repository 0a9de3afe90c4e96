"""Who computes what in the next step. It knows sequences and blocks, and no tensors, text or devices.

Prompts are read in order of arrival and in pieces, first of all, so that as many sequences as possible draw together;
when half of them do, every other step is theirs. A prompt that begins like one being read waits and takes over its
blocks. When blocks run out, the latest sequence starts again.

What a step computes can be shared from the next step on: its blocks and states are named only when its plan is whole.
The device runs plans in their order, so what a plan reads of an earlier one is there. When a step fails, nothing that
was computed is shared any more.
"""

import time
from collections import deque
from typing import Literal

from .cache import BLOCK, Blocks, Snapshots, keys
from .sequence import Piece, Plan, Result, Seat, Sequence

WORTH = 8
"""Blocks of a prompt from which on it is worth waiting for another that begins alike."""

Turn = tuple[Sequence, int]
"""A sequence in a plan, and which of its turns the plan belongs to."""


class Scheduler:
    """At most `batch` sequences at once, reading at most `chunk` tokens a step.

    `states`: some layers keep a state. `alone`: no two prompts are read in one step, and every token is computed in the
    same way whatever else happens: as part of the same piece, or by a step of drawing.
    """

    def __init__(
        self, blocks: Blocks, snapshots: Snapshots, *, batch: int, chunk: int, states: bool, alone: bool = False
    ) -> None:
        self.blocks, self.snapshots = blocks, snapshots
        self.batch, self.chunk, self.states, self.alone = batch, chunk, states, alone
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.read = 0
        """Tokens computed from prompts so far, those taken over not counted."""
        self.preempted = 0
        self._rows = list(reversed(range(batch)))
        self._draws_next = False
        self._named: list[tuple[int, bytes]] = []
        """Blocks that the plan in the making fills, and their keys."""
        self._saved: list[tuple[int, bytes]] = []
        """Rows whose states it computes, and the keys of what these stand for."""
        self._soon: set[bytes] = set()
        """Keys with which a sequence can begin once that plan is whole, and the places they can have in a prompt."""
        self._places: set[int] = set()

    @property
    def busy(self) -> bool:
        """Whether any sequence is unfinished."""
        return bool(self.waiting or self.running)

    def plan(self) -> tuple[Plan, list[Turn]] | None:
        """The next step and the sequences in it, in the order of its pieces or rows; None if there is nothing to do."""
        for sequence in [s for s in self.running if s.future.cancelled()]:
            self.leave(sequence)
        plan = Plan()
        first, second = (self._draw, self._read) if self._due() else (self._read, self._draw)
        turns = first(plan) or second(plan)
        if not turns:
            return None
        self._publish(plan)
        self._draws_next = bool(plan.pieces)
        plan.longest = max(sequence.known for sequence, _ in turns)
        plan.greedy = all(sequence.draw.greedy for sequence, _ in turns)
        plan.logprobs = any(sequence.logprobs for sequence, _ in turns)
        return plan, turns

    def _due(self) -> bool:
        """Whether those that draw go before further prompts: every other step, once they are as many as the others."""
        drawing = sum(sequence.drawing for sequence in self.running)
        unread = min(len(self.running) + len(self.waiting), self.batch) - drawing
        return self._draws_next and drawing >= unread

    def _publish(self, plan: Plan) -> None:
        """Let later plans share what this one computes."""
        for block, key in self._named:
            self.blocks.name(block, key)
        for row, key in self._saved:
            if (slot := self.snapshots.save(key)) is not None:
                plan.saves.append((row, slot))
        self._forget()

    def _forget(self) -> None:
        for planned in (self._named, self._saved, self._soon, self._places):
            planned.clear()

    def _read(self, plan: Plan) -> list[Turn]:
        turns: list[Turn] = []
        left = self.chunk
        for sequence in list(self.running):
            if not left:
                break
            if sequence.owed and not (sequence.drawing or sequence.storing) and self._reach(plan, sequence, left):
                left = self._left(left - self._piece(plan, sequence, left))
                turns.append((sequence, sequence.turn))
        return turns + self._admit(plan, left)

    def _left(self, tokens: int) -> int:
        return 0 if self.alone else tokens

    def _reach(self, plan: Plan, sequence: Sequence, most: int) -> bool:
        """Get blocks for a further piece: forced tokens may need more than there are. False: it was preempted."""
        end = self._end(sequence, most)
        first, needed = len(sequence.blocks), -(-end // BLOCK) - len(sequence.blocks)
        if needed > 0 and not self._make_room(sequence, needed):
            return False
        for _ in range(needed):
            self._grow(sequence)
        if needed > 0:
            plan.tables.append((sequence.row, first, sequence.blocks[first:]))
        return sequence.row >= 0

    def _make_room(self, sequence: Sequence, count: int) -> bool:
        """Preempt the latest sequences until so many blocks can be taken; False if this one had to go itself.

        Those in the plan already came before it, and so stay.
        """
        while sequence.row >= 0 and self.blocks.available < count:
            self.preempt(self.running[-1])
        return sequence.row >= 0

    def _admit(self, plan: Plan, left: int) -> list[Turn]:
        """Seat waiting sequences and read them, as long as there is room; those that will share soon wait."""
        turns: list[Turn] = []
        reading = [s for s in self.running if not s.drawing]
        for sequence in list(self.waiting):
            if not left or not self._rows:
                break
            if sequence.future.cancelled():
                self.waiting.remove(sequence)
            elif not self._shares_soon(sequence, reading):
                if not self._seat(plan, sequence):
                    break
                left = self._left(left - self._piece(plan, sequence, left))
                turns.append((sequence, sequence.turn))
                reading += [] if sequence.drawing else [sequence]
        return turns

    def _shares_soon(self, sequence: Sequence, reading: list[Sequence]) -> bool:
        """Whether a sequence can take over more if it waits: for a long prompt, or for what the next step computes."""
        usable = self._usable(sequence)
        coming = any(place < usable and sequence.keys[place] in self._soon for place in self._places)
        return coming or any(_alike(sequence, other) for other in reading)

    def _seat(self, plan: Plan, sequence: Sequence) -> bool:
        shared, snapshot = self._known(sequence)
        fresh = -(-sequence.length // BLOCK) - len(shared)
        kept = sum(block not in self.blocks.held for block in shared)
        if fresh + kept + len(self.running) > self.blocks.available and self.running:
            return False
        self.waiting.remove(sequence)
        self.running.append(sequence)
        self.blocks.share(shared)
        sequence.row, sequence.blocks, sequence.known = self._rows.pop(), shared, len(shared) * BLOCK
        if not sequence.started:
            sequence.started, sequence.cached = time.monotonic(), sequence.known
        apart = -(-(len(sequence.prompt) + max(sequence.limit, 1)) // BLOCK)
        for _ in range(fresh):
            self._grow(sequence, apart)
        plan.tables.append((sequence.row, 0, list(sequence.blocks)))
        plan.seats.append(Seat(sequence.row, sequence.draw, snapshot))
        return True

    def _known(self, sequence: Sequence) -> tuple[list[int], int | None]:
        """The blocks, and the saved state, with which the sequence may begin; one token at least is left to compute."""
        usable = sequence.keys[: self._usable(sequence)]
        found = self.blocks.known(usable)
        if not self.states:
            return found, None
        for count in range(len(found), 0, -1):
            if (snapshot := self.snapshots.find(usable[count - 1])) is not None:
                return found[:count], snapshot
        return [], None

    @staticmethod
    def _usable(sequence: Sequence) -> int:
        """How many blocks of its prompt a sequence may take over."""
        return min(max(sequence.length - 1 - sequence.score, 0) // BLOCK, len(sequence.keys))

    def _grow(self, sequence: Sequence, apart: int = 0) -> None:
        after = sequence.blocks[-1] if sequence.blocks else None
        sequence.blocks.append(self.blocks.take(after, apart=apart))

    def _piece(self, plan: Plan, sequence: Sequence, most: int) -> int:
        begin, end, total = sequence.known, self._end(sequence, most), len(sequence.prompt)
        sequence.known = end
        self.read += max(min(end, total) - begin, 0)
        sequence.drawing = end == sequence.length and sequence.limit > 0
        scored = max(begin, total - sequence.score - 1)
        targets = sequence.prompt[scored + 1 : end + 1] if sequence.score else []
        index = sequence.settled if sequence.drawing else -1
        plan.pieces.append(Piece(sequence.row, begin, sequence.ids(begin, end), index, scored - begin, targets))
        sequence.ahead += sequence.drawing
        self._note(sequence, begin, end)
        return end - begin

    def _note(self, sequence: Sequence, begin: int, end: int) -> None:
        """Note what a piece makes for others."""
        full = range(begin // BLOCK, min(end // BLOCK, len(sequence.keys)))
        self._named += [(sequence.blocks[i], sequence.keys[i]) for i in full]
        if not self.states:
            fresh = full[:1]
        elif end in self._cuts(sequence, begin) and self.snapshots.count:
            fresh = full[-1:]
            self._saved += [(sequence.row, sequence.keys[i]) for i in fresh]
        else:
            return
        self._soon.update(sequence.keys[i] for i in fresh)
        self._places.update(fresh)

    def _end(self, sequence: Sequence, most: int) -> int:
        """Where a piece of at most so many tokens ends."""
        begin, end = sequence.known, min(sequence.known + most, sequence.length)
        return min((cut for cut in self._cuts(sequence, begin) if begin < cut < end), default=end)

    def _cuts(self, sequence: Sequence, begin: int) -> tuple[int, ...]:
        """Where a piece must end so that its state can be saved for others: in every chunk, and at the last block."""
        last = (len(sequence.prompt) - 1) // BLOCK * BLOCK
        regular = (begin // self.chunk + 1) * self.chunk
        return tuple({last, min(regular, last)} - {0}) if self.states and sequence.keys else ()

    def _draw(self, plan: Plan) -> list[Turn]:
        drawing = [
            s for s in self.running if s.storing or (s.drawing and len(s.tokens) - s.replaying + s.ahead < s.limit)
        ]
        for sequence in drawing:
            if sequence.row < 0 or sequence.known < len(sequence.blocks) * BLOCK:
                continue
            if self._make_room(sequence, 1):
                self._grow(sequence)
                plan.tables.append((sequence.row, len(sequence.blocks) - 1, sequence.blocks[-1:]))
        drawing = [s for s in drawing if s.row >= 0]
        turns = [(s, -1 if s.storing else s.turn) for s in drawing]
        for sequence in drawing:
            sequence.known += 1
            sequence.ahead += not sequence.storing
            sequence.storing = False
        plan.rows = [s.row for s in drawing]
        return turns

    def preempt(self, sequence: Sequence) -> None:
        """Take back a sequence's place; it starts again, with the tokens it has, as soon as there is room."""
        self._release(sequence)
        sequence.scored = []  # all of it is scored again
        # Read as a prompt, its new tokens would round otherwise than sampled one by one.
        sequence.replaying = len(sequence.tokens) - sequence.given if self.alone else 0
        self.waiting.appendleft(sequence)
        self.preempted += 1

    def leave(self, sequence: Sequence) -> None:
        """Take a sequence out for good; what it computed stays for those that begin like it."""
        if not self.states and sequence.known > len(sequence.keys) * BLOCK:
            named = keys(sequence.ids(0, min(sequence.known, sequence.length - sequence.ahead)))
            for block, key in zip(sequence.blocks, named, strict=False):
                self.blocks.name(block, key)
        self._release(sequence)

    def reset(self) -> list[Sequence]:
        """Take out all that run after a step that failed; returns them.

        What it computed, and what later ones made of that, may be wrong, whoever holds it now: nothing is for others.
        """
        running = list(self.running)
        for sequence in running:
            self._release(sequence)
        self.blocks.forget()
        self.snapshots.place.clear()
        self._forget()
        return running

    def _release(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self.blocks.give(sequence.blocks)
        self._rows.append(sequence.row)
        sequence.row, sequence.blocks, sequence.known, sequence.ahead = -1, [], 0, 0
        sequence.drawing = sequence.storing = False
        sequence.turn += 1

    def accept(self, plan: Plan, turns: list[Turn], result: Result) -> list[Sequence]:
        """Give the sequences what a step found; returns those that are finished, whose places are free again."""
        tokens, logprobs = iter(result.tokens), iter(result.logprobs)
        finished: list[Sequence] = []
        for i, (sequence, turn) in enumerate(turns):
            piece = plan.pieces[i] if plan.pieces else None
            token = next(tokens) if piece is None or piece.nth >= 0 else None
            logprob = next(logprobs, 0.0) if token is not None else 0.0
            if turn != sequence.turn or sequence.future.cancelled():
                continue
            if piece:
                sequence.scored += result.scored[i] if piece.targets else []
            if token is not None:
                self._take(sequence, token, logprob)
            elif piece and not sequence.limit and piece.begin + len(piece.ids) == len(sequence.prompt):
                sequence.finish = "length"
            if sequence.finish or sequence.error:
                finished.append(sequence)
                self.leave(sequence)
        return finished

    def _take(self, sequence: Sequence, token: int, logprob: float) -> None:
        try:
            if sequence.replaying:
                self._replay(sequence, token)
            else:
                sequence.finish = self._extend(sequence, token, logprob)
        except Exception as error:  # noqa: BLE001  the sample boundary: only this sequence fails
            sequence.error = error

    def _extend(self, sequence: Sequence, token: int, logprob: float) -> Literal["stop", "length"] | None:
        """Append a token, and those that must follow it, and say whether, and why, the sequence ends."""
        if token < 0:
            raise FloatingPointError("the model's logits are not finite: its weights or its dtype are broken")
        sequence.first = sequence.first or time.monotonic()
        sequence.ahead -= 1
        sequence.tokens.append(token)
        sequence.drawn.append(logprob)
        if token in sequence.ends or (sequence.watch and sequence.watch(token)):
            return "stop"
        if sequence.follow and (forced := sequence.follow(token)[: sequence.limit - len(sequence.tokens)]):
            sequence.forced[len(sequence.tokens) - 1] = len(forced)
            sequence.tokens += forced
            sequence.drawn += [0.0] * len(forced)
            self._force(sequence)
        return "length" if len(sequence.tokens) >= sequence.limit else None

    def _force(self, sequence: Sequence) -> None:
        """Have the tokens that must follow computed; what is being drawn now would come too early.

        Its step has stored the token before, though. Where none is under way, a piece can do that as well, but it may
        round otherwise.
        """
        sequence.storing = self.alone and not sequence.ahead
        sequence.turn, sequence.ahead, sequence.drawing = sequence.turn + 1, 0, False

    def _replay(self, sequence: Sequence, token: int) -> None:
        """Take a token that was there before a preemption."""
        place = sequence.settled
        if token != sequence.tokens[place]:  # the device does not repeat itself: read what there is, then
            self.preempt(sequence)
            sequence.replaying = 0
            return
        sequence.ahead -= 1
        sequence.replaying -= 1
        if count := sequence.forced.get(place):
            sequence.replaying -= count
            self._force(sequence)


def _alike(one: Sequence, other: Sequence) -> bool:
    """Whether half of one's prompt is the same as in the other's, which is being read, and long enough to wait for."""
    half = len(one.keys) // 2
    return len(one.keys) >= WORTH and len(other.keys) > half and one.keys[half] == other.keys[half]
