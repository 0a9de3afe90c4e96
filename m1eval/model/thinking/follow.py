"""Following an output's thinking while it is written: each piece costs what it has in it, not what came before."""

import re
from collections.abc import Sequence

from .detect import is_opening_partial, opening_form
from .forms import DEFAULT, KNOWN, MAX_TAG_LENGTH, Form

_NON_SPACE = re.compile(r"[^\s\ufeff\u200b]")


class ThinkingFollower:
    """Whether what a model writes is before, inside or after its thinking.

    `opened`: the form of thinking that the prompt leaves open, or whether it does; `forms`: those that the output may
    open.
    """

    def __init__(self, opened: Form | bool | None = None, forms: Sequence[Form] = KNOWN) -> None:
        self.form = opened if isinstance(opened, Form) else DEFAULT if opened else None
        self.inside: bool | None = True if opened else None
        """None: it may still begin."""
        self.answer = 0
        """Start index of the answer in the output so far, once the thinking has ended."""
        self._forms = forms
        self._written = 0
        self._head = ""  # what was written after white space, as long as thinking may still begin
        self._tail = ""  # the end of what was written inside, in which the closing text may have begun

    def push(self, piece: str) -> None:
        """Take in a further piece of text."""
        self._written += len(piece)
        if self.inside is None:
            piece = self._opening(piece)
        if self.inside and self.form:
            window = self._tail + piece
            if match := self.form.closes.search(window):
                self.inside, self.answer = False, self._written - len(window) + match.end()
            self._tail = window[-2 * MAX_TAG_LENGTH :]

    def _opening(self, piece: str) -> str:
        """See whether thinking begins, and return what was written inside it by now."""
        if not self._head and (first := _NON_SPACE.search(piece)):
            piece = piece[first.start() :]
        elif not self._head:
            return ""
        self._head += piece
        self.form = opening_form(self._head, 0, self._forms)
        if self.form is None:
            self.inside = None if is_opening_partial(self._head, self._forms, more=True) else False
            return ""
        self.inside = self.form.opens.match(self._head) is not None
        if self.form.channels and not self.inside and "<|message|>" not in self._head and self._head[0] == "<":
            self.inside = None if len(self._head) < 2 * MAX_TAG_LENGTH else False  # the header is on its way
        return self._head
