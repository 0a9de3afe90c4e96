"""A streamed answer put together again, as if it had come whole: server-sent events in, a completion out. No network.

Form: platform.openai.com/docs/api-reference/chat-streaming; usage in a last piece without choices where the server
follows `stream_options`, `[DONE]` at the end from most servers but not all.
"""

import re
import time
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from . import finish_reasons, message, replies, reported, usage
from .line import LARGEST, RequestFailed, TryAgain
from .sse import DONE, Event, EventParser
from .tool_calls import ToolCalls

MOST_CHOICES = 1024
"""Choices in one answer; more are no answer."""
CERTAIN = 8
"""After so many texts in a row of which each begins with all of the one before it, they are no pieces but the whole."""
_FIELDS = re.compile(rb"(?:data|event|id|retry)?:")
_SPACE = b"\xef\xbb\xbf \t\r\n"
_decode = msgspec.json.Decoder().decode


class Stream:
    """Reads one response, which may turn out to be no stream; `told` hears how many tokens have come with each piece.

    `tools`: the names of the tools that were offered. What is kept of a stream is at most `LARGEST` bytes.
    """

    def __init__(self, told: Callable[[int], None], tools: Collection[str] = ()) -> None:
        self.heard = self.flows = False
        self.first = 0.0
        """When the first token came, by the monotonic clock; 0 before."""
        self.tokens = 0
        """Pieces with text, about as many as tokens."""
        self.body = bytearray()
        """A response that is no stream."""
        self.done = False
        """Whether the end mark has come, after which nothing counts."""
        self._told, self._tools = told, tools
        self._parser = EventParser()
        self._typed = self._plain = False
        self._charset: str | None = None
        self._held = 0
        self._choices: dict[int, _Choice] = {}
        self._usage: dict[str, Any] = {}
        self._pieces = 0
        self._whole: dict[str, Any] | None = None
        self._odd = b""
        self._start: int | None = None  # of what is more than space in the body

    def begin(self, content_type: str, charset: str | None) -> None:
        """Hear what the response says of its type; many say something else than they send."""
        self._typed, self._charset = content_type == "text/event-stream", charset

    @property
    def ended(self) -> bool:
        """Whether the answer is whole: every choice says how it ended, or the end mark has come."""
        return self.done or (bool(self._choices) and all(choice.ended for choice in self._choices.values()))

    @property
    def spoken(self) -> bool:
        """Whether anything of an answer has come."""
        return self.done or bool(self._choices) or bool(self._usage)

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes; the exception that says what is wrong with them."""
        if not self.heard:
            chunk = self._told_apart(chunk)
        if not chunk or self.done:
            return
        before = self.tokens
        try:
            for event in self._parser.feed(chunk):
                self._event(event)
        except RecursionError:
            raise TryAgain("a piece of the stream is nested too deeply") from None
        if self.tokens > before:
            self.flows = True
            self._told(self.tokens - before)

    def completion(self) -> dict[str, Any]:
        """The whole, in the form of an answer that was not streamed; TryAgain if the stream broke off."""
        left = [] if self.done else self._parser.close()
        for event in left:
            try:
                self._event(event)
            except TryAgain:
                if not self.ended:
                    raise TryAgain(self._broken()) from None
        if self._whole is not None and self._pieces == 1:
            return self._whole | ({"usage": self._usage} if self._usage else {})
        if not self.ended:
            self._report()
            raise TryAgain(self._broken())
        choices = [choice.whole(index) for index, choice in sorted(self._choices.items())]
        counts = self._usage if usage.output_tokens(self._usage) else self._usage | {"completion_tokens": self.tokens}
        return {"usage": counts, "choices": choices}

    def _told_apart(self, chunk: bytes) -> bytes:
        """What is to be parsed as events; nothing while the response may be, or is, a whole body."""
        seen = len(self.body)
        self.body += chunk
        if len(self.body) > LARGEST:
            raise RequestFailed(f"the response is longer than {LARGEST >> 20} MB")
        if self._plain:
            return b""
        head = chunk.lstrip(_SPACE)[:64] if self._start is None else bytes(self.body[self._start : self._start + 64])
        if not head:
            return b""
        if self._start is None:
            self._start = seen + len(chunk) - len(chunk.lstrip(_SPACE))
        if head[:1] == b"{":  # a whole answer, or one piece on each line
            end = self.body.find(b"\n", max(self._start, seen))
            if end < 0:
                return b""
            lines = self._is_json(bytes(self.body[self._start : end]))
        elif self._typed:
            lines = head[:1] not in {b"[", b"<"} or head.startswith(DONE)
        elif len(head) < 6 and any(name.startswith(head) for name in (b"data:", b"event:", b"id:", b"retry:")):
            return b""
        else:
            lines = _FIELDS.match(head) is not None
        if not lines:
            self._plain = True
            return b""
        self.heard = True
        whole = bytes(self.body)
        self.body.clear()
        return whole

    def _is_json(self, line: bytes) -> bool:
        try:
            replies.parsed(line.strip(_SPACE), self._charset)
        except TryAgain:
            return False
        return True

    def _report(self) -> None:
        """Raise the error that a choice of a stream that broke off has told of."""
        error = next((choice.error for choice in self._choices.values() if choice.error), None)
        if error is not None:
            raise reported.as_exception(error)

    def _broken(self) -> str:
        odd = self._odd or self._parser.unknown
        if odd and not self._choices:
            return f"the stream holds no answer: {odd[:80].decode(errors='replace')!r}"
        return "the stream ended in the middle of an answer"

    def _event(self, event: Event) -> None:
        kind, data = event
        if self.done or not data:
            return
        try:
            if len(data) > replies.LARGE:
                replies.check_parts(data)
            piece = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            if self._is_end_or_many(kind, data):
                return
            if self.ended and not data.lstrip(_SPACE).startswith((b"{", b"[{")) and kind != b"error":
                return  # another end mark than OpenAI's: the answer is whole
            piece = self._odd_json(kind, data)
        self.event(piece, kind)

    def event(self, piece: Any, kind: bytes = b"") -> None:
        """Take the JSON of an event of this type."""
        if isinstance(piece, list) and piece and all(isinstance(each, dict) for each in piece):
            for each in piece:
                self.event(each, kind)
            return
        if not isinstance(piece, dict):
            self.done = piece == DONE.decode()
            if piece is None or self.done or kind == b"ping":
                return
            raise TryAgain("a piece of the stream is no object")
        piece = replies.unwrapped(piece)
        if kind == b"error" or not piece.get("choices") or "error" in piece or "base_resp" in piece:
            error = piece if kind == b"error" and not piece.get("error") else reported.error_in(piece, kind)
            if error is not None and self.ended:
                return  # every answer is there already
            if error is not None:
                raise reported.as_exception(error)
        self._piece(piece)

    def _is_end_or_many(self, kind: bytes, data: bytes) -> bool:
        """See to the end mark, to nothing, and to several values in one event."""
        data = data.strip(_SPACE)
        if not data or kind == b"ping":
            return True
        if data == DONE:
            self.done = True
            return True
        lines = [line for line in data.split(b"\n") if line.strip()]
        if len(lines) < 2 or not all(line.lstrip().startswith((b"{", DONE)) for line in lines):
            return False
        for line in lines:
            self._event((kind, line))
        return True

    def _odd_json(self, kind: bytes, data: bytes) -> Any:
        """JSON with something odd about it; TryAgain for what is none."""
        if kind == b"error":
            raise reported.as_exception(data.decode(errors="replace"))
        self._odd = self._odd or data[:200]
        try:
            data.decode()
        except UnicodeDecodeError:
            return replies.parsed(data, self._charset or "utf-8-sig", whole=False)
        return replies.parsed(data, whole=False)

    def _piece(self, piece: dict[str, Any]) -> None:
        choices = piece.get("choices")
        counts = piece.get("usage")
        if counts is not None and isinstance(counts, dict):
            self._usage = usage.merged(self._usage, counts)
        if not choices:
            if choices is None and counts is None:
                self._odd = self._odd or ", ".join(map(str, list(piece)[:8])).encode(errors="replace")
            return
        if not isinstance(choices, list):
            raise TryAgain("the choices of the stream are no list")
        self._pieces += 1
        alone = self._pieces == 1 and piece.get("object") != "chat.completion.chunk"
        self._whole = piece if alone and all(map(_is_whole, choices)) else None
        for choice in choices:
            self._add(choice)

    def _add(self, choice: Any) -> None:
        if not isinstance(choice, dict):
            raise TryAgain("a choice of the stream is no object")
        index = choice.get("index")
        if type(index) is not int:
            index = _index(index)
        mine = self._choices.get(index)
        if mine is None:
            if len(self._choices) >= MOST_CHOICES:
                raise RequestFailed(f"the stream has more than {MOST_CHOICES} choices")
            mine = self._choices[index] = _Choice(self._tools)
            self._hold(4096)
        size = mine.add(choice)
        if size:
            self._held += size
            if self._held > LARGEST:
                self._hold(0)
            self.tokens += 1
            if not self.first:
                self.first = time.monotonic()
        if "usage" in choice and isinstance(choice["usage"], dict):  # Moonshot
            self._usage = usage.merged(self._usage, choice["usage"])

    def _hold(self, size: int) -> None:
        self._held += size
        if self._held > LARGEST:
            raise RequestFailed(f"the answer is longer than {LARGEST >> 20} MB")


class _Text:
    """A text from its pieces; they are joined now and then, as many short ones take more memory than few long ones.

    `certain`: after so many pieces of which each begins with all of the one before it, they are no pieces, but the
    whole so far, unless a later one does not.
    """

    __slots__ = ("_before", "_blocks", "_certain", "_lengths", "_pieces", "_total")

    def __init__(self, certain: int = CERTAIN) -> None:
        self._pieces: list[str] = []
        self._blocks: list[str] = []
        self._certain = certain
        self._before: str | None = ""
        self._lengths: list[int] = []  # of the pieces, as long as each begins with the one before it
        self._total = 0

    def add(self, piece: str) -> int:
        """Take a piece; the bytes that it takes."""
        if self._before is not None and (size := self._repeating(piece, self._before)):
            return size
        self._pieces.append(piece)
        if len(self._pieces) == 4096:
            self._blocks.append("".join(self._pieces))
            self._pieces.clear()
        return len(piece) if piece.isascii() else len(piece.encode(errors="replace"))

    def _repeating(self, piece: str, before: str) -> int:
        """The bytes that a piece takes that repeats all before it; 0 if it is to be kept as a piece."""
        surely = len(self._lengths) >= self._certain
        again = piece == before and (surely or self._certain < CERTAIN)
        if not again and not (len(piece) > len(before) and piece.startswith(before)):
            self._part(before)
            return 0
        self._lengths.append(len(piece))
        self._total += len(piece)
        self._before = piece
        if not surely:
            return 0 if not again else 1
        self._pieces.clear()  # they are what `before` begins with
        return max(1, len(piece) - len(before))

    def _part(self, before: str) -> None:
        """Take the pieces for what they are, parts: this one does not begin with all before it."""
        if self._total > LARGEST:
            raise RequestFailed(f"the response is longer than {LARGEST >> 20} MB")
        if len(self._lengths) > self._certain:
            self._pieces = [before[:length] for length in self._lengths]
        self._before, self._lengths = None, []

    def whole(self) -> str:
        """The text so far."""
        if self._before is not None and len(self._lengths) >= self._certain:
            return self._before
        return "".join([*self._blocks, *self._pieces])


class _Choice:
    """One choice as far as it has come."""

    __slots__ = ("_calls", "_certain", "_delta", "_ends", "_legacy", "ended", "error", "texts")

    def __init__(self, tools: Collection[str]) -> None:
        self.ended = False
        self.error: Any = None
        """What the server says went wrong with this choice alone."""
        self.texts: dict[str, _Text] = {}
        self._calls, self._legacy = ToolCalls(tools), ToolCalls(tools)
        self._ends: dict[str, Any] = {}
        self._certain = CERTAIN
        self._delta = False

    def add(self, choice: dict[str, Any]) -> int:
        """Take a piece; the bytes that it takes, 0 if it says nothing."""
        if choice.get("error"):
            self.error, self.ended = choice["error"], True
            return 0
        finish = choice.get("finish_reason")
        if finish is not None and finish_reasons.is_given(finish):
            self.ended = True
            self._ends["finish_reason"] = finish
        if choice.get("stop_reason"):
            self._ends["stop_reason"] = choice["stop_reason"]
        if choice.get("native_finish_reason"):
            self._ends["native_finish_reason"] = choice["native_finish_reason"]
        delta = choice.get("delta")
        if delta is None:
            if choice.get("message") is not None:
                return self._message(choice["message"])
            delta = {"content": choice["text"]} if choice.get("text") else {}
        if type(delta) is not dict:
            raise TryAgain("a piece of the stream has no message")
        return self._said(delta)

    def whole(self, index: int) -> dict[str, Any]:
        """The choice as if it had come whole."""
        said: dict[str, Any] = {name: text.whole() for name, text in self.texts.items()}
        said.setdefault("content", None)
        calls = self._calls.whole() or self._legacy.whole()
        if calls:
            said["tool_calls"] = calls
        failed = {"error": self.error} if self.error else {}
        return {"index": index, "message": said, "finish_reason": None, **self._ends, **failed}

    def _said(self, delta: dict[str, Any]) -> int:
        size = 0
        for name, value in delta.items():
            if not value or name == "role":
                continue
            if name == "content" and type(value) is str:
                text = self.texts.get(name)
                size += text.add(value) if text is not None else self._text(name, value)
            elif name in _READERS:
                size += _READERS[name](self, name, value)
        if size:
            self._delta = True
        return size

    def _message(self, whole: Any) -> int:
        """A message in place of a delta; one that repeats what has come in deltas adds nothing."""
        if isinstance(whole, str):
            whole = {"content": whole}
        if not isinstance(whole, dict):
            raise TryAgain("a piece of the stream has no message")
        if self._delta:
            return 0
        self._certain = 2
        size = self._said(whole)
        self._delta = False
        return size

    def _text(self, name: str, piece: str) -> int:
        text = self.texts.get(name)
        if text is None:
            text = self.texts[name] = _Text(self._certain)
        return text.add(piece)

    def _content(self, _: str, value: Any) -> int:
        text, thoughts = message.text_of(value)
        parts = {"content": text, message.PARTS: thoughts, "refusal": message.refusal_in(value)}
        size = sum(self._text(name, said) for name, said in parts.items() if said)
        calls = message.calls_in(value)
        return size + (self._calls.add(calls) if calls else 0)

    def _thoughts(self, name: str, value: Any) -> int:
        said = message.thoughts_of(value)
        return self._text(name, said) if said else 0

    def _refusal(self, name: str, value: Any) -> int:
        return self._text(name, value) if isinstance(value, str) else 0

    def _pieces_of_calls(self, _: str, value: Any) -> int:
        return self._calls.add(value) or 1

    def _function(self, _: str, value: Any) -> int:
        return self._legacy.add([{"index": 0, "function": value}]) or 1


_READERS: dict[str, Callable[[_Choice, str, Any], int]] = {
    "content": _Choice._content,
    "text": _Choice._content,
    "refusal": _Choice._refusal,
    "tool_calls": _Choice._pieces_of_calls,
    "function_call": _Choice._function,
    **dict.fromkeys(message.THOUGHTS, _Choice._thoughts),
}


def whole(body: bytes, charset: str | None, tools: Collection[str] = ()) -> Any:
    """The JSON of a whole body, which may hold a stream that nobody asked for, or an end mark after its JSON."""
    try:
        data = replies.parsed(body, charset)
    except TryAgain:
        stripped = body.strip(_SPACE)
        if stripped.endswith(DONE):
            json = stripped.removesuffix(DONE).rstrip().removesuffix(b"data:")
            try:
                return replies.parsed(json, charset)
            except TryAgain:
                pass
        if stripped[:1] in {b"<", b"["} or not (b"data" in body or stripped.startswith(b"{")):
            raise
        reader = Stream(lambda _: None, tools)
        reader.begin("text/event-stream", charset)
        reader.feed(body)
        if reader.heard and reader.spoken:
            return reader.completion()
        raise
    return _listed(data, tools) if isinstance(data, list) and data else data


def _listed(pieces: list[Any], tools: Collection[str]) -> Any:
    """The completion in a list: itself, alone, or its pieces one after another."""
    reader = Stream(lambda _: None, tools)
    reader.event(pieces)
    return reader.completion() if reader.spoken else pieces


def _is_whole(choice: Any) -> bool:
    """Whether a choice is one of an answer that was not streamed."""
    return isinstance(choice, dict) and choice.get("delta") is None and choice.get("message") is not None


def _index(value: Any) -> int:
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 12:
        return int(value)
    if isinstance(value, float) and abs(value) < 1e12 and value == int(value):
        return int(value)
    return 0
