"""Thinking in the channels of gpt-oss (harmony): messages with headers, of which those in `final` are the answer.

The format is OpenAI's (openai/harmony, docs/format.md). Where a server has stripped the special tokens, the names of
role and channel are left in the text: `analysisWe need …assistantfinal42`.
"""

import re
from typing import NamedTuple

from .blocks import Split, is_quoted, join_answers
from .forms import MAX_TAG_LENGTH

_PART = rf"[^<]{{0,{MAX_TAG_LENGTH}}}"
_WORD = r"(?:analysis|commentary|final)\b"
_TO_MESSAGE = rf"{_PART}(?:<\|constrain\|>{_PART})?<\|message\|>"
_HEADER = (
    rf"(?:<\|start\|>(?P<role>{_PART}))?<\|channel\|>\s{{0,8}}"
    rf"(?:(?P<channel>{_WORD})(?:{_TO_MESSAGE}|(?!\s{{0,8}}<\|))|(?P<other>{_TO_MESSAGE}))"
    rf"|<\|start\|>(?P<plain>assistant{_PART})<\|message\|>"
)
_MARKS = re.compile(rf"{_HEADER}|(?P<end><\|(?:end|return|call)\|>)")
_BARE = re.compile(r"assistant(?P<channel>analysis|commentary|final)")
_BARE_OPENING = re.compile(r"(?:assistant)?(?:analysis|commentary)(?:[A-Z][\w']*,?\s[A-Za-z\"'\d]|[^\x00-\x7f])")
_BARE_FINAL = re.compile(r"assistantfinal")
_BARE_FIRST = re.compile(r"\s*(analysis|commentary)")
_BARE_SURE = re.compile(r"\s*(analysis|commentary|final(?=[^\sa-z]))")
_OPENING = re.compile(
    rf"(?:<\|start\|>{_PART}|assistant)?<\|channel\|>\s{{0,8}}{_WORD}"
    rf"|<\|start\|>assistant{_PART}<\||(?:analysis|commentary|final)\b{_PART}(?:<\|constrain\|>{_PART})?<\|message\|>"
)
_TURN = re.compile(
    rf"<\|start\|>assistant{_PART}<\|channel\|>\s{{0,8}}final\b{_PART}(?:<\|constrain\|>{_PART})?<\|message\|>"
)
_NAMED_FIRST = re.compile(
    rf"\s*(?P<channel>(?:analysis|commentary|final)\b{_PART})(?:<\|constrain\|>{_PART})?<\|message\|>"
)
_PARTIAL_MARK = re.compile(r"<(?:\|[a-z]{0,9}\|?)?\Z")


class _Message(NamedTuple):
    channel: str
    body: str
    ended: str
    """The mark that ended it; empty where another message or the end of the text did."""


def opens(text: str, at: int) -> bool:
    """Whether a text begins with channels at this place."""
    if _OPENING.match(text, at) or _BARE_FINAL.match(text, at):
        return True
    named = text.startswith(("analysis", "commentary"), at) and _BARE_FINAL.search(text, at) is not None
    return named or _BARE_OPENING.match(text, at) is not None


def final_start(text: str) -> int | None:
    """Index at which a text that began inside a channel turns to its final one; None if it does not."""
    for match in _TURN.finditer(text):
        if not is_quoted(text, *match.span()):
            return match.start()
    bare = (match.start() for match in _BARE_FINAL.finditer(text) if not is_quoted(text, *match.span()))
    return next(bare, None)


def split(text: str, opened: bool | None, truncated: bool, *, sure: bool) -> Split:
    """Split a text by channels; `sure`: the model is known to write them, even if this text shows none.

    `opened`: the prompt ended inside the analysis.
    """
    messages = _messages(text, "analysis" if opened else "", sure)
    if not messages or [message.channel for message in messages] == [""]:
        cut = truncated and opened is None
        return Split("", text, True) if cut else Split(text, "", False)
    answers = [message.body for message in messages if message.channel == "final"]
    thoughts = [message.body.strip() for message in messages if message.channel != "final"]
    reasoning = "\n".join(filter(None, thoughts))
    last = messages[-1]
    inside = last.channel != "final" and (truncated or not last.ended)
    answer = join_answers(answers)
    if truncated and not last.ended:
        answer = _PARTIAL_MARK.sub("", answer)
    if inside or (truncated and not answer.strip()):
        return Split("", reasoning, True)
    return Split(answer, reasoning, False)


def _messages(text: str, channel: str, sure: bool) -> list[_Message]:
    """The messages of a text that begins inside a channel, or outside of all (the channel is empty then)."""
    begin = 0
    if not channel and (first := _NAMED_FIRST.match(text)):
        channel, begin = first["channel"], first.end()
    marks = list(_MARKS.finditer(text, begin)) if "<|" in text else []
    if not marks and not begin:
        return _stripped_messages(text, channel, sure)
    messages: list[_Message] = []
    outside = False  # between an end and the next header
    for mark in marks:
        if is_quoted(text, *mark.span()):
            continue
        name = _channel_name(channel)
        body = text[begin : mark.start()]
        inside = name == "final" and not outside and body.strip()
        if inside and mark["end"] is None and mark["role"] is None and mark["plain"] is None:
            continue  # the answer writes of channels
        if not outside and (body.strip() or name):
            messages.append(_Message(name, body, mark["end"] or ""))
        begin, outside = mark.end(), mark["end"] is not None
        channel = "" if outside else mark["channel"] or mark["other"] or "final"
    if not outside:
        messages.append(_Message(_channel_name(channel), text[begin:], ""))
    return messages


def _channel_name(channel: str) -> str:
    return next(
        (name for name in ("analysis", "commentary", "final") if channel.strip().startswith(name)),
        channel and "analysis",
    )


def _stripped_messages(text: str, channel: str, sure: bool) -> list[_Message]:
    """The messages of a text whose special tokens have been stripped."""
    begin = 0
    if not channel and (first := (_BARE_SURE if sure else _BARE_FIRST).match(text)):
        channel, begin = first[1], first.end()
    messages = []
    for mark in _BARE.finditer(text, begin):
        if is_quoted(text, *mark.span()):
            continue
        body = text[begin : mark.start()]
        if body.strip() or channel:
            messages.append(_Message(_channel_name(channel), body, "<|end|>"))
        channel, begin = mark["channel"], mark.end()
    messages.append(_Message(_channel_name(channel), text[begin:], ""))
    return messages
