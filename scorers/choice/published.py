"""The letter as published graders find it, in linear time and with their verdicts.

`mmlu_pro` is evaluate_from_local.py of TIGER-AI-Lab/MMLU-Pro: the first "answer is (C)", else the last "answer: C" of
the first line that has one, else the last lone letter. Its second pattern there is quadratic in the length
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
    if match := _IS.search(text):
        return match[1], "first 'answer is'"
    if letter := _first_line_letter(text):
        return letter, "'answer:'"
    alone = _last_lone_letter(text)
    return (alone, "last lone letter") if alone else (None, "no letter")


def simple_evals(text: str, letters: str = LETTERS) -> tuple[str | None, str]:
    """The letter as simple-evals finds it, in the case in which it was written; only A to D."""
    match = _SIMPLE.search(text)
    return (match[1], "first 'Answer:'") if match else (None, "no 'Answer: letter'")


def _first_line_letter(text: str) -> str | None:
    """The last "answer: C" of the first line that has one."""
    place = text.find("nswer:")
    while place >= 0:
        if _letter_after_colon(text, place):
            line = text.find("\n", place)
            last = text.rfind("nswer:", place, line if line >= 0 else len(text))
            while not (letter := _letter_after_colon(text, last)):
                last = text.rfind("nswer:", place, last)
            return letter
        place = text.find("nswer:", place + 1)
    return None


def _letter_after_colon(text: str, place: int) -> str | None:
    match = _COLON.match(text, place) if text[place - 1 : place] in ("a", "A") else None
    return match[1] if match else None


def _last_lone_letter(text: str) -> str | None:
    """The last lone letter, searched from the end in growing pieces."""
    size, end = 1024, len(text)
    while end:
        start = max(0, end - size)
        if matches := list(_ALONE.finditer(text, start, end)):
            letters = [match for match in matches if _ALONE.match(text, match.start())]
            if letters:
                return letters[-1][0]
        size, end = size * 4, start
    return None
