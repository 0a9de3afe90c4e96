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
from m1eval.text import shorten

from ._columns import list_in, text_in

_CHINESE = (
    "！？｡。＂＃＄％＆＇（）＊＋，－／：；＜＝＞＠［＼］＾＿｀｛｜｝～｟"
    "｠｢｣､、〃》「」『』【】〔〕〖〗〘〙〚〛〜〝〞〟〰〾〿–—‘’‛“”„‟…‧﹏."
)
_NO_CHARACTERS = frozenset(string.punctuation + _CHINESE)
_WORD = re.compile(r"[a-z0-9]+")
_PUNCTUATION = "\n:\"'.,?!{}"


_SEARCHED = ("longdialogue_qa_eng", "longbook_choice_eng", "code_debug")
"""Tasks that look for the reference at a place of the answer, where an empty one is always found."""

Rule = Literal["fixed", "first"]


class Scorer(m1eval.Scorer):
    """Grades by the rule of the sample's `subtask`; the references are in `answers`, a choice's letter in `letter`.

    `rule`: `fixed` or `first` (commit 88b3daa). `timeout`: seconds for one summary; ROUGE
    is quadratic, so it runs in a worker process. An answer that is not graded in that time gets 0, and the metric
    `at_most` says what its F could have been: the reference is the task's, so it is the answer that takes so long.
    """

    supports_majority_vote = False  # the whole output is the answer, and wordings differ

    def __init__(self, *, rule: Rule = "fixed", timeout: float = 60.0) -> None:
        if rule not in ("fixed", "first"):
            raise UsageError(f"rule is 'fixed' or 'first', not '{rule}'")
        self.rules = RULES if rule == "fixed" else {**RULES, **FIRST}
        self.timeout = timeout

    async def score(self, output: Output, sample: Sample, context: Context) -> Score:
        """Apply the rule; an empty answer counts as no answer."""
        subtask, answers, letter = _row(sample)
        text = output.text.strip()
        if not text:
            return Score(value=0.0, explanation="infinitebench: empty answer")
        if subtask == "longbook_sum_eng":
            return await self._summary(text, str(answers[0]), context)
        try:
            value = float(self.rules[subtask](text, answers, letter))
        except (TypeError, ValueError, OverflowError):  # a reference that is not a number; answers never raise
            raise UsageError(f"scorer infinitebench: sample {sample.id}: wrong 'answers' for {subtask}") from None
        return Score(value=value, answer=shorten(text), explanation=f"infinitebench: rule of {subtask}")

    async def _summary(self, text: str, answer: str, context: Context) -> Score:
        try:
            value = await context.workers.run(rouge_l_sum, text, answer, timeout=self.timeout)
        except TimeoutError:
            words = [len(_WORD.findall(side.lower())) for side in (text, answer)]
            bound = 2 * min(words) / max(1, sum(words))
            explanation = (
                f"infinitebench: no ROUGE after {self.timeout:g} s; it is at most {bound:.4f}, and counts as 0"
            )
            return Score(value=0.0, answer=shorten(text), explanation=explanation, metrics={"at_most": bound})
        return Score(value=value, answer=shorten(text), explanation="infinitebench: rule of longbook_sum_eng")

    def gold(self, sample: Sample) -> str:
        """The reference in the form that its rule reads."""
        subtask, answers, letter = _row(sample)
        if letter:
            return f"The answer is: {letter}" if subtask == "code_debug" else letter
        if subtask == "math_calc":
            return ", ".join(map(str, _flatten(answers)))
        return str(answers[0])


def _row(sample: Sample) -> tuple[str, list[Any], str | None]:
    subtask, letter = text_in(sample, "subtask", "infinitebench"), sample.metadata.get("letter")
    if subtask not in RULES:
        raise UsageError(f"scorer infinitebench: sample {sample.id}: no subtask '{subtask}'")
    answers = list_in(sample, "answers", "infinitebench")
    filled = [bool(str(answer).strip()) for answer in answers]
    if not any(filled) or (subtask in _SEARCHED and not all(filled)):
        raise UsageError(f"scorer infinitebench: sample {sample.id} has an empty text in column 'answers'")
    return subtask, answers, str(letter) if letter else None


def _flatten(answers: Sequence[Any]) -> list[Any]:
    return list(answers[0]) if answers and isinstance(answers[0], list) else list(answers)


def _blank_out(text: str, marks: str) -> str:
    return text.translate(dict.fromkeys(map(ord, marks), " "))


def _first_whole(text: str, answers: Sequence[Any], letter: str | None) -> bool:
    match = re.search(r"[0-9]+", text)
    return bool(match) and match is not None and match[0] == str(answers[0])


def _is_a_word(text: str, answers: Sequence[Any], letter: str | None) -> bool:
    return str(answers[0]) in _blank_out(text, _PUNCTUATION).split()


def _any_name(text: str, answers: Sequence[Any], letter: str | None) -> bool:
    text = text.upper()
    return any(str(answer).upper() in text for answer in answers)


def _first_name(text: str, answers: Sequence[Any], letter: str | None) -> bool:
    return str(answers[0]) in [word.upper() for word in _blank_out(text, _PUNCTUATION).split()]


def _last_whole(text: str, answers: Sequence[Any], letter: str | None) -> bool:
    words = _blank_out(text, "\n.`'\":").split()
    try:
        return bool(words) and int(words[-1]) == int(answers[0])
    except ValueError:
        return False


def _first_number(text: str, answers: Sequence[Any], letter: str | None) -> bool:
    match = re.search(r"\d+\.\d+|\d+", text)
    if match is None:
        return False
    expected = answers[0] if isinstance(answers[0], int | float) else _number(str(answers[0]))
    if isinstance(expected, int):
        return match[0].isdecimal() and _is_whole(match[0], expected)
    return float(match[0]) == expected


def _is_whole(digits: str, expected: int) -> bool:
    """Whether digits, however many, write a whole number; Python refuses to read more than 4,300 of them."""
    try:
        return int(digits.lstrip("0") or "0") == expected
    except ValueError:
        return False


def _number(text: str) -> int | float:
    return int(text) if text.lstrip("-").isdecimal() else float(text)


def _from_beginning(text: str, answers: Sequence[Any], letter: str | None) -> float:
    expected = [int(number) for number in _flatten(answers)]
    if not expected:
        raise ValueError("no numbers")
    right = 0
    for number, digits in zip(expected, re.findall(r"[0-9]+", text), strict=False):
        if not _is_whole(digits, number):
            break
        right += 1
    return right / len(expected)


def _after_phrase(text: str, phrases: Sequence[str], labels: Sequence[str]) -> bool | None:
    """Whether one of the labels follows the first of the phrases that occurs; None if none occurs."""
    for phrase in phrases:
        place = text.find(phrase)
        if place >= 0:
            return text[place + len(phrase) + 1 :].startswith(tuple(labels))
    return None


def _lone_letter(text: str, letters: str) -> str | None:
    """The last lone letter of the first line that has one; Python's `.` stops only at a line feed."""
    lone = re.compile(rf"\b[{letters}]\b")
    if first := lone.search(text):
        line = text.find("\n", first.end())
        for last in lone.finditer(text, first.start(), line if line >= 0 else len(text)):
            first = last
        return first[0]
    return None


def _choice(text: str, answers: Sequence[Any], letter: str | None) -> bool:
    lone = _lone_letter(text, "A-D")
    return (lone is not None and lone in [*map(str, answers), letter]) or _choice_first(text, answers, letter)


def _function(text: str, answers: Sequence[Any], letter: str | None) -> bool:
    if letter and _lone_letter(text, "A-J") == letter:
        return True
    labels = [label for label in (letter, str(answers[0])) if label]
    plain = _blank_out_marks(text)
    return plain.startswith(tuple(labels)) or bool(_after_phrase(plain, _PHRASES, labels))


_PHRASES = ("answer is:", "is:", "answer:", "correct option is:")


def _blank_out_marks(text: str) -> str:
    return re.sub(" +", " ", re.sub("Option|option", " ", _blank_out(text, "\n`'\"-*")))


def _choice_first(text: str, answers: Sequence[Any], letter: str | None) -> bool:
    labels = [*map(str, answers), *([letter] if letter else [])]
    if text[0] in "ABCD":
        return text[0] in labels
    if text in labels:
        return True
    plain = " ".join(_blank_out(text, "\n\"'.,?!{}").split(" "))
    plain = re.sub(" +", " ", plain)
    right = _after_phrase(plain, ("answer is:", "answer:", "answer is", "option is"), labels)
    if right is not None:
        return right
    return next((word in labels for word in plain.split() if word in "ABCD"), False)


def _function_first(text: str, answers: Sequence[Any], letter: str | None) -> bool:
    labels = [label for label in (letter, str(answers[0])) if label]
    if letter and text[:2] in {f"{letter}.", f"{letter}:"}:
        return True
    return bool(_after_phrase(_blank_out_marks(text), _PHRASES, labels))


def _english(text: str) -> list[str]:
    bare = "".join(c for c in text.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", bare).split()


def _characters(text: str) -> list[str]:
    return [c for c in text.lower() if c not in _NO_CHARACTERS and not c.isspace()]


def _f1(split: Callable[[str], list[str]]) -> Callable[[str, Sequence[Any], str | None], float]:
    def best(text: str, answers: Sequence[Any], letter: str | None) -> float:
        answer_parts, scores = split(text), [0.0]
        for answer in answers:
            parts = split(str(answer))
            shared = sum((Counter(answer_parts) & Counter(parts)).values())
            scores.append(2 * shared / (len(answer_parts) + len(parts)) if shared else 0.0)
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
    "kv_retrieval": _is_a_word,
    "longdialogue_qa_eng": _any_name,
    "longbook_choice_eng": _choice,
    "longbook_qa_eng": _f1(_english),
    "longbook_qa_chn": _f1(_characters),
    "longbook_sum_eng": _summary,
    "math_find": _first_number,
    "math_calc": _from_beginning,
    "code_run": _last_whole,
    "code_debug": _function,
}
FIRST: dict[str, Callable[[str, Sequence[Any], str | None], bool | float]] = {
    "longdialogue_qa_eng": _first_name,
    "longbook_choice_eng": _choice_first,
    "code_debug": _function_first,
}
"""The rules of commit 88b3daa."""
