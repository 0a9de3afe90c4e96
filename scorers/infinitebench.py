"""InfiniteBench: a rule for each of its tasks.

Source: OpenBMB/InfiniteBench, src/compute_scores.py: the first whole number (passkey, number_string), a word among
those of the answer (kv_retrieval, longdialogue_qa_eng), the last word as a number (code_run), the first number
(math_find), the part of the numbers that is right from the beginning (math_calc), a letter by position or phrase
(longbook_choice_eng, code_debug), F1 of words or characters (longbook_qa), ROUGE-Lsum (longbook_sum_eng; needs the
package rouge-score).
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from m1eval import Output, Sample, Score, Tools, UsageError
from m1eval.report.words import short

_CHINESE = (
    "！？｡。＂＃＄％＆＇（）＊＋，－／：；＜＝＞＠［＼］＾＿｀｛｜｝～｟"
    "｠｢｣､、〃》「」『』【】〔〕〖〗〘〙〚〛〜〝〞〟〰〾〿–—‘’‛“”„‟…‧﹏."
)
_NO_CHARACTERS = frozenset(string.punctuation + _CHINESE)
_WORD = re.compile(r"[a-z0-9]+")
NEAR = 0.02
"""An F that counts as 0 where it cannot be had in time."""
_MARKS = "\n:\"'.,?!{}"


class Scorer:
    """Grades by the rule of the sample's `subtask`; the references are in `answers`, a choice's letter in `letter`.

    `timeout`: seconds for one summary; ROUGE is quadratic, so it is reckoned in a worker process. A summary that is not
    graded in that time gets 0 if its F cannot be above NEAR, as for one a hundred times too long, else it is errored.
    """

    def __init__(self, *, timeout: float = 60.0) -> None:
        self.timeout = timeout

    async def score(self, output: Output, sample: Sample, tools: Tools) -> Score:
        """Apply the rule; an empty answer is no answer."""
        subtask, text = str(sample.metadata["subtask"]), output.text.strip()
        if subtask not in RULES:
            raise UsageError(f"scorer infinitebench: no subtask '{subtask}'")
        if not text:
            return Score(value=0.0, explanation="infinitebench: empty answer")
        answers, letter = list(sample.metadata["answers"]), sample.metadata.get("letter")
        if subtask == "longbook_sum_eng":
            return await self._summary(text, str(answers[0]), tools)
        value = float(RULES[subtask](text, answers, letter))
        return Score(value=value, answer=short(text), explanation=f"infinitebench: rule of {subtask}")

    async def _summary(self, text: str, answer: str, tools: Tools) -> Score:
        try:
            value = await tools.workers.run(rouge_l_sum, text, answer, timeout=self.timeout)
        except TimeoutError:
            words = [len(_WORD.findall(side.lower())) for side in (text, answer)]
            most = 2 * min(words) / max(1, sum(words))
            if most > NEAR:
                raise TimeoutError(
                    f"infinitebench: no ROUGE after {self.timeout:g} s; it is at most {most:.3f}"
                ) from None
            explanation = f"infinitebench: no ROUGE after {self.timeout:g} s; it is at most {most:.4f}, and counts as 0"
            return Score(value=0.0, answer=short(text), explanation=explanation, metrics={"at_most": most})
        return Score(value=value, answer=short(text), explanation="infinitebench: rule of longbook_sum_eng")

    def gold(self, sample: Sample) -> str:
        """The reference in the form that its rule reads."""
        answers, letter = list(sample.metadata["answers"]), sample.metadata.get("letter")
        if letter:
            return f"The answer is: {letter}" if sample.metadata["subtask"] == "code_debug" else str(letter)
        if sample.metadata["subtask"] == "math_calc":
            return ", ".join(map(str, _flat(answers)))
        return str(answers[0])


def _flat(answers: Sequence[Any]) -> list[Any]:
    return list(answers[0]) if answers and isinstance(answers[0], list) else list(answers)


def _spaced(text: str, marks: str) -> str:
    return text.translate(dict.fromkeys(map(ord, marks), " "))


def _first_whole(text: str, answers: Sequence[Any], letter: str | None) -> bool:
    found = re.search(r"[0-9]+", text)
    return bool(found) and found is not None and found[0] == str(answers[0])


def _among(text: str, answers: Sequence[Any], letter: str | None) -> bool:
    return str(answers[0]) in _spaced(text, _MARKS).split()


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
    plain = re.sub("Option|option", " ", _spaced(text, "\n`'\"-*"))
    plain = re.sub(" +", " ", plain)
    return bool(_phrase(plain, ("answer is:", "is:", "answer:", "correct option is:"), wanted))


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
    "longdialogue_qa_eng": _speaker,
    "longbook_choice_eng": _choice,
    "longbook_qa_eng": _f1(_english),
    "longbook_qa_chn": _f1(_characters),
    "longbook_sum_eng": _summary,
    "math_find": _first_number,
    "math_calc": _from_beginning,
    "code_run": _last_whole,
    "code_debug": _bug,
}
