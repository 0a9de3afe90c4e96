"""RULER's counting subtasks: the ten commonest words of a numbered list, and the three commonest coded words."""

import string
from collections.abc import Sequence
from itertools import islice
from math import pi
from random import Random

from m1eval import UsageError

from ._haystack.token_counter import TokenCounter, user
from ._ruler_vocabulary import words_in_order

LIST = (
    "Below is a numbered list of words. In these words, some appear more often than others. "
    "Memorize the ones that appear most often.\n"
)
LISTED = "\nQuestion: What are the 10 most common words in the above list?"
LISTED_PREFIX = " Answer: The top 10 words that appear most often in the list are:"
CODED = (
    "Read the following coded text and track the frequency of each coded word. "
    "Find the three most frequently appeared coded words. "
)
DECODED = (
    "\nQuestion: Do not provide any explanation. Please ignore the dots '....'. "
    "What are the three most frequently appeared words in the above coded text?"
)
DECODED_PREFIX = " Answer: According to the coded text above, the three most frequently appeared words are:"
COMMON, COMMON_COUNT, RARE_COUNT = 10, 30, 3
"""Common words, and how often a common and an uncommon one appear."""
SHORT_LENGTH, SHORT_COMMON_COUNT, SHORT_RARE_COUNT = 4_096, 6, 1
"""Below this length they appear less often, as in RULER."""
SHORT_WORDS = ("red", "old", "dry", "low", "big")
"""Words of one token, where others have several."""
CHUNK = 96
"""Words that are counted at a time."""
TRIES = 8
ALPHA = 2.0
"""The zeta distribution's exponent."""


def common_words(counter: TokenCounter, limit: int, prefixed: bool, random: Random) -> tuple[str, int, list[str]]:
    """Prompt, its tokens and the ten words; at most `limit` tokens, a list item less."""
    common_count, rare_count = (
        (COMMON_COUNT, RARE_COUNT) if limit + 120 >= SHORT_LENGTH else (SHORT_COMMON_COUNT, SHORT_RARE_COUNT)
    )
    tail = LISTED + (LISTED_PREFIX if prefixed else "")
    shot = _example_list(random, 40, 10, 3) if common_count == COMMON_COUNT else _example_list(random, 20, 3, 1)
    head = f"{LIST}{_as_list(shot[0])}{LISTED}{LISTED_PREFIX} {_as_list(shot[1])}\n{LIST}"
    frame = counter.prompt([user(head + tail)])
    words = list(islice(words_in_order(random), COMMON + 64 + max(0, limit - frame) // (2 * rare_count)))
    common, rare = words[:COMMON], words[COMMON:]
    size, key = _fitting_size(
        counter, head, tail, frame, limit, (common, rare, common_count, rare_count), random.random()
    )
    items = _shuffled(common, rare[:size], common_count, rare_count, key)
    text, tokens = items, _list_tokens(counter, head, items, tail, frame)
    if not size or tokens > limit:
        raise UsageError(f"{limit} tokens are too few with this tokenizer; set lengths=[…] higher")
    short = [word for word in SHORT_WORDS if word not in common]
    for spare in (rare[size:], short):  # words that appear once fill up, at the end a short one
        for word in spare:
            longer = [*text, word]
            if (longer_tokens := _list_tokens(counter, head, longer, tail, frame)) > limit:
                break
            text, tokens = longer, longer_tokens
    return head + _as_list(text) + tail, tokens, common


def _fitting_size(
    counter: TokenCounter,
    head: str,
    tail: str,
    frame: int,
    limit: int,
    lists: tuple[list[str], list[str], int, int],
    key: float,
) -> tuple[int, float]:
    """Number of rare words that fit: estimated from the tokens of an item, corrected a few times."""
    common, rare, common_count, rare_count = lists
    size = max(1, min(len(rare), (limit - frame - 8 * COMMON * common_count) // (8 * rare_count)))
    best = 0
    for _ in range(6):
        items = _shuffled(common, rare[:size], common_count, rare_count, key)
        tokens = _list_tokens(counter, head, items, tail, frame)
        if tokens <= limit:
            best = max(best, size)
        tokens_per_word = (tokens - frame) / len(items) * rare_count
        step = int((limit - tokens) // tokens_per_word)
        if step == 0 or (step < 0 and size + step < 1):
            break
        size = min(len(rare), max(1, size + step))
        if size == best:
            break
    return best, key


def _example_list(random: Random, size: int, common_count: int, rare_count: int) -> tuple[list[str], list[str]]:
    words = list(islice(words_in_order(random), size))
    return _shuffled(words[:COMMON], words[COMMON:], common_count, rare_count, random.random()), words[:COMMON]


def _shuffled(common: Sequence[str], rare: Sequence[str], common_count: int, rare_count: int, key: float) -> list[str]:
    items = [*common] * common_count + [*rare] * rare_count
    Random(key).shuffle(items)
    return items


def _as_list(words: Sequence[str], first: int = 1) -> str:
    return " ".join(f"{i}. {word}" for i, word in enumerate(words, first))


def _list_tokens(counter: TokenCounter, head: str, words: Sequence[str], tail: str, frame: int) -> int:
    parts = [(" " if i else "") + _as_list(words[i : i + CHUNK], i + 1) for i in range(0, len(words), CHUNK)]
    return counter.user_prompt(head, parts, tail, frame)


def frequent_words(counter: TokenCounter, limit: int, prefixed: bool, random: Random) -> tuple[str, int, list[str]]:
    """Prompt, its tokens and the three words: a vocabulary of `limit`/50 coded words under a zeta distribution."""
    tail = DECODED + (DECODED_PREFIX if prefixed else "")
    frame = counter.prompt([user(CODED + tail)])
    words: dict[str, None] = {}
    while len(words) < max(8, limit // 50):
        words["".join(random.choices(string.ascii_lowercase, k=6))] = None
    coded = ["...", *words]
    costs = counter.pieces([f" {word}" for word in coded])
    low, high = 64, 4 * limit
    while low < high:  # the largest text that fits
        middle = (low + high + 1) // 2
        tokens = frame + sum(n * cost for n, cost in zip(_zeta(middle, len(coded)), costs, strict=True))
        low, high = (middle, high) if tokens <= limit else (low, middle - 1)
    numbers = _zeta(low, len(coded))
    if numbers[3] < 1 or frame >= limit:
        raise UsageError(f"{limit} tokens are too few with this tokenizer; set lengths=[…] higher")
    text = [word for word, n in zip(coded, numbers, strict=True) for _ in range(n)]
    random.shuffle(text)
    for _ in range(TRIES):  # dots at the end fill up what the sum of the words' tokens has left
        tokens = _coded_tokens(counter, text, tail, frame)
        if 0 <= limit - tokens < max(2, costs[0]):
            break
        text = _padded(text, (limit - tokens) // costs[0])
    return CODED + " ".join(text) + tail, tokens, coded[1:4]


def _padded(text: list[str], count: int) -> list[str]:
    if count >= 0:
        return [*text, *["..."] * count]
    for _ in range(-count):
        del text[len(text) - 1 - text[::-1].index("...")]
    return text


def _coded_tokens(counter: TokenCounter, text: Sequence[str], tail: str, frame: int) -> int:
    parts = [(" " if i else "") + " ".join(text[i : i + 512]) for i in range(0, len(text), 512)]
    return counter.user_prompt(CODED, parts, tail, frame)


def _zeta(total: int, size: int) -> list[int]:
    """Occurrences of each word: total · k^-2 / ζ(2), rounded down."""
    scale = total / (pi**2 / 6)
    return [int(scale / k**ALPHA) for k in range(1, size + 1)]
