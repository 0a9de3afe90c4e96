"""The runner's tokenizer, and one for when there is none: four characters are one token."""

from collections.abc import Callable, Sequence

from m1eval.errors import UsageError
from m1eval.option_names import runner_option
from m1eval.protocols import Runner, Tokenizer
from m1eval.types import Message

CHARACTERS_PER_TOKEN = 4
MESSAGE_TOKENS = 4
"""Approximate number of tokens that a chat template adds to each message."""


class CharacterTokenizer:
    """Counts four characters as a token, and four tokens for the template of each message; decodes exactly."""

    approximate = True

    def encode(self, text: str) -> list[int]:
        """One id for each four characters (the last may have fewer)."""
        return [
            int.from_bytes(text[i : i + CHARACTERS_PER_TOKEN].encode("utf-32-le", "surrogatepass"), "little")
            for i in range(0, len(text), CHARACTERS_PER_TOKEN)
        ]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the ids."""
        pieces = (i.to_bytes((i.bit_length() + 31) // 32 * 4, "little") for i in ids)
        return b"".join(pieces).decode("utf-32-le", "surrogatepass")

    def count(self, messages: Sequence[Message]) -> int:
        """Tokens of the messages' text and template."""
        return sum(-(-len(str(m.get("content") or "")) // CHARACTERS_PER_TOKEN) + MESSAGE_TOKENS for m in messages)


class ContextWindowUnknown(UsageError):
    """The model's context window is needed before the model has started, and only the started model knows it."""


class RunnerTokenizer:
    """A runner's tokenizer, resolved at its first use, so that finished work can be counted without loading a model.

    `named` replaces it, if `--tokenizer` names another.
    """

    def __init__(self, runner: Runner, named: Tokenizer | None = None) -> None:
        self._runner = runner
        self._tokenizer: Tokenizer | None = named
        self.started = False
        self.approximate = isinstance(named, CharacterTokenizer)
        """Whether four characters count as a token, because the runner has no tokenizer."""

    def encode(self, text: str) -> Sequence[int]:
        """Token ids of a text, from the runner's tokenizer."""
        return self._resolve().encode(text)

    def counts(self, texts: Sequence[str]) -> Sequence[int]:
        """Tokens of each text, in one batch where the tokenizer supports it."""
        tokenizer = self._resolve()
        count_batch: Callable[[Sequence[str]], Sequence[int]] | None = getattr(tokenizer, "counts", None)
        return count_batch(texts) if count_batch else [len(tokenizer.encode(text)) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, from the runner's tokenizer."""
        return self._resolve().decode(ids)

    def count(self, messages: Sequence[Message]) -> int:
        """Number of prompt tokens, from the runner's tokenizer."""
        return self._resolve().count(messages)

    @property
    def context_window(self) -> int | None:
        """The model's window, None if the runner does not know it; ContextWindowUnknown before the model starts."""
        if self._runner.context_window is None and not self.started:
            raise ContextWindowUnknown(
                f"the model's window is known only when it has started; give it by {runner_option('window', 'TOKENS')}"
            )
        return self._runner.context_window

    def _resolve(self) -> Tokenizer:
        if self._tokenizer is None:
            self._tokenizer = self._runner.tokenizer or CharacterTokenizer()
            self.approximate = isinstance(self._tokenizer, CharacterTokenizer)
        return self._tokenizer
