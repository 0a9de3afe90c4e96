"""An answer that gives the text of an option in place of its letter."""

import re
from collections import deque
from collections.abc import Sequence

from .._boxed import last_boxed
from .._unicode import composed
from .letters import LETTERS, plain

_STATED = re.compile(r"(?i)\banswer\s{0,3}(?:is|:)\s*+(?:is|:)?\s*+([^\n]{1,400})")
_NAMED = re.compile(
    r"(?i)\"(?:final_?|correct_?)?answer\"\s{0,3}:\s{0,3}\"(?P<field>[^\"\n]{1,400})\"|<(?:final_?)?answer>(?P<tag>[^<>]{1,400})</"
)
LONGEST = 600


def option_given(text: str, options: Sequence[str]) -> tuple[str, str] | None:
    """The letter of the one option whose text is boxed, stated behind "answer", or all of the output."""
    wanted = [_bare(option) for option in options]
    for part in _parts(text):
        same = [i for i, option in enumerate(wanted) if option and option == _bare(part)]
        if len(same) == 1:
            return LETTERS[same[0]], "text of an option"
        if same:
            return None
    return None


def _parts(text: str) -> list[str]:
    parts = [last_boxed(text)[: LONGEST + 1]]
    last = max(text.rfind(word) for word in ("answer", "Answer", "ANSWER"))
    if last >= 0 and (found := _STATED.match(text, last)):
        parts.append(found[1])
    parts += [_inside(found) for found in deque(_NAMED.finditer(text), maxlen=1)]
    if len(text) <= LONGEST:
        parts.append(text.strip())
    return [part for part in parts if 0 < len(part) <= LONGEST]


def _inside(found: re.Match[str]) -> str:
    return found["field"] or found["tag"]


def _bare(text: str) -> str:
    text = plain(composed(text)).casefold().replace("{", "").replace("}", "")
    text = re.sub(r"^(?:an?|the)\s", "", " ".join(text.split()).strip(" .\"'“”"))
    return re.sub(r"\s+", "", text)
