"""RULER's two question answering subtasks: a question with its document among others, up to an exact length.

Definitions and prompt are those of the benchmark (NVIDIA/RULER, scripts/data/synthetic/qa.py): other paragraphs of the
same article come first among the distractors, then any; documents are numbered and shuffled.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any, NamedTuple

from m1eval import LazySample, Tokenizer, UsageError

from ._haystack.token_counter import Gauge, user
from ._lengths import Lengths, lengths_of

ASK = "Answer the question based on the given documents. Only give me the answer and do not output any other words."
HEAD = f"{ASK}\n\nThe following are given documents.\n\n"
TAIL = ASK + "\n\nQuestion: {question}"
PREFIX = " Answer:"
FILL = " so"
"""Lengthens the last distractor by a token."""
TRIES = 8
ROOM = 32
LEAST = 1_024


class Question(NamedTuple):
    """A question, its answers, and its documents by number; `near` are of the same article."""

    text: str
    outputs: list[str]
    gold: list[int]
    near: list[int]


def squad(
    *,
    rows: Sequence[Mapping[str, Any]],
    tokenizer: Tokenizer,
    seed: int,
    lengths: Lengths,
    samples: int,
    answer_prefix: bool = True,
) -> Iterator[LazySample]:
    """From SQuAD 2.0 (`title`, `context`, `question`, `answers`): the first `samples` questions at each length.

    The length counts the tokens left for the answer, as RULER's does.
    """
    table = [dict(rows[i]) for i in range(len(rows))]
    documents = {text: i for i, text in enumerate(sorted({row["context"] for row in table}))}
    article: dict[str, set[int]] = {}
    for row in table:
        article.setdefault(row["title"], set()).add(documents[row["context"]])
    questions = []
    for row in table:
        if answers := list(row["answers"]["text"]):
            own = documents[row["context"]]
            near = sorted(article[row["title"]] - {own})
            questions.append(Question(row["question"], answers, [own], near))
    maker = _Maker(Gauge(tokenizer), list(documents), answer_prefix)
    return _samples("qa_1", maker, questions, lengths_of(lengths, tokenizer), samples, seed)


def hotpot(
    *,
    rows: Sequence[Mapping[str, Any]],
    tokenizer: Tokenizer,
    seed: int,
    lengths: Lengths,
    samples: int,
    answer_prefix: bool = True,
) -> Iterator[LazySample]:
    """From HotpotQA, distractor setting (`question`, `answer`, `context`); else as `squad`."""
    table = [dict(rows[i]) for i in range(len(rows))]
    texts = [
        [
            f"{title}\n{''.join(parts)}"
            for title, parts in zip(*map(row["context"].get, ("title", "sentences")), strict=True)
        ]
        for row in table
    ]
    documents = {text: i for i, text in enumerate(sorted({text for own in texts for text in own}))}
    questions = [
        Question(row["question"], [row["answer"]], [documents[text] for text in own], [])
        for row, own in zip(table, texts, strict=True)
    ]
    maker = _Maker(Gauge(tokenizer), list(documents), answer_prefix)
    return _samples("qa_2", maker, questions, lengths_of(lengths, tokenizer), samples, seed)


def _samples(
    subtask: str, maker: "_Maker", questions: Sequence[Question], lengths: Sequence[int], samples: int, seed: int
) -> Iterator[LazySample]:
    if samples > len(questions):
        raise ValueError(f"there are {len(questions)} questions, not {samples}")
    for length in lengths:
        if length < LEAST:
            raise ValueError(f"question answering needs a length of at least {LEAST} tokens, not {length}")
        for i in range(samples):
            ask = partial(maker.row, questions[i], length, f"{seed}/ruler/{subtask}/{length}/{i}")
            build = partial(_named, subtask, ask)
            yield LazySample(id=f"{subtask}-{length}-{i + 1}", build=build, columns={"length": length})


def _named(subtask: str, build: Any) -> dict[str, Any]:
    return {**build(), "subtask": subtask}


class _Maker:
    """Documents with their tokens, counted when they are first used."""

    def __init__(self, gauge: Gauge, documents: Sequence[str], prefixed: bool) -> None:
        self._gauge, self._documents = gauge, documents
        self._prefix = PREFIX if prefixed else ""
        self._counts: dict[int, int] = {}
        self._labels: dict[int, int] = {}

    def row(self, question: Question, length: int, seed: str) -> dict[str, Any]:
        """A prompt of `length` tokens less those of the answer; its last distractor is cut to fit."""
        random, room = Random(seed), length - ROOM
        tail = TAIL.format(question=question.text) + self._prefix
        left = room - self._gauge.whole([user(HEAD + tail)])
        chosen: list[str] = []
        texts = [self._documents[i] for i in question.gold]
        for number, i in enumerate(self._order(question, random), 1):
            cost = self._cost(i, number)
            if cost > left:
                if number <= len(question.gold):
                    raise UsageError(f"{length} tokens are too few for the documents of a question; set lengths=[…]")
                chosen.append(self._cut(self._documents[i], left - self._label(number)))
                break
            chosen.append(self._documents[i])
            left -= cost
        last = chosen.pop() if len(chosen) > len(texts) else ""
        random.shuffle(chosen)
        word = max(1, self._gauge.text(FILL * 4) // 4)
        for _ in range(TRIES):
            text = self._text([*chosen, *([last] if last else [])])
            tokens = self._tokens(text, tail)
            missing = room - tokens
            if not last or 0 <= missing < max(2, word):
                break
            if missing > 0:
                last += FILL * (missing // word)
            else:
                last = self._cut(last, self._gauge.piece(f"{last}\n\n") + missing)
        if tokens > room:
            raise UsageError(f"{length} tokens cannot be met with this tokenizer; set lengths=[…]")
        return {
            "messages": [user(HEAD + "".join(text) + tail)],
            "outputs": question.outputs,
            "length": length,
            "tokens": tokens,
        }

    def _order(self, question: Question, random: Random) -> Iterator[int]:
        """Documents by number: the question's own, then those of its article, then any, again and again."""
        yield from question.gold
        near = [*question.near]
        random.shuffle(near)
        yield from near
        known = {*question.gold, *near}
        others = [i for i in range(len(self._documents)) if i not in known]
        while others:
            random.shuffle(others)
            yield from others

    def _cost(self, i: int, number: int) -> int:
        if i not in self._counts:
            self._counts[i] = self._gauge.piece(f"{self._documents[i]}\n\n")
        return self._counts[i] + self._label(number)

    def _label(self, number: int) -> int:
        digits = len(str(number))
        if digits not in self._labels:
            self._labels[digits] = self._gauge.piece(f"Document {10**digits - 1}:\n")
        return self._labels[digits]

    def _cut(self, text: str, tokens: int) -> str:
        words = text.split(" ")
        low, high = 0, len(words)
        while low < high:
            middle = (low + high + 1) // 2
            fits = self._gauge.piece(" ".join(words[:middle]) + "\n\n") <= tokens
            low, high = (middle, high) if fits else (low, middle - 1)
        return " ".join(words[:low])

    def _text(self, documents: Sequence[str]) -> list[str]:
        return [f"Document {i}:\n{document}\n\n" for i, document in enumerate(documents, 1)]

    def _tokens(self, parts: Sequence[str], tail: str) -> int:
        return self._gauge.joined(HEAD, parts, tail, self._gauge.whole([user(HEAD + tail)]))
