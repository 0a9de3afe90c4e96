"""One prompt and what is drawn after it, and what a step does for many of them: plain numbers, no tensors, no text."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from m1eval import NullProgress, Progress

from .sampling import Draw

Array = np.ndarray[Any, Any]


class Likelihood(NamedTuple):
    """How a model sees one given token: its logprob in nats, and whether it is the likeliest."""

    logprob: float
    best: bool


@dataclass(eq=False, slots=True, kw_only=True)
class Sequence:
    """A prompt and what is drawn after it; `future` is done when `finish` is set, and cancelling it drops the sequence.

    `limit` counts new tokens; with 0 the last `score` tokens of the prompt are scored and nothing is drawn. A token in
    `ends` ends the sequence and belongs to `tokens`. `watch` is told each drawn token in the engine's thread, and ends
    the sequence by True; `follow` likewise, and returns tokens that must come next (they count as drawn ones). `keys`
    are those of the prompt's full blocks (cache.keys). Times are those of time.monotonic().
    """

    prompt: list[int]
    limit: int
    draw: Draw
    ends: frozenset[int] = frozenset()
    watch: Callable[[int], bool] | None = None
    follow: Callable[[int], list[int]] | None = None
    logprobs: bool = False
    score: int = 0
    keys: list[bytes] = field(default_factory=list)
    progress: Progress = field(default_factory=NullProgress)
    future: "Future[None]" = field(default_factory=Future)

    tokens: list[int] = field(default_factory=list)
    drawn: list[float] = field(default_factory=list)
    """The logprob of each token, if asked for; 0 for those that had to come next."""
    scored: list[Likelihood] = field(default_factory=list)
    finish: Literal["stop", "length"] | None = None
    cached: int = 0
    """Tokens of the prompt that were taken over from earlier sequences."""
    submitted: float = field(default_factory=time.monotonic)
    started: float = 0.0
    first: float = 0.0
    ended: float = 0.0

    row: int = -1
    blocks: list[int] = field(default_factory=list)
    known: int = 0
    """Tokens that the cache holds once the steps under way are done."""
    ahead: int = 0
    """Tokens that those steps draw."""
    drawing: bool = False
    """Whether the next step draws its next token; else there are given tokens to compute first."""
    turn: int = 0
    """Goes up when what is under way no longer counts."""
    forced: dict[int, int] = field(default_factory=dict)
    """How many tokens had to follow, by the number of the token that they followed."""
    replaying: int = 0
    """Tokens at the end of `tokens` that are to be sampled again, which an invariant engine does after a preemption."""
    storing: bool = False
    """Whether a step of drawing must store the last token, and what it draws is not wanted."""
    error: Exception | None = None
    given: int = field(init=False)
    """Tokens that stood there before anything was sampled."""
    flat: Array = field(init=False)
    """The prompt again, int64: converted here and not in the engine's thread, which a long one would hold up."""

    def __post_init__(self) -> None:
        self.given = len(self.tokens)
        self.flat = np.array(self.prompt, dtype=np.int64)

    @property
    def settled(self) -> int:
        """New tokens there are, without those that are to be sampled again."""
        return len(self.tokens) - self.replaying

    @property
    def length(self) -> int:
        """Tokens there are, those under way included."""
        return len(self.prompt) + len(self.tokens) - self.replaying + self.ahead

    @property
    def owed(self) -> int:
        """Tokens to compute before the next one can be drawn."""
        return self.length - self.known

    def ids(self, begin: int, end: int) -> Array:
        """The tokens in these places, int64."""
        split = len(self.prompt)
        if end <= split:
            return self.flat[begin:end]
        drawn = np.array(self.tokens[max(begin - split, 0) : end - split], dtype=np.int64)
        return np.concatenate((self.flat[begin:], drawn))


class Seat(NamedTuple):
    """A sequence takes a row: how it draws, and the saved state it begins with (None: an empty one)."""

    row: int
    draw: Draw
    snapshot: int | None


class Piece(NamedTuple):
    """Given tokens [int64] of one row to compute, the first at place `begin`; `nth` counts the token drawn after them.

    `nth` -1: nothing is drawn. `targets` are tokens to score, the first of them by what the model says at the piece's
    token number `scored`.
    """

    row: int
    begin: int
    ids: Array
    nth: int
    scored: int
    targets: list[int]


@dataclass(slots=True)
class Plan:
    """One step: either the `pieces` are computed, or each of the `rows` draws its next token.

    First the rows are `seats`-ed and `tables` written (row, first entry, blocks); last, states are saved (row, where).
    `longest`: tokens of the longest row after the step.
    """

    pieces: list[Piece] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    seats: list[Seat] = field(default_factory=list)
    tables: list[tuple[int, int, list[int]]] = field(default_factory=list)
    saves: list[tuple[int, int]] = field(default_factory=list)
    longest: int = 0
    greedy: bool = True
    logprobs: bool = False


class Result(NamedTuple):
    """Of a plan: a token for each piece that draws or for each row, their logprobs, and each piece's scored targets."""

    tokens: list[int]
    logprobs: list[float]
    scored: list[list[Likelihood]]
