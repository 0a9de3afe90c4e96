"""Finish reasons in the words of many servers.

OpenAI: stop, length, tool_calls, function_call, content_filter. TGI: eos_token, stop_sequence, length. Anthropic:
end_turn, max_tokens, tool_use, refusal, model_context_window_exceeded. Gemini: STOP, MAX_TOKENS, SAFETY, RECITATION,
OTHER, … Cohere: COMPLETE, MAX_TOKENS, ERROR, ERROR_TOXIC, ERROR_LIMIT. Mistral: model_length. DeepSeek:
insufficient_system_resource. Zhipu: sensitive, network_error. vLLM and SGLang: abort, repetition.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from m1eval.types import FinishReason

from .exceptions import RequestFailed, RetryableError

Kind = Literal["stop", "length", "tool_calls", "filtered", "failed"]

_WORDS_OF_KIND: dict[Kind, str] = {
    "stop": "stop eos eos_token eos_found stop_sequence stop_str stop_string stop_token stop_word stop_words stopped"
    " end_turn end end_of_text complete completed finish finished done natural success",
    "length": "length max_tokens max_token max_output_tokens max_completion_tokens max_new_tokens max_length"
    " model_length token_limit length_limit context_length context_length_exceeded context_window_exceeded"
    " model_context_window_exceeded error_limit incomplete truncated repetition repetition_detected too_long"
    " limit stop_limit cutoff",
    "tool_calls": "tool_calls tool_call tool_use function_call function_calls tool",
    "filtered": "content_filter content_filtered filtered safety image_safety recitation blocklist prohibited_content"
    " spii language sensitive refusal error_toxic guardrail guardrail_intervened moderation blocked",
    "failed": "abort aborted cancel cancelled canceled user_cancel user_cancelled error failed failure interrupted"
    " insufficient_system_resource network_error server_error internal_error timeout timed_out time_limit"
    " deadline_exceeded load unload preempted shutdown overloaded disconnected unavailable",
}
_KIND_OF_WORD: dict[str, Kind] = {word: kind for kind, words in _WORDS_OF_KIND.items() for word in words.split()}
_PATTERNS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("filtered", re.compile(r"filter|safety|sensitive|moderat|prohibit|guardrail|toxic|recitation|policy")),
    (
        "failed",
        re.compile(r"error|abort|cancel|fail|interrupt|time_?out|overload|unavailable|resource|rate_limit|\boom\b"),
    ),
    (
        "length",
        re.compile(
            r"length|max_|_max|(?:token|context|ctx)s?_limit|truncat|context_(?:window|exceed|full|overflow)"
            r"|out_of_context|too_many_tokens|cut_off|cache_full"
        ),
    ),
)
_UNSET = {"", "null", "none", "nil", "undefined"}


class Finish(NamedTuple):
    """Finish reason of an answer; `raw`: the server's own word, where it differs from ours."""

    reason: FinishReason
    raw: str | None = None


def is_set(raw: Any) -> bool:
    """Whether a value means that an answer has ended."""
    return bool(raw) and not (isinstance(raw, str) and raw.strip().lower() in _UNSET)


def has_finish_reason(choice: Mapping[str, Any]) -> bool:
    """Whether a choice has a finish reason in any field."""
    return any(is_set(choice.get(key)) for key in ("finish_reason", "stop_reason", "native_finish_reason"))


def parse(choice: Mapping[str, Any], *, at_limit: bool = False) -> Finish:
    """The finish reason of a choice; RetryableError if the server broke it off, RequestFailed if it was filtered.

    `at_limit`: the token limit was reached, which decides where the server gives no reason. An unknown word means a
    complete answer. The model's own reason from an aggregator (OpenRouter's `native_finish_reason`) counts where it
    says that the answer is not complete and `finish_reason` says that it is.
    """
    raw = choice.get("finish_reason")
    if raw == "stop" and not choice.get("native_finish_reason"):  # nearly always
        return Finish("stop")
    raw = next((choice[key] for key in ("finish_reason", "stop_reason") if _is_finish_field(choice, key)), raw)
    if not is_set(raw):
        native = choice.get("native_finish_reason")
        if not (isinstance(native, str) and _exact_kind(native)):
            return Finish("length" if at_limit else "stop")
        raw = native
    word = raw if isinstance(raw, str) else raw.get("type") or raw.get("reason") if isinstance(raw, dict) else None
    if not isinstance(word, str):
        raise RetryableError(f"the server ended the answer with finish_reason {f'{raw!r}'[:80]}")
    kind = _kind_of(word)
    native = choice.get("native_finish_reason")
    if kind in {None, "stop"} and isinstance(native, str) and _exact_kind(native) not in {None, "stop", "tool_calls"}:
        word, kind = native, _exact_kind(native)
    message = f"the server ended the answer with finish_reason {word[:80]!r}"
    if kind == "filtered":
        raise RequestFailed(message)
    if kind == "failed":
        raise RetryableError(message)
    reason: FinishReason = kind or "stop"
    return Finish(reason, None if word == reason else word[:80])


def _is_finish_field(choice: Mapping[str, Any], key: str) -> bool:
    """Whether a field is a finish reason; `stop_reason` may also be the stop string (vLLM)."""
    raw = choice.get(key)
    return is_set(raw) and (key == "finish_reason" or (isinstance(raw, str) and _exact_kind(raw) is not None))


def _normalize(word: str) -> str:
    word = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", word.strip()[:200])
    word = re.sub(r"[^a-z0-9]+", "_", word.lower()).strip("_")
    return re.sub(r"^(?:finish_reason|stop_reason|finishreason|stopreason)_", "", word)


def _exact_kind(word: str) -> Kind | None:
    return _KIND_OF_WORD.get(_normalize(word))


def _kind_of(word: str) -> Kind | None:
    word = _normalize(word)
    return _KIND_OF_WORD.get(word) or next((kind for kind, pattern in _PATTERNS if pattern.search(word)), None)
