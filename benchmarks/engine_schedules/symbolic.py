"""A model runner on symbols: each cache slot records the tokens it was computed from, so no error is small.

It executes a batch in the order of ModelRunner, and samples tokens that depend on everything a model would attend to.
A block or a snapshot with unexpected content changes every later token.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from .drive import drive, make
from .schedule import BLOCK, Ask, Schedule, check, same, sequence

WORD = 2**63
GOLDEN = 0x9E3779B97F4A7C15


def mix(*words: int) -> int:
    """Hash of these numbers in this order, in [0, 2^63)."""
    state = 0
    for word in words:
        state = (state ^ (word & 0xFFFFFFFFFFFFFFFF)) * GOLDEN % 2**64
        state ^= state >> 29
    return state % WORD


class Words:
    """The expected cache, state, token and logprob after each token."""

    def __init__(self, *, states: bool, vocab: int) -> None:
        self.states, self.vocab = states, vocab

    def store(self, before: int, token: int, place: int, how: int = 0) -> int:
        """The cache entry of a token, given the entry before it."""
        return mix(before, token, place, how)

    def carry(self, state: int, token: int) -> int:
        """The state after one more token."""
        return mix(state, token, 7) if self.states else 0

    def token(self, seen: int, state: int, draw: Any, index: int) -> int:
        """The token sampled after this context."""
        chance = () if draw.greedy else (draw.seed, index)
        return mix(seen, state, *chance) % self.vocab

    def logprob(self, seen: int, state: int, token: int) -> float:
        """The logprob of a token in this context."""
        return -(mix(seen, state, token, 3) % 10_000) / 1000

    def after(self, tokens: list[int]) -> list[tuple[int, int]]:
        """Context hash and state after no token, after the first, and so on."""
        seen, state, before = 0, 0, 0
        contexts = [(seen, state)]
        for place, token in enumerate(tokens):
            before = self.store(before, token, place)
            seen, state = (seen + before) % WORD, self.carry(state, token)
            contexts.append((seen, state))
        return contexts


class Symbolic:
    """A ModelRunner for a schedule; a step that the schedule fails leaves corrupt writes.

    For an `invariant` engine, a cache entry also depends on how it was computed: by a decode step, or in which prefill
    chunk. So another schedule gives another answer, as rounding can.
    """

    def __init__(self, words: Words, schedule: Schedule) -> None:
        rows, self.invariant = schedule.batch, schedule.invariant
        self.words, self.failing, self.steps = words, dict(schedule.failing), 0
        self.cache = np.zeros(schedule.blocks * BLOCK, dtype=np.uint64)
        self.host_block_tables = np.zeros((rows + 1, -(-schedule.window // BLOCK)), dtype=np.int64)
        self.states, self.saved = [0] * (rows + 1), [-1] * schedule.snapshots
        self.length, self.last, self.index = [0] * (rows + 1), [0] * (rows + 1), [0] * (rows + 1)
        self.draws: list[Any] = [None] * (rows + 1)

    def run(self, batch: Any) -> Callable[[], Any]:
        """Execute a batch immediately, as a GPU stream runs it before the next; the result may be fetched later."""
        number, self.steps = self.steps, self.steps + 1
        fails = self.failing.get(number)
        result = self._run(batch)
        if fails:
            self._spoil(batch)
        if fails == "run":
            raise RuntimeError(f"step {number} fails when it is started")

        def wait() -> Any:
            if fails:
                raise RuntimeError(f"step {number} fails when it is waited for")
            return result

        return wait

    def _run(self, batch: Any) -> Any:
        entries = [(row, at + i) for row, at, blocks in batch.block_table_updates for i in range(len(blocks))]
        assert len(set(entries)) == len(entries), "an entry of a table is written twice: a GPU may take either"
        for row, at, blocks in batch.block_table_updates:
            self.host_block_tables[row, at : at + len(blocks)] = blocks
        for row, draw, snapshot in batch.assignments:
            self.states[row] = 0 if snapshot is None else self.saved[snapshot]
            self.draws[row], self.last[row], self.length[row], self.index[row] = draw, 0, 0, 0
        assert not (batch.chunks and batch.decode_slots)
        return_ = self._pieces(batch) if batch.chunks else self._rows(batch)
        for row, cache_slot in batch.state_saves:
            self.saved[cache_slot] = self.states[row]
        return return_

    def _slots(self, row: int, begin: int, end: int) -> np.ndarray[Any, Any]:
        places = np.arange(begin, end)
        slots: np.ndarray[Any, Any] = self.host_block_tables[row, places // BLOCK] * BLOCK + places % BLOCK
        return slots

    def _seen(self, row: int, end: int) -> int:
        return int(self.cache[self._slots(row, 0, end)].sum(dtype=np.uint64)) % WORD

    def _write(self, row: int, begin: int, ids: list[int], how: int) -> None:
        before = int(self.cache[self._slots(row, begin - 1, begin)][0]) if begin else 0
        where = self._slots(row, begin, begin + len(ids))
        assert where.min() >= BLOCK, "written to the spare block"
        for cache_slot, (place, token) in zip(where.tolist(), enumerate(ids, begin), strict=True):
            before = self.words.store(before, token, place, how if self.invariant else 0)
            self.cache[cache_slot] = before

    def _pieces(self, batch: Any) -> Any:
        rows = [piece.slot for piece in batch.chunks]
        assert len(set(rows)) == len(rows), "two pieces of one row"
        writes = {
            int(s)
            for p in batch.chunks
            for s in self.host_block_tables[p.slot, p.start // BLOCK : -(-_end(p) // BLOCK)]
        }
        assert len(writes) == sum(-(-_end(p) // BLOCK) - p.start // BLOCK for p in batch.chunks), "written by two"
        for p in batch.chunks:
            assert not writes & set(self.host_block_tables[p.slot, : p.start // BLOCK].tolist()), (
                "read in the step that writes it"
            )
        for piece in batch.chunks:
            self._write(piece.slot, piece.start, piece.token_ids.tolist(), mix(piece.start, len(piece.token_ids)))
        tokens: list[int] = []
        logprobs: list[float] = []
        scored: list[list[Any]] = []
        for piece in batch.chunks:
            assert batch.max_seq_len >= _end(piece)
            scored.append(self._accumulate(piece))
            self.length[piece.slot], self.index[piece.slot] = _end(piece), max(piece.output_index, 0)
            if piece.output_index >= 0:
                tokens.append(self._draw(piece.slot, _end(piece), logprobs))
        return sequence.StepOutput(tokens, logprobs if batch.need_logprobs else [], scored)

    def _accumulate(self, piece: Any) -> list[Any]:
        scored, row = [], piece.slot
        for i, token in enumerate(piece.token_ids.tolist()):
            self.states[row] = self.words.carry(self.states[row], token)
            if 0 <= i - piece.first_scored < len(piece.targets):
                seen, target = self._seen(row, piece.start + i + 1), piece.targets[i - piece.first_scored]
                logprob = self.words.logprob(seen, self.states[row], target)
                scored.append(sequence.TokenLogprob(logprob, bool(int(-logprob * 1000) % 2)))
        assert len(scored) == len(piece.targets)
        return scored

    def _draw(self, row: int, end: int, logprobs: list[float]) -> int:
        seen = self._seen(row, end)
        token = self.words.token(seen, self.states[row], self.draws[row], self.index[row])
        logprobs.append(self.words.logprob(seen, self.states[row], token))
        self.last[row], self.index[row] = token, self.index[row] + 1
        return token

    def _rows(self, batch: Any) -> Any:
        assert len(set(batch.decode_slots)) == len(batch.decode_slots)
        tokens: list[int] = []
        logprobs: list[float] = []
        for row in batch.decode_slots:
            self._write(row, self.length[row], [self.last[row]], 0)
            self.states[row] = self.words.carry(self.states[row], self.last[row])
            self.length[row] += 1
            assert batch.max_seq_len >= self.length[row]
        for row in batch.decode_slots:
            tokens.append(self._draw(row, self.length[row], logprobs))
        return sequence.StepOutput(tokens, logprobs if batch.need_logprobs else [], [])

    def _spoil(self, batch: Any) -> None:
        """Corrupt everything that the step wrote."""
        for piece in batch.chunks:
            self.cache[self._slots(piece.slot, piece.start, _end(piece))] = 1
            self.states[piece.slot] = -1
        for row in batch.decode_slots:
            self.cache[self._slots(row, self.length[row] - 1, self.length[row])] = 1
            self.states[row] = -1
        for _, cache_slot in batch.state_saves:
            self.saved[cache_slot] = -1


def _end(piece: Any) -> int:
    return int(piece.start + len(piece.token_ids))


def verify(words: Words, ask: Ask, output: Any) -> None:
    """AssertionError unless an answer is the expected one."""

    after = words.after([*ask.prompt, *output.output_token_ids])

    def token(place: int, token: int, logprob: float) -> None:
        index = place - len(ask.prompt)
        assert token == words.token(*after[place], ask.sampling_params, index), f"token {index} after {len(ask.prompt)}"
        assert not ask.logprobs or logprob == words.logprob(*after[place], token), "its logprob"

    check(ask, output, token)
    total = len(ask.prompt)
    expected = [words.logprob(*after[place], ask.prompt[place]) for place in range(total - ask.num_scored, total)]
    assert [one.logprob for one in output.prompt_logprobs] == expected, "scored"


def run(schedule: Schedule, *, states: bool, vocab: int = 256) -> Any:
    """Run a schedule on an engine over this runner; AssertionError unless every answer is right.

    An answer of an invariant engine must be the one that the request gets alone. Returns the engine.
    """
    words = Words(states=states, vocab=vocab)
    engine = make(Symbolic(words, schedule), schedule, states=states)
    for ask, output in zip(schedule.asks, drive(engine, schedule), strict=True):
        if output.future.cancelled():
            continue
        if error := output.future.exception():
            if not (schedule.failing and isinstance(error, RuntimeError)):
                raise error
        elif schedule.invariant:
            alone = schedule.alone(ask)
            (expected,) = drive(make(Symbolic(words, alone), alone, states=states), alone)
            same(ask, output, expected)
        else:
            verify(words, ask, output)
    return engine
