"""A corpus under one tokenizer: pages with their tokens, counted once and kept on disk.

Token counts of pages add up where the tokenizer splits text at line ends, as all usual ones do; each page is counted
behind a line that ends before it, so that it holds too for tokenizers that put a space before every text. That is
tried on real pages once for each tokenizer; where it is wrong, `adds` is False and whole prompts are counted.
"""

import hashlib
import os
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from random import Random
from typing import NamedTuple

from .corpus import Corpus
from .token_counter import Gauge

HELD = 96 * 2**20
"""Characters of pages that stay in memory."""
TRIED = 8
"""Pages on which adding up is tried."""
PROBE = 4
"""Pages by whose tokens a tokenizer is known."""


class Volume(NamedTuple):
    """Pages, and the tokens of each in the middle of a text."""

    pages: Sequence[str]
    counts: Sequence[int]


class Shelf:
    """The volumes of a corpus for one tokenizer; `alone`: each page is a message of its own, not part of a text."""

    def __init__(self, corpus: Corpus, gauge: Gauge, *, alone: bool = False) -> None:
        self._count = gauge.texts if alone else gauge.pieces
        self._corpus = corpus
        self._gauge = gauge
        self._held: OrderedDict[int, Volume] = OrderedDict()
        self._size = 0

    @cached_property
    def adds(self) -> bool:
        """Whether the tokens of pages add up to those of the text."""
        pages, counts = self.volume(0)
        return not self._gauge.approximate and all(
            self._gauge.piece("".join(pages[:few])) == sum(counts[:few]) for few in range(2, TRIED + 1)
        )

    def volume(self, number: int) -> Volume:
        """A volume with its counts; made, read from disk or taken from memory."""
        if number not in self._held:
            pages = self._pages(number)
            self._held[number] = volume = Volume(pages, self._counts(number, pages))
            self._size += sum(map(len, pages))
            while self._size > HELD and len(self._held) > 1:
                self._size -= sum(map(len, self._held.popitem(last=False)[1].pages))
            return volume
        self._held.move_to_end(number)
        return self._held[number]

    def read(self, random: Random, tokens: int) -> Iterator[tuple[str, int]]:
        """Pages and their tokens, without end: as many volumes as `tokens` need, in random order from a random page.

        No page comes twice before all of those volumes were read.
        """
        mean = max(1, sum(self.volume(0).counts))
        wanted = -(-(tokens + mean // 8) // mean)
        order = list(range(max(1, wanted if self._corpus.volumes is None else self._corpus.volumes)))
        random.shuffle(order)
        first = random.randrange(len(self.volume(order[0]).pages))
        while True:
            for i, number in enumerate([*order, order[0]]):
                begin, end = (first, None) if i == 0 else (0, first if i == len(order) else None)
                pages, counts = self.volume(number)
                yield from zip(pages[begin:end], counts[begin:end], strict=True)

    def _pages(self, number: int) -> list[str]:
        kept = self._folder / f"{number}.txt"
        with suppress(OSError, UnicodeDecodeError):
            pages = kept.read_text(encoding="utf-8").split("\f")
            if pages[-1] == "":
                return pages[:-1]
        pages = self._corpus.pages(number)
        if self._corpus.volumes is None:  # files are on disk already
            keep(kept, "".join(f"{page}\f" for page in pages).encode())
        return pages

    def _counts(self, number: int, pages: Sequence[str]) -> Sequence[int]:
        kept = self._folder / f"{number}.{self._tokenizer}"
        probe = number % len(pages)
        with suppress(OSError, ValueError):
            counts = array("I", kept.read_bytes())
            if len(counts) == len(pages) and counts[probe] == self._count([pages[probe]])[0]:
                return counts
        different = dict.fromkeys(pages, 0)
        found = dict(zip(different, self._count(list(different)), strict=True))
        counts = array("I", (found[page] for page in pages))
        keep(kept, counts.tobytes())
        return counts

    @cached_property
    def _tokenizer(self) -> str:
        """What the tokenizer is known by: the tokens that it makes of the first pages."""
        pages = self._pages(0)[:PROBE]
        return self._gauge.digest("".join(page[:1024] for page in pages))

    @cached_property
    def _folder(self) -> Path:
        return cache() / "haystacks" / self._corpus.digest


def cache() -> Path:
    """Where what can be made again is kept: $M1EVAL_CACHE, else the user's cache folder."""
    own = os.environ.get("M1EVAL_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "m1eval"


def keep(path: Path, data: bytes) -> None:
    """Write a file at once or not at all; without a place to keep things, nothing is kept."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{hashlib.sha256(data).hexdigest()[:6]}")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_bytes(data)
        fresh.replace(path)
