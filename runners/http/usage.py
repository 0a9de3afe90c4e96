"""Token counts and costs as servers tell them; what cannot be a count is not known, and counts as nothing.

Names: OpenAI (`prompt_tokens`, `completion_tokens`, `*_details`), the Responses API and Anthropic (`input_tokens`,
`output_tokens`, `cache_read_input_tokens`), DeepSeek (`prompt_cache_hit_tokens`), Moonshot (`cached_tokens`).
"""

import re
from collections.abc import Mapping
from typing import Any

from m1eval import Usage

MOST_TOKENS = 10**9
"""No request has more tokens; a larger count is a fault, and would not fit into 64 bits once added up."""
MOST_COST = 1e6

_OUTPUT = ("completion_tokens", "output_tokens")
_PROMPT = ("prompt_tokens", "input_tokens")
_DETAILS = ("completion_tokens_details", "output_tokens_details")
_REASONING = ("reasoning_tokens", "thinking_tokens")
_PROMPT_DETAILS = ("prompt_tokens_details", "input_tokens_details")
_COSTS = ("cost", "total_cost", "estimated_cost")
_APART = ("cache_creation_input_tokens", "cache_read_input_tokens")
"""Anthropic's: beside `input_tokens`, and not among them."""
_CACHED = ("prompt_cache_hit_tokens", "cache_read_input_tokens", "cached_tokens")


def count(value: Any) -> int:
    """A number of tokens; 0 for what is none: negative, not whole, infinite, a truth value, beyond all bounds."""
    if type(value) is int:  # nearly always
        return value if 0 < value <= MOST_TOKENS else 0
    if isinstance(value, str):
        if not re.fullmatch(r"\s*\d{1,18}(?:\.0{1,9})?\s*", value, re.ASCII):
            return 0
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MOST_TOKENS:
        return 0
    return int(value) if value == int(value) else 0


def dollars(value: Any) -> float:
    """A cost in US dollars; 0 for what is none."""
    if isinstance(value, dict):  # with its parts
        value = value.get("total_cost")
    if isinstance(value, str) and re.fullmatch(r"\d{1,7}(?:\.\d{1,18})?", value, re.ASCII):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < MOST_COST:
        return 0.0
    return float(value)


def output_tokens(told: Mapping[str, Any]) -> int:
    """All new tokens. Where reasoning is counted beside them and not among them (xAI), both together."""
    written, apart = _first(told, _OUTPUT), reasoning_tokens(told)
    total, prompt = count(told.get("total_tokens")), prompt_tokens(told)
    if apart and total == prompt + written + apart:
        return written + apart
    return written or (total - prompt if total > prompt > 0 else 0)


def prompt_tokens(told: Mapping[str, Any]) -> int:
    """All tokens of the prompt, those that were cached among them."""
    apart = 0 if count(told.get("prompt_tokens")) else sum(count(told.get(name)) for name in _APART)
    return _first(told, _PROMPT) + apart


def reasoning_tokens(told: Mapping[str, Any]) -> int:
    """The tokens of thinking, where the server tells them from the others."""
    return _detailed(told, _DETAILS, _REASONING)


def read(told: Mapping[str, Any], total: int, thoughts: int, answer: int, *, alone: bool) -> Usage:
    """The server's counts for a choice with `total` new tokens.

    Where thinking is not told from answer, `total` is divided by their characters (`thoughts`, `answer`). `alone`:
    there is one choice, which the counts are of.
    """
    reasoning = reasoning_tokens(told) if alone else 0
    if not reasoning and thoughts:
        reasoning = round(total * thoughts / (thoughts + answer))
    reasoning = min(total, reasoning)
    prompt = prompt_tokens(told)
    cached = min(prompt, _detailed(told, _PROMPT_DETAILS, _CACHED))
    cost = 0.0
    for name in _COSTS:
        if name in told and (cost := dollars(told[name])):
            break
    return Usage(prompt=prompt, cached=cached, reasoning=reasoning, answer=total - reasoning, cost=cost or None)


def merged(before: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """The counts of a stream that tells them more than once: those of the prompt early, the others late."""
    known = dict(before)
    for name in (*_OUTPUT, *_PROMPT, *_CACHED, *_APART, "total_tokens", *_REASONING):
        if tokens := count(more.get(name)):
            known[name] = tokens
    for name in (*_DETAILS, *_PROMPT_DETAILS):
        if details := _object(more.get(name)):
            counts = {key: details.get(key) for key in (*_CACHED, *_REASONING)}
            known[name] = _object(known.get(name)) | {key: tokens for key in counts if (tokens := count(counts[key]))}
    for name in _COSTS:
        if cost := dollars(more.get(name)):
            known[name] = cost
    return known


def _first(counts: Mapping[str, Any], names: tuple[str, ...]) -> int:
    for name in names:
        if (value := counts.get(name)) is not None and (tokens := count(value)):
            return tokens
    return 0


def _detailed(told: Mapping[str, Any], details: tuple[str, ...], names: tuple[str, ...]) -> int:
    """The first count of these names in the details, or else beside them."""
    for each in details:
        if isinstance(told.get(each), dict) and (tokens := _first(told[each], names)):
            return tokens
    return _first(told, names)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
