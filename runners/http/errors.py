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

from .line import TryAgain

LONGEST = 10_000
"""Characters of a message that are looked at; some servers repeat the whole request in theirs."""
_MESSAGE = (
    *("message", "msg", "detail", "details", "errormsg", "errormessage", "errmsg", "statusmsg", "description"),
    *("errordescription", "faultstring", "title", "reason"),
)
_TYPE, _CODE = ("type", "errortype"), ("code", "errorcode", "errcode", "statuscode", "status")
_ERROR = ("error", "errors", "baseresp", "fault")
_INNER = ("innererror", "cause", "upstream", "upstreamerror", "response", "body", "data", "details", "header", "result")
"""Where gateways put what the server behind them said, beside their own message."""
_DEEPEST = 16
_PAGE = re.compile(r"<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_OPENING, _CLOSING = re.compile(r"""b?["']\[?$"""), re.compile(r"""\]?["']""")
"""What may stand around JSON that is a text's: quotes, Python's for bytes too, and the brackets of a list."""
_OPENS, _CLOSES = re.compile(r"""(?<![\w'"`])['"`“]"""), re.compile(r"""['"`”](?!\w)""")
_SAYS = re.compile(
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


class Reported(TryAgain):
    """An error in place of an answer: in a body with status 200, or in the middle of a stream."""

    def __init__(self, error: ServerError) -> None:
        super().__init__(f"the server reports {error}")
        self.error = error


def read(body: str) -> ServerError:
    """The error in the body of a reply."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return _text(body)
    return _of(data, 0)


def of(data: Any) -> ServerError:
    """The error that a value of any type describes."""
    return _of(data, 0)


def status(error: ServerError) -> int:
    """The HTTP status that an error's code stands for; 0 if it is none."""
    return int(error.code) if re.fullmatch(r"[45]\d\d", error.code) else 0


def unquoted(text: str) -> str:
    """The text without what it quotes, but for single words and for what is given as somebody's message."""
    ends: dict[str, list[int]] = {}
    for close in _CLOSES.finditer(text):
        ends.setdefault(close[0], []).append(close.start())
    kept, begin = [], 0
    for opens in _OPENS.finditer(text):
        start = opens.start()
        closing = ends.get({"“": "”"}.get(opens[0], opens[0]), [])
        if start < begin or (at := bisect_right(closing, start)) == len(closing):
            continue
        end = closing[at]
        if " " in text[start:end] and not _SAYS.search(text, max(0, start - 20), start):
            kept.append(text[begin:start])
            begin = end + 1
    return " ".join([*kept, text[begin:]])


def _of(data: Any, depth: int) -> ServerError:
    """The error in a value of any type, and in what is nested in it."""
    if depth > _DEEPEST or data is None:
        return ServerError()
    if isinstance(data, str):
        return _nested(data, depth)
    if isinstance(data, list):
        return _listed(data, depth)
    return _object(fields(data), depth) if isinstance(data, dict) else ServerError(str(data)[:LONGEST])


def fields(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields by their names in small letters without underscores; of two that are alike then, the first."""
    found: dict[str, Any] = {}
    for name, value in data.items():
        found.setdefault(str(name).lower().replace("_", "").replace("-", ""), value)
    return found


def _object(data: dict[str, Any], depth: int) -> ServerError:
    outer = ServerError(
        type=_first(data, _TYPE), code=_first(data, _CODE), param=_first(data, ("param", "parameter", "field"))
    )
    for name in _ERROR:
        if data.get(name) and not (name == "error" and data[name] is True):
            inner = _of(data[name], depth + 1)
            return _merged(inner, outer, inner.message or _message(data, depth).message)
    said = _message(data, depth)
    behind = fields(data["metadata"]) if isinstance(data.get("metadata"), dict) else {}  # OpenRouter
    whole = (behind.get("raw"), data.get("originalmessage"))
    for part in (*whole, *filter(_is_error, (behind.get("previouserrors"), *map(data.get, _INNER)))):
        inner = _of(part, depth + 1) if part else ServerError()
        if inner.message not in said.message or inner.code:
            return _merged(inner, outer, ": ".join(filter(None, (said.message, inner.message))))
    message = said.message or ("" if outer.code or outer.type else _written(data, depth))
    return _merged(said, outer, message)


def _is_error(value: Any) -> bool:
    """Whether a value has the fields of an error, and is not a request or another thing that a gateway repeats."""
    if isinstance(value, str):
        found = _written_out(value[:LONGEST])
        value = found[2] if found else None
    if isinstance(value, list):
        value = value[0] if value else None
    return isinstance(value, dict) and any(name in (*_ERROR, *_MESSAGE, "data") for name in fields(value))


def _written(data: dict[str, Any], depth: int) -> str:
    """An object without any field that is known, as text; lists of messages by the parameters that they are about."""
    listed = all(isinstance(value, list) and all(isinstance(each, str) for each in value) for value in data.values())
    if data and listed:
        told = (f"{name}: {_of(each, depth + 1).message}" for name, value in data.items() for each in value[:20])
        return "; ".join(told)[:LONGEST]
    try:
        return json.dumps(data, ensure_ascii=False)[:LONGEST]
    except RecursionError:
        return "nested too deeply"


def _merged(inner: ServerError, outer: ServerError, message: str) -> ServerError:
    """What the inner error says, and where it is silent the outer one."""
    return ServerError(
        message[:LONGEST], inner.type or outer.type, inner.code or outer.code, inner.param or outer.param, inner.page
    )


def _message(data: dict[str, Any], depth: int) -> ServerError:
    told = [_of(data[name], depth + 1) for name in _MESSAGE if data.get(name)]
    return next((error for error in told if error.message), told[0] if told else ServerError())


def _listed(data: list[Any], depth: int) -> ServerError:
    """Several errors as one: validation errors with the place of each, but never the `input` that they repeat."""
    parts = []
    for entry in data[:20]:
        error = _of(entry, depth + 1)
        place = entry.get("loc") if isinstance(entry, dict) else None
        if isinstance(place, list | tuple) and place:
            names = [str(name) for name in place if name != "body"]
            error = error._replace(message=f"{'.'.join(names)}: {error.message}", param=".".join(names))
        parts.append(error)
    if not parts:
        return ServerError()
    return parts[0]._replace(message="; ".join(part.message for part in parts if part.message)[:LONGEST])


def _nested(text: str, depth: int) -> ServerError:
    """The error in a text, and the one that is written out in it as JSON, with or without escapes."""
    if _PAGE.search(text[:1000]):
        return _text(text)
    text = text[:LONGEST]
    forms = [text, text.replace("\\\\", "\\").replace('\\"', '"')] if '\\"' in text else [text]
    for form in forms:
        if (found := _written_out(form)) is not None:
            start, end, data = found
            inner = _of(data, depth + 1)
            before, after = form[:start], form[end:]
            if (opening := _OPENING.search(before)) and (closing := _CLOSING.match(after)):
                before, after = before[: opening.start()], after[closing.end() :]
            return inner._replace(message=f"{before}{inner.message}{after}".strip()[:LONGEST])
    return ServerError(" ".join(text.split()))


def _written_out(text: str) -> tuple[int, int, dict[str, Any]] | None:
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


def _text(body: str) -> ServerError:
    """The text of a page, or a plain one."""
    page = bool(_PAGE.search(body[:1000]))
    if not page and "{" in body:
        return _nested(body, 0)
    shown = re.sub(r"(?is)<(style|script)\b.*?</\1>", " ", body[:LONGEST]) if "<" in body else body[:LONGEST]
    return ServerError(" ".join(re.sub(r"<[^>]*>", " ", shown).split()), page=page)


def _first(data: dict[str, Any], names: tuple[str, ...]) -> str:
    for name in names:
        if isinstance(found := data.get(name), str | int) and not isinstance(found, bool) and found != "":
            return str(found)
    return ""
