"""Detects servers that silently cut a prompt to their window, by their token counts.

Ollama does so beyond its `num_ctx`, TGI with `truncate`, SGLang with `--allow-auto-truncate`. In the vocabularies of
nearly all models, no token spans white space between two words: a prompt has at least as many tokens as words.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from m1eval import Request, Usage

_CHARS_PER_TOKEN = 5
"""Usual characters per token; words are counted where a server's count implies more."""
_CHUNK_CHARS = 1 << 16


class CutPrompt(NamedTuple):
    """A prompt that the server must have cut."""

    tokens: int
    """Prompt tokens as counted by the server."""
    least: int
    """Lower bound: the words of the prompt, or the token ids that were sent."""

    def __str__(self) -> str:
        return (
            f"counts {self.tokens:,} tokens of a prompt that has {self.least:,} or more: either it cuts prompts and "
            "does not say so, as Ollama beyond num_ctx, or it miscounts; such answers have cut_prompt in their metadata"
        )


def detect(request: Request, usage: Usage) -> CutPrompt | None:
    """The cut prompt, if the server's count is below the lower bound."""
    tokens = usage.prompt
    if not tokens or usage.cached:  # some servers leave cached tokens out of their count
        return None
    if request.token_ids is not None:
        minimum = len(request.token_ids)
    else:
        texts = list(_texts(request))
        minimum = sum(map(_count_words, texts)) if sum(map(len, texts)) > _CHARS_PER_TOKEN * tokens else 0
    return CutPrompt(tokens, minimum) if minimum > tokens else None


def restore(record: Mapping[str, Any]) -> CutPrompt | None:
    """A cut prompt from its record in run.json; None if it is invalid."""
    tokens, minimum = record.get("tokens"), record.get("least")
    return CutPrompt(tokens, minimum) if type(tokens) is int and type(minimum) is int else None


def _texts(request: Request) -> Iterator[str]:
    if request.messages is None:
        yield request.prompt or ""
        return
    for message in request.messages:
        yield from _content_texts(message.get("content"))


def _content_texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        yield from (part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))


def _count_words(text: str) -> int:
    """The number of words, counted in chunks, as splitting it whole would take ten times its memory."""
    offsets = range(0, len(text), _CHUNK_CHARS)
    num_split = sum(not (text[start - 1].isspace() or text[start].isspace()) for start in offsets[1:])
    return sum(len(text[start : start + _CHUNK_CHARS].split()) for start in offsets) - num_split
