"""RULER's two question answering subtasks: a question with its document among others, up to an exact length.

Definitions and prompt are those of the benchmark (NVIDIA/RULER, scripts/data/synthetic/qa.py): other paragraphs of the
same article come first among the distractors, then any; documents are numbered and shuffled.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any, NamedTuple

from m1eval import LazySample, Tokenizer, UsageError

from ._haystack.token_counter import TokenCounter, user
from ._lengths import Lengths, lengths_of

ASK = "Answer the question based on the given documents. Only give me the answer and do not output any other words."
HEAD = f"{ASK}\n\nThe following are given documents.\n\n"
TAIL = ASK + "\n\nQuestion: {question}"
PREFIX = " Answer:"
FILL = " so"
"""Lengthens the last distractor by a token."""
TRIES = 8
ANSWER_TOKENS = 32
MIN_LENGTH = 1_024


class Question(NamedTuple):
    """A question, its answers, and its documents by number; `near` are of the same article."""

    text: str
    outputs: list[str]
    gold: list[int]
    same_article: list[int]


def squad(
    *,
    rows: Sequence[Mapping[str, Any]],
    tokenizer: Tokenizer,
    seed: int,
    lengths: Lengths,
    samples: int,
    answer_prefix: bool = True,
) -> Iterator[LazySample]:
    """Samples from SQuAD 2.0 (`title`, `context`, `question`, `answers`): the first `samples` questions at each length.

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
            gold = documents[row["context"]]
            same_article = sorted(article[row["title"]] - {gold})
            questions.append(Question(row["question"], answers, [gold], same_article))
    builder = _PromptBuilder(TokenCounter(tokenizer), list(documents), answer_prefix)
    return _samples("qa_1", builder, questions, lengths_of(lengths, tokenizer), samples, seed)


def hotpot(
    *,
    rows: Sequence[Mapping[str, Any]],
    tokenizer: Tokenizer,
    seed: int,
    lengths: Lengths,
    samples: int,
    answer_prefix: bool = True,
) -> Iterator[LazySample]:
    """Samples from HotpotQA, distractor setting (`question`, `answer`, `context`); else as `squad`."""
    table = [dict(rows[i]) for i in range(len(rows))]
    texts = [
        [
            f"{title}\n{''.join(parts)}"
            for title, parts in zip(*map(row["context"].get, ("title", "sentences")), strict=True)
        ]
        for row in table
    ]
    documents = {text: i for i, text in enumerate(sorted({text for paragraphs in texts for text in paragraphs}))}
    questions = [
        Question(row["question"], [row["answer"]], [documents[text] for text in paragraphs], [])
        for row, paragraphs in zip(table, texts, strict=True)
    ]
    builder = _PromptBuilder(TokenCounter(tokenizer), list(documents), answer_prefix)
    return _samples("qa_2", builder, questions, lengths_of(lengths, tokenizer), samples, seed)


def _samples(
    subtask: str,
    builder: "_PromptBuilder",
    questions: Sequence[Question],
    lengths: Sequence[int],
    samples: int,
    seed: int,
) -> Iterator[LazySample]:
    if samples > len(questions):
        raise ValueError(f"there are {len(questions)} questions, not {samples}")
    for length in lengths:
        if length < MIN_LENGTH:
            raise ValueError(f"question answering needs a length of at least {MIN_LENGTH} tokens, not {length}")
        for i in range(samples):
            build_row = partial(builder.row, questions[i], length, f"{seed}/ruler/{subtask}/{length}/{i}")
            build = partial(_with_subtask, subtask, build_row)
            yield LazySample(id=f"{subtask}-{length}-{i + 1}", build=build, columns={"length": length})


def _with_subtask(subtask: str, build: Any) -> dict[str, Any]:
    return {**build(), "subtask": subtask}


class _PromptBuilder:
    """Documents with their tokens, counted when they are first used."""

    def __init__(self, counter: TokenCounter, documents: Sequence[str], prefixed: bool) -> None:
        self._counter, self._documents = counter, documents
        self._prefix = PREFIX if prefixed else ""
        self._counts: dict[int, int] = {}
        self._labels: dict[int, int] = {}

    def row(self, question: Question, length: int, seed: str) -> dict[str, Any]:
        """A prompt of `length` tokens less those of the answer; its last distractor is cut to fit."""
        random, prompt_tokens = Random(seed), length - ANSWER_TOKENS
        tail = TAIL.format(question=question.text) + self._prefix
        room_left = prompt_tokens - self._counter.prompt([user(HEAD + tail)])
        documents: list[str] = []
        gold = [self._documents[i] for i in question.gold]
        for number, i in enumerate(self._order(question, random), 1):
            cost = self._cost(i, number)
            if cost > room_left:
                if number <= len(question.gold):
                    raise UsageError(f"{length} tokens are too few for the documents of a question; set lengths=[…]")
                documents.append(self._cut(self._documents[i], room_left - self._label(number)))
                break
            documents.append(self._documents[i])
            room_left -= cost
        last = documents.pop() if len(documents) > len(gold) else ""
        random.shuffle(documents)
        fill_tokens = max(1, self._counter.text(FILL * 4) // 4)
        for _ in range(TRIES):
            text = self._text([*documents, *([last] if last else [])])
            tokens = self._tokens(text, tail)
            missing = prompt_tokens - tokens
            if not last or 0 <= missing < max(2, fill_tokens):
                break
            if missing > 0:
                last += FILL * (missing // fill_tokens)
            else:
                last = self._cut(last, self._counter.piece(f"{last}\n\n") + missing)
        if tokens > prompt_tokens:
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
        same_article = [*question.same_article]
        random.shuffle(same_article)
        yield from same_article
        used = {*question.gold, *same_article}
        others = [i for i in range(len(self._documents)) if i not in used]
        while others:
            random.shuffle(others)
            yield from others

    def _cost(self, i: int, number: int) -> int:
        if i not in self._counts:
            self._counts[i] = self._counter.piece(f"{self._documents[i]}\n\n")
        return self._counts[i] + self._label(number)

    def _label(self, number: int) -> int:
        digits = len(str(number))
        if digits not in self._labels:
            self._labels[digits] = self._counter.piece(f"Document {10**digits - 1}:\n")
        return self._labels[digits]

    def _cut(self, text: str, tokens: int) -> str:
        words = text.split(" ")
        low, high = 0, len(words)
        while low < high:
            middle = (low + high + 1) // 2
            fits = self._counter.piece(" ".join(words[:middle]) + "\n\n") <= tokens
            low, high = (middle, high) if fits else (low, middle - 1)
        return " ".join(words[:low])

    def _text(self, documents: Sequence[str]) -> list[str]:
        return [f"Document {i}:\n{document}\n\n" for i, document in enumerate(documents, 1)]

    def _tokens(self, parts: Sequence[str], tail: str) -> int:
        return self._counter.user_prompt(HEAD, parts, tail, self._counter.prompt([user(HEAD + tail)]))
