"""Endings that give a letter with hardly a word: "C because ...", "1. C", "Not C. B.", a row of a table."""

import re
from collections.abc import Iterator, Sequence

from .grammar import ENDED, NAMED, NOT, SENTENCE
from .statements import Statement, sound

_REASONED = re.compile(
    r"[(\[]?(?P<letter>[A-H])[)\]]?,?\s(?:because|since(?!\s\d)|as\s(?:it|the|this|that|these|both))\s\w"
)
_JUDGED = re.compile(r"(?<![A-J])(?<!others)(?<!options)\s(?:is|are|was)\s(?:wrong|incorrect|false|invalid|out)\b")
_NUMBERED = re.compile(
    r"(?:(?i:question|q)\.?\s?#?\d{1,4}\s?[.:)]|#?\d{1,4}\s?[.:)])\s{0,3}[(\[]?(?P<letter>[A-J])(?:[)\]]?\.?)\s*"
)
_NOT_THIS = re.compile(
    r"Not\s(?:(?i:option|choice)\s)?\(?(?P<other>[A-J])\)?[.;,]\s(?:(?i:it['’]s|it\sis|but)\s)?"
    r"(?:(?i:option|choice)\s)?\(?(?P<letter>[A-J])\)?[.!]?"
)
_ONLY = re.compile(
    r"(?:^|(?<=[.!?,:;]\s)|\n)[^\S\n]*(?i:(?:so|thus|hence|therefore),?\s{1,2})?(?i:only)\s{1,2}"
    r"(?:(?i:option|choice|answer)\s{1,2}\(?|\()(?P<letter>[A-J])\)?\s{1,2}(?P<rest>(?i:(?:correctly\s)?(?:satisfies|meets|fits|matches|works"
    r"|fulfill?s|remains|survives|is\s(?:left|consistent)|agrees|describes|explains|captures|holds))(?![\w-])[^\n.?!]{0,160})"
)
_PARTLY = re.compile(
    r"(?i)\b(?:first|second|third|former|latter|part|partly|partially|some|one|neither|none|nothing|no|but|if|when|unless|\(?i+\)?|\d|except)\b"
)
_LAST = re.compile(
    r"(?:(?<=[^\W_][.!])[^\S\n](?i:option|choice)\s|(?:(?<=[.!?…]\s)|(?<=\n))Yes,\s(?:(?i:option|choice)\s)?)"
    r"\(?(?P<letter>[A-J])\)?[.!]?\s*\Z"
)
_HEADED = re.compile(r"(?i)\b(?:option|choice)\s\(?[A-J]\)?[.:]")
_BRACKETED = re.compile(r"^[^\S\n]*(?i:answer)\s?\((?P<letter>[A-J])\)[^\S\n]*[.!]?[^\S\n]*$", re.MULTILINE)
_CELLS = re.compile(
    r"^[^\S\n]*\|[^\S\n]*(?i:(?:(?:my|the)\s)?(?:final|correct|best|chosen)\s(?:answer|choice|option)|answer)[^\S\n]*\|"
    r"[^\S\n]*[(\[]?(?P<letter>[A-J])(?:[)\].:]{0,2})(?:(?<=[).:])\s[^|\n]{1,120})?[^\S\n]*\|[^\S\n]*$(?!\n[^\S\n]*\|[\s:|-]*-)",
    re.MULTILINE,
)
_LEFT = re.compile(
    r",\s(?:which\s)?(?i:leav(?:es|ing))\s(?:us\swith\s)?(?i:only|just)\s(?P<called>(?i:option|choice|answer)\s)?"
    r"\(?(?P<letter>[A-J])\)?(?![\w'’])"
)
_MAKES = re.compile(
    r"(?<!\w)(?:this|that|which|these|This|That)\s(?:(?:clearly|therefore|thus)\s)?makes?\s(?P<called>(?i:option|choice|answer)\s)?"
    r"\(?(?P<letter>[A-J])\)?\s(?:the\s)?(?:(?:only|best|most)\s)?(?:correct|right|best|accurate|appropriate)(?:\s(?:answer|choice|option|one))?"
)
_REMAINS = re.compile(
    r"(?:(?<=[.!:;,]\s)|(?<=\n))(?:(?i:so|thus|hence|therefore),?\s)?[Oo]nly\s(?P<called>(?i:option|choice)\s)?\(?(?P<letter>[A-J])\)?\s"
    r"(?:remains|survives|is\sleft)"
)
_VALUE = re.compile(
    r"(?i:\banswer\s(?:is|:)|\banswer:)\s(?P<value>[^\n.;?!()]{0,60}(?:\.\d[^\n.;?!()]{0,60})?)\s"
    r"\((?P<called>(?i:option|choice|answer)\s)?(?P<letter>[A-H])\)"
)
_ELSEWHERE = re.compile(r"(?i)\b(?:in|see|from|by|above|below|either|or|and|degrees?|temperature)\b")
_MATCHED = re.compile(
    r"(?i:\banswer\s(?:is|:)|\banswer:)\s(?P<value>[^\n.;?!]{1,60}(?:\.\d[^\n.;?!]{0,60})?),\s"
    r"(?i:(?:which\s)?(?:corresponds|corresponding)\sto|(?:which\s)?(?:matches|matching))\s\(?(?P<letter>[A-J])\)?"
)


_DESCRIBED = re.compile(
    r"(?:^|(?<=[.!:]\s)|\n)[^\S\n]*(?i:(?:so|thus|hence|therefore),?\s)?(?:Option|option|Choice|choice)\s\(?(?P<letter>[A-J])\)?"
    r"\s(?:best|most\s(?:accurately|closely|directly))\s(?P<rest>(?:describes|explains|matches|fits|represents|captures|reflects"
    r"|answers|completes|summari[sz]es)(?![\w-])[^\n.?!]{0,160})"
)
_ARROW = re.compile(
    r"(?:^|.{0,60}?[\s=≈])\d[\d.,]{0,12}(?:\s?(?![A-I](?![\w/]))[^\W\d_]{1,5}(?:/[^\W\d_]{1,4})?)?\s?(?:→|⇒|⟹|->|=>)\s?"
    r"(?:(?i:option|choice|answer)\s)?[(\[]?(?P<letter>[A-J])[)\]]?\.?"
)
_BEHIND_VALUE = re.compile(
    r"[≈=]?\s?[-−]?\d[\d.,]{0,12}(?:\s[^\W\d_]{1,12}(?:/[^\W\d_]{1,4})?){0,2}\s?\((?i:option|choice|answer)\s(?P<letter>[A-J])\)\.?"
)


def bare_forms(text: str, *, cut: bool = False) -> Iterator[Statement]:
    """The letters that such endings give."""
    if cut:
        return
    yield from _whole_or_last_line(text)
    yield from _only_option(text)
    for pattern, word in ((_VALUE, "nswer"), (_MATCHED, "nswer"), (_LEFT, "eav"), (_MAKES, "mak"), (_REMAINS, "nly")):
        if word in text:
            yield from _in_sentence(text, pattern)
    yield from _unanimous(list(_BRACKETED.finditer(text)) if "nswer" in text else [])
    yield from _unanimous(list(_CELLS.finditer(text)) if "|" in text else [])


def _whole_or_last_line(text: str) -> Iterator[Statement]:
    """Letters that are a whole answer or its last line or sentence."""
    whole = text.strip()
    start = text.find(whole)
    last = whole.rfind("\n") + 1
    line = whole[last:].lstrip()
    place = start + len(whole) - len(line)
    if len(line) > 400:
        return
    if (match := _REASONED.match(line)) and "?" not in line and not _JUDGED.search(line, match.end()):
        yield Statement(place, match["letter"], "letter with its reason")
    if (match := _ARROW.fullmatch(line)) and not re.search(r"[+⇌]|(?:→|->).*(?:→|->)", line):
        yield Statement(start + len(whole) - 1, match["letter"], "concluded letter")
    for pattern, text_of in ((_NUMBERED, whole), (_NOT_THIS, line), (_BEHIND_VALUE, line)):
        match = pattern.fullmatch(text_of)
        if match and match["letter"] != match.groupdict().get("other"):
            yield Statement(start + len(whole) - 1, match["letter"], "whole answer")
    match = _LAST.search(text, max(0, len(text) - 60))
    if match and not _HEADED.search(text, max(0, match.start() - 2000), match.start()):
        yield Statement(match.start("letter"), match["letter"], "concluded letter")


def _only_option(text: str) -> Iterator[Statement]:
    """Statements such as "Only option C satisfies both." and "Option C best describes it."."""
    if "nly" not in text and "best" not in text and "most" not in text:
        return
    matches = [
        match
        for pattern in (_ONLY, _DESCRIBED)
        for match in pattern.finditer(text)
        if text[match.end() : match.end() + 1] != "?"
        and not _PARTLY.search(match["rest"])
        and sound(text, match.start("letter"))
    ]
    yield from _unanimous(matches)


def _in_sentence(text: str, pattern: re.Pattern[str]) -> Iterator[Statement]:
    for match in pattern.finditer(text):
        groups = match.groupdict()
        before = SENTENCE.split(text[max(0, match.start() - 160) : match.start()])[-1]
        if not ENDED.match(text, match.end()) or not sound(text, match.start()):
            continue
        if pattern is _REMAINS:
            before = text[max(0, match.start() - 300) : match.start()]
        if pattern in (_LEFT, _REMAINS) and not (groups["called"] or re.search(r"\b[A-J]\b", before)):
            continue
        if "value" in groups and not _is_value(groups["value"], match["letter"], called=groups.get("called")):
            continue
        if pattern not in (_LEFT, _REMAINS) and (NOT.search(before) or re.search(r"(?i)\b(?:if|what)\b", before)):
            continue
        yield Statement(match.start("letter"), match["letter"], "stated letter")


def _is_value(value: str, letter: str, *, called: str | None) -> bool:
    """Whether a letter behind a value is its option's and not its unit's or its symbol's."""
    if NOT.search(value) or _ELSEWHERE.search(value) or NAMED.search(value + " "):
        return False
    last = re.split(r"[\s$\\{}]+", value.strip(" $}"))[-1]
    return bool(called) or (bool(re.search(r"\d", value)) and last[:1].upper() != letter)


def _unanimous(matches: Sequence[re.Match[str]]) -> Iterator[Statement]:
    """The letter that all of these give; none where they differ."""
    if matches:
        same = len({match["letter"] for match in matches}) == 1
        place = matches[-1].start("letter") + (not same)  # behind what else may be read there
        yield Statement(place, matches[-1]["letter"] if same else "", "stated letter")
