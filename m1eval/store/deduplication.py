"""Which line of a journal counts for each (sample, repeat): the first score stands, else the last error."""

from typing import Generic, TypeVar

Line = TypeVar("Line")


class Deduplicator(Generic[Line]):
    """The lines seen so far that count; a line is whatever the caller knows it by, such as its number."""

    def __init__(self) -> None:
        self.scored: dict[str, int] = {}
        """By sample, its repeats that have a score, as bits."""
        self.errors: dict[tuple[str, int], Line] = {}
        """The last error of each (sample, repeat) without a score."""

    def add(self, sample: str, repeat: int, line: Line, *, errored: bool) -> Line | None:
        """Take the next line: the line that it supersedes, the line itself if an earlier score stands, else None."""
        mask = self.scored.get(sample, 0)
        if mask >> repeat & 1:
            return line
        superseded = self.errors.pop((sample, repeat), None) if self.errors else None
        if errored:
            self.errors[sample, repeat] = line
        else:
            self.scored[sample] = mask | 1 << repeat
        return superseded
