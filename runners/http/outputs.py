"""A completion of the server's as outputs: its choices, each with text, thinking, tool calls, end and token counts."""

import json
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from m1eval import Output, Split, split_thinking
from m1eval.reservation import discard
from m1eval.thinking import Form

from . import finish_reasons, message, reported_errors, responses, usage
from .exceptions import RequestFailed, RetryableError
from .message import Message


class _ParsedChoice(NamedTuple):
    """A choice that can be used."""

    message: Message
    finish: finish_reasons.Finish
    size: int
    """Bytes, about in proportion to its tokens."""


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
    """The choices of a completion, at most `most`; TryAgain if there is none, RequestFailed for one given up on.

    `opened`: does the chat template leave a think block open; None: not known. `tags`: the forms of thinking that may
    be meant; None: any known one, empty: the text is left as it is. `tools`: the names that were offered. `limit`: as
    many tokens were allowed. `stops`: strings that are to end an answer and that the server does not know, so that one
    with such a string before the limit is whole. Tokens are divided among the choices by their length, and the first
    alone pays for the prompt.
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
    """Have a reply counted that was paid for and holds no answer."""
    if counts:
        discard(usage.parse(counts, tokens, 0, 0, is_single=True))


def _parse_choices(
    choices: Sequence[Any], tools: Collection[str], at_limit: bool
) -> list[_ParsedChoice | RequestFailed]:
    """The choices that are answers, and why others are none; TryAgain if none is.

    One of several that the server broke off is left out, to be asked for again by itself.
    """
    answers: list[_ParsedChoice | RequestFailed] = []
    last_error: RetryableError | None = None
    for choice in choices:
        try:
            if choice.get("error"):
                raise reported_errors.reported_error(choice["error"])
            parsed_message, finish = message.parse(choice, tools), finish_reasons.parse(choice, at_limit=at_limit)
        except RequestFailed as error:
            if len(choices) == 1:
                raise
            answers.append(error)
        except RetryableError as error:
            last_error = error
        else:
            if not (
                parsed_message.text
                or parsed_message.reasoning
                or parsed_message.tool_calls
                or finish_reasons.has_finish_reason(choice)
            ):
                last_error = RetryableError("the reply holds neither an answer nor why there is none")
                continue
            size = len(json.dumps(choice, default=str)) if len(choices) > 1 else 1
            answers.append(_ParsedChoice(parsed_message, finish, size))
    if last_error is not None and not any(isinstance(answer, _ParsedChoice) for answer in answers):
        raise last_error
    return answers


def _split(answer: _ParsedChoice, opened: bool | None, tags: Sequence[Form] | None) -> Split:
    message_, is_truncated = answer.message, answer.finish.reason == "length"
    if tags is not None and not tags:
        return Split(message_.text, message_.reasoning, unfinished=False)
    return split_thinking(
        message_.text, opened=opened, truncated=is_truncated, reasoning=message_.reasoning or None, tags=tags
    )


def _end_at_stop(
    answer: _ParsedChoice, opened: bool | None, tags: Sequence[Form] | None, stops: Sequence[str]
) -> _ParsedChoice:
    """An answer as whole, where a string that was to end it came before the limit did."""
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
        tokens_used.cost = None if tokens_used.cost is None else 0.0  # the first has it all
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
    """End an answer where the server would have ended it, had it known these strings."""
    positions = [position for stop in stops if stop and (position := output.text.find(stop)) >= 0]
    if positions:
        output.text, output.finish_reason = output.text[: min(positions)], "stop"


def _find_choices(data: Any) -> list[dict[str, Any]]:
    """The choices in the order of their index; the exception that is right if there are none."""
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
        other_fields = [
            str(key)[:20] for key in data if key not in {"choices", "id", "object", "created", "model", "usage"}
        ]
        raise RetryableError(
            "the reply holds no choices" + (f" (but {', '.join(other_fields[:5])})" if other_fields else "")
        )
    indices = [choice.get("index") for choice in choices]
    if len(choices) > 1 and all(type(index) is int for index in indices):
        choices = sorted(choices, key=lambda choice: int(choice["index"]))
    return choices


def _divide(total: int, sizes: list[int]) -> list[int]:
    """The total divided in proportion to the sizes, in whole numbers that add up."""
    if len(sizes) == 1:
        return [total]
    shares, total_given = [], 0
    for i in range(len(sizes)):
        shares.append(total * sum(sizes[: i + 1]) // max(1, sum(sizes)) - total_given)
        total_given += shares[-1]
    return shares
