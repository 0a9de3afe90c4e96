"""Runs on servers that refuse parameters or ways to answer: adjusted once, and reported in a note and in run.json."""

import asyncio
import json
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from m1eval import RunnerError, Sampling
from tests.conftest import Result, lines, run_of, write
from tests.http.conftest import (
    Failed,
    Loopback,
    ReceivedRequest,
    Reply,
    answer,
    ask,
    one_line,
    question,
    runner,
    streamed,
)
from tests.http.test_parameters import fault, pydantic, unsupported


class Gpt5:
    """A server that refuses what GPT-5 does, one parameter at a time, and counts its refusals."""

    def __init__(self) -> None:
        self.refused: list[str] = []

    def __call__(self, request: ReceivedRequest) -> Reply:
        body = request.body
        order = ("max_tokens", "temperature", "top_p", "seed", "stop")
        name = next((name for name in order if name in body), None)
        if name == "temperature" and body[name] == 1:
            name = next((name for name in order[2:] if name in body), None)
        if name is None:
            assert body["max_completion_tokens"] == 512
            return answer("Paris END of it")
        self.refused.append(name)
        if name == "max_tokens":
            return unsupported(name, "is not supported with this model. Use 'max_completion_tokens' instead.")
        if name == "temperature":
            message = (
                f"Unsupported value: 'temperature' does not support {body[name]} with this model. Only the default "
            )
            error = {"message": message + "(1) value is supported.", "param": name, "code": "unsupported_value"}
            return Reply({"error": {"type": "invalid_request_error", **error}}, 400)
        return unsupported(name)


@pytest.fixture
def task(tmp_path: Path) -> Path:
    write(tmp_path / "q.jsonl", "".join(json.dumps({"q": f"Question {i}?"}) + "\n" for i in range(40)))
    return write(
        tmp_path / "t.yaml",
        """
        title: T
        dataset: {file: q.jsonl}
        prompt: "{{ q }}"
        target: Paris
        scorer: exact
        generation: {temperature: 0.6, top_p: 0.95, max_tokens: 512, stop: [" END"], seed: 7}
        """,
    )


def go(shell: Any, server: Loopback, *more: object) -> Result:
    command = ("run", "--tasks", "t.yaml", "--model", "http:gpt-5", "--base-url", server.url, "--out", "x")
    result: Result = shell(*command, "-o", "backoff=0.01", *more, env={"OPENAI_API_KEY": "sk-test-0123456789"})
    return result


def test_a_run_on_gpt5_finishes_and_says_what_was_not_sent(
    server: Loopback, task: Path, tmp_path: Path, shell: Any
) -> None:
    server.models = Reply({"data": [{"id": "gpt-5"}]})
    server.script = gpt5 = Gpt5()
    result = go(shell, server, "-j", 8)
    assert result.code == 0, result.err
    records = lines(run_of(tmp_path / "x") / "samples.jsonl")
    assert [record["outcome"] for record in records] == ["right"] * 40, "the stop string is cut off here"
    assert all(record.get("retries", 0) == 0 for record in records)
    assert len(server.posts) == 40 + len(gpt5.refused)
    assert len(gpt5.refused) <= 8 * 5, "the requests that were in flight, and no later one"
    for words in (
        "max_tokens is sent as max_completion_tokens",
        "temperature=0.6 was refused by the server and is not sent (Unsupported value: 'temperature' does not",
        "top_p=0.95 was refused",
        "seed was refused",
        "stop=[' END'] was refused by the server and is not sent; answers are cut at these strings here",
    ):
        assert words in result.out
    about = json.loads((run_of(tmp_path / "x") / "run.json").read_text())
    learnt = about["runner"]["parameters"]
    assert learnt["max_tokens"]["to"] == "max_completion_tokens"
    assert (learnt["temperature"]["action"], learnt["temperature"]["value"]) == ("drop", 0.6)
    assert set(learnt) == {"max_tokens", "temperature", "top_p", "seed", "stop"}

    num_posts = len(server.posts)
    server.script = lambda request: answer("Paris")  # accepts everything now, but the parameter is still not sent
    more = go(shell, server, "--repeats", 2)
    assert more.code == 0, more.err
    assert len(server.posts) == num_posts + 40
    assert not {"max_tokens", "temperature", "top_p", "seed", "stop"} & set(server.posts[-1].body)
    assert "temperature=0.6 was refused" in more.out
    assert json.loads((run_of(tmp_path / "x") / "run.json").read_text())["runner"]["parameters"] == learnt


@pytest.mark.parametrize("status", [400, 422, 500, 200])
def test_a_refusal_counts_whatever_its_status_and_costs_no_retry(server: Loopback, status: int) -> None:
    server.script = lambda request: Reply(pydantic("top_k"), status) if "top_k" in request.body else answer()
    output = ask(server, question(sampling=Sampling(top_k=20)), retries=0)
    assert (output.text, output.retries) == ("Paris", 0)
    assert len(server.posts) == 2


def test_a_parameter_of_the_users_own_that_is_refused_ends_the_run_by_name(server: Loopback) -> None:
    server.reply(unsupported("reasoning_effort"))
    with pytest.raises(
        RunnerError, match=r"refuses reasoning_effort, which extra_body asks for \(400 Unsupported"
    ) as error:
        ask(server, extra_body='{"reasoning_effort": "high"}')
    one_line(error)
    assert len(server.posts) == 1


def test_a_fault_in_a_value_is_an_error_and_not_a_lesson(server: Loopback) -> None:
    server.reply(Reply(fault("temperature must be at most 1", param="temperature"), 400))
    with pytest.raises(Failed, match="400 temperature must be at most 1"):
        ask(server, question(sampling=Sampling(temperature=1.5)))
    assert len(server.posts) == 1


def test_a_server_that_always_refuses_is_not_retried_forever(server: Loopback) -> None:
    server.reply(unsupported("temperature"))
    with pytest.raises(Failed, match="temperature"):
        ask(server, question(sampling=Sampling(temperature=0.6)))
    assert len(server.posts) == 2


@pytest.mark.parametrize(
    "message",
    [
        "This model only support stream mode, please enable the stream parameter to access the model.",
        "parameter.enable_thinking must be set to false for non-streaming calls",
        "Stream must be set to true",
    ],
)
def test_a_short_answer_is_streamed_where_nothing_else_is_served(server: Loopback, message: str) -> None:
    server.script = lambda request: streamed("Paris") if request.body.get("stream") else Reply(fault(message), 400)

    async def scenario() -> None:
        async with aclosing(runner(server, retries=0)) as client:
            for _ in range(3):
                assert (await client.generate(question(sampling=Sampling(max_tokens=16)))).text == "Paris"

    asyncio.run(scenario())
    assert [bool(request.body.get("stream")) for request in server.posts] == [False, True, True, True]


@pytest.mark.parametrize("options", [{}, {"stream": "no"}, {"stream": "yes"}])
def test_a_server_that_refuses_streams_and_whole_answers_is_not_retried_forever(
    server: Loopback, options: dict[str, str]
) -> None:
    for message in (
        "the stream parameter is not supported",
        "stream must be true or false",
        "no stream_options, no stream",
    ):
        server.reply(Reply(fault(message), 400))
        server.received.clear()
        with pytest.raises(Failed, match="stream"):
            ask(server, question(sampling=Sampling(max_tokens=16)), **options)
        assert len(server.posts) <= 5


@pytest.mark.parametrize(
    ("text", "finish", "expected"),
    [
        ("Paris END and so on", "length", ("Paris ", "stop", False)),
        ("<think>Hm END</think>Paris END and so", "length", ("Paris ", "stop", False)),
        ("<think>Hm END and so", "length", ("", "length", True)),
        ("Paris and so", "length", ("", "length", True)),
        ("Paris END and so on", "stop", ("Paris ", "stop", False)),
    ],
)
def test_an_answer_that_goes_on_to_the_limit_is_cut_where_stop_would_have_ended_it(
    server: Loopback, text: str, finish: str, expected: tuple[str, str, bool]
) -> None:
    server.script = lambda request: unsupported("stop") if "stop" in request.body else answer(text, finish)
    output = ask(server, question(sampling=Sampling(stop=(" none", "END"))))
    assert (output.text, output.finish_reason, output.unfinished_thinking) == expected


def test_a_limit_is_capped_once(server: Loopback) -> None:
    message = (
        "max_tokens is too large: {}. This model supports at most 16384 completion tokens, whereas you provided {}."
    )

    def reply(request: ReceivedRequest) -> Reply:
        most = request.body["max_tokens"]
        return answer() if most <= 16384 else Reply(fault(message.format(most, most), param="max_tokens"), 400)

    server.script = reply

    async def scenario() -> None:
        async with aclosing(runner(server)) as client:
            for _ in range(20):
                assert (await client.generate(question(sampling=Sampling(max_tokens=100_000)))).text == "Paris"

    asyncio.run(scenario())
    assert len(server.posts) == 21


@pytest.mark.parametrize("status", [400, 422, 500, 501])
def test_a_server_that_gives_one_answer_per_request_gets_single_requests(
    server: Loopback, task: Path, shell: Any, status: int
) -> None:
    refusal = Reply(fault("Internal Server Error" if status == 500 else "only one choice is implemented"), status)
    server.script = lambda request: refusal if request.body.get("n", 1) > 1 else answer("Paris")
    result = go(shell, server, "-o", "n=4", "--repeats", 4, "--limit", 5, "-j", 1, "--json")
    assert result.code == 0, result.err
    assert result.json()["runs"][0]["outcomes"]["right"] == 20
    assert sum(request.body.get("n", 1) > 1 for request in server.posts) <= 2, "the first, and one beside it"


def test_system_messages_move_to_an_accepted_role(server: Loopback) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]

    def reply(request: ReceivedRequest) -> Reply:
        roles = [message["role"] for message in request.body["messages"]]
        return Reply(fault("System role not supported"), 400) if "system" in roles else answer()

    server.script = reply
    request = question()
    request.messages = messages
    assert ask(server, request).text == "Paris"
    assert server.posts[-1].body["messages"] == [{"role": "user", "content": "Be brief.\n\nHi"}]
    assert request.messages == messages


def test_requests_without_adjustments_are_not_copied(server: Loopback) -> None:
    client = runner(server)
    body = {"model": "m"}
    assert client._completions.parameters.apply(body) is body
    assert "parameters" not in client.describe()
    assert client.notes == []


@pytest.mark.parametrize(
    "message",
    [
        "Error for model gpt-5: unknown parameter: 'top_k'",
        "model m: property 'top_k' is unsupported",
        "top_k is not supported, though the model m does not exist in the list of those that take it",
    ],
)
def test_a_refused_parameter_is_not_mistaken_for_a_missing_model(server: Loopback, message: str) -> None:
    server.script = lambda request: Reply(fault(message), 400) if "top_k" in request.body else answer()
    assert ask(server, question(sampling=Sampling(top_k=20))).text == "Paris"


@pytest.mark.parametrize(
    "prompt",
    [
        "The 'temperature' parameter is not supported by my oven, what now?",
        "Say why: no such model, and the api key is invalid or missing",
        "He wrote that insufficient balance between work and life is bad",
    ],
)
@pytest.mark.parametrize("status", [200, 400, 422])
def test_an_echo_of_the_prompt_in_an_error_is_not_the_servers_message(
    server: Loopback, prompt: str, status: int
) -> None:
    server.reply(Reply({"error": {"message": f"Our filter says no to: {prompt}", "code": 400}}, status))

    async def scenario() -> Any:
        async with aclosing(runner(server)) as client:
            request = question(sampling=Sampling(max_tokens=10, temperature=0.5))
            request = msgspec.structs.replace(request, messages=[{"role": "user", "content": prompt}])
            with pytest.raises(Failed, match="Our filter says no"):
                await client.generate(request)
            return client.notes

    assert asyncio.run(scenario()) == []
    assert len(server.posts) == 1


@pytest.mark.parametrize("fields", [{"stream": False}, {"stream": True, "stream_options": {"include_usage": False}}])
def test_how_to_stream_is_the_users_own_where_extra_body_says_it(server: Loopback, fields: dict[str, Any]) -> None:
    assert ask(server, question(sampling=Sampling(max_tokens=8000)), extra_body=fields).text == "Paris"
    sent = {name: value for name, value in server.posts[0].body.items() if name.startswith("stream")}
    assert sent == fields


@pytest.mark.parametrize(
    "extra", [{"max_tokens": "lots"}, {"max_tokens": [1]}, {"n": "x"}, {"n": [1]}, {"n": {}}], ids=str
)
def test_values_of_any_type_in_extra_body_go_to_the_server_which_decides(
    server: Loopback, extra: dict[str, Any]
) -> None:
    assert ask(server, extra_body=extra).text == "Paris"
    [name] = extra
    assert server.posts[0].body[name] == extra[name]
    server.reply(Reply(fault("temperature must be positive"), 500), answer())
    assert ask(server, extra_body=extra).retries == 1


def test_no_limit_is_meant_by_minus_one(server: Loopback) -> None:
    output = ask(server.reply(answer(finish=None)), extra_body={"max_tokens": -1})
    assert (output.text, output.finish_reason) == ("Paris", "stop")
    assert server.posts[0].body["stream"] is True


@pytest.mark.parametrize("message", ["Streaming is not supported for this model", "STREAM must be false"])
def test_a_server_that_does_not_stream_gets_requests_without(server: Loopback, message: str) -> None:
    server.script = lambda request: Reply(fault(message), 400) if request.body.get("stream") else answer()
    assert ask(server).text == "Paris"
