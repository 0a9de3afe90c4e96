"""What servers reply, read with distrust: completions, model lists, errors. No state, no network.

Fields: platform.openai.com/docs/api-reference/chat; for thinking, `reasoning` (vLLM, OpenRouter), `reasoning_content`
(DeepSeek, SGLang, llama.cpp) and parts of type `thinking` (Mistral).
"""

import json
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from m1eval import Output, Usage, split_thinking
from m1eval.nouns import FinishReason

from . import errors
from .line import RequestFailed, TryAgain

_FINISH: dict[str | None, FinishReason] = {
    None: "stop",
    "stop": "stop",
    "eos": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}
_decode = msgspec.json.Decoder().decode
_WINDOW = (
    *("max_model_len", "loaded_context_length", "context_length", "context_window", "max_context_length", "n_ctx"),
    *("context_size", "inputTokenLimit", "n_ctx_train"),
)
_WIDEST = 10**9
_WAIT = re.compile(
    r"(?:(?:try|retry)[\w ]{0,20} (?:in|after)|(?:wait|reset)\w*(?: for| in| after)?|retrydelay\W{1,4})\s+"
    r"((?:\d{1,9}(?:\.\d{1,9})?\s*(?:ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)"
    r"(?![a-z]),?\s*(?:and )?){1,5})",
    re.IGNORECASE,
)
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)", re.IGNORECASE)
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


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


def outputs(data: Any, opened: bool | None, most: int = 1) -> list[Output | RequestFailed]:
    """The choices of a completion, at most `most`; TryAgain if there is none, RequestFailed for one given up on.

    `opened`: does the chat template leave a think block open; None: not known. Tokens are divided among the choices by
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
            found.append(_output(choice, opened, usage, share, first=i == 0, alone=len(choices) == 1))
        except RequestFailed as error:
            if len(choices) == 1:
                raise
            found.append(error)
    return found


def _output(
    choice: dict[str, Any], opened: bool | None, usage: dict[str, Any], tokens: int, *, first: bool, alone: bool
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
    split = split_thinking(content, opened=opened, truncated=cut, reasoning=thoughts or None)
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
    """The entries of a model list by name; empty if the server has no such list.

    In `data` (OpenAI), `models` (Ollama, Gemini), or a bare list (Together); entries are objects or names.
    """
    if isinstance(data, dict):
        data = next((data[key] for key in ("data", "models") if isinstance(data.get(key), list | dict)), [])
    if isinstance(data, dict):
        data = [{"id": name} | _object(entry) for name, entry in data.items()]
    found: dict[str, dict[str, Any]] = {}
    for entry in data if isinstance(data, list) else []:
        about = {"id": entry} if isinstance(entry, str) else _object(entry)
        name = next((name for key in ("id", "name", "model") if isinstance(name := about.get(key), str) and name), None)
        if name:
            found[name] = about
    return found


def listed(name: str, entries: Mapping[str, dict[str, Any]]) -> dict[str, Any] | None:
    """The entry of a model: of its name, of the last part of a path, or of a wildcard; None if there is none.

    A suffix such as `:nitro` or `:free` chooses how a model is served and is in no list.
    """
    for form in dict.fromkeys((name, name.rpartition(":")[0] or name)):
        if form in entries:
            return entries[form]
        for key, entry in entries.items():
            if f"/{key}".casefold().endswith(f"/{form}".casefold()):
                return entry
    return next(({} for key in entries if "*" in key and fnmatchcase(name, key.replace("[", "[[]"))), None)


def window(entry: Mapping[str, Any]) -> int | None:
    """The model's window in tokens, where its entry in the list tells."""
    known = {**entry, **_object(entry.get("meta"))}
    return next((tokens for name in _WINDOW if 0 < (tokens := _count(known.get(name))) < _WIDEST), None)


def words(body: str) -> str:
    """What a server says in an error: message, type and code of its JSON, or the text of its page."""
    return str(errors.read(body))


def asked_wait(headers: Mapping[str, str], said: str = "") -> float:
    """Seconds that a server asks to wait, by its headers or in what it has `said`; 0 if it does not ask.

    Retry-After in seconds or as a date, retry-after-ms, "try again in 1m30s", and the reset of a rate limit of which
    nothing remains.
    """
    milliseconds = headers.get("retry-after-ms", "").strip()
    if re.fullmatch(r"\d{1,15}(\.\d+)?", milliseconds):
        return float(milliseconds) / 1000
    if asked := headers.get("retry-after", "").strip():
        return _seconds(asked)
    if found := _WAIT.search(said):
        return _span(found[1])
    return max(
        (_reset(headers, name, value) for name, value in headers.items() if "reset" in name.lower()), default=0.0
    )


def _seconds(asked: str) -> float:
    """A wait in seconds, as a span such as 6m0s, or until a date in any of HTTP's three forms."""
    if re.fullmatch(r"\d{1,15}(\.\d{1,15})?", asked):
        return float(asked)
    if re.fullmatch(r"(?:\d{1,9}(?:\.\d{1,9})?\s*[a-z]+\s*)+", asked):
        return _span(asked)
    try:
        when = datetime.fromisoformat(asked) if re.match(r"\d{4}-\d\d", asked) else parsedate_to_datetime(asked)
        when = when.replace(tzinfo=when.tzinfo or UTC)
        return max(0.0, (when - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0


def _span(text: str) -> float:
    """The seconds of 20s, 1.2s, 350ms, 6m12s, 2 minutes."""
    seconds = 0.0
    for number, unit in _SPAN.findall(text.lower()):
        seconds += float(number) * (0.001 if unit == "ms" or unit.startswith("milli") else _UNITS.get(unit[0], 0.0))
    return seconds


def _reset(headers: Mapping[str, str], name: str, value: str) -> float:
    """The seconds until a rate limit is reset, if nothing remains of it: as a span, a date, seconds, or an epoch."""
    remaining = headers.get(name.lower().replace("reset", "remaining"), "").strip()
    if not re.fullmatch(r"0(\.0+)?", remaining):
        return 0.0
    seconds = _seconds(value.strip())
    for epoch in (seconds, seconds / 1000):
        if 1e9 < epoch < 1e10:
            return max(0.0, epoch - time.time())
    return seconds


def _choices(data: Any) -> list[dict[str, Any]]:
    if error := errors.reported(data):  # with status 200, as gateways do
        raise errors.Reported(error)
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
