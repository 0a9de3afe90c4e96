"""Tool calls assembled from deltas by id, index and order, however a server splits them."""

import json
import random
from itertools import pairwise
from typing import Any

import pytest

from tests.http.conftest import Loopback, Reply, answer, ask, event, http, question


def call(name: Any = None, arguments: Any = None, **more: Any) -> dict[str, Any]:
    function = {"name": name} if name is not None else {}
    return more | {"function": function | ({"arguments": arguments} if arguments is not None else {})}


def merged(*deltas: Any, tools: Any = ()) -> list[tuple[str, str]]:
    """Names and arguments of the calls in a stream of these deltas, each a list of call deltas."""
    reader = http.stream.CompletionReader(lambda _: None, frozenset(tools))
    for delta in deltas:
        pieces = delta if isinstance(delta, list) else [delta]
        reader.feed(event({"choices": [{"index": 0, "delta": {"tool_calls": pieces}}]}))
    reader.feed(event({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}) + event(b"[DONE]"))
    [output] = http.outputs.parse(reader.completion(), None, tools=tools)
    assert len({fragment["id"] for fragment in output.tool_calls}) == len(output.tool_calls) or "same id" in str(deltas)
    assert all(fragment["type"] == "function" for fragment in output.tool_calls)
    return [(fragment["function"]["name"], fragment["function"]["arguments"]) for fragment in output.tool_calls]


A, B = ("f", '{"x": 1}'), ("g", '{"y": {"z": 2}}')
CASES: dict[str, tuple[list[Any], list[tuple[str, str]]]] = {
    "as OpenAI": (
        [
            call("f", "", index=0, id="a"),
            call(None, '{"x"', index=0),
            call(None, ": 1}", index=0),
            call(*B, index=1, id="b"),
        ],
        [A, B],
    ),
    "an index for each piece": (
        [call("f", "", index=0, id="a"), call(None, '{"x"', index=1), call(None, ": 1}", index=2)],
        [A],
    ),
    "empty arguments first": (
        [call("f", "{}", index=0, id="a"), call(None, '{"x"', index=0), call(None, ": 1}", index=0)],
        [A],
    ),
    "same index, other ids": ([call(*A, index=0, id="a"), call(*B, index=0, id="b")], [A, B]),
    "same index, other ids, in pieces": (
        [
            call("f", '{"x"', index=0, id="a"),
            call("g", '{"y": ', index=0, id="b"),
            call(None, '{"z": 2}}', index=0, id="b"),
            call(None, ": 1}", index=0, id="a"),
        ],
        [A, B],
    ),
    "same index, other ids, the rest without id": (
        [
            call("f", "", index=0, id="a"),
            call(None, A[1], index=0),
            call("g", "", index=0, id="b"),
            call(None, B[1], index=0),
        ],
        [A, B],
    ),
    "same index, no ids, whole": (
        [call(*A, index=0), call(*B, index=0), call("g", '{"y": 3}', index=0)],
        [A, B, ("g", '{"y": 3}')],
    ),
    "no index": ([call("f", "", id="a"), call(None, '{"x"'), call(None, ": 1}")], [A]),
    "index null": ([call("f", '{"x"', id="a", index=None), call(None, ": 1}", index=None, id=None)], [A]),
    "no index, id in each": ([call("f", '{"x"', id="a"), call(None, ": 1}", id="a"), call(*B, id="b")], [A, B]),
    "no index, no id": ([call("f", '{"x"'), call(None, ": 1}"), call("g", '{"y": '), call(None, '{"z": 2}}')], [A, B]),
    "no index, interleaved by id": (
        [
            call("f", '{"x"', id="a"),
            call("g", '{"y": ', id="b"),
            call(None, ": 1}", id="a"),
            call(None, '{"z": 2}}', id="b"),
        ],
        [A, B],
    ),
    "no index, same name twice": ([call(*A), call("f", '{"x": 2}')], [A, ("f", '{"x": 2}')]),
    "same name and arguments twice, by id": ([call(*A, id="a", index=0), call(*A, id="b", index=1)], [A, A]),
    "interleaved by index": (
        [
            call("f", '{"x"', index=0),
            call("g", '{"y": ', index=1),
            call(None, ": 1}", index=0),
            call(None, '{"z": 2}}', index=1),
        ],
        [A, B],
    ),
    "index as text and float": (
        [
            call("f", '{"x"', index="0", id="a"),
            call(None, ": 1}", index=0),
            call("g", '{"y": ', index=1.0),
            call(None, '{"z": 2}}', index="1"),
        ],
        [A, B],
    ),
    "gaps in the index, out of order": ([call(*B, index=7), call(*A, index=3)], [A, B]),
    "index from one": ([call(*A, index=1), call(*B, index=2)], [A, B]),
    "name and id in each": (
        [
            call("get_weather", "{", index=0, id="a"),
            call("get_weather", '"c": 1', index=0, id="a"),
            call("get_weather", "}", index=0, id="a"),
        ],
        [("get_weather", '{"c": 1}')],
    ),
    "name in each before the arguments": (
        [call("get_weather", index=0), call("get_weather", "", index=0), call("get_weather", "{}", index=0)],
        [("get_weather", "{}")],
    ),
    "name in pieces": (
        [call("get_", index=0, id="a"), call("weather", index=0), call(None, "{}", index=0)],
        [("get_weather", "{}")],
    ),
    "name in pieces, without an index": (
        [call("get_", id="a"), call("weather", ""), call("", "{}")],
        [("get_weather", "{}")],
    ),
    "longer name each time": (
        [call("get_", index=0), call("get_weather", index=0), call(None, "{}", index=0)],
        [("get_weather", "{}")],
    ),
    "arguments an object": ([call("f", {"x": 1}, index=0)], [A]),
    "arguments objects, two calls": (
        [call("f", {"x": 1}, index=0), call("f", {"x": 2}, index=0)],
        [A, ("f", '{"x": 2}')],
    ),
    "no arguments": (
        [call("f", None, index=0), call("g", "", index=1), call("h", {}, index=2)],
        [("f", "{}"), ("g", "{}"), ("h", "{}")],
    ),
    "arguments null, then text": (
        [call("f", index=0) | {"function": {"name": "f", "arguments": None}}, call(None, A[1], index=0)],
        [A],
    ),
    "several in one delta": ([[call(*A, index=0, id="a"), call(*B, index=1, id="b")]], [A, B]),
    "several in one delta, without index": ([[call(*A), call(*B)]], [A, B]),
    "several in one delta, the same index": ([[call(*A, index=0, id="a"), call(*B, index=0, id="b")]], [A, B]),
    "said again at the end": ([call(*A, index=0, id="a"), call(*A, index=0, id="a")], [A]),
    "said again at the end, from pieces": (
        [call("f", '{"x"', index=0, id="a"), call(None, ": 1}", index=0), call(*A, index=0, id="a")],
        [A],
    ),
    "the id later": ([call("f", "", index=0), call(None, A[1], index=0, id="a")], [A]),
    "another id for each piece": ([call("f", '{"x"', index=0, id="a"), call(None, ": 1}", index=0, id="b")], [A]),
    "longer arguments each time": (
        [call("f", '{"x"', index=0), call(None, '{"x": 1', index=0), call(None, A[1], index=0)],
        [A],
    ),
    "flat": ([{"index": 0, "id": "a", "name": "f", "arguments": A[1]}], [A]),
    "an object in place of a list": (
        [{"index": 0, "name": "f", "arguments": A[1]}, {"index": 1, "name": "g", "arguments": B[1]}],
        [A, B],
    ),
    "type null": ([call(*A, index=0, type=None)], [A]),
    "ids that are numbers": ([call("f", '{"x"', id=1), call(None, ": 1}", id=1), call(*B, id=2)], [A, B]),
}


@pytest.mark.parametrize("name", CASES)
def test_deltas_are_merged_into_their_calls(name: str):
    deltas, expected = CASES[name]
    assert merged(*deltas) == expected


def test_a_name_that_was_offered_decides():
    pieces = [call("a", index=0), call("ab", index=0), call(None, "{}", index=0)]
    assert merged(*pieces) == [("ab", "{}")]
    assert merged(*pieces, tools={"aab", "c"}) == [("aab", "{}")]
    assert merged(call("go", index=0), call("go", index=0), tools={"gogo"}) == [("gogo", "{}")]
    assert merged(call("f", index=0), call("g", "{}", index=0), tools={"f", "g"}) == [("f", "{}"), ("g", "{}")]


def test_calls_after_the_end_and_of_several_choices():
    reader = http.stream.CompletionReader(lambda _: None)
    for index, (name, arguments) in ((1, B), (0, A)):
        reader.feed(event({"choices": [{"index": index, "delta": {}, "finish_reason": "tool_calls"}]}))
        for part in (arguments[:3], arguments[3:]):
            reader.feed(event({"choices": [{"index": index, "delta": {"tool_calls": [call(name, part, index=0)]}}]}))
    outputs = http.outputs.parse(reader.completion(), None, 2)
    assert [output.tool_calls[0]["function"] for output in outputs] == [
        {"name": name, "arguments": arguments} for name, arguments in (A, B)
    ]


def test_the_deprecated_form_is_a_call():
    reader = http.stream.CompletionReader(lambda _: None)
    for part in ({"name": "f", "arguments": ""}, {"arguments": '{"x"'}, {"arguments": ": 1}"}):
        reader.feed(event({"choices": [{"index": 0, "delta": {"function_call": part}}]}))
    reader.feed(event({"choices": [{"index": 0, "delta": {}, "finish_reason": "function_call"}]}))
    whole = answer(None, "function_call", function_call={"name": "f", "arguments": '{"x": 1}'}).body
    for data in (reader.completion(), whole):
        [output] = http.outputs.parse(data, None)
        function = {"name": "f", "arguments": '{"x": 1}'}
        assert output.tool_calls == [{"id": "call_0", "type": "function", "function": function}]
        assert output.finish_reason == "tool_calls"


@pytest.mark.parametrize("seed", range(4))
def test_random_calls_in_random_deltas_are_assembled(seed: int):
    draw = random.Random(seed)
    for _ in range(300):
        calls = []
        for i in range(draw.randint(1, 4)):
            arguments = json.dumps({draw.choice('ab}{"\\'): draw.choice([1, {}, {"c": []}, "}{"]) for _ in range(3)})
            name = draw.choice(["f", "get_weather", "aab"])
            calls.append({"id": f"id{i}", "name": name, "arguments": arguments})
        by_index, by_id = draw.choice([(True, True), (True, False), (False, True)])
        queues = []
        for i, fragment in enumerate(calls):
            names = cut(draw, fragment["name"]) if draw.random() < 0.5 else [fragment["name"]]
            pieces = [call(name) for name in names] + [call(None, part) for part in cut(draw, fragment["arguments"])]
            for number, piece in enumerate(pieces):
                piece.update({"index": draw.choice([i, float(i), str(i)])} if by_index else {})
                named = by_id and (number == 0 or not by_index or draw.random() < 0.5)
                piece.update({"id": fragment["id"]} if named else {})
            queues.append(pieces)
        pieces = []
        if draw.random() < 0.5:
            while queues := [queue for queue in queues if queue]:
                pieces.append(draw.choice(queues).pop(0))
        else:
            pieces = [piece for queue in queues for piece in queue]
        expected = sorted((fragment["name"], fragment["arguments"]) for fragment in calls)
        assert sorted(merged(*pieces, tools={"f", "get_weather", "aab"})) == expected, (seed, pieces)


def cut(draw: random.Random, text: str) -> list[str]:
    places = sorted(draw.choices(range(1, len(text) + 1), k=draw.randint(0, 5)))
    return [part for a, b in pairwise([0, *places, len(text)]) if (part := text[a:b])]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([call(*A, id="a", type="function")], [("a", *A)]),
        (call(*A, id="a"), [("a", *A)]),
        ({"0": call(*A), "1": call(*B)}, [("call_0", *A), ("call_1", *B)]),
        ([call("f", {"x": 1})], [("call_0", *A)]),
        ([call("f"), call("g", None), call("h", "")], [(f"call_{i}", name, "{}") for i, name in enumerate("fgh")]),
        ([call(*A, id="same"), call(*B, id="same")], [("same", *A), ("same", *B)]),
        ([call(*A, index=0), call(*A, index=0)], [("call_0", *A), ("call_1", *A)]),
        ([{"name": "f", "arguments": '{"x": 1}'}], [("call_0", *A)]),
        ([None, call(*A)], [("call_0", *A)]),
        ([call("f", "not json")], [("call_0", "f", "not json")]),
        ([call("f", "half \ud83d")], [("call_0", "f", "half ?")]),
    ],
)
def test_calls_that_come_whole_take_the_same_form(server: Loopback, given: Any, expected: Any):
    output = ask(server.reply(Reply(json.dumps(answer(None, "tool_calls", tool_calls=given).body).encode())))
    assert [(fragment["id"], *fragment["function"].values()) for fragment in output.tool_calls] == expected


def test_other_fields_of_a_call_are_kept():
    extra = {"google": {"thought_signature": "abc"}}
    fragment = call(*A, id="a", index=0, extra_content=extra)
    for data in (
        answer(None, "tool_calls", tool_calls=[fragment]).body,
        {"choices": [{"delta": {"tool_calls": [fragment]}, "finish_reason": "tool_calls"}]},
    ):
        reader = http.stream.CompletionReader(lambda _: None)
        reader.feed(event(data))
        [output] = http.outputs.parse(reader.completion(), None)
        assert output.tool_calls[0]["extra_content"] == extra


def test_parts_of_the_content_may_be_calls(server: Loopback):
    part = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": 1}}
    output = ask(server.reply(answer([{"type": "text", "text": "Let me see."}, part], "tool_use")), question())
    assert (output.text, output.finish_reason) == ("Let me see.", "tool_calls")
    assert output.tool_calls == [{"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": A[1]}}]
