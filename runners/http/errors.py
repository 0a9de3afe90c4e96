"""Parses the errors of servers from all their forms. No state, no network.

OpenAI's `{"error": {"message", "type", "code", "param"}}`, FastAPI's `{"detail": [{"loc", "msg", "type"}]}`, Gemini's
list, MiniMax's `base_resp`, Baidu's `error_msg`, errors inside errors (OpenRouter's `metadata.raw`, LiteLLM's text with
JSON in it, Azure's `innererror`), plain text and HTML pages. Field names match in any case, with or without
underscores: AWS has `Message`, Lambda `errorMessage`, Tencent `Response.Error.Message`.
"""

import json
import re
from bisect import bisect_right
from collections.abc import Mapping
from typing import Any, NamedTuple

MAX_MESSAGE = 10_000
"""Length to which messages are cut; some servers repeat the whole request in theirs."""
_MESSAGE_FIELDS = (
    *("message", "msg", "detail", "details", "errormsg", "errormessage", "errmsg", "statusmsg", "description"),
    *("errordescription", "faultstring", "title", "reason"),
)
_TYPE_FIELDS, _CODE_FIELDS = ("type", "errortype"), ("code", "errorcode", "errcode", "statuscode", "status")
_ERROR_FIELDS = ("error", "errors", "baseresp", "fault")
_INNER_FIELDS = (
    *("innererror", "cause", "upstream", "upstreamerror", "response", "body", "data", "details", "header", "result"),
)
"""Fields in which gateways put the error of the server behind them, next to their own message."""
_MAX_DEPTH = 16
_HTML = re.compile(r"<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_BEFORE_JSON, _AFTER_JSON = re.compile(r"""b?["']\[?$"""), re.compile(r"""\]?["']""")
"""Text that may surround JSON: quotes, also of Python's bytes, and the brackets of a list."""
_QUOTE_START, _QUOTE_END = re.compile(r"""(?<![\w'"`])['"`“]"""), re.compile(r"""['"`”](?!\w)""")
_MESSAGE_PREFIX = re.compile(
    r"""["']?(?:message|msg|detail|error|raw)["']?\s*[:=]\s*$|\bwith message\s*$|(?i:error|exception)\($"""
)
_decoder = json.JSONDecoder()


class ServerError(NamedTuple):
    """A server's error; `param`: the parameter it is about; `page`: it came as an HTML page."""

    message: str = ""
    type: str = ""
    code: str = ""
    param: str = ""
    page: bool = False

    def __str__(self) -> str:
        return " ".join(part for part in (self.message, self.type, self.code) if part)


def parse(body: str) -> ServerError:
    """The error in the body of a response."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return _parse_body_text(body)
    return _parse_value(data, 0)


def from_value(data: Any) -> ServerError:
    """The error in a value of any type."""
    return _parse_value(data, 0)


def http_status(error: ServerError) -> int:
    """The HTTP status in an error's code; 0 if it is not one."""
    return int(error.code) if re.fullmatch(r"[45]\d\d", error.code) else 0


def strip_quotations(text: str) -> str:
    """The text without quotations, except single words and quoted messages of other servers."""
    ends: dict[str, list[int]] = {}
    for close in _QUOTE_END.finditer(text):
        ends.setdefault(close[0], []).append(close.start())
    parts, copied_to = [], 0
    for opens in _QUOTE_START.finditer(text):
        start = opens.start()
        closing = ends.get({"“": "”"}.get(opens[0], opens[0]), [])
        if start < copied_to or (index := bisect_right(closing, start)) == len(closing):
            continue
        end = closing[index]
        if " " in text[start:end] and not _MESSAGE_PREFIX.search(text, max(0, start - 20), start):
            parts.append(text[copied_to:start])
            copied_to = end + 1
    return " ".join([*parts, text[copied_to:]])


def _parse_value(data: Any, depth: int) -> ServerError:
    """The error in a value of any type, and in what is nested in it."""
    if depth > _MAX_DEPTH or data is None:
        return ServerError()
    if isinstance(data, str):
        return _parse_text(data, depth)
    if isinstance(data, list):
        return _parse_list(data, depth)
    return (
        _parse_object(normalize_fields(data), depth) if isinstance(data, dict) else ServerError(str(data)[:MAX_MESSAGE])
    )


def normalize_fields(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields by lower-case names without underscores; of two with the same name then, the first."""
    normalized: dict[str, Any] = {}
    for name, value in data.items():
        normalized.setdefault(str(name).lower().replace("_", "").replace("-", ""), value)
    return normalized


def _parse_object(data: dict[str, Any], depth: int) -> ServerError:
    outer = ServerError(
        type=_first_text(data, _TYPE_FIELDS),
        code=_first_text(data, _CODE_FIELDS),
        param=_first_text(data, ("param", "parameter", "field")),
    )
    for name in _ERROR_FIELDS:
        if data.get(name) and not (name == "error" and data[name] is True):
            inner = _parse_value(data[name], depth + 1)
            return _merge(inner, outer, inner.message or _message(data, depth).message)
    message = _message(data, depth)
    metadata = normalize_fields(data["metadata"]) if isinstance(data.get("metadata"), dict) else {}  # OpenRouter
    originals = (metadata.get("raw"), data.get("originalmessage"))
    nested = filter(_looks_like_error, (metadata.get("previouserrors"), *map(data.get, _INNER_FIELDS)))
    for part in (*originals, *nested):
        inner = _parse_value(part, depth + 1) if part else ServerError()
        if inner.message not in message.message or inner.code:
            return _merge(inner, outer, ": ".join(filter(None, (message.message, inner.message))))
    return _merge(message, outer, message.message or ("" if outer.code or outer.type else _dump(data, depth)))


def _looks_like_error(value: Any) -> bool:
    """Whether a value has the fields of an error, and is not a request or anything else that a gateway repeats."""
    if isinstance(value, str):
        match = _find_json(value[:MAX_MESSAGE])
        value = match[2] if match else None
    if isinstance(value, list):
        value = value[0] if value else None
    names = (*_ERROR_FIELDS, *_MESSAGE_FIELDS, "data")
    return isinstance(value, dict) and any(name in names for name in normalize_fields(value))


def _dump(data: dict[str, Any], depth: int) -> str:
    """An object without any known field as text; lists of messages with the parameters that they are about."""
    if data and all(
        isinstance(texts, list) and all(isinstance(text, str) for text in texts) for texts in data.values()
    ):
        pairs = ((name, text) for name, texts in data.items() for text in texts[:20])
        return "; ".join(f"{name}: {_parse_value(text, depth + 1).message}" for name, text in pairs)[:MAX_MESSAGE]
    try:
        return json.dumps(data, ensure_ascii=False)[:MAX_MESSAGE]
    except RecursionError:
        return "nested too deeply"


def _merge(inner: ServerError, outer: ServerError, message: str) -> ServerError:
    """The fields of the inner error, and where they are empty of the outer one."""
    kind, code, param = inner.type or outer.type, inner.code or outer.code, inner.param or outer.param
    return ServerError(message[:MAX_MESSAGE], kind, code, param, inner.page)


def _message(data: dict[str, Any], depth: int) -> ServerError:
    candidates = [_parse_value(data[name], depth + 1) for name in _MESSAGE_FIELDS if data.get(name)]
    return next((error for error in candidates if error.message), candidates[0] if candidates else ServerError())


def _parse_list(data: list[Any], depth: int) -> ServerError:
    """Several errors as one: validation errors with their locations, but never the `input` that they repeat."""
    parts = []
    for entry in data[:20]:
        error = _parse_value(entry, depth + 1)
        place = entry.get("loc") if isinstance(entry, dict) else None
        if isinstance(place, list | tuple) and place:
            names = [str(name) for name in place if name != "body"]
            error = error._replace(message=f"{'.'.join(names)}: {error.message}", param=".".join(names))
        parts.append(error)
    if not parts:
        return ServerError()
    return parts[0]._replace(message="; ".join(part.message for part in parts if part.message)[:MAX_MESSAGE])


def _parse_text(text: str, depth: int) -> ServerError:
    """The error in a text, which may contain JSON, with or without escapes."""
    if _HTML.search(text[:1000]):
        return _parse_body_text(text)
    text = text[:MAX_MESSAGE]
    candidates = [text, text.replace("\\\\", "\\").replace('\\"', '"')] if '\\"' in text else [text]
    for candidate in candidates:
        if (match := _find_json(candidate)) is not None:
            start, end, data = match
            inner = _parse_value(data, depth + 1)
            before, after = candidate[:start], candidate[end:]
            if (opening := _BEFORE_JSON.search(before)) and (closing := _AFTER_JSON.match(after)):
                before, after = before[: opening.start()], after[closing.end() :]
            return inner._replace(message=f"{before}{inner.message}{after}".strip()[:MAX_MESSAGE])
    return ServerError(" ".join(text.split()))


def _find_json(text: str) -> tuple[int, int, dict[str, Any]] | None:
    """Start, end and value of a JSON object in a text."""
    start = -1
    for _ in range(3):
        if (start := text.find("{", start + 1)) < 0:
            break
        try:
            data, end = _decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        if isinstance(data, dict) and data:
            return start, end, data
    return None


def _parse_body_text(body: str) -> ServerError:
    """The error in a body that is not JSON: an HTML page or plain text."""
    page = bool(_HTML.search(body[:1000]))
    if not page and "{" in body:
        return _parse_text(body, 0)
    text = body[:MAX_MESSAGE]
    visible = re.sub(r"(?is)<(style|script)\b.*?</\1>", " ", text) if "<" in body else text
    return ServerError(" ".join(re.sub(r"<[^>]*>", " ", visible).split()), page=page)


def _first_text(data: dict[str, Any], names: tuple[str, ...]) -> str:
    for name in names:
        if isinstance(value := data.get(name), str | int) and not isinstance(value, bool) and value != "":
            return str(value)
    return ""
