"""An answer that gives the text of an option in place of its letter."""

import re
from collections import deque
from collections.abc import Sequence

from .._boxed import last_boxed
from .._unicode import composed
from .grammar import NOT, SENTENCE
from .letters import LETTERS, plain
from .statements import sound

_STATED = re.compile(r"(?i)\banswer\s{0,3}(?:is|:)\s*+(?:is|:)?\s*+([^\n]{1,400})")
_CHOSEN = re.compile(
    r"(?i:答案(?:应该|应)?(?:是|为|為|[:：])\s{0,3}|(?<!\w)(?:i['’](?:d|ll)|i\s(?:would|will))\s(?:go\swith|choose|pick|select|answer)\s"
    r"|(?<!\w)i\s(?:choose|pick|select)\s)(?P<text>[^\n]{1,400})"
)
_NAMED = re.compile(
    r"(?i)\"(?:final_?|correct_?)?answer\"\s{0,3}:\s{0,3}\"(?P<field>[^\"\n]{1,400})\"|<(?:final_?)?answer>(?P<tag>[^<>]{1,400})</"
)
LONGEST = 600


def named_otherwise(text: str, options: Sequence[str], letter: str) -> str | None:
    """The option that "Answer: A. Lincoln" is, where the letter is a first name's and not that of an option."""
    last = max(text.rfind(word) for word in ("answer", "Answer", "ANSWER"))
    match = _STATED.match(text, last) if last >= 0 else None
    if not match or not re.match(rf"{letter}\.\s?[A-Z][a-z]", match[1]):
        return None
    same = [i for i, option in enumerate(options) if _normalize(option) == _normalize(match[1])]
    return LETTERS[same[0]] if len(same) == 1 else None


def option_given(text: str, options: Sequence[str]) -> tuple[str, str] | None:
    """The letter of the one option whose text is boxed, stated behind "answer", or all of the output."""
    texts = [_normalize(option) for option in options]
    for part in _candidates(text):
        same = [i for i, option in enumerate(texts) if option and option == _normalize(part)]
        if len(same) == 1:
            return LETTERS[same[0]], "text of an option"
        if same:
            return None
    return None


def _candidates(text: str) -> list[str]:
    parts = [last_boxed(text)[: LONGEST + 1]]
    last = max(text.rfind(word) for word in ("answer", "Answer", "ANSWER"))
    if last >= 0 and (match := _STATED.match(text, last)) and sound(text, last):
        parts.append(match[1])
    parts += [match["text"] for match in deque(_CHOSEN.finditer(text), maxlen=1) if _is_choice(text, match.start())]
    parts += [_tag_content(match) for match in deque(_NAMED.finditer(text), maxlen=1)]
    if len(text) <= LONGEST:
        parts.append(text.strip())
    return [part for part in parts if 0 < len(part) <= LONGEST]


def _is_choice(text: str, place: int) -> bool:
    """Whether a choice is made in a sentence that neither supposes nor denies anything before it."""
    before = SENTENCE.split(text[max(0, place - 160) : place])[-1]
    return sound(text, place) and not NOT.search(before) and not _SUPPOSED.search(before)


_SUPPOSED = re.compile(r"(?i)\b(?:if|had|were|unless|suppose)\b|如果|假如|要是")


def _tag_content(match: re.Match[str]) -> str:
    return match["field"] or match["tag"]


def _normalize(text: str) -> str:
    text = plain(composed(text)).casefold().replace("{", "").replace("}", "")
    text = re.sub(r"^(?:an?|the)\s", "", " ".join(text.split()).strip(" .\"'“”"))
    return re.sub(r"\s+", "", text)
