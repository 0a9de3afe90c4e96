"""Do two LaTeX answers differ for certain? An evaluator at random points, kept apart from the scorer that it tests.

It reads sums, products, powers, fractions, roots, factorials, binomials, functions, lists, tuples, intervals, sets and
equations; anything else in a text is a ValueError ("not read"). Values have 60 digits; what agrees to 40 of them at
every point, in some reading of `i` and `e` (a constant or a variable), is not called different.
"""

import re
import zlib
from itertools import product
from typing import Any, NamedTuple

from mpmath import mp

mp.dps = 60
_CLOSE = mp.mpf(10) ** -40
_TOKEN = re.compile(r"\s*(\\[a-zA-Z]+|\d[\d,]*(?:\.\d+)?|\.\d+|[a-zA-Z]|[-+*/^_!()\[\]{}|=',])")
_DRESS = re.compile(
    r"\\(?:left|right|displaystyle|quad|qquad|limits)(?![a-zA-Z])|\\[,;:! ]|\$|~|\^\s*\{?\\circ\}?|\\?%|\\\$|\{,\}"
)
_FUNCTIONS = {
    name: getattr(mp, name)
    for name in ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "exp", "ln", "log")
} | {"arcsin": mp.asin, "arccos": mp.acos, "arctan": mp.atan, "gcd": None}
_CLOSING = {"(": ")", "[": "]", "{": "}"}
READINGS = list(product((True, False), (True, False), (1, -1)))
POINTS = 3


class Answer(NamedTuple):
    """A list, tuple, set or interval, or one value: `kind` is its brackets."""

    kind: str
    parts: list[Any]


def read(text: str) -> Answer:
    """The parts of an answer; ValueError where it has a form that is not read."""
    text = _DRESS.sub("", text).replace(r"\{", "<").replace(r"\}", ">").strip().rstrip(".")
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    inside, kind = text, ""
    if len(text) > 2 and text[0] in "([<" and _encloses(text):
        parts = _split(text[1:-1])
        if len(parts) > 1 or text[0] == "<":
            inside, kind = text[1:-1], text[0] + text[-1]
    parts = _split(inside)
    if len(parts) > 1 or kind:
        return Answer(kind, [read(part) for part in parts])
    Evaluator(text, 0, READINGS[0]).value()
    return Answer("value", [text])


def _encloses(text: str) -> bool:
    depth = 0
    for i, character in enumerate(text):
        depth += (character in "([{<") - (character in ")]}>")
        if depth == 0:
            return i == len(text) - 1
    return False


def _split(text: str) -> list[str]:
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([{<") - (character in ")]}>")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def differ(one: Answer, other: Answer) -> bool:
    """Whether two answers differ for certain: in form, or in a value in every reading."""
    if (one.kind == "value") != (other.kind == "value"):
        return len((one if other.kind == "value" else other).parts) > 1
    if one.kind == "value":
        return _values_differ(one.parts[0], other.parts[0])
    if one.kind != other.kind:
        return True
    if one.kind in ("", "<>"):
        apart = [[differ(a, b) for b in other.parts] for a in one.parts]
        alone = any(map(all, apart)) or any(all(row[i] for row in apart) for i in range(len(other.parts)))
        distinct = all(differ(a, b) for side in (one, other) for i, a in enumerate(side.parts) for b in side.parts[:i])
        return alone or (distinct and len(one.parts) != len(other.parts))
    if len(one.parts) != len(other.parts):
        return True
    return any(differ(a, b) for a, b in zip(one.parts, other.parts, strict=True))


def _values_differ(one: str, other: str) -> bool:
    if ("=" in one) != ("=" in other):
        return False
    both = one + other
    readings = [
        reading
        for reading in READINGS
        if (reading[0] or "i" in both) and (reading[1] or "e" in both) and (reading[2] > 0 or r"\pm" in both)
    ]
    return all(_differ_as_read(one, other, reading) for reading in readings)


def _differ_as_read(one: str, other: str, reading: tuple[bool, bool, int]) -> bool:
    first = Evaluator(one, 0, reading).value(), Evaluator(other, 0, reading).value()
    if "=" not in one and r"\pm" not in one + other and not _close(*first):
        return True
    pairs = [first, *((Evaluator(one, i, reading).value(), Evaluator(other, i, reading).value()) for i in (1, 2))]
    if r"\pm" in one + other:
        swapped = [Evaluator(other, i, (*reading[:2], -reading[2])).value() for i in range(POINTS)]
        if all(_close(a, b) for (a, _), b in zip(pairs, swapped, strict=True)):
            return False
    if "=" in one:  # the same equation up to a factor
        ratios = [a / b for a, b in pairs if b]
        return len(ratios) == POINTS and not all(_close(ratio, ratios[0]) for ratio in ratios)
    return not all(_close(a, b) for a, b in pairs)


def _close(one: Any, other: Any) -> bool:
    return bool(abs(one - other) <= _CLOSE * max(abs(one), abs(other), _CLOSE))


class Evaluator:
    """The value of one formula at a point that its names and `point` fix; of an equation, left side less right side."""

    def __init__(self, text: str, point: int, reading: tuple[bool, bool, int]) -> None:
        self.tokens: list[str] = []
        place = 0
        while place < len(text.rstrip()):
            match = _TOKEN.match(text, place)
            if not match:
                raise ValueError(text[place:])
            self.tokens.append(match[1])
            place = match.end()
        self.at, self.point, (self.imaginary, self.euler, self.sign) = 0, point, reading

    def value(self) -> Any:
        try:
            left = self._sum()
            if self._next() == "=":
                self.at += 1
                left -= self._sum()
            if self.at < len(self.tokens):
                raise ValueError(self.tokens[self.at])
            return mp.mpc(left)
        except (ArithmeticError, TypeError, IndexError, RecursionError, NotImplementedError) as error:
            raise ValueError(str(error)) from error

    def _next(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def _take(self, expected: str = "") -> str:
        token = self._next()
        if not token or (expected and token != expected):
            raise ValueError(f"{expected} for {token}")
        self.at += 1
        return token

    def _sum(self) -> Any:
        total = mp.mpf(0)
        first = True
        while first or self._next() in ("+", "-", r"\pm"):
            sign = 1
            while self._next() in ("+", "-", r"\pm"):
                token = self._take()
                sign *= {"-": -1, r"\pm": self.sign}.get(token, 1)
            total += sign * self._product()
            first = False
        return total

    def _product(self, functions: bool = True) -> Any:
        total = self._power()
        while True:
            token = self._next()
            if functions and token in ("*", "/", r"\cdot", r"\times"):
                self.at += 1
                sign = -1 if self._next() == "-" and self._take() else 1
                part = sign * self._power()
                total = total / part if token == "/" else total * part
            elif token and (
                token not in "+-)]}|=,!*/'^" and token not in (r"\cdot", r"\times", r"\pm", r"\rfloor", r"\rceil")
            ):
                if not functions and token[1:] in _FUNCTIONS:
                    return total
                total *= self._power()
            else:
                return total

    def _power(self) -> Any:
        value = self._base()
        while self._next() in ("^", "!"):
            if self._take() == "!":
                if value != int(value.real) or value.real < 0 or value.real > 5000:
                    raise ValueError("factorial")
                value = mp.factorial(value)
            else:
                exponent = self._argument()
                if abs(exponent) > 10**6:
                    raise ValueError("exponent")
                value = mp.mpc(value) ** exponent
        return mp.mpc(value)

    def _argument(self) -> Any:
        if self._next() == "{":
            return self._bracketed()
        token = self._next()
        if token[0].isdigit() and len(token) > 1:  # x^12 is x^1 2
            self.tokens[self.at : self.at + 1] = [token[0], token[1:]]
        return self._base()

    def _bracketed(self) -> Any:
        end = _CLOSING[self._take()]
        value = self._sum()
        self._take(end)
        return value

    def _base(self) -> Any:
        token = self._take()
        if token[0].isdigit() or token[0] == ".":
            if self._next() == "_":
                self.at += 1
                return mp.mpf(int(token, int(self._argument().real)))
            return mp.mpf(token.replace(",", ""))
        if token in _CLOSING:
            self.at -= 1
            return self._bracketed()
        if token == "|":
            value = self._sum()
            self._take("|")
            return abs(value)
        if token.isalpha():
            return self._name(token)
        return self._command(token[1:])

    def _name(self, name: str) -> Any:
        if name == "i" and self.imaginary:
            return mp.mpc(0, 1)
        if name == "e" and self.euler:
            return mp.e
        while self._next() in ("_", "'"):
            name += self._take()
            if name.endswith("_"):
                start = self.at
                self._argument()
                name += "".join(self.tokens[start : self.at]).strip("{}")
        return mp.mpf(zlib.crc32(f"{name} {self.point}".encode()) % 9973 + 101) / 4999

    def _command(self, name: str) -> Any:  # noqa: PLR0911 - a form, a return
        if name in ("frac", "dfrac", "tfrac"):
            return self._argument() / self._argument()
        if name == "sqrt":
            root = self._bracketed() if self._next() == "[" else 2
            return mp.mpc(self._argument()) ** (1 / mp.mpc(root))
        if name in ("binom", "dbinom"):
            return mp.binomial(self._argument(), self._argument())
        if name == "pi":
            return mp.pi
        if name in ("lfloor", "lceil"):
            value = (mp.floor if name == "lfloor" else mp.ceil)(self._sum())
            self._take("\\r" + name[1:])
            return value
        if _FUNCTIONS.get(name):
            return self._function(name)
        if name in (
            "alpha",
            "beta",
            "gamma",
            "theta",
            "lambda",
            "mu",
            "omega",
            "rho",
            "phi",
            "tau",
            "sigma",
            "epsilon",
            "delta",
            "infty",
            "psi",
            "nu",
            "eta",
            "Omega",
        ):
            return self._name(name)
        raise ValueError(name)

    def _function(self, name: str) -> Any:
        power, base = 1, None
        while self._next() in ("^", "_"):
            if self._take() == "^":
                power = self._argument()
            else:
                base = self._argument()
        value = self._product(functions=False)
        result = mp.log(value) / mp.log(base) if base is not None else _FUNCTIONS[name](value)
        return result**power
