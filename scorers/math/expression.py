r"""Parser of one LaTeX value (a number or a formula) to an expression tree (`trees`).

Where mathematicians disagree about a notation, `Reading` lists both readings; `parse` takes one of them and tells which
choices the text met. Texts that are not one value (lists, relations, matrices, limits, integrals, units with words)
raise `Unread`.
"""

import re
from functools import lru_cache

from . import literals
from . import vocabulary as words
from .operands import Operands
from .trees import Node, Parsed, Reading, Unread, negative, product, quotient

LONGEST = 4000
"""Characters; a longer text is not read."""


@lru_cache(maxsize=64)
def parse(text: str, reading: Reading = Reading.PLAIN) -> Parsed:
    """The tree of a text under one reading; `Unread` if it is not one value, too long or nested too deep."""
    if len(text) > LONGEST:
        raise Unread("too long")
    text = _listed(text.translate(words.SIGNS)).strip().strip("$").rstrip(";, ")
    text = text[:-1] if text.endswith(".") and not text.endswith("..") else text
    if not text or words.DERIVATIVE.search(text) or text.count(":") > 1:
        raise Unread("not a value")
    if re.fullmatch(r"[a-zA-Z]{3,}", text) or _prose(text):
        raise Unread("words")
    parser = _Parser(text, reading)
    node = parser.whole()
    return Parsed(node, parser.choices)


def _prose(text: str) -> bool:
    """Whether a text has words of four letters and more that are not names of functions."""
    for word in words.LONG_WORD.finditer(text):
        named = all(len(letters) < 2 for letters in words.WORD.split(word[0]))
        if not named and not words.IN_COMMAND.search(text[max(0, word.start() - 20) : word.start()]):
            return True
    return False


def _listed(text: str) -> str:
    """The commas between the arguments of gcd, max and the like as `\x01,`, so that `gcd(12,345)` has two."""
    pieces, end = [], 0
    for match in words.LISTED.finditer(text):
        if match.end() < end:
            continue
        pieces.append(text[end : match.end()])
        depth, end = 1, match.end()
        while end < len(text) and depth:
            depth += (text[end] in "({") - (text[end] in ")}")
            pieces.append("\x01," if text[end] == "," and depth == 1 else text[end])
            end += 1
    return "".join(pieces) + text[end:]


class _Parser(Operands):
    """Recursive descent over the characters of a text: sums, products, powers."""

    def whole(self) -> Node:
        node = self.stacked(self.sum())
        if self.peek():
            raise Unread(f"unread: {self.text[self.at : self.at + 20]!r}")
        return node

    # sums and products

    def sum(self) -> Node:
        self.deeper()
        terms = [self.signed(self.sign())]
        while (sign := self.peek()) and sign in "+-":
            terms.append(self.signed(self.sign()))
        self.depth -= 1
        return terms[0] if len(terms) == 1 else ("add", *terms)

    def signed(self, sign: int) -> Node:
        term = self.term()
        return negative(term) if sign < 0 else term

    def term(self) -> Node:
        over, under = [self.factor()], list[Node]()
        while operator := self.operator():
            if operator == "%":
                return self.modulo(quotient(over, under))
            if operator == "/":
                under.append(self.divisor())
            else:
                sign = self.sign() if operator == "*" else 1
                over.append(negative(self.factor()) if sign < 0 else self.factor())
        return quotient(over, under)

    def modulo(self, node: Node) -> Node:
        return ("fn", "mod", node, self.term())

    def operator(self) -> str:
        r"""`*`, `/`, `%` (mod), taken; `j` for a factor that follows without a sign; "" where the term ends."""
        character = self.peek()
        if character in ("*", "/", ":"):
            self.at += 1
            self.take("*") if character == "*" else None
            return "*" if character == "*" else "/"
        if (name := self.command()) and (name in words.TIMES or name in ("div", "bmod", "mod")):
            self.skip_command()
            return "*" if name in words.TIMES else "/" if name == "div" else "%"
        if character.isdigit() and self.at and self.text[: self.at].rstrip()[-1:].isdigit():
            raise Unread("two numbers side by side")
        return "j" if self.starts_factor() else ""

    def starts_factor(self) -> bool:
        character = self.peek()
        if character == "|":
            return self.bars == 0
        if character == "\\":
            name = self.command()
            return (
                name in words.OPERANDS
                or name in words.FUNCTIONS
                or name in words.GREEK
                or name in words.STYLES
                or name in words.ACCENTS
            )
        return bool(character) and (character.isalnum() or character in "([{.")

    def divisor(self) -> Node:
        factors = [negative(self.factor()) if self.sign() < 0 else self.factor()]
        if self.starts_factor() and not self.number_next() and self.chose(Reading.SLASH_TAKES_PRODUCT):
            while self.starts_factor():
                factors.append(self.factor())
        return product(factors)

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
                if self.number_next():
                    raise Unread("a number behind a percent sign")
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
        if match := words.CIRCLE.match(self.text, self.at):
            self.at = match.end()
            if words.TEMPERATURE.match(self.text, self.at):
                raise Unread("a temperature")
            return ("deg", base)
        if words.RAISED.match(self.text, self.at):
            raise Unread("a raised mark")
        return ("pow", base, self.exponent())

    def exponent(self) -> Node:
        self.deeper()
        sign = self.sign()
        character = self.peek()
        if character.isdigit():
            match = words.DIGITS.match(self.text, self.at)
            assert match
            self.at = match.end()
            node: Node = literals.plain(match[0])
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
