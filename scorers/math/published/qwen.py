"""Qwen2.5-Math's rule: evaluation/parser.py, grader.py and math_eval.py of QwenLM/Qwen2.5-Math.

Numbers are equal to four digits, also times and over 100; brackets hardly count; what remains is read by the first
grammar that can: sympy's for LaTeX, its parser of expressions, latex2sympy.
"""

import math
import re
from typing import Any

from .qwen_symbols import same_formula
from .qwen_text import last_answer, stripped

_CHOICES = ("A", "B", "C", "D", "E")
_CHOICE = re.compile(r"\b[A-E]\b")
_BRACKETS = re.compile(r"[(\[].+[)\]]")  # not up to the end, as there
_BARE = str.maketrans("", "", "{}()")


def answer_of(text: str) -> str:
    """The answer of an output as written there; empty if there is none."""
    text = text.strip()
    return "" if text == "error" else last_answer(text)


def grade(text: str, answer: str, gold: str) -> tuple[bool, str]:
    """The verdict on an answer that `answer_of` found in a text, and the rule that decided."""
    text, answer, gold = text.strip(), stripped(stripped(answer)), stripped(stripped(gold))
    if text in ("", "error"):
        return False, "no answer"
    if gold in _CHOICES and answer not in _CHOICES:
        answer = _stated_letter(text)
    elif set(gold) <= set(_CHOICES) and not set(answer) <= set(_CHOICES):
        answer = "".join(letter for letter in answer if letter in _CHOICES)
    return _same(answer, gold)


def _stated_letter(text: str) -> str:
    """The first letter after the last "choice is" or "answer is", else the last one of the text, else the text."""
    text = text.strip("\n")
    if text.count("choice is") > 1 or text.count("answer is") > 1:
        text = text.partition("\n\n")[0]
    *before, text = re.split("choice is|answer is", text)
    return _letter(text, first=bool(before))


def _letter(text: str, *, first: bool = False) -> str:
    text = text.strip("\n").rstrip(".").rstrip("/").strip(" ").lstrip(":")
    letters = _CHOICE.findall(text.upper())
    chosen: str = letters[0 if first else -1] if letters else text.strip().strip(".")
    return chosen.rstrip(".").rstrip("/")


def _same(answer: str, gold: str) -> tuple[bool, str]:  # noqa: PLR0911 - a rule, a return
    if answer.strip().lower() == gold.strip().lower():
        return True, "same string"
    if gold in _CHOICES and _letter(answer) == gold:
        return True, "same letter"
    numbers = _digits(answer), _digits(gold)
    if numbers[0] is not None and numbers[1] is not None:
        scales = numbers[1] / 100, numbers[1], numbers[1] * 100
        return any(math.isclose(value, numbers[0], rel_tol=1e-4) for value in scales), "numbers to four digits"
    if not answer:
        return False, "empty"
    answer, gold = answer.strip(), gold.strip()
    if "pmatrix" in answer and "pmatrix" not in gold:
        gold = _as_matrices(gold)
    if _without_brackets(answer, gold):
        return True, "same string without brackets"
    for cells in _parts(answer, gold), _rows(answer, gold):
        if cells is not None and all(_same(*pair)[0] for pair in cells):
            return True, "value by value"
    return _equations(answer, gold) or (same_formula(answer, gold), "symbolic")


def _digits(text: str) -> float | None:
    """The number that a text is, thousands separators and a percent sign read."""
    text = text.replace(",", "")
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return float(text.removesuffix("%").removesuffix("\\")) / 100 if text.endswith("%") else None
    except ValueError:
        return None


def _as_matrices(text: str) -> str:
    """The sets of a text as matrices; the published code writes one backslash between their rows."""
    sets = [part.strip("{}").replace(",", "\\") for part in re.findall(r"\{.*,.*\}", text)]
    return ", ".join(rf"\begin{{pmatrix}}{inside}\end{{pmatrix}}" for inside in sets)


def _without_brackets(answer: str, gold: str) -> bool:
    """Whether two texts are the same but for brackets; square ones go if not the reference alone has round ones."""
    outer = answer[:1] + answer[-1:], gold[:1]
    if (outer[0] == "[]" and outer[1] != "(") or (outer[0] == "()" and outer[1] != "["):
        answer, gold = answer.strip("[]()"), gold.strip("[]()")
    return answer.translate(_BARE).lower() == gold.translate(_BARE).lower()


def _parts(answer: str, gold: str) -> list[tuple[str, str]] | None:
    """The values of two texts that begin with brackets, in pairs; None where there are not as many."""
    if not (_BRACKETS.match(answer) and _BRACKETS.match(gold)):
        return None
    return _paired(answer[1:-1].split(","), gold[1:-1].split(","))


def _rows(answer: str, gold: str) -> list[tuple[str, str]] | None:
    """The cells of two matrices in pairs; None where the shapes differ."""
    sides = []
    for text in (answer, gold):
        if not text.startswith((r"\begin{pmatrix}", r"\begin{bmatrix}")):
            return None
        if not text.endswith((r"\end{pmatrix}", r"\end{bmatrix}")):
            return None
        lines = text[len(r"\begin{pmatrix}") : -len(r"\end{pmatrix}")].split("\\\\")
        sides.append([row.strip().split("&") for row in lines if row.strip()])
    rows = _paired(*sides)
    cells = [_paired(*pair) for pair in rows] if rows is not None else [None]
    return None if None in cells else [pair for row in cells for pair in row or ()]


def _paired(one: list[Any], other: list[Any]) -> list[tuple[Any, Any]] | None:
    return list(zip(one, other, strict=True)) if len(one) == len(other) else None


def _equations(answer: str, gold: str) -> tuple[bool, str] | None:
    """The verdict on equations by their sides, or without a short name in front; None where that decides nothing."""
    sides = [[side.strip() for side in text.split("=")] for text in (answer, gold)]
    counts = len(sides[0]), len(sides[1])
    if counts == (2, 2):
        one, other = (f"{left} - ({right})" for left, right in sides)
        right = same_formula(one, other) or same_formula(f"-({one})", other)
    elif counts == (2, 1) and len(sides[0][0]) <= 2:
        right = _same(answer.split("=")[1], gold)[0]
    elif counts == (1, 2) and len(sides[1][0]) <= 2:
        right = _same(answer, gold.split("=")[1])[0]
    else:
        return None
    return (True, "by the sides of equations") if right else None
