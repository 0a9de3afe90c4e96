"""Thinking between tags: one pass over the tags of a text, each step at constant cost."""

import re
from bisect import bisect_left
from functools import cached_property
from typing import NamedTuple

from .code import Code
from .forms import MAX_TAG_LENGTH, Form

_QUOTES = {'"': '"', "'": "'", "`": "`", "“": "”", "‘": "’", "«": "»"}
_NON_SPACE = re.compile(r"[^\s\ufeff\u200b]")


class Split(NamedTuple):
    """An output in two: the answer, and the thinking before (or between) it."""

    text: str
    reasoning: str
    unfinished: bool
    """The output ended inside its thinking; `text` is empty and nothing may be graded."""


class Tag(NamedTuple):
    """A tag in a text; `deep`: it opens a level only inside the thinking."""

    start: int
    end: int
    opens: bool
    deep: bool = False


def is_quoted(text: str, start: int, end: int) -> bool:
    """Whether a part of a text is directly in quotes, such as "<think>"."""
    return start > 0 and (mark := _QUOTES.get(text[start - 1])) is not None and text.startswith(mark, end)


def find_tags(text: str, form: Form) -> list[Tag]:
    """All tags of a form but those directly in quotes."""
    if not form.nesting:
        spans = (
            (match.start(), match.end(), match.lastindex == 1, False) for match in form.opens_or_closes.finditer(text)
        )
    else:
        strict = {match.start() for match in form.opens.finditer(text)}
        spans = (
            (match.start(), match.end(), match.lastindex == 1, match.lastindex == 1 and match.start() not in strict)
            for match in form.opens_or_closes.finditer(text)
        )
    return [Tag(*tag) for tag in spans if not (text[tag[0] - 1] in _QUOTES and is_quoted(text, tag[0], tag[1]))]


def split(text: str, form: Form, opened: bool | None, truncated: bool) -> Split:
    """Split a text by a form's tags; see `m1eval.split_thinking`."""
    markers = find_tags(text, form)
    if not markers and not opened:  # nearly always
        return Split("", text, True) if truncated and opened is None else Split(text, "", False)
    return _Pass(text, form, opened, truncated, markers).split()


class _Pass:
    """One pass over the tags of a text."""

    def __init__(self, text: str, form: Form, opened: bool | None, truncated: bool, tags: list[Tag]) -> None:
        self._text, self._form, self._opened, self._truncated = text, form, opened, truncated
        self._tags = tags
        first = _NON_SPACE.search(text)
        if opened and first and form.opens.match(text, first.start()):
            self._tags = self._tags[1:]  # the model repeats the tag that the template has written
        self._code, self._earlier = Code(text), Code(text)
        self._earlier_begin: int | None = None  # where the part before an answer began
        self._depth = int(bool(opened))
        self._begin = 0  # of the part being read
        self._first_text: tuple[int, int] = (-1, 0)  # where the text from `begin` on is more than white space
        self._last_close = -1  # end of the last closing tag inside the open block
        self._has_tags = bool(opened)
        self._answers: list[str] = []
        self._thoughts: list[tuple[int, int]] = []

    def split(self) -> Split:
        for i, tag in enumerate(self._tags):
            if self._depth == 0 and self._is_mentioned(i, tag):
                continue
            self._apply_tag(tag)
            self._has_tags = True
        return self._result()

    def _apply_tag(self, tag: Tag) -> None:
        if tag.opens:
            if self._depth == 0:
                self._answers.append(self._text[self._begin : tag.start])
                self._begin, self._last_close = tag.start, -1
            self._depth += 1
        elif self._depth:
            self._depth -= 1
            self._last_close = tag.end
            if self._depth == 0:
                self._thoughts.append((self._begin, tag.end))
                self._earlier_begin, self._begin = self._begin, tag.end
        else:  # a closing tag alone: what came before was thinking all along
            self._thoughts = [(0, tag.end)]
            self._answers.clear()
            self._earlier_begin, self._begin = self._begin, tag.end

    def _result(self) -> Split:
        text, size = self._text, len(self._text)
        if self._depth and (self._truncated or self._last_close < 0 or self._is_reopened()):
            return Split("", self._reasoning([*self._thoughts, (self._begin, size)]), True)
        if self._depth:  # the thinking named an opening tag that it never closed; the last closing tag was the real one
            self._thoughts.append((self._begin, self._last_close))
            self._begin = self._last_close
        if self._truncated and self._opened is None and not self._has_tags:
            return Split("", text, True)
        if not self._has_tags:
            return Split(text, "", False)
        self._answers.append(text[self._begin :])
        return Split(join_answers(self._answers), self._reasoning(self._thoughts), False)

    def _is_reopened(self) -> bool:
        """Whether what follows the last closing tag begins with an opening tag: thinking again, and never closed."""
        first = _NON_SPACE.search(self._text, self._last_close)
        return first is not None and self._form.opens.match(self._text, first.start()) is not None

    def _is_mentioned(self, i: int, tag: Tag) -> bool:
        """Whether a tag met outside a think block is only mentioned by the answer that starts at `begin`."""
        if tag.deep or not (tag.opens or self._form.closes_alone):
            return True
        inside = self._code.enclosing(self._begin, tag.start, tag.end)
        if inside is not None:
            if not tag.opens and self._is_outside_earlier_code(tag):
                return False
            first = self._tags[bisect_left(self._tag_starts, inside)]
            # A lone closing tag in code may still be the end of thinking that began in the prompt.
            return self._has_tags or self._opened is False or first.opens
        if not tag.opens:
            return False
        return not self._truncated and i > self._last_closing and self._mid_line(i, tag)

    def _is_outside_earlier_code(self, tag: Tag) -> bool:
        """Whether a tag is in no code if a fence of the thinking goes on, in which the last closing tag stood."""
        return (
            self._earlier_begin is not None and self._earlier.enclosing(self._earlier_begin, tag.start, tag.end) is None
        )

    def _mid_line(self, i: int, tag: Tag) -> bool:
        if self._first_text[0] != self._begin:
            match = _NON_SPACE.search(self._text, self._begin)
            self._first_text = (self._begin, match.start() if match else len(self._text))
        before = self._text[self._tags[i - 1].end if i else 0 : tag.start].rstrip(" \t")
        return self._first_text[1] < tag.start and not before.endswith("\n")

    @cached_property
    def _tag_starts(self) -> list[int]:
        return [tag.start for tag in self._tags]

    @cached_property
    def _last_closing(self) -> int:
        """The number of the last closing tag."""
        tags = self._tags
        return next((i for i in range(len(tags) - 1, -1, -1) if not tags[i].opens), -1)

    def _reasoning(self, parts: list[tuple[int, int]]) -> str:
        """The thinking without the tags at its ends."""
        cleaned = (self._strip_tags(self._text[start:end].strip()) for start, end in parts)
        return "\n".join(part for part in cleaned if part)

    def _strip_tags(self, part: str) -> str:
        form = self._form
        if part.startswith(form.open):
            part = part[len(form.open) :]
        elif begin := form.opens.match(part):
            part = part[begin.end() :]
        if part.endswith(form.close):
            return part[: -len(form.close)].strip()
        tail = max(0, len(part) - MAX_TAG_LENGTH)
        ends = [match.start() for match in form.closes.finditer(part, tail) if match.end() == len(part)]
        return (part[: ends[0]] if ends else part).strip()


def join_answers(answers: list[str]) -> str:
    """The parts of an answer between and after the thinking, white space before the first and between them left out."""
    *before, last = [part for part in answers if _NON_SPACE.search(part)] or [""]
    return "\n".join([*map(str.strip, before), last.lstrip()])
