"""Conversations in the form of OpenAI-MRCR, of any length, made without a network.

The form is that of the dataset openai/mrcr: a user asks for short texts ("Write a poem about tapirs."), some of the
requests are made several times, and at the end one of those answers, given by its number, is to be repeated behind a
random key. The texts are made by a grammar and not by a model, so the figures are not those of the original.
"""

import string
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from math import ceil
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from m1eval import LazySample, Message, Tokenizer, UsageError

from ._haystack.corpus import digest
from ._haystack.page_cache import PageCache
from ._haystack.sentences import TOPICS, sentence
from ._haystack.token_counter import TokenCounter, assistant, fit_exactly, user
from ._lengths import Lengths, lengths_of

FORMS = {
    "blog post": ("Hello again, everyone.", " "),
    "diary entry": ("Dear diary,", "\n"),
    "essay": ("", " "),
    "fable": ("Listen, and judge for yourselves.", " "),
    "letter": ("Dear cousin,", "\n"),
    "news report": ("Our correspondent writes:", " "),
    "poem": ("", "\n"),
    "review": ("This is my honest opinion.", " "),
    "short story": ("", " "),
    "song": ("La la la,", "\n"),
    "speech": ("Friends and neighbours!", " "),
    "travel note": ("Written on the road.", " "),
}
"""The kinds of text, with their first words and the separator of their sentences."""

EXAMPLE = """\
Here is an example of a conversation with a question about it at the end:

User: Write a riddle about larches.
Assistant: Who drops green needles and never sews?
User: Write a riddle about larches.
Assistant: Which tall neighbour is bald in winter?
User: Prepend 0vB7kQm3xT to the 2nd (1 indexed) riddle about larches. Do not include any other text in your response.
Assistant: 0vB7kQm3xTWhich tall neighbour is bald in winter?

Now another conversation begins, with a question of this kind at its end.

"""
QUESTION = (
    "Prepend {key} to the {nth} (1 indexed) {form} about {topic}. Do not include any other text in your response."
)
MADE_TO_MEASURE = 64
"""Tokens reserved for the distractor that is made to measure."""
SLACK = 8
"""Minimum tokens left to be filled up with short words."""
LONG_TEXT, LONG_TEXT_SENTENCES = 500, 20
"""Approximate tokens of a text in longer conversations, and its sentences."""
BASE_TOKENS, TOKENS_PER_NEEDLE = 400, 80
"""Tokens of the shortest prompt: for example, question and distractors, and for each needle."""


class TextRequest(NamedTuple):
    """A request for a text; the target's is made several times."""

    form: str
    topic: str

    def __str__(self) -> str:
        return f"Write {'an' if self.form[0] in 'aeiou' else 'a'} {self.form} about {self.topic}."


def conversations(
    *, tokenizer: Tokenizer, seed: int, lengths: Lengths, needles: Sequence[int], samples: int
) -> Iterator[LazySample]:
    """`samples` conversations for each length (tokens of the whole prompt) and each number of equal requests.

    The rows have the columns of openai/mrcr where those fit, and `needle` (the number asked for), `depth` (percent of
    the messages before the wanted one), `length` (asked for) and `tokens` (reached: the same, or one or two less where
    words and tokens do not meet). ValueError if a length has no room for the needles. The tokenizer is used only when a
    conversation is built.
    """
    texts = Distractors(TokenCounter(tokenizer))
    for length in lengths_of(lengths, tokenizer):
        for count in needles:
            if count < 1:
                raise ValueError(f"needles is {count}, but at least 1 is needed")
            if length < (minimum := BASE_TOKENS + TOKENS_PER_NEEDLE * count):
                raise ValueError(f"{count} needles need a length of at least {minimum} tokens, not {length}")
            for i in range(samples):
                build = partial(_row, texts, f"{seed}/mrcr/{length}/{count}/{i}", length, count)
                columns = {"length": length, "needles": count}
                yield LazySample(id=f"{length}-{count}n-{i + 1}", build=build, columns=columns)


class TopicTexts:
    """Texts about a topic, one of each form, of some 500 tokens: the distractors of long conversations."""

    volumes: int | None = None

    def __init__(self) -> None:
        code = (Path(__file__), Path(__file__).with_name("_haystack") / "sentences.py")
        self.digest = digest(*(path.read_bytes() for path in code))

    def pages(self, volume: int) -> list[str]:
        """Those of a topic; after all topics the same ones again, with other texts."""
        topic, random = TOPICS[volume % len(TOPICS)], Random(f"turns/{volume}")
        return [
            _text(random, TextRequest(form, topic), LONG_TEXT_SENTENCES * random.uniform(0.7, 1.3)) for form in FORMS
        ]


class Distractors:
    """Distractors with their tokens, written and counted once; texts that are asked about are always new."""

    def __init__(self, counter: TokenCounter) -> None:
        self.counter = counter
        self._cache = PageCache(TopicTexts(), counter, separate=True)
        self._request_tokens: dict[str, int] = {}

    def text(self, request: TextRequest, repeat: int) -> tuple[str, int]:
        """The text for a request, another each time it comes again, and its tokens."""
        volume = self._cache.volume(TOPICS.index(request.topic) + repeat * len(TOPICS))
        place = list(FORMS).index(request.form)
        return volume.pages[place], volume.counts[place]

    def request_tokens(self, request: TextRequest) -> int:
        """Tokens of a request."""
        text = str(request)
        if text not in self._request_tokens:
            self._request_tokens[text] = self.counter.text(text)
        return self._request_tokens[text]


class Turn(NamedTuple):
    """A request and its text, with the tokens of both."""

    request: TextRequest
    text: str
    request_tokens: int
    text_tokens: int


def _row(texts: Distractors, seed: str, length: int, needles: int) -> dict[str, Any]:
    random, counter = Random(seed), texts.counter
    key = "".join(random.choices(string.ascii_letters + string.digits, k=10))
    target = TextRequest(random.choice(list(FORMS)), random.choice(TOPICS))
    needle = random.randrange(needles)
    question = QUESTION.format(key=key, nth=_ordinal(needle + 1), form=target.form, topic=target.topic)
    turns = _turns(texts, random, target, needles, length - counter.turns([counter.text(EXAMPLE + question)]))
    messages = [message for turn in turns for message in (user(str(turn.request)), assistant(turn.text))] + [
        user(question)
    ]
    messages[0] = user(EXAMPLE + messages[0]["content"])
    counts = [count for turn in turns for count in (turn.request_tokens, turn.text_tokens)] + [counter.text(question)]
    counts[0] = counter.text(messages[0]["content"])
    spare = min((i for i, turn in enumerate(turns) if turn.request != target), key=lambda i: len(turns[i].text))
    tokens = _fit(counter, random, messages, counts, 2 * spare + 1, turns[spare].request.topic, length)
    place = [2 * i + 1 for i, turn in enumerate(turns) if turn.request == target][needle]
    return {
        "messages": messages,
        "answer": key + messages[place]["content"],
        "random_string_to_prepend": key,
        "n_needles": needles,
        "needle": needle + 1,
        "desired_msg_index": place,
        "total_messages": len(messages),
        "depth": round(100 * place / len(messages)),
        "length": length,
        "tokens": tokens,
    }


def _turns(texts: Distractors, random: Random, target: TextRequest, needles: int, room: int) -> list[Turn]:
    """Requests and texts of `room` tokens in all, less at least MADE_TO_MEASURE; a short one can be lengthened."""
    counter = texts.counter
    size = min(LONG_TEXT, max(30, room // (6 * needles) - 24))
    sentences = size / (counter.text(" ".join(sentence(Random(i), "ferns") for i in range(40))) / 40)
    distractors = _distractors(random, target, room // (size + 24))
    times_used: Counter[TextRequest] = Counter()

    def write(request: TextRequest, count: float) -> Turn:
        text = _text(random, request, count)
        return Turn(request, text, texts.request_tokens(request), counter.text(text))

    def distractor() -> Turn:
        request = next(distractors)
        if size < LONG_TEXT:
            return write(request, sentences * random.uniform(0.7, 1.3))
        text, tokens = texts.text(request, times_used[request])
        times_used[request] += 1
        return Turn(request, text, texts.request_tokens(request), tokens)

    answers = [write(target, sentences * random.uniform(0.7, 1.3)) for _ in range(needles)]
    others = [write(next(distractors), 1)]
    turn_overhead = counter.turns([0, 0, 0]) - counter.turns([0])
    left = (
        room
        - MADE_TO_MEASURE
        - sum(turn_overhead + turn.request_tokens + turn.text_tokens for turn in answers + others)
    )
    while left > 0:
        turn = distractor()
        left -= turn_overhead + turn.request_tokens + turn.text_tokens
        if left > 0:
            others.append(turn)
    places = set(random.sample(range(needles + len(others)), needles))
    needle, other = iter(answers), iter(others)
    return [next(needle if i in places else other) for i in range(needles + len(others))]


def _fit(
    counter: TokenCounter,
    random: Random,
    messages: list[Message],
    counts: list[int],
    place: int,
    topic: str,
    length: int,
) -> int:
    """Lengthen the text at `place` until the prompt has `length` tokens; returns those it has."""

    def put(text: str) -> None:
        messages[place] = assistant(text)
        counts[place] = counter.text(text)

    def guess(text: str) -> int:
        put(text)
        return counter.turns(counts)

    def total(text: str) -> int:
        put(text)
        return counter.conversation(messages, counts)

    text = messages[place]["content"]
    while guess(longer := f"{text} {sentence(random, topic)}") < length - SLACK:
        text = longer
    put(fit_exactly(text, random, length, guess, total))
    if (tokens := counter.conversation(messages, counts)) > length:
        raise UsageError(f"mrcr: {length} tokens are too few with this tokenizer, {tokens} are needed; set lengths=[…]")
    return tokens


def _text(random: Random, request: TextRequest, sentences: float) -> str:
    opening, separator = FORMS[request.form]
    body = [sentence(random, request.topic) for _ in range(max(1, round(sentences)))]
    return separator.join([opening, *body] if opening else body)


def _distractors(random: Random, target: TextRequest, count: int) -> Iterator[TextRequest]:
    """Other requests, none twice before all were made: about as many as needed, so that forms and topics recur."""
    topics = random.sample(TOPICS, min(len(TOPICS), 2 + ceil(1.2 * count / len(FORMS))))
    requests = [TextRequest(form, topic) for topic in {*topics, target.topic} for form in FORMS]
    requests = sorted(request for request in requests if request != target)
    while True:
        random.shuffle(requests)
        yield from requests


def _ordinal(number: int) -> str:
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"
