"""Pages of a corpus with their token counts under one tokenizer, counted once and kept on disk.

Token counts of pages add up where the tokenizer splits text at line ends, as all usual ones do; each page is counted
after a line that ends before it, so that this also holds for tokenizers that put a space before every text. It is
tried on real pages once for each tokenizer; if it is wrong, `is_additive` is False and whole prompts are counted.
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
from .token_counter import TokenCounter

MAX_CHARACTERS = 96 * 2**20
"""Characters of pages that stay in memory."""
PROBE_PAGES = 8
"""Pages on which adding up is tried."""
DIGEST_PAGES = 4
"""Pages whose tokens identify a tokenizer."""


class Volume(NamedTuple):
    """Pages, and the tokens of each in the middle of a text."""

    pages: Sequence[str]
    counts: Sequence[int]


class PageCache:
    """The volumes of a corpus for one tokenizer; `separate`: each page is a message of its own, not part of a text."""

    def __init__(self, corpus: Corpus, counter: TokenCounter, *, separate: bool = False) -> None:
        self._count = counter.texts if separate else counter.pieces
        self._corpus = corpus
        self._counter = counter
        self._volumes: OrderedDict[int, Volume] = OrderedDict()
        self._size = 0

    @cached_property
    def is_additive(self) -> bool:
        """Whether the tokens of pages add up to those of the text."""
        pages, counts = self.volume(0)
        return not self._counter.approximate and all(
            self._counter.piece("".join(pages[:count])) == sum(counts[:count]) for count in range(2, PROBE_PAGES + 1)
        )

    def volume(self, number: int) -> Volume:
        """A volume with its counts; made, read from disk or taken from memory."""
        if number not in self._volumes:
            pages = self._pages(number)
            self._volumes[number] = volume = Volume(pages, self._counts(number, pages))
            self._size += sum(map(len, pages))
            while self._size > MAX_CHARACTERS and len(self._volumes) > 1:
                self._size -= sum(map(len, self._volumes.popitem(last=False)[1].pages))
            return volume
        self._volumes.move_to_end(number)
        return self._volumes[number]

    def stream(self, random: Random, tokens: int) -> Iterator[tuple[str, int]]:
        """Pages and their tokens, without end: as many volumes as `tokens` need, in random order from a random page.

        No page comes twice before all of those volumes were read.
        """
        mean = max(1, sum(self.volume(0).counts))
        needed = -(-(tokens + mean // 8) // mean)
        order = list(range(max(1, needed if self._corpus.volumes is None else self._corpus.volumes)))
        random.shuffle(order)
        first = random.randrange(len(self.volume(order[0]).pages))
        while True:
            for i, number in enumerate([*order, order[0]]):
                begin, end = (first, None) if i == 0 else (0, first if i == len(order) else None)
                pages, counts = self.volume(number)
                yield from zip(pages[begin:end], counts[begin:end], strict=True)

    def _pages(self, number: int) -> list[str]:
        file = self._folder / f"{number}.txt"
        with suppress(OSError, UnicodeDecodeError):
            pages = file.read_text(encoding="utf-8").split("\f")
            if pages[-1] == "":
                return pages[:-1]
        pages = self._corpus.pages(number)
        if self._corpus.volumes is None:  # files are on disk already
            write_atomically(file, "".join(f"{page}\f" for page in pages).encode())
        return pages

    def _counts(self, number: int, pages: Sequence[str]) -> Sequence[int]:
        file = self._folder / f"{number}.{self._tokenizer_digest}"
        probe = number % len(pages)
        with suppress(OSError, ValueError):
            counts = array("I", file.read_bytes())
            if len(counts) == len(pages) and counts[probe] == self._count([pages[probe]])[0]:
                return counts
        unique = dict.fromkeys(pages, 0)
        by_page = dict(zip(unique, self._count(list(unique)), strict=True))
        counts = array("I", (by_page[page] for page in pages))
        write_atomically(file, counts.tobytes())
        return counts

    @cached_property
    def _tokenizer_digest(self) -> str:
        """A digest of the tokenizer: its tokens of the first pages."""
        pages = self._pages(0)[:DIGEST_PAGES]
        return self._counter.digest("".join(page[:1024] for page in pages))

    @cached_property
    def _folder(self) -> Path:
        return cache_folder() / "haystacks" / self._corpus.digest


def cache_folder() -> Path:
    """The folder for reproducible files: $M1EVAL_CACHE, else the user's cache folder."""
    folder = os.environ.get("M1EVAL_CACHE")
    if folder:
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "m1eval"


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file atomically; without a writable folder, nothing is written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{hashlib.sha256(data).hexdigest()[:6]}")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(path)
