"""Conversion of a `Request` to a sequence of token ids: prompt, stop strings, thinking budget and limits."""

import secrets
from collections.abc import Sequence as Sequence_
from dataclasses import dataclass
from typing import Any

from m1eval import Request, RunnerError
from m1eval.model.thinking import Form, opened_by
from m1eval.text import plural

from .engine.block_pool import hash_blocks
from .engine.sampling_params import SamplingParams
from .engine.sequence import Sequence
from .tokenizer.model_tokenizer import ModelTokenizer
from .tokenizer.streaming import StopStringMatcher, ThinkingBudget


@dataclass
class Prompt:
    """The token ids of a request's prompt."""

    token_ids: list[int]
    open_thinking: Form | None
    """The form of thinking that the prompt leaves open."""


@dataclass
class InputProcessor:
    """Builds sequences for one loaded model; ValueError for a request that the model cannot answer."""

    tokenizer: ModelTokenizer
    window: int
    vocab_size: int
    think_tags: Sequence_[Form]
    think_end: str | None
    prefix_cache: bool

    def prompt(self, request: Request) -> Prompt:
        """The prompt as token ids, not yet compared with the window."""
        text = self._text(request)
        if text is None:
            ids = request.token_ids or []
        else:
            ids = self.tokenizer.encode_raw(text) if request.messages is None else self.tokenizer.encode(text)
        if not ids or min(ids) < 0 or max(ids) >= self.vocab_size:
            raise ValueError(f"the prompt is empty, or has token ids outside of 0 to {self.vocab_size - 1}")
        end = self.tokenizer.decode(ids[-16:]) if text is None else text
        return Prompt(ids, opened_by(end, self.think_tags))

    def sequence(
        self, request: Request, prompt: Prompt
    ) -> tuple[Sequence, StopStringMatcher | None, ThinkingBudget | None]:
        """The sequence that answers a request, with the objects that watch its output.

        RunnerError if `think_end` does not fit the model.
        """
        sampling = request.sampling
        if sampling.max_tokens is not None and sampling.max_tokens < 1:
            raise ValueError(f"max_tokens is {sampling.max_tokens}: nothing can be generated")
        stop_matcher, budget = self._output_watchers(request, prompt.open_thinking)
        available = self.window - len(prompt.token_ids)
        limit = min(available, sampling.max_tokens or available)
        forced = budget.initial_tokens() if budget else []
        if len(forced) >= limit:
            raise ValueError(f"{limit} new tokens leave no room for an answer after {len(forced)} that end thinking")
        seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
        sequence = Sequence(
            prompt_token_ids=prompt.token_ids,
            max_tokens=limit,
            sampling_params=SamplingParams.from_sampling(sampling, seed),
            stop_token_ids=self.tokenizer.stop_token_ids,
            stop_check=stop_matcher,
            forced_tokens=budget,
            output_token_ids=forced,
            output_logprobs=[0.0] * len(forced),
            logprobs=request.logprobs,
            block_hashes=self._block_hashes(prompt.token_ids),
            progress=request.progress,
        )
        return sequence, stop_matcher, budget

    def scored_sequence(self, request: Request, continuation: str) -> Sequence:
        """A sequence that generates nothing and scores the tokens of a continuation; ValueError if it is too long.

        The continuation is tokenized together with the prompt; its tokens are those after the prompt's own.
        """
        prompt, text = self.prompt(request).token_ids, self._text(request)
        if text is None:
            ids = [*prompt, *self.tokenizer.encode(continuation)]
        else:
            encode = self.tokenizer.encode_raw if request.messages is None else self.tokenizer.encode
            ids = encode(text + continuation)
        count = len(ids) - len(prompt)
        if count < 1 or len(ids) > self.window:
            raise ValueError(
                f"a continuation of {plural(count, 'token')} after {len(prompt):,} cannot be scored in a window of "
                f"{self.window:,}"
            )
        return Sequence(
            prompt_token_ids=ids,
            max_tokens=0,
            sampling_params=SamplingParams.from_sampling(request.sampling, 0),
            num_scored=count,
            block_hashes=self._block_hashes(ids),
            progress=request.progress,
        )

    def _text(self, request: Request) -> str | None:
        if request.messages is not None:
            return self.tokenizer.render(request.messages, request.tools)
        return request.prompt

    def _output_watchers(
        self, request: Request, opened: Form | None
    ) -> tuple[StopStringMatcher | None, ThinkingBudget | None]:
        limit, stop = request.think_budget, request.sampling.stop
        if limit is not None and opened and self.think_end and not opened.ends(self.think_end):
            raise RunnerError(f"local: think_end must contain {opened.close}, which ends this model's thinking")
        thinking: dict[str, Any] = {"opened": opened, "tags": self.think_tags}
        stop_matcher = StopStringMatcher(self.tokenizer.decode_output, stop, **thinking) if stop else None
        budget = None if limit is None else ThinkingBudget(self.tokenizer, limit, self.think_end, **thinking)
        return stop_matcher, budget

    def _block_hashes(self, ids: list[int]) -> list[bytes]:
        return hash_blocks(ids) if self.prefix_cache else []
