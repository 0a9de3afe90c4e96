"""Text from tokens as they are generated: incremental decoding, stop strings and the thinking budget."""

from collections import deque
from collections.abc import Callable, Sequence

from m1eval.model.thinking import DEFAULT, KNOWN, Form, ThinkingFollower

from .model_tokenizer import ModelTokenizer

_MAX_PENDING = 24
"""Maximum tokens that wait for the rest of a character, which has at most four bytes."""
_UNSETTLED = 8
"""Tokens at the end of those waiting that may still change how the ones before them decode."""


class IncrementalDetokenizer:
    """Decodes tokens as they are generated: each piece is whole characters, and the pieces join to the full text.

    (With byte tokens that are not UTF-8, a byte-fallback decoder may replace more of them when it sees them together.)
    Only the last few tokens are decoded for each new one.
    """

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self.decode = decode
        self.ids: list[int] = []
        self.num_emitted = 0  # ids that are in pieces already; they stay as context for the next one

    def push(self, token: int) -> str:
        """The text that the next token completes; empty while a character is unfinished."""
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
        """The remaining text at the end, broken characters as U+FFFD."""
        piece = self.decode(self.ids)[len(self.decode(self.ids[: self.num_emitted])) :]
        self.num_emitted = len(self.ids)
        return piece


class StopStringMatcher:
    """Searches the answer for stop strings as it is generated; `text` is the answer before the first one.

    Stop strings end the answer, not the thinking: inside a think block, opened by prompt or model, they are ignored.
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
        self.thinking = ThinkingFollower(opened, tags)
        self.text: str | None = None
        self._pieces: list[str] = []
        self._length = 0
        self._tail = ""  # the end of the text, in which a stop string may have started

    def __call__(self, token: int) -> bool:
        """Whether a stop string is complete with this token."""
        return self._find_stop(self.detokenizer.push(token))

    def finish(self) -> bool:
        """Whether the remaining text has a stop string in it; to be called once, at the end."""
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
    """Counts thinking tokens, and forces the end of thinking when the limit is reached.

    `end`: the text that ends thinking; None, or one that does not close the form in use: that form's own. `opened`,
    `tags`: as for StopStringMatcher.
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
        self.detokenizer, self.thinking = (
            IncrementalDetokenizer(tokenizer.decode_output),
            ThinkingFollower(opened, tags),
        )
        form = self.thinking.form
        self.close_id = tokenizer.thinking_end_id(form) if form and not form.channels else None
        self._close_tag = form.close if form else ""
        self.count = 0
        self.forced = False
        self._recent_ids: deque[int] = deque(maxlen=2 * len(self._close_tag))

    def initial_tokens(self) -> list[int]:
        """Tokens to force before anything is sampled."""
        return self._end_thinking() if self.thinking.inside and self.limit <= 0 else []

    def __call__(self, token: int) -> list[int]:
        """Tokens to force after this one, usually none."""
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
        return self.tokenizer.encode(self.end if self.end is not None and form.ends(self.end) else form.forced_end)
