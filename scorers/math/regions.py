r"""Sets of real numbers in any notation: intervals (`]1,2[` too), inequalities, unions, differences, set builders.

Both sides are brought to sorted pieces that do not touch, so that `x<1 \text{ or } x>3` is
`(3,\infty)\cup(-\infty,1)`. An open end is never a closed one. Ends are compared by the caller's `same`; where ends are
symbols that have no order, pieces are compared as they are written.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction

from .cutting import is_balanced, outer_brackets, split_top_level, split_with_separators
from .intervals import LINE, MAX_PIECES, Piece, PieceAlgebra, Place, Region, any_sure

Same = Callable[[str, str], bool]

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


def compare(gold: str, answer: str, same: Same, place: Place) -> bool | None:  # noqa: PLR0911 - a case, a return
    """Whether two texts are the same set of numbers; None unless one is surely such a set and the other may be."""
    ours, theirs = (_Reader(place).read(text) for text in (gold, answer))
    if ours is None or theirs is None:
        region = ours or theirs
        other = answer if ours else gold
        plain = not re.search(r"[a-zA-Z]{2}|[<>|=]", re.sub(r"\\(?!text|in|le|ge|ne)[a-zA-Z]+", "", other))
        return False if region and region.sure and plain else None
    if not ours.sure and not theirs.sure:
        return None
    if ours.name and theirs.name and ours.name.lower() != theirs.name.lower():
        return False
    gold_pieces, answer_pieces = ours.pieces, theirs.pieces
    if len(gold_pieces) != len(answer_pieces):
        return False
    if all(_same_piece(a, b, same) for a, b in zip(gold_pieces, answer_pieces, strict=True)):
        return True
    left = list(answer_pieces)  # ends without an order are kept as written
    for piece in gold_pieces:
        match = next((candidate for candidate in left if _same_piece(piece, candidate, same)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _same_piece(one: Piece, other: Piece, same: Same) -> bool:
    if one[2:] != other[2:]:
        return False
    return all(
        a == b or (r"\infty" not in a + b and same(a, b)) for a, b in ((one.low, other.low), (one.high, other.high))
    )


class _Reader(PieceAlgebra):
    """Parses a text as a region."""

    def read(self, text: str) -> Region | None:
        written = text.strip()
        text = _standard_brackets(written)
        if not re.search(r"[<>\[\](]|\\(?:le|ge|ne|in|cup|mathbb|R|infty|\{)|\|| or |real|ℝ", text) or len(text) > 2000:
            return None
        for pattern, joined in ((_OR, self._union), (_AND, self._conjunction), (r"[,;]", self._list)):
            parts = split_top_level(text, pattern)
            if len(parts) > 1 and (pattern != r"[,;]" or len(parts) <= MAX_PIECES):
                return joined([part.strip(" ,") for part in parts])
        parts, signs = split_with_separators(
            text, r"\\(?:cap|setminus|backslash|smallsetminus)(?![a-zA-Z])|(?<=[R}])\s*-\s*(?=\\\{)"
        )
        if len(parts) > 1:
            return self._fold_operators(parts, signs)
        atom = self._atom(text)
        return atom if atom is None or text == written else Region(atom.pieces, atom.name)

    def _union(self, parts: Sequence[str]) -> Region | None:
        regions = self._read_all(parts)
        return self.merge([p for region in regions for p in region.pieces], regions) if regions else None

    def _conjunction(self, parts: Sequence[str]) -> Region | None:
        """Inequalities that hold together; intervals with "and" between them are those of a list."""
        regions = self._read_all(parts)
        if not regions:
            return None
        if not any(re.search(_RELATION, part) for part in parts):
            return self.merge([p for region in regions for p in region.pieces], regions) if any_sure(regions) else None
        pieces = regions[0].pieces
        for region in regions[1:]:
            pieces = self.intersection(pieces, region.pieces)
        return self.merge(pieces, regions)

    def _list(self, parts: Sequence[str]) -> Region | None:
        joined: list[str] = []
        for part in parts:  # `x \ne 1, 2`
            if joined and r"\ne" in joined[-1] and not re.search(_RELATION, part):
                joined[-1] += f",{part}"
            else:
                joined.append(part)
        if len(joined) == 1:
            return self._atom(joined[0])
        regions = self._read_all(joined)
        if not regions or not all(region.sure for region in regions):
            return None
        both = self._conjunction(joined)
        return both if both and both.pieces else self._union(joined)

    def _read_all(self, parts: Iterable[str]) -> list[Region]:
        """The regions of all parts, which may be points; none if a part is not understood."""
        regions = []
        for part in parts:
            region = self.read(part) or self._points(part)
            if region is None:
                return []
            regions.append(region)
        return regions if any(region.sure for region in regions) else []

    def _fold_operators(self, parts: Sequence[str], signs: Sequence[str]) -> Region | None:
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
                pieces = self.intersection(pieces, region.pieces)
            else:
                pieces = self.intersection(pieces, self.complement(region.pieces))
        return self.merge(pieces, [first])

    def _atom(self, text: str) -> Region | None:
        if reals := _REALS.match(text):
            return Region([_reals_part(reals["part"] or "")])
        group = outer_brackets(text)
        if group:
            inner = group.values[0]
            if group.brackets == "{}":
                return self._builder(inner) or self._points(text)
            values = split_top_level(inner, r"[,;]")
            if len(values) == 2 and group.brackets[0] in "([" and all(values):
                return _interval(group.brackets, values)
            return self.read(inner) if group.brackets == "()" and re.search(_RELATION, inner) else None
        operands, signs = split_with_separators(text, _RELATION)
        if not signs or not all(operands):
            return None
        return self._relation(operands, signs)

    def _builder(self, inner: str) -> Region | None:
        r"""`x \in \mathbb{R} \mid x > 2`, without the braces."""
        parts = split_top_level(
            inner, r"\\mid(?![a-zA-Z])|\\vert(?![a-zA-Z])|:|\|(?=[^|]*\Z)|(?<!\|)\|(?=[^|]*\|[^|]*\|)"
        )
        if len(parts) != 2:
            return None
        variable, *domain = split_top_level(parts[0], r"\\in(?![a-zA-Z])")
        if not _NAME.match(variable) or (domain and not _REALS.match(domain[0])):
            return None
        region = self.read(parts[1])
        return region and Region(region.pieces)

    def _points(self, text: str) -> Region | None:
        """A single value, `x = 0` or a finite set."""
        group = outer_brackets(text)
        if group and group.brackets == "{}":
            values = [signed for value in split_top_level(group.values[0], r"[,;]") for signed in _both_signs(value)]
            return Region([Piece(v, v, True, True) for v in values], sure=False) if all(values) else None
        name, *value = split_top_level(text, "=")
        if value:
            return (
                Region([Piece(v, v, True, True) for v in _both_signs(value[0])], name, sure=False)
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
            return without and Region(self.complement(without.pieces), operands[0])
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
            points = [Piece(v, v, True, True) for part in split_top_level(other, r"[,;]") for v in _both_signs(part)]
            return Region(self.complement(points), one)
        end = _infinite(other)
        if sign in ("<", r"\le"):
            return Region([Piece(r"-\infty", end, False, sign != "<")], one)
        return Region([Piece(end, r"\infty", sign != ">", False)], one)

    def _distance(self, match: re.Match[str], radius: str, sign: str) -> Region | None:
        """`|x - 1| < 2`, of numbers alone."""
        width, shift = self.place(radius), self.place(match["shift"]) if match["shift"] else Fraction(0)
        if width is None or shift is None or width <= 0 or sign == r"\ne":
            return None
        center = shift if match["sign"] == "-" else -shift
        symbolic = not match["shift"]
        low = f"-({radius})" if symbolic else _fraction_text(center - width)
        high = radius if symbolic else _fraction_text(center + width)
        inside = Piece(low, high, sign == r"\le", sign == r"\le")
        if sign in ("<", r"\le"):
            return Region([inside], match["name"])
        outside = [Piece(r"-\infty", low, False, sign == r"\ge"), Piece(high, r"\infty", sign == r"\ge", False)]
        return Region(outside, match["name"])


def _standard_brackets(text: str) -> str:
    """French brackets, `]1,2[`, as standard ones; other texts unchanged."""
    if not re.search(r"[\[\]]", text) or (is_balanced(text) and not text.startswith("]")):
        return text
    return _FRENCH.sub(
        lambda match: f"{'(' if match[1] in '](' else '['}{match[2]}{')' if match[3] in '[)' else ']'}", text
    )


def _reals_part(part: str) -> Piece:
    r"""`\mathbb{R}^+`, `\mathbb{R}_{\ge 0}` and the whole line."""
    if not part:
        return LINE
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


def _both_signs(text: str) -> list[str]:
    match = re.match(r"\s*\\(?:pm|mp)(?![a-zA-Z])\s*(.+)\Z", text)
    return [match[1], f"-{match[1]}"] if match else [text.strip()]


def _fraction_text(value: Fraction) -> str:
    sign = "-" if value < 0 else ""
    if value.denominator == 1:
        return str(value)
    return rf"{sign}\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"
