"""What an error repeats of the request it refuses: the prompt's words, not the server's. No state, no network."""

import msgspec

from .errors import LONGEST, ServerError

_LEAST = 32
"""Characters in a row from which on the same text in both is an echo, and no coincidence."""
_BLOCK = 24
_MOST = 128
"""Searches of the request, which may be megabytes."""


def left_out(error: ServerError, asked: bytes) -> ServerError:
    """The error without the passages of its message that stand in the request's JSON, `asked`, too."""
    text = error.message[:LONGEST]
    step = max(_LEAST - _BLOCK, len(text) // _MOST)
    kept, begin = [], 0
    for place in range(0, len(text) - _BLOCK + 1, step):
        if place < begin:
            continue
        start, end = _passage(text, place, asked)
        if end - start >= _LEAST:
            kept.append(text[begin : max(begin, start)])
            begin = end
    return error._replace(message=" ".join([*kept, text[begin:]])) if begin else error


def _passage(text: str, place: int, asked: bytes) -> tuple[int, int]:
    """Where the longest passage around a block of the text begins and ends that stands in the request."""
    start, end = place, place + _BLOCK
    at = asked.find(block := _json(text[start:end]))
    if at < 0:
        return place, place
    after = at + len(block)
    while end < len(text) and asked.startswith(letter := _json(text[end]), after):
        end, after = end + 1, after + len(letter)
    while start and asked.endswith(letter := _json(text[start - 1]), 0, at):
        start, at = start - 1, at - len(letter)
    return start, end


def _json(text: str) -> bytes:
    try:
        return msgspec.json.encode(text)[1:-1]
    except UnicodeEncodeError:  # half an emoji
        return text.encode(errors="replace")
