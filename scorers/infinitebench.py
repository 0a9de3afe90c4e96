"""InfiniteBench: a rule for each of its tasks.

Source: OpenBMB/InfiniteBench, src/compute_scores.py: the first whole number (passkey, number_string), a word among
those of the answer (kv_retrieval), a name in it (longdialogue_qa_eng), the last word as a number (code_run), the
first number (math_find), the part of the numbers that is right from the beginning (math_calc), a letter by position
or phrase (longbook_choice_eng, code_debug), F1 of words or characters (longbook_qa), ROUGE-Lsum (longbook_sum_eng;
needs the package rouge-score).

`rule: first` is the code of commit 88b3daa. `rule: fixed` differs from it in three tasks. longdialogue_qa_eng took the
first name alone as one word; now any of the names counts, anywhere in the answer and in any letter case, as the
authors say in a thread of their repository. longbook_choice_eng and code_debug take the last lone letter of the first
line that has one, before all else; that the authors changed these two as well is not confirmed.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal

import m1eval
from m1eval import Context, Output, Sample, Score, UsageError
from m1eval.report.words import short

from ._rows import list_in, text_in

_CHINESE = (
    "！？｡。＂＃＄％＆＇（）＊＋，－／：；＜＝＞＠［＼］＾＿｀｛｜｝～｟"
    "｠｢｣､、〃》「」『』【】〔〕〖〗〘〙〚〛〜〝〞〟〰〾〿–—‘’‛“”„‟…‧﹏."
)
_NO_CHARACTERS = frozenset(string.punctuation + _CHINESE)
_WORD = re.compile(r"[a-z0-9]+")
_MARKS = "\n:\"'.,?!{}"


_LOOKED_FOR = ("longdialogue_qa_eng", "longbook_choice_eng", "code_debug")
"""Tasks that look for the reference at a place of the answer, where an empty one is always found."""

Rule = Literal["fixed", "first"]


class Scorer(m1eval.Scorer):
    """Grades by the rule of the sample's `subtask`; the references are in `answers`, a choice's letter in `letter`.

    `rule`: `fixed` or `first` (commit 88b3daa). `timeout`: seconds for one summary; ROUGE
    is quadratic, so it runs in a worker process. An answer that is not graded in that time gets 0, and the metric
    `at_most` says what its F could have been: the reference is the task's, so it is the answer that takes so long.
    """

    has_votes = False  # the whole output is the answer, and no two are worded alike

    def __init__(self, *, rule: Rule = "fixed", timeout: float = 60.0) -> None:
        if rule not in ("fixed", "first"):
            raise UsageError(f"rule is 'fixed' or 'first', not '{rule}'")
        self.rules = RULES if rule == "fixed" else {**RULES, **FIRST}
        self.timeout = timeout

    async def score(self, output: Output, sample: Sample, context: Context) -> Score:
        """Apply the rule; an empty answer is no answer."""
        subtask, answers, letter = _row(sample)
        text = output.text.strip()
        if not text:
            return Score(value=0.0, explanation="infinitebench: empty answer")
        if subtask == "longbook_sum_eng":
            return await self._summary(text, str(answers[0]), context)
        try:
            value = float(self.rules[subtask](text, answers, letter))
        except (TypeError, ValueError, OverflowError):  # a reference that is no number; answers raise none
            raise UsageError(f"scorer infinitebench: sample {sample.id}: wrong 'answers' for {subtask}") from None
        return Score(value=value, answer=short(text), explanation=f"infinitebench: rule of {subtask}")

    async def _summary(self, text: str, answer: str, context: Context) -> Score:
        try:
            value = await context.workers.run(rouge_l_sum, text, answer, timeout=self.timeout)
        except TimeoutError:
            words = [len(_WORD.findall(side.lower())) for side in (text, answer)]
            most = 2 * min(words) / max(1, sum(words))
            explanation = f"infinitebench: no ROUGE after {self.timeout:g} s; it is at most {most:.4f}, and counts as 0"
            return Score(value=0.0, answer=short(text), explanation=explanation, metrics={"at_most": most})
        return Score(value=value, answer=short(text), explanation="infinitebench: rule of longbook_sum_eng")

    def gold(self, sample: Sample) -> str:
        """The reference in the form that its rule reads."""
        subtask, answers, letter = _row(sample)
        if letter:
            return f"The answer is: {letter}" if subtask == "code_debug" else letter
        if subtask == "math_calc":
            return ", ".join(map(str, _flat(answers)))
        return str(answers[0])


def _row(sample: Sample) -> tuple[str, list[Any], str | None]:
    subtask, letter = text_in(sample, "subtask", "infinitebench"), sample.metadata.get("letter")
    if subtask not in RULES:
        raise UsageError(f"scorer infinitebench: sample {sample.id}: no subtask '{subtask}'")
    answers = list_in(sample, "answers", "infinitebench")
    given = [bool(str(answer).strip()) for answer in answers]
    if not any(given) or (subtask in _LOOKED_FOR and not all(given)):
        raise UsageError(f"scorer infinitebench: sample {sample.id} has an empty text in column 'answers'")
    return subtask, answers, str(letter) if letter else None


def _flat(answers: Sequence[Any]) -> list[Any]:
    return list(answers[0]) if answers and isinstance(answers[0], list) else list(answers)


def _spaced(text: str, marks: str) -> str:
    return text.translate(dict.fromkeys(map(ord, marks), " "))


def _first_whole(text: str, answers: Sequence[Any], letter: str | None) -> bool:
    found = re.search(r"[0-9]+", text)
    return bool(found) and found is not None and found[0] == str(answers[0])


def _among(text: str, answers: Sequence[Any], letter: str | None) -> bool:
    return str(answers[0]) in _spaced(text, _MARKS).split()


def _named(text: str, answers: Sequence[Any], letter: str | None) -> bool:
    text = text.upper()
    return any(str(answer).upper() in text for answer in answers)


def _speaker(text: str, answers: Sequence[Any], letter: str | None) -> bool:
    return str(answers[0]) in [word.upper() for word in _spaced(text, _MARKS).split()]


def _last_whole(text: str, answers: Sequence[Any], letter: str | None) -> bool:
    words = _spaced(text, "\n.`'\":").split()
    try:
        return bool(words) and int(words[-1]) == int(answers[0])
    except ValueError:
        return False


def _first_number(text: str, answers: Sequence[Any], letter: str | None) -> bool:
    found = re.search(r"\d+\.\d+|\d+", text)
    if found is None:
        return False
    wanted = answers[0] if isinstance(answers[0], int | float) else _number(str(answers[0]))
    if isinstance(wanted, int):
        return found[0].isdecimal() and _is_whole(found[0], wanted)
    return float(found[0]) == wanted


def _is_whole(digits: str, wanted: int) -> bool:
    """Whether digits, however many, write a whole number; Python refuses to read more than 4,300 of them."""
    try:
        return int(digits.lstrip("0") or "0") == wanted
    except ValueError:
        return False


def _number(text: str) -> int | float:
    return int(text) if text.lstrip("-").isdecimal() else float(text)


def _from_beginning(text: str, answers: Sequence[Any], letter: str | None) -> float:
    wanted = [int(number) for number in _flat(answers)]
    if not wanted:
        raise ValueError("no numbers")
    right = 0
    for number, found in zip(wanted, re.findall(r"[0-9]+", text), strict=False):
        if not _is_whole(found, number):
            break
        right += 1
    return right / len(wanted)


def _phrase(text: str, phrases: Sequence[str], wanted: Sequence[str]) -> bool | None:
    """Whether one of `wanted` stands behind the first of the phrases that is there; None if none is."""
    for phrase in phrases:
        place = text.find(phrase)
        if place >= 0:
            return text[place + len(phrase) + 1 :].startswith(tuple(wanted))
    return None


def _lone_letter(text: str, letters: str) -> str | None:
    """The last letter that stands alone in the first line that has one; Python's `.` stops at a line feed alone."""
    lone = re.compile(rf"\b[{letters}]\b")
    if first := lone.search(text):
        line = text.find("\n", first.end())
        for last in lone.finditer(text, first.start(), line if line >= 0 else len(text)):
            first = last
        return first[0]
    return None


def _choice_fixed(text: str, answers: Sequence[Any], letter: str | None) -> bool:
    lone = _lone_letter(text, "A-D")
    return (lone is not None and lone in [*map(str, answers), letter]) or _choice(text, answers, letter)


def _bug_fixed(text: str, answers: Sequence[Any], letter: str | None) -> bool:
    if letter and _lone_letter(text, "A-J") == letter:
        return True
    wanted = [label for label in (letter, str(answers[0])) if label]
    plain = _spaced_bug(text)
    return plain.startswith(tuple(wanted)) or bool(_phrase(plain, _BUG, wanted))


_BUG = ("answer is:", "is:", "answer:", "correct option is:")


def _spaced_bug(text: str) -> str:
    return re.sub(" +", " ", re.sub("Option|option", " ", _spaced(text, "\n`'\"-*")))


def _choice(text: str, answers: Sequence[Any], letter: str | None) -> bool:
    labels = [*map(str, answers), *([letter] if letter else [])]
    if text[0] in "ABCD":
        return text[0] in labels
    if text in labels:
        return True
    plain = " ".join(_spaced(text, "\n\"'.,?!{}").split(" "))
    plain = re.sub(" +", " ", plain)
    found = _phrase(plain, ("answer is:", "answer:", "answer is", "option is"), labels)
    if found is not None:
        return found
    return next((word in labels for word in plain.split() if word in "ABCD"), False)


def _bug(text: str, answers: Sequence[Any], letter: str | None) -> bool:
    wanted = [label for label in (letter, str(answers[0])) if label]
    if letter and text[:2] in {f"{letter}.", f"{letter}:"}:
        return True
    return bool(_phrase(_spaced_bug(text), _BUG, wanted))


def _english(text: str) -> list[str]:
    bare = "".join(c for c in text.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", bare).split()


def _characters(text: str) -> list[str]:
    return [c for c in text.lower() if c not in _NO_CHARACTERS and not c.isspace()]


def _f1(split: Callable[[str], list[str]]) -> Callable[[str, Sequence[Any], str | None], float]:
    def best(text: str, answers: Sequence[Any], letter: str | None) -> float:
        found, scores = split(text), [0.0]
        for answer in answers:
            wanted = split(str(answer))
            both = sum((Counter(found) & Counter(wanted)).values())
            scores.append(2 * both / (len(found) + len(wanted)) if both else 0.0)
        return max(scores)

    return best


def rouge_l_sum(text: str, answer: str) -> float:
    """The F of the package rouge-score, for a worker process."""
    from rouge_score.rouge_scorer import RougeScorer

    return float(RougeScorer(["rougeLsum"]).score(answer, text)["rougeLsum"].fmeasure)


def _summary(text: str, answers: Sequence[Any], letter: str | None) -> float:
    return rouge_l_sum(text, str(answers[0]))


RULES: dict[str, Callable[[str, Sequence[Any], str | None], bool | float]] = {
    "passkey": _first_whole,
    "number_string": _first_whole,
    "kv_retrieval": _among,
    "longdialogue_qa_eng": _named,
    "longbook_choice_eng": _choice_fixed,
    "longbook_qa_eng": _f1(_english),
    "longbook_qa_chn": _f1(_characters),
    "longbook_sum_eng": _summary,
    "math_find": _first_number,
    "math_calc": _from_beginning,
    "code_run": _last_whole,
    "code_debug": _bug_fixed,
}
FIRST: dict[str, Callable[[str, Sequence[Any], str | None], bool | float]] = {
    "longdialogue_qa_eng": _speaker,
    "longbook_choice_eng": _choice,
    "code_debug": _bug,
}
"""The rules of commit 88b3daa."""
