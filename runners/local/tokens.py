"""Text to tokens and back: a model's tokenizer with its chat template, and stop strings watched while tokens come.

Where tokenizers come from: tokenizer_files.py (a folder) and tokenizer_gguf.py (a GGUF file).
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tokenizers import Tokenizer as Core
from tokenizers import models

from m1eval import Message, RunnerError
from m1eval.thinking import DEFAULT, KNOWN, Follower, Form

from .template import ChatTemplate

_MAX_PENDING = 24
"""Tokens that may wait for the rest of their character; a character has at most four bytes."""
_UNSETTLED = 8
"""Tokens at the end of what waits that may still change how the ones before them are read."""


class ModelTokenizer:
    """The tokenizer of a model; a `m1eval.Tokenizer`. Special tokens written out in a text are recognised as such.

    `ends` are the ids that end generation; `hidden` further ids that are never part of a text (begin, padding).
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
            backend.model.dropout = None  # for training: one text would have other tokens every time
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
        """Token ids of a raw prompt, begun as the model wants it (Llama's begin token, say), but never twice.

        An end token that the tokenizer would append is left out: the prompt is there to be continued.
        """
        plain = self.encode(text)
        return plain if plain[: len(self._prefix)] == self._prefix else [*self._prefix, *plain]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens included."""
        return self.backend.decode(list(ids), skip_special_tokens=False)

    def decode_plain(self, ids: Sequence[int]) -> str:
        """The text of token ids that a model wrote, special tokens left out."""
        return self.backend.decode(list(ids), skip_special_tokens=True)

    def decode_output(self, ids: Sequence[int]) -> str:
        """The text of token ids that a model wrote, with those special tokens that may mark thinking or channels.

        Ends, begin and padding tokens are left out. `without_special` takes the others out once the text is split.
        """
        hidden = self.hidden_ids
        return self.backend.decode([i for i in ids if i not in hidden], skip_special_tokens=False)

    def strip_special(self, part: str, text: str, ids: Sequence[int]) -> str:
        """A part of `text`, which `ids` were written as, without special tokens.

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
        """Where special tokens stand in a text or the beginning of it; None if pieces do not decode to the whole."""
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
                "the model has no chat template: put a chat_template.jinja into its folder, or ask by prompt"
            )
        return self.template.render(messages, tools)

    def thinking_end_id(self, form: Form = DEFAULT) -> int | None:
        """The token that closes thinking, if it is one token."""
        token_id: int | None = self.backend.token_to_id(form.close)
        return token_id


def _prefix(core: Core) -> list[int]:
    """The tokens with which the tokenizer begins a text of its own accord."""
    encoding = core.encode("a")
    mask = encoding.special_tokens_mask
    return list(encoding.ids[: mask.index(0)] if 0 in mask else [])


class IncrementalDetokenizer:
    """Tokens to text as they come: each piece is whole characters, and the pieces join to the text of all tokens.

    (With byte tokens that are no UTF-8, a byte-fallback decoder may replace more of them when it sees them together.)
    Only the last few tokens are decoded for each new one, whatever they are.
    """

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self.decode = decode
        self.ids: list[int] = []
        self.num_emitted = 0  # how many of ids are in pieces already; they stay as context for the next one

    def push(self, token: int) -> str:
        """The text that a further token completes; empty while a character is unfinished."""
        self.ids.append(token)
        before, now = self.decode(self.ids[: self.num_emitted]), self.decode(self.ids)
        if len(now) > len(before) and not now.endswith("\ufffd"):
            return self._emit(len(self.ids), before, now)
        if len(self.ids) - self.num_emitted < _MAX_PENDING:
            return ""
        count = len(self.ids) - _UNSETTLED  # broken bytes, or tokens without any text: no character waits this long
        return self._emit(count, before, self.decode(self.ids[:count]))

    def _emit(self, count: int, before: str, now: str) -> str:
        self.ids, self.num_emitted = self.ids[self.num_emitted :], count - self.num_emitted
        return now[len(before) :]

    def flush(self) -> str:
        """What is left at the end, broken characters as U+FFFD."""
        piece = self.decode(self.ids)[len(self.decode(self.ids[: self.num_emitted])) :]
        self.num_emitted = len(self.ids)
        return piece


class StopStringMatcher:
    """Looks for stop strings in the answer while it comes; `text` is the answer before the first one.

    They end the answer, not the thinking: inside a think block, opened by the prompt or the model, none is looked for.
    `opened`: the form of thinking that the prompt leaves open, or whether it does; `tags`: the forms that the model
    may open.
    """

    def __init__(
        self,
        decode: Callable[[list[int]], str],
        stops: Sequence[str],
        *,
        opened: Form | bool | None,
        tags: Sequence[Form] = KNOWN,
    ) -> None:
        self.detokenizer, self.stops = IncrementalDetokenizer(decode), [stop for stop in stops if stop]
        self.max_stop_length = max(map(len, self.stops), default=0)
        self.thinking = Follower(opened, tags)
        self.text: str | None = None
        self._pieces: list[str] = []
        self._length = 0
        self._tail = ""  # the end of what was written, in which a stop string may have begun

    def __call__(self, token: int) -> bool:
        """Whether a stop string is complete with this token."""
        return self._find_stop(self.detokenizer.push(token))

    def finish(self) -> bool:
        """Whether what is left when no further token comes has a stop string in it; asked once, at the end."""
        return self.text is None and self._find_stop(self.detokenizer.flush())

    def _find_stop(self, piece: str) -> bool:
        if not piece or not self.max_stop_length:
            return False
        self.thinking.push(piece)
        self._pieces.append(piece)
        self._length += len(piece)
        window = self._tail + piece
        self._tail = window[max(0, len(window) - self.max_stop_length + 1) :] if self.max_stop_length > 1 else ""
        if self.thinking.inside:
            return False
        begin = self._length - len(window)
        positions = [at for stop in self.stops if (at := window.find(stop, max(0, self.thinking.answer - begin))) >= 0]
        if positions:
            self.text = "".join(self._pieces)[: begin + min(positions)]
        return bool(positions)


class ThinkingBudget:
    """Counts thinking tokens, and says which tokens must come when there are as many as are allowed.

    `end`: the text that ends thinking; None, or one that does not close the form in use: that form's own. `opened`,
    `tags`: as for a Watch.
    """

    def __init__(
        self,
        tokenizer: ModelTokenizer,
        limit: int,
        end: str | None,
        *,
        opened: Form | bool | None,
        tags: Sequence[Form] = KNOWN,
    ) -> None:
        self.limit, self.end, self.tokenizer = limit, end, tokenizer
        self.detokenizer, self.thinking = IncrementalDetokenizer(tokenizer.decode_output), Follower(opened, tags)
        form = self.thinking.form
        self.close_id = tokenizer.thinking_end_id(form) if form and not form.channels else None
        self._close_tag = form.close if form else ""
        self.count = 0
        self.forced = False
        self._recent_ids: deque[int] = deque(maxlen=2 * len(self._close_tag))

    def initial_tokens(self) -> list[int]:
        """What must come before anything is drawn."""
        return self._end_thinking() if self.thinking.inside and self.limit <= 0 else []

    def __call__(self, token: int) -> list[int]:
        """What must come after this token, mostly nothing."""
        if self.thinking.inside is False:
            return []
        if self.close_id is None:
            self.thinking.push(self.detokenizer.push(token))
        elif token == self.close_id or self._is_spelled_out(token):
            self.thinking.inside = False
        self.count += 1
        return self._end_thinking() if self.thinking.inside and self.count >= self.limit else []

    def _is_spelled_out(self, token: int) -> bool:
        """Whether the model has written the closing tag in several tokens, though there is one for it."""
        self._recent_ids.append(token)
        last = self._close_tag[-1]
        if last not in (self.tokenizer.backend.id_to_token(token) or last):
            return False
        return self._close_tag in self.tokenizer.decode_output(list(self._recent_ids))

    def _end_thinking(self) -> list[int]:
        self.thinking.inside, self.forced = False, True
        form = self.thinking.form or DEFAULT
        return self.tokenizer.encode(self.end if self.end is not None and form.ends(self.end) else form.end)
