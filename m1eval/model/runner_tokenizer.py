"""A tokenizer for when the model's own cannot be had: four characters are one token."""

from collections.abc import Callable, Sequence

from m1eval.errors import UsageError
from m1eval.protocols import Runner, Tokenizer
from m1eval.types import Message

CHARACTERS = 4
MESSAGE = 4
"""Tokens that a chat template adds to each message, about."""


class CharacterTokenizer:
    """Counts four characters as a token, and four tokens for the frame of each message; exact by construction."""

    approximate = True

    def encode(self, text: str) -> list[int]:
        """One id for each four characters (the last may have fewer)."""
        return [
            int.from_bytes(text[i : i + CHARACTERS].encode("utf-32-le", "surrogatepass"), "little")
            for i in range(0, len(text), CHARACTERS)
        ]

    def decode(self, ids: Sequence[int]) -> str:
        """The text again."""
        pieces = (i.to_bytes((i.bit_length() + 31) // 32 * 4, "little") for i in ids)
        return b"".join(pieces).decode("utf-32-le", "surrogatepass")

    def count(self, messages: Sequence[Message]) -> int:
        """Tokens of the messages' text and frames."""
        return sum(-(-len(str(m.get("content") or "")) // CHARACTERS) + MESSAGE for m in messages)


class ContextWindowUnknown(UsageError):
    """The model's window is asked for, and known only when the model has started."""


class RunnerTokenizer:
    """A runner's tokenizer, taken at its first use: what is done already can be counted before a model is loaded.

    `named` stands in for it, where `--tokenizer` asks for another.
    """

    def __init__(self, runner: Runner, named: Tokenizer | None = None) -> None:
        self._runner = runner
        self._found: Tokenizer | None = named
        self.started = False
        self.approximate = isinstance(named, CharacterTokenizer)
        """Whether four characters stood for a token, because the runner has no tokenizer."""

    def encode(self, text: str) -> Sequence[int]:
        """As the runner's."""
        return self._own().encode(text)

    def counts(self, texts: Sequence[str]) -> Sequence[int]:
        """Tokens of each text; at once where the tokenizer can."""
        own = self._own()
        many: Callable[[Sequence[str]], Sequence[int]] | None = getattr(own, "counts", None)
        return many(texts) if many else [len(own.encode(text)) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """As the runner's."""
        return self._own().decode(ids)

    def count(self, messages: Sequence[Message]) -> int:
        """As the runner's."""
        return self._own().count(messages)

    @property
    def context_window(self) -> int | None:
        """The model's, None if the runner cannot say; WindowUnknown as long as it may still come to know."""
        if self._runner.context_window is None and not self.started:
            raise ContextWindowUnknown(
                "the model's window is known only when it has started; give it by -o window=TOKENS"
            )
        return self._runner.context_window

    def _own(self) -> Tokenizer:
        if self._found is None:
            self._found = self._runner.tokenizer or CharacterTokenizer()
            self.approximate = isinstance(self._found, CharacterTokenizer)
        return self._found
