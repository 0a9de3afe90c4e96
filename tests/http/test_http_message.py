"""Text and thinking of an answer in all forms of servers, the same whole and streamed."""

import json
from typing import Any

import pytest

from m1eval import Output
from tests.http.conftest import Failed, Loopback, Reply, answer, ask, event, http


def whole(message: Any) -> Output:
    data = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    output: Output = http.outputs.parse(data, None)[0]
    return output


def streamed(*deltas: Any, kind: str = "delta") -> Output:
    reader = http.stream.CompletionReader(lambda _: None)
    for delta in deltas:
        reader.feed(event({"object": "chat.completion.chunk", "choices": [{"index": 0, kind: delta}]}))
    reader.feed(event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}) + event(b"[DONE]"))
    output: Output = http.outputs.parse(reader.completion(), None)[0]
    return output


def thinking(**part: Any) -> dict[str, Any]:
    return {"type": "thinking", **part}


TEXT = {"type": "text", "text": "Paris"}
FORMS: dict[str, tuple[dict[str, Any], str, str]] = {
    "text": ({"content": "Paris"}, "Paris", ""),
    "a part": ({"content": TEXT}, "Paris", ""),
    "a part without a type": ({"content": {"text": "Paris"}}, "Paris", ""),
    "parts": ({"content": ["Pa", {"text": "ri"}, None, {"type": "output_text", "text": "s"}]}, "Paris", ""),
    "parts of Gemini": ({"content": [{"text": "Hm.", "thought": True}, {"text": "Paris"}]}, "Paris", "Hm."),
    "thinking alone": ({"content": None, "reasoning_content": "Hm."}, "", "Hm."),
    "thinking": ({"content": "Paris", "thinking": "Hm."}, "Paris", "Hm."),
    "the same twice": ({"content": "Paris", "reasoning": "Hm.", "reasoning_content": "Hm."}, "Paris", "Hm."),
    "the first is empty": ({"content": "Paris", "reasoning": "", "reasoning_content": "Hm."}, "Paris", "Hm."),
    "details": (
        {
            "content": "Paris",
            "reasoning_details": [
                {"type": "reasoning.summary", "summary": "H"},
                {"type": "reasoning.text", "text": "m.", "signature": "s"},
                {"type": "reasoning.encrypted", "data": "gAAAA"},
            ],
        },
        "Paris",
        "Hm.",
    ),
    "details and text": (
        {"content": "Paris", "reasoning": "Hm.", "reasoning_details": [{"type": "reasoning.text", "text": "Hm."}]},
        "Paris",
        "Hm.",
    ),
    "blocks": (
        {
            "content": "Paris",
            "thinking_blocks": [thinking(thinking="Hm.", signature="s"), {"type": "redacted_thinking", "data": "x"}],
        },
        "Paris",
        "Hm.",
    ),
    "blocks and text": (
        {"content": "Paris", "reasoning_content": "Hm.", "thinking_blocks": [thinking(thinking="Hm.")]},
        "Paris",
        "Hm.",
    ),
    "Mistral": (
        {"content": [thinking(thinking=[{"type": "text", "text": "H"}, {"type": "text", "text": "m."}]), TEXT]},
        "Paris",
        "Hm.",
    ),
    "Anthropic": ({"content": [thinking(thinking="Hm.", signature="s"), TEXT]}, "Paris", "Hm."),
    "reasoning part": ({"content": [{"type": "reasoning", "text": "Hm."}, TEXT]}, "Paris", "Hm."),
    "reasoning part with a summary": (
        {"content": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]}, TEXT]},
        "Paris",
        "Hm.",
    ),
    "thoughts between": ({"content": [thinking(thinking="H"), "Pa", thinking(thinking="m."), "ris"]}, "Paris", "Hm."),
    "reasoning an object": ({"content": "Paris", "reasoning": {"content": "Hm."}}, "Paris", "Hm."),
    "a refusal": ({"content": None, "refusal": "I must not."}, "I must not.", ""),
    "a refusal as a part": ({"content": [{"type": "refusal", "refusal": "I must not."}]}, "I must not.", ""),
    "a refusal that is none": ({"content": "Paris", "refusal": None}, "Paris", ""),
    "tags": ({"content": "<think>Hm.</think>Paris"}, "Paris", "Hm."),
    "other fields": ({"content": "Paris", "audio": None, "annotations": [], "x": {"y": [1]}}, "Paris", ""),
}


@pytest.mark.parametrize("name", FORMS)
def test_text_and_thinking_are_found_whole_and_in_a_stream(name: str):
    message, text, reasoning = FORMS[name]
    for output in (whole(message), streamed({"role": "assistant"}, message), streamed(message, kind="message")):
        assert (output.text, output.reasoning) == (text, reasoning)
        assert output.metadata == ({"refusal": True} if text == "I must not." else {})


def test_parts_of_thinking_come_piece_by_piece():
    deltas = [{"content": [thinking(thinking=[{"type": "text", "text": part}])]} for part in ("H", "m", ".")]
    output = streamed(*deltas, {"content": [{"type": "text", "text": "Pa"}]}, {"content": "ris"})
    assert (output.text, output.reasoning) == ("Paris", "Hm.")


@pytest.mark.parametrize(
    ("choice", "text"),
    [
        ({"text": "Paris"}, "Paris"),
        ({"message": None, "text": "Paris"}, "Paris"),
        ({"message": "Paris"}, "Paris"),
        ({"delta": {"content": "Paris"}}, "Paris"),
        ({"message": {"text": "Paris"}}, "Paris"),
    ],
)
def test_an_answer_may_be_in_other_fields(server: Loopback, choice: dict[str, Any], text: str):
    assert ask(server.reply(Reply({"choices": [choice | {"finish_reason": "stop"}]}))).text == text


def test_choices_come_in_any_order():
    choices = [{"index": i, "message": {"content": str(i)}, "finish_reason": "stop"} for i in (2, 0, 1)]
    assert [output.text for output in http.outputs.parse({"choices": choices}, None, 3)] == ["0", "1", "2"]


@pytest.mark.parametrize("broken", [[7], {"a": 1}, 7, True, [["Paris"]], [{"text": 7}]])
def test_a_content_that_cannot_be_read_is_retried(server: Loopback, broken: Any):
    assert ask(server.reply(answer(broken), answer())).retries == 1
    body = event({"choices": [{"delta": {"content": broken}, "finish_reason": "stop"}]}) + event(b"[DONE]")
    assert ask(server.reply(Reply(body, headers={"Content-Type": "text/event-stream"}), answer())).retries == 1


def test_an_answer_without_anything_and_without_an_end_is_none(server: Loopback):
    assert ask(server.reply(answer(None, None), answer())).retries == 1
    with pytest.raises(Failed, match="neither an answer nor why there is none"):
        ask(server.reply(answer("", "")), retries=0)


# Cumulative deltas
def test_a_message_that_says_all_again_adds_nothing():
    reader = http.stream.CompletionReader(lambda _: None)
    for part in ("Pa", "ris"):
        reader.feed(event({"choices": [{"delta": {"content": part}, "message": {"content": "Paris"}}]}))
    reader.feed(event({"choices": [{"message": {"content": "Paris"}, "finish_reason": "stop"}]}))
    assert reader.completion()["choices"][0]["message"]["content"] == "Paris"


@pytest.mark.parametrize("kind", ["delta", "message"])
def test_texts_that_each_repeat_the_one_before_are_the_whole(kind: str):
    words = "one two three four five six seven eight nine ten"
    grown = [words[: i + 1] for i in range(len(words))]
    assert streamed(*({"content": text} for text in grown), kind=kind).text == words


@pytest.mark.parametrize(
    "parts", [["a", "ab"], ["a", "aa", "aaa"], ["ha", "ha"], ["x"] * 20, ["1", "12", "3"], ["", "a", "ab", "abc"]]
)
def test_a_few_deltas_with_a_common_prefix_are_not_cumulative(parts: list[str]):
    assert streamed(*({"content": part} for part in parts)).text == "".join(parts)


@pytest.mark.parametrize("parts", [["Pa", "Paris"], ["Paris", "Paris"], ["Paris"], ["P", "Pa", "Paris", "Paris"]])
def test_messages_that_grow_are_the_whole(parts: list[str]):
    assert streamed(*({"content": part} for part in parts), kind="message").text == "Paris"


def test_azure_and_others_begin_with_chunks_without_text(server: Loopback):
    pieces: list[Any] = [
        {
            "choices": [],
            "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}],
            "id": "",
            "model": "",
        },
        {
            "choices": [
                {"index": 0, "delta": {"role": "assistant", "content": "", "refusal": None}, "finish_reason": None}
            ]
        },
        {"choices": [{"index": 0, "delta": None, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {"content": None}}]},
        {"choices": None},
        {
            "choices": [
                {"index": 0, "delta": {"content": "Paris"}, "content_filter_results": {"hate": {"filtered": False}}}
            ]
        },
        {"choices": [{"delta": {}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": "stop"}]},
        {"choices": [{"index": 0, "content_filter_offsets": {"check_offset": 1}, "finish_reason": None}]},
        {"choices": [], "usage": {"completion_tokens": 2}},
    ]
    body = b"".join(event(json.dumps(each).encode()) for each in pieces)
    output = ask(server.reply(Reply(body, headers={"Content-Type": "text/event-stream"})))
    assert (output.text, output.finish_reason, output.usage.answer, output.retries) == ("Paris", "stop", 2, 0)
