"""Tool calls in the OpenAI form, from all forms that servers send: whole, in deltas, with and without index and id.

Form: platform.openai.com/docs/guides/function-calling; the deprecated `function_call`; Anthropic's parts of type
`tool_use`. A delta belongs to the call with its id; without one, to the latest call at its index; without an index, to
the latest call. It starts a new call where its name or arguments cannot continue that one.
"""

import json
from collections.abc import Collection, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec

from .exceptions import RequestFailed, RetryableError

MAX_CALLS = 4096
"""Maximum number of calls in one answer."""
_MAX_DEPTH = 16
_MAX_CHECKS = 64
_STANDARD_FIELDS = {"index", "id", "type", "function", "name", "arguments", "input"}
_decode = msgspec.json.Decoder().decode


class _CallDelta(NamedTuple):
    """The fields of a call in one delta; empty where they are missing."""

    call_index: int | None
    """The call's index in the answer."""
    id: str
    name: str
    arguments: str
    is_object: bool
    """Whether the arguments came as an object, which is complete."""


class _CallState:
    """One call under assembly."""

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
        """Whether the arguments are a complete JSON object; False after too many checks, as each parses them all."""
        if self.is_object:
            return True
        if not self.parts or not self.parts[-1].rstrip().endswith("}") or self._num_checks >= _MAX_CHECKS:
            return False
        self._num_checks += 1
        return _is_json("".join(self.parts))

    def has_arguments(self, arguments: str) -> bool:
        """Whether these are exactly the arguments so far."""
        return len(arguments) == self.size and arguments == "".join(self.parts)

    def has_name(self, name: str) -> bool:
        """Whether its name, or a part of it, has come already."""
        return name in self.names or name == "".join(self.names)

    def add(self, delta: _CallDelta) -> int:
        """Add a delta of this call; the bytes that it takes."""
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
        elif len(self.parts) >= 4096:  # few long texts take less memory than many short ones
            self.parts[:-1] = ["".join(self.parts[:-1])]
        self.parts.append(delta.arguments)
        self.size += len(delta.arguments)
        return size + len(delta.arguments)


class ToolCalls:
    """The calls of one answer, assembled from deltas; `tool_names`: of the offered tools."""

    def __init__(self, tool_names: Collection[str] = ()) -> None:
        self._tool_names = tool_names
        self._calls: list[_CallState] = []
        self._by_index: dict[int, _CallState] = {}
        self._by_id: dict[tuple[str, int | None], _CallState] = {}  # by id and index, and by id alone

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, deltas: Any) -> int:
        """Add the deltas of one chunk; the bytes that they take. RetryableError for anything but tool calls."""
        size, fields_of_calls = 0, _as_list(deltas)
        for position, fields in enumerate(fields_of_calls):
            if not isinstance(fields, dict):
                raise RetryableError("a tool call of the stream is not an object")
            delta = _parse_delta(fields)
            if delta.call_index is None and not delta.id and len(fields_of_calls) > 1:
                delta = delta._replace(call_index=position)  # several in one list are in order
            call = self._find_call(delta)
            if call is None:
                call = self._begin_call(delta)
                size += 1024
            size += call.add(delta) + _keep_extra_fields(call, fields)
            self._index_call(call, delta)
        return size

    def add_complete(self, calls: Any) -> None:
        """Add complete calls, whatever their index and id."""
        for fields in _as_list(calls):
            if not isinstance(fields, dict):
                raise RetryableError("the answer's tool_calls are not a list of objects")
            delta = _parse_delta(fields)._replace(call_index=None)
            call = self._begin_call(delta)
            call.add(delta)
            _keep_extra_fields(call, fields)

    def assembled(self) -> list[dict[str, Any]]:
        """The calls in order; missing ids are numbered."""
        floor, order = -1, []
        for call in self._calls:  # one without an index comes after those before it
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
        """Index a call for later deltas."""
        if call.index is not None:
            self._by_index[call.index] = call
        for id_ in {call.id, delta.id} - {""}:
            self._by_id[id_, call.index] = self._by_id[id_, None] = call

    def _find_call(self, delta: _CallDelta) -> _CallState | None:
        """The call that a delta continues; None if it starts a new one."""
        last = self._calls[-1] if self._calls else None
        at_index = last if delta.call_index is None else self._by_index.get(delta.call_index)
        if not delta.id:
            if at_index is None and last is not None and not delta.name and delta.arguments and not last.is_complete():
                return last  # some put the number of the delta in place of the call's index
            return None if at_index is None or self._starts_new_call(at_index, delta) else at_index
        with_id = self._by_id.get((delta.id, delta.call_index))
        if with_id is None and delta.call_index is not None:  # started without its index
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
        if not at_index.id:  # the id comes after the first delta
            return None if self._starts_new_call(at_index, delta) else at_index
        # Some give each delta another id: only where it cannot be another call.
        return at_index if not delta.name and delta.arguments and at_index.size and not at_index.is_complete() else None

    def _starts_new_call(self, call: _CallState, delta: _CallDelta) -> bool:
        """Whether a delta without a known id cannot continue `call`."""
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
        # More of the name, the name repeated, or (without an index) the call after one without arguments.
        return delta.call_index is None and not call.has_name(name) and arguments.lstrip()[:1] in {"{", "["}

    def _to_dict(self, call: _CallState, position: int) -> dict[str, Any]:
        function = {"name": self._merge_name(call.names), "arguments": _join_arguments(call.parts) or "{}"}
        return {"id": call.id or f"call_{position}", "type": call.kind, "function": function, **call.extra}

    def _merge_name(self, names: list[str]) -> str:
        """A name from deltas that are parts, repetitions or cumulative; an offered tool takes precedence."""
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
    """Keep a call's other fields, such as Gemini's thought signature, which it wants back."""
    size = 0
    for key, value in fields.items():
        if key == "type" and isinstance(value, str) and value not in {"", "tool_use"}:
            call.kind = value
        elif key not in _STANDARD_FIELDS and value is not None and _is_shallow(value, _MAX_DEPTH):
            call.extra[key] = value
            size += len(key) + 256 + 8 * len(_dump(value))
    return size


def _as_list(calls: Any) -> list[Any]:
    """Calls as a list: a single one may be an object, several an object by number."""
    if isinstance(calls, dict):
        numbered = calls and all(isinstance(call, dict) and str(key).isdecimal() for key, call in calls.items())
        return list(calls.values()) if numbered else [calls]
    if not isinstance(calls, list):
        raise RetryableError("the answer's tool_calls are not a list of objects")
    return [call for call in calls if call is not None]


def _parse_index(value: Any) -> int | None:
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 12:
        return int(value)
    if isinstance(value, float) and abs(value) < 1e12 and value == int(value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _as_text(value: Any) -> str:
    """A name or an id; numbers become text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else ""


def _join_arguments(deltas: list[str]) -> str:
    """Arguments from their deltas; the last one, where they are cumulative.

    A leading `{}`, which gateways make of Anthropic's first event, is left out.
    """
    text = "".join(deltas)
    if len(deltas) > 1 and deltas[0].strip() == "{}" and _is_object(rest := "".join(deltas[1:])):
        return rest
    if len(deltas) > 1 and _is_cumulative(deltas) and _is_json(deltas[-1]) and not _is_json(text):
        return deltas[-1]
    return text


def _is_cumulative(deltas: list[str]) -> bool:
    """Whether each delta begins with all of the one before it."""
    return all(delta.startswith(before) for before, delta in pairwise(deltas))


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
        return levels > 0 and all(_is_shallow(part, levels - 1) for part in value.values())
    return not isinstance(value, list) or (levels > 0 and all(_is_shallow(part, levels - 1) for part in value))
