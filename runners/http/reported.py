"""Errors that a server reports in place of an answer: in a body with status 200, or in the middle of a stream."""

from collections.abc import Mapping
from typing import Any

from . import errors

_MINIMAX = {1026: 400, 1027: 400, 1042: 400, 2013: 400, 1002: 429, 1039: 429}
"""HTTP's statuses for MiniMax's codes: refused content, invisible characters, parameters; rates of requests, tokens."""
_WELL, _ILL = {"0", "200", "ok", "success"}, {"error", "failed", "failure"}
_SAID = ("message", "msg", "errormsg", "errormessage", "errmsg")
_INSIDE = ("header", "response", "data", "result")  # iFlytek, Tencent, and gateways


def error_in(data: Mapping[str, Any], kind: bytes = b"") -> Any:
    """What a JSON object reports as an error; None if it reports none. A heartbeat is none.

    `kind`: the type of the event that it came as; those of another type than messages may say anything.
    """
    error = data.get("error") or data.get("Error")
    if error and (not isinstance(error, dict) or _says(error)):
        return error
    base = data.get("base_resp")  # MiniMax, in every reply
    if isinstance(base, dict) and base.get("status_code"):
        code = base["status_code"]
        return {"message": base.get("status_msg"), "code": _MINIMAX.get(code, code) if isinstance(code, int) else code}
    if data.get("object") == "error" or data.get("errors"):
        return data.get("errors") or data
    if data.get("choices") or "usage" in data or kind not in {b"", b"message"}:
        return None
    return data if _tells(errors.fields(data)) else None


def _tells(found: Mapping[str, Any]) -> bool:
    """Whether an object without choices tells of an error, by a message, a status, or an object that does so."""
    if str(found.get("code", found.get("errcode", ""))).lower() in _WELL:
        return False
    if str(found.get("status", "")).lower() in _ILL or _at_least_400(found.get("statuscode")) or found.get("fault"):
        return True
    if any(isinstance(said := found.get(name), str) and said for name in _SAID) or found.get("detail"):
        return True
    inner = (found.get(name) for name in _INSIDE)
    return any(error_in(data) is not None for data in inner if isinstance(data, dict))


def _at_least_400(status: Any) -> bool:
    return isinstance(status, int) and status >= 400


def as_exception(error: Any) -> errors.Reported:
    """What a reported error is to whoever asked."""
    return errors.Reported(errors.of({"error": error}))


def _says(error: Mapping[str, Any]) -> bool:
    """Whether an error object holds more than empty fields."""
    return any(value for key, value in error.items() if key not in {"type", "param"}) or bool(error.get("type"))
