"""Our own rule: the last letter that a text gives as its answer, whatever its wording and markup."""

import re
from collections import deque
from collections.abc import Iterator, Sequence

from .._unicode import composed
from . import words
from .bare_forms import bare_forms
from .doubts import ROMAN
from .given import letter_at
from .grammar import BINOMIALS, CLOSE, LETTER, MARKER, OPEN, UNSPACED, VERBAL, any_of
from .letters import LETTERS, plain
from .short_forms import short_forms
from .statements import Statement, in_words

LONGEST = 400
"""Characters of a box, a tag or a line that may hold a letter and its option's text."""

_BRACES = re.compile(r"\\{0,2}(?:boxed|fbox)\s*\{|\\{1,2}(?:boxed|fbox)\s+(?=[A-Ja-j]\b)|[{}]")
_TAGGED = re.compile(
    r"<(?P<name>(?:final_?|correct_?)?(?:answer|ans|choice|option|letter|result)|final|output|response|solution)>(?P<inside>[^<>]{0,400})</(?P=name)>",
    re.IGNORECASE,
)
_HEAD = re.compile(
    rf"[\s,:.]*(?i:(?:the|correct|final|right|option|choice|answer|letter|is|so)[\s:]+){{0,5}}(?P<open>{OPEN})(?P<letter>{LETTER})"
)
_LINE = re.compile(
    rf"(?:(?i:option|choice|answer)\s+)?(?P<open>{OPEN})(?P<letter>{LETTER})(?P<close>{CLOSE})(?P<mark>[.):]{{0,2}})"
)
_WRONG = re.compile(rf"\s*[-–—]\s*{any_of(words.BEFORE_WRONG)}\s{{1,3}}{any_of((*words.ENGLISH, *words.FOREIGN))}")
_DISMISSED = re.compile(
    r"\b(?i:is|are|was|were|seems?|looks?)\s+(?i:much\s+|far\s+|way\s+|clearly\s+|also\s+)?"
    r"(?i:too\s+\w{2,12}|wrong|incorrect|false|impossible|invalid|ruled\s+out|eliminated|not\s+(?:correct|right|true|possible))"
    r"[.!]?\s*$"
)
_PART = re.compile(r"(?<![\w.])\([a-j]\)\s")
_OTHER_UNSPACED = re.compile(r"(?<![A-Za-z0-9])[A-J](?:[.,:)]|\s\S)")
_OTHER = re.compile(r"(?<![\w.(])\(?[A-J][):]\s|\b(?i:option|choice)\s[A-J]\s?[):.]")


def letter_of(text: str, letters: str = LETTERS, *, cut: bool = False) -> tuple[str | None, str]:
    """The letter that a text gives as its answer and the rule that found it; None with the reason.

    `cut`: the text ended at a token limit, so that what is at its very end is not an answer.
    """
    if not text.strip():
        return None, "empty answer"
    text = plain(composed(text))
    statements = sorted(
        {
            *(*boxed(text), *tagged(text), *in_words(text, cut=cut)),
            *(*short_forms(text, cut=cut), *bare_forms(text, cut=cut), *lines(text, cut=cut)),
        }
    )
    if any(text[each.place] in "iI" for each in statements) and ROMAN.search(text):
        numerals = {"said of a letter": "iI"}
        statements = [each for each in statements if text[each.place] not in numerals.get(each.kind, "i")]
    letter, how = _last_letter(statements)
    if letter and letter not in letters:
        return None, f"letter {letter} is none of the options"
    if letter or statements:
        return letter, how
    return None, "no letter is given as the answer"


def _last_letter(statements: Sequence[Statement]) -> tuple[str | None, str]:
    letter, how = None, "no letter is given as the answer"
    for statement in statements:
        if statement.refuted:
            if statement.letter == letter:
                letter, how = None, "the letter is refuted"
        elif statement.letter:
            letter, how = statement.letter, statement.kind
        else:
            letter, how = None, "several letters are given"
    return letter, how


def content(text: str, place: int, kind: str) -> Statement | None:
    """The letter of a box or a tag, alone or before its option's text."""
    text = re.sub(r"[{}]|\\(?:boxed|fbox)", " ", text).strip()
    match = _HEAD.match(text)
    if not match or len(text) > LONGEST:
        return None
    letter = letter_at(text, match.start("letter"), opened=match["open"].strip())
    start = match.start("letter")
    if letter is None or (text[start].islower() and text[start + 1 : start + 2] == " "):
        return None
    return Statement(place, letter.letter, kind)


def boxed(text: str) -> Iterator[Statement]:
    """The letters in boxes; several boxes in a row are several letters."""
    if "box" not in text:
        return
    spans: deque[tuple[int, int, str]] = deque(maxlen=20)
    opened: list[tuple[int, bool]] = []
    for token in _BRACES.finditer(text):
        if token[0] == "}":
            start, is_box = opened.pop() if opened else (0, False)
            if is_box and token.start() - start <= 4 * LONGEST:
                spans.append((start, token.end(), text[start : token.start()]))
        elif token[0].endswith("{"):
            opened.append((token.end(), len(token[0]) > 1))
        else:
            spans.append((token.start(), token.end() + 1, text[token.end()]))
    last: Statement | None = None
    end = 0
    for start, stop, inside in spans:
        statement = content(inside, start, "boxed letter")
        if (
            statement
            and last
            and statement.letter != last.letter
            and re.fullmatch(r"(?i)[\s,;/&]*(?:and|or|,)?\s*\\?\\?(?:boxed|fbox)\s*\{?\s*", text[end:start])
        ):
            statement = Statement(start, "", "several letters")
        if statement:
            yield statement
            last, end = statement, stop


def tagged(text: str) -> Iterator[Statement]:
    """The letters in tags such as <answer>C</answer>."""
    if "</" not in text:
        return
    last, end = "", -1
    for match in deque(_TAGGED.finditer(text), maxlen=20):
        if statement := content(match["inside"], match.start(), "letter in a tag"):
            adjacent = end >= 0 and re.fullmatch(r"[\s,;/&]*(?:and|or)?\s*", text[end : match.start()])
            adjacent = adjacent if statement.letter != last else None
            yield Statement(statement.place, "", "several letters") if adjacent else statement
            last, end = statement.letter, match.end()


def lines(text: str, *, cut: bool = False) -> Iterator[Statement]:
    """A whole answer, first or last line that is a letter, or a letter and its option's text."""
    whole = text.strip()
    start, end = len(text) - len(text.lstrip()), len(text.rstrip())
    first = whole.partition("\n")[0]
    last = whole.rpartition("\n")[2].strip()
    if first.strip() == whole:
        if (letter := _letter_of_line(whole, alone=True)) is not None and not (cut and len(whole) < 4):
            yield Statement(start, letter, "whole answer")
        return
    if (letter := _letter_of_line(first, alone=False)) is not None and not _lists_options(whole, first):
        yield Statement(start, letter, "first line")
    if not cut and (letter := _letter_of_line(last, alone=False)) is not None and not _lists_options(whole, last):
        several = len(last) < 9 and _follows_letter(whole[: -len(last)], letter)
        yield Statement(end - len(last), "" if several else letter, "several letters" if several else "last line")


_ANOTHER = re.compile(r"(?:^|[:\n,])\s{0,3}(?:[-•*✅☑✔→👉]\s{0,3})?[(\[]?([A-J])[)\].]{0,2},?[^\S\n]*\n\s*$")


def _follows_letter(before: str, letter: str) -> bool:
    """Whether the line before a last one that is a letter ends in another letter, as in a list of answers."""
    other = _ANOTHER.search(before[-40:])
    return bool(other) and other is not None and other[1] != letter


def _lists_options(text: str, line: str = "") -> bool:
    """Whether lines of a text list the options, the given line being one of them and not a repetition."""
    marked = [match["letter"].upper() for match in MARKER.finditer(text)]
    marker = MARKER.match(line + " ")
    if line and (marker is None or marked.count(marker["letter"].upper()) > 1):
        return False
    return len(set(marked)) > 1


def _letter_of_line(line: str, *, alone: bool) -> str | None:
    """The letter that a line is, or that it begins with before an option's text; "" for several."""
    line = line.strip().lstrip("#>-•✅☑✔👉→⇒➡▶∴=").strip()
    if len(line) > 2 and line[0] in "'‘" and line[-1] in "'’":
        line = line[1:-1]
    match = _LINE.match(line)
    if not match or len(line) > 2000:
        return None
    place, rest = match.start("letter"), line[match.end() :]
    if line[place].islower() and not (
        match["mark"] or match["close"] or (alone and place > 3 and match.end() == len(line))
    ):
        return None
    letter = letter_at(line, place, opened=match["open"].strip(), strict=True)
    if letter is None or not letter.letter or not rest.strip(" .!_)]}\"'"):
        return letter.letter if letter else None
    return _letter_before_text(letter.letter, match, rest, alone=alone)


def _letter_before_text(letter: str, match: re.Match[str], rest: str, *, alone: bool) -> str | None:
    """The letter if the rest of its line is its option's text, and not another option's or a sentence."""
    marked = bool(match["mark"] or match["close"]) or rest.startswith((" - ", " – ", " — ", ", "))
    unspaced = UNSPACED.match(rest.removeprefix(","))  # "C、巴黎", "C．巴黎"
    if unspaced and (match["mark"] or rest.startswith(",")):
        return None if match["letter"].islower() or _OTHER_UNSPACED.search(rest) else letter
    if not marked or not (rest[:1].isspace() or rest.startswith((",", "\\"))):
        return None
    word = rest.strip().partition(" ")[0]
    if match["mark"] == ":" and letter == "A":  # which is short for "answer" too
        inner = _letter_of_line(rest, alone=alone) if len(rest) < 40 else None
        if inner is not None:
            return inner
        if word[:1].islower() or not alone or re.search(r"\w[.!?](?:\s|$)", rest):
            return None
    if _WRONG.match(rest) or (match["letter"].islower() and (_PART.search(rest) or VERBAL.match(rest))):
        return None
    dismissed = rest.strip()[:1] in ("✗", "✘", "❌", "✖", "✕") or (
        len(match[0]) > 6 and match["mark"] == ":" and _DISMISSED.search(rest)  # "Option C: 60 J is too large."
    )
    species = match["mark"] == "." and word in BINOMIALS
    return None if species or dismissed or _OTHER.search(rest) else letter
