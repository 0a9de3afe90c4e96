"""One choice of a streamed completion, assembled from its deltas. No network.

Most servers send true deltas, some the whole text so far each time, some a message in place of the last delta.
"""

from collections.abc import Callable, Collection
from typing import Any

from . import finish_reasons, message
from .endpoint import MAX_RESPONSE_BYTES
from .exceptions import RequestFailed, RetryableError
from .tool_calls import ToolCalls

CUMULATIVE_AFTER = 8
"""Deltas in a row that each begin with all of the one before, after which they are taken as cumulative."""


class TextDeltas:
    """A text assembled from deltas; they are joined now and then, as many short ones take more memory than few long.

    `threshold`: after that many deltas of which each begins with all of the one before, they are taken as cumulative
    (each the whole text so far), until a later one is not.
    """

    __slots__ = ("_blocks", "_deltas", "_prefix_lengths", "_prefix_size", "_previous", "_threshold")

    def __init__(self, threshold: int = CUMULATIVE_AFTER) -> None:
        self._deltas: list[str] = []
        self._blocks: list[str] = []
        self._threshold = threshold
        self._previous: str | None = ""
        self._prefix_lengths: list[int] = []  # of the deltas, as long as they are cumulative
        self._prefix_size = 0

    def add(self, delta: str) -> int:
        """Add a delta; the bytes that it takes."""
        if self._previous is not None and (size := self._add_cumulative(delta, self._previous)):
            return size
        self._deltas.append(delta)
        if len(self._deltas) == 4096:
            self._blocks.append("".join(self._deltas))
            self._deltas.clear()
        return len(delta) if delta.isascii() else len(delta.encode(errors="replace"))

    def _add_cumulative(self, delta: str, previous: str) -> int:
        """Add a delta that begins with all before it; the bytes that it takes, 0 if it must be kept as a delta."""
        is_cumulative = len(self._prefix_lengths) >= self._threshold
        is_repeat = delta == previous and (is_cumulative or self._threshold < CUMULATIVE_AFTER)
        if not is_repeat and not (len(delta) > len(previous) and delta.startswith(previous)):
            self._use_deltas(previous)
            return 0
        self._prefix_lengths.append(len(delta))
        self._prefix_size += len(delta)
        self._previous = delta
        if not is_cumulative:
            return 0 if not is_repeat else 1
        self._deltas.clear()  # `previous` begins with them
        return max(1, len(delta) - len(previous))

    def _use_deltas(self, previous: str) -> None:
        """Go back to true deltas: the new one does not begin with all before it."""
        if self._prefix_size > MAX_RESPONSE_BYTES:
            raise RequestFailed(f"the response is longer than {MAX_RESPONSE_BYTES >> 20} MB")
        if len(self._prefix_lengths) > self._threshold:
            self._deltas = [previous[:length] for length in self._prefix_lengths]
        self._previous, self._prefix_lengths = None, []

    def join(self) -> str:
        """The text so far."""
        if self._previous is not None and len(self._prefix_lengths) >= self._threshold:
            return self._previous
        return "".join([*self._blocks, *self._deltas])


class ChoiceDeltas:
    """One choice assembled from deltas."""

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
        """The server's error for this choice alone."""
        self.texts: dict[str, TextDeltas] = {}
        self._tool_calls, self._function_call = ToolCalls(tools), ToolCalls(tools)
        self._finish_fields: dict[str, Any] = {}
        self._threshold = CUMULATIVE_AFTER
        self._has_delta = False

    def add(self, choice: dict[str, Any]) -> int:
        """Add a chunk of this choice; the bytes that it takes, 0 if it is empty."""
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
            raise RetryableError("a chunk of the stream has no message")
        return self._add_delta(delta)

    def to_dict(self, index: int) -> dict[str, Any]:
        """The choice in the form of an answer that was not streamed."""
        fields: dict[str, Any] = {name: text.join() for name, text in self.texts.items()}
        fields.setdefault("content", None)
        calls = self._tool_calls.assembled() or self._function_call.assembled()
        if calls:
            fields["tool_calls"] = calls
        error = {"error": self.error} if self.error else {}
        return {"index": index, "message": fields, "finish_reason": None, **self._finish_fields, **error}

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
        """Add a message in place of a delta; one after deltas repeats them and adds nothing."""
        if isinstance(whole, str):
            whole = {"content": whole}
        if not isinstance(whole, dict):
            raise RetryableError("a chunk of the stream has no message")
        if self._has_delta:
            return 0
        self._threshold = 2
        size = self._add_delta(whole)
        self._has_delta = False
        return size

    def _add_text(self, name: str, delta: str) -> int:
        text = self.texts.get(name)
        if text is None:
            text = self.texts[name] = TextDeltas(self._threshold)
        return text.add(delta)

    def _add_content(self, _: str, value: Any) -> int:
        text, reasoning = message.text_of(value)
        parts = {"content": text, message.REASONING_PARTS: reasoning, "refusal": message.refusal_in(value)}
        size = sum(self._add_text(name, part) for name, part in parts.items() if part)
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
