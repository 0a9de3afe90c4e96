"""Detection of an output's form of thinking: the one that opens it, or whose closing text appears alone in it."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from . import channels
from .blocks import is_quoted
from .code import Code
from .forms import HARMONY, KNOWN, MAX_TAG_LENGTH, Form

_NON_SPACE = re.compile(r"[^\s\ufeff\u200b]")
_TOKEN = re.compile(r"<[^<>\s]{1,40}|\[/?[A-Z_]{1,20}\]|◁[^▷\s]{1,10}▷")
_PROSE = re.compile(r"[ \t.,;:!?)]|\Z")


def form_of(text: str, forms: Sequence[Form], opened: bool | None) -> Form:
    """The form of an output among those that may be meant; the first of them if it shows none."""
    default = forms[0]
    first = _NON_SPACE.search(text)
    if first is None:
        return default
    opening = opening_form(text, first.start(), forms)
    if opening is not None or len(forms) == 1:
        return opening or default
    for mark in _marks(forms):
        if mark in text:
            break
    else:  # nearly always
        return default
    if not default.channels and _has_closing_tag(text, default):
        return default
    return _form_closed_alone(text, tuple(forms), opened) or default


def opening_form(text: str, at: int, forms: Sequence[Form]) -> Form | None:
    """The form that opens a text at this place."""
    if text[at] not in _letters(forms):
        return None
    for form in forms:
        if form.channels:
            if channels.opens(text, at):
                return form
        elif form.opens.match(text, at) or any(text.startswith(mark, at) for mark in form.marks if mark != form.open):
            return form
    return None


def is_opening_partial(text: str, forms: Sequence[Form], *, more: bool = False) -> bool:
    """Whether a text ends inside of a tag that opens thinking; `more`: the rest of it may still come."""
    first = _NON_SPACE.search(text)
    if first is None or len(text) - first.start() > 2 * MAX_TAG_LENGTH or text[first.start()] not in _letters(forms):
        return False
    start = text[first.start() :]
    return any(form.is_opened_partly_by(start, more=more) for form in forms)


def _has_closing_tag(text: str, form: Form) -> bool:
    """Whether a text has a closing tag of a form that is not directly in quotes."""
    return any(not is_quoted(text, *match.span()) for match in form.closes.finditer(text))


def _form_closed_alone(text: str, forms: tuple[Form, ...], opened: bool | None) -> Form | None:
    """The form whose closing text comes first among those that nothing has opened before."""
    turn = channels.final_start(text) if HARMONY in forms and opened is not False else None
    begun: set[str] = set()
    for start, end, form, closes in _marks_of(text, forms, len(text) if turn is None else turn):
        if form.name in begun or is_quoted(text, start, end):
            continue
        if closes and not (form.is_word and (opened is False or _is_mentioned(text, start, end))):
            return form
        begun.add(form.name)
    return None if turn is None else HARMONY


def _marks_of(text: str, forms: tuple[Form, ...], stop: int) -> Iterator[tuple[int, int, Form, bool]]:
    """Start and end of what opens or closes each form that a closing text alone may end, and whether it closes."""
    words, pattern = _forms_by_token(forms), _TOKEN if _forms_by_token(forms) else _marks_pattern(forms)
    for match in pattern.finditer(text, 0, stop):
        if words is None:
            group = match.lastgroup or ""
            yield match.start(), match.end(), forms[int(group[1:])], group[0] == "c"
            continue
        for form in words.get(match[0].lower(), ()):
            for closes, kind in ((True, form.closes), (False, form.opens)):
                if whole := kind.match(text, match.start(), stop):
                    yield whole.start(), whole.end(), form, closes


@lru_cache(maxsize=64)
def _forms_by_token(forms: tuple[Form, ...]) -> dict[str, list[Form]] | None:
    """Forms by the first words of what opens and closes them; None where they do not begin with tags."""
    forms_by_token: dict[str, list[Form]] = {}
    for form in _closable_alone(forms):
        marks = (form.open, form.close, *(before for before, _ in form.wraps), form.open.replace("<|", "<|/", 1))
        if not all(_TOKEN.match(mark) for mark in marks):
            return None
        for word in dict.fromkeys(token.lower() for mark in marks for token in _TOKEN.findall(mark)):
            forms_by_token.setdefault(word, []).append(form)
    return forms_by_token


@lru_cache(maxsize=64)
def _marks_pattern(forms: tuple[Form, ...]) -> re.Pattern[str]:
    """The same for any texts, as groups o0, c0, o1, c1, …"""
    able = [(forms.index(form), form) for form in _closable_alone(forms)]
    parts = [f"(?P<{kind}{n}>{p.pattern})" for n, form in able for kind, p in (("c", form.closes), ("o", form.opens))]
    return re.compile("|".join(parts) or "(?!)")


def _closable_alone(forms: tuple[Form, ...]) -> list[Form]:
    return [form for form in forms if form.closes_alone and not form.channels]


def _is_mentioned(text: str, start: int, end: int) -> bool:
    """Whether a tag is in code, or within a line of prose that only names it."""
    named = start > 0 and text[start - 1] in " \t" and _PROSE.match(text, end) is not None
    return named or Code(text).enclosing(0, start, end) is not None


def _letters(forms: Sequence[Form]) -> frozenset[str]:
    return _KNOWN_LETTERS if forms is KNOWN else _first_letters(tuple(forms))


def _marks(forms: Sequence[Form]) -> frozenset[str]:
    return _KNOWN_MARKS if forms is KNOWN else _first_marks(tuple(forms))


@lru_cache(maxsize=64)
def _first_letters(forms: tuple[Form, ...]) -> frozenset[str]:
    letters = {letter for form in forms for mark in form.marks for letter in mark[:1]}
    return frozenset(letters | (set("acf") if HARMONY in forms else set()) | {form.open[0].lower() for form in forms})


@lru_cache(maxsize=64)
def _first_marks(forms: tuple[Form, ...]) -> frozenset[str]:
    """Short texts of which one is in every text that closes one of the forms."""
    harmony = {"assistantfinal"} if HARMONY in forms else set()
    return frozenset({form.close[:2] if form.close[0] in "<[◁" else form.close for form in forms} | harmony)


_KNOWN_LETTERS, _KNOWN_MARKS = _first_letters(KNOWN), _first_marks(KNOWN)  # looked up for each output
