"""A streamed answer put together again, as if it had come whole: server-sent events in, a completion out. No network.

Form: platform.openai.com/docs/api-reference/chat-streaming; usage in a last piece without choices where the server
follows `stream_options`, `[DONE]` at the end from most servers but not all.
"""

import re
import time
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from . import finish_reasons, message, reported_errors, responses, usage
from .endpoint import MAX_RESPONSE_BYTES, RequestFailed, RetryableError
from .sse import DONE, Event, EventParser
from .tool_calls import ToolCalls

MAX_CHOICES = 1024
"""Choices in one answer; more are no answer."""
CUMULATIVE_AFTER = 8
"""After so many texts in a row of which each begins with all of the one before it, they are no pieces but the whole."""
_SSE_FIELD = re.compile(rb"(?:data|event|id|retry)?:")
_WHITESPACE = b"\xef\xbb\xbf \t\r\n"
_decode = msgspec.json.Decoder().decode


class CompletionReader:
    """Reads one response, which may turn out to be no stream; `told` hears how many tokens have come with each piece.

    `tools`: the names of the tools that were offered. What is kept of a stream is at most `LARGEST` bytes.
    """

    def __init__(self, on_tokens: Callable[[int], None], tools: Collection[str] = ()) -> None:
        self.is_stream = self.has_started = False
        self.first_token_at = 0.0
        """When the first token came, by the monotonic clock; 0 before."""
        self.tokens = 0
        """Pieces with text, about as many as tokens."""
        self.body = bytearray()
        """A response that is no stream."""
        self.done = False
        """Whether the end mark has come, after which nothing counts."""
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
        self._body_start: int | None = None  # of what is more than space in the body

    def on_headers(self, content_type: str, charset: str | None) -> None:
        """Hear what the response says of its type; many say something else than they send."""
        self._declared_stream, self._charset = content_type == "text/event-stream", charset

    @property
    def is_complete(self) -> bool:
        """Whether the answer is whole: every choice says how it ended, or the end mark has come."""
        return self.done or (bool(self._choices) and all(choice.is_finished for choice in self._choices.values()))

    @property
    def has_answer(self) -> bool:
        """Whether anything of an answer has come."""
        return self.done or bool(self._choices) or bool(self._usage)

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes; the exception that says what is wrong with them."""
        if not self.is_stream:
            chunk = self._detect(chunk)
        if not chunk or self.done:
            return
        before = self.tokens
        try:
            for event in self._parser.feed(chunk):
                self._parse_event(event)
        except RecursionError:
            raise RetryableError("a piece of the stream is nested too deeply") from None
        if self.tokens > before:
            self.has_started = True
            self._on_tokens(self.tokens - before)

    def completion(self) -> dict[str, Any]:
        """The whole, in the form of an answer that was not streamed; TryAgain if the stream broke off."""
        left = [] if self.done else self._parser.close()
        for event in left:
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
        """What is to be parsed as events; nothing while the response may be, or is, a whole body."""
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
        if head[:1] == b"{":  # a whole answer, or one piece on each line
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
        whole = bytes(self.body)
        self.body.clear()
        return whole

    def _is_json(self, line: bytes) -> bool:
        try:
            responses.parse_json(line.strip(_WHITESPACE), self._charset)
        except RetryableError:
            return False
        return True

    def _raise_choice_error(self) -> None:
        """Raise the error that a choice of a stream that broke off has told of."""
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
            piece = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            if self._handle_end_or_several(kind, data):
                return
            if self.is_complete and not data.lstrip(_WHITESPACE).startswith((b"{", b"[{")) and kind != b"error":
                return  # another end mark than OpenAI's: the answer is whole
            piece = self._parse_lenient(kind, data)
        self.add_event(piece, kind)

    def add_event(self, chunk: Any, kind: bytes = b"") -> None:
        """Take the JSON of an event of this type."""
        if isinstance(chunk, list) and chunk and all(isinstance(each, dict) for each in chunk):
            for each in chunk:
                self.add_event(each, kind)
            return
        if not isinstance(chunk, dict):
            self.done = chunk == DONE.decode()
            if chunk is None or self.done or kind == b"ping":
                return
            raise RetryableError("a piece of the stream is no object")
        chunk = responses.unwrap(chunk)
        if kind == b"error" or not chunk.get("choices") or "error" in chunk or "base_resp" in chunk:
            error = chunk if kind == b"error" and not chunk.get("error") else reported_errors.find_error(chunk, kind)
            if error is not None and self.is_complete:
                return  # every answer is there already
            if error is not None:
                raise reported_errors.reported_error(error)
        self._add_chunk(chunk)

    def _handle_end_or_several(self, kind: bytes, data: bytes) -> bool:
        """See to the end mark, to nothing, and to several values in one event."""
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
        """JSON with something odd about it; TryAgain for what is none."""
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
            raise RetryableError("the choices of the stream are no list")
        self._num_chunks += 1
        alone = self._num_chunks == 1 and chunk.get("object") != "chat.completion.chunk"
        self._complete_chunk = chunk if alone and all(map(_is_complete_choice, choices)) else None
        for choice in choices:
            self._add_choice(choice)

    def _add_choice(self, choice: Any) -> None:
        if not isinstance(choice, dict):
            raise RetryableError("a choice of the stream is no object")
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


class TextDeltas:
    """A text from its pieces; they are joined now and then, as many short ones take more memory than few long ones.

    `certain`: after so many pieces of which each begins with all of the one before it, they are no pieces, but the
    whole so far, unless a later one does not.
    """

    __slots__ = ("_blocks", "_pieces", "_prefix_lengths", "_prefix_size", "_previous", "_threshold")

    def __init__(self, threshold: int = CUMULATIVE_AFTER) -> None:
        self._pieces: list[str] = []
        self._blocks: list[str] = []
        self._threshold = threshold
        self._previous: str | None = ""
        self._prefix_lengths: list[int] = []  # of the pieces, as long as each begins with the one before it
        self._prefix_size = 0

    def add(self, piece: str) -> int:
        """Take a piece; the bytes that it takes."""
        if self._previous is not None and (size := self._add_cumulative(piece, self._previous)):
            return size
        self._pieces.append(piece)
        if len(self._pieces) == 4096:
            self._blocks.append("".join(self._pieces))
            self._pieces.clear()
        return len(piece) if piece.isascii() else len(piece.encode(errors="replace"))

    def _add_cumulative(self, piece: str, previous: str) -> int:
        """The bytes that a piece takes that repeats all before it; 0 if it is to be kept as a piece."""
        is_cumulative = len(self._prefix_lengths) >= self._threshold
        is_repeat = piece == previous and (is_cumulative or self._threshold < CUMULATIVE_AFTER)
        if not is_repeat and not (len(piece) > len(previous) and piece.startswith(previous)):
            self._use_deltas(previous)
            return 0
        self._prefix_lengths.append(len(piece))
        self._prefix_size += len(piece)
        self._previous = piece
        if not is_cumulative:
            return 0 if not is_repeat else 1
        self._pieces.clear()  # they are what `before` begins with
        return max(1, len(piece) - len(previous))

    def _use_deltas(self, previous: str) -> None:
        """Take the pieces for what they are, parts: this one does not begin with all before it."""
        if self._prefix_size > MAX_RESPONSE_BYTES:
            raise RequestFailed(f"the response is longer than {MAX_RESPONSE_BYTES >> 20} MB")
        if len(self._prefix_lengths) > self._threshold:
            self._pieces = [previous[:length] for length in self._prefix_lengths]
        self._previous, self._prefix_lengths = None, []

    def join(self) -> str:
        """The text so far."""
        if self._previous is not None and len(self._prefix_lengths) >= self._threshold:
            return self._previous
        return "".join([*self._blocks, *self._pieces])


class ChoiceDeltas:
    """One choice as far as it has come."""

    __slots__ = (
        "_finish_fields",
        "_function_call",
        "_has_delta",
        "_threshold",
        "_tool_calls",
        "error",
        "is_finished",
        "texts",
    )

    def __init__(self, tools: Collection[str]) -> None:
        self.is_finished = False
        self.error: Any = None
        """What the server says went wrong with this choice alone."""
        self.texts: dict[str, TextDeltas] = {}
        self._tool_calls, self._function_call = ToolCalls(tools), ToolCalls(tools)
        self._finish_fields: dict[str, Any] = {}
        self._threshold = CUMULATIVE_AFTER
        self._has_delta = False

    def add(self, choice: dict[str, Any]) -> int:
        """Take a piece; the bytes that it takes, 0 if it says nothing."""
        if choice.get("error"):
            self.error, self.is_finished = choice["error"], True
            return 0
        finish = choice.get("finish_reason")
        if finish is not None and finish_reasons.is_set(finish):
            self.is_finished = True
            self._finish_fields["finish_reason"] = finish
        if choice.get("stop_reason"):
            self._finish_fields["stop_reason"] = choice["stop_reason"]
        if choice.get("native_finish_reason"):
            self._finish_fields["native_finish_reason"] = choice["native_finish_reason"]
        delta = choice.get("delta")
        if delta is None:
            if choice.get("message") is not None:
                return self._add_message(choice["message"])
            delta = {"content": choice["text"]} if choice.get("text") else {}
        if type(delta) is not dict:
            raise RetryableError("a piece of the stream has no message")
        return self._add_delta(delta)

    def to_dict(self, index: int) -> dict[str, Any]:
        """The choice as if it had come whole."""
        message: dict[str, Any] = {name: text.join() for name, text in self.texts.items()}
        message.setdefault("content", None)
        calls = self._tool_calls.assembled() or self._function_call.assembled()
        if calls:
            message["tool_calls"] = calls
        failed = {"error": self.error} if self.error else {}
        return {"index": index, "message": message, "finish_reason": None, **self._finish_fields, **failed}

    def _add_delta(self, delta: dict[str, Any]) -> int:
        size = 0
        for name, value in delta.items():
            if not value or name == "role":
                continue
            if name == "content" and type(value) is str:
                text = self.texts.get(name)
                size += text.add(value) if text is not None else self._add_text(name, value)
            elif name in _FIELD_HANDLERS:
                size += _FIELD_HANDLERS[name](self, name, value)
        if size:
            self._has_delta = True
        return size

    def _add_message(self, whole: Any) -> int:
        """A message in place of a delta; one that repeats what has come in deltas adds nothing."""
        if isinstance(whole, str):
            whole = {"content": whole}
        if not isinstance(whole, dict):
            raise RetryableError("a piece of the stream has no message")
        if self._has_delta:
            return 0
        self._threshold = 2
        size = self._add_delta(whole)
        self._has_delta = False
        return size

    def _add_text(self, name: str, piece: str) -> int:
        text = self.texts.get(name)
        if text is None:
            text = self.texts[name] = TextDeltas(self._threshold)
        return text.add(piece)

    def _add_content(self, _: str, value: Any) -> int:
        text, reasoning = message.text_of(value)
        parts = {"content": text, message.REASONING_PARTS: reasoning, "refusal": message.refusal_in(value)}
        size = sum(self._add_text(name, said) for name, said in parts.items() if said)
        tool_calls = message.tool_calls_in(value)
        return size + (self._tool_calls.add(tool_calls) if tool_calls else 0)

    def _add_reasoning(self, name: str, value: Any) -> int:
        text = message.reasoning_of(value)
        return self._add_text(name, text) if text else 0

    def _add_refusal(self, name: str, value: Any) -> int:
        return self._add_text(name, value) if isinstance(value, str) else 0

    def _add_tool_calls(self, _: str, value: Any) -> int:
        return self._tool_calls.add(value) or 1

    def _add_function_call(self, _: str, value: Any) -> int:
        return self._function_call.add([{"index": 0, "function": value}]) or 1


_FIELD_HANDLERS: dict[str, Callable[[ChoiceDeltas, str, Any], int]] = {
    "content": ChoiceDeltas._add_content,
    "text": ChoiceDeltas._add_content,
    "refusal": ChoiceDeltas._add_refusal,
    "tool_calls": ChoiceDeltas._add_tool_calls,
    "function_call": ChoiceDeltas._add_function_call,
    **dict.fromkeys(message.REASONING_FIELDS, ChoiceDeltas._add_reasoning),
}


def read_body(body: bytes, charset: str | None, tools: Collection[str] = ()) -> Any:
    """The JSON of a whole body, which may hold a stream that nobody asked for, or an end mark after its JSON."""
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
    """The completion in a list: itself, alone, or its pieces one after another."""
    reader = CompletionReader(lambda _: None, tools)
    reader.add_event(chunks)
    return reader.completion() if reader.has_answer else chunks


def _is_complete_choice(choice: Any) -> bool:
    """Whether a choice is one of an answer that was not streamed."""
    return isinstance(choice, dict) and choice.get("delta") is None and choice.get("message") is not None


def _parse_index(value: Any) -> int:
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 12:
        return int(value)
    if isinstance(value, float) and abs(value) < 1e12 and value == int(value):
        return int(value)
    return 0
