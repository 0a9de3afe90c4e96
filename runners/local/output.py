"""Conversion of a finished sequence to an `Output`: text without special tokens, split reasoning, usage and timing."""

import time
from collections.abc import Sequence as Sequence_

from m1eval import Output, Timing, Usage
from m1eval.model.thinking import DEFAULT, Form, form_of, split_thinking

from .engine.sequence import Sequence
from .tokenizer.model_tokenizer import ModelTokenizer
from .tokenizer.streaming import StopStringMatcher, ThinkingBudget


def make_output(
    tokenizer: ModelTokenizer,
    sequence: Sequence,
    stop_matcher: StopStringMatcher | None,
    budget: ThinkingBudget | None,
    opened: Form | None,
    think_tags: Sequence_[Form],
    began: float,
) -> Output:
    """The output of a finished sequence; `opened` is the form of thinking that the prompt leaves open."""
    assert sequence.finish_reason is not None
    token_ids = sequence.output_token_ids
    ends_by_token = token_ids[-1] in sequence.stop_token_ids
    finish = "stop" if stop_matcher and stop_matcher.finish() else sequence.finish_reason
    stopped_text = stop_matcher.text if stop_matcher else None
    output_ids = token_ids[:-1] if ends_by_token else token_ids
    text = tokenizer.decode_output(output_ids) if stopped_text is None else stopped_text
    truncated, tags = finish == "length", opened or think_tags
    split = split_thinking(text, opened=opened is not None, truncated=truncated, tags=tags)
    form = opened or form_of(text, think_tags, opened=False)
    num_thinking = len(token_ids) if split.unfinished else _count_thinking(tokenizer, token_ids, split.reasoning, form)
    about = {"budget": budget.limit, "forced": budget.forced, "tokens": budget.count} if budget else None
    return Output(
        text=tokenizer.strip_special(split.text, text, output_ids),
        reasoning=tokenizer.strip_special(split.reasoning, text, output_ids),
        unfinished_thinking=split.unfinished,
        finish_reason=finish,
        logprobs=sequence.output_logprobs if sequence.logprobs else None,
        usage=Usage(
            prompt=len(sequence.prompt_token_ids),
            cached=sequence.num_cached_tokens,
            reasoning=num_thinking,
            answer=len(token_ids) - num_thinking,
        ),
        timing=Timing(
            tokenize=sequence.submitted_at - began,
            queue=sequence.started_at - sequence.submitted_at,
            first_token=sequence.first_token_at - sequence.started_at,
            total=time.monotonic() - began,
        ),
        metadata={"thinking": about} if about else {},
    )


def _count_thinking(tokenizer: ModelTokenizer, token_ids: list[int], reasoning: str, form: Form = DEFAULT) -> int:
    """Number of thinking tokens: up to the closing tag, or else as many as the reasoning text encodes to."""
    if not reasoning:
        return 0
    end = tokenizer.thinking_end_id(form)
    if end in token_ids:
        return len(token_ids) - token_ids[::-1].index(end)
    return min(len(tokenizer.encode(reasoning)), len(token_ids))
