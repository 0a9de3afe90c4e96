"""What servers reply, read with distrust: completions, model lists, errors. No state, no network.

Fields: platform.openai.com/docs/api-reference/chat; for thinking, `reasoning` (vLLM, OpenRouter), `reasoning_content`
(DeepSeek, SGLang, llama.cpp) and parts of type `thinking` (Mistral).
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from m1eval import Output, Split, Usage, split_thinking
from m1eval.nouns import FinishReason
from m1eval.thinking import Form

from .line import RequestFailed, TryAgain

OVERLONG = re.compile(
    r"context_length_exceeded|exceed_context_size|ContextWindowExceeded|maximum context length|context length is only"
    r"|longer than the (?:model's context|maximum model) length|prompt is too long"
    r"|max_tokens=\d+ cannot be greater than"
    r"|exceeds the (?:available |model's |maximum )+(?:context|input|prompt|sequence|model)",
    re.IGNORECASE,
)
"""Refusals of a prompt for its length: OpenAI and llama-cpp-python, llama.cpp, LiteLLM, vLLM old and new, SGLang."""

_FINISH: dict[str | None, FinishReason] = {
    None: "stop",
    "stop": "stop",
    "eos": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}
_decode = msgspec.json.Decoder().decode
_WINDOW = ("max_model_len", "context_length", "context_window", "n_ctx", "n_ctx_train")


def parsed(body: bytes, charset: str | None = None) -> Any:
    """The JSON of a good reply; TryAgain if it is none."""
    if charset is None or charset.lower() in {"utf-8", "utf8"}:
        try:
            return _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            charset = "utf-8-sig"  # something is odd about it
    text = decoded(body, charset)
    try:
        data = json.loads(text, strict=False)
        if "\\ud" in text.lower():  # halves of emoji, which no file can hold
            data = json.loads(json.dumps(data, ensure_ascii=False).encode(errors="replace"))
    except (ValueError, RecursionError):
        raise TryAgain(f"the reply is no JSON: {words(text)[:80]!r}") from None
    return data


def decoded(body: bytes, charset: str | None = None) -> str:
    """The text of a body, with bad bytes replaced."""
    try:
        return body.decode(charset or "utf-8-sig", errors="replace")
    except LookupError:
        return body.decode("utf-8-sig", errors="replace")


def outputs(
    data: Any, opened: bool | None, most: int = 1, tags: Sequence[Form] | None = None
) -> list[Output | RequestFailed]:
    """The choices of a completion, at most `most`; TryAgain if there is none, RequestFailed for one given up on.

    `opened`: does the chat template leave a think block open; None: not known. `tags`: the forms of thinking that may
    be meant; None: any known one, empty: the text is left as it is. Tokens are divided among the choices by
    their length, and the prompt counts as cached in all but the first, as it was read once.
    """
    choices = _choices(data)[:most]
    usage = _object(data.get("usage"))
    lengths = [len(json.dumps(choice, default=str)) for choice in choices] if len(choices) > 1 else [1]
    found: list[Output | RequestFailed] = []
    told = _count(usage.get("completion_tokens"))
    given = 0
    for i, choice in enumerate(choices):
        share = told * sum(lengths[: i + 1]) // sum(lengths) - given
        given += share
        try:
            found.append(_output(choice, opened, tags, usage, share, first=i == 0, alone=len(choices) == 1))
        except RequestFailed as error:
            if len(choices) == 1:
                raise
            found.append(error)
    return found


def _output(
    choice: dict[str, Any],
    opened: bool | None,
    tags: Sequence[Form] | None,
    usage: dict[str, Any],
    tokens: int,
    *,
    first: bool,
    alone: bool,
) -> Output:
    message = choice.get("message") if "message" in choice else {"content": choice.get("text")}
    finish = choice.get("finish_reason")
    if not isinstance(message, dict):
        raise TryAgain("the reply holds no message")
    if not isinstance(finish, str | None) or finish not in _FINISH:
        raise RequestFailed(f"the server ended the answer with finish_reason {finish!r}")
    content, thoughts = text_of(message.get("content"))
    thoughts = text_of(message.get("reasoning") or message.get("reasoning_content"))[0] or thoughts
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise TryAgain("the answer's tool_calls are no list of objects")
    cut = _FINISH[finish] == "length"
    if tags is not None and not tags:
        split = Split(content, thoughts, unfinished=False)
    else:
        split = split_thinking(content, opened=opened, truncated=cut, reasoning=thoughts or None, tags=tags)
    counts = _usage(usage, tokens, len(split.reasoning), len(split.text), alone=alone)
    if not first:
        counts.cached, counts.cost = counts.prompt, 0.0
    return Output(
        text=split.text,
        reasoning=split.reasoning,
        unfinished_thinking=split.unfinished,
        tool_calls=calls,
        finish_reason=_FINISH[finish],
        usage=counts,
    )


def models(data: Any) -> dict[str, dict[str, Any]]:
    """The entries of a model list by name; empty if the server has no such list."""
    entries = data.get("data") if isinstance(data, dict) else data
    entries = entries if isinstance(entries, list) else []
    return {entry["id"]: entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)}


def window(entry: Mapping[str, Any]) -> int | None:
    """The model's window in tokens, where its entry in the list tells."""
    known = {**entry, **_object(entry.get("meta"))}
    return next((tokens for name in _WINDOW if (tokens := _count(known.get(name)))), None)


def words(body: str) -> str:
    """What a server says in an error: message, type and code of its JSON, or the text of its page."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        page = re.sub(r"(?is)<(style|script)\b.*?</\1>", " ", body[:10_000])
        return " ".join(re.sub(r"<[^>]*>", " ", page).split())
    error = data.get("error", data) if isinstance(data, dict) else data
    if not isinstance(error, dict):
        return str(error)
    message = error.get("message") or error.get("detail") or error
    if isinstance(message, list):  # FastAPI's, which repeat the whole request beside each message
        message = "; ".join(str(part.get("msg") if isinstance(part, dict) else part) for part in message)
    return " ".join(str(part) for part in (message, error.get("type"), error.get("code")) if part)


def asked_wait(headers: Mapping[str, str]) -> float:
    """Seconds that a Retry-After header asks for, given as seconds or as a date; 0 without one."""
    asked = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", asked):
        return float(asked)
    try:
        return (parsedate_to_datetime(asked) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return 0.0


def _choices(data: Any) -> list[dict[str, Any]]:
    if isinstance(data, dict) and data.get("error"):  # with status 200, as gateways do
        raise TryAgain(f"the server reports {words(json.dumps(data))}")
    choices = data.get("choices") if isinstance(data, dict) else None
    if not isinstance(choices, list) or not choices or not all(isinstance(choice, dict) for choice in choices):
        raise TryAgain("the reply holds no choices")
    return choices


def text_of(content: Any) -> tuple[str, str]:
    """Text and thinking of a content: a string, nothing, or a list of parts."""
    if content is None or isinstance(content, str):
        return content or "", ""
    if not isinstance(content, list):
        raise TryAgain(f"the answer's content is a {type(content).__name__}")
    parts = [{"text": part} if isinstance(part, str) else part for part in content]
    if not all(isinstance(part, dict) for part in parts):
        raise TryAgain("the answer's content has a part that is no object")
    text = "".join(text_of(part.get("text"))[0] for part in parts)
    return text, "".join(text_of(part.get("thinking"))[0] for part in parts)


def _usage(counts: dict[str, Any], total: int, thoughts: int, answer: int, *, alone: bool) -> Usage:
    """The server's counts; where it does not tell thinking from answer, by their share of the characters."""
    told = _count(_object(counts.get("completion_tokens_details")).get("reasoning_tokens")) if alone else 0
    reasoning = min(total, told or round(total * thoughts / max(1, thoughts + answer)))
    cost = counts.get("cost")  # in US dollars, of OpenRouter and its like
    return Usage(
        prompt=_count(counts.get("prompt_tokens")),
        cached=_count(_object(counts.get("prompt_tokens_details")).get("cached_tokens")),
        reasoning=reasoning,
        answer=total - reasoning,
        cost=float(cost) if isinstance(cost, int | float) and 0 < cost < 1e6 else 0.0,
    )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0
