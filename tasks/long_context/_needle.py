"""One fact in a long text: a number to be found again, for any length of text and depth of the fact.

After "needle in a haystack" (Greg Kamradt, 2023) with two changes: the fact is a random seven-digit number that no text
contains by chance, so that a plain comparison grades what the original asks a judge model about; and the haystack is
made by a grammar, so that no model has read it and its length is not bounded by any corpus.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from random import Random
from typing import Any

from m1eval import LazySample, Tokenizer

from ._haystack import Haystack, Needle, PromptFrame, haystack
from ._haystack.corpus import load_corpus
from ._haystack.page_cache import PageCache
from ._haystack.token_counter import TokenCounter, user
from ._lengths import Lengths, lengths_of

HEAD = (
    "Somewhere in the following text stands an access code. Read the text; you will be asked for the code.\n\n<text>\n"
)
HEAD_MANY = (
    "Somewhere in the following text stand access codes. Read the text; you will be asked for one of the codes."
    "\n\n<text>\n"
)
NEEDLE = "The access code of the {vault} vault is {code}."
TAIL = "</text>\n\nWhat is the access code of the {vault} vault? Answer with the number alone."
VAULTS = ("amber", "cobalt", "crimson", "emerald", "indigo", "ivory", "scarlet", "turquoise", "violet", "golden")
PLACES = ("northern", "southern", "eastern", "western", "harbour", "mountain", "desert", "island", "valley", "forest")
MANY_VAULTS = tuple(f"{colour} {place}" for place in PLACES for colour in VAULTS)
"""Names of vaults where a haystack holds several."""
MIN_LENGTH = 256
"""Tokens of the shortest prompt."""


def haystacks(
    *,
    tokenizer: Tokenizer,
    seed: int,
    lengths: Lengths,
    depths: Sequence[float],
    samples: int,
    corpus: str = "story",
    corpus_revision: str | None = None,
    questions_per_haystack: int = 1,
) -> Iterator[LazySample]:
    """`samples` haystacks for each length (tokens of the whole prompt), with the needle at every depth.

    Depth is the share of the haystack's tokens before the needle in percent, to the nearest end of a sentence. With
    `questions_per_haystack` above 1, as many depths share one text with all their needles, and each question asks
    for one: other distractors than in the original, and one prefill for all of them. ValueError if a depth is not a
    percentage or a length has no room for a needle. The tokenizer is used only when a haystack is built.
    """
    counter = TokenCounter(tokenizer)
    for depth in depths:
        if not 0 <= depth <= 100:
            raise ValueError(f"a depth is between 0 and 100 percent, not {depth}")
    if not 1 <= questions_per_haystack <= len(MANY_VAULTS):
        raise ValueError(f"questions_per_haystack is between 1 and {len(MANY_VAULTS)}, not {questions_per_haystack}")
    cache = PageCache(load_corpus(corpus, corpus_revision), counter)
    build = (
        lru_cache(maxsize=1)(partial(_build_haystack, counter, cache))
        if questions_per_haystack > 1
        else partial(_build_haystack, counter, cache)
    )
    for length in lengths_of(lengths, tokenizer):
        if length < MIN_LENGTH:
            raise ValueError(f"a haystack needs a length of at least {MIN_LENGTH} tokens, not {length}")
        for i in range(samples):
            text = f"{seed}/needle/{length}/{i}"
            for first in range(0, len(depths), questions_per_haystack):
                together = tuple(depths[first : first + questions_per_haystack])
                for j, depth in enumerate(together):
                    # All depths of one haystack share a prefix, up to their needles; with the needle first only the
                    # questions about the same text do.
                    shared = f"{length}-{i + 1}" + (f"-{first}" if questions_per_haystack > 1 else "")
                    yield LazySample(
                        id=f"{length}-d{depth:g}-{i + 1}",
                        build=partial(_row, build, text, length, together, j),
                        prefix_key=shared if depth > 0 or len(together) > 1 else "",
                        cluster=f"{length}-{i + 1}",
                        columns={"length": length, "depth": depth},
                    )


def _row(build: Any, seed: str, length: int, depths: tuple[float, ...], which: int) -> dict[str, Any]:
    vaults, codes = _secrets(seed, depths)
    hay: Haystack = build(seed, length, depths)
    head = HEAD if len(depths) == 1 else HEAD_MANY
    return {
        "messages": [user(f"{head}{hay.text}{TAIL.format(vault=vaults[which])}")],
        "answer": codes[which],
        "length": length,
        "depth": depths[which],
        "place": hay.depths[which],
        "tokens": hay.tokens,
    }


def _build_haystack(
    counter: TokenCounter, cache: PageCache, seed: str, length: int, depths: tuple[float, ...]
) -> Haystack:
    vaults, codes = _secrets(seed, depths)
    needles = [
        Needle(NEEDLE.format(vault=vault, code=code), depth)
        for vault, code, depth in zip(vaults, codes, depths, strict=True)
    ]
    frame = PromptFrame(HEAD if len(depths) == 1 else HEAD_MANY, [TAIL.format(vault=vault) for vault in vaults])
    return haystack(counter, cache, length=length, frame=frame, needles=needles, seed=seed)


def _secrets(seed: str, depths: tuple[float, ...]) -> tuple[list[str], list[str]]:
    """A vault and a code for each depth; all different."""
    secret = Random(f"{seed}/{'/'.join(f'{depth:g}' for depth in depths)}")
    vaults = secret.sample(VAULTS if len(depths) == 1 else MANY_VAULTS, len(depths))
    return vaults, [str(code) for code in secret.sample(range(1_000_000, 10_000_000), len(depths))]
