"""Finds sentences that give a letter as their answer."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from . import words
from .doubts import (
    ALL_BUT,
    ASKED_BEHIND,
    BESIDES,
    BY_OTHERS,
    DOUBTED,
    NOT_RIGHT,
    RETHOUGHT,
    TAKEN_BACK,
    TURNS,
    WRONG_TOO,
)
from .given import latin, letter_at
from .grammar import (
    ASKED,
    BEFORE,
    CLAUSE,
    CONCLUDED,
    DENIED,
    ENDED,
    FORWARD,
    FORWARD_TOO,
    INSTEAD,
    IS_TOO,
    JOINED,
    LEADS,
    MARKER,
    NAMED,
    NOT,
    OPTION,
    REFUSED,
    REVERSE,
    REVERSE_TOO,
    RULED_OUT,
    SENTENCE,
    SPACELESS,
    SUPPOSED,
    UNSPACED,
    VERB,
    VERBAL,
    WRONG,
)
from .letters import lowered
from .supposed import PERHAPS, possible, supposed_before, supposed_behind, unreal

MOST = 40
"""Maximum number of mentions of each word, counted from the last one back."""


class Statement(NamedTuple):
    """A letter given as the answer at `place`; "" if several are given, and `refuted` if it is said to be wrong."""

    place: int
    letter: str
    kind: str
    refuted: bool = False


def _positions(low: str, word: str) -> Iterator[int]:
    """Offsets of a word, from the last one back."""
    place = low.rfind(word)
    for _ in range(MOST):
        if place < 0:
            return
        yield place
        place = low.rfind(word, 0, place)


def mentions(text: str, low: str, phrases: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Offsets of the phrases, as whole words in scripts with spaces."""
    for phrase in phrases:
        alone = not SPACELESS.search(phrase)
        for place in _positions(low, phrase):
            end = place + len(phrase)
            if alone and (
                low[end : end + 1].isalpha() or (low[place - 1 : place].isalpha() and not text[place].isupper())
            ):
                continue
            yield place, end


def sound(text: str, place: int) -> bool:
    """Whether what is said at a place is neither supposed, nor doubted, nor said of a wrong answer."""
    before = text[max(0, place - 100) : place]
    wrong = BEFORE.search(before) and not _MOST_PLAUSIBLE.search(before)
    return not (SUPPOSED.search(before) or wrong or _doubted(before))


_OTHERS = re.compile(r"(?i)\b(?:(?P<you>your)|his|her|their)\s{1,3}(?:(?:own|final|first|chosen|given)\s{1,3})?$")


def _is_anothers(before: str, slot: str) -> bool:
    """Whether an answer is someone else's, as in "Your answer was C"; "Your answer: C" is a template's line."""
    match = _OTHERS.search(before)
    return bool(match) and (not (match and match["you"]) or bool(re.search(r"\bwas\b", slot)))


_MOST_PLAUSIBLE = re.compile(
    r"(?i)(?<!of )(?<!second )\b(?:the|my)\s{1,3}(?:most\s{1,3}plausible|only\s{1,3}possible)\s{1,3}$"
)


def _doubted(before: str) -> bool:
    return bool(DOUBTED.search(before) or supposed_before(before))


def _rethought(text: str, place: int) -> Iterator[Statement]:
    """The letter that follows one that is given up: "but it is actually C"."""
    match = RETHOUGHT.match(text, place)
    if match and (letter := letter_at(text, match.start("letter"), strict=True)):
        yield Statement(match.start("letter"), letter.letter, "stated letter")


def lists_options(text: str, place: int) -> bool:
    """Whether the line of a letter and the next one that is not empty are two options of a list."""
    marker = MARKER.match(text, text.rfind("\n", 0, place) + 1)
    if not marker:
        return False
    line = text.find("\n", place)
    following = re.compile(r"\s*").match(text, line) if line >= 0 else None
    other = MARKER.match(text, text.rfind("\n", 0, following.end()) + 1) if following else None
    return bool(other) and other is not None and other["letter"].upper() > marker["letter"].upper()


def _letter_after(
    text: str, match: re.Match[str] | None, kind: str, *, strict: bool = False, cut: bool = False
) -> Iterator[Statement]:
    if not match:
        return
    place = match.start("letter")
    opened = match["open"].strip().rstrip("\\")
    slot = match.groupdict().get("slot") or ""
    if (letter := letter_at(text, place, opened=opened, strict=strict, cut=cut)) is None:
        return
    if possible(slot) or unreal(text, match.start(), slot, letter.end):
        return
    if supposed_behind(text, letter.end) or ASKED_BEHIND.match(text, letter.end):
        return
    if text[place].islower() and not (":" in slot or "=" in slot or opened or kind == "stated letter"):
        return
    if "\n" in text[match.start() : place] and lists_options(text, place):
        return
    another = BESIDES.match(text, letter.end) if kind == "stated letter" and letter.letter else None
    if another and another["letter"] != letter.letter and not VERBAL.match(text, another.end()):
        letter = letter._replace(letter="")
    marked = re.search(r"[:=\n]", text[max(0, match.start() - 1) : match.start("open")])
    wrong = None if marked else WRONG_TOO.match(text, letter.end) or NOT_RIGHT.match(text, letter.end)
    after = DENIED.match(text, letter.end) or TAKEN_BACK.match(text, letter.end) or wrong
    refuted = bool(slot and NOT.search(TURNS.split(slot)[-1])) or bool(after)
    yield Statement(place, letter.letter, kind, refuted)
    yield from _rethought(text, letter.end)


def in_words(text: str, *, cut: bool = False) -> Iterator[Statement]:
    """The letters that sentences of many languages give as the answer."""
    low = lowered(text)
    for start, end in mentions(text, low, words.ENGLISH):
        if sound(text, start) and not PERHAPS.search(text, max(0, start - 40), start):
            forward = FORWARD.match(text, end)
            if forward and _is_anothers(text[max(0, start - 24) : start], forward["slot"]):
                continue
            statements = list(_letter_after(text, forward, "stated letter", cut=cut))
            yield from statements or _denied(text, REFUSED.match(text, end), cut=cut)
        elif doubted := FORWARD.match(text, end):
            yield from _rethought(text, doubted.end())
    for start, end in mentions(text, low, words.FOREIGN):
        if sound(text, start):
            for statement in _letter_after(text, FORWARD_TOO.match(text, end), "stated letter", cut=cut):
                yield statement
                if statement.refuted:
                    yield from _letter_after(text, INSTEAD.match(text, statement.place + 1), "stated letter", cut=cut)
    for start, end in mentions(text, low, words.VERBS):
        clause = CLAUSE.split(text[max(0, start - 12) : start])[-1]
        if not NOT.search(clause) and sound(text, start) and not BY_OTHERS.search(text[max(0, start - 60) : start]):
            match = VERB.match(text, end)
            if match and _GERUND.search(text[start:end]) and VERBAL.match(text, match.end()):
                continue  # "Choosing C would be wrong"
            yield from _letter_after(text, match, "chosen letter", strict=True, cut=cut)
    yield from _reversed(text, low)
    yield from _concluded(text, low, cut=cut)
    yield from _options(text, low, cut=cut)


def _denied(text: str, match: re.Match[str] | None, *, cut: bool) -> Iterator[Statement]:
    """The letter that "the answer is not A" denies, and the one that "but C" gives in its place."""
    for statement in _letter_after(text, match, "refuted letter"):
        yield statement._replace(refuted=True)
        yield from _letter_after(text, INSTEAD.match(text, statement.place + 1), "stated letter", cut=cut)


def _reversed(text: str, low: str) -> Iterator[Statement]:
    """Letters followed by what is said of them: "C is the answer"."""
    seen: set[int] = set()
    for pattern, phrases in ((REVERSE, (*words.ENGLISH_CORRECT, *words.SUPERLATIVES)), (REVERSE_TOO, words.CORRECT)):
        for start, end in mentions(text, low, phrases):
            for match in pattern.finditer(text, max(0, start - 90), end):
                if match.end() == end and match.start() not in seen:
                    statements = list(_subject_letter(text, match))
                    seen.update([match.start()] if statements else [])
                    yield from statements
    for phrase in ("not", "n't", "n’t", "cannot", "wrong", "incorrect", "false", "invalid", "ruled out", "eliminated"):
        for place in _positions(low, phrase):
            for match in WRONG.finditer(text, max(0, place - 90), place + 40):
                if match.start() not in seen and (NOT.search(match[0]) or RULED_OUT.search(match[0])):
                    seen.add(match.start())
                    yield Statement(match.start("letter"), latin(match["letter"]), "refuted letter", refuted=True)


def _subject_letter(text: str, match: re.Match[str]) -> Iterator[Statement]:
    place, letter, groups = match.start("letter"), match["letter"], match.groupdict()
    before = text[max(0, place - 100) : place]
    slot = groups.get("slot") or ""
    if letter.islower() and not match["close"]:
        return
    if SUPPOSED.search(before) or NAMED.search(before) or _is_question(before) or not _is_whole_claim(text, match):
        return
    if (
        _doubted(before)
        or _TEXT.search(before)
        or ALL_BUT.search(before)
        or letter == "i"
        or (letter == "I" and _NUMBERED.search(before))
    ):
        return
    if letter in "AI" and "slot" in groups and not IS_TOO.match(slot.lstrip()):
        return  # "A resposta", "I hope it is correct"
    if (
        possible(slot)
        or unreal(text, place, groups.get("is") or slot, match.end())
        or supposed_behind(text, match.end())
        or ASKED_BEHIND.match(text, match.end())
    ):
        return
    joined = JOINED.search(before)
    if joined and latin(joined[1]) != latin(letter):
        plural = (groups.get("is") or "").lower() in ("are", "were")
        if plural or not joined[0].rstrip().endswith(","):
            yield Statement(place, "", "several letters")
            return
    refuted = bool(
        (slot and NOT.search(slot)) or DENIED.match(text, match.end()) or TAKEN_BACK.match(text, match.end())
    )
    yield Statement(place, latin(letter), "said of a letter", refuted)


def _is_question(before: str) -> bool:
    """Whether "is", "not" or "only" precede a letter, except for "Only C is correct" as a sentence of its own."""
    return bool(ASKED.search(before)) and not _ONLY.search(before)


_ONLY = re.compile(
    r"(?:^|\n|[^\W\d_]{2}[.!]\s{1,2})[^\S\n]*(?i:(?:so|thus|hence|therefore),?\s{1,2})?(?i:only)\s{1,2}$"
)
_TEXT = re.compile(
    r"(?:^|[\s(])[A-J][.):]{1,2}\s{1,3}(?i:both|either|neither|only|options?|choices?)\s{1,3}"
    r"(?:[(\[]?[A-J][)\]]?\s{1,3}(?:and|or|nor)"
    r"\s{1,3})?[(\[]?$|\d[^\S\n]?$"
)
"""An option's letter and text about other options, as in "B. Both A and ", or a number before a unit."""
_GERUND = re.compile(r"(?i)ing(?:\s+(?:for|with|on|towards?))?$")
_NUMBERED = re.compile(r"(?i)\b(?:statements?|propositions?|conditions?|premises?|assertions?|only|and)\s{1,3}[(\[]?$")


def _is_whole_claim(text: str, match: re.Match[str]) -> bool:
    """Whether "C is correct" and the like are the whole of what is said, as in "C is correct if" they are not."""
    tail = (match.groupdict().get("tail") or "").lower()
    after = text[match.end() : match.end() + 30]
    if re.match(r"\s{0,2}\?" if tail else r"(?:\s{1,2}[^\sA-Za-z.,!?]{1,12}){0,2}\s{0,2}\?", after):
        return False
    if not tail or tail in words.SUPERLATIVES:
        return not tail or bool(ENDED.match(text, match.end()))
    article = re.search(r"(?i)\b(?:the|our|my|a)\b", match[0])
    if re.match(r"[\w-]|['’]\w", after) and not UNSPACED.match(after):
        return False
    if tail == "one":
        return bool(article) and not re.match(r"\s\w", after.replace(" that", "").replace(" which", ""))
    if tail in ("correct", "right", "true", "best", "valid"):
        return not re.match(r"\s(?i:if|only|when|for|about|in|to|of|but)\b", after) and not (
            article and re.match(r"\s\w", after)
        )
    return True


def _concluded(text: str, low: str, *, cut: bool) -> Iterator[Statement]:
    """A letter that is all a sentence says: "Hence, (C)."."""
    for start, end in mentions(text, low, words.CONCLUSIONS):
        match = CONCLUDED.match(text, end)
        if match and ENDED.match(text, match.end()) and not (cut and match.end() == len(text)):
            before = text[max(0, start - 4) : start].rstrip(" \t")
            if not before or before[-1] in ".!?\n,;:(-–—)":
                yield Statement(match.start("letter"), latin(match["letter"]), "concluded letter")


def _options(text: str, low: str, *, cut: bool) -> Iterator[Statement]:
    """A letter as in "…, which is option C." at the end of a sentence that denies nothing."""
    for start, _ in mentions(text, low, ("option", "choice", "letter", "answer")):
        match = OPTION.match(text, start)
        if not match or not ENDED.match(text, match.end()) or (cut and match.end() == len(text)):
            continue
        before = text[max(0, start - 160) : start]
        sentence = SENTENCE.split(before)[-1]
        if LEADS.search(before) and not NOT.search(sentence) and not RULED_OUT.search(sentence):
            yield Statement(match.start("letter"), latin(match["letter"]), "stated letter")
