"""Short sentences that give a letter without a word for it: "C it is.", "B... no, C.", "not A but C"."""

import re
from collections.abc import Iterator

from . import words
from .given import latin
from .grammar import CAPITALS, CLOSE, ENDED, OPEN, SENTENCE, any_of
from .letters import lowered
from .statements import Statement, mentions, sound

_LETTER = rf"(?P<open>{OPEN})(?P<letter>[{CAPITALS}])(?P<close>{CLOSE})"
_CALLED = (
    r"(?:(?i:(?:the|option|choice|answer|letter|la|el|opción|l['’]option|option|die|antwort|вариант|选项)\s{1,3}){0,2})"
)
_START = r"(?:^|[.!?,;:\n—–])\s{0,3}(?i:(?:so|then|ok|okay|well|thus|hence|therefore)[\s,]{1,3})?"

_IT_IS = re.compile(rf"{_START}{_CALLED}(?<!\w){_LETTER}\s{{1,3}}(?i:it\s{{1,3}}is|it['’]s)$")
_NO = re.compile(
    rf"(?<![\w'’])[A-J]{CLOSE}\s?(?:\.{{2,4}}|…|[.,;–—-])\s{{0,3}}(?i:(?:oh|wait|actually|hmm)[,\s]{{1,3}}){{0,2}}$"
)
_CORRECTED = re.compile(
    rf"[\s,.…–—-]{{1,5}}(?i:(?:no|wait|sorry|actually|it['’]s|it\s+is|make\s+that|make\s+it|i\s+mean|rather)[\s,]{{1,3}}){{0,3}}"
    rf"{_CALLED}{_LETTER}"
)
_LIKELIEST = re.compile(
    r"(?i:\s+(?:(?!least|not|wrong|incorrect|other|second|false)[\w-]{2,16}\s+){0,3}?(?:diagnosis|cause|explanation|mechanism|treatment"
    r"|step|management|therapy|interpretation|outcome|finding|reason|description|pathogen|organism|agent|drug|complication"
    r"|etiology|intervention|test|medication|action|response|conclusion)"
    r"(?:\s+(?:here|for\s+[^\n.,;:!?()]{1,60}|in\s+[^\n.,;:!?()]{1,60}))?\s+(?:is|would\s+be)(?:\s+therefore)?\s*:?\s*)"
    r"(?:\((?P<letter>[A-J])\)|(?i:option|choice)\s{1,3}\(?(?P<named>[A-J])\)?)(?![\w'’])(?!\s*(?i:and|or|if|,|/|&)\b)"
)
_MOST = (
    "most likely",
    "most probable",
    "most appropriate",
    "most suitable",
    "best",
    "best next",
    "next best",
    "correct",
)
_BUT = words.phrases("""
    but, but rather, rather, sino, sino que es, sondern, mais, maar, mas, mas sim, ma, bensì, men, utan, lecz, ale,
    nýbrž, а, але, hanem, vaan, ci, 而是, 而选
""")
_DENIED = re.compile(
    rf"(?P<not>{any_of((*words.NEGATIONS, 'no'))})\s{{0,3}}(?:(?i:la|die|den|het|a|é|è)\s)?{_CALLED}"
    rf"{OPEN}(?P<other>[{CAPITALS}]){CLOSE}[\s,;]{{0,3}}$"
)
_OPENING = re.compile(
    r"(?i)[\s\"'(]*(?:(?:so|thus|therefore|hence|it|it['’]s|that['’]s|this|is|es|ce|c['’]est|n['’]est|das|dies|ist|è|é|это|to"
    r"|est|因此|所以|应该|the|la|is)[\s,]{0,3}){0,4}"
)
_ANSWER = re.compile(any_of((*words.ENGLISH, *words.FOREIGN)))
_AFTER_BUT = re.compile(
    rf"\s{{0,3}}(?i:(?:is|it\s+is|es|ist|est|è|é)\s{{1,3}})?{_CALLED}(?i:la\s|die\s|den\s)?{_LETTER}"
)

_VERDICT = re.compile(
    r"^[^\S\n]*(?:\|[^\S\n]*)?(?:[-•–>]\s{1,3})?(?:(?i:option|choice)\s)?[(\[]?(?P<letter>[A-J])"
    r"(?:(?:[)\].:]{1,2}|[^\S\n]\|)(?:[^\S\n][^\n]{1,160}?(?=[^\S\n]*[✓✔✅✗✘❌✖]|[^\S\n][-–—(→][^\S\n]?\w))?|(?=[^\S\n]{0,3}[-–—✓✔✅✗✘❌✖]))"
    r"[^\S\n]*(?:[|–—(→-][^\S\n]*)?"
    r"(?:(?P<yes>(?P<truth>(?i:yes|true))|(?i:correct|right)|✓|✔|✅)|(?P<untruth>(?i:no|false))|(?i:incorrect|wrong)|✗|✘|❌|✖)\ufe0f?\)?"
    r"[.!]?[^\S\n]*(?:\|[^\S\n]*)?$",
    re.MULTILINE,
)


def short_forms(text: str, *, cut: bool = False) -> Iterator[Statement]:
    """The letters that short sentences give."""
    low = lowered(text)
    for match in (*_it_is(text, low), *_corrected(text, low), *_likeliest(text, low), *_not_but(text, low)):
        group = "letter" if match["letter"] else "named"
        if not (cut and match.end() == len(text)):
            yield Statement(match.start(group), latin(match[group]), "stated letter")
    yield from _verdicts(text)


def _it_is(text: str, low: str) -> Iterator[re.Match[str]]:
    """Matches such as "C it is."."""
    for _, end in mentions(text, low, ("it is", "it's", "it’s")):
        if (match := _IT_IS.search(text, max(0, end - 40), end)) and ENDED.match(text, end):
            yield match


def _corrected(text: str, low: str) -> Iterator[re.Match[str]]:
    """Corrections such as "B... no, C."."""
    for start, end in mentions(text, low, ("no", "wait", "sorry", "scratch that", "correction", "make that")):
        match = _CORRECTED.match(text, end)
        if match and ENDED.match(text, match.end()) and _NO.search(text, max(0, start - 30), start):
            yield match


def _likeliest(text: str, low: str) -> Iterator[re.Match[str]]:
    """Matches such as "The most likely diagnosis is (C)"."""
    for start, end in mentions(text, low, _MOST):
        if (match := _LIKELIEST.match(text, end)) and sound(text, start):
            yield match


def _not_but(text: str, low: str) -> Iterator[re.Match[str]]:
    """Matches such as "not A but C", where the sentence begins with it or names the answer before it."""
    for start, end in mentions(text, low, _BUT):
        match = _AFTER_BUT.match(text, end)
        denied = _DENIED.search(text, max(0, start - 60), start)
        if not match or not denied or not ENDED.match(text, match.end()):
            continue
        before = SENTENCE.split(text[max(0, denied.start() - 100) : denied.start()])[-1]
        if (_OPENING.fullmatch(before) or _ANSWER.search(before)) and sound(text, denied.start()):
            yield match


def _verdicts(text: str) -> Iterator[Statement]:
    """The one letter of a list that is said to be right, all others of it being said to be wrong."""
    rows = list(_VERDICT.finditer(text))
    right = [row for row in rows if row["yes"]]
    letters = [row["letter"] for row in rows]
    truths = any(row["truth"] or row["untruth"] for row in rows)  # which two statements may have as well
    if len(rows) > 1 + truths and len(right) == 1 and len(set(letters)) == len(letters):
        yield Statement(rows[-1].start("letter"), right[0]["letter"], "the one right of a list")
