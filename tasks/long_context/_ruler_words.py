"""RULER's counting subtasks: the ten commonest words of a numbered list, and the three commonest coded words."""

import string
from collections.abc import Sequence
from itertools import islice
from math import pi
from random import Random

from m1eval import UsageError

from ._haystack.token_counter import Gauge, user
from ._ruler_vocabulary import plain

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
COMMON, OFTEN, SELDOM = 10, 30, 3
"""Common words, and how often a common and an uncommon one appear."""
SHORT, SHORT_OFTEN, SHORT_SELDOM = 4_096, 6, 1
"""Below this length they appear less often, as in RULER."""
SHORT_WORDS = ("red", "old", "dry", "low", "big")
"""Of one token, where others have several."""
TOGETHER = 96
"""Words that are counted at a time."""
TRIES = 8
ALPHA = 2.0
"""The zeta distribution's exponent."""


def common_words(gauge: Gauge, room: int, prefixed: bool, random: Random) -> tuple[str, int, list[str]]:
    """Prompt, its tokens and the ten words; at most `room` tokens, a list item less."""
    often, seldom = (OFTEN, SELDOM) if room + 120 >= SHORT else (SHORT_OFTEN, SHORT_SELDOM)
    tail = LISTED + (LISTED_PREFIX if prefixed else "")
    shot = _listed(random, 40, 10, 3) if often == OFTEN else _listed(random, 20, 3, 1)
    head = f"{LIST}{_numbered(shot[0])}{LISTED}{LISTED_PREFIX} {_numbered(shot[1])}\n{LIST}"
    frame = gauge.whole([user(head + tail)])
    words = list(islice(plain(random), COMMON + 64 + max(0, room - frame) // (2 * seldom)))
    common, others = words[:COMMON], words[COMMON:]
    size, kept = _best(gauge, head, tail, frame, room, (common, others, often, seldom), random.random())
    items = _shuffled(common, others[:size], often, seldom, kept)
    text, tokens = items, _tokens(gauge, head, items, tail, frame)
    if not size or tokens > room:
        raise UsageError(f"{room} tokens are too few with this tokenizer; set lengths=[…] higher")
    short = [word for word in SHORT_WORDS if word not in common]
    for spare in (others[size:], short):  # words that appear once fill up, at the end a short one
        for word in spare:
            longer = [*text, word]
            if (more := _tokens(gauge, head, longer, tail, frame)) > room:
                break
            text, tokens = longer, more
    return head + _numbered(text) + tail, tokens, common


def _best(
    gauge: Gauge,
    head: str,
    tail: str,
    frame: int,
    room: int,
    lists: tuple[list[str], list[str], int, int],
    key: float,
) -> tuple[int, float]:
    """How many uncommon words fit: guessed from the tokens of an item, mended a few times."""
    common, others, often, seldom = lists
    size = max(1, min(len(others), (room - frame - 8 * COMMON * often) // (8 * seldom)))
    best = 0
    for _ in range(6):
        items = _shuffled(common, others[:size], often, seldom, key)
        tokens = _tokens(gauge, head, items, tail, frame)
        if tokens <= room:
            best = max(best, size)
        each = (tokens - frame) / len(items) * seldom
        step = int((room - tokens) // each)
        if step == 0 or (step < 0 and size + step < 1):
            break
        size = min(len(others), max(1, size + step))
        if size == best:
            break
    return best, key


def _listed(random: Random, size: int, often: int, seldom: int) -> tuple[list[str], list[str]]:
    words = list(islice(plain(random), size))
    return _shuffled(words[:COMMON], words[COMMON:], often, seldom, random.random()), words[:COMMON]


def _shuffled(common: Sequence[str], others: Sequence[str], often: int, seldom: int, key: float) -> list[str]:
    items = [*common] * often + [*others] * seldom
    Random(key).shuffle(items)
    return items


def _numbered(words: Sequence[str], first: int = 1) -> str:
    return " ".join(f"{i}. {word}" for i, word in enumerate(words, first))


def _tokens(gauge: Gauge, head: str, words: Sequence[str], tail: str, frame: int) -> int:
    parts = [(" " if i else "") + _numbered(words[i : i + TOGETHER], i + 1) for i in range(0, len(words), TOGETHER)]
    return gauge.joined(head, parts, tail, frame)


def frequent_words(gauge: Gauge, room: int, prefixed: bool, random: Random, length: int) -> tuple[str, int, list[str]]:
    """Prompt, its tokens and the three words: a vocabulary of `length`/50 coded words under a zeta distribution."""
    tail = DECODED + (DECODED_PREFIX if prefixed else "")
    frame = gauge.whole([user(CODED + tail)])
    words: dict[str, None] = {}
    while len(words) < max(8, length // 50):
        words["".join(random.choices(string.ascii_lowercase, k=6))] = None
    coded = ["...", *words]
    costs = gauge.pieces([f" {word}" for word in coded])
    low, high = 64, 4 * room
    while low < high:  # the largest text that fits
        middle = (low + high + 1) // 2
        tokens = frame + sum(n * cost for n, cost in zip(_zeta(middle, len(coded)), costs, strict=True))
        low, high = (middle, high) if tokens <= room else (low, middle - 1)
    numbers = _zeta(low, len(coded))
    if numbers[3] < 1 or frame >= room:
        raise UsageError(f"{room} tokens are too few with this tokenizer; set lengths=[…] higher")
    text = [word for word, n in zip(coded, numbers, strict=True) for _ in range(n)]
    random.shuffle(text)
    for _ in range(TRIES):  # dots at the end fill up what the sum of the words' tokens has left
        tokens = _coded_tokens(gauge, text, tail, frame)
        if 0 <= room - tokens < max(2, costs[0]):
            break
        text = _padded(text, (room - tokens) // costs[0])
    return CODED + " ".join(text) + tail, tokens, coded[1:4]


def _padded(text: list[str], more: int) -> list[str]:
    if more >= 0:
        return [*text, *["..."] * more]
    for _ in range(-more):
        del text[len(text) - 1 - text[::-1].index("...")]
    return text


def _coded_tokens(gauge: Gauge, text: Sequence[str], tail: str, frame: int) -> int:
    parts = [(" " if i else "") + " ".join(text[i : i + 512]) for i in range(0, len(text), 512)]
    return gauge.joined(CODED, parts, tail, frame)


def _zeta(total: int, size: int) -> list[int]:
    """How often each word appears: total · k^-2 / ζ(2), rounded down."""
    scale = total / (pi**2 / 6)
    return [int(scale / k**ALPHA) for k in range(1, size + 1)]
