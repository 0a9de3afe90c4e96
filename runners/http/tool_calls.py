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

from .line import RequestFailed, TryAgain

MOST_CALLS = 4096
"""Calls in one answer; more are no answer."""
_DEEPEST = 16
_MOST_LOOKS = 64
_OWN = {"index", "id", "type", "function", "name", "arguments", "input"}
_decode = msgspec.json.Decoder().decode


class _Piece(NamedTuple):
    """What one delta says of a call; empty where it says nothing."""

    place: int | None
    """Its index."""
    id: str
    name: str
    arguments: str
    whole: bool
    """Whether the arguments came as an object, which nothing continues."""


class _Call:
    """One call as far as it has come."""

    __slots__ = ("_looks", "extra", "id", "index", "kind", "names", "parts", "size", "whole")

    def __init__(self, index: int | None, id_: str) -> None:
        self.index, self.id = index, id_
        self.kind = "function"
        self.names: list[str] = []
        self.parts: list[str] = []
        self.size = self._looks = 0
        self.whole = False
        self.extra: dict[str, Any] = {}

    def complete(self) -> bool:
        """Whether the arguments are a whole JSON object; given up on when it was asked too often, as it costs."""
        if self.whole:
            return True
        if not self.parts or not self.parts[-1].rstrip().endswith("}") or self._looks >= _MOST_LOOKS:
            return False
        self._looks += 1
        return _is_json("".join(self.parts))

    def has(self, arguments: str) -> bool:
        """Whether these are all arguments so far, said once more."""
        return len(arguments) == self.size and arguments == "".join(self.parts)

    def is_called(self, name: str) -> bool:
        """Whether its name, or a piece of it, has come already."""
        return name in self.names or name == "".join(self.names)

    def add(self, piece: _Piece) -> int:
        """Take a piece that belongs here; the bytes that it takes."""
        self.id = self.id or piece.id
        if self.index is None:
            self.index = piece.place
        size = 0
        if piece.name and not (self.size and self.is_called(piece.name)):
            self.names.append(piece.name)
            size += len(piece.name) + 64
        if not piece.arguments or self.whole:
            return size
        if len(piece.arguments) > 1 and self.has(piece.arguments) and self.complete():
            return size
        if piece.whole:
            self.parts.clear()
            self.size, self.whole = 0, True
        elif len(self.parts) >= 4096:  # few long texts take less than many short ones
            self.parts[:-1] = ["".join(self.parts[:-1])]
        self.parts.append(piece.arguments)
        self.size += len(piece.arguments)
        return size + len(piece.arguments)


class ToolCalls:
    """The calls of one answer, put together from pieces; `known`: the names of the tools that were offered."""

    def __init__(self, known: Collection[str] = ()) -> None:
        self._known = known
        self._calls: list[_Call] = []
        self._at: dict[int, _Call] = {}
        self._named: dict[tuple[str, int | None], _Call] = {}  # by id and index, and by id alone

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, pieces: Any) -> int:
        """Add the pieces of one delta; the bytes that they take. TryAgain for what is no tool call."""
        size, listed = 0, _listed(pieces)
        for place, given in enumerate(listed):
            if not isinstance(given, dict):
                raise TryAgain("a tool call of the stream is no object")
            piece = _piece(given)
            if piece.place is None and not piece.id and len(listed) > 1:
                piece = piece._replace(place=place)  # several in one list, which has an order
            call = self._continued(piece)
            if call is None:
                call = self._begun(piece)
                size += 1024
            size += call.add(piece) + _describe(call, given)
            self._find(call, piece)
        return size

    def add_whole(self, calls: Any) -> None:
        """Add calls that each came whole, whatever their index and id say."""
        for given in _listed(calls):
            if not isinstance(given, dict):
                raise TryAgain("the answer's tool_calls are no list of objects")
            piece = _piece(given)._replace(place=None)
            call = self._begun(piece)
            call.add(piece)
            _describe(call, given)

    def whole(self) -> list[dict[str, Any]]:
        """The calls in their order; ids that are missing are made from it."""
        floor, order = -1, []
        for call in self._calls:  # one without an index comes after those that were begun before it
            order.append(floor if call.index is None else call.index)
            floor = max(floor, order[-1])
        ranked = sorted(range(len(order)), key=order.__getitem__)
        return [self._finished(self._calls[number], place) for place, number in enumerate(ranked)]

    def _begun(self, piece: _Piece) -> _Call:
        if len(self._calls) >= MOST_CALLS:
            raise RequestFailed(f"the answer has more than {MOST_CALLS} tool calls")
        call = _Call(piece.place, piece.id)
        self._calls.append(call)
        return call

    def _find(self, call: _Call, piece: _Piece) -> None:
        """Note where later pieces find a call."""
        if call.index is not None:
            self._at[call.index] = call
        for id_ in {call.id, piece.id} - {""}:
            self._named[id_, call.index] = self._named[id_, None] = call

    def _continued(self, piece: _Piece) -> _Call | None:
        """The call that a piece goes on with; None if it begins another."""
        last = self._calls[-1] if self._calls else None
        there = last if piece.place is None else self._at.get(piece.place)
        if not piece.id:
            if there is None and last is not None and not piece.name and piece.arguments and not last.complete():
                return last  # some count the pieces where the call's index belongs
            return None if there is None or self._begins(there, piece) else there
        same = self._named.get((piece.id, piece.place))
        if same is None and piece.place is not None:  # begun without its index
            same = self._named.get((piece.id, None))
            same = same if same is not None and same.index is None else None
        if same is not None:
            again = piece.name and same.complete() and not same.has(piece.arguments) and _is_object(piece.arguments)
            return None if again else same
        if there is None:
            return None
        if not there.id:  # the id comes after the first piece
            return None if self._begins(there, piece) else there
        # Some give each piece another id: only where it cannot be another call.
        return there if not piece.name and piece.arguments and there.size and not there.complete() else None

    def _begins(self, call: _Call, piece: _Piece) -> bool:
        """Whether a piece without an id that is known cannot belong to `call`."""
        name, arguments = piece.name, piece.arguments
        if not name or not call.names:
            return False
        if call.size:
            if not call.is_called(name):
                return True
            repeated = piece.place is not None and call.has(arguments)
            return bool(arguments) and not repeated and arguments.lstrip()[:1] in {"{", "["} and call.complete()
        if name in self._known and "".join(call.names) in self._known:
            return name not in call.names
        # More of the name, the name once more, or (without an index) the call after one without arguments.
        return piece.place is None and not call.is_called(name) and arguments.lstrip()[:1] in {"{", "["}

    def _finished(self, call: _Call, place: int) -> dict[str, Any]:
        function = {"name": self._name(call.names), "arguments": _joined(call.parts) or "{}"}
        return {"id": call.id or f"call_{place}", "type": call.kind, "function": function, **call.extra}

    def _name(self, names: list[str]) -> str:
        """A name that came in pieces, as a whole several times, or longer each time; a tool that was offered wins."""
        whole = "".join(names)
        offered = (name for name in (whole, *names[-1:], *names[:1]) if name in self._known)
        if name := next(offered, ""):
            return name
        if len(set(names)) == 1 or (len(names) > 1 and _grows(names)):
            return names[-1]
        return whole


def _piece(given: Mapping[str, Any]) -> _Piece:
    function = given.get("function")
    if not isinstance(function, dict):
        function = given
    arguments = function.get("arguments")
    if arguments is None:
        arguments = function.get("input")
    text = arguments if isinstance(arguments, str) else "" if arguments is None else _dumped(arguments)
    index, id_, name = _index(given.get("index")), _text(given.get("id")), _text(function.get("name"))
    return _Piece(index, id_, name, text, isinstance(arguments, dict | list))


def _describe(call: _Call, given: Mapping[str, Any]) -> int:
    """Keep what else a server says of a call, such as the signature of its thinking that Gemini wants back."""
    size = 0
    for key, value in given.items():
        if key == "type" and isinstance(value, str) and value not in {"", "tool_use"}:
            call.kind = value
        elif key not in _OWN and value is not None and _is_shallow(value, _DEEPEST):
            call.extra[key] = value
            size += len(key) + 256 + 8 * len(_dumped(value))
    return size


def _listed(calls: Any) -> list[Any]:
    """Calls as a list: one alone is an object, several may be named by their number."""
    if isinstance(calls, dict):
        numbered = calls and all(isinstance(call, dict) and str(key).isdecimal() for key, call in calls.items())
        return list(calls.values()) if numbered else [calls]
    if not isinstance(calls, list):
        raise TryAgain("the answer's tool_calls are no list of objects")
    return [call for call in calls if call is not None]


def _index(value: Any) -> int | None:
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 12:
        return int(value)
    if isinstance(value, float) and abs(value) < 1e12 and value == int(value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: Any) -> str:
    """A name or an id; numbers are taken as text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else ""


def _joined(pieces: list[str]) -> str:
    """Arguments from their pieces; the last one, where each repeats those before it and goes on.

    Empty ones in front of the true ones, which gateways make of Anthropic's beginning, are left out.
    """
    text = "".join(pieces)
    if len(pieces) > 1 and pieces[0].strip() == "{}" and _is_object(rest := "".join(pieces[1:])):
        return rest
    if len(pieces) > 1 and _grows(pieces) and _is_json(pieces[-1]) and not _is_json(text):
        return pieces[-1]
    return text


def _grows(pieces: list[str]) -> bool:
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


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _is_shallow(value: Any, levels: int) -> bool:
    if isinstance(value, dict):
        return levels > 0 and all(_is_shallow(each, levels - 1) for each in value.values())
    return not isinstance(value, list) or (levels > 0 and all(_is_shallow(each, levels - 1) for each in value))
