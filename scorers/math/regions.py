r"""Sets of real numbers in any notation: intervals (`]1,2[` too), inequalities, unions, differences, set builders.

Both sides are brought to sorted pieces that do not touch, so that `x<1 \text{ or } x>3` is
`(3,\infty)\cup(-\infty,1)`. An open end is never a closed one. Ends are compared by the caller's `same`; where ends are
symbols that have no order, pieces are compared as they are written.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

from .cutting import balanced, cut, cut_with, opened

Same = Callable[[str, str], bool]
Place = Callable[[str], Fraction | None]

_RELATION = r"\\(?:le|ge|ne|in|notin)(?![a-zA-Z])|[<>=]"
_NAME = re.compile(
    r"(?!\\(?:pi|infty|emptyset|sqrt|frac|cup|cap)(?![a-zA-Z]))(?:\\[a-zA-Z]+|[a-zA-Z])(?:_(?:\{\w+\}|\w))?'*(?:\([a-z]\))?\Z"
)
_REALS = re.compile(
    r"(?:\\mathbb ?(?:\{R\}|R)|\\R|\\Reals|ℝ|\\text\{R\}"
    r"|(?:\\text\{)?\s*(?:the\s+set\s+of\s+)?(?:all\s+)?(?:real\s+numbers|reals)\s*\}?|\\text\{all real \}x)"
    r"(?P<part>[_^]\{?(?:[+-]|\\(?:ge|le) ?0|[<>] ?0)\}?)?\Z",
    re.IGNORECASE,
)
_OR = r"\\text\s*\{[\s,]*or\s*\}|\\(?:cup|lor|vee)(?![a-zA-Z])|(?<=[\s,])or(?=\s)|(?<=[)\]])\s*U\s*(?=[(\[])|∪"
_AND = r"\\text\s*\{[\s,]*(?:and|but)\s*\}|\\(?:land|wedge)(?![a-zA-Z])|(?<=[\s,])and(?=\s)"
_FRENCH = re.compile(r"([\[\](])((?:[^\[\]();,]|\([^()]*\))+[,;](?:[^\[\]();,]|\([^()]*\))+)([\[\])])")
_ABSOLUTE = re.compile(r"\|\s*(?P<name>\\?[a-zA-Z]+)\s*(?:(?P<sign>[+-])\s*(?P<shift>[^|]+))?\|\Z")
_FLIPPED = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le", "=": "=", r"\ne": r"\ne"}
_UNKNOWNS = frozenset("xyzt")
_MOST_PIECES = 50

Bound = tuple[Fraction | float, int]
"""Where an end lies, and whether just before (-1), at (0) or just behind it (1)."""
_MINUS, _PLUS = (float("-inf"), 1), (float("inf"), -1)


class Piece(NamedTuple):
    """An interval: its ends as they are written, and whether each of them belongs to it."""

    low: str
    high: str
    with_low: bool
    with_high: bool


class Region(NamedTuple):
    """A set of numbers. `sure`: the notation means nothing else, as `(1,2)` and `\\{1,2\\}` may."""

    pieces: list[Piece]
    name: str = ""
    sure: bool = True


_LINE = Piece(r"-\infty", r"\infty", False, False)


def compare(gold: str, answer: str, same: Same, place: Place) -> bool | None:  # noqa: PLR0911 - a case, a return
    """Whether two texts are the same set of numbers; None unless one is surely such a set and the other may be."""
    ours, theirs = (_Reader(place).read(text) for text in (gold, answer))
    if ours is None or theirs is None:
        known = ours or theirs
        other = answer if ours else gold
        plain = not re.search(r"[a-zA-Z]{2}|[<>|=]", re.sub(r"\\(?!text|in|le|ge|ne)[a-zA-Z]+", "", other))
        return False if known and known.sure and plain else None
    if not ours.sure and not theirs.sure:
        return None
    if ours.name and theirs.name and ours.name.lower() != theirs.name.lower():
        return False
    one, other_pieces = ours.pieces, theirs.pieces
    if len(one) != len(other_pieces):
        return False
    if all(_alike(a, b, same) for a, b in zip(one, other_pieces, strict=True)):
        return True
    left = list(other_pieces)  # ends without an order stand as written
    for piece in one:
        match = next((candidate for candidate in left if _alike(piece, candidate, same)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def is_region(text: str) -> bool:
    """Whether a text surely is a set of real numbers."""
    found = _Reader(lambda _: None).read(text)
    return found is not None and found.sure


def _alike(one: Piece, other: Piece, same: Same) -> bool:
    if one[2:] != other[2:]:
        return False
    return all(
        a == b or (r"\infty" not in a + b and same(a, b)) for a, b in ((one.low, other.low), (one.high, other.high))
    )


class _Reader:
    """Reads a text to a region; ends are put in order by `place`."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def read(self, text: str) -> Region | None:
        written = text.strip()
        text = _standard(written)
        if not re.search(r"[<>\[\](]|\\(?:le|ge|ne|in|cup|mathbb|R|infty|\{)|\|| or |real|ℝ", text) or len(text) > 2000:
            return None
        for pattern, joined in ((_OR, self._union), (_AND, self._both), (r"[,;]", self._listed)):
            parts = cut(text, pattern)
            if len(parts) > 1 and (pattern != r"[,;]" or len(parts) <= _MOST_PIECES):
                return joined([part.strip(" ,") for part in parts])
        parts, signs = cut_with(
            text, r"\\(?:cap|setminus|backslash|smallsetminus)(?![a-zA-Z])|(?<=[R}])\s*-\s*(?=\\\{)"
        )
        if len(parts) > 1:
            return self._combined(parts, signs)
        atom = self._atom(text)
        return atom if atom is None or text == written else Region(atom.pieces, atom.name)

    def _union(self, parts: Sequence[str]) -> Region | None:
        found = self._all(parts)
        return self._normal([p for region in found for p in region.pieces], found) if found else None

    def _both(self, parts: Sequence[str]) -> Region | None:
        """Inequalities that hold at once; intervals with "and" between them are those of a list."""
        found = self._all(parts)
        if not found:
            return None
        if not any(re.search(_RELATION, part) for part in parts):
            return self._normal([p for region in found for p in region.pieces], found) if _any_sure(found) else None
        pieces = found[0].pieces
        for region in found[1:]:
            pieces = self._intersection(pieces, region.pieces)
        return self._normal(pieces, found)

    def _listed(self, parts: Sequence[str]) -> Region | None:
        joined: list[str] = []
        for part in parts:  # `x \ne 1, 2`
            if joined and r"\ne" in joined[-1] and not re.search(_RELATION, part):
                joined[-1] += f",{part}"
            else:
                joined.append(part)
        if len(joined) == 1:
            return self._atom(joined[0])
        found = self._all(joined)
        if not found or not all(region.sure for region in found):
            return None
        both = self._both(joined)
        return both if both and both.pieces else self._union(joined)

    def _all(self, parts: Iterable[str]) -> list[Region]:
        """The regions of all parts, which may be points; none if a part is not understood."""
        found = []
        for part in parts:
            region = self.read(part) or self._points(part)
            if region is None:
                return []
            found.append(region)
        return found if any(region.sure for region in found) else []

    def _combined(self, parts: Sequence[str], signs: Sequence[str]) -> Region | None:
        """Intersections and differences, from left to right."""
        first = self.read(parts[0]) or self._points(parts[0])
        if first is None:
            return None
        pieces = first.pieces
        for sign, part in zip(signs, parts[1:], strict=True):
            region = self.read(part) or self._points(part)
            if region is None:
                return None
            if sign == r"\cap":
                pieces = self._intersection(pieces, region.pieces)
            else:
                pieces = self._intersection(pieces, self._complement(region.pieces))
        return self._normal(pieces, [first])

    def _atom(self, text: str) -> Region | None:
        if reals := _REALS.match(text):
            return Region([_half(reals["part"] or "")])
        group = opened(text)
        if group:
            inner = group.values[0]
            if group.brackets == "{}":
                return self._builder(inner) or self._points(text)
            values = cut(inner, r"[,;]")
            if len(values) == 2 and group.brackets[0] in "([" and all(values):
                return _interval(group.brackets, values)
            return self.read(inner) if group.brackets == "()" and re.search(_RELATION, inner) else None
        operands, signs = cut_with(text, _RELATION)
        if not signs or not all(operands):
            return None
        return self._relation(operands, signs)

    def _builder(self, inner: str) -> Region | None:
        r"""`x \in \mathbb{R} \mid x > 2`, without the braces."""
        parts = cut(inner, r"\\mid(?![a-zA-Z])|\\vert(?![a-zA-Z])|:|\|(?=[^|]*\Z)|(?<!\|)\|(?=[^|]*\|[^|]*\|)")
        if len(parts) != 2:
            return None
        variable, *domain = cut(parts[0], r"\\in(?![a-zA-Z])")
        if not _NAME.match(variable) or (domain and not _REALS.match(domain[0])):
            return None
        region = self.read(parts[1])
        return region and Region(region.pieces)

    def _points(self, text: str) -> Region | None:
        """A single value, `x = 0` or a finite set."""
        group = opened(text)
        if group and group.brackets == "{}":
            values = [signed for value in cut(group.values[0], r"[,;]") for signed in _signed(value)]
            return Region([Piece(v, v, True, True) for v in values], sure=False) if all(values) else None
        name, *value = cut(text, "=")
        if value:
            return (
                Region([Piece(v, v, True, True) for v in _signed(value[0])], name, sure=False)
                if len(value) == 1 and _NAME.match(name)
                else None
            )
        if self.place(text) is None:
            return None
        return Region([Piece(text, text, True, True)], sure=False)

    def _relation(self, operands: list[str], signs: list[str]) -> Region | None:  # noqa: PLR0911
        if signs == [r"\in"] and _NAME.match(operands[0]):
            region = self.read(operands[1])
            return region and Region(region.pieces, operands[0], region.sure)
        if signs == [r"\notin"] and _NAME.match(operands[0]):
            without = self.read(operands[1]) or self._points(operands[1])
            return without and Region(self._complement(without.pieces), operands[0])
        if len(operands) == 3 and _NAME.match(operands[1]):
            low, name, high = operands
            if {*signs} <= {">", r"\ge"}:
                low, high, signs = high, low, [_FLIPPED[sign] for sign in reversed(signs)]
            if {*signs} <= {"<", r"\le"}:
                return Region([Piece(_infinite(low), _infinite(high), signs[0] != "<", signs[1] != "<")], name)
            return None
        if len(operands) != 2 or signs[0] not in _FLIPPED or signs[0] == "=":
            return None
        (one, other), sign = operands, signs[0]
        if not _is_variable(one, other):
            one, other, sign = other, one, _FLIPPED[sign]
        if distance := _ABSOLUTE.match(one):
            return self._distance(distance, other, sign)
        if not _NAME.match(one) or re.search(rf"(?<![\\a-zA-Z]){re.escape(one)}(?![a-zA-Z])", other):
            return None
        if sign == r"\ne":
            points = [Piece(v, v, True, True) for part in cut(other, r"[,;]") for v in _signed(part)]
            return Region(self._complement(points), one)
        end = _infinite(other)
        if sign in ("<", r"\le"):
            return Region([Piece(r"-\infty", end, False, sign != "<")], one)
        return Region([Piece(end, r"\infty", sign != ">", False)], one)

    def _distance(self, found: re.Match[str], radius: str, sign: str) -> Region | None:
        """`|x - 1| < 2`, of numbers alone."""
        width, shift = self.place(radius), self.place(found["shift"]) if found["shift"] else Fraction(0)
        if width is None or shift is None or width <= 0 or sign == r"\ne":
            return None
        center = shift if found["sign"] == "-" else -shift
        symbolic = not found["shift"]
        low = f"-({radius})" if symbolic else _written(center - width)
        high = radius if symbolic else _written(center + width)
        inside = Piece(low, high, sign == r"\le", sign == r"\le")
        if sign in ("<", r"\le"):
            return Region([inside], found["name"])
        outside = [Piece(r"-\infty", low, False, sign == r"\ge"), Piece(high, r"\infty", sign == r"\ge", False)]
        return Region(outside, found["name"])

    def _bounds(self, piece: Piece) -> tuple[Bound, Bound] | None:
        low, high = (self._end(text) for text in (piece.low, piece.high))
        if low is None or high is None:
            return None
        return (low, 0 if piece.with_low else 1), (high, 0 if piece.with_high else -1)

    def _end(self, text: str) -> Fraction | float | None:
        if r"\infty" in text:
            return float("-inf") if "-" in text else float("inf")
        return self.place(text)

    def _normal(self, pieces: list[Piece], of: Sequence[Region]) -> Region | None:
        """The union of pieces, sorted and without touching ones; as written where an end has no place."""
        names = {region.name.lower() for region in of if region.name}
        if len(names) > 1 or not (_any_sure(of)):
            return None
        name = next((region.name for region in of if region.name), "")
        placed = [(self._bounds(piece), piece) for piece in pieces]
        if any(bounds is None for bounds, _ in placed):
            return Region(pieces, name)
        merged: list[tuple[Bound, Bound, Piece]] = []
        for (low, high), piece in sorted(placed, key=lambda one: one[0]):  # type: ignore[misc, arg-type, return-value]
            if low > high:
                continue
            if merged and low <= (merged[-1][1][0], merged[-1][1][1] + 1):
                start, end, before = merged[-1]
                if high > end:
                    merged[-1] = (start, high, before._replace(high=piece.high, with_high=piece.with_high))
            else:
                merged.append((low, high, piece))
        return Region([piece for _, _, piece in merged], name)

    def _intersection(self, ours: list[Piece], theirs: list[Piece]) -> list[Piece]:
        pieces = []
        for one in ours[:_MOST_PIECES]:
            for other in theirs[:_MOST_PIECES]:
                if _LINE in (one, other):
                    pieces.append(other if one == _LINE else one)
                    continue
                bounds = self._bounds(one), self._bounds(other)
                if bounds[0] is None or bounds[1] is None:
                    low, high = (one, other) if one.high == r"\infty" else (other, one)
                    if low.high == r"\infty" and high.low == r"-\infty":  # `x > a \text{ and } x < b`
                        pieces.append(Piece(low.low, high.high, low.with_low, high.with_high))
                    continue
                low = one if bounds[0][0] >= bounds[1][0] else other
                high = one if bounds[0][1] <= bounds[1][1] else other
                if max(bounds[0][0], bounds[1][0]) <= min(bounds[0][1], bounds[1][1]):
                    pieces.append(Piece(low.low, high.high, low.with_low, high.with_high))
        return pieces

    def _complement(self, pieces: list[Piece]) -> list[Piece]:
        placed = sorted(pieces, key=lambda piece: self._bounds(piece) or (_MINUS, _PLUS))
        gaps, start, with_start = [], r"-\infty", False
        for piece in placed:
            if piece.low != r"-\infty":
                gaps.append(Piece(start, piece.low, with_start, not piece.with_low))
            start, with_start = piece.high, not piece.with_high
        if start != r"\infty":
            gaps.append(Piece(start, r"\infty", with_start if placed else False, False))
        return gaps


def _standard(text: str) -> str:
    """French brackets, `]1,2[`, turned round; other texts as they are."""
    if not re.search(r"[\[\]]", text) or (balanced(text) and not text.startswith("]")):
        return text
    return _FRENCH.sub(
        lambda found: f"{'(' if found[1] in '](' else '['}{found[2]}{')' if found[3] in '[)' else ']'}", text
    )


def _any_sure(regions: Iterable[Region]) -> bool:
    return any(region.sure for region in regions)


def _half(part: str) -> Piece:
    r"""`\mathbb{R}^+`, `\mathbb{R}_{\ge 0}` and the whole line."""
    if not part:
        return _LINE
    closed = "e" in part
    if "+" in part or ">" in part or r"\ge" in part:
        return Piece("0", r"\infty", closed, False)
    return Piece(r"-\infty", "0", False, closed)


def _interval(brackets: str, values: Sequence[str]) -> Region | None:
    low, high = map(_infinite, values)
    unbounded = r"\infty" in low + high
    return Region([Piece(low, high, brackets[0] == "[", brackets[1] == "]")], sure=brackets != "()" or unbounded)


def _infinite(text: str) -> str:
    return re.sub(r"^\+ *(?=\\infty)", "", re.sub(r"^- +", "-", text.strip()))


def _is_variable(one: str, other: str) -> bool:
    """Whether the first of two operands is the one that an inequality speaks of."""
    if _ABSOLUTE.match(one):
        return True
    if not _NAME.match(one):
        return False
    return not _NAME.match(other) or other[:1] not in _UNKNOWNS or one[:1] in _UNKNOWNS


def _signed(text: str) -> list[str]:
    found = re.match(r"\s*\\(?:pm|mp)(?![a-zA-Z])\s*(.+)\Z", text)
    return [found[1], f"-{found[1]}"] if found else [text.strip()]


def _written(value: Fraction) -> str:
    sign = "-" if value < 0 else ""
    if value.denominator == 1:
        return str(value)
    return rf"{sign}\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"
