"""Removes from an error message what it repeats of the request. No state, no network."""

import msgspec

from .errors import MAX_MESSAGE, ServerError

_MIN_ECHO = 32
"""Length of a common passage, in characters, from which on it is an echo and not a coincidence."""
_BLOCK_CHARS = 24
_MAX_SEARCHES = 128
"""Maximum number of searches in the request, which may be megabytes."""


def remove_echoes(error: ServerError, request_body: bytes) -> ServerError:
    """The error without the passages of its message that also occur in the request's JSON."""
    text = error.message[:MAX_MESSAGE]
    step = max(_MIN_ECHO - _BLOCK_CHARS, len(text) // _MAX_SEARCHES)
    parts, copied_to = [], 0
    for offset in range(0, len(text) - _BLOCK_CHARS + 1, step):
        if offset < copied_to:
            continue
        start, end = _find_echo(text, offset, request_body)
        if end - start >= _MIN_ECHO:
            parts.append(text[copied_to : max(copied_to, start)])
            copied_to = end
    return error._replace(message=" ".join([*parts, text[copied_to:]])) if copied_to else error


def _find_echo(text: str, offset: int, request_body: bytes) -> tuple[int, int]:
    """Start and end of the longest passage around a block of the text that occurs in the request."""
    start, end = offset, offset + _BLOCK_CHARS
    body_start = request_body.find(encoded := _json_bytes(text[start:end]))
    if body_start < 0:
        return offset, offset
    body_end = body_start + len(encoded)
    while end < len(text) and request_body.startswith(letter := _json_bytes(text[end]), body_end):
        end, body_end = end + 1, body_end + len(letter)
    while start and request_body.endswith(letter := _json_bytes(text[start - 1]), 0, body_start):
        start, body_start = start - 1, body_start - len(letter)
    return start, end


def _json_bytes(text: str) -> bytes:
    try:
        return msgspec.json.encode(text)[1:-1]
    except UnicodeEncodeError:  # a lone surrogate
        return text.encode(errors="replace")
