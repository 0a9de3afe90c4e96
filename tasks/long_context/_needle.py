"""One fact in a long text: a number to be found again, for any length of text and depth of the fact.

After "needle in a haystack" (Greg Kamradt, 2023) with two changes: the fact is a random seven-digit number that no text
contains by chance, so that a plain comparison grades what the original asks a judge model about; and the haystack is
made by a grammar, so that no model has read it and its length is not bounded by any corpus.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import accumulate
from random import Random
from typing import Any

from m1eval import Message, Recipe, Tokenizer, UsageError

from ._gauge import Gauge, settled, user
from ._text import TOPICS, sentence

HEAD = (
    "Somewhere in the following text stands an access code. Read the text; you will be asked for the code.\n\n<text>\n"
)
NEEDLE = "The access code of the {vault} vault is {code}."
TAIL = "</text>\n\nWhat is the access code of the {vault} vault? Answer with the number alone."
VAULTS = ("amber", "cobalt", "crimson", "emerald", "indigo", "ivory", "scarlet", "turquoise", "violet", "golden")
SENTENCES = 6
"""In one line of the haystack."""
LEAST = 256
"""Tokens of the shortest prompt."""
SLACK = 8
"""Tokens at least that are left to be filled up with short words."""

Lines = list[list[str]]


def haystacks(
    *, tokenizer: Tokenizer, seed: int, lengths: Sequence[int], depths: Sequence[float], samples: int
) -> Iterator[Recipe]:
    """`samples` haystacks for each length (tokens of the whole prompt), each with the needle at every depth.

    Depth is the share of the haystack's characters before the needle in percent, to the nearest end of a sentence.
    ValueError if a depth is no percentage or a length has no room for a needle. The tokenizer is used only when a
    haystack is built.
    """
    gauge = Gauge(tokenizer)
    for depth in depths:
        if not 0 <= depth <= 100:
            raise ValueError(f"a depth is between 0 and 100 percent, not {depth}")
    for length in lengths:
        if length < LEAST:
            raise ValueError(f"a haystack needs a length of at least {LEAST} tokens, not {length}")
        for i in range(samples):
            # All depths of one haystack begin alike, up to their needles; with the needle first nothing is shared.
            shared = f"{length}-{i + 1}"
            for depth in depths:
                yield Recipe(
                    id=f"{length}-d{depth:g}-{i + 1}",
                    build=partial(_row, gauge, f"{seed}/needle/{length}/{i}", length, depth),
                    prefix_key=shared if depth > 0 else "",
                )


def _row(gauge: Gauge, seed: str, length: int, depth: float) -> dict[str, Any]:
    secret = Random(f"{seed}/{depth:g}")
    vault, code = secret.choice(VAULTS), str(secret.randrange(1_000_000, 10_000_000))
    hay = _Haystack(gauge, Random(seed), TAIL.format(vault=vault))
    needle = NEEDLE.format(vault=vault, code=code)
    if not hay.fill(length - gauge.text(f" {needle}")):
        raise UsageError(f"needle: {length} tokens are too few with this tokenizer; set lengths=[…] higher")
    place = hay.insert(needle, depth)
    message = hay.settle(length)
    return {
        "messages": [message],
        "answer": code,
        "length": length,
        "depth": depth,
        "place": round(place, 2),
        "tokens": hay.tokens(),
    }


class _Haystack:
    """Lines of sentences with their tokens, and the message that is made of them."""

    def __init__(self, gauge: Gauge, random: Random, tail: str) -> None:
        self._gauge = gauge
        self._random = random
        self._tail = tail
        self._around = gauge.text(HEAD) + gauge.text(tail)
        self._lines: Lines = []
        self._counts: list[int] = []
        self._last = (0, 0)  # line and place in it of the last sentence that is hay

    def tokens(self) -> int:
        """Tokens of the prompt; exact, see `Gauge`."""
        lines = [_line(line) for line in self._lines]
        return self._gauge.lines(user(f"{HEAD}{''.join(lines)}{self._tail}"), lines, self._counts, self._around)

    def fill(self, length: int) -> bool:
        """Add sentences until `length` is nearly reached, SLACK tokens at least are left; False if not one fits."""
        off = 0
        for _ in range(6):
            while self._counts and self._guess() + off > length - SLACK:
                self._lines.pop()
                self._counts.pop()
            self._grow(length - SLACK - off)
            off = self.tokens() - self._guess()
            if 0 <= length - SLACK - self._guess() - off < 64:
                break
        while self._lines and self._guess() + off > length - SLACK:
            self._shorten()
        return bool(self._lines)

    def insert(self, needle: str, depth: float) -> float:
        """Put the needle in; returns the depth in percent that it has come to."""
        ends = [0, *accumulate(len(text) + 1 for line in self._lines for text in line)]
        wanted = ends[-1] * depth / 100
        at = min(bisect_left(ends, wanted), len(ends) - 1)
        if at and ends[at] - wanted > wanted - ends[at - 1]:
            at -= 1
        self._last = (len(self._lines) - 1, len(self._lines[-1]) - 1)
        left = at
        for i, line in enumerate(self._lines):
            if left <= len(line) and (left < len(line) or i == len(self._lines) - 1):
                line.insert(left, needle)
                self._counts[i] = self._gauge.text(_line(line))
                if i == self._last[0] and left <= self._last[1]:
                    self._last = (i, self._last[1] + 1)
                break
            left -= len(line)
        return 100 * ends[at] / ends[-1]

    def settle(self, length: int) -> Message:
        """Lengthen the last sentence of hay until the prompt has `length` tokens; returns the message."""
        i, j = self._last

        def put(text: str) -> None:
            self._lines[i][j] = text
            self._counts[i] = self._gauge.text(_line(self._lines[i]))

        def guess(text: str) -> int:
            put(text)
            return self._guess()

        def total(text: str) -> int:
            put(text)
            return self.tokens()

        put(settled(self._lines[i][j], self._random, length, guess, total))
        return user(f"{HEAD}{''.join(map(_line, self._lines))}{self._tail}")

    def _grow(self, length: int) -> None:
        while self._guess() < length:
            topic = self._random.choice(TOPICS)
            self._add([sentence(self._random, topic) for _ in range(SENTENCES)])
        while self._lines and self._guess() > length:
            self._shorten()

    def _add(self, line: list[str]) -> None:
        self._lines.append(line)
        self._counts.append(self._gauge.text(_line(line)))

    def _shorten(self) -> None:
        self._counts.pop()
        line = self._lines.pop()[:-1]
        if line:
            self._add(line)

    def _guess(self) -> int:
        return self._gauge.added([self._around + sum(self._counts)])


def _line(sentences: list[str]) -> str:
    return " ".join(sentences) + "\n"
