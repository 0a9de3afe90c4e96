"""Refused parameters: learned once per run, and reported in a note and in run.json."""

import asyncio
import importlib
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
    http,
    one_line,
    question,
    runner,
    streamed,
)

parameters = importlib.import_module(f"{http.__name__}.parameters")
errors = importlib.import_module(f"{http.__name__}.errors")

SENT = {
    "model": "m",
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
    "max_tokens": 100_000,
    "temperature": 0.6,
    "top_p": 0.95,
    "top_k": 20,
    "min_p": 0.1,
    "stop": ["END"],
    "seed": 7,
    "stream": True,
    "stream_options": {"include_usage": True},
}


def unsupported(name: str, why: str = "is not supported with this model.") -> Reply:
    message = f"Unsupported parameter: '{name}' {why}"
    error = {"message": message, "type": "invalid_request_error", "param": name, "code": "unsupported_parameter"}
    return Reply({"error": error}, 400)


def pydantic(*names: str) -> dict[str, Any]:
    return {
        "detail": [
            {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted", "input": 1}
            for name in names
        ]
    }


def e(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


DROP, RENAME, CAP, MOVE = "drop", "rename", "cap", "move"
LESSONS: list[tuple[Any, list[tuple[str, str, Any]]]] = [
    (unsupported("max_tokens", "is not supported with this model. Use 'max_completion_tokens' instead.").body,
     [("max_tokens", RENAME, "max_completion_tokens")]),
    (e("Unsupported value: 'temperature' does not support 0.6 with this model. Only the default (1) value is "
       "supported.",
       param="temperature", code="unsupported_value"), [("temperature", DROP, "")]),
    (e("Unrecognized request argument supplied: top_k"), [("top_k", DROP, "")]),
    (e("Parameter top_k is not a recognized parameter"), [("top_k", DROP, "")]),
    (e("top-k sampling is unavailable for this deployment"), [("top_k", DROP, "")]),
    (e("Cannot specify 'temperature' when thinking is on"), [("temperature", DROP, "")]),
    (e("This model does not support stop sequences"), [("stop", DROP, "")]),
    (e("Unrecognized request arguments supplied: min_p, top_k"), [("min_p", DROP, ""), ("top_k", DROP, "")]),
    (pydantic("top_k"), [("top_k", DROP, "")]),
    (pydantic("min_p", "seed"), [("seed", DROP, ""), ("min_p", DROP, "")]),
    ({"object": "error", "message": json.dumps(pydantic("seed")), "type": "internal_error"}, [("seed", DROP, "")]),
    ({"object": "error", "message": pydantic("stream_options"), "type": "invalid_request_error"},
     [("stream_options", DROP, "")]),
    ({"object": "error", "message": "[{'type': 'extra_forbidden', 'loc': ('body', 'top_k'), 'msg': 'Extra inputs are "
      "not permitted', 'input': 5}]"}, [("top_k", DROP, "")]),
    ({"detail": "body -> seed\n  Extra inputs are not permitted (type=extra_forbidden)"}, [("seed", DROP, "")]),
    (e("property 'top_k' is unsupported, did you mean 'top_p'?"), [("top_k", DROP, "")]),
    (e("Additional properties are not allowed ('top_k', 'min_p' were unexpected)"),
     [("min_p", DROP, ""), ("top_k", DROP, "")]),
    ({"message": "Malformed input request: #: extraneous key [seed] is not permitted, please reformat your input."},
     [("seed", DROP, "")]),
    ({"code": "Client specified an invalid argument", "error": "Argument not supported on this model: stop"},
     [("stop", DROP, "")]),
    (e("deepseek-reasoner does not support the parameter `top_p`"), [("top_p", DROP, "")]),
    (e("litellm.UnsupportedParamsError: together_ai does not support parameters: ['seed'], for model=Qwen."),
     [("seed", DROP, "")]),
    (e("invalid temperature: only 1 is allowed for this model"), [("temperature", DROP, "")]),
    (e("`temperature` may only be set to 1 when thinking is enabled."), [("temperature", DROP, "")]),
    (e("`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled."), [("top_p", DROP, "")]),
    (e("`temperature` and `top_p` cannot both be specified for this model. Please use only one."),
     [("top_p", DROP, "")]),
    (e("Your organization must be verified to stream this model.", param="stream", code="unsupported_value"),
     [("stream", DROP, "")]),
    (e("Unknown parameter: 'min_p'. Supported parameters are: temperature, top_p, max_tokens"), [("min_p", DROP, "")]),
    (e("max_tokens: Extra inputs are not permitted"), [("max_tokens", RENAME, "max_completion_tokens")]),
    (e("max_tokens is too large: 100000. This model supports at most 16384 completion tokens, whereas you provided "
       "100000.",
       param="max_tokens"), [("max_tokens", CAP, 16384)]),
    (e("`max_tokens` must be less than or equal to `32768`, the maximum value for `max_tokens` is less than the "
       "`context_window` for this model", param="max_tokens"), [("max_tokens", CAP, 32768)]),
    (e("max_tokens: 100000 > 64000, which is the maximum allowed number of output tokens for claude-sonnet-4-20250514"),
     [("max_tokens", CAP, 64000)]),
    (e("<400> InternalError.Algo.InvalidParameter: Range of max_tokens should be [1, 8192]"),
     [("max_tokens", CAP, 8192)]),
    ({"message": "The maximum tokens you requested exceeds the model limit of 10000. Try again with a lower value."},
     [("max_tokens", CAP, 10000)]),
    ({"error": "Input validation error: `max_new_tokens` must be <= 192. Given: 100000"}, [("max_tokens", CAP, 192)]),
    (e("Unsupported value: 'messages[0].role' does not support 'system' with this model.", param="messages[0].role"),
     [("system", MOVE, "user")]),
    (e("System role not supported"), [("system", MOVE, "user")]),
    (e("Unsupported role 'system'. Use 'developer' for system instructions; role 'system' is not supported."),
     [("system", MOVE, "developer")]),
    (e("Developer instruction is not enabled for models/gemma-3-27b-it"), [("system", MOVE, "user")]),
    (e("Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with length 5.",
       param="stop", code="array_above_max_length"), [("stop", DROP, "")]),
    (e("The maximum number of stop sequences is 4, got 5", param="stop"), [("stop", DROP, "")]),
    (e("Stop sequences are not supported with this model"), [("stop", DROP, "")]),
    (e("stop_sequences: each stop sequence must contain non-whitespace"), [("stop", DROP, "")]),
    ({"error": "Input validation error: `stop` supports up to 4 stop sequences. Given: 5"}, [("stop", DROP, "")]),
    (e("top_k パラメータはサポートされていません"), [("top_k", DROP, "")]),
    (e("top_k 매개변수는 지원되지 않습니다"), [("top_k", DROP, "")]),
    (e("Le paramètre top_k n'est pas pris en charge"), [("top_k", DROP, "")]),
    (e("Der Parameter top_k wird nicht unterstützt"), [("top_k", DROP, "")]),
    (e("El parámetro top_k no es compatible con este modelo"), [("top_k", DROP, "")]),
    (e("O parâmetro top_k não é suportado"), [("top_k", DROP, "")]),
    (e("Параметр top_k не поддерживается"), [("top_k", DROP, "")]),
    (e("max_tokens 값이 최대값 4096을 초과했습니다"), [("max_tokens", CAP, 4096)]),
    (e("max_tokens 超过最大值，最大4096个"), [("max_tokens", CAP, 4096)]),
    (e("max_tokens dépasse la limite de 4096"), [("max_tokens", CAP, 4096)]),
    (e("max_tokens excede el máximo de 4096"), [("max_tokens", CAP, 4096)]),
    (e("max_tokens превышает максимум 4096"), [("max_tokens", CAP, 4096)]),
    # Nothing to learn
    (e("temperature must be positive"), []),
    (e("temperature must be at most 1"), []),
    (e("prompt has bad words, please stop"), []),
    (e("This model does not support images; stop sending them"), []),
    (e("Invalid prompt \"why is temperature not supported in space\": flagged"), []),
    (e("model is not supported"), []),
    (e("`tools` is not supported", param="tools"), []),
    (e("Rate limit reached, the maximum is 500"), []),
    (e(""), []),
]  # fmt: skip


@pytest.mark.parametrize(("body", "expected"), LESSONS, ids=range(len(LESSONS)))
def test_each_refusal_teaches_what_it_says(body: Any, expected: list[tuple[str, str, Any]]) -> None:
    error = errors.parse(json.dumps(body))
    assert [tuple(lesson) for lesson in parameters.find_adjustments(error, SENT)] == expected


def test_user_parameters_are_not_adjusted() -> None:
    error = errors.parse(json.dumps(e("Unsupported parameter: 'temperature' is not supported", param="temperature")))
    assert parameters.find_adjustments(error, SENT, {"temperature"}) == []
    learned = parameters.Parameters({"temperature"}, str)
    assert not learned.learn(error, SENT, SENT)
    assert learned.apply(SENT) is SENT
    assert learned.refused_user_parameter(error, SENT) == "temperature"


def test_a_limit_refused_by_both_names_is_dropped_for_good() -> None:
    learned = parameters.Parameters((), str)
    for name in ("max_tokens", "max_completion_tokens"):
        fields = learned.apply(SENT)
        assert learned.learn(errors.parse(json.dumps(pydantic(name))), SENT, fields)
    assert not {"max_tokens", "max_completion_tokens"} & set(learned.apply(SENT))
    assert learned.record["max_tokens"]["action"] == "drop"
    raw = {"prompt": "x", "max_tokens": 9}
    assert learned.apply(raw) == raw


def test_a_record_is_recalled_and_nonsense_in_it_is_ignored() -> None:
    first = parameters.Parameters((), str)
    for body in (pydantic("max_tokens"), pydantic("top_k"), e("System role not supported")):
        assert first.learn(errors.parse(json.dumps(body)), SENT, first.apply(SENT))
    cap = e("max_completion_tokens is too large: the maximum is 512", param="max_completion_tokens")
    assert first.learn(errors.parse(json.dumps(cap)), SENT, first.apply(SENT))
    again = parameters.Parameters((), str)
    again.recall(json.loads(json.dumps(first.record)))
    assert again.apply(SENT) == first.apply(SENT) != SENT
    assert (again.record, again.notes) == (first.record, first.notes)
    odd = parameters.Parameters((), str)
    odd.recall({"model": {"action": "drop"}, "top_p": "x", "max_tokens": {"action": "cap", "to": "9"}, "seed": {}})
    assert odd.apply(SENT) is SENT


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
    server.reply(Reply(e("temperature must be at most 1", param="temperature"), 400))
    with pytest.raises(Failed, match="400 temperature must be at most 1"):
        ask(server, question(sampling=Sampling(temperature=1.5)))
    assert len(server.posts) == 1


def test_a_server_that_always_refuses_is_not_retried_for_ever(server: Loopback) -> None:
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
    server.script = lambda request: streamed("Paris") if request.body.get("stream") else Reply(e(message), 400)

    async def scenario() -> None:
        async with aclosing(runner(server, retries=0)) as client:
            for _ in range(3):
                assert (await client.generate(question(sampling=Sampling(max_tokens=16)))).text == "Paris"

    asyncio.run(scenario())
    assert [bool(request.body.get("stream")) for request in server.posts] == [False, True, True, True]


@pytest.mark.parametrize("options", [{}, {"stream": "no"}, {"stream": "yes"}])
def test_a_server_that_refuses_streams_and_whole_answers_is_not_retried_for_ever(
    server: Loopback, options: dict[str, str]
) -> None:
    for message in (
        "the stream parameter is not supported",
        "stream must be true or false",
        "no stream_options, no stream",
    ):
        server.reply(Reply(e(message), 400))
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
        return answer() if most <= 16384 else Reply(e(message.format(most, most), param="max_tokens"), 400)

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
    refusal = Reply(e("Internal Server Error" if status == 500 else "only one choice is implemented"), status)
    server.script = lambda request: refusal if request.body.get("n", 1) > 1 else answer("Paris")
    result = go(shell, server, "-o", "n=4", "--repeats", 4, "--limit", 5, "-j", 1, "--json")
    assert result.code == 0, result.err
    assert result.json()["runs"][0]["outcomes"]["right"] == 20
    assert sum(request.body.get("n", 1) > 1 for request in server.posts) <= 2, "the first, and one beside it"


def test_system_messages_move_to_an_accepted_role(server: Loopback) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]

    def reply(request: ReceivedRequest) -> Reply:
        roles = [message["role"] for message in request.body["messages"]]
        return Reply(e("System role not supported"), 400) if "system" in roles else answer()

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
    server.script = lambda request: Reply(e(message), 400) if "top_k" in request.body else answer()
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
    server.reply(Reply(e("temperature must be positive"), 500), answer())
    assert ask(server, extra_body=extra).retries == 1


def test_no_limit_is_meant_by_minus_one(server: Loopback) -> None:
    output = ask(server.reply(answer(finish=None)), extra_body={"max_tokens": -1})
    assert (output.text, output.finish_reason) == ("Paris", "stop")
    assert server.posts[0].body["stream"] is True


@pytest.mark.parametrize("message", ["Streaming is not supported for this model", "STREAM must be false"])
def test_a_server_that_does_not_stream_gets_requests_without(server: Loopback, message: str) -> None:
    server.script = lambda request: Reply(e(message), 400) if request.body.get("stream") else answer()
    assert ask(server).text == "Paris"
