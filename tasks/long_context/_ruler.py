"""RULER's eleven generated subtasks, by generators of our own.

Task definitions, prompts and defaults are those of the benchmark, as figures would not be comparable else (Hsieh et al.
2024; NVIDIA/RULER, scripts/synthetic.yaml and scripts/data/synthetic/constants.py). What differs is said in
docs/long_context.md: the essays are a corpus of choice, keys and words come from lists of our own, and prompts have
exactly the length asked for.
"""

import string
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

from m1eval import LazySample, Tokenizer, UsageError

from ._haystack import Needle, PromptFrame, haystack
from ._haystack.corpus import LINES_PER_PAGE, PAGES_PER_VOLUME, SENTENCES_PER_LINE, Corpus, digest, load_corpus
from ._haystack.page_cache import PageCache
from ._haystack.token_counter import TokenCounter, user
from ._lengths import Lengths, lengths_of
from ._ruler_vocabulary import PAIRS, RESERVED, keys, pair
from ._ruler_words import common_words, frequent_words

NEEDLE = "One of the special magic {kind} for {key} is: {value}."
HEAD = (
    "Some special magic {kind} are hidden within the following text. Make sure to memorize it. "
    "I will quiz you about the {kind} afterwards.\n"
)
TAIL = "What are all the special magic {kind} for {query} mentioned in the provided text?"
PREFIX = " The special magic {kind} for {query} mentioned in the provided text are"
TRACK = "Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n"
TRACKED = "Question: Find all variables that are assigned the value {value} in the text above."
TRACKED_PREFIX = (
    " Answer: According to the chain(s) of variable assignment in the text above, {count} variables are assigned the "
    "value {value}, they are: "
)
DEPTHS = [round(100 * i / 39) for i in range(40)]
"""Depths at which needles may be in an essay."""
HOPS = 4
ANSWER_TOKENS = {"niah": 128, "vt": 30, "cwe": 120, "fwe": 50}
"""Tokens of the length that are left to the answer, `tokens_to_generate`."""
MIN_LENGTH = 1024


class NeedleSpec(NamedTuple):
    """A needle subtask: haystack, kinds of keys and values, and how many keys, values of a key and queries."""

    hay: str
    key: str = "words"
    value: str = "numbers"
    keys: int = 1
    values: int = 1
    queries: int = 1


NEEDLE_SPECS = {
    "niah_single_1": NeedleSpec("noise"),
    "niah_single_2": NeedleSpec("essay"),
    "niah_single_3": NeedleSpec("essay", value="uuids"),
    "niah_multikey_1": NeedleSpec("essay", keys=4),
    "niah_multikey_2": NeedleSpec("needle"),
    "niah_multikey_3": NeedleSpec("needle", key="uuids", value="uuids"),
    "niah_multivalue": NeedleSpec("essay", values=4),
    "niah_multiquery": NeedleSpec("essay", keys=4, queries=4),
}
SUBTASKS = (*NEEDLE_SPECS, "vt", "cwe", "fwe")


class KeyValueCorpus:
    """Lines with other keys and values: the haystack `needle`. No key of words comes twice in 90,000 lines."""

    volumes: int | None = None

    def __init__(self, key: str, value: str) -> None:
        self._key, self._value = key, value
        self.digest = digest(
            NEEDLE.encode(), key.encode(), value.encode(), b"".join(map(str.encode, map(pair, range(99))))
        )

    def pages(self, volume: int) -> list[str]:
        """64 pages of 48 lines."""
        random = Random(f"pairs/{self._key}/{self._value}/{volume}")
        size = LINES_PER_PAGE * SENTENCES_PER_LINE
        return [
            "".join(self._line(random, (volume * PAGES_PER_VOLUME + page) * size + i) for i in range(size))
            for page in range(PAGES_PER_VOLUME)
        ]

    def _line(self, random: Random, number: int) -> str:
        key = pair(number % (PAIRS - RESERVED)) if self._key == "words" else _random_value(random, self._key)
        return NEEDLE.format(kind=self._value, key=key, value=_random_value(random, self._value)) + "\n"


def samples(
    *,
    tokenizer: Tokenizer,
    seed: int,
    lengths: Lengths,
    subtasks: Sequence[str],
    samples: int,
    corpus: str = "story",
    corpus_revision: str | None = None,
    answer_prefix: bool = True,
) -> Iterator[LazySample]:
    """`samples` prompts of each subtask and length; the length counts the tokens left for the answer, as RULER's does.

    `corpus` replaces the essays. `answer_prefix`: whether the prompt ends with the first words of the answer. Rows
    have `outputs` (what must be in the answer), `subtask`, `length` and `tokens` (of the prompt).
    """
    for subtask in subtasks:
        if subtask not in SUBTASKS:
            raise ValueError(f"no subtask '{subtask}': they are {', '.join(SUBTASKS)}")
    counter = TokenCounter(tokenizer)
    caches = _PageCaches(counter, corpus, corpus_revision)
    for length in lengths_of(lengths, tokenizer):
        if length < MIN_LENGTH:
            raise ValueError(f"RULER needs a length of at least {MIN_LENGTH} tokens, not {length}")
        for subtask in subtasks:
            for i in range(samples):
                ask = partial(
                    _row, counter, caches, subtask, length, answer_prefix, f"{seed}/ruler/{subtask}/{length}/{i}"
                )
                columns = {"length": length, "subtask": subtask}
                yield LazySample(id=f"{subtask}-{length}-{i + 1}", build=ask, columns=columns)


class _PageCaches:
    """The haystacks, each counted at its first use."""

    def __init__(self, counter: TokenCounter, corpus: str, revision: str | None) -> None:
        self._counter, self._corpus, self._revision = counter, corpus, revision
        self._caches: dict[tuple[str, ...], PageCache] = {}

    def for_task(self, spec: NeedleSpec) -> PageCache:
        """The page cache of a needle subtask's haystack."""
        key = (spec.hay, spec.key, spec.value) if spec.hay == "needle" else (spec.hay,)
        if key not in self._caches:
            corpus: Corpus = (
                KeyValueCorpus(spec.key, spec.value) if spec.hay == "needle" else self._corpus_named(spec.hay)
            )
            self._caches[key] = PageCache(corpus, self._counter)
        return self._caches[key]

    def _corpus_named(self, hay: str) -> Corpus:
        return load_corpus("noise") if hay == "noise" else load_corpus(self._corpus, self._revision)


def _row(
    counter: TokenCounter, caches: _PageCaches, subtask: str, length: int, prefixed: bool, seed: str
) -> dict[str, Any]:
    family = "niah" if subtask in NEEDLE_SPECS else subtask
    prompt_tokens = length - ANSWER_TOKENS[family]
    builders: dict[str, Callable[[], tuple[str, int, list[str]]]] = {
        "niah": lambda: _niah(counter, caches, NEEDLE_SPECS[subtask], prompt_tokens, prefixed, seed),
        "vt": lambda: _variable_tracking(counter, caches, prompt_tokens, prefixed, seed),
        "cwe": lambda: common_words(counter, prompt_tokens, prefixed, Random(seed)),
        "fwe": lambda: frequent_words(counter, prompt_tokens, prefixed, Random(seed)),
    }
    try:
        text, tokens, outputs = builders[family]()
    except UsageError as error:
        raise UsageError(f"{subtask}: {error}") from None
    return {"messages": [user(text)], "outputs": outputs, "subtask": subtask, "length": length, "tokens": tokens}


def _niah(
    counter: TokenCounter, caches: _PageCaches, spec: NeedleSpec, length: int, prefixed: bool, seed: str
) -> tuple[str, int, list[str]]:
    random = Random(seed)
    all_keys = (
        keys(random, spec.keys) if spec.key == "words" else [_random_value(random, spec.key) for _ in range(spec.keys)]
    )
    values = {key: [_random_value(random, spec.value) for _ in range(spec.values)] for key in all_keys}
    hidden = [NEEDLE.format(kind=spec.value, key=key, value=value) for key in all_keys for value in values[key]]
    random.shuffle(hidden)
    lines = spec.hay != "essay"
    depths = [random.uniform(0, 100) for _ in hidden] if lines else random.sample(DEPTHS, len(hidden))
    queries = random.sample(all_keys, spec.queries)
    query = queries[0] if len(queries) == 1 else f"{', '.join(queries[:-1])}, and {queries[-1]}"
    single = spec.queries * spec.values == 1
    head, tail, prefix = (
        _singular(text, single).format(kind=spec.value[:-1] if single else spec.value, query=query)
        for text in (HEAD, TAIL, PREFIX)
    )
    tail += prefix if prefixed else ""
    needles = [Needle(text, depth) for text, depth in zip(hidden, sorted(depths), strict=True)]
    hay = haystack(
        counter,
        caches.for_task(spec),
        length=length,
        frame=PromptFrame(head, [tail], lines),
        needles=needles,
        seed=seed,
    )
    return head + hay.text + tail, hay.tokens, [value for key in queries for value in values[key]]


def _singular(text: str, single: bool) -> str:
    """The singular of a prompt, by RULER's own replacements."""
    if not single:
        return text
    for plural, replacement in (("Some", "A"), ("are all", "is"), ("are", "is")):
        text = text.replace(plural, replacement)
    return text


def _variable_tracking(
    counter: TokenCounter, caches: _PageCaches, length: int, prefixed: bool, seed: str
) -> tuple[str, int, list[str]]:
    random = Random(seed)
    names, chain, value = _chain(random, 5)
    question = TRACKED.format(value=value) + (TRACKED_PREFIX.format(count=HOPS + 1, value=value) if prefixed else "")
    depths = sorted(random.uniform(0, 100) for _ in chain)
    needles = [Needle(text, depth) for text, depth in zip(chain, depths, strict=True)]
    frame = PromptFrame(_example(random) + TRACK, [question], lines=True)
    hay = haystack(
        counter, caches.for_task(NeedleSpec("noise")), length=length, frame=frame, needles=needles, seed=seed
    )
    return frame.head + hay.text + question, hay.tokens, names


def _chain(random: Random, letters: int) -> tuple[list[str], list[str], str]:
    """Variables, assignments and value of a chain."""
    names: list[str] = []
    while len(names) < HOPS + 1:
        name = "".join(random.choices(string.ascii_uppercase, k=letters))
        names += [name] if name not in names else []
    value = str(random.randrange(10_000, 99_999))
    copies = [f"VAR {copy} = VAR {name} " for name, copy in pairwise(names)]
    return names, [f"VAR {names[0]} = {value}", *copies], value


def _example(random: Random) -> str:
    """A short chain with its answer, before the one that counts."""
    from ._haystack.corpus import NOISE

    names, chain, value = _chain(random, 3)
    lines = [NOISE] * 5
    for place, text in reversed(list(zip(sorted(random.choices(range(6), k=len(chain))), chain, strict=True))):
        lines.insert(place, text)
    prefix = TRACKED_PREFIX.format(count=HOPS + 1, value=value)
    return f"{TRACK}{chr(10).join(lines)}\n{TRACKED.format(value=value)}{prefix} {' '.join(names)}\n\n"


def _random_value(random: Random, kind: str) -> str:
    if kind == "numbers":
        return str(random.randrange(1_000_000, 10_000_000))
    if kind == "uuids":
        return str(UUID(int=random.getrandbits(128), version=4))
    return pair(random.randrange(PAIRS - RESERVED))
