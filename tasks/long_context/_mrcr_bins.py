"""OpenAI-MRCR's bins: by the tokens of prompt and answer under o200k_base, eight from 4k to 1M (dataset card).

The table of MiniMax-M1 has two groups, 128k and 1M, and does not say how it cuts them; here they are the samples up to
131,072 and up to 1,048,576 tokens. Counting takes a second for the longest prompts, so counts are kept on disk, and
only samples whose characters leave it open are counted before a run.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import msgspec

from m1eval import LazySample, Message, Tokenizer, UsageError
from m1eval.model.tokenizers import TiktokenTokenizer
from m1eval.text import parse_tokens

from ._haystack.page_cache import cache_folder, write_atomically

EDGES = tuple(2**i for i in range(13, 21))
"""The upper edges of the bins; a sample at an edge belongs to the lower bin."""
MIN_CHARACTERS, MAX_CHARACTERS = 2.5, 6.5
"""Bounds of the characters per token of whole prompts."""
SAVE_EVERY = 32
"""Number of new counts after which they are written to disk."""


def samples(*, rows: Any, tokenizer: Tokenizer, up_to: str | int = "1m") -> Iterator[LazySample]:
    """The rows of openai/mrcr of at most `up_to` tokens, in their order, with `bin` and `length`, its upper edge.

    `counted_by` says which tokenizer counted: o200k_base, or the model's if o200k_base is not available.
    """
    max_tokens = parse_tokens(up_to, minimum=1)
    counter = _BinCounter(tokenizer)
    width = len(str(len(rows)))
    characters = rows["n_chars"] if hasattr(rows, "column_names") and max_tokens < EDGES[-1] else None
    for i in range(len(rows)):
        if max_tokens < EDGES[-1]:
            size = characters[i] if characters is not None else rows[i].get("n_chars")
            if not _within(size, max_tokens, partial(_tokens, rows, i, counter)):
                continue
        yield LazySample(id=f"mrcr-{i + 1:0{width}}", build=partial(_row, rows, i, counter))
    counter.save()


def _within(characters: int | None, max_tokens: int, tokens: Any) -> bool:
    if characters and characters / MIN_CHARACTERS <= max_tokens:
        return True
    if characters and characters / MAX_CHARACTERS > max_tokens:
        return False
    return bool(tokens() <= max_tokens)


def _tokens(rows: Sequence[Mapping[str, Any]], i: int, counter: "_BinCounter") -> int:
    row = rows[i]
    return counter.row(_messages(row), str(row["answer"]))


def _row(rows: Sequence[Mapping[str, Any]], i: int, counter: "_BinCounter") -> dict[str, Any]:
    row = dict(rows[i])
    messages = _messages(row)
    tokens = counter.row(messages, str(row["answer"]))
    edge = next((edge for edge in EDGES if tokens <= edge), tokens)
    rest = {key: value for key, value in row.items() if key != "prompt"}
    return {
        **rest,
        "messages": messages,
        "length": edge,
        "bin": f"{edge // 2048}k-{edge // 1024}k",
        "o200k_tokens": tokens,
        "counted_by": counter.name,
    }


def _messages(row: Mapping[str, Any]) -> list[Message]:
    prompt = row["prompt"]
    return msgspec.json.decode(prompt, type=list[Message]) if isinstance(prompt, str) else list(prompt)


class _BinCounter:
    """Tokens of a row's messages and answer, as the dataset card counts them: their texts alone."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._fallback = tokenizer
        self._counts: dict[str, int] = {}
        self._unsaved = 0

    @cached_property
    def _o200k(self) -> Tokenizer | None:
        try:
            return TiktokenTokenizer("o200k_base")
        except (ModuleNotFoundError, UsageError):
            return None

    @property
    def name(self) -> str:
        """Name of the counting tokenizer."""
        return "o200k_base" if self._o200k else "the model's tokenizer"

    @cached_property
    def _file(self) -> Any:
        file = cache_folder() / "mrcr" / "o200k_base.json"
        if file.is_file():
            self._counts |= json.loads(file.read_text())
        return file

    def row(self, messages: Sequence[Message], answer: str) -> int:
        """Tokens of a row; counted once."""
        texts = [str(message["content"]) for message in messages] + [answer]
        if self._o200k is None:
            return sum(len(self._fallback.encode(text)) for text in texts)
        _ = self._file
        sha = hashlib.sha256()
        for text in texts:
            sha.update(text.encode("utf-8", "replace"))
        key = sha.hexdigest()[:16]
        if key not in self._counts:
            self._counts[key] = sum(len(self._o200k.encode(text)) for text in texts)
            self._unsaved += 1
            if self._unsaved >= SAVE_EVERY:
                self.save()
        return self._counts[key]

    def save(self) -> None:
        """Write the counts to disk."""
        if self._unsaved:
            write_atomically(self._file, json.dumps(self._counts).encode())
            self._unsaved = 0
