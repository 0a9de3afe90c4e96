"""A streamed answer put together again, as if it had come whole: server-sent events in, a completion out. No network.

Form: platform.openai.com/docs/api-reference/chat-streaming; usage in a last piece without choices where the server
follows `stream_options`, `[DONE]` at the end from most servers but not all.
"""

import time
from collections.abc import Callable
from typing import Any

import msgspec

from . import errors, replies
from .line import LARGEST, RequestFailed, TryAgain

_TEXT = ("content", "reasoning", "reasoning_content", "refusal")
_decode = msgspec.json.Decoder().decode


class Stream:
    """Reads the pieces of one response; `told` hears how many tokens have come with each."""

    def __init__(self, told: Callable[[int], None]) -> None:
        self.heard = self.flows = False
        self.first = 0.0
        """When the first token came, by the monotonic clock; 0 before."""
        self.tokens = 0
        """Pieces with text, about as many as tokens."""
        self._told = told
        self._rest = b""
        self._held = 0  # characters
        self._choices: dict[int, dict[str, Any]] = {}
        self._about: dict[str, Any] = {}
        self._done = False

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes, whose lines may begin and end anywhere."""
        self.heard = True
        before = self.tokens
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > LARGEST:
            raise RequestFailed(f"a piece of the stream is longer than {LARGEST >> 20} MB")
        for line in lines:
            if line.startswith(b"data:"):
                self._event(line[5:].strip())
        if self.tokens > before:
            self.flows = True
            self._told(self.tokens - before)

    def completion(self) -> dict[str, Any]:
        """The whole, in the form of an answer that was not streamed; TryAgain if the stream broke off."""
        if self._rest.startswith(b"data:"):  # a last line without its end
            self._event(self._rest[5:].strip())
        ended = self._choices and all(choice["finish_reason"] for choice in self._choices.values())
        if not (ended or self._done):
            raise TryAgain("the stream ended in the middle of an answer")
        choices = [_whole(choice) for _, choice in sorted(self._choices.items())]
        return {"usage": {"completion_tokens": self.tokens}, **self._about, "choices": choices}

    def _event(self, data: bytes) -> None:
        if data == b"[DONE]":
            self._done = True
            return
        try:
            piece = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            piece = replies.parsed(data)
        if not isinstance(piece, dict):
            raise TryAgain("a piece of the stream is no object")
        if (piece.get("error") or not piece.get("choices")) and (error := errors.reported(piece)):
            raise errors.Reported(error)
        if isinstance(piece.get("usage"), dict):
            self._about["usage"] = piece["usage"]
        choices = piece.get("choices") or []
        if not isinstance(choices, list):
            raise TryAgain("the choices of the stream are no list")
        for choice in choices:
            self._piece(choice)

    def _piece(self, choice: Any) -> None:
        if not isinstance(choice, dict):
            raise TryAgain("a choice of the stream is no object")
        index = choice.get("index")
        mine = self._choices.setdefault(
            index if isinstance(index, int) else 0, {"finish_reason": None, "parts": {}, "calls": {}}
        )
        if choice.get("finish_reason"):
            mine["finish_reason"] = choice["finish_reason"]
        delta = choice.get("delta")
        if delta is None:
            delta = {"content": choice["text"]} if "text" in choice else choice.get("message") or {}
            mine["text"] = "text" in choice or mine.get("text", False)
        if not isinstance(delta, dict):
            raise TryAgain("a piece of the stream has no message")
        said = False
        for name in _TEXT:
            part = delta.get(name)
            if not part or (name == "reasoning_content" and delta.get("reasoning")):  # some say it under both names
                continue
            for kind, text in [(name, part)] if isinstance(part, str) else self._parts(part, name):
                self._held += len(text)
                mine["parts"].setdefault(kind, []).append(text)
                said = True
        if self._held > LARGEST:
            raise RequestFailed(f"the answer is longer than {LARGEST >> 20} MB")
        for call in delta.get("tool_calls") or []:
            _merge(mine["calls"], call)
            said = True
        if said:
            self.tokens += 1
            self.first = self.first or time.monotonic()

    def _parts(self, part: Any, name: str) -> list[tuple[str, str]]:
        if not isinstance(part, list):
            raise TryAgain(f"the answer's {name} is a {type(part).__name__}")
        text, thoughts = replies.text_of(part)
        return [(kind, said) for kind, said in (("reasoning", thoughts), ("content", text)) if said]


def _merge(calls: dict[int, dict[str, Any]], piece: Any) -> None:
    """Add a piece of a tool call: the id and the name come once, the arguments bit by bit."""
    if not isinstance(piece, dict):
        raise TryAgain("a tool call of the stream is no object")
    index = piece.get("index")
    call = calls.setdefault(index if isinstance(index, int) else len(calls), {"type": "function", "function": {}})
    for name, value in piece.items():
        if name == "function" and isinstance(value, dict):
            for key, text in value.items():
                known = call["function"].get(key)
                call["function"][key] = known + text if isinstance(known, str) and isinstance(text, str) else text
        elif name != "index" and value is not None:
            call[name] = value


def _whole(choice: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {name: "".join(parts) for name, parts in choice["parts"].items()}
    message.setdefault("content", None)
    if choice["calls"]:
        message["tool_calls"] = [call for _, call in sorted(choice["calls"].items())]
    return {"message": message, "finish_reason": choice["finish_reason"]}
