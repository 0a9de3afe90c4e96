"""Transcripts: every message once, and the messages of each request can be put together again."""

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from m1eval import Message, Output, Request, evaluate
from m1eval.run.transcript import AFTER_PROMPT, Transcript
from tests.conftest import write

PROMPT: list[Message] = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]


def conversation(transcript: Transcript, index: int | None) -> list[Message]:
    """The messages up to an entry, by the documented form."""
    messages: list[Message] = []
    while index is not None and index != AFTER_PROMPT:
        entry = dict(transcript.entries[index])
        index = entry.pop("parent", index - 1)
        messages.insert(0, {key: entry[key] for key in ("role", "content", "tool_calls") if key in entry})
    return messages if index is None else [*PROMPT, *messages]


def test_a_conversation_is_a_plain_list():
    transcript = Transcript(PROMPT)
    messages = list(PROMPT)
    call = {"id": "1", "type": "function", "function": {"name": "ls", "arguments": "{}"}}
    for text, calls in (("", [call]), ("done", [])):
        parent = transcript.add_request(Request(messages=messages))
        transcript.add_output(parent, Output(text=text, tool_calls=calls, reasoning="hm"))
        messages.append({"role": "assistant", "content": text or None, "tool_calls": calls})
        messages.append({"role": "tool", "tool_call_id": "1", "content": "a.txt"})
    assert [(entry["role"], "parent" in entry) for entry in transcript.entries] == [
        *[("assistant", False), ("tool", False), ("assistant", False)]
    ]
    assert transcript.entries[0] == {
        **{"role": "assistant", "content": "", "reasoning": "hm", "tool_calls": [call], "usage": {}}
    }


def test_other_conversations_raw_prompts_and_failures_say_what_they_follow():
    transcript = Transcript(PROMPT)
    first = transcript.add_request(Request(messages=PROMPT))
    other = transcript.add_request(Request(messages=[{"role": "user", "content": "you are the user"}]))
    transcript.add_error(first, "RuntimeError: no")
    transcript.add_output(other, Output(text="hello", finish_reason="length"))
    transcript.add_output(transcript.add_request(Request(prompt="raw")), Output(text="x"))
    assert transcript.entries == [
        {"role": "user", "content": "you are the user", "parent": None},
        {"role": "error", "content": "RuntimeError: no", "parent": -1},
        {"role": "assistant", "content": "hello", "finish_reason": "length", "usage": {}, "parent": 0},
        {"role": "prompt", "content": "raw", "parent": None},
        {"role": "assistant", "content": "x", "usage": {}},
    ]


def test_a_message_that_is_changed_after_it_was_sent_is_stored_as_it_was():
    transcript = Transcript([])
    message: dict[str, Any] = {"role": "user", "content": [{"type": "text", "text": "long"}]}
    transcript.add_request(Request(messages=[message]))
    message["content"][0]["text"] = "short"
    transcript.add_request(Request(messages=[message]))
    assert [entry["content"][0]["text"] for entry in transcript.entries] == ["long", "short"]


def test_a_message_of_the_sample_that_is_changed_is_stored():
    prompt: list[Message] = [{"role": "user", "content": "a"}]
    transcript = Transcript(prompt)
    transcript.add_request(Request(messages=prompt))
    prompt[0]["content"] = "b"
    transcript.add_request(Request(messages=prompt))
    assert [(entry["content"], entry.get("parent", "")) for entry in transcript.entries] == [("b", None)]


def test_an_episode_that_changes_its_messages_changes_neither_other_repeats_nor_the_stored_prompt(tmp_path: Path):
    write(
        tmp_path / "_changes.py",
        """
        from m1eval import Request

        async def run(sample, runner, context):
            sample.messages[0]["content"] += "!"
            return await runner.generate(Request(messages=sample.messages))
        """,
    )
    task = "title: T\ndataset: {file: t.jsonl}\nprompt: '{{ q }}'\ntarget: x\nscorer: exact\nepisode: _changes.run\n"
    write(tmp_path / "t.yaml", task)
    write(tmp_path / "t.jsonl", '{"q": "a"}\n')
    [run] = evaluate(tmp_path / "t.yaml", "echo:", out=tmp_path / "out", repeats=3, display="none")
    assert [record.text for record in run.records()] == ["a!"] * 3
    assert [prompt["messages"][0]["content"] for prompt in run.prompts()] == ["a"]


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from("ab"), st.booleans()), max_size=12))
def test_each_request_can_be_put_together_again(steps: list[tuple[int, str, bool]]):
    """Requests that continue any earlier one, with two answers each in turn, or start over."""
    transcript, prompts = Transcript(PROMPT), [list(PROMPT), []]
    for number, text, answered in steps:
        messages = [*prompts[number % len(prompts)], {"role": "user", "content": text}]
        parent = transcript.add_request(Request(messages=messages))
        assert conversation(transcript, parent) == messages
        if answered:
            transcript.add_output(parent, Output(text=text))
            messages.append({"role": "assistant", "content": text})
        prompts.append(messages)
    contents = [
        (entry.get("parent", i - 1), entry["role"], entry["content"]) for i, entry in enumerate(transcript.entries)
    ]
    sent = [each for each in contents if each[1] == "user"]
    assert len(sent) == len(set(sent)), "no message is stored twice"
