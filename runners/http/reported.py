"""Errors that a server reports in place of an answer: in a body with status 200, or in the middle of a stream."""

import json
import re
from collections.abc import Mapping
from typing import Any

from . import replies
from .line import TryAgain
from .servers import Overlong, Reported

_BUSY = re.compile(r"overload|rate.?limit|too many requests|server.?(?:is )?busy|at capacity|try again later", re.I)
_STATUS = re.compile(r"[45]\d\d")


def error_in(data: Mapping[str, Any], kind: bytes = b"") -> Any:
    """What a JSON object reports as an error; None if it reports none. A heartbeat is none.

    `kind`: the type of the event that it came as; those of another type than messages may say anything.
    """
    error = data.get("error")
    if error and (not isinstance(error, dict) or _says(error)):
        return error
    base = data.get("base_resp")  # MiniMax, in every reply
    if isinstance(base, dict) and base.get("status_code"):
        return {"message": base.get("status_msg"), "code": base["status_code"]}
    if data.get("object") == "error" or data.get("errors"):
        return data.get("errors") or data
    if data.get("choices") or "usage" in data or kind not in {b"", b"message"}:
        return None
    if any(data.get(name) for name in ("detail", "error_msg", "error_message")):
        return {"message": data.get("error_msg") or data.get("error_message"), **data}
    said = data.get("message")
    return data if isinstance(said, str) and said and "choices" not in data else None


def as_exception(error: Any) -> Exception:
    """The failure that a reported error is: by its status if it tells one, else by its words."""
    body = json.dumps({"error": error}, default=str)
    words = replies.words(body)
    if overlong(words):
        return Overlong(f"the server reports {words}")
    status = _status(error)
    if status is not None and (status < 500 or status in {503, 529}):
        return Reported(status, body.encode(errors="replace"))
    return TryAgain(f"the server reports {words}", "busy" if _BUSY.search(words) else "broken")


def overlong(words: str) -> bool:
    """Whether a server says that the prompt is too long."""
    return bool(replies.OVERLONG.search(words))


def _says(error: Mapping[str, Any]) -> bool:
    """Whether an error object holds more than empty fields."""
    return any(value for key, value in error.items() if key not in {"type", "param"}) or bool(error.get("type"))


def _status(error: Any) -> int | None:
    """The HTTP status in an error object, if there is one."""
    if not isinstance(error, dict):
        return None
    for name in ("code", "status", "status_code", "http_code", "http_status"):
        value = error.get(name)
        if isinstance(value, int | str) and not isinstance(value, bool) and _STATUS.fullmatch(str(value)):
            return int(value)
    return None
