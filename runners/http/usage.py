"""Token counts and costs from servers; invalid ones are unknown and count as 0.

Names: OpenAI (`prompt_tokens`, `completion_tokens`, `*_details`), the Responses API and Anthropic (`input_tokens`,
`output_tokens`, `cache_read_input_tokens`), DeepSeek (`prompt_cache_hit_tokens`), Moonshot (`cached_tokens`).
"""

import re
from collections.abc import Mapping
from typing import Any

from m1eval import Usage

MAX_TOKENS = 10**9
"""Larger counts are errors, and their sums would not fit into 64 bits."""
MAX_COST = 1e6

_OUTPUT = ("completion_tokens", "output_tokens")
_PROMPT = ("prompt_tokens", "input_tokens")
_DETAILS = ("completion_tokens_details", "output_tokens_details")
_REASONING = ("reasoning_tokens", "thinking_tokens")
_PROMPT_DETAILS = ("prompt_tokens_details", "input_tokens_details")
_COSTS = ("cost", "total_cost", "estimated_cost")
_SEPARATE = ("cache_creation_input_tokens", "cache_read_input_tokens")
"""Anthropic's counts that are not part of `input_tokens`."""
_CACHED = ("prompt_cache_hit_tokens", "cache_read_input_tokens", "cached_tokens")


def count(value: Any) -> int:
    """A number of tokens; 0 for anything else: negative, fractional, infinite, a boolean, too large."""
    if type(value) is int:  # nearly always
        return value if 0 < value <= MAX_TOKENS else 0
    if isinstance(value, str):
        if not re.fullmatch(r"\s*\d{1,18}(?:\.0{1,9})?\s*", value, re.ASCII):
            return 0
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_TOKENS:
        return 0
    return int(value) if value == int(value) else 0


def dollars(value: Any) -> float:
    """A cost in US dollars; 0 for anything else."""
    if isinstance(value, dict):  # with its parts
        value = value.get("total_cost")
    if isinstance(value, str) and re.fullmatch(r"\d{1,7}(?:\.\d{1,18})?", value, re.ASCII):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < MAX_COST:
        return 0.0
    return float(value)


def output_tokens(counts: Mapping[str, Any]) -> int:
    """All new tokens, including reasoning that is counted separately (xAI)."""
    output, reasoning = _first(counts, _OUTPUT), reasoning_tokens(counts)
    total, prompt = count(counts.get("total_tokens")), prompt_tokens(counts)
    if reasoning and total == prompt + output + reasoning:
        return output + reasoning
    return output or (total - prompt if total > prompt > 0 else 0)


def prompt_tokens(counts: Mapping[str, Any]) -> int:
    """All tokens of the prompt, cached ones included."""
    separate = 0 if count(counts.get("prompt_tokens")) else sum(count(counts.get(name)) for name in _SEPARATE)
    return _first(counts, _PROMPT) + separate


def reasoning_tokens(counts: Mapping[str, Any]) -> int:
    """The tokens of thinking, where the server counts them."""
    return _first_detail(counts, _DETAILS, _REASONING)


def parse(counts: Mapping[str, Any], total: int, reasoning_chars: int, answer_chars: int, *, is_single: bool) -> Usage:
    """The usage of a choice with `total` new tokens.

    Where the server does not count thinking, `total` is divided by characters. `is_single`: the counts are of this
    choice alone.
    """
    reasoning = reasoning_tokens(counts) if is_single else 0
    if not reasoning and reasoning_chars:
        reasoning = round(total * reasoning_chars / (reasoning_chars + answer_chars))
    reasoning = min(total, reasoning)
    prompt = prompt_tokens(counts)
    cached = min(prompt, _first_detail(counts, _PROMPT_DETAILS, _CACHED))
    cost = 0.0
    for name in _COSTS:
        if name in counts and (cost := dollars(counts[name])):
            break
    return Usage(prompt=prompt, cached=cached, reasoning=reasoning, answer=total - reasoning, cost=cost or None)


def merge(previous: Mapping[str, Any], counts: Mapping[str, Any]) -> dict[str, Any]:
    """The counts of a stream that sends several: those of the prompt early, the others late."""
    merged_counts = dict(previous)
    for name in (*_OUTPUT, *_PROMPT, *_CACHED, *_SEPARATE, "total_tokens", *_REASONING):
        if tokens := count(counts.get(name)):
            merged_counts[name] = tokens
    for name in (*_DETAILS, *_PROMPT_DETAILS):
        if details := _as_dict(counts.get(name)):
            counts = {key: details.get(key) for key in (*_CACHED, *_REASONING)}
            merged_counts[name] = _as_dict(merged_counts.get(name)) | {
                key: tokens for key in counts if (tokens := count(counts[key]))
            }
    for name in _COSTS:
        if cost := dollars(counts.get(name)):
            merged_counts[name] = cost
    return merged_counts


def _first(counts: Mapping[str, Any], names: tuple[str, ...]) -> int:
    for name in names:
        if (value := counts.get(name)) is not None and (tokens := count(value)):
            return tokens
    return 0


def _first_detail(counts: Mapping[str, Any], details: tuple[str, ...], names: tuple[str, ...]) -> int:
    """The first count of these names, in the details or else next to them."""
    for field in details:
        if isinstance(counts.get(field), dict) and (tokens := _first(counts[field], names)):
            return tokens
    return _first(counts, names)


def _as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
