"""Where an answer's fenced blocks and inline code stand, read forward once; a tag inside them is only mentioned."""

import re
from bisect import bisect_left
from functools import cached_property

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

    def around(self, begin: int, start: int, end: int) -> int | None:
        """Where the code begins that holds [start, end) in the text that is read from `begin` on; None outside of it.

        Positions must not go back as long as `begin` is the same, and `begin` never does.
        """
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

    def _next_fence(self) -> Region:
        i = self._fence
        start, (_, size, opens), closing = self._lines[i], self._fences[i], self._closings[i]
        if not opens:  # the last line, with nothing after it
            self._fence += 1
            return (start, start)
        if closing is None:
            self._fence = len(self._lines)
            return (start, len(self._text))
        self._fence = closing + 1
        return (start, self._lines[closing] + self._fences[closing][0] + size)

    def _next_span(self) -> Region:
        i = self._run
        closing = self._partners[i]
        if closing is None:
            self._run += 1
            return (self._starts[i], self._starts[i])
        self._run = closing + 1
        return (self._starts[i], self._starts[closing] + self._sizes[closing])

    @cached_property
    def _found(self) -> list[re.Match[str]]:
        return list(_FENCES.finditer(self._text))

    @cached_property
    def _lines(self) -> list[int]:
        return [match.start() for match in self._found]

    @cached_property
    def _fences(self) -> list[tuple[int, int, bool]]:
        """Indentation, length, and whether a line follows."""
        return [(len(match[1]), len(match[2]), bool(match[3])) for match in self._found]

    @cached_property
    def _closings(self) -> list[int | None]:
        """For each fence the first later one of its character that is as long or longer."""
        closings: list[int | None] = [None] * len(self._found)
        for char in "`~":
            waiting: list[int] = []  # longest first
            for i, match in enumerate(self._found):
                if match[2][0] != char:
                    continue
                while waiting and len(self._found[waiting[-1]][2]) <= len(match[2]):
                    closings[waiting.pop()] = i
                waiting.append(i)
        return closings

    @cached_property
    def _runs(self) -> tuple[list[int], list[int], list[int | None]]:
        """Start and length of each run of backticks, and the next one of its length on its line."""
        starts: list[int] = []
        sizes: list[int] = []
        partners: list[int | None] = []
        last: dict[int, int] = {}
        for match in _TICKS.finditer(self._text):
            if match[0][0] == "\n":
                last.clear()
                continue
            size, number = match.end() - match.start(), len(starts)
            if (before := last.get(size)) is not None:
                partners[before] = number
            last[size] = number
            starts.append(match.start())
            sizes.append(size)
            partners.append(None)
        return starts, sizes, partners

    @property
    def _starts(self) -> list[int]:
        return self._runs[0]

    @property
    def _sizes(self) -> list[int]:
        return self._runs[1]

    @property
    def _partners(self) -> list[int | None]:
        return self._runs[2]
