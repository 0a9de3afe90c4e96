r"""Numbers as they are written in LaTeX and plain text: separators, repeating decimals, powers of ten.

* Thousands are grouped by `,`, `{,}`, `\,`, `\!` or a space in threes, or as in India (`1,00,000`).
* `3{,}5` and `12{,}34`, with a comma that groups no three digits, are continental decimals: 3.5 and 12.34.
* `0.\overline{3}`, `0.1\dot{2}3\dot{4}`, `0.(3)` and `0.333\ldots` repeat; `3.14159\ldots` repeats nothing and stays a
  decimal of the digits that are written.
"""

import re
from fractions import Fraction
from typing import Any, NamedTuple

MOST_DIGITS = 4000
MOST_EXPONENT = 20_000
"""Maximum exponent of ten, as in `1e300`; larger ones are not read as numbers."""


class Literal(NamedTuple):
    """A number's node, where it ends, whether it is plain digits, and what its notation may mean besides."""

    node: tuple[Any, ...]
    end: int
    whole: bool = False
    doubt: str = ""


_SIMPLE = r"(?:\d+\.\d+|\d+\.(?![\d.])|\.\d+|\d+)"
_LITERAL = re.compile(
    r"(?P<over>\d*\.\d*)\\(?:overline|bar)\s*(?:\{\s*(?P<block>\d+)\s*\}|(?P<block1>\d))"
    r"|(?P<dotted>\d*\.\d*)\\dot\s*(?:\{\s*(?P<d>\d)\s*\}|(?P<d1>\d))(?:(?P<between>\d*)\\dot\s*(?:\{\s*(?P<e>\d)\s*\}|(?P<e1>\d)))?"
    r"|(?P<bracketed>\d+\.\d*)\((?P<inside>\d+)\)"
    r"|(?P<endless>\d*\.\d+)\s*(?:\\[lc]?dots(?![a-zA-Z])(?:[cbmio](?![a-zA-Z]))?|\.\.\.+)"
    r"|(?P<indian>\d{1,2}(?:(?:,|\{,\})\d{2})+(?:,|\{,\})\d{3}(?:\.\d+)?)(?!\d)"
    r"|(?P<grouped>\d{1,3}(?P<sep>,\\!|\\!,|,|\{,\}|\\,|\\!|\\ |[ ~])\d{3}(?:(?P=sep)\d{3})*(?:\.\d+)?)(?!\d)"
    r"|(?P<continental>\d+\{,\}\d+)"
    rf"|(?P<base>{_SIMPLE})(?P<mark>[eE]|\\(?:mathrm|text|rm)\s*\{{\s*[eE]\s*\}})(?:\{{\s*(?P<ten>[+-]?\d+)\s*\}}|(?P<ten1>[+-]?\d+))(?![\d.])"
    rf"|(?P<plain>{_SIMPLE})"
)
_PLAIN = re.compile(_SIMPLE)


def read(text: str, at: int = 0, *, simple: bool = False) -> Literal | None:  # noqa: PLR0911 - a notation, a return
    """The number that begins at a place of a text; `simple` reads digits and a point alone."""
    if simple:
        match = _PLAIN.match(text, at)
        return Literal(plain(match[0]), match.end()) if match else None
    match = _LITERAL.match(text, at)
    if match is None or match.end() - at > MOST_DIGITS:
        return None
    if match["plain"] is not None:
        return Literal(plain(match["plain"]), match.end(), match["plain"].isdigit())
    if match["over"] is not None:
        return Literal(_repeating(match["over"], match["block"] or match["block1"]), match.end())
    if match["dotted"] is not None:
        last = match["e"] or match["e1"]
        block = (match["d"] or match["d1"]) + (match["between"] + last if last else "")
        return Literal(_repeating(match["dotted"], block), match.end())
    if match["bracketed"] is not None:
        return Literal(_repeating(match["bracketed"], match["inside"]), match.end(), doubt="(")
    if match["endless"] is not None:
        return Literal(_endless(match["endless"]), match.end())
    if match["continental"] is not None:
        return Literal(plain(match["continental"].replace("{,}", ".")), match.end())
    if match["base"] is not None:
        return _scientific(match)
    grouped = match["indian"] or match["grouped"]
    return Literal(plain(re.sub(r"[^\d.]", "", grouped)), match.end())


def plain(digits: str) -> tuple[Any, ...]:
    """The node of digits with at most one point."""
    if "." not in digits:
        return ("num", Fraction(int(digits)))
    whole, _, part = digits.partition(".")
    value = Fraction(int((whole + part) or "0"), 10 ** len(part))
    return ("dec", value, Fraction(1, 10 ** len(part))) if part else ("num", value)


def _scientific(match: re.Match[str]) -> Literal | None:
    exponent = int(match["ten"] or match["ten1"])
    if abs(exponent) > MOST_EXPONENT:
        return None
    node, ten = plain(match["base"]), Fraction(10) ** exponent
    place = node[2] if node[0] == "dec" else Fraction(1)
    doubt = "e" if match["mark"] == "e" and match["ten1"] else ""
    return Literal(("dec", node[1] * ten, place * ten), match.end(), doubt=doubt)


def _repeating(start: str, block: str) -> tuple[Any, ...]:
    """An exact number: the digits of `start` (with a point), then `block` for ever."""
    whole, _, part = start.partition(".")
    tail = Fraction(int(block), (10 ** len(block) - 1) * 10 ** len(part))
    return ("num", Fraction(int((whole + part) or "0"), 10 ** len(part)) + tail)


def _endless(digits: str) -> tuple[Any, ...]:
    """`0.333` of `0.333…`: the shortest block that ends it twice (one digit: three times, or all of two) repeats."""
    part = digits.partition(".")[2]
    for size in range(1, len(part) // 2 + 1):
        block = part[-size:]
        times = 1
        while part[: len(part) - size * times].endswith(block):
            times += 1
        if times >= (3 if size == 1 and len(part) > 2 else 2):
            return _repeating(digits, block)
    return plain(digits)
