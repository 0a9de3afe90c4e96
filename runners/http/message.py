"""The message of an answer: text, thinking and tool calls, in all forms that servers use.

Thinking: `reasoning` (vLLM, OpenRouter), `reasoning_content` (DeepSeek, SGLang, llama.cpp), `thinking` (Ollama),
`reasoning_details` (OpenRouter), `thinking_blocks` (LiteLLM), parts of type `thinking` or `reasoning` in the content
(Mistral, Anthropic). Several of them have the same content, and the first counts.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from . import tool_calls
from .exceptions import RetryableError

REASONING_FIELDS = ("reasoning", "reasoning_content", "thinking", "reasoning_details", "thinking_blocks")
REASONING_PARTS = "thinking in parts"
"""Field in which a stream collects the thinking in parts of the content."""
_OTHER_FIELDS = (*REASONING_FIELDS, REASONING_PARTS, "tool_calls", "function_call", "refusal")
"""Fields with other content."""
_REASONING_TYPES = {"thinking", "reasoning", "reasoning_text", "reasoning.text", "reasoning.summary", "summary_text"}
_REASONING_TYPES |= {"think", "thought", "reasoning_content"}
_HIDDEN_TYPES = {"redacted_thinking", "reasoning.encrypted", "tool_use", "function_call"}


class Message(NamedTuple):
    """The raw text (think tags included), the thinking of the server's own field, and tool calls."""

    text: str
    reasoning: str
    tool_calls: list[dict[str, Any]]
    refused: bool = False
    """Whether the text is the server's field for a refusal."""


def parse(choice: Mapping[str, Any], tool_names: Collection[str] = ()) -> Message:
    """The message of a choice; RetryableError if there is none. `tool_names`: of the offered tools."""
    message = choice.get("message")
    if type(message) is dict and not any(map(message.get, _OTHER_FIELDS)) and type(message.get("content")) is str:
        return Message(repair_surrogates(message["content"]), "", [])  # nearly always
    if message is None:
        message = choice.get("delta")
    if message is None and isinstance(choice.get("text"), str | list):
        message = {"content": choice["text"]}
    if isinstance(message, str):
        message = {"content": message}
    if not isinstance(message, dict):
        raise RetryableError("the reply holds no message")
    content = message.get("content")
    if content is None and isinstance(message.get("text"), str):
        content = message["text"]
    text, parts = text_of(content)
    parts = message.get(REASONING_PARTS) or parts
    reasoning = next(filter(None, (reasoning_of(message.get(name)) for name in REASONING_FIELDS)), parts)
    calls = tool_calls.ToolCalls(tool_names)
    for field in (message.get("tool_calls"), message.get("function_call"), tool_calls_in(content)):
        if field and not calls:
            calls.add_complete(field)
    refusal = message.get("refusal") or refusal_in(content)
    refused = not text and not calls and isinstance(refusal, str) and bool(refusal)
    text, reasoning = repair_surrogates(str(refusal) if refused else text), repair_surrogates(reasoning)
    return Message(text, reasoning, [_repair_call(call) for call in calls.assembled()], refused)


def text_of(content: Any) -> tuple[str, str]:
    """Text and thinking of a content: a string, nothing, a part or a list of parts."""
    if content is None or isinstance(content, str):
        return content or "", ""
    if isinstance(content, dict) and content.keys() & {"text", "content", "thinking", "type"}:
        content = [content]
    if not isinstance(content, list):
        raise RetryableError(f"the answer's content is a {type(content).__name__}")
    text: list[str] = []
    reasoning: list[str] = []
    for part in content:
        if isinstance(part, str):
            text.append(part)
        elif isinstance(part, dict):
            kind = part.get("type")
            if isinstance(kind, str) and kind.lower() in _HIDDEN_TYPES:
                continue
            if part.get("thought") is True:  # Gemini
                reasoning.append(reasoning_of(part.get("text")))
            elif isinstance(kind, str) and kind.lower() in _REASONING_TYPES:
                reasoning.append(reasoning_of(part))
            else:
                reasoning.append(reasoning_of(part.get("thinking")))
                text.append(text_of(part.get("text"))[0] if part.get("text") is not None else _nested_text(part))
        elif part is not None:
            raise RetryableError("the answer's content has a part that is not an object")
    return "".join(text), "".join(reasoning)


def reasoning_of(value: Any) -> str:
    """The thinking in a field for it: a text, an object or a list of them; encrypted thinking is left out."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(map(reasoning_of, value))
    if not isinstance(value, dict) or value.get("type") in _HIDDEN_TYPES:
        return ""
    fields = ("thinking", "reasoning", "text", "content", "summary")
    return next((text for name in fields if (text := reasoning_of(value.get(name)))), "")


def _nested_text(part: dict[str, Any]) -> str:
    content = part.get("content")
    return text_of(content)[0] if isinstance(content, str | list) else ""


def tool_calls_in(content: Any) -> list[Any]:
    """The tool calls among the parts of a content."""
    if not isinstance(content, list):
        return []
    return [part for part in content if isinstance(part, dict) and part.get("type") in {"tool_use", "function_call"}]


def refusal_in(content: Any) -> str:
    """The refusal among the parts of a content."""
    if not isinstance(content, list):
        return ""
    texts = (part.get("refusal") for part in content if isinstance(part, dict) and part.get("type") == "refusal")
    return "".join(text for text in texts if isinstance(text, str))


def repair_surrogates(text: str) -> str:
    """A text that can be encoded: surrogate pairs split between two deltas are joined, lone surrogates replaced."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        return text.encode(errors="replace").decode()
    return text


def _repair_call(call: dict[str, Any]) -> dict[str, Any]:
    function = {name: repair_surrogates(text) for name, text in call["function"].items()}
    return call | {"id": repair_surrogates(call["id"]), "function": function}
