"""`ModelTokenizer`: text to token ids and back, with the chat template and the special tokens of a model."""

from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import Tokenizer as Core
from tokenizers import models

from m1eval import Message, RunnerError
from m1eval.model.chat_template import ChatTemplate
from m1eval.model.thinking import DEFAULT, Form


class ModelTokenizer:
    """The tokenizer of a model; a `m1eval.Tokenizer`. Special tokens written out in a text are recognised as such.

    `stop_token_ids` end generation; `hidden_ids` are further ids that are never part of a text (BOS, padding).
    """

    def __init__(
        self,
        backend: Core,
        template: ChatTemplate | None,
        stop_token_ids: frozenset[int],
        *,
        hidden_ids: frozenset[int] = frozenset(),
    ) -> None:
        backend.no_truncation()
        backend.no_padding()
        if isinstance(backend.model, models.BPE):
            backend.model.dropout = None  # for training: would make the tokens of a text random
        self.backend, self.template, self.stop_token_ids = backend, template, stop_token_ids
        self.special_ids = frozenset(i for i, token in backend.get_added_tokens_decoder().items() if token.special)
        self.hidden_ids = stop_token_ids | (hidden_ids & self.special_ids)
        self._prefix = _prefix(backend)

    def encode(self, text: str) -> list[int]:
        """Token ids of text, nothing added; ValueError if the tokenizer's own patterns fail on it."""
        try:
            ids: list[int] = self.backend.encode(text, add_special_tokens=False).ids
        except BaseException as error:
            if isinstance(error, Exception) or type(error).__name__ == "PanicException":  # of Rust; a BaseException
                raise ValueError(f"the tokenizer cannot encode this text: {error}") from None
            raise
        return ids

    def encode_raw(self, text: str) -> list[int]:
        """Token ids of a raw prompt, starting with the prefix that the model expects (such as BOS), but never twice.

        An end token that the tokenizer would append is left out, because the prompt is to be continued.
        """
        plain = self.encode(text)
        return plain if plain[: len(self._prefix)] == self._prefix else [*self._prefix, *plain]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens included."""
        return self.backend.decode(list(ids), skip_special_tokens=False)

    def decode_plain(self, ids: Sequence[int]) -> str:
        """The text of generated token ids without special tokens."""
        return self.backend.decode(list(ids), skip_special_tokens=True)

    def decode_output(self, ids: Sequence[int]) -> str:
        """The text of generated token ids, keeping special tokens that may mark thinking or channels.

        Stop, BOS and padding tokens are left out. `strip_special` removes the others once the text is split.
        """
        hidden = self.hidden_ids
        return self.backend.decode([i for i in ids if i not in hidden], skip_special_tokens=False)

    def strip_special(self, part: str, text: str, ids: Sequence[int]) -> str:
        """A part of `text`, the decoded `ids`, without special tokens.

        A special token's name that the model wrote out in ordinary tokens stays.
        """
        if not part or not any(i in self.special_ids and i not in self.hidden_ids for i in ids):
            return part
        if part == text == self.decode_output(ids):
            return self.decode_plain(ids)
        begin = len(text) - len(part) if text.endswith(part) else text.find(part)
        spans = self._special_spans(ids, text)
        if begin < 0 or spans is None:
            for name in {self.decode([i]) for i in ids if i in self.special_ids}:
                part = part.replace(name, "")
            return part
        pieces, end = [], begin
        for start, stop in spans:
            if start >= end and stop <= begin + len(part):
                pieces.append(text[end:start])
                end = stop
        return "".join([*pieces, text[end : begin + len(part)]])

    def _special_spans(self, ids: Sequence[int], text: str) -> list[tuple[int, int]] | None:
        """Spans of special tokens in a text or a prefix of it; None if the decoded pieces do not join to it."""
        pieces: list[str] = []
        spans: list[tuple[int, int]] = []
        length, run = 0, list[int]()
        for i in [*ids, -1]:
            if i >= 0 and i not in self.special_ids:
                run.append(i)
                continue
            pieces.append(self.decode(run) if run else "")
            length, run = length + len(pieces[-1]), []
            if i >= 0 and i not in self.hidden_ids:
                pieces.append(self.decode([i]))
                spans.append((length, length + len(pieces[-1])))
                length += len(pieces[-1])
        return spans if "".join(pieces).startswith(text) else None

    def count(self, messages: Sequence[Message]) -> int:
        """Tokens of the whole prompt."""
        return len(self.encode(self.render(messages)))

    def render(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> str:
        """The prompt's text; RunnerError without a chat template, ValueError if it refuses the messages."""
        if self.template is None:
            raise RunnerError(
                "the model has no chat template: put a chat_template.jinja into its folder, or use raw prompts"
            )
        return self.template.render(messages, tools)

    def thinking_end_id(self, form: Form = DEFAULT) -> int | None:
        """The token that closes thinking, if it is one token."""
        token_id: int | None = self.backend.token_to_id(form.close)
        return token_id


def _prefix(core: Core) -> list[int]:
    """Tokens that the tokenizer itself puts before a text."""
    encoding = core.encode("a")
    mask = encoding.special_tokens_mask
    return list(encoding.ids[: mask.index(0)] if 0 in mask else [])
