"""Sequences, and what one step computes for a batch of them: plain numbers, no tensors, no text."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from m1eval import NullProgress, Progress

from .sampling_params import SamplingParams

Array = np.ndarray[Any, Any]


class TokenLogprob(NamedTuple):
    """The logprob of one given token in nats, and whether it is the most likely one."""

    logprob: float
    is_greedy: bool


@dataclass(eq=False, slots=True, kw_only=True)
class Sequence:
    """A prompt and its output; `future` is done when `finish_reason` is set, and cancelling it drops the sequence.

    `max_tokens` limits the output; with 0 the last `num_scored` tokens of the prompt are scored and nothing is sampled.
    A token in `stop_token_ids` ends the sequence and belongs to the output. `stop_check` is called with each sampled
    token in the engine's thread, and ends the sequence by returning True; `forced_tokens` likewise returns tokens that
    must come next (they count as output). `block_hashes` are those of the prompt's full blocks
    (block_pool.hash_blocks). Times are those of time.monotonic().
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
    """The logprob of each output token, if requested; 0 for forced ones."""
    prompt_logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: Literal["stop", "length"] | None = None
    num_cached_tokens: int = 0
    """Prompt tokens reused from the prefix cache."""
    submitted_at: float = field(default_factory=time.monotonic)
    started_at: float = 0.0
    first_token_at: float = 0.0
    finished_at: float = 0.0

    slot: int = -1
    blocks: list[int] = field(default_factory=list)
    num_computed_tokens: int = 0
    """Tokens in the KV cache once the steps in flight are done."""
    num_in_flight: int = 0
    """Tokens that those steps sample."""
    is_decoding: bool = False
    """Whether its next token can be sampled by a decode step; else there are tokens to prefill first."""
    epoch: int = 0
    """Incremented when the output of steps in flight is to be discarded."""
    forced_counts: dict[int, int] = field(default_factory=dict)
    """Number of forced tokens, by the index of the output token that they follow."""
    num_replayed: int = 0
    """Output tokens at the end to be sampled again, as an invariant engine does after a preemption."""
    store_only: bool = False
    """Whether a decode step must store the last token, and what it samples is discarded."""
    error: Exception | None = None
    num_initial_tokens: int = field(init=False)
    """Output tokens that were there before anything was sampled."""
    prompt_array: Array = field(init=False)
    """The prompt as int64, converted here and not in the engine's thread, which a long prompt would block."""

    def __post_init__(self) -> None:
        self.num_initial_tokens = len(self.output_token_ids)
        self.prompt_array = np.array(self.prompt_token_ids, dtype=np.int64)

    @property
    def num_output_tokens(self) -> int:
        """Output tokens so far, without those to be sampled again."""
        return len(self.output_token_ids) - self.num_replayed

    @property
    def num_scheduled(self) -> int:
        """Output tokens, those in flight included."""
        return self.num_output_tokens + self.num_in_flight

    @property
    def num_tokens(self) -> int:
        """Tokens of prompt and output, those in flight included."""
        return len(self.prompt_token_ids) + self.num_scheduled

    @property
    def num_uncomputed(self) -> int:
        """Tokens to compute before the next one can be sampled."""
        return self.num_tokens - self.num_computed_tokens

    def token_ids(self, start: int, end: int) -> Array:
        """The tokens at positions `start` to `end`, int64."""
        split = len(self.prompt_token_ids)
        if end <= split:
            return self.prompt_array[start:end]
        output = np.array(self.output_token_ids[max(start - split, 0) : end - split], dtype=np.int64)
        return np.concatenate((self.prompt_array[start:], output))


class SlotAssignment(NamedTuple):
    """A slot for a sequence: its sampling parameters, and the saved state it starts from (None: an empty one)."""

    slot: int
    sampling_params: SamplingParams
    snapshot: int | None


class PrefillChunk(NamedTuple):
    """Tokens [int64] of one slot to prefill from position `start`; `output_index` is that of the token sampled after.

    `output_index` -1: nothing is sampled. `targets` are tokens to score, the first of them by the logits of the chunk's
    token number `first_scored`.
    """

    slot: int
    start: int
    token_ids: Array
    output_index: int
    first_scored: int
    targets: list[int]

    @property
    def end(self) -> int:
        """The position after the last token."""
        return self.start + len(self.token_ids)


@dataclass(slots=True)
class ScheduledBatch:
    """One step: either `chunks` are prefilled, or each of the `decode_slots` samples its next token.

    Before that, slots are assigned and block tables updated (slot, first entry, blocks); afterwards, states are saved
    (slot, snapshot). `max_seq_len`: tokens of the longest sequence after the step.
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
    """A token for each sampling chunk or decode slot, their logprobs, and the scored targets of each chunk."""

    token_ids: list[int]
    logprobs: list[float]
    prompt_logprobs: list[list[TokenLogprob]]
