"""A completion of the server's as outputs: its choices, each with text, thinking, tool calls, end and token counts."""

import json
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from m1eval import Output, Split, split_thinking
from m1eval.reservation import discard
from m1eval.thinking import Form

from . import finish_reasons, message, replies, reported, usage
from .line import RequestFailed, TryAgain
from .message import Message


class _Answer(NamedTuple):
    """A choice that can be used."""

    message: Message
    finish: finish_reasons.Finish
    size: int
    """Bytes, about in proportion to its tokens."""


def read(
    data: Any,
    opened: bool | None,
    most: int = 1,
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
    data = replies.unwrapped(data) if isinstance(data, dict) else data
    told = data["usage"] if isinstance(data, dict) and isinstance(data.get("usage"), dict) else {}
    tokens = usage.output_tokens(told)
    try:
        choices = _choices(data)[:most]
        at_limit = bool(limit) and len(choices) == 1 and tokens >= (limit or 0)
        answers = _answers(choices, tools, at_limit)
        if not any(isinstance(answer, _Answer) for answer in answers):
            _discard(told, tokens)
    except RecursionError:
        raise TryAgain("the reply is nested too deeply") from None
    except (TryAgain, RequestFailed):
        _discard(told, tokens)
        raise
    found: list[Output | RequestFailed] = []
    shares = _shares(tokens, [answer.size for answer in answers if isinstance(answer, _Answer)])
    alone, first = len(choices) == 1, True
    for answer in answers:
        if isinstance(answer, RequestFailed):
            found.append(answer)
            continue
        said = _ended(answer, opened, tags, stops) if stops else answer
        split = _split(said, opened, tags)
        output = _output(said, split, told, shares.pop(0), first=first, alone=alone)
        if stops:
            _cut(output, stops)
        found.append(output)
        first = False
    return found


def _discard(told: dict[str, Any], tokens: int) -> None:
    """Have a reply counted that was paid for and holds no answer."""
    if told:
        discard(usage.read(told, tokens, 0, 0, alone=True))


def _answers(choices: Sequence[Any], tools: Collection[str], at_limit: bool) -> list[_Answer | RequestFailed]:
    """The choices that are answers, and why others are none; TryAgain if none is.

    One of several that the server broke off is left out, to be asked for again by itself.
    """
    answers: list[_Answer | RequestFailed] = []
    broken: TryAgain | None = None
    for choice in choices:
        try:
            if choice.get("error"):
                raise reported.as_exception(choice["error"])
            said, finish = message.read(choice, tools), finish_reasons.read(choice, at_limit=at_limit)
        except RequestFailed as error:
            if len(choices) == 1:
                raise
            answers.append(error)
        except TryAgain as error:
            broken = error
        else:
            if not (said.text or said.reasoning or said.tool_calls or finish_reasons.is_told(choice)):
                broken = TryAgain("the reply holds neither an answer nor why there is none")
                continue
            size = len(json.dumps(choice, default=str)) if len(choices) > 1 else 1
            answers.append(_Answer(said, finish, size))
    if broken is not None and not any(isinstance(answer, _Answer) for answer in answers):
        raise broken
    return answers


def _split(answer: _Answer, opened: bool | None, tags: Sequence[Form] | None) -> Split:
    said, cut = answer.message, answer.finish.reason == "length"
    if tags is not None and not tags:
        return Split(said.text, said.reasoning, unfinished=False)
    return split_thinking(said.text, opened=opened, truncated=cut, reasoning=said.reasoning or None, tags=tags)


def _ended(answer: _Answer, opened: bool | None, tags: Sequence[Form] | None, stops: Sequence[str]) -> _Answer:
    """An answer as whole, where a string that was to end it came before the limit did."""
    whole = answer._replace(finish=answer.finish._replace(reason="stop"))
    text = _split(whole, opened, tags).text if answer.finish.reason == "length" else ""
    return whole if any(stop and stop in text for stop in stops) else answer


def _output(answer: _Answer, split: Split, told: dict[str, Any], tokens: int, *, first: bool, alone: bool) -> Output:
    said, (reason, raw) = answer.message, answer.finish
    counts = usage.read(told, tokens, len(split.reasoning), len(split.text), alone=alone)
    if not first:
        counts.shared, counts.cached = counts.prompt, 0
        counts.cost = None if counts.cost is None else 0.0  # the first has it all
    metadata: dict[str, Any] = {"finish_reason": raw} if raw is not None else {}
    if said.refused:
        metadata["refusal"] = True
    return Output(
        text=split.text,
        reasoning=split.reasoning,
        unfinished_thinking=split.unfinished,
        tool_calls=said.tool_calls,
        finish_reason=reason,
        usage=counts,
        metadata=metadata,
    )


def _cut(output: Output, stops: Sequence[str]) -> None:
    """End an answer where the server would have ended it, had it known these strings."""
    ends = [at for stop in stops if stop and (at := output.text.find(stop)) >= 0]
    if ends:
        output.text, output.finish_reason = output.text[: min(ends)], "stop"


def _choices(data: Any) -> list[dict[str, Any]]:
    """The choices in the order of their index; the exception that is right if there are none."""
    if not isinstance(data, dict):
        raise TryAgain(f"the reply holds no choices, it is a {type(data).__name__}")
    error = reported.error_in(data)
    if error is not None:  # with status 200, as gateways do
        raise reported.as_exception(error)
    choices = data.get("choices")
    if type(choices) is list and len(choices) == 1 and type(choices[0]) is dict:  # nearly always
        return choices
    choices = [choice for choice in choices if choice is not None] if isinstance(choices, list) else []
    if not choices or not all(isinstance(choice, dict) for choice in choices):
        other = [str(key)[:20] for key in data if key not in {"choices", "id", "object", "created", "model", "usage"}]
        raise TryAgain("the reply holds no choices" + (f" (but {', '.join(other[:5])})" if other else ""))
    places = [choice.get("index") for choice in choices]
    if len(choices) > 1 and all(type(place) is int for place in places):
        choices = sorted(choices, key=lambda choice: int(choice["index"]))
    return choices


def _shares(total: int, sizes: list[int]) -> list[int]:
    """The total divided in proportion to the sizes, in whole numbers that add up."""
    if len(sizes) == 1:
        return [total]
    shares, given = [], 0
    for i in range(len(sizes)):
        shares.append(total * sum(sizes[: i + 1]) // max(1, sum(sizes)) - given)
        given += shares[-1]
    return shares
