"""The letter of a multiple-choice answer. Every rule takes linear time, on a megabyte without a line break too.

`rule: m1eval` (default) looks, for, in order: the last `\\boxed{...}` with a letter in it; the last `"answer": "C"`
of a JSON object; the last "answer is C", "answer: C", "correct option is C" and so on; an output that is nothing but
a letter, or a letter and its option's text; the last line if it is that. Letters beyond the options are no answers.

`rule: mmlu_pro` is evaluate_from_local.py of TIGER-AI-Lab/MMLU-Pro: the first "answer is (C)", else the first line's
last "answer: C", else the last letter that stands alone. Its own second pattern is quadratic in the length of a line;
this one finds the same. `rule: simple_evals` is gpqa_eval.py of openai/simple-evals: the first "Answer: C" in any case.
"""

import random
import re
from collections.abc import Callable
from typing import Any, Literal

from m1eval import Output, Sample, Score, Tools, UsageError
from m1eval.report.words import short

from ._boxed import last_boxed

LETTERS = "ABCDEFGHIJ"
Rule = Literal["m1eval", "mmlu_pro", "simple_evals"]

MENTIONS = 1000
"""How many mentions of an answer are looked at, from the last one back."""

_IS = re.compile(r"answer is \(?([A-J])\)?")
_COLON = re.compile(r"nswer:\s*+([A-J])")
_ALONE = re.compile(r"\b[A-J]\b")
_SIMPLE = re.compile(r"(?i:Answer)[ \t]*+:[ \t]*+\$?([A-Da-d])\$?")

_DRESS = r"[\s*_`$(\[{\"'\\]{0,12}(?:(?i:text|textbf|mathrm|mathbf|boxed|option|choice)[\s{(]{0,4})?[*_`$(]{0,4}"
_WORDS = ("answer", "option", "choice", "correct statement", "right statement", "correct letter", "right letter")
_MENTIONS = tuple(form for word in _WORDS for form in (word, word.capitalize(), word.upper()))
_STATED = re.compile(rf"[\s*_]{{0,6}}(?:(?i:\bis\b)|[:：=]){_DRESS}([A-J])(?![A-Za-z0-9'’]|(?<=I) [a-z])")
_JSON = re.compile(r'"answer"\s*+:\s*+"\(?([A-J])\b')
_WHOLE = re.compile(r"[\s*_`$(\[{\"'\\]*+(?:(?:text|textbf|mathrm)\{\(?)?([A-J])(?:[)\]}*_`$.\"'\s]*+$|[).:]{1,2}\s)")


class Scorer:
    """1 if the letter is the target's; `options`: how many there are, or the column that holds them as a list.

    `no_answer: guess` gives an output without a letter a random one (drawn from the sample's id), as MMLU-Pro's code
    does; the default leaves it unparsed.
    """

    def __init__(
        self, *, rule: Rule = "m1eval", options: int | str = 10, no_answer: Literal["wrong", "guess"] = "wrong"
    ) -> None:
        if rule not in RULES:
            raise UsageError(f"rule is one of {', '.join(RULES)}, not '{rule}'")
        if no_answer not in ("wrong", "guess"):
            raise UsageError(f"no_answer is 'wrong' or 'guess', not '{no_answer}'")
        if isinstance(options, int) and not 2 <= options <= len(LETTERS):
            raise UsageError(f"options is a number from 2 to {len(LETTERS)} or the name of a column, not {options}")
        self.rule = rule
        self.options = options
        self.guess = no_answer == "guess"

    async def score(self, output: Output, sample: Sample, tools: Tools) -> Score:
        """Compare the letter found with the target's."""
        number = self._number(sample.metadata)
        letter, how = RULES[self.rule](output.text, LETTERS[:number])
        if letter is None and self.guess and output.text.strip():
            letter = random.Random(f"12345 {sample.id}").choice(LETTERS[:number])
            how = "no letter, so a random one"
        if letter is None:
            return Score(value=0.0, explanation=f"choice {self.rule}: {how}")
        right = letter == sample.target.strip().strip("()").upper()
        return Score(value=float(right), answer=short(letter), explanation=f"choice {self.rule}: {how}")

    def gold(self, sample: Sample) -> str:
        """A sentence that every rule reads alike."""
        letter = sample.target.strip().strip("()").upper()
        return f"The answer is ({letter}).\nAnswer: {letter}"

    def _number(self, metadata: dict[str, Any]) -> int:
        if isinstance(self.options, int):
            return self.options
        listed = metadata.get(self.options)
        if not isinstance(listed, list | tuple) or not 2 <= len(listed) <= len(LETTERS):
            raise UsageError(f"scorer choice: column '{self.options}' holds no list of 2 to {len(LETTERS)} options")
        return len(listed)


def letter_of(text: str, letters: str = LETTERS) -> tuple[str | None, str]:
    """The letter by our own order and the rule that found it; None with the reason."""
    if not text.strip():
        return None, "empty answer"
    if (found := _WHOLE.match(last_boxed(text))) and found[1] in letters:
        return found[1], "boxed letter"
    if (quoted := list(_JSON.finditer(text))) and quoted[-1][1] in letters:
        return quoted[-1][1], "JSON answer"
    if stated := _last_stated(text, letters):
        return stated, "stated letter"
    for part, name in ((text.strip(), "whole answer"), (text.rstrip().rpartition("\n")[2], "last line")):
        if (found := _WHOLE.match(part[:2000])) and found[1] in letters:
            return found[1], name
    return None, "no letter is given as the answer"


def mmlu_pro(text: str, letters: str = LETTERS) -> tuple[str | None, str]:
    """The letter as MMLU-Pro's code finds it."""
    if found := _IS.search(text):
        return found[1], "first 'answer is'"
    if letter := _colon(text):
        return letter, "'answer:'"
    alone = _last_alone(text)
    return (alone, "last lone letter") if alone else (None, "no letter")


def simple_evals(text: str, letters: str = LETTERS) -> tuple[str | None, str]:
    """The letter as simple-evals finds it."""
    found = _SIMPLE.search(text)
    return (found[1].upper(), "first 'Answer:'") if found else (None, "no 'Answer: letter'")


def _last_stated(text: str, letters: str) -> str | None:
    """The letter behind the last mention of an answer, sought from the end by plain search, which is quick."""
    last = {word: text.rfind(word) for word in _MENTIONS}
    for _ in range(MENTIONS):
        word = max(last, key=lambda each: last[each])
        place = last[word]
        if place < 0:
            return None
        found = _STATED.match(text, place + len(word))
        if found and found[1] in letters and not text[max(0, place - 1) : place].isalpha():
            return found[1]
        last[word] = text.rfind(word, 0, place)
    return None


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


RULES: dict[str, Callable[[str, str], tuple[str | None, str]]] = {
    "m1eval": letter_of,
    "mmlu_pro": mmlu_pro,
    "simple_evals": simple_evals,
}
