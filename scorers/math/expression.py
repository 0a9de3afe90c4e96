r"""Parser of one LaTeX value (a number or a formula) to an expression tree; plain tuples, no algebra, no evaluation.

A node is a tuple: its kind, then its operands.

* `("num", Fraction)`; `("dec", Fraction, place)` for a number written with a decimal point, `place` being the value of
  one unit of its last digit; `("pi",)`, `("e",)`, `("i",)`; `("sym", name)` for a letter with index, prime and accent.
* `("add", …)`, `("mul", …)`, `("div", a, b)`, `("pow", a, b)`, `("root", a, n)`, `("deg", a)`, `("pct", a)`.
* `("fn", name, …)` for a known function, `("app", name, …)` for an unknown one (`f(x)`), `("sum" | "prod", name, low,
  high, body)`.

Where mathematicians disagree about a notation, `Reading` lists both readings; `parse` takes one of them and tells which
choices the text met. Texts that are not one value (lists, relations, matrices, limits, integrals, units with words)
raise `Unread`.
"""

import re
from enum import IntFlag
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

from . import literals

Node = tuple[Any, ...]

LONGEST = 4000
"""Characters; a longer text is not read."""
DEEPEST = 60
"""Groups, powers and roots within one another."""


class Unread(Exception):
    """The text is not one value in this grammar."""


class Reading(IntFlag):
    """The less common reading of notations that have two."""

    PLAIN = 0
    SLASH_TAKES_PRODUCT = 1
    r"""`1/2x` is 1/(2x); otherwise it is (1/2)x."""
    FUNCTION_TAKES_TERM = 2
    r"""`\sin x/2` is sin(x/2) and `\ln 2(x+1)` is ln(2(x+1)); otherwise the argument ends before `/` and brackets."""
    LOG_TEN = 4
    r"""`\log` without a base is decimal; otherwise natural."""
    LETTER_TIMES_BRACKET = 8
    """`f(x)` is a product; otherwise the value of an unknown function."""
    EULER_E = 16
    """`2e-3` is 2e − 3; otherwise 0.002."""
    POINT_BRACKET_PRODUCT = 32
    """`0.5(3)` is a product; otherwise the repeating decimal 0.5333…"""


class Parsed(NamedTuple):
    """A tree, and the readings for which the text would have another one."""

    node: Node
    choices: Reading


ONE: Node = ("num", Fraction(1))
MINUS_ONE: Node = ("num", Fraction(-1))

_SPACE = re.compile(
    r"(?:[\s~\x01]|\\[,;:!> ]|\\(?:q?quad|left|right|middle|[bB]igg?[lrm]?|displaystyle|textstyle|limits|nolimits"
    r"|thinspace|enspace|hfill|mathstrut)(?![a-zA-Z])\.?(?!\d)|\\[hv]space\*?\{[^{}]*\}|\{\}|\\\s)*"
)
_COMMAND = re.compile(r"\\([a-zA-Z]+)|\\([%{}|&#_])")
_WORD = re.compile(
    r"(?:arc(?:sin|cos|tan|sec|csc)|(?:sin|cos|tan|cot|sec|csc)h?|arsinh|arcosh|artanh|ln|log|lg|exp|sqrt|gcd|lcm|max|min|floor|ceil|sgn|pi)"
)
_LONG_WORD = re.compile(r"(?<!\\)(?<![a-zA-Z])[a-zA-Z]{4,}")
_IN_COMMAND = re.compile(r"\\(?:text\w*|math\w*|operatorname|mbox|boldsymbol|overline|vec)\s*\{$")
_RAW_GROUP = re.compile(r"\s*\{([^{}]*)\}|\s*(\\[a-zA-Z]+|[^\s\\{}])")
_MIXED = re.compile(
    r"(?:\s|\\[ ,;:]|~)*\\[dtc]?frac\s*(?:\{\s*(\d+)\s*\}|(\d))\s*(?:\{\s*(\d+)\s*\}|(\d))"
    r"|(?:\s|\\[ ,;:]|~)+(\d+)\s*/\s*(\d+)(?![\d.])"
)
_INDEX = re.compile(r"\s*_\s*(?:\{((?:[^{}]|\{[^{}]*\})*)\}|([a-zA-Z0-9]|\\[a-zA-Z]+))")
_BOUND = re.compile(r"\s*_\s*\{\s*([a-zA-Z])\s*=")
_DERIVATIVE = re.compile(r"\\frac\s*\{\s*(?:d|\\partial|\\mathrm\s*\{d\}|\\text\s*\{d\})\s*[\^\\a-zA-Z{}]")
_DIGITS = re.compile(r"\d+(?:\.\d+)?")
_CIRCLE = re.compile(r"\s*(?:\{\s*\\circ\s*\}|\\circ(?![a-zA-Z])|\{?\s*\\degree(?![a-zA-Z])\s*\}?)")
_TEMPERATURE = re.compile(r"\s*(?:\\(?:text|mathrm)\s*\{)?\s*[CFK]\b")
_RAISED = re.compile(r"\s*(?:\{\s*\\prime|\\prime|\{?\s*\\?[*'†]|\{?\s*\\(?:text|mathrm)\s*\{(?!\s*[ei]\s*\}))")
_LISTED = re.compile(
    r"(?:\\?(?:gcd|lcm|max|min|Max|Min)|\\(?:operatorname|mathrm|text)\s*\{(?:gcd|lcm|max|min)\}|[CP])\s*(?:\\left)?\s*\\?[({]"
)

FUNCTIONS = {
    **{
        name: name
        for name in ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "coth", "sech", "csch")
    },
    **{f"arc{name}": f"arc{name}" for name in ("sin", "cos", "tan", "sec", "csc")},
    **{f"a{name}": f"arc{name}" for name in ("sin", "cos", "tan")},
    **{f"{dress}{name}h": f"ar{name}h" for name in ("sin", "cos", "tan") for dress in ("ar", "arc")},
    **{"tg": "tan", "ctg": "cot", "cotg": "cot", "cosec": "csc", "arctg": "arctan"},
    **{name: name for name in ("exp", "ln", "log", "lg", "gcd", "lcm", "max", "min", "floor", "ceil", "sgn")},
    **{"sign": "sgn", "signum": "sgn", "abs": "abs", "Gamma": "gamma", "zeta": "zeta", "Re": "re", "Im": "im"},
}
"""Names of functions as written, and their one name in a tree."""
_ONLY_WITH_BRACKET = {"gamma", "zeta", "gcd", "lcm", "max", "min", "floor", "ceil", "abs", "re", "im"}
_INVERSE = {name: f"arc{name}" for name in ("sin", "cos", "tan", "sec", "csc")} | {
    f"{name}h": f"ar{name}h" for name in ("sin", "cos", "tan")
}
_GREEK = {
    "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "vartheta", "iota", "kappa",
    "lambda", "mu", "nu", "xi", "omicron", "rho", "varrho", "sigma", "varsigma", "tau", "upsilon", "phi", "varphi",
    "chi", "psi", "omega", "Gamma", "Delta", "Theta", "Lambda", "Xi", "Sigma", "Upsilon", "Phi", "Psi", "Omega", "ell",
    "hbar", "aleph", "Pi",
}  # fmt: skip
_STYLES = {"text", "textbf", "textit", "textrm", "mathrm", "mathbf", "mathit", "mathsf", "mathtt", "mathcal", "mathbb",
           "mathfrak", "mbox", "operatorname", "boldsymbol", "bm", "rm", "bf", "it"}  # fmt: skip
_ACCENTS = {"vec", "hat", "bar", "tilde", "dot", "ddot", "overline", "widehat", "overrightarrow", "widetilde"}
_TIMES = {"times", "cdot", "ast", "bullet"}
_FENCES = {
    "lfloor": ("rfloor", "floor"),
    "lceil": ("rceil", "ceil"),
    "lvert": ("rvert", "abs"),
    "vert": ("vert", "abs"),
}
_SIGNS = str.maketrans(
    {
        "−": "-", "–": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "∗": "*", "÷": "/", "∕": "/", "π": r"\pi ",
        "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ", "°": r"\degree ", "…": r"\ldots ",
        "½": r"\frac12 ", "⅓": r"\frac13 ", "⅔": r"\frac23 ", "¼": r"\frac14 ", "¾": r"\frac34 ", "√": r"\sqrt ",
        "∛": r"\sqrt[3] ", "∜": r"\sqrt[4] ", "∑": r"\sum ", "∏": r"\prod ", "θ": r"\theta ", "φ": r"\varphi ",
        "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "δ": r"\delta ", "λ": r"\lambda ", "μ": r"\mu ",
        "ω": r"\omega ", "σ": r"\sigma ", "ρ": r"\rho ", "τ": r"\tau ", "ε": r"\varepsilon ", "Δ": r"\Delta ",
        "\u00a0": " ", "\u2009": " ", "\u202f": " ", "ⅈ": r"\mathrm{i}", "ⅇ": r"\mathrm{e}",
        "²": "^2", "³": "^3", "¹": "^1", "⁴": "^4", "⁵": "^5", "⁶": "^6", "⁷": "^7", "⁸": "^8", "⁹": "^9", "⁰": "^0",
    }
)  # fmt: skip


@lru_cache(maxsize=64)
def parse(text: str, reading: Reading = Reading.PLAIN) -> Parsed:
    """The tree of a text under one reading; `Unread` if it is not one value, too long or nested too deep."""
    if len(text) > LONGEST:
        raise Unread("too long")
    text = _listed(text.translate(_SIGNS)).strip().strip("$").rstrip(";, ")
    text = text[:-1] if text.endswith(".") and not text.endswith("..") else text
    if not text or _DERIVATIVE.search(text) or text.count(":") > 1:
        raise Unread("not a value")
    if re.fullmatch(r"[a-zA-Z]{3,}", text) or _prose(text):
        raise Unread("words")
    parser = _Parser(text, reading)
    node = parser.whole()
    return Parsed(node, parser.choices)


def _prefix(name: str | None) -> str:
    r"""The command that a name is, or begins with: data sets that lost their spaces have `\piG` and `\cotx`."""
    if not name or name in _KNOWN or name in _OTHER:
        return name or ""
    starts = (name[:length] for length in range(len(name) - 1, 1, -1))
    return next((start for start in starts if start in _GLUED), name)


def _prose(text: str) -> bool:
    """Whether a text has words of four letters and more that are no names of functions."""
    for word in _LONG_WORD.finditer(text):
        named = all(len(letters) < 2 for letters in _WORD.split(word[0]))
        if not named and not _IN_COMMAND.search(text[max(0, word.start() - 20) : word.start()]):
            return True
    return False


def _listed(text: str) -> str:
    """The commas between the arguments of gcd, max and the like as `\x01,`, so that `gcd(12,345)` has two."""
    pieces, end = [], 0
    for found in _LISTED.finditer(text):
        if found.end() < end:
            continue
        pieces.append(text[end : found.end()])
        depth, end = 1, found.end()
        while end < len(text) and depth:
            depth += (text[end] in "({") - (text[end] in ")}")
            pieces.append("\x01," if text[end] == "," and depth == 1 else text[end])
            end += 1
    return "".join(pieces) + text[end:]


class _Parser:
    """Recursive descent over the characters of a text."""

    def __init__(self, text: str, reading: Reading) -> None:
        self.text = text
        self.at = 0
        self.reading = reading
        self.choices = Reading.PLAIN
        self.depth = 0
        self.bars = 0

    def chose(self, choice: Reading) -> bool:
        self.choices |= choice
        return bool(self.reading & choice)

    def whole(self) -> Node:
        node = self.sum()
        if self.peek():
            raise Unread(f"unread: {self.text[self.at : self.at + 20]!r}")
        return node

    def peek(self) -> str:
        """The next character that is not a space, which is skipped; "" at the end."""
        space = _SPACE.match(self.text, self.at)
        if space:
            self.at = space.end()
        return self.text[self.at] if self.at < len(self.text) else ""

    def take(self, character: str) -> bool:
        if self.peek() != character:
            return False
        self.at += 1
        return True

    def expect(self, character: str) -> None:
        if not self.take(character):
            raise Unread(f"no {character!r} at {self.at}")

    def command(self) -> str:
        """The name of a command that comes next, not taken; "" if none does."""
        if self.peek() != "\\":
            return ""
        found = _COMMAND.match(self.text, self.at)
        return (_prefix(found[1]) or found[2]) if found else ""

    def skip_command(self) -> None:
        self.at += 1 + len(self.command())
        if self.text[self.at : self.at + 1] == "*":
            self.at += 1

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise Unread("nested too deep")

    # sums and products

    def sum(self) -> Node:
        self.deeper()
        terms = [self.signed(self.sign())]
        while (sign := self.peek()) and sign in "+-":
            terms.append(self.signed(self.sign()))
        self.depth -= 1
        return terms[0] if len(terms) == 1 else ("add", *terms)

    def sign(self) -> int:
        sign = 1
        while (character := self.peek()) and character in "+-":
            sign = -sign if character == "-" else sign
            self.at += 1
        return sign

    def signed(self, sign: int) -> Node:
        term = self.term()
        return negative(term) if sign < 0 else term

    def term(self) -> Node:
        over, under = [self.factor()], list[Node]()
        while operator := self.operator():
            if operator == "%":
                return self.modulo(_quotient(over, under))
            if operator == "/":
                under.append(self.divisor())
            else:
                sign = self.sign() if operator == "*" else 1
                over.append(negative(self.factor()) if sign < 0 else self.factor())
        return _quotient(over, under)

    def modulo(self, node: Node) -> Node:
        return ("fn", "mod", node, self.term())

    def operator(self) -> str:
        r"""`*`, `/`, `%` (mod), taken; `j` for a factor that follows without a sign; "" where the term ends."""
        character = self.peek()
        if character in ("*", "/", ":"):
            self.at += 1
            self.take("*") if character == "*" else None
            return "*" if character == "*" else "/"
        if (name := self.command()) and (name in _TIMES or name in ("div", "bmod", "mod")):
            self.skip_command()
            return "*" if name in _TIMES else "/" if name == "div" else "%"
        if character.isdigit() and self.at and self.text[: self.at].rstrip()[-1:].isdigit():
            raise Unread("two numbers side by side")
        return "j" if self.starts_factor() else ""

    def starts_factor(self) -> bool:
        character = self.peek()
        if character == "|":
            return self.bars == 0
        if character == "\\":
            name = self.command()
            return name in _OPERANDS or name in FUNCTIONS or name in _GREEK or name in _STYLES or name in _ACCENTS
        return bool(character) and (character.isalnum() or character in "([{.")

    def divisor(self) -> Node:
        factors = [negative(self.factor()) if self.sign() < 0 else self.factor()]
        if self.starts_factor() and not self.number_next() and self.chose(Reading.SLASH_TAKES_PRODUCT):
            while self.starts_factor():
                factors.append(self.factor())
        return _product(factors)

    def number_next(self) -> bool:
        return self.peek().isdigit()

    # factors

    def factor(self) -> Node:
        node = self.base()
        factorials = 0
        while True:
            character, name = self.peek(), self.command()
            if character == "^":
                node = self.power(node)
            elif character == "!" and self.text[self.at : self.at + 2] != "!=":
                factorials += 1
                if factorials > 3:
                    raise Unread("factorials")
                double = self.text.startswith("!!", self.at)
                self.at += 1 + double
                node = ("fn", "double_factorial" if double else "factorial", node)
            elif name == "%" or character == "%":
                self.at += 1 + (character == "\\")
                node = ("pct", node)
            elif name in ("degree", "textdegree"):
                self.skip_command()
                node = ("deg", node)
            elif character == "_":
                raise Unread("an index of what is no letter")
            else:
                return node

    def power(self, base: Node) -> Node:
        self.expect("^")
        if found := _CIRCLE.match(self.text, self.at):
            self.at = found.end()
            if _TEMPERATURE.match(self.text, self.at):
                raise Unread("a temperature")
            return ("deg", base)
        if _RAISED.match(self.text, self.at):
            raise Unread("a raised mark")
        return ("pow", base, self.exponent())

    def exponent(self) -> Node:
        self.deeper()
        sign = self.sign()
        character = self.peek()
        if character.isdigit():
            found = _DIGITS.match(self.text, self.at)
            assert found
            self.at = found.end()
            node: Node = literals.plain(found[0])
        elif character == "{":
            node = self.group("{", "}")
        else:
            node = self.base()
        if self.peek() == "^":
            node = self.power(node)
        self.depth -= 1
        return negative(node) if sign < 0 else node

    def base(self) -> Node:
        character = self.peek()
        if character.isdigit() or character == ".":
            return self.number()
        if character in "([":
            return self.group(character, ")" if character == "(" else "]")
        if character == "{":
            return self.group("{", "}")
        if character == "|":
            return self.bar()
        if character == "\\":
            return self.command_value()
        if character.isascii() and character.isalpha():
            return self.letters()
        raise Unread(f"not an operand: {self.text[self.at : self.at + 20]!r}")

    def group(self, opening: str, closing: str) -> Node:
        self.expect(opening)
        bars, self.bars = self.bars, 0
        node = self.sum()
        if opening == "{" and (name := self.command()) in ("over", "choose"):
            self.skip_command()
            node = ("div", node, self.sum()) if name == "over" else ("fn", "binomial", node, self.sum())
        self.expect(closing)
        self.bars = bars
        return node

    def bar(self) -> Node:
        self.expect("|")
        bars, self.bars = self.bars, 1
        node = self.sum()
        self.expect("|")
        self.bars = bars
        return ("fn", "abs", node)

    def number(self) -> Node:
        literal = literals.read(self.text, self.at)
        if literal is None:
            raise Unread("not a number")
        choice = {"e": Reading.EULER_E, "(": Reading.POINT_BRACKET_PRODUCT}.get(literal.doubt)
        if choice is not None and self.chose(choice):
            literal = literals.read(self.text, self.at, simple=True)
            assert literal
        self.at = literal.end
        if literal.node[0] == "num" and literal.whole and (mixed := _MIXED.match(self.text, self.at)):
            over, under = int(mixed[1] or mixed[2] or mixed[5]), int(mixed[3] or mixed[4] or mixed[6])
            if 0 < over < under and literal.node[1]:
                self.at = mixed.end()
                return ("num", literal.node[1] + Fraction(over, under))
        return literal.node

    # letters and commands

    def letters(self) -> Node:
        word = _WORD.match(self.text, self.at)
        if word and (word[0] != "pi" or not self.text[word.end() : word.end() + 1].isalpha()):
            self.at = word.end()
            if word[0] == "sqrt":
                return self.root()
            return ("pi",) if word[0] == "pi" else self.function(FUNCTIONS[word[0]])
        letter = self.text[self.at]
        self.at += 1
        if letter in "CP" and self.peek() == "(" and (pair := self.counted(letter)):
            return pair
        return self.symbol(letter)

    def counted(self, letter: str) -> Node | None:
        """`C(n,k)` and `P(n,k)`; None, with nothing taken, if it is not that."""
        start = self.at
        try:
            arguments = self.arguments()
        except Unread:
            arguments = []
        if len(arguments) == 2:
            return ("fn", "binomial" if letter == "C" else "permutations", *arguments)
        self.at = start
        return None

    def symbol(self, name: str) -> Node:
        """A letter with its index and primes; the value of an unknown function where it is one."""
        if index := _INDEX.match(self.text, self.at):
            self.at = index.end()
            name += "_" + re.sub(r"\\(?:text|mathrm|rm)|[\s{}]|\\[,;:! ]", "", index[1] or index[2])
        while self.text[self.at : self.at + 1] == "'":
            name += "'"
            self.at += 1
        letter = name.rstrip("'").partition("_")[0]
        called = letter in ("f", "g", "h", "F", "G", "H", "phi", "varphi", "psi") or name.endswith("'")
        if called and self.peek() == "(" and not self.chose(Reading.LETTER_TIMES_BRACKET):
            return ("app", name, *self.arguments())
        return ("sym", name)

    def command_value(self) -> Node:  # noqa: PLR0911 - a command, a return
        name = self.command()
        self.skip_command()
        if name in ("frac", "dfrac", "tfrac", "cfrac"):
            return ("div", self.argument(), self.argument())
        if name in ("binom", "dbinom", "tbinom"):
            return ("fn", "binomial", self.argument(), self.argument())
        if name == "sqrt":
            return self.root()
        if name in ("pi", "uppi"):
            return ("pi",)
        if name in ("imath", "iota", "mathi"):
            return self.symbol("i")
        if name in _FENCES:
            closing, function = _FENCES[name]
            node = self.sum()
            if self.command() != closing:
                raise Unread(f"no {closing}")
            self.skip_command()
            return ("fn", function, node)
        if name == "|" or name not in _OPERANDS | FUNCTIONS.keys() | _GREEK | _STYLES | _ACCENTS:
            raise Unread(name)
        if name in ("sum", "prod"):
            return self.series(name)
        if name in FUNCTIONS and (FUNCTIONS[name] not in ("gamma", "zeta") or self.peek() == "("):
            return self.function(FUNCTIONS[name])
        if name in _STYLES:
            return self.styled(name)
        if name in _ACCENTS:
            return self.accented(name)
        return self.symbol(name)

    def styled(self, style: str) -> Node:
        found = _RAW_GROUP.match(self.text, self.at)
        if not found:
            raise Unread(style)
        raw = (found[1] if found[1] is not None else found[2]).strip()
        if raw in FUNCTIONS:
            self.at = found.end()
            return self.function(FUNCTIONS[raw])
        if raw in ("e", "i", "\\pi", "π") and style not in ("mathbf", "boldsymbol", "bm", "mathcal"):
            self.at = found.end()
            return {"e": ("e",), "i": ("i",)}.get(raw, ("pi",))
        if re.fullmatch(r"[A-Za-z]{1,12}|\\[a-zA-Z]+", raw):
            self.at = found.end()
            dressed = style in ("mathbf", "boldsymbol", "bm", "mathcal", "mathbb", "mathfrak")
            return self.symbol(("vec:" if dressed else "word:" if len(raw) > 1 else "") + raw.lstrip("\\"))
        if self.peek() == "{":
            return self.group("{", "}")
        raise Unread(style)

    def accented(self, accent: str) -> Node:
        found = _RAW_GROUP.match(self.text, self.at)
        raw = (found[1] if found and found[1] is not None else found[2] if found else "").strip()
        if not found or not re.fullmatch(r"[A-Za-z]{1,3}(?:_\w)?|\\[a-zA-Z]+", raw):
            raise Unread(accent)
        self.at = found.end()
        accent = {"overrightarrow": "vec", "widehat": "hat", "overline": "bar", "widetilde": "tilde"}.get(
            accent, accent
        )
        return self.symbol(f"{accent}:{raw.lstrip(chr(92))}")

    def argument(self) -> Node:
        r"""What `\frac` and `\sqrt` take: a group, one digit, one letter or one command."""
        self.deeper()
        character = self.peek()
        if character == "{":
            node = self.group("{", "}")
        elif character.isdigit():
            self.at += 1
            node = ("num", Fraction(int(character)))
        elif character.isascii() and character.isalpha():
            self.at += 1
            node = ("sym", character)
        elif character == "\\":
            node = self.command_value()
        else:
            raise Unread("no argument")
        self.depth -= 1
        return node

    def root(self) -> Node:
        degree: Node = ("num", Fraction(2))
        if self.peek() == "[":
            degree = self.group("[", "]")
        if self.peek() == "(":
            return ("root", self.group("(", ")"), degree)
        if found := _DIGITS.match(self.text, self.at):
            self.at = found.end()
            return ("root", literals.plain(found[0]), degree)
        return ("root", self.argument(), degree)

    def arguments(self) -> list[Node]:
        """The values in the round brackets (or the set) that come next."""
        braces = self.command() == "{"
        self.skip_command() if braces else self.expect("(")
        bars, self.bars = self.bars, 0
        values = [self.sum()]
        while self.take(","):
            values.append(self.sum())
        if braces and self.command() == "}":
            self.skip_command()
        else:
            self.expect(")")
        self.bars = bars
        return values

    def function(self, name: str) -> Node:
        base: Node | None = None
        power: Node | None = None
        for _ in range(2):
            if self.peek() == "_" and name == "log":
                self.at += 1
                base = self.argument()
            elif self.peek() == "^":
                self.at += 1
                power = negative(self.argument()) if self.sign() < 0 else self.argument()
        if power == MINUS_ONE and name in _INVERSE:
            name, power = _INVERSE[name], None
        if name == "log" and base is None:
            base = ("num", Fraction(10)) if self.chose(Reading.LOG_TEN) else None
        elif name == "lg":
            base = ("num", Fraction(10))
        name = "ln" if name in ("log", "lg") else name
        value: Node = ("fn", name, *self.function_arguments(name))
        if base is not None:
            value = ("div", value, ("fn", "ln", base))
        return ("pow", value, power) if power else value

    def function_arguments(self, name: str) -> list[Node]:
        self.deeper()
        listed = self.command() == "{" and name in ("max", "min", "gcd", "lcm")
        if self.peek() == "(" or listed:
            arguments = self.arguments()
        elif name in _ONLY_WITH_BRACKET and self.peek() not in ("[", "{"):
            raise Unread(f"{name} of what")
        else:
            arguments = [self.product_argument()]
        wanted = (2, 99) if name in ("gcd", "lcm", "max", "min") else (1, 1)
        if not wanted[0] <= len(arguments) <= wanted[1]:
            raise Unread(f"{name} of {len(arguments)}")
        self.depth -= 1
        return arguments

    def product_argument(self) -> Node:
        r"""`2x` of `\sin 2x`: the factors up to a bracket, a fraction, another function or a sign."""
        sign = self.sign()
        bracketed = self.peek() in ("{", "[")
        over, under = [self.factor()], list[Node]()
        while not bracketed and (start := self.peek()):
            plain = start.isalnum() or (start == "\\" and self.command() in _GREEK | {"pi"})
            word = _WORD.match(self.text, self.at)
            if plain and (word is None or word[0] == "pi"):
                if start.isdigit():
                    break
                over.append(self.factor())
                continue
            takes = start == "/" or (self.starts_factor() and self.command() not in FUNCTIONS and word is None)
            if not takes or not self.chose(Reading.FUNCTION_TAKES_TERM):
                break
            if start == "/":
                self.at += 1
                under.append(self.factor())
            else:
                over.append(self.factor())
        node = _quotient(over, under)
        return negative(node) if sign < 0 else node

    def series(self, kind: str) -> Node:
        bound = _BOUND.match(self.text, self.at)
        if bound is None:
            raise Unread("a sum over what")
        self.deeper()
        self.at = bound.end()
        low = self.sum()
        self.expect("}")
        self.expect("^")
        high = self.exponent()
        self.depth -= 1
        return (kind, bound[1], low, high, self.term())


_OPERANDS = {
    "frac", "dfrac", "tfrac", "cfrac", "binom", "dbinom", "tbinom", "sqrt", "pi", "uppi", "imath", "iota", "lfloor",
    "lceil", "lvert", "vert", "sum", "prod",
}  # fmt: skip


_GLUED = FUNCTIONS.keys() | _GREEK | {"pi", "cdot", "times"}
_KNOWN = _OPERANDS | _GLUED | _STYLES | _ACCENTS
_OTHER = {"infty", "int", "in", "mod", "bmod", "pmod", "div", "over", "choose", "degree", "ldots", "cdots", "dots"}


def negative(node: Node) -> Node:
    """A node with the other sign; a number stays a number."""
    if node[0] == "num":
        return ("num", -node[1])
    if node[0] == "dec":
        return ("dec", -node[1], node[2])
    return ("mul", MINUS_ONE, node)


def _product(factors: list[Node]) -> Node:
    return factors[0] if len(factors) == 1 else ("mul", *factors)


def _quotient(over: list[Node], under: list[Node]) -> Node:
    return ("div", _product(over), _product(under)) if under else _product(over)


def symbols(node: Node) -> set[str]:
    """The names of the free symbols of a tree."""
    if node[0] == "sym":
        return {node[1]}
    if node[0] in ("sum", "prod"):
        return symbols(node[2]) | symbols(node[3]) | (symbols(node[4]) - {node[1]})
    return set().union(*(symbols(part) for part in node[1:] if isinstance(part, tuple)))


def substitute(node: Node, values: dict[str, Node]) -> Node:
    """A tree with nodes in the place of free symbols."""
    if node[0] == "sym":
        return values.get(node[1], node)
    if node[0] in ("sum", "prod"):
        inner = {name: value for name, value in values.items() if name != node[1]}
        return (*node[:2], substitute(node[2], values), substitute(node[3], values), substitute(node[4], inner))
    if len(node) == 1 or node[0] in ("num", "dec"):
        return node
    return tuple(substitute(part, values) if isinstance(part, tuple) else part for part in node)


def kinds(node: Node) -> set[str]:
    """The kinds of node in a tree, and the names of its functions."""
    found = {node[0], node[1]} if node[0] == "fn" else {node[0]}
    return found.union(*(kinds(part) for part in node[1:] if isinstance(part, tuple)))
