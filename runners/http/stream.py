"""A completion from a response that may be a stream of server-sent events. No network.

Form: platform.openai.com/docs/api-reference/chat-streaming; usage in a last chunk without choices where the server
follows `stream_options`, `[DONE]` at the end from most servers but not all.
"""

import re
import time
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from . import reported_errors, responses, usage
from .deltas import ChoiceDeltas
from .endpoint import MAX_RESPONSE_BYTES
from .exceptions import RequestFailed, RetryableError
from .sse import DONE, Event, EventParser

MAX_CHOICES = 1024
"""Maximum number of choices in one answer."""
_SSE_FIELD = re.compile(rb"(?:data|event|id|retry)?:")
_WHITESPACE = b"\xef\xbb\xbf \t\r\n"
_decode = msgspec.json.Decoder().decode


class CompletionReader:
    """Reads one response, a stream or a whole body, and calls `on_tokens` with the number of tokens in each chunk.

    `tools`: the names of the offered tools. At most `MAX_RESPONSE_BYTES` of a stream are held.
    """

    def __init__(self, on_tokens: Callable[[int], None], tools: Collection[str] = ()) -> None:
        self.is_stream = self.has_started = False
        self.first_token_at = 0.0
        """Time of the first token by the monotonic clock; 0 before."""
        self.tokens = 0
        """Deltas with text, about as many as tokens."""
        self.body = bytearray()
        """A response that is not a stream."""
        self.done = False
        """Whether the end mark has come; all after it is ignored."""
        self._on_tokens, self._tools = on_tokens, tools
        self._parser = EventParser()
        self._declared_stream = self._is_body = False
        self._charset: str | None = None
        self._size = 0
        self._choices: dict[int, ChoiceDeltas] = {}
        self._usage: dict[str, Any] = {}
        self._num_chunks = 0
        self._complete_chunk: dict[str, Any] | None = None
        self._invalid_chunk = b""
        self._body_start: int | None = None  # of the first byte in the body that is not white space

    def on_headers(self, content_type: str, charset: str | None) -> None:
        """Note the declared type, which is often wrong."""
        self._declared_stream, self._charset = content_type == "text/event-stream", charset

    @property
    def is_complete(self) -> bool:
        """Whether the answer is complete: every choice has a finish reason, or the end mark has come."""
        return self.done or (bool(self._choices) and all(choice.is_finished for choice in self._choices.values()))

    @property
    def has_answer(self) -> bool:
        """Whether any part of an answer has come."""
        return self.done or bool(self._choices) or bool(self._usage)

    def feed(self, chunk: bytes) -> None:
        """Parse the next bytes."""
        if not self.is_stream:
            chunk = self._detect(chunk)
        if not chunk or self.done:
            return
        before = self.tokens
        try:
            for event in self._parser.feed(chunk):
                self._parse_event(event)
        except RecursionError:
            raise RetryableError("a chunk of the stream is nested too deeply") from None
        if self.tokens > before:
            self.has_started = True
            self._on_tokens(self.tokens - before)

    def completion(self) -> dict[str, Any]:
        """The completion in the form of an answer that was not streamed; RetryableError if the stream broke off."""
        remaining = [] if self.done else self._parser.close()
        for event in remaining:
            try:
                self._parse_event(event)
            except RetryableError:
                if not self.is_complete:
                    raise RetryableError(self._incomplete_reason()) from None
        if self._complete_chunk is not None and self._num_chunks == 1:
            return self._complete_chunk | ({"usage": self._usage} if self._usage else {})
        if not self.is_complete:
            self._raise_choice_error()
            raise RetryableError(self._incomplete_reason())
        choices = [choice.to_dict(index) for index, choice in sorted(self._choices.items())]
        counts = self._usage if usage.output_tokens(self._usage) else self._usage | {"completion_tokens": self.tokens}
        return {"usage": counts, "choices": choices}

    def _detect(self, chunk: bytes) -> bytes:
        """The bytes to parse as events; none while the response may be, or is, a whole body."""
        previous_size = len(self.body)
        self.body += chunk
        if len(self.body) > MAX_RESPONSE_BYTES:
            raise RequestFailed(f"the response is longer than {MAX_RESPONSE_BYTES >> 20} MB")
        if self._is_body:
            return b""
        head = (
            chunk.lstrip(_WHITESPACE)[:64]
            if self._body_start is None
            else bytes(self.body[self._body_start : self._body_start + 64])
        )
        if not head:
            return b""
        if self._body_start is None:
            self._body_start = previous_size + len(chunk) - len(chunk.lstrip(_WHITESPACE))
        if head[:1] == b"{":  # a whole answer, or one chunk per line
            end = self.body.find(b"\n", max(self._body_start, previous_size))
            if end < 0:
                return b""
            is_stream = self._is_json(bytes(self.body[self._body_start : end]))
        elif self._declared_stream:
            is_stream = head[:1] not in {b"[", b"<"} or head.startswith(DONE)
        elif len(head) < 6 and any(name.startswith(head) for name in (b"data:", b"event:", b"id:", b"retry:")):
            return b""
        else:
            is_stream = _SSE_FIELD.match(head) is not None
        if not is_stream:
            self._is_body = True
            return b""
        self.is_stream = True
        received = bytes(self.body)
        self.body.clear()
        return received

    def _is_json(self, line: bytes) -> bool:
        try:
            responses.parse_json(line.strip(_WHITESPACE), self._charset)
        except RetryableError:
            return False
        return True

    def _raise_choice_error(self) -> None:
        """Raise the error of a choice, where one explains why the stream broke off."""
        error = next((choice.error for choice in self._choices.values() if choice.error), None)
        if error is not None:
            raise reported_errors.reported_error(error)

    def _incomplete_reason(self) -> str:
        invalid = self._invalid_chunk or self._parser.unknown_line
        if invalid and not self._choices:
            return f"the stream holds no answer: {invalid[:80].decode(errors='replace')!r}"
        return "the stream ended in the middle of an answer"

    def _parse_event(self, event: Event) -> None:
        kind, data = event
        if self.done or not data:
            return
        try:
            if len(data) > responses.LARGE_JSON_BYTES:
                responses.check_json_size(data)
            chunk = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            if self._handle_end_or_several(kind, data):
                return
            if self.is_complete and not data.lstrip(_WHITESPACE).startswith((b"{", b"[{")) and kind != b"error":
                return  # another end mark than OpenAI's: the answer is complete
            chunk = self._parse_lenient(kind, data)
        self.add_event(chunk, kind)

    def add_event(self, chunk: Any, kind: bytes = b"") -> None:
        """Add the JSON of an event of this type."""
        if isinstance(chunk, list) and chunk and all(isinstance(part, dict) for part in chunk):
            for part in chunk:
                self.add_event(part, kind)
            return
        if not isinstance(chunk, dict):
            self.done = chunk == DONE.decode()
            if chunk is None or self.done or kind == b"ping":
                return
            raise RetryableError("a chunk of the stream is not an object")
        chunk = responses.unwrap(chunk)
        if kind == b"error" or not chunk.get("choices") or "error" in chunk or "base_resp" in chunk:
            error = chunk if kind == b"error" and not chunk.get("error") else reported_errors.find_error(chunk, kind)
            if error is not None and self.is_complete:
                return  # all answers are complete already
            if error is not None:
                raise reported_errors.reported_error(error)
        self._add_chunk(chunk)

    def _handle_end_or_several(self, kind: bytes, data: bytes) -> bool:
        """Handle the end mark, an empty event, or several values in one event; False for anything else."""
        data = data.strip(_WHITESPACE)
        if not data or kind == b"ping":
            return True
        if data == DONE:
            self.done = True
            return True
        lines = [line for line in data.split(b"\n") if line.strip()]
        if len(lines) < 2 or not all(line.lstrip().startswith((b"{", DONE)) for line in lines):
            return False
        for line in lines:
            self._parse_event((kind, line))
        return True

    def _parse_lenient(self, kind: bytes, data: bytes) -> Any:
        """Parse invalid JSON leniently; RetryableError if that fails."""
        if kind == b"error":
            raise reported_errors.reported_error(data.decode(errors="replace"))
        self._invalid_chunk = self._invalid_chunk or data[:200]
        try:
            data.decode()
        except UnicodeDecodeError:
            return responses.parse_json(data, self._charset or "utf-8-sig", whole=False)
        return responses.parse_json(data, whole=False)

    def _add_chunk(self, chunk: dict[str, Any]) -> None:
        choices = chunk.get("choices")
        counts = chunk.get("usage")
        if counts is not None and isinstance(counts, dict):
            self._usage = usage.merge(self._usage, counts)
        if not choices:
            if choices is None and counts is None:
                self._invalid_chunk = self._invalid_chunk or ", ".join(map(str, list(chunk)[:8])).encode(
                    errors="replace"
                )
            return
        if not isinstance(choices, list):
            raise RetryableError("the choices of the stream are not a list")
        self._num_chunks += 1
        is_first = self._num_chunks == 1 and chunk.get("object") != "chat.completion.chunk"
        self._complete_chunk = chunk if is_first and all(map(_is_complete_choice, choices)) else None
        for choice in choices:
            self._add_choice(choice)

    def _add_choice(self, choice: Any) -> None:
        if not isinstance(choice, dict):
            raise RetryableError("a choice of the stream is not an object")
        index = choice.get("index")
        if type(index) is not int:
            index = _parse_index(index)
        state = self._choices.get(index)
        if state is None:
            if len(self._choices) >= MAX_CHOICES:
                raise RequestFailed(f"the stream has more than {MAX_CHOICES} choices")
            state = self._choices[index] = ChoiceDeltas(self._tools)
            self._reserve(4096)
        size = state.add(choice)
        if size:
            self._size += size
            if self._size > MAX_RESPONSE_BYTES:
                self._reserve(0)
            self.tokens += 1
            if not self.first_token_at:
                self.first_token_at = time.monotonic()
        if "usage" in choice and isinstance(choice["usage"], dict):  # Moonshot
            self._usage = usage.merge(self._usage, choice["usage"])

    def _reserve(self, size: int) -> None:
        self._size += size
        if self._size > MAX_RESPONSE_BYTES:
            raise RequestFailed(f"the answer is longer than {MAX_RESPONSE_BYTES >> 20} MB")


def read_body(body: bytes, charset: str | None, tools: Collection[str] = ()) -> Any:
    """The JSON of a whole body, which may hold an unrequested stream, or an end mark after its JSON."""
    try:
        data = responses.parse_json(body, charset)
    except RetryableError:
        stripped = body.strip(_WHITESPACE)
        if stripped.endswith(DONE):
            json = stripped.removesuffix(DONE).rstrip().removesuffix(b"data:")
            try:
                return responses.parse_json(json, charset)
            except RetryableError:
                pass
        if stripped[:1] in {b"<", b"["} or not (b"data" in body or stripped.startswith(b"{")):
            raise
        reader = CompletionReader(lambda _: None, tools)
        reader.on_headers("text/event-stream", charset)
        reader.feed(body)
        if reader.is_stream and reader.has_answer:
            return reader.completion()
        raise
    return _read_list(data, tools) if isinstance(data, list) and data else data


def _read_list(chunks: list[Any], tools: Collection[str]) -> Any:
    """The completion in a list: alone, or as its chunks."""
    reader = CompletionReader(lambda _: None, tools)
    reader.add_event(chunks)
    return reader.completion() if reader.has_answer else chunks


def _is_complete_choice(choice: Any) -> bool:
    """Whether a choice has a message, as in an answer that was not streamed."""
    return isinstance(choice, dict) and choice.get("delta") is None and choice.get("message") is not None


def _parse_index(value: Any) -> int:
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 12:
        return int(value)
    if isinstance(value, float) and abs(value) < 1e12 and value == int(value):
        return int(value)
    return 0
