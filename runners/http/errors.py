"""What a server says in an error, in one form, whatever form it came in. No state, no network.

OpenAI's `{"error": {"message", "type", "code", "param"}}`, FastAPI's `{"detail": [{"loc", "msg", "type"}]}`, Gemini's
list, MiniMax's `base_resp`, Baidu's `error_msg`, errors inside errors (OpenRouter's `metadata.raw`, LiteLLM's text with
JSON in it, Azure's `innererror`), plain text and HTML pages. The names of fields count in any case, with or without
underscores: AWS has `Message`, Lambda `errorMessage`, Tencent `Response.Error.Message`.
"""

import json
import re
from bisect import bisect_right
from collections.abc import Mapping
from typing import Any, NamedTuple

MAX_MESSAGE_CHARS = 10_000
"""Characters of a message that are looked at; some servers repeat the whole request in theirs."""
_MESSAGE_FIELDS = (
    *("message", "msg", "detail", "details", "errormsg", "errormessage", "errmsg", "statusmsg", "description"),
    *("errordescription", "faultstring", "title", "reason"),
)
_TYPE_FIELDS, _CODE_FIELDS = ("type", "errortype"), ("code", "errorcode", "errcode", "statuscode", "status")
_ERROR_FIELDS = ("error", "errors", "baseresp", "fault")
_INNER_FIELDS = (
    "innererror",
    "cause",
    "upstream",
    "upstreamerror",
    "response",
    "body",
    "data",
    "details",
    "header",
    "result",
)
"""Where gateways put what the server behind them said, beside their own message."""
_MAX_DEPTH = 16
_HTML = re.compile(r"<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_BEFORE_JSON, _AFTER_JSON = re.compile(r"""b?["']\[?$"""), re.compile(r"""\]?["']""")
"""What may stand around JSON that is a text's: quotes, Python's for bytes too, and the brackets of a list."""
_QUOTE_START, _QUOTE_END = re.compile(r"""(?<![\w'"`])['"`“]"""), re.compile(r"""['"`”](?!\w)""")
_MESSAGE_PREFIX = re.compile(
    r"""["']?(?:message|msg|detail|error|raw)["']?\s*[:=]\s*$|\bwith message\s*$|(?i:error|exception)\($"""
)
_decoder = json.JSONDecoder()


class ServerError(NamedTuple):
    """An error as the server tells it; `param`: the parameter it is about; `page`: it came as an HTML page."""

    message: str = ""
    type: str = ""
    code: str = ""
    param: str = ""
    page: bool = False

    def __str__(self) -> str:
        return " ".join(part for part in (self.message, self.type, self.code) if part)


def parse(body: str) -> ServerError:
    """The error in the body of a reply."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return _parse_body_text(body)
    return _parse_value(data, 0)


def from_value(data: Any) -> ServerError:
    """The error that a value of any type describes."""
    return _parse_value(data, 0)


def http_status(error: ServerError) -> int:
    """The HTTP status that an error's code stands for; 0 if it is none."""
    return int(error.code) if re.fullmatch(r"[45]\d\d", error.code) else 0


def strip_quotations(text: str) -> str:
    """The text without what it quotes, but for single words and for what is given as somebody's message."""
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
        _parse_object(normalize_fields(data), depth)
        if isinstance(data, dict)
        else ServerError(str(data)[:MAX_MESSAGE_CHARS])
    )


def normalize_fields(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields by their names in small letters without underscores; of two that are alike then, the first."""
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
    own = _message(data, depth)
    metadata = normalize_fields(data["metadata"]) if isinstance(data.get("metadata"), dict) else {}  # OpenRouter
    originals = (metadata.get("raw"), data.get("originalmessage"))
    for part in (
        *originals,
        *filter(_looks_like_error, (metadata.get("previouserrors"), *map(data.get, _INNER_FIELDS))),
    ):
        inner = _parse_value(part, depth + 1) if part else ServerError()
        if inner.message not in own.message or inner.code:
            return _merge(inner, outer, ": ".join(filter(None, (own.message, inner.message))))
    message = own.message or ("" if outer.code or outer.type else _dump(data, depth))
    return _merge(own, outer, message)


def _looks_like_error(value: Any) -> bool:
    """Whether a value has the fields of an error, and is not a request or another thing that a gateway repeats."""
    if isinstance(value, str):
        match = _find_json(value[:MAX_MESSAGE_CHARS])
        value = match[2] if match else None
    if isinstance(value, list):
        value = value[0] if value else None
    return isinstance(value, dict) and any(
        name in (*_ERROR_FIELDS, *_MESSAGE_FIELDS, "data") for name in normalize_fields(value)
    )


def _dump(data: dict[str, Any], depth: int) -> str:
    """An object without any field that is known, as text; lists of messages by the parameters that they are about."""
    is_messages_by_field = all(
        isinstance(value, list) and all(isinstance(each, str) for each in value) for value in data.values()
    )
    if data and is_messages_by_field:
        messages = (
            f"{name}: {_parse_value(each, depth + 1).message}" for name, value in data.items() for each in value[:20]
        )
        return "; ".join(messages)[:MAX_MESSAGE_CHARS]
    try:
        return json.dumps(data, ensure_ascii=False)[:MAX_MESSAGE_CHARS]
    except RecursionError:
        return "nested too deeply"


def _merge(inner: ServerError, outer: ServerError, message: str) -> ServerError:
    """What the inner error says, and where it is silent the outer one."""
    return ServerError(
        message[:MAX_MESSAGE_CHARS],
        inner.type or outer.type,
        inner.code or outer.code,
        inner.param or outer.param,
        inner.page,
    )


def _message(data: dict[str, Any], depth: int) -> ServerError:
    candidates = [_parse_value(data[name], depth + 1) for name in _MESSAGE_FIELDS if data.get(name)]
    return next((error for error in candidates if error.message), candidates[0] if candidates else ServerError())


def _parse_list(data: list[Any], depth: int) -> ServerError:
    """Several errors as one: validation errors with the place of each, but never the `input` that they repeat."""
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
    return parts[0]._replace(message="; ".join(part.message for part in parts if part.message)[:MAX_MESSAGE_CHARS])


def _parse_text(text: str, depth: int) -> ServerError:
    """The error in a text, and the one that is written out in it as JSON, with or without escapes."""
    if _HTML.search(text[:1000]):
        return _parse_body_text(text)
    text = text[:MAX_MESSAGE_CHARS]
    candidates = [text, text.replace("\\\\", "\\").replace('\\"', '"')] if '\\"' in text else [text]
    for candidate in candidates:
        if (match := _find_json(candidate)) is not None:
            start, end, data = match
            inner = _parse_value(data, depth + 1)
            before, after = candidate[:start], candidate[end:]
            if (opening := _BEFORE_JSON.search(before)) and (closing := _AFTER_JSON.match(after)):
                before, after = before[: opening.start()], after[closing.end() :]
            return inner._replace(message=f"{before}{inner.message}{after}".strip()[:MAX_MESSAGE_CHARS])
    return ServerError(" ".join(text.split()))


def _find_json(text: str) -> tuple[int, int, dict[str, Any]] | None:
    """Where a text has a JSON object, and that."""
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
    """The text of a page, or a plain one."""
    page = bool(_HTML.search(body[:1000]))
    if not page and "{" in body:
        return _parse_text(body, 0)
    visible = (
        re.sub(r"(?is)<(style|script)\b.*?</\1>", " ", body[:MAX_MESSAGE_CHARS])
        if "<" in body
        else body[:MAX_MESSAGE_CHARS]
    )
    return ServerError(" ".join(re.sub(r"<[^>]*>", " ", visible).split()), page=page)


def _first_text(data: dict[str, Any], names: tuple[str, ...]) -> str:
    for name in names:
        if isinstance(value := data.get(name), str | int) and not isinstance(value, bool) and value != "":
            return str(value)
    return ""
