"""Several facts in a long text, some of them asked for together: each one found counts its share.

The form of `needle`, with more codes in the text than a question asks for, so that they must be distinguished.
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
from ._needle import HEAD_MANY, MANY_VAULTS, NEEDLE

HEAD = HEAD_MANY.replace("one of the codes", "some of the codes")
TAIL = "</text>\n\nWhat are the access codes of {vaults}? Answer with the numbers alone, separated by commas."
CHOICES = 8
PER_NEEDLE = 40
"""Minimum tokens of a needle with its share of the text."""


def haystacks(
    *,
    tokenizer: Tokenizer,
    seed: int,
    lengths: Lengths,
    needles: Sequence[int],
    asked: int,
    samples: int,
    questions_per_haystack: int = 1,
    corpus: str = "story",
    corpus_revision: str | None = None,
) -> Iterator[LazySample]:
    """`samples` texts for each length and number of needles.

    Each has `questions_per_haystack` questions about `asked` needles, which are at random depths. Questions about one
    text follow one another, so that it is prefilled once. ValueError for more needles than there are names, or a length
    without room for them.
    """
    counter = TokenCounter(tokenizer)
    cache = PageCache(load_corpus(corpus, corpus_revision), counter)
    build = lru_cache(maxsize=1)(partial(_build_haystack, counter, cache))
    for length in lengths_of(lengths, tokenizer):
        for count in needles:
            if not 1 <= asked <= count <= len(MANY_VAULTS):
                raise ValueError(
                    f"1 ≤ asked ≤ needles ≤ {len(MANY_VAULTS)} must hold; asked is {asked}, needles {count}"
                )
            if length < (minimum := 256 + PER_NEEDLE * (count + asked)):
                raise ValueError(f"{count} needles need a length of at least {minimum} tokens, not {length}")
            for i in range(samples):
                key = (f"{seed}/multi_needle/{length}/{count}/{i}", length, count, asked, questions_per_haystack)
                for question in range(questions_per_haystack):
                    yield LazySample(
                        id=f"{length}-{count}n-{i + 1}" + (f"-q{question + 1}" if questions_per_haystack > 1 else ""),
                        build=partial(_row, build, key, question),
                        prefix_key=f"{length}-{count}-{i + 1}" if questions_per_haystack > 1 else "",
                        columns={"length": length, "needles": count},
                    )


Key = tuple[str, int, int, int, int]


def _row(build: Any, key: Key, question: int) -> dict[str, Any]:
    _, length, count, _, _ = key
    hay: Haystack
    hay, questions = build(key)
    secrets, asked_needles = _secrets(key), questions[question]
    return {
        "messages": [user(f"{HEAD}{hay.text}{_tail([secrets[i][0] for i in asked_needles])}")],
        "outputs": [secrets[i][1] for i in asked_needles],
        "length": length,
        "needles": count,
        "tokens": hay.tokens,
    }


def _build_haystack(counter: TokenCounter, cache: PageCache, key: Key) -> tuple[Haystack, list[list[int]]]:
    seed, length, *_ = key
    secrets = _secrets(key)
    random = Random(f"{seed}/depths")
    depths = sorted(random.uniform(0, 100) for _ in secrets)
    needles = [
        Needle(NEEDLE.format(vault=vault, code=code), depth)
        for (vault, code), depth in zip(secrets, depths, strict=True)
    ]
    questions = _questions(counter, key)
    frame = PromptFrame(HEAD, [_tail([secrets[i][0] for i in asked_needles]) for asked_needles in questions])
    return haystack(counter, cache, length=length, frame=frame, needles=needles, seed=seed), questions


def _secrets(key: Key) -> list[tuple[str, str]]:
    random = Random(f"{key[0]}/secrets")
    codes = random.sample(range(1_000_000, 10_000_000), key[2])
    return list(zip(random.sample(MANY_VAULTS, key[2]), map(str, codes), strict=True))


def _questions(counter: TokenCounter, key: Key) -> list[list[int]]:
    """Needles that each question asks for: of many choices those whose questions are most nearly of one length."""
    random = Random(f"{key[0]}/questions")
    secrets, count = _secrets(key), key[4]
    choices = [random.sample(range(key[2]), key[3]) for _ in range(CHOICES * count)]
    sizes = counter.texts([_tail([secrets[i][0] for i in asked_needles]) for asked_needles in choices])
    order = sorted(range(len(choices)), key=lambda i: (sizes[i], i))
    first = min(range(len(order) - count + 1), key=lambda i: sizes[order[i + count - 1]] - sizes[order[i]])
    return [choices[i] for i in sorted(order[first : first + count])]


def _tail(vaults: Sequence[str]) -> str:
    names = [f"the {vault} vault" for vault in vaults]
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return TAIL.format(vaults=listed)
