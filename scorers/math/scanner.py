"""The scanner below the parser: characters, spaces, commands, and the groups and numbers of a text."""

from fractions import Fraction

from . import literals
from . import vocabulary as words
from .trees import Node, Reading, Unread

DEEPEST = 60
"""Groups, powers and roots within one another."""


class Scanner:
    """A place in a text, the reading under which it is read, and how deep it is nested."""

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

    def peek(self) -> str:
        """The next character that is not a space, which is skipped; "" at the end."""
        space = words.SPACE.match(self.text, self.at)
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
        match = words.COMMAND.match(self.text, self.at)
        return (words.command_name(match[1]) or match[2]) if match else ""

    def skip_command(self) -> None:
        self.at += 1 + len(self.command())
        if self.text[self.at : self.at + 1] == "*":
            self.at += 1

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise Unread("nested too deep")

    def sign(self) -> int:
        sign = 1
        while (character := self.peek()) and character in "+-":
            sign = -sign if character == "-" else sign
            self.at += 1
        return sign

    def sum(self) -> Node:
        """The sum that comes next, up to the first token that does not belong to it."""
        raise NotImplementedError

    def group(self, opening: str, closing: str) -> Node:
        self.expect(opening)
        bars, self.bars = self.bars, 0
        node = self.sum()
        if opening == "{":
            node = self.stacked(node)
        self.expect(closing)
        self.bars = bars
        return node

    def stacked(self, above: Node) -> Node:
        r"""The node of `\over` or `\choose` with everything before it in the group or text."""
        if (name := self.command()) not in ("over", "choose"):
            return above
        self.skip_command()
        return ("div", above, self.sum()) if name == "over" else ("fn", "binomial", above, self.sum())

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
        if literal.node[0] == "num" and literal.whole and (mixed := words.MIXED.match(self.text, self.at)):
            over, under = int(mixed[1] or mixed[2] or mixed[5]), int(mixed[3] or mixed[4] or mixed[6])
            if 0 < over < under and literal.node[1]:
                self.at = mixed.end()
                return ("num", literal.node[1] + Fraction(over, under))
        return literal.node
