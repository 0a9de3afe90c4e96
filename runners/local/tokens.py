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

_PENDING = 24
"""Tokens that may wait for the rest of their character; a character has at most four bytes."""
_SETTLED = 8
"""Tokens at the end of what waits that may still change how the ones before them are read."""


class ModelTokenizer:
    """The tokenizer of a model; a `m1eval.Tokenizer`. Special tokens written out in a text are recognised as such.

    `ends` are the ids that end generation; `hidden` further ids that are never part of a text (begin, padding).
    """

    def __init__(
        self, core: Core, template: ChatTemplate | None, ends: frozenset[int], *, hidden: frozenset[int] = frozenset()
    ) -> None:
        core.no_truncation()
        core.no_padding()
        if isinstance(core.model, models.BPE):
            core.model.dropout = None  # for training: one text would have other tokens every time
        self.core, self.template, self.ends = core, template, ends
        self.special = frozenset(i for i, token in core.get_added_tokens_decoder().items() if token.special)
        self.hidden = ends | (hidden & self.special)
        self._prefix = _prefix(core)

    def encode(self, text: str) -> list[int]:
        """Token ids of text, nothing added; ValueError if the tokenizer's own patterns fail on it."""
        try:
            ids: list[int] = self.core.encode(text, add_special_tokens=False).ids
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
        return self.core.decode(list(ids), skip_special_tokens=False)

    def answer(self, ids: Sequence[int]) -> str:
        """The text of token ids that a model wrote, special tokens left out."""
        return self.core.decode(list(ids), skip_special_tokens=True)

    def written(self, ids: Sequence[int]) -> str:
        """The text of token ids that a model wrote, with those special tokens that may mark thinking or channels.

        Ends, begin and padding tokens are left out. `without_special` takes the others out once the text is split.
        """
        hidden = self.hidden
        return self.core.decode([i for i in ids if i not in hidden], skip_special_tokens=False)

    def without_special(self, part: str, text: str, ids: Sequence[int]) -> str:
        """A part of `text`, which `ids` were written as, without special tokens.

        A special token's name that the model wrote out in ordinary tokens stays.
        """
        if not part or not any(i in self.special and i not in self.hidden for i in ids):
            return part
        if part == text == self.written(ids):
            return self.answer(ids)
        begin = len(text) - len(part) if text.endswith(part) else text.find(part)
        spans = self._special_spans(ids, text)
        if begin < 0 or spans is None:
            for name in {self.decode([i]) for i in ids if i in self.special}:
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
            if i >= 0 and i not in self.special:
                run.append(i)
                continue
            pieces.append(self.decode(run) if run else "")
            length, run = length + len(pieces[-1]), []
            if i >= 0 and i not in self.hidden:
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

    def thinking_end(self, form: Form = DEFAULT) -> int | None:
        """The token that closes thinking, if it is one token."""
        found: int | None = self.core.token_to_id(form.close)
        return found


def _prefix(core: Core) -> list[int]:
    """The tokens with which the tokenizer begins a text of its own accord."""
    encoding = core.encode("a")
    mask = encoding.special_tokens_mask
    return list(encoding.ids[: mask.index(0)] if 0 in mask else [])


class Stream:
    """Tokens to text as they come: each piece is whole characters, and the pieces join to the text of all tokens.

    (With byte tokens that are no UTF-8, a byte-fallback decoder may replace more of them when it sees them together.)
    Only the last few tokens are decoded for each new one, whatever they are.
    """

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self.decode = decode
        self.ids: list[int] = []
        self.told = 0  # how many of ids are in pieces already; they stay as context for the next one

    def push(self, token: int) -> str:
        """The text that a further token completes; empty while a character is unfinished."""
        self.ids.append(token)
        before, now = self.decode(self.ids[: self.told]), self.decode(self.ids)
        if len(now) > len(before) and not now.endswith("\ufffd"):
            return self._tell(len(self.ids), before, now)
        if len(self.ids) - self.told < _PENDING:
            return ""
        count = len(self.ids) - _SETTLED  # broken bytes, or tokens without any text: no character waits this long
        return self._tell(count, before, self.decode(self.ids[:count]))

    def _tell(self, count: int, before: str, now: str) -> str:
        self.ids, self.told = self.ids[self.told :], count - self.told
        return now[len(before) :]

    def flush(self) -> str:
        """What is left at the end, broken characters as U+FFFD."""
        piece = self.decode(self.ids)[len(self.decode(self.ids[: self.told])) :]
        self.told = len(self.ids)
        return piece


class Watch:
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
        self.stream, self.stops = Stream(decode), [stop for stop in stops if stop]
        self.longest = max(map(len, self.stops), default=0)
        self.thought = Follower(opened, tags)
        self.text: str | None = None
        self._pieces: list[str] = []
        self._length = 0
        self._tail = ""  # the end of what was written, in which a stop string may have begun

    def __call__(self, token: int) -> bool:
        """Whether a stop string is complete with this token."""
        return self._found(self.stream.push(token))

    def end(self) -> bool:
        """Whether what is left when no further token comes has a stop string in it; asked once, at the end."""
        return self.text is None and self._found(self.stream.flush())

    def _found(self, piece: str) -> bool:
        if not piece or not self.longest:
            return False
        self.thought.push(piece)
        self._pieces.append(piece)
        self._length += len(piece)
        window = self._tail + piece
        self._tail = window[max(0, len(window) - self.longest + 1) :] if self.longest > 1 else ""
        if self.thought.inside:
            return False
        begin = self._length - len(window)
        found = [at for stop in self.stops if (at := window.find(stop, max(0, self.thought.answer - begin))) >= 0]
        if found:
            self.text = "".join(self._pieces)[: begin + min(found)]
        return bool(found)


class Budget:
    """Counts thinking tokens, and says which tokens must come when there are as many as are allowed.

    `end`: the text that ends thinking; None, or one that does not close the form in use: that form's own. `opened`,
    `tags`: as for a Watch.
    """

    def __init__(
        self,
        tokenizer: ModelTokenizer,
        most: int,
        end: str | None,
        *,
        opened: Form | bool | None,
        tags: Sequence[Form] = KNOWN,
    ) -> None:
        self.most, self.end, self.tokenizer = most, end, tokenizer
        self.stream, self.thought = Stream(tokenizer.written), Follower(opened, tags)
        form = self.thought.form
        self.close = tokenizer.thinking_end(form) if form and not form.channels else None
        self._closing = form.close if form else ""
        self.count = 0
        self.forced = False
        self._last: deque[int] = deque(maxlen=2 * len(self._closing))

    def first(self) -> list[int]:
        """What must come before anything is drawn."""
        return self._force() if self.thought.inside and self.most <= 0 else []

    def __call__(self, token: int) -> list[int]:
        """What must come after this token, mostly nothing."""
        if self.thought.inside is False:
            return []
        if self.close is None:
            self.thought.push(self.stream.push(token))
        elif token == self.close or self._spelt_out(token):
            self.thought.inside = False
        self.count += 1
        return self._force() if self.thought.inside and self.count >= self.most else []

    def _spelt_out(self, token: int) -> bool:
        """Whether the model has written the closing tag in several tokens, though there is one for it."""
        self._last.append(token)
        last = self._closing[-1]
        if last not in (self.tokenizer.core.id_to_token(token) or last):
            return False
        return self._closing in self.tokenizer.written(list(self._last))

    def _force(self) -> list[int]:
        self.thought.inside, self.forced = False, True
        form = self.thought.form or DEFAULT
        return self.tokenizer.encode(self.end if self.end is not None and form.ends(self.end) else form.end)
