"""Corpora for haystacks, as pages of whole lines, endless or as long as their files.

`story` is written by this project's grammar and needs nothing; `noise` is RULER's five sentences over and over; files,
folders and globs are read as they are; `essays`, `pg19` and `wikipedia` are downloaded from the hub at the commit
that `corpus_revision` names.
"""

import gzip
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Protocol

from m1eval import UsageError
from m1eval.option_names import override

from .sentences import TOPICS, sentence

PAGES_PER_VOLUME = 64
"""Pages of a volume, the unit that is made, tokenised and cached."""
LINES_PER_PAGE, SENTENCES_PER_LINE = 8, 6
"""Lines in a page of the grammar, and sentences in a line; about 1,100 tokens."""
PAGE_CHARACTERS = 4_800
"""Minimum characters of a page cut out of a file."""
NOISE = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
"""RULER's haystack of `niah_single_1` and `vt` (NVIDIA/RULER, scripts/data/synthetic/niah.py)."""
HUB: dict[str, tuple[str, str | None, str, str]] = {
    "essays": ("sgoel9/paul_graham_essays", None, "train", "text"),
    "pg19": ("emozilla/pg19", None, "test", "text"),
    "wikipedia": ("wikimedia/wikipedia", "20231101.simple", "train", "text"),
}
"""Data set, configuration, split and column of the corpora that are downloaded."""
SENTENCE_END = re.compile(r"[.!?…。！？]+[\"'”’)\]]*(?=\s|$)|[。！？]")
"""Sentence ends."""


class Corpus(Protocol):
    """Pages by volume; the same for ever under one `digest`."""

    digest: str
    volumes: int | None
    """Number of volumes; None: endless."""

    def pages(self, volume: int) -> list[str]:
        """The pages of a volume, each of whole lines with their line breaks."""


class StoryCorpus:
    """Sentences of the project's grammar: volumes without end, all different."""

    volumes: int | None = None

    def __init__(self) -> None:
        code = (Path(__file__), Path(__file__).with_name("sentences.py"))
        self.digest = digest(*(path.read_bytes() for path in code))

    def pages(self, volume: int) -> list[str]:
        """64 pages, 3,072 sentences."""
        random = Random(f"story/{volume}")
        return ["".join(_story_line(random) for _ in range(LINES_PER_PAGE)) for _ in range(PAGES_PER_VOLUME)]


class NoiseCorpus:
    """RULER's noise: one line again and again."""

    volumes: int | None = None

    def __init__(self) -> None:
        self.digest = digest(NOISE.encode(), str((PAGES_PER_VOLUME, LINES_PER_PAGE, SENTENCES_PER_LINE)).encode())

    def pages(self, volume: int) -> list[str]:
        """The same page each time."""
        return [f"{NOISE}\n" * (LINES_PER_PAGE * SENTENCES_PER_LINE)] * PAGES_PER_VOLUME


class TextCorpus:
    """Given texts, one after another, cut into pages at line ends; in a longer line at the end of a sentence."""

    def __init__(self, name: str, texts: Iterator[str]) -> None:
        self._pages = [page for text in texts for page in _split_pages(text)]
        if not self._pages:
            raise UsageError(f"corpus {name}: there is no text in it")
        self.volumes: int | None = -(-len(self._pages) // PAGES_PER_VOLUME)
        self.digest = digest(*(page.encode("utf-8", "surrogatepass") for page in self._pages))

    def pages(self, volume: int) -> list[str]:
        """64 pages, the last volume what is left."""
        return self._pages[volume * PAGES_PER_VOLUME : (volume + 1) * PAGES_PER_VOLUME]


_CORPORA: dict[tuple[str, str | None], Corpus] = {}


def load_corpus(name: str, revision: str | None = None) -> Corpus:
    """A corpus by its name or by the path of its text files (.txt, .md, .gz, a folder or a glob); read once."""
    key = (name, revision)
    if key not in _CORPORA:
        _CORPORA[key] = _open_corpus(name, revision)
    return _CORPORA[key]


def _open_corpus(name: str, revision: str | None) -> Corpus:
    if name == "story":
        return StoryCorpus()
    if name == "noise":
        return NoiseCorpus()
    if name in HUB:
        return TextCorpus(name, _download(name, revision))
    if files := _text_files(name):
        return TextCorpus(name, map(_read_text, files))
    names = ", ".join(("story", "noise", *HUB))
    raise UsageError(f"no corpus '{name}': write {names}, or the path of text files")


def _text_files(name: str) -> list[Path]:
    path = Path(name).expanduser()
    if path.is_dir():
        return sorted(p for p in path.rglob("*") if p.is_file() and p.name.endswith((".txt", ".md", ".txt.gz")))
    if path.is_file():
        return [path]
    return sorted(file for file in path.parent.glob(path.name) if file.is_file())


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as UTF-8 text: {error}") from None


def _download(name: str, revision: str | None) -> Iterator[str]:
    from m1eval.task.hub import HubSource, load_hub

    if not revision:
        raise UsageError(f"corpus {name} is downloaded: name its commit, {override('corpus_revision=COMMIT')}")
    hub, config, split, column = HUB[name]
    table: Any = load_hub(HubSource(hub, revision, config, split)).rows
    return (str(table[i][column]) for i in range(len(table)))


def _split_pages(text: str) -> Iterator[str]:
    """Pages of at least PAGE_CHARACTERS, but for the last; a line break is put where a long line must be cut."""
    page: list[str] = []
    size = 0
    for line in text.replace("\r\n", "\n").splitlines(keepends=True):
        for part in _split_line(line):
            page.append(part if part.endswith("\n") else f"{part}\n")
            size += len(part)
            if size >= PAGE_CHARACTERS:
                yield "".join(page)
                page, size = [], 0
    if page and "".join(page).strip():
        yield "".join(page)


def _split_line(line: str) -> Iterator[str]:
    """A line in parts of about PAGE_CHARACTERS, cut where a sentence ends."""
    start = 0
    while len(line) - start > 2 * PAGE_CHARACTERS:
        match = SENTENCE_END.search(line, start + PAGE_CHARACTERS)
        end = match.end() if match else start + 2 * PAGE_CHARACTERS
        yield line[start:end]
        start = end + (line[end : end + 1] == " ")
    if line[start:]:
        yield line[start:]


def _story_line(random: Random) -> str:
    return " ".join(sentence(random, random.choice(TOPICS)) for _ in range(SENTENCES_PER_LINE)) + "\n"


def digest(*parts: bytes) -> str:
    """A short hash of some bytes."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(len(part).to_bytes(8, "big"))
        sha.update(part)
    return sha.hexdigest()[:20]
