"""Refused parameters: what each refusal teaches."""

import importlib
import json
from typing import Any

import pytest

from tests.http.conftest import (
    Reply,
    http,
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


def fault(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


DROP, RENAME, CAP, MOVE = "drop", "rename", "cap", "move"
LESSONS: list[tuple[Any, list[tuple[str, str, Any]]]] = [
    (unsupported("max_tokens", "is not supported with this model. Use 'max_completion_tokens' instead.").body,
     [("max_tokens", RENAME, "max_completion_tokens")]),
    (fault("Unsupported value: 'temperature' does not support 0.6 with this model. Only the default (1) value is "
       "supported.",
       param="temperature", code="unsupported_value"), [("temperature", DROP, "")]),
    (fault("Unrecognized request argument supplied: top_k"), [("top_k", DROP, "")]),
    (fault("Parameter top_k is not a recognized parameter"), [("top_k", DROP, "")]),
    (fault("top-k sampling is unavailable for this deployment"), [("top_k", DROP, "")]),
    (fault("Cannot specify 'temperature' when thinking is on"), [("temperature", DROP, "")]),
    (fault("This model does not support stop sequences"), [("stop", DROP, "")]),
    (fault("Unrecognized request arguments supplied: min_p, top_k"), [("min_p", DROP, ""), ("top_k", DROP, "")]),
    (pydantic("top_k"), [("top_k", DROP, "")]),
    (pydantic("min_p", "seed"), [("seed", DROP, ""), ("min_p", DROP, "")]),
    ({"object": "error", "message": json.dumps(pydantic("seed")), "type": "internal_error"}, [("seed", DROP, "")]),
    ({"object": "error", "message": pydantic("stream_options"), "type": "invalid_request_error"},
     [("stream_options", DROP, "")]),
    ({"object": "error", "message": "[{'type': 'extra_forbidden', 'loc': ('body', 'top_k'), 'msg': 'Extra inputs are "
      "not permitted', 'input': 5}]"}, [("top_k", DROP, "")]),
    ({"detail": "body -> seed\n  Extra inputs are not permitted (type=extra_forbidden)"}, [("seed", DROP, "")]),
    (fault("property 'top_k' is unsupported, did you mean 'top_p'?"), [("top_k", DROP, "")]),
    (fault("Additional properties are not allowed ('top_k', 'min_p' were unexpected)"),
     [("min_p", DROP, ""), ("top_k", DROP, "")]),
    ({"message": "Malformed input request: #: extraneous key [seed] is not permitted, please reformat your input."},
     [("seed", DROP, "")]),
    ({"code": "Client specified an invalid argument", "error": "Argument not supported on this model: stop"},
     [("stop", DROP, "")]),
    (fault("deepseek-reasoner does not support the parameter `top_p`"), [("top_p", DROP, "")]),
    (fault("litellm.UnsupportedParamsError: together_ai does not support parameters: ['seed'], for model=Qwen."),
     [("seed", DROP, "")]),
    (fault("invalid temperature: only 1 is allowed for this model"), [("temperature", DROP, "")]),
    (fault("`temperature` may only be set to 1 when thinking is enabled."), [("temperature", DROP, "")]),
    (fault("`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled."), [("top_p", DROP, "")]),
    (fault("`temperature` and `top_p` cannot both be specified for this model. Please use only one."),
     [("top_p", DROP, "")]),
    (fault("Your organization must be verified to stream this model.", param="stream", code="unsupported_value"),
     [("stream", DROP, "")]),
    (fault("Unknown parameter: 'min_p'. Supported parameters are: temperature, top_p, max_tokens"),
     [("min_p", DROP, "")]),
    (fault("max_tokens: Extra inputs are not permitted"), [("max_tokens", RENAME, "max_completion_tokens")]),
    (fault("max_tokens is too large: 100000. This model supports at most 16384 completion tokens, whereas you provided "
       "100000.",
       param="max_tokens"), [("max_tokens", CAP, 16384)]),
    (fault("`max_tokens` must be less than or equal to `32768`, the maximum value for `max_tokens` is less than the "
       "`context_window` for this model", param="max_tokens"), [("max_tokens", CAP, 32768)]),
    (fault("max_tokens: 100000 > 64000, which is the maximum allowed number of output tokens for "
       "claude-sonnet-4-20250514"),
     [("max_tokens", CAP, 64000)]),
    (fault("<400> InternalError.Algo.InvalidParameter: Range of max_tokens should be [1, 8192]"),
     [("max_tokens", CAP, 8192)]),
    ({"message": "The maximum tokens you requested exceeds the model limit of 10000. Try again with a lower value."},
     [("max_tokens", CAP, 10000)]),
    ({"error": "Input validation error: `max_new_tokens` must be <= 192. Given: 100000"}, [("max_tokens", CAP, 192)]),
    (fault("Unsupported value: 'messages[0].role' does not support 'system' with this model.",
       param="messages[0].role"),
     [("system", MOVE, "user")]),
    (fault("System role not supported"), [("system", MOVE, "user")]),
    (fault("Unsupported role 'system'. Use 'developer' for system instructions; role 'system' is not supported."),
     [("system", MOVE, "developer")]),
    (fault("Developer instruction is not enabled for models/gemma-3-27b-it"), [("system", MOVE, "user")]),
    (fault("Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with length 5.",
       param="stop", code="array_above_max_length"), [("stop", DROP, "")]),
    (fault("The maximum number of stop sequences is 4, got 5", param="stop"), [("stop", DROP, "")]),
    (fault("Stop sequences are not supported with this model"), [("stop", DROP, "")]),
    (fault("stop_sequences: each stop sequence must contain non-whitespace"), [("stop", DROP, "")]),
    ({"error": "Input validation error: `stop` supports up to 4 stop sequences. Given: 5"}, [("stop", DROP, "")]),
    (fault("top_k パラメータはサポートされていません"), [("top_k", DROP, "")]),
    (fault("top_k 매개변수는 지원되지 않습니다"), [("top_k", DROP, "")]),
    (fault("Le paramètre top_k n'est pas pris en charge"), [("top_k", DROP, "")]),
    (fault("Der Parameter top_k wird nicht unterstützt"), [("top_k", DROP, "")]),
    (fault("El parámetro top_k no es compatible con este modelo"), [("top_k", DROP, "")]),
    (fault("O parâmetro top_k não é suportado"), [("top_k", DROP, "")]),
    (fault("Параметр top_k не поддерживается"), [("top_k", DROP, "")]),
    (fault("max_tokens 값이 최대값 4096을 초과했습니다"), [("max_tokens", CAP, 4096)]),
    (fault("max_tokens 超过最大值，最大4096个"), [("max_tokens", CAP, 4096)]),
    (fault("max_tokens dépasse la limite de 4096"), [("max_tokens", CAP, 4096)]),
    (fault("max_tokens excede el máximo de 4096"), [("max_tokens", CAP, 4096)]),
    (fault("max_tokens превышает максимум 4096"), [("max_tokens", CAP, 4096)]),
    # Nothing to learn
    (fault("temperature must be positive"), []),
    (fault("temperature must be at most 1"), []),
    (fault("prompt has bad words, please stop"), []),
    (fault("This model does not support images; stop sending them"), []),
    (fault("Invalid prompt \"why is temperature not supported in space\": flagged"), []),
    (fault("model is not supported"), []),
    (fault("`tools` is not supported", param="tools"), []),
    (fault("Rate limit reached, the maximum is 500"), []),
    (fault(""), []),
]  # fmt: skip


@pytest.mark.parametrize(("body", "expected"), LESSONS, ids=range(len(LESSONS)))
def test_each_refusal_teaches_what_it_says(body: Any, expected: list[tuple[str, str, Any]]) -> None:
    error = errors.parse(json.dumps(body))
    assert [tuple(lesson) for lesson in parameters.find_adjustments(error, SENT)] == expected


def test_user_parameters_are_not_adjusted() -> None:
    error = errors.parse(
        json.dumps(fault("Unsupported parameter: 'temperature' is not supported", param="temperature"))
    )
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
    for body in (pydantic("max_tokens"), pydantic("top_k"), fault("System role not supported")):
        assert first.learn(errors.parse(json.dumps(body)), SENT, first.apply(SENT))
    cap = fault("max_completion_tokens is too large: the maximum is 512", param="max_completion_tokens")
    assert first.learn(errors.parse(json.dumps(cap)), SENT, first.apply(SENT))
    again = parameters.Parameters((), str)
    again.recall(json.loads(json.dumps(first.record)))
    assert again.apply(SENT) == first.apply(SENT) != SENT
    assert (again.record, again.notes) == (first.record, first.notes)
    odd = parameters.Parameters((), str)
    odd.recall({"model": {"action": "drop"}, "top_p": "x", "max_tokens": {"action": "cap", "to": "9"}, "seed": {}})
    assert odd.apply(SENT) is SENT
