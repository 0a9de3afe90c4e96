"""Streams in every legal form: the answer does not depend on line ends, comments and chunk boundaries."""

import json
import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m1eval import Output, RunnerError
from tests.http.conftest import Failed, Loopback, Reply, answer, ask, event, http

BOM = b"\xef\xbb\xbf"


def reference(stream: bytes) -> list[tuple[str, str]]:
    """Events as the specification says (WHATWG HTML, 9.2.6), over the whole text, a character at a time."""
    text = stream.decode("utf-8", errors="replace").removeprefix("\ufeff")
    lines, line, i = [], "", 0
    while i < len(text):
        if text[i] in "\r\n":
            i += text[i : i + 2] == "\r\n"
            lines.append(line)
            line = ""
        else:
            line += text[i]
        i += 1
    events, data, kind = [], "", ""
    for line in lines:  # a last line without its end does not count
        if line == "":
            if data:
                events.append((kind or "message", data.removesuffix("\n")))
            data = kind = ""
            continue
        field, colon, value = line.partition(":")
        if colon and not field:
            continue
        value = value.removeprefix(" ")
        if field == "event":
            kind = value
        elif field == "data":
            data += value + "\n"
    return events


def ours(stream: bytes, cuts: list[int]) -> list[tuple[str, str]]:
    parser = http.stream.EventParser()
    places = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    events = [event for a, b in pairwise(places) for event in parser.feed(stream[a:b])]
    return [(kind.decode() or "message", data.decode(errors="replace")) for kind, data in events]


ENDS = st.sampled_from(["\n", "\r\n", "\r"])
VALUES = st.one_of(
    st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=8),
    st.sampled_from(["", " ", "  x", "[DONE", "1", '"a"', "not json", "{", '{"a":', "}x"]),
)
FIELDS = st.sampled_from(["data", "event", "id", "retry", "", "date", "datas", "Data", " data", "x"])
LINES = st.one_of(
    st.tuples(FIELDS, st.sampled_from([":", ": "]), VALUES).map("".join),
    st.just(""),
    st.just(""),
    st.just("data"),
    st.just("event"),
)


@given(st.lists(st.tuples(LINES, ENDS), max_size=20), st.booleans(), st.lists(st.integers(0, 400), max_size=12))
def test_events_are_those_of_the_specification(lines: list[tuple[str, str]], bom: bool, cuts: list[int]):
    stream = BOM * bom + "".join(line + end for line, end in lines).encode()
    assert ours(stream, cuts) == reference(stream)


LETTERS = "ab{}[]:,\"'\\ \n\r\t\u00e9\u2028\U0001f600\x85"


def word(draw: random.Random, least: int = 0) -> str:
    return "".join(draw.choices(LETTERS, k=draw.randint(least, 8)))


def cut(draw: random.Random, whole: Any) -> list[Any]:
    """A text or bytes split at random, without empty parts."""
    places = sorted(draw.choices(range(len(whole) + 1), k=draw.randint(0, 8)))
    return [part for a, b in zip([0, *places], [*places, len(whole)], strict=True) if (part := whole[a:b])]


def an_answer(draw: random.Random) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """An answer, whole and as chunks."""
    message: dict[str, Any] = {"role": "assistant", "content": word(draw)}
    if draw.random() < 0.5:
        message[draw.choice(["reasoning", "reasoning_content"])] = word(draw, 1)
    calls: list[dict[str, Any]] = []
    for i in range(draw.randint(0, 3)):
        arguments = json.dumps({word(draw): draw.randint(0, 9) for _ in range(draw.randint(0, 3))})
        function = {"name": draw.choice(["f", "get_weather", "search"]), "arguments": arguments}
        calls.append({"id": f"c{i}", "type": "function", "function": function})
    if calls:
        message["tool_calls"] = calls
    finish = draw.choice(["stop", "length", "tool_calls", "eos_token", "MAX_TOKENS"])
    usage = {"prompt_tokens": draw.randint(0, 99), "completion_tokens": draw.randint(1, 99)}
    whole = {"choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": usage}
    deltas: list[dict[str, Any]] = [{"role": "assistant"}]
    for name in ("reasoning", "reasoning_content", "content"):
        deltas += [{name: part} for part in cut(draw, message.get(name) or "")]
    for index, call in enumerate(calls):
        deltas.append({"tool_calls": [call | {"index": index, "function": call["function"] | {"arguments": ""}}]})
        for part in cut(draw, call["function"]["arguments"]):
            deltas.append({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
    pieces: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas
    ]
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}
    late: dict[str, Any] = {"choices": draw.choice([[], None]), "usage": usage}
    ends: list[list[dict[str, Any]]] = [[last | {"usage": usage}], [last, late], [late, last], [last, last, late]]
    return whole, pieces + draw.choice(ends)


def as_events(draw: random.Random, pieces: list[dict[str, Any]]) -> bytes:
    """Chunks as an event stream in some legal form."""
    lines: list[str] = []
    for piece in pieces:
        indent = 1 if draw.random() < 0.1 else None
        data = json.dumps(piece, ensure_ascii=draw.random() < 0.5, indent=indent)
        fields = [f"data:{draw.choice(['', ' '])}{line}" for line in data.split("\n")]
        others = [": ping", ":", "id: 7", "retry: 10", "event: message", "x: y"]
        lines += draw.choices(others, k=draw.randint(0, 2)) + fields + [""]
        lines += draw.choice([[], [], ["", ": keep-alive", ""], ["event: ping", ""]])
    lines += [f"data:{draw.choice(['', ' '])}[DONE]{draw.choice(['', ' '])}", ""]
    ends = draw.choice([["\n"], ["\r\n"], ["\r"], ["\n", "\r\n"]])
    text = "".join(line + draw.choice(ends) for line in lines)
    return BOM * draw.randint(0, 1) + text.encode()


def read(data: Any) -> Output:
    output: Output = http.outputs.parse(data, None)[0]
    return output


@pytest.mark.parametrize("part", range(4))
def test_a_stream_gives_what_the_whole_answer_gives(part: int):
    for seed in range(part * 200, part * 200 + 200):
        draw = random.Random(seed)
        whole, pieces = an_answer(draw)
        stream, typed = as_events(draw, pieces), draw.random() < 0.5
        if not typed:
            stream = b": hello\n" + stream.removeprefix(BOM)  # under another type the first line decides
        reader = http.stream.CompletionReader(lambda _: None)
        reader.on_headers("text/event-stream" if typed else "text/plain", None)
        for chunk in cut(draw, stream) if draw.random() < 0.8 else [bytes([byte]) for byte in stream]:
            reader.feed(chunk)
        assert reader.is_stream
        assert read(reader.completion()) == read(whole), seed
        assert read(http.stream.read_body(stream, None)) == read(whole), (seed, "nobody asked for it")


# Forms on a real line
def piece(text: str, finish: Any = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


PIECES = [json.dumps(piece("Pa")).encode(), json.dumps(piece("ris", "stop")).encode()]
USUAL = event(PIECES[0]) + event(PIECES[1]) + event(b"[DONE]")
WHOLE = json.dumps(answer("Paris").body).encode()
SSE = "text/event-stream"
FORMS: dict[str, tuple[str | None, bytes]] = {
    "as usual": (SSE, USUAL),
    "charset": ("text/event-stream;charset=UTF-8", USUAL),
    "type in capitals": ("Text/Event-Stream", USUAL),
    "byte order mark": (SSE, BOM + USUAL),
    "CR": (SSE, USUAL.replace(b"\n", b"\r")),
    "CRLF": (SSE, USUAL.replace(b"\n", b"\r\n")),
    "no space": (SSE, USUAL.replace(b"data: ", b"data:")),
    "space after the mark": (SSE, USUAL.replace(b"[DONE]", b"[DONE]  ")),
    "the mark without data": (SSE, USUAL.replace(b"data: [DONE]", b"[DONE]")),
    "the mark quoted": (SSE, USUAL.replace(b"[DONE]", b'"[DONE]"')),
    "the mark in small letters": (SSE, USUAL.replace(b"[DONE]", b"[done]")),
    "another mark": (SSE, USUAL.replace(b"[DONE]", b"end of stream")),
    "empty data": (SSE, b"data:\n\ndata: \n\n" + USUAL + b"data:\n\n"),
    "two lines": (SSE, USUAL.replace(b'"choices"', b'"a": 1,\ndata: "choices"')),
    "no blank lines": (SSE, USUAL.replace(b"\n\n", b"\n")),
    "no end of the last line": (SSE, event(PIECES[0]) + b"data: " + PIECES[1]),
    "no end and CRLF": (SSE, (event(PIECES[0]) + b"data: " + PIECES[1] + b"\n").replace(b"\n", b"\r\n")),
    "heartbeats": (SSE, b": OPENROUTER PROCESSING\n\n" * 3 + b'event: ping\ndata: {"type": "ping"}\n\n' + USUAL),
    "heartbeat of text": (SSE, b"event: ping\ndata: 2026-01-01 now\n\n" + USUAL),
    "types": (SSE, USUAL.replace(b"data: {", b"event: message\ndata: {")),
    "after the mark": (SSE, USUAL + event(piece("!!!")) + event({"error": "gone"}) + b"data: {{{\n\n"),
    "two in one event": (SSE, b"data: " + PIECES[0] + b"\ndata: " + PIECES[1] + b"\n\n"),
    "blank lines first": (SSE, b"\n\n\r\n" + USUAL),
    "whole, as a stream": (SSE, event(WHOLE) + event(b"[DONE]")),
    "whole, as a stream without end": (SSE, event(WHOLE)),
    "bare JSON": (SSE, WHOLE),
    "bare JSON, a line": (SSE, WHOLE + b"\n"),
    "bare JSON, pretty": (SSE, json.dumps(answer("Paris").body, indent=2).encode()),
    "JSON and mark": ("application/json", WHOLE + b"\n\ndata: [DONE]\n\n"),
    "JSON and bare mark": ("application/json", WHOLE + b"[DONE]"),
    "JSON and mark as a stream": (SSE, WHOLE + b"\ndata: [DONE]\n"),
    "pretty JSON and mark": ("text/plain", json.dumps(answer("Paris").body, indent=2).encode() + b"\n[DONE]\n"),
    "text": ("text/plain", USUAL),
    "JSON type": ("application/json", USUAL),
    "octets": ("application/octet-stream", USUAL),
    "html": ("text/html; charset=utf-8", USUAL),
    "no type": (None, USUAL),
    "text with comments": ("text/plain", b": hello\n\n" + USUAL),
    "text with a byte order mark": ("text/plain", BOM + USUAL),
    "text with CR": ("text/plain", USUAL.replace(b"\n", b"\r")),
    "JSON lines": ("application/x-ndjson", b"".join(each + b"\n" for each in PIECES)),
    "JSON lines with CRLF": ("application/jsonl", b"".join(each + b"\r\n" for each in PIECES)),
    "JSON lines and mark": ("text/plain", b"".join(each + b"\n\n" for each in PIECES) + b"[DONE]"),
    "JSON lines as a stream": (SSE, b"".join(each + b"\n" for each in PIECES)),
    "framed twice": (SSE, USUAL.replace(b"data: ", b"data: data: ")),
    "a list of the pieces": ("application/json", b"[" + b",\r\n".join(PIECES) + b"]"),
    "a list of the whole": ("application/json", b"[" + WHOLE + b"]"),
    "pieces inside": (SSE, b"".join(event(b'{"code": 0, "message": "ok", "data": ' + each + b"}") for each in PIECES)),
    "the whole inside": ("application/json", b'{"result": ' + WHOLE + b', "success": true, "errors": []}'),
    "latin-1 said, UTF-8 sent": ("text/event-stream; charset=iso-8859-1", USUAL),
}


@pytest.mark.parametrize("how", ["stream", "one body", "byte by byte"])
@pytest.mark.parametrize("name", FORMS)
def test_an_answer_is_read_in_every_form_and_under_every_type(server: Loopback, name: str, how: str):
    kind, body = FORMS[name]
    headers = {"Content-Type": kind} if kind else {"Content-Type": ""}
    reply = Reply(body, headers=headers, drip=1e-9 if how == "byte by byte" else 0.0)
    output = ask(server.reply(reply), stream="no" if how == "one body" else "yes")
    assert (output.text, output.finish_reason, output.retries) == ("Paris", "stop", 0)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_bytes_that_are_not_text_are_harmless(size: int):
    pieces = [
        event(json.dumps(piece("Gr")).encode()),
        event(json.dumps(piece("ü😀ß"), ensure_ascii=False).encode()),
        event(json.dumps(piece("X")).encode().replace(b"X", b"\xfc\xff")),
        event(json.dumps(piece("X")).encode().replace(b"X", b"a\x00b")),
        event(json.dumps(piece("\ud83d")).encode()),
        event(json.dumps(piece("\ude00")).encode()),
        event(json.dumps(piece("\ude00 \ud83d", "stop")).encode()),
    ]
    body = b"".join(pieces)
    reader = http.stream.CompletionReader(lambda _: None)
    reader.on_headers(SSE, None)
    for start in range(0, len(body), size):
        reader.feed(body[start : start + size])
        reader.feed(b"")
    text = read(reader.completion()).text
    assert text == "Grü😀ß\ufffd\ufffda\x00b😀? ?"
    text.encode()


def test_a_stream_in_the_charset_that_it_says(server: Loopback):
    body = event(json.dumps(piece("größer", "stop"), ensure_ascii=False).encode("latin-1"))
    assert ask(server.reply(Reply(body, headers={"Content-Type": f"{SSE}; charset=iso-8859-1"}))).text == "größer"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b"\n\n", "not JSON"),
        (event(b"[DONE]"), "no choices"),
        (event({"choices": []}) + event(b"[DONE]"), "no choices"),
        (event(PIECES[0]), "in the middle"),
        (event(PIECES[0]) + b"data: " + PIECES[1][:20], "in the middle"),
        (event(PIECES[0]) + b'data: "[DON', "in the middle"),
        (b"upstream connect error", "no answer: 'upstream connect error'"),
        (event(b"{" * 100_000), "not JSON"),
        (event(b'{"choices": ' + b"[" * 100_000), "not JSON"),
        (event(b"7"), "is not an object"),
        (event({"output": [{"type": "message"}]}), "holds no answer: 'output'"),
    ],
)
def test_a_stream_without_an_answer_is_retried(server: Loopback, body: bytes, words: str):
    broken = Reply(body, headers={"Content-Type": SSE})
    with pytest.raises(RunnerError if b"<html>" in body else Failed, match=words):
        ask(server.reply(broken), retries=0)
    assert ask(server.reply(broken, answer())).retries == 1


def test_a_line_that_stays_open_after_the_mark_is_not_waited_for(server: Loopback):
    headers = {"Content-Type": SSE, "Content-Length": str(len(USUAL) + 1)}
    output = ask(server.reply(Reply(USUAL, headers=headers)), read_timeout=20)
    assert (output.text, output.retries, output.timing.total < 10) == ("Paris", 0, True)


def test_an_answer_that_was_whole_when_the_line_broke_is_an_answer(server: Loopback):
    whole = event(PIECES[0]) + event(PIECES[1])
    headers = {"Content-Type": SSE, "Content-Length": str(len(whole) + 40)}
    assert ask(server.reply(Reply(whole, headers=headers, cut_at=len(whole)))).retries == 0
    assert ask(server.reply(Reply(whole, headers=headers, cut_at=len(whole) // 2), answer())).retries == 1


def test_connections_of_streams_are_reused(server: Loopback):
    server.reply(Reply(USUAL, headers={"Content-Type": SSE}))
    ask(server, *([http.Request(messages=[{"role": "user", "content": "q"}])] * 6), concurrency=1)
    assert {request.connection for request in server.posts} == {1}


def pieces_of(*texts: str) -> bytes:
    """A stream of these chunks and its end."""
    chunks = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in texts]
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    return b"".join(map(event, [*chunks, end])) + event(b"[DONE]")


@pytest.mark.parametrize(
    ("texts", "whole"),
    [
        ([" " * n for n in range(1, 14)] + ["end"], " " * sum(range(1, 14)) + "end"),
        (["a" * n for n in range(1, 20)] + ["b", "c"], "a" * sum(range(1, 20)) + "bc"),
        (["The capital is Paris, of course."[:n] for n in range(1, 33)], "The capital is Paris, of course."),
    ],
)
def test_deltas_are_cumulative_only_if_each_of_them_is(server: Loopback, texts: list[str], whole: str):
    stream = Reply(pieces_of(*texts), headers={"Content-Type": SSE})
    assert ask(server.reply(stream), thinking="no").text == whole


def test_an_error_after_every_answer_has_ended_costs_nothing(server: Loopback):
    stream = pieces_of("Paris").replace(event(b"[DONE]"), event({"error": {"message": "usage failed", "code": 500}}))
    output = ask(server.reply(Reply(stream, headers={"Content-Type": SSE})))
    assert (output.text, output.retries) == ("Paris", 0)
