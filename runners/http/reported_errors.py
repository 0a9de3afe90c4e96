"""Errors in place of an answer: in a body with status 200, or in the middle of a stream."""

from collections.abc import Mapping
from typing import Any

from . import errors
from .exceptions import ReportedError

_MINIMAX = {1026: 400, 1027: 400, 1042: 400, 2013: 400, 1002: 429, 1039: 429}
"""HTTP's statuses for MiniMax's codes: refused content, invisible characters, parameters; rates of requests, tokens."""
_OK_WORDS, _FAILURE_WORDS = {"0", "200", "ok", "success"}, {"error", "failed", "failure"}
_MESSAGE_FIELDS = ("message", "msg", "errormsg", "errormessage", "errmsg")
_WRAPPERS = ("header", "response", "data", "result")  # iFlytek, Tencent, and gateways


def find_error(data: Mapping[str, Any], kind: bytes = b"") -> Any:
    """The error in a JSON object; None if there is none, as in a heartbeat.

    `kind`: the type of its event; events that are not messages may have any content.
    """
    error = data.get("error") or data.get("Error")
    if error and (not isinstance(error, dict) or _has_content(error)):
        return error
    base = data.get("base_resp")  # MiniMax, in every reply
    if isinstance(base, dict) and base.get("status_code"):
        code = base["status_code"]
        return {"message": base.get("status_msg"), "code": _MINIMAX.get(code, code) if isinstance(code, int) else code}
    if data.get("object") == "error" or data.get("errors"):
        return data.get("errors") or data
    if data.get("choices") or "usage" in data or kind not in {b"", b"message"}:
        return None
    return data if _describes_error(errors.normalize_fields(data)) else None


def _describes_error(fields: Mapping[str, Any]) -> bool:
    """Whether an object without choices describes an error: by a message, a status, or a nested object."""
    if str(fields.get("code", fields.get("errcode", ""))).lower() in _OK_WORDS:
        return False
    status, code = str(fields.get("status", "")).lower(), fields.get("statuscode")
    if status in _FAILURE_WORDS or (isinstance(code, int) and code >= 400) or fields.get("fault"):
        return True
    messages = [message for name in _MESSAGE_FIELDS if isinstance(message := fields.get(name), str)]
    if any(messages) or fields.get("detail"):
        return True
    inner = (fields.get(name) for name in _WRAPPERS)
    return any(find_error(data) is not None for data in inner if isinstance(data, dict))


def reported_error(error: Any) -> ReportedError:
    """The exception for an error in place of an answer."""
    return ReportedError(errors.from_value({"error": error}))


def _has_content(error: Mapping[str, Any]) -> bool:
    """Whether an error object holds more than empty fields."""
    return any(value for key, value in error.items() if key not in {"type", "param"}) or bool(error.get("type"))
