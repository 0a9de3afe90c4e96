"""A server that cuts a prompt is detected by its own token count."""

import asyncio
import json
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m1eval import Output, Request, Usage
from tests.http.conftest import Loopback, answer, http, question, runner

detect: Callable[[Request, Usage], Any] = http.cut_prompts.detect
WORDS = " ".join(f"w{i}" for i in range(40_000))


PARTS = [{"type": "text", "text": WORDS}, {"type": "image_url"}]


def talk(server: Loopback, *requests: Request, **options: Any) -> tuple[list[Output], list[str]]:
    async def scenario() -> tuple[list[Output], list[str]]:
        async with aclosing(runner(server, **options)) as client:
            return [await client.generate(request) for request in requests], client.notes

    return asyncio.run(scenario())


def test_a_cut_prompt_is_one_note_and_marked(server: Loopback) -> None:
    usage = {"prompt_tokens": 4096, "completion_tokens": 8}
    server.reply(answer(usage=usage), answer(usage=usage), answer())
    cut_requests = [Request(messages=[{"role": "user", "content": WORDS}]) for _ in range(2)]
    outputs, notes = talk(server, *cut_requests, question())
    assert [output.metadata.get("cut_prompt") for output in outputs] == [{"tokens": 4096, "least": 40_000}] * 2 + [None]
    assert [output.text for output in outputs] == ["Paris"] * 3
    [note] = notes
    assert note.startswith(f"{server.url} counts 4,096 tokens of a prompt that has 40,000 or more: either it cuts")
    assert "\n" not in note


@pytest.mark.parametrize(
    ("request_", "usage", "least"),
    [
        (Request(prompt=WORDS), Usage(prompt=39_999), 40_000),
        (Request(prompt=WORDS), Usage(prompt=40_000), None),
        (Request(prompt=WORDS), Usage(), None),
        (Request(prompt=WORDS), Usage(prompt=100, cached=100), None),
        (Request(token_ids=[1] * 500), Usage(prompt=499), 500),
        (Request(token_ids=[1] * 500), Usage(prompt=501), None),
        (Request(prompt=" " * 100_000), Usage(prompt=800), None),
        (Request(prompt="=" * 100_000), Usage(prompt=1600), None),
        (Request(messages=[{"role": "user", "content": PARTS}]), Usage(prompt=2048), 40_000),
        (Request(messages=[{"role": "assistant", "content": None, "tool_calls": []}]), Usage(prompt=3), None),
    ],
)
def test_a_prompt_with_fewer_tokens_than_it_must_have_was_cut(
    request_: Request, usage: Usage, least: int | None
) -> None:
    cut = detect(request_, usage)
    assert (cut and cut.least) == least


@given(st.lists(st.sampled_from(["a", "word", " ", "  ", "\n", "語", "x" * 70_000]), max_size=12).map("".join))
def test_words_are_counted_in_chunks_as_in_one_pass(text: str) -> None:
    assert http.cut_prompts._count_words(text) == len(text.split())


def test_a_run_says_so_below_its_table_and_once_more_when_it_goes_on(
    server: Loopback, m1eval: Any, tmp_path: Any
) -> None:
    usage = {"prompt_tokens": 16, "completion_tokens": 1}
    server.reply(answer("42", usage=usage), answer("42", usage={**usage, "prompt_tokens": 900}))
    (tmp_path / "data.jsonl").write_text(2 * (json.dumps({"q": " ".join(["many"] * 500), "a": "42"}) + "\n"))
    task = "title: T\ndataset: {file: data.jsonl}\nprompt: '{{ q }}'\ntarget: '{{ a }}'\nscorer: contains\n"
    (tmp_path / "long.yaml").write_text(task)
    command = ["run", "--tasks", tmp_path / "long.yaml", "--model", "http:m", "--base-url", server.url]
    for limit in (1, 2):
        result = m1eval(*command, "--out", tmp_path / "out", "--limit", limit)
        assert result.out.count("counts 16 tokens of a prompt that has 500 or more") == 1
    about = json.loads(next((tmp_path / "out").rglob("run.json")).read_text())
    assert about["runner"]["cut_prompt"] == {"tokens": 16, "least": 500}
