"""Which form of thinking an output has: the one that opens it, or whose closing text stands alone in it."""

import re
from collections.abc import Sequence
from functools import lru_cache

from . import channels
from .blocks import quoted
from .code import Code
from .forms import DEFAULT, HARMONY, LONGEST, Form

_SOLID = re.compile(r"\S")
_PROSE = re.compile(r"[ \t.,;:!?)]|\Z")


def form_of(text: str, forms: Sequence[Form], opened: bool | None) -> Form:
    """The form of an output among those that may be meant; the first of them if it shows none."""
    default = DEFAULT if DEFAULT in forms else forms[0]
    first = _SOLID.search(text)
    if first is None:
        return default
    opening = opening_form(text, first.start(), forms)
    if opening is not None or len(forms) == 1:
        return opening or default
    if _tagged(text, default) or not any(mark in text for mark in _first_marks(tuple(forms))):
        return default
    return _closed(text, tuple(forms), opened) or default


def opening_form(text: str, at: int, forms: Sequence[Form]) -> Form | None:
    """The form that opens a text at this place."""
    if text[at] not in _first_letters(tuple(forms)):
        return None
    for form in forms:
        if form.channels:
            if channels.opens(text, at):
                return form
        elif form.opens.match(text, at) or any(text.startswith(mark, at) for mark in form.marks if mark != form.open):
            return form
    return None


def begun(text: str, forms: Sequence[Form]) -> bool:
    """Whether a text is the beginning of a tag that opens thinking, cut inside of it."""
    first = _SOLID.search(text)
    if (
        first is None
        or len(text) - first.start() > 2 * LONGEST
        or text[first.start()] not in _first_letters(tuple(forms))
    ):
        return False
    start = text[first.start() :]
    return any(form.begun_by(start) for form in forms)


def _tagged(text: str, form: Form) -> bool:
    """Whether a text has a closing tag of a form that is not directly in quotes."""
    return any(not quoted(text, *match.span()) for match in form.closes.finditer(text))


def _closed(text: str, forms: tuple[Form, ...], opened: bool | None) -> Form | None:
    """The form whose closing text comes first among those that nothing has opened before."""
    turn = channels.turned(text) if HARMONY in forms and opened is not False else None
    begun: set[str] = set()
    for match in _either(forms).finditer(text, 0, len(text) if turn is None else turn):
        kind, number = (match.lastgroup or "o0")[0], int((match.lastgroup or "o0")[1:])
        form = forms[number]
        if quoted(text, *match.span()) or form.name in begun:
            continue
        if kind == "c" and not (form.word and (opened is False or _mentioned(text, match))):
            return form
        begun.add(form.name)
    return None if turn is None else HARMONY


@lru_cache(maxsize=64)
def _either(forms: tuple[Form, ...]) -> re.Pattern[str]:
    """What opens (groups o0, o1, …) or closes (c0, c1, …) each form that a closing text alone may end."""
    able = [(number, form) for number, form in enumerate(forms) if form.alone and not form.channels]
    parts = [f"(?P<{kind}{n}>{p.pattern})" for n, form in able for kind, p in (("c", form.closes), ("o", form.opens))]
    return re.compile("|".join(parts) or "(?!)")


def _mentioned(text: str, match: re.Match[str]) -> bool:
    """Whether a tag stands in code, or among the words of a line as one does that is only named."""
    named = text[match.start() - 1 : match.start()] in {" ", "\t"} and _PROSE.match(text, match.end()) is not None
    return named or Code(text).around(0, *match.span()) is not None


@lru_cache(maxsize=64)
def _first_letters(forms: tuple[Form, ...]) -> frozenset[str]:
    letters = {letter for form in forms for mark in form.marks for letter in mark[:1]}
    return frozenset(letters | (set("acf") if HARMONY in forms else set()) | {form.open[0].lower() for form in forms})


@lru_cache(maxsize=64)
def _first_marks(forms: tuple[Form, ...]) -> frozenset[str]:
    """Short texts of which one is in every text that closes one of the forms."""
    harmony = {"assistantfinal"} if HARMONY in forms else set()
    return frozenset({form.close[:2] if form.close[0] in "<[◁" else form.close for form in forms} | harmony)
