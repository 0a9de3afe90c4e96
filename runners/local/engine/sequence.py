"""One prompt and what is drawn after it, and what a step does for many of them: plain numbers, no tensors, no text."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from m1eval import NullProgress, Progress

from .sampling import SamplingParams

Array = np.ndarray[Any, Any]


class TokenLogprob(NamedTuple):
    """How a model sees one given token: its logprob in nats, and whether it is the likeliest."""

    logprob: float
    is_greedy: bool


@dataclass(eq=False, slots=True, kw_only=True)
class Sequence:
    """A prompt and what is drawn after it; `future` is done when `finish` is set, and cancelling it drops the sequence.

    `limit` counts new tokens; with 0 the last `score` tokens of the prompt are scored and nothing is drawn. A token in
    `ends` ends the sequence and belongs to `tokens`. `watch` is told each drawn token in the engine's thread, and ends
    the sequence by True; `follow` likewise, and returns tokens that must come next (they count as drawn ones). `keys`
    are those of the prompt's full blocks (cache.keys). Times are those of time.monotonic().
    """

    prompt_token_ids: list[int]
    max_tokens: int
    sampling_params: SamplingParams
    stop_token_ids: frozenset[int] = frozenset()
    stop_check: Callable[[int], bool] | None = None
    forced_tokens: Callable[[int], list[int]] | None = None
    logprobs: bool = False
    num_scored: int = 0
    block_hashes: list[bytes] = field(default_factory=list)
    progress: Progress = field(default_factory=NullProgress)
    future: "Future[None]" = field(default_factory=Future)

    output_token_ids: list[int] = field(default_factory=list)
    output_logprobs: list[float] = field(default_factory=list)
    """The logprob of each token, if asked for; 0 for those that had to come next."""
    prompt_logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: Literal["stop", "length"] | None = None
    num_cached_tokens: int = 0
    """Tokens of the prompt that were taken over from earlier sequences."""
    submitted_at: float = field(default_factory=time.monotonic)
    started_at: float = 0.0
    first_token_at: float = 0.0
    finished_at: float = 0.0

    slot: int = -1
    blocks: list[int] = field(default_factory=list)
    num_computed_tokens: int = 0
    """Tokens that the cache holds once the steps under way are done."""
    num_in_flight: int = 0
    """Tokens that those steps draw."""
    is_decoding: bool = False
    """Whether the next step draws its next token; else there are given tokens to compute first."""
    epoch: int = 0
    """Goes up when what is under way no longer counts."""
    forced_counts: dict[int, int] = field(default_factory=dict)
    """How many tokens had to follow, by the number of the token that they followed."""
    num_replayed: int = 0
    """Tokens at the end of `tokens` that are to be sampled again, which an invariant engine does after a preemption."""
    store_only: bool = False
    """Whether a step of drawing must store the last token, and what it draws is not wanted."""
    error: Exception | None = None
    num_initial_tokens: int = field(init=False)
    """Tokens that stood there before anything was sampled."""
    prompt_array: Array = field(init=False)
    """The prompt again, int64: converted here and not in the engine's thread, which a long one would hold up."""

    def __post_init__(self) -> None:
        self.num_initial_tokens = len(self.output_token_ids)
        self.prompt_array = np.array(self.prompt_token_ids, dtype=np.int64)

    @property
    def num_output_tokens(self) -> int:
        """New tokens there are, without those that are to be sampled again."""
        return len(self.output_token_ids) - self.num_replayed

    @property
    def num_tokens(self) -> int:
        """Tokens there are, those under way included."""
        return len(self.prompt_token_ids) + len(self.output_token_ids) - self.num_replayed + self.num_in_flight

    @property
    def num_uncomputed(self) -> int:
        """Tokens to compute before the next one can be drawn."""
        return self.num_tokens - self.num_computed_tokens

    def token_ids(self, start: int, end: int) -> Array:
        """The tokens in these places, int64."""
        split = len(self.prompt_token_ids)
        if end <= split:
            return self.prompt_array[start:end]
        output = np.array(self.output_token_ids[max(start - split, 0) : end - split], dtype=np.int64)
        return np.concatenate((self.prompt_array[start:], output))


class SlotAssignment(NamedTuple):
    """A sequence takes a row: how it draws, and the saved state it begins with (None: an empty one)."""

    slot: int
    sampling_params: SamplingParams
    snapshot: int | None


class PrefillChunk(NamedTuple):
    """Given tokens [int64] of one row to compute, the first at place `begin`; `nth` counts the token drawn after them.

    `nth` -1: nothing is drawn. `targets` are tokens to score, the first of them by what the model says at the piece's
    token number `scored`.
    """

    slot: int
    start: int
    token_ids: Array
    output_index: int
    first_scored: int
    targets: list[int]


@dataclass(slots=True)
class ScheduledBatch:
    """One step: either the `pieces` are computed, or each of the `rows` draws its next token.

    First the rows are `seats`-ed and `tables` written (row, first entry, blocks); last, states are saved (row, where).
    `longest`: tokens of the longest row after the step.
    """

    chunks: list[PrefillChunk] = field(default_factory=list)
    decode_slots: list[int] = field(default_factory=list)
    assignments: list[SlotAssignment] = field(default_factory=list)
    block_table_updates: list[tuple[int, int, list[int]]] = field(default_factory=list)
    state_saves: list[tuple[int, int]] = field(default_factory=list)
    max_seq_len: int = 0
    all_greedy: bool = True
    need_logprobs: bool = False


class StepOutput(NamedTuple):
    """Of a plan: a token for each piece that draws or for each row, their logprobs, and each piece's scored targets."""

    token_ids: list[int]
    logprobs: list[float]
    prompt_logprobs: list[list[TokenLogprob]]
