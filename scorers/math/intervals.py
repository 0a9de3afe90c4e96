"""Sets of real numbers as pieces of the line: union, intersection and complement."""

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

Place = Callable[[str], Fraction | None]

MAX_PIECES = 50

Bound = tuple[Fraction | float, int]
"""The position of an end, and whether just before (-1), at (0) or just after it (1)."""
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


LINE = Piece(r"-\infty", r"\infty", False, False)


class PieceAlgebra:
    """Operations on pieces, whose ends are put in order by `place`."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def _bounds(self, piece: Piece) -> tuple[Bound, Bound] | None:
        low, high = (self._end(text) for text in (piece.low, piece.high))
        if low is None or high is None:
            return None
        return (low, 0 if piece.with_low else 1), (high, 0 if piece.with_high else -1)

    def _end(self, text: str) -> Fraction | float | None:
        if r"\infty" in text:
            return float("-inf") if "-" in text else float("inf")
        return self.place(text)

    def merge(self, pieces: list[Piece], of: Sequence[Region]) -> Region | None:
        """The union of pieces, sorted and without touching ones; as written if an end has no place."""
        names = {region.name.lower() for region in of if region.name}
        if len(names) > 1 or not (any_sure(of)):
            return None
        name = next((region.name for region in of if region.name), "")
        placed = [(self._bounds(piece), piece) for piece in pieces]
        if any(bounds is None for bounds, _ in placed):
            return Region(pieces, name)
        merged: list[tuple[Bound, Bound, Piece]] = []
        for (low, high), piece in sorted(placed, key=lambda entry: entry[0]):  # type: ignore[misc, arg-type, return-value]
            if low > high:
                continue
            if merged and low <= (merged[-1][1][0], merged[-1][1][1] + 1):
                start, end, before = merged[-1]
                if high > end:
                    merged[-1] = (start, high, before._replace(high=piece.high, with_high=piece.with_high))
            else:
                merged.append((low, high, piece))
        return Region([piece for _, _, piece in merged], name)

    def intersection(self, ours: list[Piece], theirs: list[Piece]) -> list[Piece]:
        pieces = []
        for one in ours[:MAX_PIECES]:
            for other in theirs[:MAX_PIECES]:
                if LINE in (one, other):
                    pieces.append(other if one == LINE else one)
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

    def complement(self, pieces: list[Piece]) -> list[Piece]:
        placed = sorted(pieces, key=lambda piece: self._bounds(piece) or (_MINUS, _PLUS))
        gaps, start, with_start = [], r"-\infty", False
        for piece in placed:
            if piece.low != r"-\infty":
                gaps.append(Piece(start, piece.low, with_start, not piece.with_low))
            start, with_start = piece.high, not piece.with_high
        if start != r"\infty":
            gaps.append(Piece(start, r"\infty", with_start if placed else False, False))
        return gaps


def any_sure(regions: Iterable[Region]) -> bool:
    return any(region.sure for region in regions)
