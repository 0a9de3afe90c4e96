"""Other people's rules, so that their figures can be reproduced: extraction and equality of three known graders.

Written from what the graders do, named below; where theirs hand a model's text to Python's or sympy's evaluator, the
same values are computed here through LaTeX's grammar or plain arithmetic. All of them belong into a worker process.

* `prm800k`: prm800k/grading/grader.py of openai/prm800k, used by many for MATH.
* `qwen`: evaluation/parser.py and grader.py of QwenLM/Qwen2.5-Math.
* `math_verify`: math-verify's defaults on the whole text, formulas first, then plain expressions.
"""

import ast
import logging
import math
import operator
import re
from collections.abc import Callable
from typing import Any

from .._boxed import last_boxed
from . import numerically
from .notation import tidy

Judged = tuple[str | None, bool, str]
"""The answer found, whether it is right, and the rule that decided."""

_NUMBER = re.compile(r"-?\d*\.?\d+")
_SIMPLE_FRACTION = re.compile(r"-?(?:\\?frac\{?\d+\}?\{?\d+\}?|\d+/\d+)")
LONGEST = 4000  # characters; a longer answer is wrong unseen
_DEEPEST = 200
"""Nested brackets up to which plain arithmetic is read."""


def prm800k(text: str, gold: str, math_verify: Any) -> Judged:
    """Equal as normalised strings, else value by value; an unreduced fraction is not its reduced form."""
    answer = last_boxed(text)
    if not answer:
        return None, False, "prm800k: no box"
    if len(answer) > LONGEST:
        return answer, False, f"prm800k: longer than {LONGEST} characters"
    if _mathd(gold) == _mathd(answer):
        return answer, True, "prm800k: same string"
    one, other = _plain(gold), _plain(answer)
    if one == other or not other:
        return answer, one == other, "prm800k: same normalised string" if other else "prm800k: empty"
    ours, theirs = _tuple(one), _tuple(other)
    if len(ours) != len(theirs) or (len(ours) > 1 and (one[0] != other[0] or one[-1] != other[-1])):
        return answer, False, "prm800k: other brackets or another number of values"
    raw = [_tuple(tidy(side)) if len(ours) > 1 else [side] for side in (gold, answer)]
    pairs = zip(ours, theirs, *raw, strict=False)
    same = all(_prm_value(value, given, (wanted, found), math_verify) for value, given, wanted, found in pairs)
    return answer, same, "prm800k: value by value"


def qwen(text: str, gold: str, math_verify: Any) -> Judged:
    """The box, else what follows "he answer is", else the last number; numbers to 1e-4, also times and over 100."""
    answer = _hoped(text) or last_boxed(text) or _after_answer(text) or _last_number(text)
    if not answer:
        return None, False, "qwen: no answer"
    if len(answer) > LONGEST:
        return answer, False, f"qwen: longer than {LONGEST} characters"
    right, how = _qwen_same(_folded(gold), _folded(answer), math_verify)
    return answer, right, f"qwen: {how}"


def whole_text(text: str, gold: str, math_verify: Any) -> Judged:
    """math-verify on the whole text, as its own metric does; its arithmetic on plain text is done without `eval`."""
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    math_verify.parser.parse_expr = _arithmetic
    targets = [math_verify.LatexExtractionConfig(boxed_match_priority=0), math_verify.ExprExtractionConfig()]
    wanted = math_verify.parse(rf"\boxed{{{gold}}}", parsing_timeout=None)
    found = math_verify.parse(text, targets, parsing_timeout=None)
    right = bool(math_verify.verify(wanted, found, timeout_seconds=None))
    return (str(found[-1])[:1000] if found else None), right, "math_verify"


RULES: dict[str, Callable[[str, str, Any], Judged]] = {
    "prm800k": prm800k,
    "qwen": qwen,
    "math_verify": whole_text,
}


def _mathd(text: str) -> str:
    """What Hendrycks' MATH code compares: no spaces, styles, degree and dollar signs, no unit at the end."""
    text = text.replace("\n", "").replace(r"\!", "").replace(r"\\", "\\")
    text = re.sub(r"\\[td]frac", r"\\frac", text).replace(r"\left", "").replace(r"\right", "")
    text = text.replace(r"^{\circ}", "").replace(r"^\circ", "").replace(r"\$", "")
    text = re.sub(r"\\text\{ .*$", "", text).replace(r"\%", "").replace("%", "")
    text = re.sub(r"(^|(?<=[ {]))\.(?=\d)", "0.", text)
    sides = text.split("=")
    if len(sides) == 2 and len(sides[0].strip()) <= 2:
        text = sides[1]
    text = re.sub(r"\\sqrt\s*(\w)", r"\\sqrt{\1}", text).replace(" ", "")
    text = re.sub(r"\\frac(\d)(\d)", r"\\frac{\1}{\2}", text)
    if text == "0.5":
        text = r"\frac{1}{2}"
    return re.sub(r"^(-?\d+)/(\d+)$", r"\\frac{\1}{\2}", text)


def _plain(text: str) -> str:
    """The second normalisation of prm800k: units, words and thousands dropped, braces to nothing, small letters."""
    if whole := re.fullmatch(r"\\text\{(.+?)\}", text.strip()):
        text = whole[1]
    text = text.replace(r"\%", "").replace(r"\$", "").replace("$", "").replace("%", "")
    text = text.replace(" or ", " , ").replace(" and ", " , ")
    for word, zeros in (("million", "*10^6"), ("billion", "*10^9"), ("trillion", "*10^12")):
        text = text.replace(word, zeros)
    units = "degree|centimeter|cm|meter|mile|second|minute|hour|day|week|month|year|foot|feet|inch|yard"
    text = re.sub(rf"(?:{units})(?:es)?(?:s)? *(?:\^[0-9]+)?", "", text)
    text = re.sub(r"\^ *\\circ", "", text)
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1]
    text = re.sub(r",\\! *", "", text)
    if "\\" in text:
        text = re.sub(r"\\[td]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r" \1/\2", text)
        text = re.sub(r"\\(?:left|right|text|mathrm|mathbf|mbox|displaystyle|[,;: !])", "", text)
        text = text.replace(r"\times", "*").replace(r"\cdot", "*").replace(r"\pi", "pi").replace(r"\infty", "inf")
    text = re.sub("- *", "-", text.strip())
    text = re.sub(r"([0-9]) +([0-9])", r"\1+\2", text)
    text = re.sub(r"(?<=\d),(?=\d{3}(?:\D|$))", "", re.sub(r"[{}\s]", "", text).lower())
    return text.partition(".")[0] if re.fullmatch(r"-?\d+\.0*", text) else text


def _tuple(text: str) -> list[str]:
    if len(text) > 2 and text[0] in "([" and text[-1] in ")]" and not set(text[1:-1]) & set("()[]"):
        return [part.strip() for part in text[1:-1].split(",")]
    return [text]


def _prm_value(gold: str, answer: str, raw: tuple[str, str], math_verify: Any) -> bool:
    if gold == answer:
        return True
    if _SIMPLE_FRACTION.fullmatch(gold) and _SIMPLE_FRACTION.fullmatch(answer):
        return False  # a fraction that is not reduced
    wholes = [bool(re.fullmatch(r"-?\d+(?:\.0*)?", text)) for text in (gold, answer)]
    if wholes[0] != wholes[1]:
        return False  # an integer is asked for as one
    letters = set(re.sub("sqrt|frac|pi|[^a-z]", "", gold + answer))
    if len(letters) > 2 or re.search(r"\^[({]|\^\d+\^|\^\d\d", raw[0] + raw[1]):
        return False  # not handed to sympy there
    return _same_formula(*raw, math_verify)


def _hoped(text: str) -> str:
    """Minerva's form: "The final answer is $...$. I hope it is correct"."""
    found = re.search(r"final answer is \$(.{1,1000}?)\$\. I hope", text, re.DOTALL)
    return found[1].strip() if found else ""


def _after_answer(text: str) -> str:
    """What stands behind the last "he answer is"."""
    for words in ("he answer is", "final answer is"):
        _, found, tail = text.rpartition(words)
        if found:
            return re.sub(r"\n\s*", "", tail[:2000].strip()).lstrip(":").strip(" $")
    return ""


def _last_number(text: str) -> str:
    found = _NUMBER.findall(text[-100_000:].replace(",", ""))
    return found[-1] if found else ""


def _folded(text: str) -> str:
    """A string as Qwen's code compares it: no units, styles, blanks, percent signs and names of x, y and z."""
    text = text.strip().replace("\n", "").rstrip(".").replace(r"\!", "")
    text = re.sub(r"\\[td]frac", r"\\frac", text).replace("bmatrix", "pmatrix")
    text = re.sub(r"\\(?:left|right)(?![a-z])", "", text).replace(r"\{", "{").replace(r"\}", "}")
    text = re.sub(r"\\text\{[^{}]*\}$", "", text).strip() or text
    text = re.sub(r"\^\{?\\circ\}?|\\\$|\$|\\[()]|\\?%|\\mbox\{[^{}]*\}", "", text)
    text = re.sub(r"\\text\{([^{}]*)\}", r"\1", text)
    text = re.sub(r"[xyz]\s*(?:=|\\in(?![a-z])|\\to(?![a-z]))", "", text).replace("and", "")
    text = re.sub(r"(\d+)\.0*(?=\D|$)", r"\1", text)
    sides = text.split("=")
    if len(sides) == 2 and len(sides[0].strip()) <= 2:
        text = sides[1]
    text = re.sub(r"\\sqrt\s*(\w)", r"\\sqrt{\1}", text).strip()
    text = re.sub(r"\\frac(\d)(\d)", r"\\frac{\1}{\2}", re.sub(r"\s+", " ", text))
    return re.sub(r"^(-?\d+)/(\d+)$", r"\\frac{\1}{\2}", text)


def _qwen_same(gold: str, answer: str, math_verify: Any) -> tuple[bool, str]:
    one, other = (re.sub(r"\s", "", side).lower() for side in (gold, answer))
    if one == other:
        return True, "same string"
    wanted, found = _float(one), _float(other)
    if wanted is not None and found is not None:
        near = any(math.isclose(value, found, rel_tol=1e-4) for value in (wanted / 100, wanted, wanted * 100))
        return near, "numbers to 1e-4, percent or not"
    bare = [re.sub(r"[{}()]", "", side) for side in (one, other)]
    if (other[:1] + other[-1:], one[:1]) not in (("[]", "("), ("()", "[")) and other[:1] in ("[", "("):
        bare = [side.strip("[]") for side in bare]
    if bare[0] == bare[1]:
        return True, "same string without brackets"
    parts = [_qwen_parts(side) for side in (gold, answer)]
    if parts[0] and len(parts[0]) == len(parts[1]):
        pairs = zip(*parts, strict=True)
        if all(_qwen_same(wanted, found, math_verify)[0] for wanted, found in pairs):
            return True, "value by value"
    return _same_formula(gold, answer, math_verify), "symbolic"


def _qwen_parts(text: str) -> list[str]:
    """The values in round or square brackets, or the cells of a matrix; none of anything else."""
    if matrix := re.fullmatch(r"\\begin\{pmatrix\}(.*)\\end\{pmatrix\}", text.strip(), re.DOTALL):
        return [cell.strip() for cell in re.split(r"\\\\|&", matrix[1]) if cell.strip()]
    if re.fullmatch(r"[(\[].+[)\]]", text.strip()):
        return [part.strip() for part in text.strip()[1:-1].split(",")]
    return []


def _float(text: str) -> float | None:
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return None


def _same_formula(gold: str, answer: str, math_verify: Any) -> bool:
    """Whether two formulas have the same value, read through LaTeX's grammar."""
    latex = [math_verify.LatexExtractionConfig(boxed_match_priority=0)]
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    parsed = [math_verify.parse(rf"\boxed{{{tidy(text)}}}", latex, parsing_timeout=None) for text in (gold, answer)]
    return bool(all(parsed) and numerically.same(parsed[0][0], parsed[1][0]))


_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


def _arithmetic(text: str, *, evaluate: bool = False) -> Any:
    """The value of digits with + - * / ** and brackets, as sympy's parser has it but without its `eval`."""
    import sympy

    if text.count("(") > _DEEPEST:
        raise ValueError("too many brackets")

    def value(node: ast.expr) -> Any:
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            return sympy.sympify(node.value)  # of a number, never of a text
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            return -value(node.operand) if isinstance(node.op, ast.USub) else value(node.operand)
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](value(node.left), value(node.right))
        raise ValueError("no arithmetic")

    return value(ast.parse(text.strip(), mode="eval").body)
