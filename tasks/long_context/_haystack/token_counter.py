"""Counts the tokens of a long prompt piece by piece, so that a million of them are tokenised once, never in one go.

Chat templates fence turns with special tokens, and the usual tokenizers split text where a line begins; so the parts
of a prompt add up. Tokenizers differ, so this is tried on the real beginning of each prompt; if the sum is wrong
there, or the prompt is short, the whole is counted.
"""

import hashlib
from array import array
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from itertools import accumulate
from random import Random

from m1eval import Message, Tokenizer

from .sentences import pad

MAX_WHOLE = 16_384
"""Prompts up to this many tokens are always counted as a whole."""
PROBE_TOKENS = 8_192
"""Tokens at the beginning of a longer prompt on which adding up is tried."""
LINE_BEFORE = "So it was.\n"
"""Precedes a piece while it is counted, as text precedes it in the prompt."""
_PROBE_TURNS = ("How do the ferns grow?", "They grow by the old mill.", "And the larches?")


class TokenCounter:
    """Counts what the model's tokenizer would count, in less memory."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def text(self, text: str) -> int:
        """Tokens of plain text."""
        return len(self._tokenizer.encode(text))

    @property
    def approximate(self) -> bool:
        """Whether the tokenizer only estimates; its estimates do not add up."""
        return bool(getattr(self._tokenizer, "approximate", False))

    def piece(self, text: str) -> int:
        """Tokens of a text that begins a line in the middle of another."""
        return self.text(LINE_BEFORE + text) - self._line_before

    def pieces(self, texts: Sequence[str]) -> list[int]:
        """`piece` of each."""
        return [count - self._line_before for count in self.texts([LINE_BEFORE + text for text in texts])]

    def texts(self, texts: Sequence[str]) -> list[int]:
        """`text` of each; in one call if the tokenizer can (`counts`)."""
        count_many = getattr(self._tokenizer, "counts", None)
        return list(count_many(texts)) if count_many else [self.text(text) for text in texts]

    def prompt(self, messages: Sequence[Message]) -> int:
        """Tokens of a prompt, counted as a whole."""
        return self._tokenizer.count(messages)

    def user_prompt(self, head: str, parts: Sequence[str], tail: str, frame: int) -> int:
        """Tokens of a user's message of `head`, parts and `tail`; `frame` has those without the parts.

        Added up for long prompts, where that is right for the first few parts.
        """
        counts = self.pieces(parts)
        total = frame + sum(counts)
        prefix = _index_reaching(counts, PROBE_TOKENS) + 1
        if total > MAX_WHOLE and not self.approximate and self.piece("".join(parts[:prefix])) == sum(counts[:prefix]):
            return total
        return self.prompt([user(f"{head}{''.join(parts)}{tail}")])

    def digest(self, text: str) -> str:
        """A short hash of a text's tokens, which tells tokenizers apart."""
        ids = array("Q", (i % 2**64 for i in self._tokenizer.encode(text)))
        return hashlib.sha256(ids.tobytes()).hexdigest()[:16]

    def conversation(self, messages: Sequence[Message], counts: Sequence[int]) -> int:
        """Tokens of user and assistant turns after the chat template; `counts` has those of each turn's text."""
        total = self.turns(counts)
        if total > MAX_WHOLE:
            prefix = (
                2 * (_index_reaching(counts, PROBE_TOKENS) // 2) + 1
            )  # ends with a user's turn, as templates expect
            if self._tokenizer.count(messages[:prefix]) == self.turns(counts[:prefix]):
                return total
        return self._tokenizer.count(messages)

    def turns(self, counts: Sequence[int]) -> int:
        """The sum for turns that begin and end with the user, with what the template adds."""
        return self._frame_tokens + self._exchange_tokens * (len(counts) // 2) + sum(counts)

    @cached_property
    def _line_before(self) -> int:
        return self.text(LINE_BEFORE)

    @cached_property
    def _frame_tokens(self) -> int:
        """Tokens that a template adds to a single user message, generation prompt included."""
        return self._tokenizer.count([user(_PROBE_TURNS[0])]) - self.text(_PROBE_TURNS[0])

    @cached_property
    def _exchange_tokens(self) -> int:
        """Tokens that a template adds for one more answer and question."""
        first, answer, second = _PROBE_TURNS
        three = self._tokenizer.count([user(first), assistant(answer), user(second)])
        return three - self._frame_tokens - sum(map(self.text, _PROBE_TURNS))


def fit_exactly(text: str, random: Random, aim: int, guess: Callable[[str], int], total: Callable[[str], int]) -> str:
    """A text, lengthened so that the prompt around it has `aim` tokens.

    `total` counts the prompt for a text and is slow, `guess` is quick and off by about the same for any text.
    """
    correction = 0
    for _ in range(3):
        padded = pad(text, random, partial(_missing, aim - correction, guess))
        excess = total(padded) - aim
        if excess == 0:
            return padded
        correction += excess
    return pad(text, random, partial(_missing, aim, total))


def user(text: str) -> Message:
    """A user message."""
    return {"role": "user", "content": text}


def assistant(text: str) -> Message:
    """An assistant message."""
    return {"role": "assistant", "content": text}


def _missing(aim: int, count: Callable[[str], int], text: str) -> int:
    return aim - count(text)


def _index_reaching(counts: Sequence[int], reached: int) -> int:
    """The place of the first piece that brings the sum to `reached`; the last place if none does."""
    return next((i for i, running in enumerate(accumulate(counts)) if running >= reached), len(counts) - 1)
