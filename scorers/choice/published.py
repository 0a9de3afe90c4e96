"""The letter as published graders find it, in linear time and with their verdicts.

`mmlu_pro` is evaluate_from_local.py of TIGER-AI-Lab/MMLU-Pro: the first "answer is (C)", else the last "answer: C" of
the first line that has one, else the last letter that stands alone. Its second pattern there is quadratic in the length
of a line. `simple_evals` is gpqa_eval.py of openai/simple-evals: the first "Answer: C" in any letter case. The
letter is compared as it was written, so that "answer: c" is wrong where the target is C.
"""

import re

from .letters import LETTERS

_IS = re.compile(r"answer is \(?([A-J])\)?")
_COLON = re.compile(r"nswer:\s*+([A-J])")
_ALONE = re.compile(r"\b[A-J]\b")
_SIMPLE = re.compile(r"(?i)answer[ \t]*+:[ \t]*+\$?([A-D])")


def mmlu_pro(text: str, letters: str = LETTERS) -> tuple[str | None, str]:
    """The letter as MMLU-Pro's code finds it; options that a question does not have are letters there too."""
    if found := _IS.search(text):
        return found[1], "first 'answer is'"
    if letter := _colon(text):
        return letter, "'answer:'"
    alone = _last_alone(text)
    return (alone, "last lone letter") if alone else (None, "no letter")


def simple_evals(text: str, letters: str = LETTERS) -> tuple[str | None, str]:
    """The letter as simple-evals finds it, in the case in which it was written; only A to D."""
    found = _SIMPLE.search(text)
    return (found[1], "first 'Answer:'") if found else (None, "no 'Answer: letter'")


def _colon(text: str) -> str | None:
    """The last "answer: C" of the first line that has one."""
    place = text.find("nswer:")
    while place >= 0:
        if _colon_at(text, place):
            line = text.find("\n", place)
            last = text.rfind("nswer:", place, line if line >= 0 else len(text))
            while not (letter := _colon_at(text, last)):
                last = text.rfind("nswer:", place, last)
            return letter
        place = text.find("nswer:", place + 1)
    return None


def _colon_at(text: str, place: int) -> str | None:
    found = _COLON.match(text, place) if text[place - 1 : place] in ("a", "A") else None
    return found[1] if found else None


def _last_alone(text: str) -> str | None:
    """The last letter that stands alone, sought from the end in pieces that grow."""
    size, end = 1024, len(text)
    while end:
        start = max(0, end - size)
        if found := list(_ALONE.finditer(text, start, end)):
            whole = [match for match in found if _ALONE.match(text, match.start())]
            if whole:
                return whole[-1][0]
        size, end = size * 4, start
    return None
