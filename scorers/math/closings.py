"""Closing sentences after an answer: a farewell, or "I think that's the answer."."""

import re

_FAREWELL = re.compile(
    r"(?:let me know|(?:please )?feel free|(?:I )?hope (?:this|that|it)|if you have any|good luck)\b[^\n]{0,200}\Z",
    re.IGNORECASE,
)
_AFFIRMS = re.compile(
    r"(?:(?:so|and|yes|overall),? )?I(?:['’]m (?:pretty |quite |fairly )?(?:confident|sure)| think| believe)(?: that)?"
    r" (?:that|this|it)(?:['’]s| is| should be| must be) (?:the |my )?(?:right |correct |final )*"
    r"(?:answer|solution|result)\.?\Z",
    re.IGNORECASE,
)
_CHECKED = re.compile(
    r"(?:that|this|it|everything|all of (?:it|this|that))(?: all)?(?: also)?(?: seems to| appears to)?"
    r" (?:looks? (?:good|right|correct|fine)|checks? out|adds? up|makes? sense|works?)(?: correctly| fine)?[.!]\Z",
    re.IGNORECASE,
)
_REJECTS = re.compile(
    r"\b(?:(?:do|does|can|could|is)n['’]t|cannot|not)\b[^.\n]{0,40}\b(?:answer|right|correct)\b"
    r"|\b(?:is|was|['’]s|be|looks|seems) (?:wrong|incorrect|mistaken|a mistake)\b",
    re.IGNORECASE,
)
_MOST_SENTENCES = 3


def strip_closing(text: str) -> tuple[str, bool]:
    """The text up to a farewell or to "I think that's the answer.", and whether the latter was there."""
    before, _, line = text.rpartition("\n")
    if _FAREWELL.match(line.strip()):
        return before.strip(), False
    affirmed = False
    for _ in range(_MOST_SENTENCES):
        before, last = last_sentence(text)
        if not (_AFFIRMS.match(last) or (affirmed and _CHECKED.match(last))):
            break
        text, affirmed = before, True
    return text, affirmed


def last_sentence(text: str) -> tuple[str, str]:
    """A text before its last sentence or line, and that sentence."""
    last = re.split(r"(?<=[.!?])\s+|\n+", text)[-1]
    return text[: len(text) - len(last)].rstrip(), last.strip()


def rejects(sentence: str) -> bool:
    """Whether a sentence says that the text before it is wrong."""
    return _REJECTS.search(sentence) is not None
