"""The transcript of an episode: every message and every output of the model, each stored once.

A list of messages in the OpenAI form, in the order in which they came. Outputs have `role: assistant` with `content`,
`reasoning`, `tool_calls`, `finish_reason` (unless it is `stop`) and `usage`. A prompt of raw text or token ids has
`role: prompt`, a request that failed `role: error`. The sample's own messages are left out, and so is what an earlier
request has said. An entry follows the one before it unless it has `parent`: the index of the entry that it follows, -1
for the sample's messages, None for the beginning of another conversation.
"""

import copy
from collections.abc import Sequence
from typing import Any

import msgspec

from m1eval.types import Message, Output, Request

AFTER_PROMPT = -1
"""Parent of what follows the sample's own messages."""


class Transcript:
    """A tree of messages, kept as a list; requests that continue another share its entries."""

    def __init__(self, prompt: Sequence[Message]) -> None:
        self.entries: list[dict[str, Any]] = []
        self._prompt = copy.deepcopy(list(prompt))
        self._messages: list[Message] = []
        self._children: dict[int | None, list[int]] = {}

    def add_request(self, request: Request) -> int | None:
        """Add the messages that no earlier request has sent; the index of the entry that its output follows."""
        messages = request.messages
        if messages is None:
            content = request.prompt if request.token_ids is None else request.token_ids
            return self._follow(None, {"role": "prompt", "content": content})
        parent: int | None = None
        if messages[: len(self._prompt)] == self._prompt:
            parent, messages = AFTER_PROMPT, messages[len(self._prompt) :]
        for message in messages:
            parent = self._follow(parent, message)
        return parent

    def add_output(self, parent: int | None, output: Output) -> None:
        """Add an output of the model below the last message of its request."""
        message: Message = {"role": "assistant", "content": output.text}
        details = {"reasoning": output.reasoning, "tool_calls": copy.deepcopy(output.tool_calls)}
        details["finish_reason"] = "" if output.finish_reason == "stop" else output.finish_reason
        message |= {name: value for name, value in details.items() if value}
        self._add(parent, message | {"usage": msgspec.to_builtins(output.usage)}, message)

    def add_error(self, parent: int | None, error: str) -> None:
        """Add that a request failed."""
        self._add(parent, {"role": "error", "content": error}, {})

    def _follow(self, parent: int | None, message: Message) -> int:
        """The index of a message below its parent, added if it is not there."""
        for child in self._children.get(parent, ()):
            if _is_same(self._messages[child], message):
                return child
        stored = copy.deepcopy(message)  # as episodes may change a message after they have sent it
        return self._add(parent, dict(stored), stored)

    def _add(self, parent: int | None, entry: dict[str, Any], message: Message) -> int:
        index = len(self.entries)
        if parent != index - 1:
            entry["parent"] = parent
        self.entries.append(entry)
        self._messages.append(message)
        self._children.setdefault(parent, []).append(index)
        return index


def _is_same(stored: Message, message: Message) -> bool:
    """Whether a message is one that is stored; of an output, it is enough that text and tool calls are sent back."""
    if stored == message:
        return True
    return stored.get("role") == "assistant" == message.get("role") and _said(stored) == _said(message)


def _said(message: Message) -> tuple[Any, Any]:
    return message.get("content") or "", message.get("tool_calls") or []
