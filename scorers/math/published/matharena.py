r"""MathArena's own grader (matharena.ai, eth-sri/matharena): the last box or the last integer, and equality in sympy.

With `strict_parsing: false`, as its competitions have it: an output without a readable box answers with its last
integer. A reference with a comma is a list, and then so is the answer. Its table of single outputs that were corrected
by hand is left out.
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from .expressions import UnknownName, sympified
from .matharena_text import as_python, normalised, trimmed, with_latex, without_brackets

LONGEST = 4000  # characters of an answer
DEEPEST = 50  # lists within lists; deeper ones are not lists
_BRACES = re.compile(r"(?:boxed|fbox)(\{)|[{}]")
_INTEGER = re.compile(r"\d+")
_SEPARATORS = (r"\n", ",")  # a backslash and an n, as it is written there


class Many(tuple[Any, ...]):
    """The values of a list."""


class Incomparable:
    """A function of sympy's, or a module: a value there, which nothing is the same as."""

    def __init__(self, shown: str):
        self.shown = shown

    def __str__(self) -> str:
        return self.shown


def grade(text: str, gold: str) -> tuple[str | None, bool, str]:
    """The answer of an output, whether it is the reference, and the rule that decided."""
    many = "," in gold
    text = with_latex(text)
    answer = last_box(text, many=many)
    if answer is not None and len(answer) > LONGEST:
        return answer, False, f"longer than {LONGEST} characters"
    try:
        value = None if answer is None else _answer_value(answer, many=many)
        how = "the last box"
        if value is None and (last := last_integer(text)):
            answer, value, how = last, int(last), "the last integer"
        return answer, value is not None and _same(value, _value(gold, many=many)), how
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it raises, the published script ends there
        return answer, False, f"the published script ends with {type(error).__name__}"


def last_box(text: str, *, many: bool = False) -> str | None:
    r"""The content of the last closed `boxed{...}`; `many`: of all of the last line that has one, with commas."""
    spans = _boxes(text)
    if many and len(spans) > 1:
        for line in reversed(text.split("\n")):
            if boxes := _boxes(line):
                return _without_boxes(",".join(line[begin:end] for _, begin, end in boxes))
    return _without_boxes(text[slice(*spans[-1][1:])]) if spans else None


def last_integer(text: str) -> str | None:
    """The last integer of a text, without its sign; None if it has more digits than Python reads."""
    last = None
    for match in _INTEGER.finditer(text):
        neighbours = text[max(match.start() - 1, 0) : match.start()] + text[match.end() : match.end() + 1]
        if not any(map(_in_words, neighbours)):
            last = match[0]
    return last if last and len(last) <= 4300 else None


def _in_words(letter: str) -> bool:
    """Whether a character belongs to words, as Unicode has it and the published pattern: ½ does not, a mark does."""
    category = unicodedata.category(letter)
    return category[0] in "LM" or category in ("Nd", "Nl", "Pc") or letter in "\u200c\u200d"


def _boxes(text: str) -> list[tuple[int, int, int]]:
    """Offsets of each box and of its content's start and end; nested boxes are left out, and every brace counts."""
    opened: list[tuple[int, int]] = []
    spans: list[tuple[int, int, int]] = []
    for token in _BRACES.finditer(text):
        if token[0] != "}":
            opened.append((token.start() if token[1] else -1, token.end()))
        elif opened:
            start, begin = opened.pop()
            if start >= 0:
                while spans and spans[-1][0] > start:
                    spans.pop()
                spans.append((start, begin, token.start()))
    return spans


def _without_boxes(text: str) -> str:
    """A text with the content of each box in place of the box; boxes inside those remain."""
    plain = text
    for start, begin, end in _boxes(text):
        if text[start - 1 : start] == "\\":
            plain = plain.replace(text[start - 1 : end + 1], text[begin:end])
    return plain


def _answer_value(answer: str, *, many: bool) -> Any:
    import sympy

    try:
        return sympy.Integer(int(answer))
    except ValueError:
        value = _value(answer, many=many)
    return value[0] if isinstance(value, Many) and len(value) == 1 else value


def _value(text: str, *, many: bool) -> Any:
    """The value of an answer: a sympy object, a number, `Many` of them, or None."""
    values = _listed(f"({without_brackets(normalised(text, many=many))})")
    if values is None:
        return None
    value = values[0] if len(values) == 1 else values
    return Many(one for one in value if re.search(r"\d", str(one))) if isinstance(value, list) else value


def _listed(text: str, depth: int = 0) -> list[Any] | None:
    """The values between two brackets, lists among them; None where the text cannot be cut into values."""
    if not text.startswith("("):
        raise TypeError("no list")
    text = text.strip().strip(",")
    if _enclosing(text):
        text = text[1:-1]
    text = trimmed(text)
    separator = next((one for one in _SEPARATORS if one in text), _SEPARATORS[0])
    values = []
    while text:
        before = text
        pieces = text.split(separator)
        for nested in (True, False):
            if nested and (depth > DEEPEST or not trimmed(text).startswith("(")):
                continue
            number = next(_ends(pieces, separator, nested=nested), 0)
            if number:
                piece = trimmed(separator.join(pieces[:number]))
                values.append(_listed(piece, depth + 1) if nested else _number(piece))
                text = trimmed(separator.join(pieces[number:]))
                break
        if text == before:
            if depth > DEEPEST:
                raise ValueError("too deep")
            return None
    return values


def _ends(pieces: list[str], separator: str, *, nested: bool) -> Iterator[int]:
    """Number of pieces that make one value: up to the first that closes all brackets."""
    for number in range(1, len(pieces) + 1):
        piece = trimmed(separator.join(pieces[:number]))
        closed = piece.count("(") == piece.count(")")
        if closed and (piece.strip().strip(",").endswith(")") if nested else piece.count("{") == piece.count("}")):
            yield number


def _enclosing(text: str) -> bool:
    """Whether no bracket before the last character closes the first one."""
    depth = 0
    for letter in text[:-1]:
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return False
    return True


def _number(text: str) -> Any:
    """The value of a text that is not a list."""
    if text.isdigit():
        return int(text)
    try:
        value = float(text)
        return int(value) if int(value) == value else value
    except ValueError:
        pass
    text = re.sub(r"frac(\d)", r"frac{\1}", re.sub(r"sqrt(\d+)", r"sqrt{\1}", text))
    try:
        return _expression(text)
    except Exception:  # noqa: BLE001 - as there: whatever it raises, the text is read as LaTeX
        pass
    try:
        return _latex_value(text)
    except Exception:  # noqa: BLE001 - as there: it is not an answer then
        return None


def _expression(text: str) -> Any:
    import sympy

    code = as_python(text)
    if code == "None":
        return sympy.Symbol("None")
    try:
        return sympified(code, aliases={"e": "E"})
    except UnknownName as error:
        if code.strip("() \t") != error.name:
            raise
        return Incomparable(error.shown)


def _latex(text: str) -> Any:
    import sympy
    from sympy.parsing.latex import parse_latex

    read = parse_latex(re.sub(r"_([0-9]+)", r"_{\1}", text))
    constants = {"pi": sympy.pi, "e": sympy.E, "I": 1j, "i": 1j}
    return read.xreplace({one: constants[one.name] for one in read.free_symbols if one.name in constants})


def _latex_value(text: str) -> Any:
    """The number that LaTeX represents: exact if it is rational, else a float, a complex number, or the object."""
    import sympy

    value = _latex(text)
    try:
        simple = sympy.simplify(value)
        if simple.is_integer:
            return int(simple)
        if isinstance(simple, sympy.Rational):
            return simple
        number = float(sympy.N(value, 101))
        return int(sympy.N(_latex(text), 50001)) if abs(number) == float("inf") else number
    except Exception:  # noqa: BLE001 - as there
        try:
            return complex(sympy.N(value, 101))
        except Exception:  # noqa: BLE001 - as there
            return value


def _same(one: Any, other: Any) -> bool:
    """Whether two values are the same there: 0 is not 0 where one of them is a number of Python's."""
    if one is None or other is None:
        return False
    if isinstance(one, Many | list) or isinstance(other, Many | list):
        return isinstance(one, Many) and isinstance(other, Many) and _same_list(one, other)
    try:
        if callable(getattr(one, "equals", None)) and callable(getattr(other, "equals", None)):
            return bool(_by_letters(one).equals(_by_letters(other)))
        return _close(one, other)
    except Exception:  # noqa: BLE001 - as there: what cannot be compared is not the same
        return False


def _close(one: Any, other: Any) -> bool:
    import sympy

    if isinstance(one, str) or isinstance(other, str):
        return bool(one == other)
    error = abs(sympy.N(one - other))
    return bool(error < 1e-10 and error / max(abs(sympy.N(one)), abs(sympy.N(other))) < 1e-10)


def _same_list(one: Many, other: Many) -> bool:
    """Whether each value of one list finds its own in another, the first that fits."""
    left = list(other)
    for value in one:
        place = next((place for place, wanted in enumerate(left) if _same(value, wanted)), None)
        if place is None:
            return False
        del left[place]
    return not left


def _by_letters(value: Any) -> Any:
    """A formula whose names of several letters are products of them, but for those of A to E alone."""
    from sympy import Mul, Symbol

    long = [one for one in value.free_symbols if len(one.name) > 1 and one.name.isalpha()]
    products = {one: Mul(*map(Symbol, one.name)) for one in long if not set(one.name) <= set("ABCDE")}
    return value.xreplace(products)
