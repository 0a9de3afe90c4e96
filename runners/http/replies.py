"""What servers reply, read with distrust: JSON, model lists, errors. No state, no network."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from .line import RequestFailed, TryAgain
from .usage import count

OVERLONG = re.compile(
    r"context_length_exceeded|exceed_context_size|ContextWindowExceeded|maximum context length|context length is only"
    r"|longer than the (?:model's context|maximum model) length|prompt is too long"
    r"|max_tokens=\d+ cannot be greater than"
    r"|exceeds the (?:available |model's |maximum )+(?:context|input|prompt|sequence|model)",
    re.IGNORECASE,
)
"""Refusals of a prompt for its length: OpenAI and llama-cpp-python, llama.cpp, LiteLLM, vLLM old and new, SGLang."""

_decode = msgspec.json.Decoder().decode
_WINDOW = ("max_model_len", "context_length", "context_window", "n_ctx", "n_ctx_train")


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
    except LookupError:
        return body.decode("utf-8-sig", errors="replace")


def models(data: Any) -> dict[str, dict[str, Any]]:
    """The entries of a model list by name; empty if the server has no such list."""
    entries = data.get("data") if isinstance(data, dict) else data
    entries = entries if isinstance(entries, list) else []
    return {entry["id"]: entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)}


def window(entry: Mapping[str, Any]) -> int | None:
    """The model's window in tokens, where its entry in the list tells."""
    known = {**entry, **_object(entry.get("meta"))}
    return next((tokens for name in _WINDOW if (tokens := count(known.get(name)))), None)


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


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
