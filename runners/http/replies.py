"""What servers reply, read with distrust: JSON, model lists, errors. No state, no network."""

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
from .line import RequestFailed, TryAgain
from .usage import count

_decode = msgspec.json.Decoder().decode
_WINDOW = (
    *("max_model_len", "loaded_context_length", "context_length", "context_window", "max_context_length", "n_ctx"),
    *("context_size", "inputTokenLimit", "n_ctx_train"),
)
_WIDEST = 10**9
_AROUND = ("result", "data", "response")
_WAIT = re.compile(
    r"(?:(?:try|retry)[\w ]{0,20} (?:in|after)(?: about)?|(?:wait|reset)\w*(?: for| in| after)?"
    r"|retry_?(?:delay|after)\W{0,3})\s*[\s\"':=]"
    r"((?:\d{1,9}(?:\.\d{1,9})?\s*(?:ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)"
    r"(?![a-z]),?\s*(?:and )?){1,5})",
    re.IGNORECASE,
)
_SECONDS_FIRST = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)\s*(?:秒(?:钟|鐘)?[后後]|초 ?(?:후|뒤))")
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)", re.IGNORECASE)
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


LARGE = 2**20
MOST_PARTS = 4_000_000
"""Objects, lists and their entries in one reply: each takes some sixty bytes of memory and may come as two."""


def parsed(body: bytes, charset: str | None = None, *, whole: bool = True) -> Any:
    """The JSON of a good reply; TryAgain if it is none, RequestFailed if it would fill the memory.

    `whole`: half an emoji is replaced, as its other half cannot follow.
    """
    check_parts(body)
    if charset is None or charset.lower() in {"utf-8", "utf8"}:
        try:
            return _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            charset = "utf-8-sig"  # something is odd about it
    text = decoded(body, charset)
    try:
        data = json.loads(text, strict=False)
        if whole and "\\ud" in text.lower():  # halves of emoji, which no file can hold
            data = json.loads(json.dumps(data, ensure_ascii=False).encode(errors="replace"))
    except (ValueError, RecursionError):
        if charset != "utf-8-sig":  # the type may say something else than was sent
            return parsed(body, whole=whole)
        raise TryAgain(f"the reply is no JSON: {words(text)[:80]!r}") from None
    return data


def check_parts(body: bytes) -> None:
    """RequestFailed for JSON that takes far more memory than bytes, such as millions of empty lists."""
    if len(body) > LARGE and sum(map(body.count, (b",", b"[", b"{"))) > MOST_PARTS:
        raise RequestFailed(f"the reply is JSON of more than {MOST_PARTS:,} parts")


def decoded(body: bytes, charset: str | None = None) -> str:
    """The text of a body, with bad bytes replaced."""
    try:
        return body.decode(charset or "utf-8-sig", errors="replace")
    except (LookupError, UnicodeError):  # some codecs, such as idna, replace nothing
        return body.decode("utf-8-sig", errors="replace")


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
    return next((tokens for name in _WINDOW if 0 < (tokens := count(known.get(name))) < _WIDEST), None)


def words(body: str) -> str:
    """What a server says in an error: message, type and code of its JSON, or the text of its page."""
    return str(errors.read(body))


def asked_wait(headers: Mapping[str, str], said: str = "") -> float:
    """Seconds that a server asks to wait, by its headers or in what it has `said`; 0 if it does not ask.

    Retry-After in seconds, as a date or a point in time, retry-after-ms, "try again in 1m30s", and the reset of a rate
    limit of which nothing remains.
    """
    milliseconds = (headers.get("retry-after-ms") or headers.get("x-ms-retry-after-ms") or "").strip()
    if re.fullmatch(r"\d{1,15}(\.\d+)?", milliseconds):
        return float(milliseconds) / 1000
    if asked := headers.get("retry-after", "").strip():
        return _until(_seconds(asked))
    if found := _WAIT.search(said):
        return _span(found[1])
    if found := _SECONDS_FIRST.search(said):
        return float(found[1])
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
    return _until(_seconds(value.strip()))


def _until(seconds: float) -> float:
    """The seconds to wait, where they may be a point in time, in seconds or milliseconds since 1970."""
    for epoch in (seconds, seconds / 1000):
        if 1e9 < epoch < 1e10:
            return max(0.0, epoch - time.time())
    return seconds


def unwrapped(data: dict[str, Any]) -> dict[str, Any]:
    """A completion or a piece of one out of the object that a gateway has put around it."""
    if "choices" in data:
        return data
    inside = (data.get(name) for name in _AROUND)
    return next((inner for inner in inside if isinstance(inner, dict) and "choices" in inner), data)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
