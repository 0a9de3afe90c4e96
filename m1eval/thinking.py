"""Where the thinking ends and the answer begins, right by construction.

Whoever renders the prompt knows whether it ended inside an open think block (`opened`), whoever stops the generation
knows whether it was cut (`truncated`), and a server may have split already (`reasoning`). With these three the split
is decided, not guessed; what stays ambiguous is decided against grading a draft. The cases stand in
tests/thinking_conformance.jsonl, for any implementation to run against.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

Tags = tuple[str, str]
THINK: Tags = ("<think>", "</think>")

_QUOTES = {'"': '"', "'": "'", "`": "`", "“": "”", "‘": "’", "«": "»"}
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})[^\n]*\n(?:.*?^ {0,3}\1|.*)", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"(?<!`)(`+)(?!`)[^\n]*?[^`\n](?<!`)\1(?!`)")


class Split(NamedTuple):
    """An output in two: the answer, and the thinking before (or between) it."""

    text: str
    reasoning: str
    unfinished: bool
    """The output ended inside its thinking; `text` is empty and nothing may be graded."""


class _Tag(NamedTuple):
    start: int
    end: int
    opens: bool


def split_thinking(
    text: str,
    *,
    opened: bool | None = None,
    truncated: bool = False,
    reasoning: str | None = None,
    tags: Tags = THINK,
) -> Split:
    """Split a model's output into answer and thinking.

    `opened`: did the rendered prompt end inside an open think block; None: not known (a server rendered it).
    `truncated`: did the output end at a token limit. `reasoning`: what the server put into its own reasoning field; if
    there is any, the rest is the answer. An unclosed block is unfinished; so is a cut output without any tag, unless
    the prompt is known to have opened none. Tags in code or quotes of the answer are text.
    """
    if reasoning:
        rest = _scan(text, False, truncated, tags)
        thoughts = "\n".join(filter(None, [reasoning, rest.reasoning]))
        return Split(rest.text, thoughts, rest.unfinished or (truncated and not rest.text.strip()))
    return _scan(text, opened, truncated, tags)


def _scan(text: str, opened: bool | None, truncated: bool, tags: Tags) -> Split:
    found = list(_tags(text, tags))
    if opened and text.lstrip().startswith(tags[0]):
        found = found[1:]  # the model repeats the tag that the template has written
    depth = 1 if opened else 0
    begin = 0  # of the part being read
    last_close = -1  # end of the last closing tag inside the open block
    seen_block = bool(opened)
    code: list[tuple[int, int]] = []  # fences and spans of the answer being read, from code_from on
    code_from = -1
    answers: list[str] = []
    thoughts: list[str] = []
    for i, tag in enumerate(found):
        if depth == 0:
            if code_from != begin:
                code, code_from = _code(text, begin), begin
            if _is_text(text, found, i, begin, code, seen_block or opened is False, truncated):
                continue
        if tag.opens:
            if depth == 0:
                answers.append(text[begin : tag.start])
                begin, last_close = tag.start, -1
            depth += 1
        elif depth:
            depth -= 1
            last_close = tag.end
            if depth == 0:
                thoughts.append(text[begin : tag.end])
                begin = tag.end
        else:  # a closing tag alone: what came before was thinking all along
            thoughts = [text[: tag.end]]
            answers.clear()
            begin = tag.end
        seen_block = True
    if depth and (truncated or last_close < 0):
        return Split("", _clean([*thoughts, text[begin:]], tags), True)
    if depth:  # the thinking named an opening tag that it never closed; the last closing tag was the real one
        thoughts.append(text[begin:last_close])
        begin = last_close
    if truncated and opened is None and not seen_block:
        return Split("", text, True)
    if not seen_block:
        return Split(text, "", False)
    answers.append(text[begin:])
    *before, last = [part for part in answers if part.strip()] or [""]
    return Split("\n".join([*map(str.strip, before), last.lstrip()]), _clean(thoughts, tags), False)


def _tags(text: str, tags: Tags) -> Iterator[_Tag]:
    """All tags but those directly in quotes, such as "<think>"."""
    for match in re.finditer("|".join(map(re.escape, tags)), text):
        before, after = text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1]
        if not (before in _QUOTES and _QUOTES[before] == after):
            yield _Tag(match.start(), match.end(), match[0] == tags[0])


def _code(text: str, begin: int) -> list[tuple[int, int]]:
    """Where fenced blocks and inline code stand from `begin` on."""
    return [match.span() for region in (_FENCE, _SPAN) for match in region.finditer(text, begin)]


def _is_text(
    text: str, found: list[_Tag], i: int, begin: int, code: list[tuple[int, int]], answering: bool, truncated: bool
) -> bool:
    """Whether tag `i`, met outside a think block, is only mentioned by the answer that starts at `begin`.

    `answering`: it is certain that the text from `begin` on is no thinking.
    """
    tag = found[i]
    for start, end in code:
        if start <= tag.start and tag.end <= end:
            first = next(t for t in found if t.start >= start)
            # A lone closing tag in code may still be the end of thinking that began in the prompt.
            return answering or first.opens
    if not tag.opens:
        return False
    closed_later = any(not later.opens for later in found[i + 1 :])
    mid_line = bool(text[begin : tag.start].strip()) and not text[: tag.start].rstrip(" \t").endswith("\n")
    return mid_line and not closed_later and not truncated


def _clean(thoughts: list[str], tags: Tags) -> str:
    """The thinking without the tags at its ends."""
    parts = (part.strip().removeprefix(tags[0]).removesuffix(tags[1]).strip() for part in thoughts)
    return "\n".join(part for part in parts if part)
