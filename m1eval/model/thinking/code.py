"""Fenced blocks and inline code of an answer, found in one forward pass; a tag inside them is only mentioned."""

import re
from bisect import bisect_left

_FENCES = re.compile(r"^( {0,3})(`{3,}|~{3,})[^\n]*(\n?)", re.MULTILINE)
_TICKS = re.compile(r"`+|\n+")

Region = tuple[int, int]


class Code:
    """The code of a text, from any position on; each question costs what lies between it and the one before.

    A fence is closed by the first later line that begins with as many of its characters, a span by the next run of as
    many backticks on its line; an open fence reaches to the end.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._begin = -1
        self._fence = self._run = 0
        self._fenced: Region = (0, 0)
        self._spanned: Region = (0, 0)
        self._scanned = False
        self._first = {"`": -1, "~": -1}  # first position of each from `begin` on

    def enclosing(self, begin: int, start: int, end: int) -> int | None:
        """Start of the code that holds [start, end) in the text that is read from `begin` on; None outside of code.

        Positions must not go back as long as `begin` is the same, and `begin` never does.
        """
        if start < min(self._next("`", begin), self._next("~", begin)):
            return None  # the usual case: nothing to scan
        if not self._scanned:
            self._scan_fences()
            self._scan_backticks()
            self._scanned = True
        if begin != self._begin:
            self._begin = begin
            self._fence, self._run = bisect_left(self._lines, begin), bisect_left(self._starts, begin)
            self._fenced = self._spanned = (begin, begin)
        while self._fenced[1] < end and self._fence < len(self._lines) and self._lines[self._fence] <= start:
            self._fenced = self._next_fence()
        while self._spanned[1] < end and self._run < len(self._starts) and self._starts[self._run] <= start:
            self._spanned = self._next_span()
        for region in (self._fenced, self._spanned):
            if region[0] <= start and end <= region[1]:
                return region[0]
        return None

    def _next(self, char: str, begin: int) -> int:
        if self._first[char] < begin:
            end = self._text.find(char, begin)
            self._first[char] = end if end >= 0 else len(self._text)
        return self._first[char]

    def _next_fence(self) -> Region:
        i = self._fence
        start, closing = self._lines[i], self._closings[i]
        if not self._followed[i]:  # the last line, with nothing after it
            self._fence += 1
            return (start, start)
        if closing is None:
            self._fence = len(self._lines)
            return (start, len(self._text))
        self._fence = closing + 1
        return (start, self._lines[closing] + self._indents[closing] + self._lengths[i])

    def _next_span(self) -> Region:
        i = self._run
        closing = self._partners[i]
        if closing is None:
            self._run += 1
            return (self._starts[i], self._starts[i])
        self._run = closing + 1
        return (self._starts[i], self._starts[closing] + self._sizes[closing])

    def _scan_fences(self) -> None:
        """Find the lines that begin with a fence, and for each the first later one of its kind that is as long."""
        self._lines: list[int] = []
        self._indents: list[int] = []
        self._lengths: list[int] = []
        self._followed: list[bool] = []
        self._closings: list[int | None] = []
        open_ones: dict[str, list[int]] = {"`": [], "~": []}  # longest first
        for i, match in enumerate(_FENCES.finditer(self._text)):
            indent, fence, rest = match.groups()
            size, waiting = len(fence), open_ones[fence[0]]
            while waiting and self._lengths[waiting[-1]] <= size:
                self._closings[waiting.pop()] = i
            waiting.append(i)
            self._lines.append(match.start())
            self._indents.append(len(indent))
            self._lengths.append(size)
            self._followed.append(bool(rest))
            self._closings.append(None)

    def _scan_backticks(self) -> None:
        """Find the runs of backticks, and for each the next one of its length on its line."""
        self._starts: list[int] = []
        self._sizes: list[int] = []
        self._partners: list[int | None] = []
        last: dict[int, int] = {}
        for match in _TICKS.finditer(self._text) if "`" in self._text else ():
            start, end = match.span()
            if self._text[start] == "\n":
                last = {}
                continue
            size, number = end - start, len(self._starts)
            if size in last:
                self._partners[last[size]] = number
            last[size] = number
            self._starts.append(start)
            self._sizes.append(size)
            self._partners.append(None)
