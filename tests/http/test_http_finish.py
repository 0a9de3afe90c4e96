"""Finish reasons, costs, and errors in place of answers, in the words of many servers."""

import json
from pathlib import Path
from typing import Any

import pytest

from m1eval import RunnerError, Sampling, read
from tests.conftest import lines, run_of
from tests.http.conftest import (
    Failed,
    Loopback,
    ReceivedRequest,
    RecordingProgress,
    Reply,
    answer,
    ask,
    event,
    http,
    question,
)

WHOLE = (
    "stop STOP Stop eos eos_token stop_sequence stop_str end_turn COMPLETE FINISH_REASON_STOP FinishReason.STOP endTurn"
)
CUT = "length LENGTH max_tokens MAX_TOKENS max_output_tokens max_length max_new_tokens model_length token_limit"
CUT += " ERROR_LIMIT maxTokens max-tokens incomplete repetition model_context_window_exceeded FINISH_REASON_MAX_TOKENS"
CUT += " limit STOP_LIMIT out_of_context contextExceeded too_many_tokens cutoff kv_cache_full"
CALLS = "tool_calls tool_use function_call TOOL_CALL toolCalls"
UNKNOWN = "unknown OTHER pause_turn weird FINISH_REASON_UNSPECIFIED 完成"
FILTERED = "content_filter SAFETY RECITATION PROHIBITED_CONTENT sensitive refusal ERROR_TOXIC guardrail_intervened"
FILTERED += " contentFilter"
FAILED = "abort ABORT aborted cancelled canceled error ERROR insufficient_system_resource network_error timeout"
FAILED += " internal_server_error engine_failure request_cancelled load"
NOTHING: tuple[Any, ...] = (None, "", "null", "None", 0, False, [], {})


def streaming(*choices: dict[str, Any], done: bool = True) -> Reply:
    body = b"".join(event({"choices": [choice]}) for choice in choices) + event(b"[DONE]") * done
    return Reply(body, headers={"Content-Type": "text/event-stream"})


def ending(finish: Any, how: str, **more: Any) -> Reply:
    if how == "whole":
        body = answer("Paris", finish).body
        body["choices"][0] |= more
        return Reply(body)
    return streaming({"delta": {"content": "Paris"}}, {"delta": {}, "finish_reason": finish, **more})


@pytest.mark.parametrize("how", ["whole", "stream"])
@pytest.mark.parametrize(
    ("words", "reason"), [(WHOLE, "stop"), (CUT, "length"), (CALLS, "tool_calls"), (UNKNOWN, "stop")]
)
def test_an_answer_is_whole_cut_or_a_call(server: Loopback, words: str, reason: str, how: str):
    server.script = lambda request: ending(request.body["messages"][0]["content"], how)
    for word in words.split():
        output = ask(server, http.Request(messages=[{"role": "user", "content": word}]), thinking="no")
        assert (output.text, output.finish_reason, output.retries) == ("Paris", reason, 0), word
        assert output.metadata.get("finish_reason", reason) == word, "the server's own word is kept"


@pytest.mark.parametrize("how", ["whole", "stream"])
@pytest.mark.parametrize("raw", NOTHING, ids=repr)
def test_an_answer_without_a_finish_reason_is_complete(server: Loopback, raw: Any, how: str):
    output = ask(server.reply(ending(raw, how)))
    assert (output.text, output.finish_reason, output.metadata) == ("Paris", "stop", {})


@pytest.mark.parametrize("raw", NOTHING, ids=repr)
def test_a_stream_without_any_end_has_broken_off(server: Loopback, raw: Any):
    broken = streaming({"delta": {"content": "Par"}, "finish_reason": raw}, done=False)
    output = ask(server.reply(broken, answer("Paris")))
    assert (output.text, output.retries) == ("Paris", 1)


@pytest.mark.parametrize("how", ["whole", "stream"])
@pytest.mark.parametrize("word", FILTERED.split())
def test_a_filtered_answer_is_an_error_with_its_reason(server: Loopback, word: str, how: str):
    with pytest.raises(Failed, match=f"finish_reason '{word}'"):
        ask(server.reply(ending(word, how)))
    assert len(server.posts) == 1


@pytest.mark.parametrize("how", ["whole", "stream"])
@pytest.mark.parametrize("word", [*FAILED.split(), ["stop"], 7, True], ids=str)
def test_an_answer_that_was_broken_off_is_retried(server: Loopback, word: Any, how: str):
    output = ask(server.reply(ending(word, how), answer("whole")))
    assert (output.text, output.retries) == ("whole", 1)
    with pytest.raises(Failed, match="ended the answer with finish_reason"):
        ask(server.reply(ending(word, how)), retries=1)


@pytest.mark.parametrize("how", ["whole", "stream"])
@pytest.mark.parametrize(
    ("finish", "more", "reason", "raw"),
    [
        (None, {"stop_reason": "max_tokens"}, "length", "max_tokens"),
        (None, {"stop_reason": "###"}, "stop", None),
        (None, {"stop_reason": 151645}, "stop", None),
        ("stop", {"stop_reason": "length"}, "stop", None),
        ("stop", {"native_finish_reason": "MAX_TOKENS"}, "length", "MAX_TOKENS"),
        ("length", {"native_finish_reason": "stop"}, "length", None),
        ("stop", {"native_finish_reason": "whatever_max"}, "stop", None),
        (None, {"native_finish_reason": "max_output_tokens"}, "length", "max_output_tokens"),
        ({"type": "length", "length": 5}, {}, "length", None),
    ],
)
def test_other_fields_count_where_they_are_more_exact(
    server: Loopback, finish: Any, more: dict[str, Any], reason: str, raw: str | None, how: str
):
    output = ask(server.reply(ending(finish, how, **more)), thinking="no")
    assert (output.finish_reason, output.metadata.get("finish_reason")) == (reason, raw)


def test_an_aggregator_that_hides_a_broken_answer_is_seen_through(server: Loopback):
    assert ask(server.reply(ending("stop", "whole", native_finish_reason="abort"), answer("whole"))).retries == 1


def test_a_limit_that_was_reached_decides_only_where_nothing_is_said(server: Loopback):
    usage = {"prompt_tokens": 5, "completion_tokens": 64}
    request = question(sampling=Sampling(max_tokens=64))
    cut = ask(server.reply(answer("Par", None, usage)), request, thinking="no")
    assert (cut.finish_reason, cut.unfinished_thinking) == ("length", False)
    assert ask(server, request).unfinished_thinking, "a draft perhaps, never graded"
    assert ask(server.reply(answer("Paris", "stop", usage)), request).finish_reason == "stop", "it may just fit"
    assert ask(server.reply(answer("Paris", None, usage | {"completion_tokens": 63})), request).finish_reason == "stop"


def test_one_of_several_that_was_broken_off_is_left_out():
    body = answer("right", "stop").body
    body["choices"] += [{"message": {"content": "ri"}, "finish_reason": "abort", "index": 1}]
    [output] = http.outputs.parse(body, None, 2)
    assert (output.text, output.usage.answer) == ("right", 8)


# Errors in place of an answer
LONG = "This model's maximum context length is 2048 tokens. However, you requested 3000 tokens"
ERRORS: dict[str, Any] = {
    "object": {"error": {"message": LONG, "type": "BadRequestError", "code": 400}},
    "object with a name": {"error": {"message": "too long", "code": "context_length_exceeded"}},
    "text": {"error": LONG},
    "vLLM of old": {"object": "error", "message": LONG, "type": "BadRequestError", "param": None, "code": 400},
    "detail": {"detail": LONG},
    "message alone": {"message": LONG, "type": "error"},
    "Anthropic": {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 9 > 8"}},
    "with choices": {"choices": [{"delta": {}, "finish_reason": "error"}], "error": {"message": LONG, "code": 502}},
    "in a choice": {"choices": [{"index": 0, "delta": {}, "error": {"message": LONG, "code": 400}}]},
    "several": {"errors": [{"message": LONG}]},
}


@pytest.mark.parametrize("where", ["first", "later", "typed", "body", "line"])
@pytest.mark.parametrize("name", ERRORS)
def test_a_prompt_that_is_too_long_is_refused_in_any_form_of_the_error(server: Loopback, name: str, where: str):
    data = ERRORS[name]
    before = event({"choices": [{"delta": {"role": "assistant", "content": ""}}]}) if where != "first" else b""
    error = b"event: error\n" * (where == "typed") + event(data)
    error = json.dumps(data).encode() + b"\n" if where == "line" else error
    reply = Reply(data) if where == "body" else Reply(before + error, headers={"Content-Type": "text/event-stream"})
    output = ask(server.reply(reply))
    assert (output.finish_reason, output.text, len(server.posts)) == ("refused_context", "", 1)


def test_a_context_error_leaves_max_tokens_out_once_then_gives_in(server: Loopback):
    def reply(request: ReceivedRequest) -> Reply:
        return (
            Reply(event(ERRORS["object"]), headers={"Content-Type": "text/event-stream"})
            if "max_tokens" in request.body
            else answer()
        )

    server.script = reply
    output = ask(server, question(sampling=Sampling(max_tokens=80_000)))
    assert (output.text, len(server.posts)) == ("Paris", 2)


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"type": "overloaded_error", "message": "Overloaded"}},
        {"error": {"message": "Rate limit reached", "code": 429}},
        {"error": {"message": "Provider returned error", "code": 502}},
        {"error": {"message": "CUDA error", "code": 500}},
        {"error": "Internal error"},
        {"error": {"message": "try later", "code": "503"}},
        {"detail": "the engine died"},
        {"base_resp": {"status_code": 1002, "status_msg": "rate limit"}, "choices": None},
        {"error_code": 336100, "error_msg": "server high load"},
    ],
    ids=str,
)
@pytest.mark.parametrize("how", ["whole", "stream"])
def test_a_transient_error_in_a_stream_is_retried(server: Loopback, error: dict[str, Any], how: str):
    progress = RecordingProgress()
    reply = Reply(error) if how == "whole" else Reply(event(error), headers={"Content-Type": "text/event-stream"})
    output = ask(server.reply(reply, answer()), question(progress=progress))
    assert (output.text, output.retries, len(progress.retries)) == ("Paris", 1, 1)


def test_a_refusal_in_a_stream_fails_without_retries_and_a_wrong_key_ends_the_run(server: Loopback):
    for how in (Reply, lambda data: Reply(event(data), headers={"Content-Type": "text/event-stream"})):
        with pytest.raises(Failed, match="temperature must be positive 400"):
            ask(server.reply(how({"error": {"message": "temperature must be positive", "code": 400}})))
        with pytest.raises(RunnerError, match=r"set \$OPENAI_API_KEY"):
            ask(server.reply(how({"error": {"message": "No auth credentials found", "code": 401}})))


@pytest.mark.parametrize(
    "harmless",
    [
        {"error": None},
        {"error": {}},
        {"error": ""},
        {"error": {"code": None, "message": ""}},
        {"base_resp": {"status_code": 0, "status_msg": ""}},
        {"message": "a field of its own"},
        {"detail": None},
        {"warnings": ["x"]},
        {"code": 0, "msg": "success", "status": "error"},
    ],
    ids=str,
)
def test_fields_that_are_not_errors_are_ignored(server: Loopback, harmless: dict[str, Any]):
    assert ask(server.reply(Reply(answer("Paris").body | harmless))).retries == 0
    body = event({"choices": [{"delta": {"content": "Paris"}, "finish_reason": "stop"}]} | harmless) + event(b"[DONE]")
    assert ask(server.reply(Reply(body, headers={"Content-Type": "text/event-stream"}))).retries == 0


def test_a_reply_of_another_kind_says_what_it_holds(server: Loopback):
    with pytest.raises(Failed, match=r"holds no choices \(but output, status\)"):
        ask(server.reply(Reply({"id": "r", "output": [], "status": "completed"})), retries=0)


# Token counts
@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 3.0, "completion_tokens": 4.0}, (3, 0, 0, 4)),
        ({"prompt_tokens": "12", "completion_tokens": " 7 "}, (12, 0, 0, 7)),
        ({"prompt_tokens": 2**63, "completion_tokens": 2**200}, (0, 0, 0, 0)),
        ({"prompt_tokens": 1e300, "completion_tokens": float("nan")}, (0, 0, 0, 0)),
        ({"prompt_tokens": float("inf"), "completion_tokens": -float("inf")}, (0, 0, 0, 0)),
        ({"prompt_tokens": True, "completion_tokens": False}, (0, 0, 0, 0)),
        ({"prompt_tokens": -5, "completion_tokens": 3.5}, (0, 0, 0, 0)),
        ({"prompt_tokens": [1], "completion_tokens": {"a": 1}}, (0, 0, 0, 0)),
        ({"prompt_tokens": "1" * 400, "completion_tokens": "١٢"}, (0, 0, 0, 0)),
        ({"input_tokens": 5, "output_tokens": 6, "output_tokens_details": {"reasoning_tokens": 2}}, (5, 0, 2, 4)),
        (
            {"input_tokens": 5, "cache_creation_input_tokens": 9, "cache_read_input_tokens": 90, "output_tokens": 6},
            (104, 90, 0, 6),
        ),
        ({"prompt_tokens": 95, "cache_read_input_tokens": 90, "completion_tokens": 6}, (95, 90, 0, 6)),
        ({"prompt_tokens": 5, "completion_tokens": 6, "reasoning_tokens": 2}, (5, 0, 2, 4)),
        (
            {"prompt_tokens": 5, "completion_tokens": 6, "completion_tokens_details": {"reasoning_tokens": 90}},
            (5, 0, 6, 0),
        ),
        (
            {"prompt_tokens": 5, "completion_tokens": 6, "completion_tokens_details": {"reasoning_tokens": 4.0}},
            (5, 0, 4, 2),
        ),
        (
            {
                "prompt_tokens": 5,
                "completion_tokens": 6,
                "total_tokens": 31,
                "completion_tokens_details": {"reasoning_tokens": 20},
            },
            (5, 0, 20, 6),
        ),
        ({"prompt_tokens": 5, "total_tokens": 11}, (5, 0, 0, 6)),
        ({"prompt_tokens": 5, "completion_tokens": 6, "prompt_cache_hit_tokens": 4}, (5, 4, 0, 6)),
        ({"prompt_tokens": 5, "completion_tokens": 6, "cached_tokens": "4"}, (5, 4, 0, 6)),
        ({"prompt_tokens": 5, "completion_tokens": 6, "prompt_tokens_details": {"cached_tokens": 9}}, (5, 5, 0, 6)),
        ({"prompt_tokens": 5, "completion_tokens": 6, "prompt_tokens_details": None}, (5, 0, 0, 6)),
        ([], (0, 0, 0, 0)),
        ("many", (0, 0, 0, 0)),
    ],
)
def test_counts_are_whole_numbers_within_reason_or_not_known(usage: Any, expected: tuple[int, ...]):
    body = answer("Paris").body | {"usage": usage}
    [output] = http.outputs.parse(http.responses.parse_json(json.dumps(body).encode()), None)
    counts = output.usage
    assert (counts.prompt, counts.cached, counts.reasoning, counts.answer) == expected
    assert all(type(getattr(counts, name)) is int for name in ("prompt", "cached", "reasoning", "answer"))


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        (0.25, 0.25),
        (1, 1.0),
        ("0.5", 0.5),
        ({"total_cost": 0.125}, 0.125),
        (-1, None),
        (1e300, None),
        (True, None),
        *[(float("nan"), None), (float("inf"), None), ("free", None), (None, None), ([1], None), (2**70, None)],
    ],
)
def test_costs_are_dollars_or_not_known(cost: Any, expected: float | None):
    body = answer("Paris", usage={"prompt_tokens": 1, "completion_tokens": 1, "cost": cost}).body
    [output] = http.outputs.parse(http.responses.parse_json(json.dumps(body).encode()), None)
    assert (output.usage.cost, type(output.usage.cost)) == (expected, type(expected))


def test_counts_of_a_stream_may_come_early_late_and_twice(server: Loopback):
    pieces: list[Any] = [
        {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 0}},
        {"choices": [{"delta": {"content": "Paris"}}], "usage": None},
        {"choices": [{"delta": {}, "finish_reason": "stop", "usage": {"completion_tokens": 4}}]},
        {"choices": [], "usage": {"completion_tokens": 5, "cost": 0.5}},
        {"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0}},
    ]
    body = b"".join(map(event, pieces)) + event(b"[DONE]")
    usage = ask(server.reply(Reply(body, headers={"Content-Type": "text/event-stream"}))).usage
    assert (usage.prompt, usage.answer, usage.cost) == (9, 5, 0.5)


def test_a_run_with_absurd_counts_ends_and_is_read_back(server: Loopback, m1eval: Any, tmp_path: Path):
    absurd = [2**63, 2**64, 10**400, 3.0, "12", -1, float("nan"), float("inf"), 1e18, True, None, [], {}]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"q": i}) + "\n" for i in range(len(absurd))))
    task = "title: T\ndataset: {file: t.jsonl}\nid: '{{ q }}'\nprompt: '{{ q }}'\ntarget: right\nscorer: exact\n"
    (tmp_path / "t.yaml").write_text(task)

    def reply(request: ReceivedRequest) -> Reply:
        each = absurd[int(request.body["messages"][0]["content"])]
        usage = dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens", "cost"), each)
        usage |= {"prompt_tokens_details": {"cached_tokens": each}}
        return answer("right", usage=usage | {"completion_tokens_details": {"reasoning_tokens": each}})

    server.script = reply
    command = ("run", "--tasks", tmp_path / "t.yaml", "--model", "http:m", "--base-url", server.url, "--json")
    first = m1eval(*command, "--out", tmp_path / "x")
    assert first.code == 0, first.err
    assert len(lines(run_of(tmp_path / "x") / "samples.jsonl")) == len(absurd)
    again = m1eval(*command, "--out", tmp_path / "x")
    assert (again.code, again.json(), len(server.posts)) == (0, first.json(), len(absurd)), "nothing is asked again"
    frame = read(str(tmp_path / "x"))
    assert (len(frame), frame["value"].mean()) == (len(absurd), 1.0)
    assert (run_of(tmp_path / "x") / "samples.parquet").stat().st_size > 0
