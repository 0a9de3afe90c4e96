"""Parser of server-sent events from bytes that may be split anywhere. No network; JSON only to separate events.

Source: WHATWG HTML, "Server-sent events", parsing and interpreting an event stream. Beyond it, for what servers send:
consecutive `data:` lines that are each a whole JSON value are separate events, `data:` may be doubled, a JSON object
or `[DONE]` on a line of its own is an event, a field `error:` with JSON is one of that type, and the last event may
lack its blank line.
"""

import json

import msgspec

from .endpoint import MAX_RESPONSE_BYTES
from .exceptions import RequestFailed

DONE = b"[DONE]"
_BOM = b"\xef\xbb\xbf"
_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode

Event = tuple[bytes, bytes]
"""Type (empty if none was given) and data of an event."""


class EventParser:
    """Turns chunks of bytes into events; RequestFailed for a line or event of more than `max_bytes`."""

    def __init__(self, max_bytes: int = MAX_RESPONSE_BYTES) -> None:
        self.unknown_line = b""
        """The first line that is not a field, for error messages."""
        self._max_bytes = max_bytes
        self._tail = bytearray()  # an unfinished line
        self._after_cr = False
        self._has_started = False
        self._data: list[bytes] = []
        self._size = 0
        self._type = b""

    def feed(self, chunk: bytes) -> list[Event]:
        """Parse the next bytes, which may begin and end anywhere; the events that they complete."""
        if chunk.startswith(b"data: {") and chunk.endswith(b"\n") and self._at_event_start:  # nearly always one event
            end = chunk.find(b"\n")
            if end == len(chunk) - 2 and b"\r" not in chunk:
                return [(b"", chunk[6:end])]
            if end == len(chunk) - 3 and chunk.endswith(b"\r\n\r\n") and chunk.find(b"\r") == end - 1:
                return [(b"", chunk[6 : end - 1])]
        return self._parse(chunk)

    @property
    def _at_event_start(self) -> bool:
        """Whether the next byte begins an event."""
        return self._has_started and not (self._tail or self._data or self._type or self._after_cr)

    def _parse(self, chunk: bytes) -> list[Event]:
        if self._after_cr and chunk:
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        if b"\r" in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = chunk.split(b"\n")
        if self._tail or len(lines) == 1:
            self._tail += lines[0]
            if len(self._tail) > self._max_bytes:
                raise RequestFailed(f"a line of the stream is longer than {self._max_bytes >> 20} MB")
            if len(lines) == 1:
                return []
            lines[0] = bytes(self._tail)
            self._tail.clear()
        if last := lines.pop():
            self._tail += last
        return self._parse_lines(lines)

    def close(self) -> list[Event]:
        """The last events of a stream that lacks its final line break or blank line."""
        line = bytes(self._tail)
        self._tail.clear()
        return self._parse_lines([line, b""])

    def _parse_lines(self, lines: list[bytes]) -> list[Event]:
        if not self._has_started:
            self._has_started = True
            lines[0] = lines[0].removeprefix(_BOM)
        events: list[Event] = []
        data = self._data
        for line in lines:
            if line.startswith(b"data:"):
                value = line[6:] if line.startswith(b"data: ") else line[5:]
                if value.startswith(b"data:"):  # a relay has framed the stream twice
                    value = value[5:].lstrip(b" ")
                if data and len(data) == 1 and _is_complete_json(data[0]):
                    events.append(self._pop_event())
                self._add_data(value)
            elif not line:
                if data:
                    events.append(self._pop_event())
                self._type = b""
            else:
                self._parse_other(line, events)
        return events

    def _parse_other(self, line: bytes, events: list[Event]) -> None:
        """Parse a comment, a field other than `data:`, or a line that is not a field."""
        if line == b"data":
            self._add_data(b"")
        elif line.startswith(b"event:"):
            self._type = line[6:].removeprefix(b" ")
        elif line == b"event":
            self._type = b""
        elif line.startswith(b"error:") and _is_complete_json(line[6:]):  # llama.cpp until the end of 2025
            events.append((b"error", line[6:].strip()))
        elif (line.startswith(b"{") or line.strip() == DONE) and _is_complete_json(line):
            if self._data:
                events.append(self._pop_event())
            events.append((self._type, line))
        elif b":" not in line and not self.unknown_line:
            self.unknown_line = line[:200]

    def _add_data(self, value: bytes) -> None:
        self._data.append(value)
        self._size += len(value) + 64  # memory of the object, for many short lines
        if self._size > self._max_bytes and len(self._data) > 1:
            raise RequestFailed(f"an event of the stream is longer than {self._max_bytes >> 20} MB")

    def _pop_event(self) -> Event:
        event = (self._type, self._data[0] if len(self._data) == 1 else b"\n".join(self._data))
        self._data.clear()
        self._size, self._type = 0, b""
        return event


def _is_complete_json(value: bytes) -> bool:
    """Whether data is a complete JSON object or list, or the end mark: the next line is not part of it."""
    value = value.strip()
    if not value.endswith((b"}", b"]")):
        return False
    if value == DONE:
        return True
    try:
        _decode_raw(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            json.loads(value.decode(errors="replace"), strict=False)
        except (ValueError, RecursionError):
            return False
    return True
