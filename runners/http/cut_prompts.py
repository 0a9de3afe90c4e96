"""Does a server read fewer tokens than a prompt has? Some cut what their window does not hold, and say nothing.

Ollama does beyond its `num_ctx`, TGI with `truncate`, SGLang with `--allow-auto-truncate`. The vocabularies of nearly
all models have no token that reaches from one word over white space into the next: a prompt has no fewer tokens than
words.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from m1eval import Request, Usage

_USUAL = 5
"""Characters to a token; words are counted where a server's count means more."""
_AT_ONCE = 1 << 16


class Cut(NamedTuple):
    """A prompt of which not all can have been read."""

    tokens: int
    """As the server counts them."""
    least: int
    """What there must be: the words of the prompt, or the tokens that it was sent as."""

    def __str__(self) -> str:
        return (
            f"counts {self.tokens:,} tokens of a prompt that has {self.least:,} or more: either it cuts prompts and "
            "does not say so, as Ollama beyond num_ctx, or it miscounts; such answers have cut_prompt in their metadata"
        )


def found(request: Request, usage: Usage) -> Cut | None:
    """Whether a prompt must have been cut, by the tokens that the server has counted."""
    tokens = usage.prompt
    if not tokens or usage.cached:  # some leave the cached part out of their count
        return None
    if request.token_ids is not None:
        least = len(request.token_ids)
    else:
        texts = list(_texts(request))
        least = sum(map(_words, texts)) if sum(map(len, texts)) > _USUAL * tokens else 0
    return Cut(tokens, least) if least > tokens else None


def read(kept: Mapping[str, Any]) -> Cut | None:
    """What was kept of one; None if it is none."""
    tokens, least = kept.get("tokens"), kept.get("least")
    return Cut(tokens, least) if type(tokens) is int and type(least) is int else None


def _texts(request: Request) -> Iterator[str]:
    if request.messages is None:
        yield request.prompt or ""
        return
    for message in request.messages:
        yield from _said(message.get("content"))


def _said(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        yield from (part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))


def _words(text: str) -> int:
    """Words of a text, counted piece by piece, as all at once would take ten times its memory."""
    starts = range(0, len(text), _AT_ONCE)
    parted = sum(not (text[start - 1].isspace() or text[start].isspace()) for start in starts[1:])
    return sum(len(text[start : start + _AT_ONCE].split()) for start in starts) - parted
