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
from ._haystack.page_cache import Shelf
from ._haystack.sentences import TOPICS, sentence
from ._haystack.token_counter import Gauge, assistant, settled, user
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
"""The kinds of text, with their first words and what stands between their sentences."""

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
ROOM = 64
"""Tokens kept free for the distractor that is made to measure."""
SLACK = 8
"""Tokens at least that are left to be filled up with short words."""
LONGEST, POOLED = 500, 20
"""Tokens of a text in the longer conversations, about, and its sentences."""
LEAST, LEAST_NEEDLE = 400, 80
"""Tokens of the shortest prompt: for example, question and distractors, and for each needle."""


class Ask(NamedTuple):
    """A request for a text; the same one is made several times if it is the wanted one."""

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
    pool = Pool(Gauge(tokenizer))
    for length in lengths_of(lengths, tokenizer):
        for count in needles:
            if count < 1:
                raise ValueError(f"needles is {count}, but at least 1 is needed")
            if length < (least := LEAST + LEAST_NEEDLE * count):
                raise ValueError(f"{count} needles need a length of at least {least} tokens, not {length}")
            for i in range(samples):
                build = partial(_row, pool, f"{seed}/mrcr/{length}/{count}/{i}", length, count)
                columns = {"length": length, "needles": count}
                yield LazySample(id=f"{length}-{count}n-{i + 1}", build=build, columns=columns)


class Turns:
    """Texts about a topic, one of each form, of some 500 tokens: the distractors of long conversations."""

    volumes: int | None = None

    def __init__(self) -> None:
        code = (Path(__file__), Path(__file__).with_name("_haystack") / "sentences.py")
        self.digest = digest(*(path.read_bytes() for path in code))

    def pages(self, volume: int) -> list[str]:
        """Those of a topic; after all topics the same ones again, with other texts."""
        topic, random = TOPICS[volume % len(TOPICS)], Random(f"turns/{volume}")
        return [_text(random, Ask(form, topic), POOLED * random.uniform(0.7, 1.3)) for form in FORMS]


class Pool:
    """Distractors with their tokens, written and counted once; what is asked about is always written anew."""

    def __init__(self, gauge: Gauge) -> None:
        self.gauge = gauge
        self._shelf = Shelf(Turns(), gauge, alone=True)
        self._asks: dict[str, int] = {}

    def turn(self, ask: Ask, again: int) -> tuple[str, int]:
        """The text for a request, another each time it comes again, and its tokens."""
        volume = self._shelf.volume(TOPICS.index(ask.topic) + again * len(TOPICS))
        place = list(FORMS).index(ask.form)
        return volume.pages[place], volume.counts[place]

    def asked(self, ask: Ask) -> int:
        """Tokens of a request."""
        text = str(ask)
        if text not in self._asks:
            self._asks[text] = self.gauge.text(text)
        return self._asks[text]


class Turn(NamedTuple):
    """A request and its text, with the tokens of both."""

    ask: Ask
    text: str
    asked: int
    tokens: int


def _row(pool: Pool, seed: str, length: int, needles: int) -> dict[str, Any]:
    random, gauge = Random(seed), pool.gauge
    key = "".join(random.choices(string.ascii_letters + string.digits, k=10))
    wanted = Ask(random.choice(list(FORMS)), random.choice(TOPICS))
    which = random.randrange(needles)
    question = QUESTION.format(key=key, nth=_ordinal(which + 1), form=wanted.form, topic=wanted.topic)
    turns = _turns(pool, random, wanted, needles, length - gauge.added([gauge.text(EXAMPLE + question)]))
    messages = [message for turn in turns for message in (user(str(turn.ask)), assistant(turn.text))] + [user(question)]
    messages[0] = user(EXAMPLE + messages[0]["content"])
    counts = [count for turn in turns for count in (turn.asked, turn.tokens)] + [gauge.text(question)]
    counts[0] = gauge.text(messages[0]["content"])
    spare = min((i for i, turn in enumerate(turns) if turn.ask != wanted), key=lambda i: len(turns[i].text))
    tokens = _fit(gauge, random, messages, counts, 2 * spare + 1, turns[spare].ask.topic, length)
    place = [2 * i + 1 for i, turn in enumerate(turns) if turn.ask == wanted][which]
    return {
        "messages": messages,
        "answer": key + messages[place]["content"],
        "random_string_to_prepend": key,
        "n_needles": needles,
        "needle": which + 1,
        "desired_msg_index": place,
        "total_messages": len(messages),
        "depth": round(100 * place / len(messages)),
        "length": length,
        "tokens": tokens,
    }


def _turns(pool: Pool, random: Random, wanted: Ask, needles: int, room: int) -> list[Turn]:
    """Requests and texts of `room` tokens in all, less ROOM or somewhat more; a short one is there to be lengthened."""
    gauge = pool.gauge
    size = min(LONGEST, max(30, room // (6 * needles) - 24))
    sentences = size / (gauge.text(" ".join(sentence(Random(i), "ferns") for i in range(40))) / 40)
    distractors = _distractors(random, wanted, room // (size + 24))
    made: Counter[Ask] = Counter()

    def written(ask: Ask, count: float) -> Turn:
        text = _text(random, ask, count)
        return Turn(ask, text, pool.asked(ask), gauge.text(text))

    def distractor() -> Turn:
        ask = next(distractors)
        if size < LONGEST:
            return written(ask, sentences * random.uniform(0.7, 1.3))
        text, tokens = pool.turn(ask, made[ask])
        made[ask] += 1
        return Turn(ask, text, pool.asked(ask), tokens)

    asked = [written(wanted, sentences * random.uniform(0.7, 1.3)) for _ in range(needles)]
    others = [written(next(distractors), 1)]
    each = gauge.added([0, 0, 0]) - gauge.added([0])
    left = room - ROOM - sum(each + turn.asked + turn.tokens for turn in asked + others)
    while left > 0:
        turn = distractor()
        left -= each + turn.asked + turn.tokens
        if left > 0:
            others.append(turn)
    places = set(random.sample(range(needles + len(others)), needles))
    needle, other = iter(asked), iter(others)
    return [next(needle if i in places else other) for i in range(needles + len(others))]


def _fit(
    gauge: Gauge, random: Random, messages: list[Message], counts: list[int], place: int, topic: str, length: int
) -> int:
    """Lengthen the text at `place` until the prompt has `length` tokens; returns those it has."""

    def put(text: str) -> None:
        messages[place] = assistant(text)
        counts[place] = gauge.text(text)

    def guess(text: str) -> int:
        put(text)
        return gauge.added(counts)

    def total(text: str) -> int:
        put(text)
        return gauge.conversation(messages, counts)

    text = messages[place]["content"]
    while guess(longer := f"{text} {sentence(random, topic)}") < length - SLACK:
        text = longer
    put(settled(text, random, length, guess, total))
    if (tokens := gauge.conversation(messages, counts)) > length:
        raise UsageError(f"mrcr: {length} tokens are too few with this tokenizer, {tokens} are needed; set lengths=[…]")
    return tokens


def _text(random: Random, ask: Ask, sentences: float) -> str:
    opening, between = FORMS[ask.form]
    body = [sentence(random, ask.topic) for _ in range(max(1, round(sentences)))]
    return between.join([opening, *body] if opening else body)


def _distractors(random: Random, wanted: Ask, about: int) -> Iterator[Ask]:
    """Other requests, none twice before all were made: about as many as needed, so that forms and topics recur."""
    topics = random.sample(TOPICS, min(len(TOPICS), 2 + ceil(1.2 * about / len(FORMS))))
    asks = [Ask(form, topic) for topic in {*topics, wanted.topic} for form in FORMS]
    asks = sorted(ask for ask in asks if ask != wanted)
    while True:
        random.shuffle(asks)
        yield from asks


def _ordinal(number: int) -> str:
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"
