"""Degenerate texts of any size, as models and servers write them when something is wrong with them.

`FORMS` makes each of about `n` characters. Whatever reads text of a model, judge, server or dataset must take linear
time on all of them; `growth` measures that.
"""

import time
from collections.abc import Callable
from typing import Any

Form = Callable[[int], str]


def repeated(unit: str) -> Form:
    """A unit again and again."""
    return lambda n: (unit * (n // len(unit) + 1))[:n]


def nested(opening: str, inside: str, closing: str) -> Form:
    """Pairs within pairs, all of them closed."""

    def make(n: int) -> str:
        depth = n // (len(opening) + len(closing))
        return opening * depth + inside + closing * depth

    return make


def _words(n: int) -> str:
    """Words of which no two are the same."""
    return " ".join(f"w{i:x}" for i in range(n // 7))


UNITS = {
    "backslashes": "\\",
    "boxes without an end": "\\boxed{",
    "boxes of a space": "\\boxed ",
    "small boxes": "\\boxed{1}",
    "box and backslashes": "\\boxed\\",
    "empty boxes": "\\boxed{}",
    "two box names": "\\boxed\\fbox",
    "opening braces": "{",
    "closing braces": "}",
    "empty braces": "{}",
    "opening brackets": "[",
    "opening parentheses": "(",
    "escaped braces": "\\{",
    "objects without an end": '{"a":',
    "objects": '{"a": 1}',
    "grids": '{"House 1": {"Name": "x"}}',
    "quotes in braces": '{"',
    "answers in JSON": '"answer": "C',
    "escaped quotes in JSON": '"answer": "\\"',
    "lists in JSON": '"answer": [',
    "fences": "```\n",
    "backticks": "`",
    "tildes": "~~~\n",
    "dollars": "$",
    "double dollars": "$$ ",
    "formulas": "$x",
    "LaTeX parentheses": "\\(",
    "LaTeX brackets": "\\[",
    "fractions without an end": "\\frac{",
    "left parentheses": "\\left(",
    "texts without an end": "\\text{ ",
    "digits": "9",
    "digits and points": "1.",
    "digits and commas": "1,",
    "thousands": "1,111",
    "spaced digits": "1 ",
    "minus signs": "-",
    "minus and space": "- ",
    "spaces": " ",
    "tabs": "\t",
    "newlines": "\n",
    "carriage returns": "\r",
    "blank lines": " \n",
    "NULs": "\0",
    "vertical tabs": "\v",
    "no-break spaces": "\u00a0",
    "zero-width spaces": "\u200b",
    "combining marks": "\u0301",
    "marks on letters": "a\u0315\u0300\u05ae",
    "joined emoji": "\U0001f469\u200d",
    "right-to-left marks": "\u200f",
    "right-to-left overrides": "\u202e",
    "ligatures that grow": "\ufdfa",
    "sharp s": "ß",
    "dotted capital I": "İ",
    "capital sigma": "Σ",
    "half characters": "\ud800",
    "asterisks": "*",
    "pairs of asterisks": "** ",
    "underscores": "_",
    "hashes": "#",
    "quotes of a block": "> ",
    "statements of an answer": "answer is ",
    "questions of an answer": "answer is",
    "colons of an answer": "answer: ",
    "answers to": "answer to ",
    "answer without a space": "answer",
    "Answers": "Answer:",
    "the answer is (": "The answer is (",
    "correct answers": "The correct answer is (",
    "final answers": "Final Answer: [",
    "final answers and spaces": "Final Answer:" + " " * 50,
    "letters in parentheses": "(A) ",
    "letters": "A ",
    "letters in a list": "A, B, C, D, ",
    "letter by letter": "AB",
    "open answers": "<answer>",
    "closed answers": "</answer>",
    "whole answers": "<answer>x</answer>",
    "ends of thinking": "</think>",
    "beginnings of thinking": "<think>",
    "bars": "|",
    "table rows": "| a | b |\n",
    "powers": "^{",
    "towers": "9^{",
    "exclamation marks": "!",
    "small e": "e",
    "equals signs": "=",
    "names": "x=",
    "underscored names": "x_",
    "commas": ",",
    "semicolons": ";",
    "full stops": ".",
    "colons": ":",
    "sentences": "So it is 1. ",
    "entities": "&amp;",
    "ampersands": "&",
    "double quotes": '"',
    "single quotes": "'",
    "curly quotes": "“",
    "escapes": "\\n",
    "verdicts": "Verdict: YES\n",
    "verdict without a value": "Verdict:",
    "verdict and asterisks": "Verdict: * * ",
    "grades": "GRADE: C ",
    "confidence": "Confidence: ",
    "articles": "a the ",
    "Chinese": "答案是",
    "hangul": "\u1100\u1161",
    "superscripts": "²",
    "subscripts": "₀",
    "roots": "√",
    "plus or minus": "\\pm ",
    "sorry": "sorr",
    "Options": "Option ",
    "primes": "'",
    "factorials in parentheses": "((1)!)!",
}
FORMS: dict[str, Form] = {
    **{name: repeated(unit) for name, unit in UNITS.items()},
    "nested boxes": nested("\\boxed{", "1", "}"),
    "nested braces": nested("{", "1", "}"),
    "nested lists": nested("[", "", "]"),
    "nested objects": nested('{"a":', "1", "}"),
    "nested grids": nested('{"solution":', "{}", "}"),
    "nested parentheses": nested("(", "1", ")"),
    "nested fractions": nested("\\frac{1}{", "1", "}"),
    "nested towers": nested("9^{", "9", "}"),
    "nested answers": nested("<answer>", "x", "</answer>"),
    "a box of backslashes": lambda n: "\\boxed{" + "\\" * n,
    "a closed box of backslashes": lambda n: "\\boxed{" + "\\" * n + "}",
    "a box of digits": lambda n: "\\boxed{" + "9" * n + "}",
    "a box of spaces": lambda n: "\\boxed{" + " " * n + "}",
    "a box far from its brace": lambda n: "\\boxed" + " " * n,
    "a letter behind spaces": lambda n: " " * n + "A",
    "a letter before spaces": lambda n: "A" + " " * n + "x",
    "an answer behind spaces": lambda n: "answer is" + " " * n + "C",
    "a last line of spaces": lambda n: "x\n" + " " * n + "\ty",
    "a last answer without an end": lambda n: "Final Answer: [" + "a, " * (n // 3),
    "a final answer of spaces": lambda n: "Final Answer:" + " " * n,
    "one tag and newlines": lambda n: "<answer>" + "\n" * n,
    "a string without an end": lambda n: '{"verdict": "' + "\\" * n,
    "keys that are the same": lambda n: "{" + '"a": 1, ' * (n // 8) + '"a": 1}',
    "keys that are not": lambda n: "{" + ", ".join(f'"k{i:x}": {{}}' for i in range(n // 12)) + "}",
    "words that are not the same": _words,
    "a number with an exponent": lambda n: "1e" + "9" * n,
    "a number of digits in JSON": lambda n: '{"solution": {"House 1": {"Name": ' + "9" * n + "}}}",
}


def seconds(function: Callable[..., Any], *args: Any) -> float:
    """CPU time of one call, the quickest of three where it is short."""
    best = float("inf")
    for _ in range(3):
        begin = time.process_time()
        function(*args)
        best = min(best, time.process_time() - begin)
        if best > 0.5:
            break
    return best


def growth(function: Callable[[str], Any], make: Form, n: int = 8_000) -> float:
    """Growth of the time for four times the text: 4 if linear, 16 if quadratic; times below 2 ms count as that."""
    best = float("inf")
    for _ in range(3):  # other work on the machine makes one measurement worse, never all of them
        small, large = (max(0.002, seconds(function, make(size))) for size in (n, 4 * n))
        best = min(best, large / small)
        if best < MOST:
            break
    return best


MOST = 8.0
"""Growth that is taken for linear."""


def not_linear(function: Callable[[str], Any], n: int = 8_000) -> dict[str, float]:
    """The forms on which a function does not take linear time, with their growth."""
    growths = {name: growth(function, make, n) for name, make in FORMS.items()}
    return {name: ratio for name, ratio in growths.items() if ratio >= MOST}
