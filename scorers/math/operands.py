"""Operands of a formula: letters and what they carry, commands with their arguments, functions, sums over an index."""

import re
from fractions import Fraction

from . import literals
from . import vocabulary as words
from .scanner import Scanner
from .trees import MINUS_ONE, Node, Reading, Unread, negative, quotient


class Operands(Scanner):
    """Reads one operand; sums, products and powers are the parser's."""

    def factor(self) -> Node:
        """One operand with its powers and signs behind it."""
        raise NotImplementedError

    def term(self) -> Node:
        """A product."""
        raise NotImplementedError

    def exponent(self) -> Node:
        """The operand of `^`."""
        raise NotImplementedError

    def starts_factor(self) -> bool:
        """Whether an operand comes next."""
        raise NotImplementedError

    def letters(self) -> Node:
        word = words.WORD.match(self.text, self.at)
        if word and (word[0] != "pi" or not self.text[word.end() : word.end() + 1].isalpha()):
            self.at = word.end()
            if word[0] == "sqrt":
                return self.root()
            return ("pi",) if word[0] == "pi" else self.function(words.FUNCTIONS[word[0]])
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

    def chosen(self) -> Node | None:
        """The binomial of `_n^k` after a C, or `^k_n`, the greater number being n; else None, nothing taken."""
        start, first = self.at, self.peek()
        if not first or first not in "_^":
            return None
        scripts: list[Node] = []
        try:
            for sign in (first, "^" if first == "_" else "_"):
                self.expect(sign)
                scripts.append(self.argument())
        except Unread:
            scripts = []
        numbers = [script[1] for script in scripts if script[0] == "num"]
        if len(scripts) == 2 and (len(numbers) == 2 if first == "^" else self.chose(Reading.C_CHOOSES)):
            return ("fn", "binomial", *(sorted(scripts, reverse=True) if len(numbers) == 2 else scripts))
        self.at = start
        return None

    def symbol(self, name: str) -> Node:
        """A letter with its index and primes; the value of an unknown function where it is one."""
        if name == "C" and (chosen := self.chosen()):
            return chosen
        if index := words.INDEX.match(self.text, self.at):
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
        if name in words.FENCES:
            closing, function = words.FENCES[name]
            node = self.sum()
            if self.command() != closing:
                raise Unread(f"no {closing}")
            self.skip_command()
            return ("fn", function, node)
        if (
            name == "|"
            or name not in words.OPERANDS | words.FUNCTIONS.keys() | words.GREEK | words.STYLES | words.ACCENTS
        ):
            raise Unread(name)
        if name in ("sum", "prod"):
            return self.series(name)
        if name in words.FUNCTIONS and (words.FUNCTIONS[name] not in ("gamma", "zeta") or self.peek() == "("):
            return self.function(words.FUNCTIONS[name])
        if name in words.STYLES:
            return self.styled(name)
        if name in words.ACCENTS:
            return self.accented(name)
        return self.symbol(name)

    def styled(self, style: str) -> Node:
        match = words.RAW_GROUP.match(self.text, self.at)
        if not match:
            raise Unread(style)
        raw = (match[1] if match[1] is not None else match[2]).strip()
        if raw in words.FUNCTIONS:
            self.at = match.end()
            return self.function(words.FUNCTIONS[raw])
        if raw in ("e", "i", "\\pi", "π") and style not in ("mathbf", "boldsymbol", "bm", "mathcal"):
            self.at = match.end()
            return {"e": ("e",), "i": ("i",)}.get(raw, ("pi",))
        if re.fullmatch(r"[A-Za-z]{1,12}|\\[a-zA-Z]+", raw):
            self.at = match.end()
            dressed = style in ("mathbf", "boldsymbol", "bm", "mathcal", "mathbb", "mathfrak")
            return self.symbol(("vec:" if dressed else "word:" if len(raw) > 1 else "") + raw.lstrip("\\"))
        if self.peek() == "{":
            return self.group("{", "}")
        raise Unread(style)

    def accented(self, accent: str) -> Node:
        match = words.RAW_GROUP.match(self.text, self.at)
        raw = (match[1] if match and match[1] is not None else match[2] if match else "").strip()
        if not match or not re.fullmatch(r"[A-Za-z]{1,3}(?:_\w)?|\\[a-zA-Z]+", raw):
            raise Unread(accent)
        self.at = match.end()
        accent = {"overrightarrow": "vec", "widehat": "hat", "overline": "bar", "widetilde": "tilde"}.get(
            accent, accent
        )
        return self.symbol(f"{accent}:{raw.lstrip(chr(92))}")

    def argument(self) -> Node:
        r"""An argument of `\frac` or `\sqrt`: a group, one digit, one letter or one command."""
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
        if match := words.DIGITS.match(self.text, self.at):
            self.at = match.end()
            return ("root", literals.plain(match[0]), degree)
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
        if power == MINUS_ONE and name in words.INVERSE:
            name, power = words.INVERSE[name], None
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
        elif name in words.ONLY_WITH_BRACKET and self.peek() not in ("[", "{"):
            raise Unread(f"{name} of what")
        else:
            arguments = [self.product_argument()]
        arity = (2, 99) if name in ("gcd", "lcm", "max", "min") else (1, 1)
        if not arity[0] <= len(arguments) <= arity[1]:
            raise Unread(f"{name} of {len(arguments)}")
        self.depth -= 1
        return arguments

    def product_argument(self) -> Node:
        r"""`2x` of `\sin 2x`: the factors up to a bracket, a fraction, another function or a sign."""
        sign = self.sign()
        bracketed = self.peek() in ("{", "[")
        over, under = [self.factor()], list[Node]()
        while not bracketed and (start := self.peek()):
            plain = start.isalnum() or (start == "\\" and self.command() in words.GREEK | {"pi"})
            word = words.WORD.match(self.text, self.at)
            if plain and (word is None or word[0] == "pi"):
                if start.isdigit():
                    break
                over.append(self.factor())
                continue
            takes = start == "/" or (self.starts_factor() and self.command() not in words.FUNCTIONS and word is None)
            if not takes or not self.chose(Reading.FUNCTION_TAKES_TERM):
                break
            if start == "/":
                self.at += 1
                under.append(self.factor())
            else:
                over.append(self.factor())
        node = quotient(over, under)
        return negative(node) if sign < 0 else node

    def series(self, kind: str) -> Node:
        bound = words.BOUND.match(self.text, self.at)
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
