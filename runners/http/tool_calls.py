"""Tool calls in the OpenAI form, from whatever servers send: whole, in pieces, with and without index and id.

Form: platform.openai.com/docs/guides/function-calling; the deprecated `function_call`; Anthropic's parts of type
`tool_use`. A piece belongs to the call with its id; without one, to the latest call at its index; without an index, to
the latest call. It begins a new call where its name or its arguments cannot go on from what is there.
"""

import json
from collections.abc import Collection, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec

from .exceptions import RequestFailed, RetryableError

MAX_CALLS = 4096
"""Calls in one answer; more are no answer."""
_MAX_DEPTH = 16
_MAX_CHECKS = 64
_STANDARD_FIELDS = {"index", "id", "type", "function", "name", "arguments", "input"}
_decode = msgspec.json.Decoder().decode


class _CallDelta(NamedTuple):
    """What one delta says of a call; empty where it says nothing."""

    call_index: int | None
    """Its index."""
    id: str
    name: str
    arguments: str
    is_object: bool
    """Whether the arguments came as an object, which nothing continues."""


class _CallState:
    """One call as far as it has come."""

    __slots__ = ("_num_checks", "extra", "id", "index", "is_object", "kind", "names", "parts", "size")

    def __init__(self, index: int | None, id_: str) -> None:
        self.index, self.id = index, id_
        self.kind = "function"
        self.names: list[str] = []
        self.parts: list[str] = []
        self.size = self._num_checks = 0
        self.is_object = False
        self.extra: dict[str, Any] = {}

    def is_complete(self) -> bool:
        """Whether the arguments are a whole JSON object; given up on when it was asked too often, as it costs."""
        if self.is_object:
            return True
        if not self.parts or not self.parts[-1].rstrip().endswith("}") or self._num_checks >= _MAX_CHECKS:
            return False
        self._num_checks += 1
        return _is_json("".join(self.parts))

    def has_arguments(self, arguments: str) -> bool:
        """Whether these are all arguments so far, said once more."""
        return len(arguments) == self.size and arguments == "".join(self.parts)

    def has_name(self, name: str) -> bool:
        """Whether its name, or a piece of it, has come already."""
        return name in self.names or name == "".join(self.names)

    def add(self, delta: _CallDelta) -> int:
        """Take a piece that belongs here; the bytes that it takes."""
        self.id = self.id or delta.id
        if self.index is None:
            self.index = delta.call_index
        size = 0
        if delta.name and not (self.size and self.has_name(delta.name)):
            self.names.append(delta.name)
            size += len(delta.name) + 64
        if not delta.arguments or self.is_object:
            return size
        if len(delta.arguments) > 1 and self.has_arguments(delta.arguments) and self.is_complete():
            return size
        if delta.is_object:
            self.parts.clear()
            self.size, self.is_object = 0, True
        elif len(self.parts) >= 4096:  # few long texts take less than many short ones
            self.parts[:-1] = ["".join(self.parts[:-1])]
        self.parts.append(delta.arguments)
        self.size += len(delta.arguments)
        return size + len(delta.arguments)


class ToolCalls:
    """The calls of one answer, put together from pieces; `known`: the names of the tools that were offered."""

    def __init__(self, tool_names: Collection[str] = ()) -> None:
        self._tool_names = tool_names
        self._calls: list[_CallState] = []
        self._by_index: dict[int, _CallState] = {}
        self._by_id: dict[tuple[str, int | None], _CallState] = {}  # by id and index, and by id alone

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, deltas: Any) -> int:
        """Add the pieces of one delta; the bytes that they take. TryAgain for what is no tool call."""
        size, fields_of_calls = 0, _as_list(deltas)
        for position, fields in enumerate(fields_of_calls):
            if not isinstance(fields, dict):
                raise RetryableError("a tool call of the stream is no object")
            delta = _parse_delta(fields)
            if delta.call_index is None and not delta.id and len(fields_of_calls) > 1:
                delta = delta._replace(call_index=position)  # several in one list, which has an order
            call = self._find_call(delta)
            if call is None:
                call = self._begin_call(delta)
                size += 1024
            size += call.add(delta) + _keep_extra_fields(call, fields)
            self._index_call(call, delta)
        return size

    def add_complete(self, calls: Any) -> None:
        """Add calls that each came whole, whatever their index and id say."""
        for fields in _as_list(calls):
            if not isinstance(fields, dict):
                raise RetryableError("the answer's tool_calls are no list of objects")
            delta = _parse_delta(fields)._replace(call_index=None)
            call = self._begin_call(delta)
            call.add(delta)
            _keep_extra_fields(call, fields)

    def assembled(self) -> list[dict[str, Any]]:
        """The calls in their order; ids that are missing are made from it."""
        floor, order = -1, []
        for call in self._calls:  # one without an index comes after those that were begun before it
            order.append(floor if call.index is None else call.index)
            floor = max(floor, order[-1])
        ranked = sorted(range(len(order)), key=order.__getitem__)
        return [self._to_dict(self._calls[number], position) for position, number in enumerate(ranked)]

    def _begin_call(self, delta: _CallDelta) -> _CallState:
        if len(self._calls) >= MAX_CALLS:
            raise RequestFailed(f"the answer has more than {MAX_CALLS} tool calls")
        call = _CallState(delta.call_index, delta.id)
        self._calls.append(call)
        return call

    def _index_call(self, call: _CallState, delta: _CallDelta) -> None:
        """Note where later pieces find a call."""
        if call.index is not None:
            self._by_index[call.index] = call
        for id_ in {call.id, delta.id} - {""}:
            self._by_id[id_, call.index] = self._by_id[id_, None] = call

    def _find_call(self, delta: _CallDelta) -> _CallState | None:
        """The call that a piece goes on with; None if it begins another."""
        last = self._calls[-1] if self._calls else None
        at_index = last if delta.call_index is None else self._by_index.get(delta.call_index)
        if not delta.id:
            if at_index is None and last is not None and not delta.name and delta.arguments and not last.is_complete():
                return last  # some count the pieces where the call's index belongs
            return None if at_index is None or self._starts_new_call(at_index, delta) else at_index
        with_id = self._by_id.get((delta.id, delta.call_index))
        if with_id is None and delta.call_index is not None:  # begun without its index
            with_id = self._by_id.get((delta.id, None))
            with_id = with_id if with_id is not None and with_id.index is None else None
        if with_id is not None:
            is_new_call = (
                delta.name
                and with_id.is_complete()
                and not with_id.has_arguments(delta.arguments)
                and _is_object(delta.arguments)
            )
            return None if is_new_call else with_id
        if at_index is None:
            return None
        if not at_index.id:  # the id comes after the first piece
            return None if self._starts_new_call(at_index, delta) else at_index
        # Some give each piece another id: only where it cannot be another call.
        return at_index if not delta.name and delta.arguments and at_index.size and not at_index.is_complete() else None

    def _starts_new_call(self, call: _CallState, delta: _CallDelta) -> bool:
        """Whether a piece without an id that is known cannot belong to `call`."""
        name, arguments = delta.name, delta.arguments
        if not name or not call.names:
            return False
        if call.size:
            if not call.has_name(name):
                return True
            repeated = delta.call_index is not None and call.has_arguments(arguments)
            return bool(arguments) and not repeated and arguments.lstrip()[:1] in {"{", "["} and call.is_complete()
        if name in self._tool_names and "".join(call.names) in self._tool_names:
            return name not in call.names
        # More of the name, the name once more, or (without an index) the call after one without arguments.
        return delta.call_index is None and not call.has_name(name) and arguments.lstrip()[:1] in {"{", "["}

    def _to_dict(self, call: _CallState, position: int) -> dict[str, Any]:
        function = {"name": self._merge_name(call.names), "arguments": _join_arguments(call.parts) or "{}"}
        return {"id": call.id or f"call_{position}", "type": call.kind, "function": function, **call.extra}

    def _merge_name(self, names: list[str]) -> str:
        """A name that came in pieces, as a whole several times, or longer each time; a tool that was offered wins."""
        joined = "".join(names)
        offered = (name for name in (joined, *names[-1:], *names[:1]) if name in self._tool_names)
        if name := next(offered, ""):
            return name
        if len(set(names)) == 1 or (len(names) > 1 and _is_cumulative(names)):
            return names[-1]
        return joined


def _parse_delta(fields: Mapping[str, Any]) -> _CallDelta:
    function = fields.get("function")
    if not isinstance(function, dict):
        function = fields
    arguments = function.get("arguments")
    if arguments is None:
        arguments = function.get("input")
    text = arguments if isinstance(arguments, str) else "" if arguments is None else _dump(arguments)
    index, id_, name = _parse_index(fields.get("index")), _as_text(fields.get("id")), _as_text(function.get("name"))
    return _CallDelta(index, id_, name, text, isinstance(arguments, dict | list))


def _keep_extra_fields(call: _CallState, fields: Mapping[str, Any]) -> int:
    """Keep what else a server says of a call, such as the signature of its thinking that Gemini wants back."""
    size = 0
    for key, value in fields.items():
        if key == "type" and isinstance(value, str) and value not in {"", "tool_use"}:
            call.kind = value
        elif key not in _STANDARD_FIELDS and value is not None and _is_shallow(value, _MAX_DEPTH):
            call.extra[key] = value
            size += len(key) + 256 + 8 * len(_dump(value))
    return size


def _as_list(calls: Any) -> list[Any]:
    """Calls as a list: one alone is an object, several may be named by their number."""
    if isinstance(calls, dict):
        numbered = calls and all(isinstance(call, dict) and str(key).isdecimal() for key, call in calls.items())
        return list(calls.values()) if numbered else [calls]
    if not isinstance(calls, list):
        raise RetryableError("the answer's tool_calls are no list of objects")
    return [call for call in calls if call is not None]


def _parse_index(value: Any) -> int | None:
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 12:
        return int(value)
    if isinstance(value, float) and abs(value) < 1e12 and value == int(value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _as_text(value: Any) -> str:
    """A name or an id; numbers are taken as text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else ""


def _join_arguments(pieces: list[str]) -> str:
    """Arguments from their pieces; the last one, where each repeats those before it and goes on.

    Empty ones in front of the true ones, which gateways make of Anthropic's beginning, are left out.
    """
    text = "".join(pieces)
    if len(pieces) > 1 and pieces[0].strip() == "{}" and _is_object(rest := "".join(pieces[1:])):
        return rest
    if len(pieces) > 1 and _is_cumulative(pieces) and _is_json(pieces[-1]) and not _is_json(text):
        return pieces[-1]
    return text


def _is_cumulative(pieces: list[str]) -> bool:
    """Whether each piece begins with all of the one before it."""
    return all(piece.startswith(before) for before, piece in pairwise(pieces))


def _is_json(text: str) -> bool:
    try:
        _decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True


def _is_object(text: str) -> bool:
    return text.lstrip().startswith("{") and _is_json(text)


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _is_shallow(value: Any, levels: int) -> bool:
    if isinstance(value, dict):
        return levels > 0 and all(_is_shallow(each, levels - 1) for each in value.values())
    return not isinstance(value, list) or (levels > 0 and all(_is_shallow(each, levels - 1) for each in value))
