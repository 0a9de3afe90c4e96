"""Other people's rules, so that their figures can be reproduced: extraction and equality of known graders.

Each gives the published code's verdict, and is written from what that code does. Where it hands a model's text to
Python's evaluator, the same values are built from a syntax tree. All of them belong into a worker process.
"""

from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from ..._boxed import last_boxed
from . import matharena, prm800k, qwen, whole_text

Judged = tuple[str | None, bool, str]
"""The answer found, whether it is right, and the rule that decided."""

LONGEST = 4000  # characters; a longer answer is wrong unseen


def _prm800k(text: str, gold: str, *_: Any) -> Judged:
    answer = last_boxed(text)
    if not answer:
        return None, False, "prm800k: no box"
    if len(answer) > LONGEST:
        return answer, False, f"prm800k: longer than {LONGEST} characters"
    right, how = prm800k.grade(answer, gold)
    return answer, right, f"prm800k: {how}"


def _qwen(text: str, gold: str, *_: Any) -> Judged:
    answer = qwen.answer_of(text)
    if len(answer) > LONGEST:
        return answer, False, f"qwen: longer than {LONGEST} characters"
    right, how = qwen.grade(text, answer, gold)
    return answer or None, right, f"qwen: {how}"


def _math_verify(text: str, gold: str, math_verify: Any) -> Judged:
    answer, right = whole_text.grade(text, gold, math_verify)
    return answer, right, "math_verify"


def _matharena(text: str, gold: str, *_: Any) -> Judged:
    answer, right, how = matharena.grade(text, gold)
    return answer, right, f"matharena: {how}"


RULES: dict[str, Callable[..., Judged]] = {
    "prm800k": _prm800k,
    "qwen": _qwen,
    "math_verify": _math_verify,
    "matharena": _matharena,
}

MODULES = {
    "prm800k": ("sympy.parsing.sympy_parser", "pylatexenc.latex2text"),
    "qwen": ("latex2sympy2_extended.latex2sympy2", "sympy.parsing.latex._antlr.latexparser"),
    "math_verify": ("math_verify",),
    "matharena": ("sympy.parsing.sympy_parser", "sympy.parsing.latex._antlr.latexparser"),
}
"""Modules that a worker imports for a rule before its clock starts; the rule is called with them."""


def missing(rule: str) -> str | None:
    """The missing requirement of a rule; None if everything is installed."""
    if rule == "prm800k" and find_spec("pylatexenc") is None:
        return "pylatexenc"
    antlr = version("antlr4-python3-runtime")  # sympy reads LaTeX with no other
    if rule in ("qwen", "matharena") and not antlr.startswith("4.11"):
        return "antlr4-python3-runtime 4.11"
    return None
