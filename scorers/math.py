"""Is the final answer mathematically equal to the reference? Integers and equal texts here, the rest by math-verify.

The answer is the last `\\boxed{...}`, else a stated one ("the answer is ..."); never just some number of the text.
math-verify (github.com/huggingface/Math-Verify) runs in worker processes: sympy may take forever on a short answer.
"""

import logging
import re
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from m1eval import Output, Sample, Score, Tools

if find_spec("math_verify") is None:  # told at the start; imported (a second, for sympy) by worker processes alone
    raise ModuleNotFoundError("No module named 'math_verify'", name="math_verify")

LONGEST = 4000  # characters; a longer answer is wrong unseen

_BRACES = re.compile(r"\\\\?(?:boxed|fbox)(?:\s*+\{|\s++([^\s{}$\\]+))|\\.|[{}]", re.DOTALL)
_JSON = re.compile(r'"answer"\s*:\s*(?:"((?:[^"\\]|\\.)*)"|(-?[\d.]+))')
_STATED = re.compile(r"answer(?:\s+to\b[^.\n]{0,80}?)?[\s*]*+(?:is\b|[:：=])[\s*:：]*+", re.IGNORECASE)
_SENTENCE = re.compile(r"(?:(?!\s(?:because|since|where|which)\b|[.!?;](?:[\s*]|$)).)*")
_LATEX = re.compile(r"\$\$(.{1,2000}?)\$\$|\$([^$\n]{1,2000})\$|\\\((.{1,2000}?)\\\)|\\\[(.{1,2000}?)\\\]", re.DOTALL)
_BETWEEN = re.compile(r"[\s,]*(?:and|or)?\s*")

_SIGNS = str.maketrans(
    {"−": "-", "–": "-", "×": r"\times ", "·": r"\cdot ", "π": r"\pi ", "∞": r"\infty ", "°": r"^\circ"}
)
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻ⁿ", "0123456789-n")
_WRAPPED = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|operatorname)\s*\{([^{}]*)\}")
_UNIT = re.compile(r"\\(?:text|textrm|mathrm|mbox)\s*\{\s*([A-Za-z][A-Za-z ./]+)\}(?:\^\{?[23]\}?)?$")
_SCALE = re.compile(r"hundred|dozen|percent|hal[fv]|third|quarter|square|cube|base|mod|\bor\b|and")
_ORDINAL = re.compile(
    r"(?<=\d)\s*\^?\s*\{?\s*\\?(?:text|mathrm|textsuperscript|rm)?\s*\{?\s*(?:st|nd|rd|th)\}*(?: [a-z]+$|$|(?=\\text))"
)
_POWERS = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_POWER = re.compile(r"(?<=\d) ?(?:\\text ?\{)? ?(thousand|million|billion|trillion)\b ?\}?", re.IGNORECASE)
_INTEGER = re.compile(r"([+-]?)(\d+|\d{1,3}(?:(?:,|\{,\}| )\d{3})+)(?:\.0*)?")
_LETTER = re.compile(r"\(?([A-J])\)?")
_OPTION = re.compile(r"\(([A-J])\)(?:\s*[A-Za-z]{2}|\s+\S|$)|([A-J])(?:[.:)]\s*\S|[.:)]?$)")


class Scorer:
    """Right or wrong by mathematical equality; `timeout`: seconds for math-verify on one answer."""

    def __init__(self, *, timeout: float = 5.0):
        self.timeout = timeout

    def gold(self, sample: Sample) -> str:
        """The reference as a model would give it."""
        return f"\\boxed{{{sample.target}}}"

    async def score(self, output: Output, sample: Sample, tools: Tools) -> Score:
        """Grade the final answer; TimeoutError when math-verify does not come to an end."""
        answer = final_answer(output.text)
        if answer is None:
            return Score(value=0, explanation="no boxed or stated answer")
        if len(answer) > LONGEST:
            return Score(value=0, answer=f"{answer[:200]}…", explanation=f"answer longer than {LONGEST} characters")
        verdict = quick_verdict(sample.target, answer)
        if verdict is None:
            verdict = await tools.workers.run(
                slow_verdict, sample.target, answer, _Imported("math_verify"), timeout=self.timeout
            )
        right, rule = verdict
        return Score(value=float(right), answer=answer, explanation=rule)


def final_answer(text: str) -> str | None:
    """The last boxed answer that is not empty, else the last stated one; None if there is neither. Linear in time."""
    return _last_boxed(text) or _last_json(text) or _last_stated(text) or None


def _last_boxed(text: str) -> str:
    last = ""
    opened: list[int] = []  # where each open brace's content starts; -1 for a brace that is no box
    for token in _BRACES.finditer(text):
        if token[0] == "}":
            start = opened.pop() if opened else -1
            if start >= 0:
                last = text[start : token.start()].strip() or last
        elif token[0].endswith("{") and token[0] != r"\{":
            opened.append(token.end() if len(token[0]) > 1 else -1)
        elif token[1]:
            last = token[1].rstrip(".,;:)") or last
    return re.sub(r"\\+(?:boxed|fbox)\s*", "", last)


def _last_json(text: str) -> str:
    found = list(_JSON.finditer(text))
    return (found[-1][2] or found[-1][1].replace('\\"', '"').replace("\\\\", "\\")).strip() if found else ""


def _last_stated(text: str) -> str:
    for anchor in reversed(list(_STATED.finditer(text))):
        formula = _LATEX.match(text, anchor.end())
        if formula:
            found = [formula]
            while more := _LATEX.match(text, _BETWEEN.match(text, found[-1].end()).end()):  # type: ignore[union-attr]
                found.append(more)
        else:
            sentence = _SENTENCE.findall(text[anchor.end() : anchor.end() + 2000])[0].strip(" \t\r*`_,:")
            found = list(_LATEX.finditer(sentence))
            if sentence and len(found) != 1:
                return str(sentence)
        if found:
            return ", ".join("".join(filter(None, part.groups())).strip() for part in found)
    return ""


def quick_verdict(gold: str, answer: str) -> tuple[bool, str] | None:
    """Right or wrong with the rule's name where that is plain without algebra, else None."""
    gold, answer = _tidy(gold), _tidy(answer)
    if _same_text(gold, answer):
        return True, "same text"
    whole, given = _integer(gold), _integer(answer)
    if whole is not None and given is not None:
        return whole == given, "integers"
    return next(((True, rule) for rule, holds in _LENIENT.items() if holds(gold, answer)), None)


class _Imported:
    """An argument that arrives in a worker as the module of this name, imported before the call's clock starts."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __reduce__(self) -> Any:
        return import_module, (self._name,)


def slow_verdict(gold: str, answer: str, math_verify: Any) -> tuple[bool, str]:
    """math-verify's verdict; for a worker process, as it may hang or burst."""
    # Only LatexExtractionConfig: its path (antlr grammar to Symbol, Number, Function; read in math-verify 0.9.0 and
    # latex2sympy2-extended 1.11.0) never hands text to sympify or parse_expr, which would eval it. ExprExtractionConfig
    # does. The pool keeps the time, so the SIGALRM timeouts are off; they cannot stop a long C call anyway.
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that they are off
    latex = [math_verify.LatexExtractionConfig(boxed_match_priority=0)]
    parsed = [math_verify.parse(rf"\boxed{{{_tidy(text)}}}", latex, parsing_timeout=None) for text in (gold, answer)]
    return bool(math_verify.verify(*parsed, timeout_seconds=None)), "math-verify"


def _tidy(text: str) -> str:
    """Without what only dresses an answer: math delimiters, trailing punctuation, Unicode for LaTeX."""
    text = re.sub(r"\s+", " ", text)
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻ⁿ]+", lambda run: f"^{{{run[0].translate(_SUPERSCRIPTS)}}}", text)
    text = re.sub(r"√\s*(\d+|[a-zA-Z])", r"\\sqrt{\1}", text.translate(_SIGNS))
    text = _POWER.sub(lambda found: rf"\cdot 10^{{{_POWERS[found[1].lower()]}}}", text)
    text = re.sub(r"\\?\$|(?<!\\)\\[()\[\]]|\*\*", "", text)
    return text.strip().rstrip(".,;: \\")


def _bare(text: str) -> str:
    """The text for comparison as text: no styles, no degree sign, no blanks but between digits."""
    text = re.sub(r"\\(?:left|right|displaystyle)(?![a-zA-Z])|\\!|\^\{?\\circ\}?", "", text)
    text = re.sub(r"\\[dt]frac", r"\\frac", re.sub(r"\\[,;: ]|~", " ", text))
    return re.sub(r"\s+(?!(?<=\d\s)\d)", "", re.sub(r"\s+", " ", _WRAPPED.sub(r"\1", text)))


def _same_text(gold: str, answer: str) -> bool:
    gold, answer = _bare(gold), _bare(answer)
    words = gold.isalpha() and len(gold) > 1
    return gold == answer or (words and gold.lower() == answer.lower())


def _integer(text: str) -> str | None:
    """The canonical digits of a tidy integer, its thousands separators and unit dropped; None for all else."""
    text = _ORDINAL.sub("", text)
    unit = _UNIT.search(text)
    if unit and not _SCALE.search(unit[1].lower()):
        text = text[: unit.start()].rstrip("\\, ;~")
    number = _INTEGER.fullmatch(_bare(text))
    if number is None:
        return None
    digits = re.sub(r"\D", "", number[2]).lstrip("0") or "0"
    return f"-{digits}" if number[1] == "-" and digits != "0" else digits


def _split(text: str) -> list[str]:
    """A list's values: the text cut at the commas outside all brackets."""
    parts, depth = [""], 0
    for character in text.replace("{,}", "").replace(r"\!", ""):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _same_percent(gold: str, answer: str) -> bool:
    wholes = {_integer(re.sub(r" ?\\?%$", "", text)) for text in (gold, answer)}
    return len(wholes) == 1 and None not in wholes


def _same_option(gold: str, answer: str) -> bool:
    """Whether the answer is the letter of the reference, perhaps with the option's text: `(C) Plane` for `C`."""
    letter, option = _LETTER.fullmatch(_bare(gold)), _OPTION.match(_WRAPPED.sub(r"\1", answer).strip())
    return bool(letter and option and letter[1] in option.groups())


def _same_values(gold: str, answer: str) -> bool:
    """Whether `a=1, b=2` or `(1, 2)` gives the values of a reference that is the bare list `1, 2`."""
    parts = _split(answer)
    if inside := re.fullmatch(r"(?:\\left)?\((.*?)(?:\\right)?\)", answer):
        parts = _split(inside[1])
    values = [_bare(re.sub(r"^[a-zA-Z]\w* ?=", "", part)) for part in parts]
    return len(values) > 1 and values == [_bare(value) for value in _split(gold)]


_LENIENT = {
    "integers, percent sign ignored": _same_percent,
    "option letter": _same_option,
    "same values in the same order": _same_values,
}
