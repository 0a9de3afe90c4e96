"""Outputs from a server's completion: for each choice text, thinking, tool calls, finish reason and token counts."""

import json
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from m1eval import Output, Split, discard, split_thinking
from m1eval.model.thinking import Form

from . import finish_reasons, message, reported_errors, responses, usage
from .exceptions import RequestFailed, RetryableError
from .message import Message


class _ParsedChoice(NamedTuple):
    """A usable choice."""

    message: Message
    finish: finish_reasons.Finish
    size: int
    """Size in bytes, roughly in proportion to its tokens."""


def parse(
    data: Any,
    opened: bool | None,
    n: int = 1,
    *,
    tags: Sequence[Form] | None = None,
    tools: Collection[str] = (),
    limit: int | None = None,
    stops: Sequence[str] = (),
) -> list[Output | RequestFailed]:
    """The choices of a completion, at most `n`; RetryableError without any, RequestFailed for one that is given up.

    `opened`: whether the chat template leaves a think block open; None: unknown. `tags`: the possible forms of
    thinking; None: any known one, empty: the text is not split. `tools`: the names of the offered tools. `limit`: the
    maximum number of tokens. `stops`: stop strings that the server does not support, so that an answer with one before
    the limit is complete. Tokens are divided among the choices by their length; the prompt counts for the first alone.
    """
    data = responses.unwrap(data) if isinstance(data, dict) else data
    counts = data["usage"] if isinstance(data, dict) and isinstance(data.get("usage"), dict) else {}
    tokens = usage.output_tokens(counts)
    try:
        choices = _find_choices(data)[:n]
        at_limit = bool(limit) and len(choices) == 1 and tokens >= (limit or 0)
        answers = _parse_choices(choices, tools, at_limit)
        if not any(isinstance(answer, _ParsedChoice) for answer in answers):
            _record_discarded(counts, tokens)
    except RecursionError:
        raise RetryableError("the reply is nested too deeply") from None
    except (RetryableError, RequestFailed):
        _record_discarded(counts, tokens)
        raise
    outputs: list[Output | RequestFailed] = []
    shares = _divide(tokens, [answer.size for answer in answers if isinstance(answer, _ParsedChoice)])
    is_single, is_first = len(choices) == 1, True
    for answer in answers:
        if isinstance(answer, RequestFailed):
            outputs.append(answer)
            continue
        finished = _end_at_stop(answer, opened, tags, stops) if stops else answer
        split = _split(finished, opened, tags)
        output = _output(finished, split, counts, shares.pop(0), is_first=is_first, is_single=is_single)
        if stops:
            _truncate_at_stop(output, stops)
        outputs.append(output)
        is_first = False
    return outputs


def _record_discarded(counts: dict[str, Any], tokens: int) -> None:
    """Count a reply that was paid for but holds no answer."""
    if counts:
        discard(usage.parse(counts, tokens, 0, 0, is_single=True))


def _parse_choices(
    choices: Sequence[Any], tools: Collection[str], at_limit: bool
) -> list[_ParsedChoice | RequestFailed]:
    """The usable choices, and errors for others; RetryableError if none is usable.

    One of several that the server broke off is left out, to be requested again by itself.
    """
    answers: list[_ParsedChoice | RequestFailed] = []
    last_error: RetryableError | None = None
    for choice in choices:
        try:
            if choice.get("error"):
                raise reported_errors.reported_error(choice["error"])
            answer, finish = message.parse(choice, tools), finish_reasons.parse(choice, at_limit=at_limit)
        except RequestFailed as error:
            if len(choices) == 1:
                raise
            answers.append(error)
        except RetryableError as error:
            last_error = error
        else:
            has_content = answer.text or answer.reasoning or answer.tool_calls
            if not (has_content or finish_reasons.has_finish_reason(choice)):
                last_error = RetryableError("the reply holds neither an answer nor why there is none")
                continue
            size = len(json.dumps(choice, default=str)) if len(choices) > 1 else 1
            answers.append(_ParsedChoice(answer, finish, size))
    if last_error is not None and not any(isinstance(answer, _ParsedChoice) for answer in answers):
        raise last_error
    return answers


def _split(answer: _ParsedChoice, opened: bool | None, tags: Sequence[Form] | None) -> Split:
    text, reasoning, *_ = answer.message
    if tags is not None and not tags:
        return Split(text, reasoning, unfinished=False)
    is_truncated = answer.finish.reason == "length"
    return split_thinking(text, opened=opened, truncated=is_truncated, reasoning=reasoning or None, tags=tags)


def _end_at_stop(
    answer: _ParsedChoice, opened: bool | None, tags: Sequence[Form] | None, stops: Sequence[str]
) -> _ParsedChoice:
    """The answer as complete, where a stop string came before the limit did."""
    complete = answer._replace(finish=answer.finish._replace(reason="stop"))
    text = _split(complete, opened, tags).text if answer.finish.reason == "length" else ""
    return complete if any(stop and stop in text for stop in stops) else answer


def _output(
    choice: _ParsedChoice, split: Split, counts: dict[str, Any], tokens: int, *, is_first: bool, is_single: bool
) -> Output:
    message, (reason, raw_reason) = choice.message, choice.finish
    tokens_used = usage.parse(counts, tokens, len(split.reasoning), len(split.text), is_single=is_single)
    if not is_first:
        tokens_used.shared, tokens_used.cached = tokens_used.prompt, 0
        tokens_used.cost = None if tokens_used.cost is None else 0.0  # the first has the whole cost
    metadata: dict[str, Any] = {"finish_reason": raw_reason} if raw_reason is not None else {}
    if message.refused:
        metadata["refusal"] = True
    return Output(
        text=split.text,
        reasoning=split.reasoning,
        unfinished_thinking=split.unfinished,
        tool_calls=message.tool_calls,
        finish_reason=reason,
        usage=tokens_used,
        metadata=metadata,
    )


def _truncate_at_stop(output: Output, stops: Sequence[str]) -> None:
    """Truncate an answer at the stop strings that the server does not support."""
    positions = [position for stop in stops if stop and (position := output.text.find(stop)) >= 0]
    if positions:
        output.text, output.finish_reason = output.text[: min(positions)], "stop"


def _find_choices(data: Any) -> list[dict[str, Any]]:
    """The choices in the order of their index; the right exception if there are none."""
    if not isinstance(data, dict):
        raise RetryableError(f"the reply holds no choices, it is a {type(data).__name__}")
    error = reported_errors.find_error(data)
    if error is not None:  # with status 200, as gateways do
        raise reported_errors.reported_error(error)
    choices = data.get("choices")
    if type(choices) is list and len(choices) == 1 and type(choices[0]) is dict:  # nearly always
        return choices
    choices = [choice for choice in choices if choice is not None] if isinstance(choices, list) else []
    if not choices or not all(isinstance(choice, dict) for choice in choices):
        usual = {"choices", "id", "object", "created", "model", "usage"}
        other = ", ".join([str(key)[:20] for key in data if key not in usual][:5])
        raise RetryableError("the reply holds no choices" + (f" (but {other})" if other else ""))
    indices = [choice.get("index") for choice in choices]
    if len(choices) > 1 and all(type(index) is int for index in indices):
        choices = sorted(choices, key=lambda choice: int(choice["index"]))
    return choices


def _divide(total: int, sizes: list[int]) -> list[int]:
    """Divide the total in proportion to the sizes, into whole numbers that add up."""
    if len(sizes) == 1:
        return [total]
    shares, total_given = [], 0
    for i in range(len(sizes)):
        shares.append(total * sum(sizes[: i + 1]) // max(1, sum(sizes)) - total_given)
        total_given += shares[-1]
    return shares
