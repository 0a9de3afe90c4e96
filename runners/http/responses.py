"""Parses the responses of servers, which are not trusted: JSON, model lists, waits. No state, no network."""

import json
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from . import errors
from .exceptions import RequestFailed, RetryableError
from .usage import count

_decode = msgspec.json.Decoder().decode
_WINDOW_FIELDS = (
    *("max_model_len", "loaded_context_length", "context_length", "context_window", "max_context_length", "n_ctx"),
    *("context_size", "inputTokenLimit", "n_ctx_train"),
)
_MAX_WINDOW = 10**9
_WRAPPERS = ("result", "data", "response")
_WAIT_TEXT = re.compile(
    r"(?:(?:try|retry)[\w ]{0,20} (?:in|after)(?: about)?|(?:wait|reset)\w*(?: for| in| after)?"
    r"|retry_?(?:delay|after)\W{0,3})\s*[\s\"':=]"
    r"((?:\d{1,9}(?:\.\d{1,9})?\s*(?:ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)"
    r"(?![a-z]),?\s*(?:and )?){1,5})",
    re.IGNORECASE,
)
_WAIT_TEXT_CJK = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)\s*(?:秒(?:钟|鐘)?[后後]|초 ?(?:후|뒤))")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)", re.IGNORECASE)
_UNIT_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


LARGE_JSON_BYTES = 2**20
MAX_JSON_PARTS = 4_000_000
"""Objects, lists and their entries in one response: each takes some sixty bytes of memory and may come as two."""


def parse_json(body: bytes, charset: str | None = None, *, whole: bool = True) -> Any:
    """The JSON of a response; RetryableError if it is invalid, RequestFailed if it would fill the memory.

    `whole`: a lone surrogate is replaced, as its other half cannot follow.
    """
    check_json_size(body)
    if charset is None or charset.lower() in {"utf-8", "utf8"}:
        try:
            return _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            charset = "utf-8-sig"  # retry leniently
    text = decode_text(body, charset)
    try:
        data = json.loads(text, strict=False)
        if whole and "\\ud" in text.lower():  # lone surrogates, which no file can hold
            data = json.loads(json.dumps(data, ensure_ascii=False).encode(errors="replace"))
    except (ValueError, RecursionError):
        if charset != "utf-8-sig":  # the declared charset may be wrong
            return parse_json(body, whole=whole)
        raise RetryableError(f"the reply is not JSON: {error_text(text)[:80]!r}") from None
    return data


def check_json_size(body: bytes) -> None:
    """RequestFailed for JSON that takes far more memory than bytes, such as millions of empty lists."""
    if len(body) > LARGE_JSON_BYTES and sum(map(body.count, (b",", b"[", b"{"))) > MAX_JSON_PARTS:
        raise RequestFailed(f"the reply is JSON of more than {MAX_JSON_PARTS:,} parts")


def decode_text(body: bytes, charset: str | None = None) -> str:
    """The text of a body, with invalid bytes replaced."""
    try:
        return body.decode(charset or "utf-8-sig", errors="replace")
    except (LookupError, UnicodeError):  # some codecs, such as idna, replace nothing
        return body.decode("utf-8-sig", errors="replace")


def parse_models(data: Any) -> dict[str, dict[str, Any]]:
    """The entries of a model list by name; empty if the server has no such list.

    In `data` (OpenAI), `models` (Ollama, Gemini), or a bare list (Together); entries are objects or names.
    """
    if isinstance(data, dict):
        data = next((data[key] for key in ("data", "models") if isinstance(data.get(key), list | dict)), [])
    if isinstance(data, dict):
        data = [{"id": name} | _as_dict(entry) for name, entry in data.items()]
    entries: dict[str, dict[str, Any]] = {}
    for entry in data if isinstance(data, list) else []:
        fields = {"id": entry} if isinstance(entry, str) else _as_dict(entry)
        name = next(
            (name for key in ("id", "name", "model") if isinstance(name := fields.get(key), str) and name), None
        )
        if name:
            entries[name] = fields
    return entries


def find_model(name: str, entries: Mapping[str, dict[str, Any]]) -> dict[str, Any] | None:
    """The entry of a model, by its name, the last part of a path, or a wildcard; None if there is none.

    A suffix such as `:nitro` or `:free` selects how a model is served and is not listed.
    """
    for form in dict.fromkeys((name, name.rpartition(":")[0] or name)):
        if form in entries:
            return entries[form]
        for key, entry in entries.items():
            if f"/{key}".casefold().endswith(f"/{form}".casefold()):
                return entry
    return next(({} for key in entries if "*" in key and fnmatchcase(name, key.replace("[", "[[]"))), None)


def context_window(entry: Mapping[str, Any]) -> int | None:
    """The model's context window in tokens, if its list entry has it."""
    fields = {**entry, **_as_dict(entry.get("meta"))}
    return next((tokens for name in _WINDOW_FIELDS if 0 < (tokens := count(fields.get(name))) < _MAX_WINDOW), None)


def error_text(body: str) -> str:
    """The text of an error: message, type and code of its JSON, or the text of its page."""
    return str(errors.parse(body))


def retry_after(headers: Mapping[str, str], message: str = "") -> float:
    """Seconds that a server asks to wait, in its headers or its `message`; 0 if it does not ask.

    Retry-After in seconds, as a date or a point in time, retry-after-ms, "try again in 1m30s", and the reset of a rate
    limit of which nothing remains.
    """
    milliseconds = (headers.get("retry-after-ms") or headers.get("x-ms-retry-after-ms") or "").strip()
    if re.fullmatch(r"\d{1,15}(\.\d+)?", milliseconds):
        return float(milliseconds) / 1000
    if header := headers.get("retry-after", "").strip():
        return _seconds_until(_parse_wait(header))
    if match := _WAIT_TEXT.search(message):
        return _parse_duration(match[1])
    if match := _WAIT_TEXT_CJK.search(message):
        return float(match[1])
    return max(
        (_rate_limit_reset(headers, name, value) for name, value in headers.items() if "reset" in name.lower()),
        default=0.0,
    )


def _parse_wait(text: str) -> float:
    """Seconds from a number, a duration such as 6m0s, or a date in any of HTTP's three forms."""
    if re.fullmatch(r"\d{1,15}(\.\d{1,15})?", text):
        return float(text)
    if re.fullmatch(r"(?:\d{1,9}(?:\.\d{1,9})?\s*[a-z]+\s*)+", text):
        return _parse_duration(text)
    try:
        when = datetime.fromisoformat(text) if re.match(r"\d{4}-\d\d", text) else parsedate_to_datetime(text)
        when = when.replace(tzinfo=when.tzinfo or UTC)
        return max(0.0, (when - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0


def _parse_duration(text: str) -> float:
    """The seconds of 20s, 1.2s, 350ms, 6m12s, 2 minutes."""
    seconds = 0.0
    for number, unit in _DURATION.findall(text.lower()):
        seconds += float(number) * (
            0.001 if unit == "ms" or unit.startswith("milli") else _UNIT_SECONDS.get(unit[0], 0.0)
        )
    return seconds


def _rate_limit_reset(headers: Mapping[str, str], name: str, value: str) -> float:
    """Seconds until an exhausted rate limit is reset: from a duration, a date, seconds, or a Unix time."""
    remaining = headers.get(name.lower().replace("reset", "remaining"), "").strip()
    if not re.fullmatch(r"0(\.0+)?", remaining):
        return 0.0
    return _seconds_until(_parse_wait(value.strip()))


def _seconds_until(seconds: float) -> float:
    """Seconds to wait, also from a Unix time in seconds or milliseconds."""
    for epoch in (seconds, seconds / 1000):
        if 1e9 < epoch < 1e10:
            return max(0.0, epoch - time.time())
    return seconds


def unwrap(data: dict[str, Any]) -> dict[str, Any]:
    """A completion or chunk without the object that a gateway has wrapped around it."""
    if "choices" in data:
        return data
    inside = (data.get(name) for name in _WRAPPERS)
    return next((inner for inner in inside if isinstance(inner, dict) and "choices" in inner), data)


def _as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
