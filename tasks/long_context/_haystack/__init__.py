"""A prompt of an exact length: a span of a corpus with needles at their depths, between a head and a question.

Pages come counted from the page cache, so building only copies text and counts the few pages that are changed: those
with a needle in them, and the last, which is cut at a word and lengthened by short ones until the whole prompt, chat
template included, has the length asked for.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from random import Random
from typing import NamedTuple

from m1eval import UsageError

from .corpus import SENTENCE_END
from .page_cache import PageCache
from .token_counter import MAX_WHOLE, TokenCounter, fit_exactly, user

LAST_LINE = "And so on"
"""The last line of a haystack of whole lines, lengthened by short words."""
MAX_UNIT = 160
"""Maximum tokens of a line or a word: text is not cut finer, and short words make up for it."""
SLACK = 8
"""Minimum tokens left to be filled up with short words."""


class Needle(NamedTuple):
    """A text to be hidden, and its depth in percent of the haystack's tokens."""

    text: str
    depth: float


class Haystack(NamedTuple):
    """A finished haystack."""

    text: str
    tokens: int
    """Tokens of the whole prompt with the longest of its questions."""
    depths: list[float]
    """The depth that each needle has come to, in percent of the haystack's tokens, to the nearest end of a sentence."""


class PromptFrame(NamedTuple):
    """The text around a haystack: `head` ends with a line break, each of the `tails` is a question.

    `lines`: the haystack is one of whole lines, and needles are lines of their own.
    """

    head: str
    tails: Sequence[str]
    lines: bool = False


def haystack(
    counter: TokenCounter, cache: PageCache, *, length: int, frame: PromptFrame, needles: Sequence[Needle], seed: str
) -> Haystack:
    """Fill up to `length` tokens after the chat template, for the longest of the tails.

    The same seed begins with the same text, whatever the needles and the frame. UsageError without room for any hay.
    """
    builder = _Builder(counter, cache, frame)
    if not builder.load(seed, length - sum(counter.pieces([f" {needle.text}" for needle in needles]))):
        raise UsageError(f"{length} tokens are too few with this tokenizer; set lengths=[…] higher")
    positions = builder.insert(needles)
    tokens, hay_tokens = builder.fill_up(length, Random(f"{seed}/end"))
    return Haystack(builder.text(), tokens, [round(100 * position / max(1, hay_tokens), 3) for position in positions])


class _Builder:
    """Pages with their tokens. The last line is kept apart: it is lengthened, before needles at the very end."""

    def __init__(self, counter: TokenCounter, cache: PageCache, frame: PromptFrame) -> None:
        self._counter = counter
        self._cache = cache
        self._head = frame.head
        self._lines = frame.lines
        counts = [counter.prompt([user(frame.head + tail)]) for tail in frame.tails]
        self._frame, self._tail = max(zip(counts, frame.tails, strict=True))
        self._pages: list[str] = []
        self._counts: list[int] = []
        self._line, self._end = "", ""
        self._hidden = 0  # tokens of needles

    def text(self) -> str:
        """The haystack with its needles."""
        return "".join([*self._pages, self._line, self._end, "\n"])

    def load(self, seed: str, length: int) -> bool:
        """Read hay for a prompt of `length` tokens, less SLACK; False if not a word fits."""
        correction = 0
        for _ in range(5):
            if not self._read(Random(seed), length - SLACK - self._frame - correction):
                return False
            if self._cache.is_additive:
                return True
            excess = self._total() - (length - SLACK)  # pieces do not add up with this tokenizer
            if -MAX_UNIT <= excess <= 0:
                return True
            correction += excess
        return self._total() <= length - SLACK

    def _read(self, random: Random, room: int) -> bool:
        self._pages, self._counts = [], []
        left = room
        for page, count in self._cache.stream(random, max(1, room)):
            if kept_page := page if count <= left else self._cut(page, left):
                self._pages.append(kept_page)
                self._counts.append(count if kept_page is page else self._counter.piece(kept_page))
            left -= count
            if left <= 0:
                break
        if not self._pages:
            return False
        if self._lines:
            self._line = LAST_LINE
            self._line_count = self._counter.piece(f"{LAST_LINE}\n")
            return True
        before, _, self._line = self._pages.pop().rstrip("\n").rpartition("\n")
        self._counts.pop()
        self._line_count = self._counter.piece(f"{self._line}\n")
        if before:
            self._pages.append(f"{before}\n")
            self._counts.append(self._counter.piece(f"{before}\n"))
        return True

    def _cut(self, page: str, tokens: int) -> str:
        """The beginning of a page of at most `tokens` tokens, ending with a whole word; empty if none fits."""
        stops = "\n" if self._lines else " \n"
        ends = [0, *(i for i, c in enumerate(page) if c in stops and i)]
        low, high = 0, len(ends) - 1
        while low < high:
            middle = (low + high + 1) // 2
            fits = self._counter.piece(page[: ends[middle]] + "\n") <= tokens
            low, high = (middle, high) if fits else (low, middle - 1)
        cut = page[: ends[low]].rstrip()
        return f"{cut}\n" if cut and self._lines else cut

    def insert(self, needles: Sequence[Needle]) -> list[int]:
        """Insert needles; returns the tokens of hay before each."""
        units = [*self._pages, self._line]
        counts = [*self._counts, self._line_count]
        starts = list(accumulate(counts, initial=0))
        insertions = []
        for number, needle in enumerate(needles):
            target = starts[-1] * needle.depth / 100
            unit = min(bisect_right(starts, target) - 1, len(units) - 1)
            place, before = self._boundary(units[unit], counts[unit], target - starts[unit])
            insertions.append((unit, place, number, starts[unit] + before))
        for unit, place, number, _ in sorted(insertions, reverse=True):
            text = needles[number].text
            if unit == len(self._pages) and place == len(units[unit]):
                self._end = f"{self._separator}{text}{self._end}"
            elif unit == len(self._pages):
                self._line = self._inserted(self._line, place, text)
            else:
                self._pages[unit] = self._inserted(self._pages[unit], place, text)
                self._counts[unit] = self._counter.piece(self._pages[unit])
        self._line_count = self._counter.piece(self._ending())
        self._hidden = sum(self._counts) + self._line_count - starts[-1]
        return [before for *_, before in sorted(insertions, key=lambda place: place[2])]

    def _boundary(self, text: str, tokens: int, target: float) -> tuple[int, int]:
        """The end of a sentence that is nearest to `target` tokens from the beginning, and the tokens up to there."""
        if self._lines:
            ends = sorted({0, *(m.end() for m in re.finditer("\n", text)), len(text)})
        else:
            ends = sorted({0, *(m.end() for m in SENTENCE_END.finditer(text)), len(text.rstrip("\n"))})
        nearest = bisect_right(ends, target / max(1, tokens) * len(text))
        counts = {
            end: self._counter.piece(text[:end]) if end else 0
            for end in ends[max(0, nearest - 2) : nearest + 1] or ends[-1:]
        }
        return min(counts.items(), key=lambda end: abs(end[1] - target))

    def fill_up(self, length: int, random: Random) -> tuple[int, int]:
        """Lengthen the last line until the prompt has `length` tokens; returns those it has, and those of hay."""

        def guess(text: str) -> int:
            self._line = text
            self._line_count = self._counter.piece(self._ending())
            return self._sum()

        def total(text: str) -> int:
            guess(text)
            return self._total()

        if self._total() > length:
            raise UsageError(f"{length} tokens are too few with this tokenizer; set lengths=[…] higher")
        tokens = total(fit_exactly(self._line, random, length, guess, total))
        return tokens, sum(self._counts) + self._line_count - self._hidden

    @property
    def _separator(self) -> str:
        return "\n" if self._lines else " "

    def _inserted(self, text: str, place: int, needle: str) -> str:
        if self._lines or not place:
            return f"{text[:place]}{needle}{self._separator}{text[place:]}"
        return f"{text[:place]} {needle}{text[place:]}"

    def _ending(self) -> str:
        return f"{self._line}{self._end}\n"

    def _sum(self) -> int:
        return self._frame + sum(self._counts) + self._line_count

    def _total(self) -> int:
        """Tokens of the prompt: counted, or added up where that is known to be the same."""
        tokens = self._sum()
        if tokens <= MAX_WHOLE or not self._cache.is_additive:
            return self._counter.prompt([user(f"{self._head}{self.text()}{self._tail}")])
        return tokens
