"""Choice of the journal line that counts for each (sample, repeat): the first score, else the last error.

Of several gradings the latest counts; its lines come before those of earlier ones, which are history.
"""

from typing import Generic, TypeVar

Line = TypeVar("Line")


class Deduplicator(Generic[Line]):
    """The lines seen so far that count; a line is whatever the caller knows it by, such as its number."""

    def __init__(self) -> None:
        self.scored: dict[str, int] = {}
        """Map from sample to its repeats that have a score, as bits."""
        self.errors: dict[tuple[str, int], Line] = {}
        """The last error of each (sample, repeat) without a score."""

        self.gradings: dict[tuple[str, int], int] = {}
        """The latest grading of each (sample, repeat) that was graded again."""

    def is_history(self, sample: str, repeat: int, graded: int) -> bool:
        """Whether a line has a grade that a later one has replaced."""
        latest = self.gradings.get((sample, repeat), 0)
        if graded > latest:
            self.gradings[sample, repeat] = graded
        return graded < latest

    def add(self, sample: str, repeat: int, line: Line, *, errored: bool) -> Line | None:
        """Take the next line: the line that it supersedes, the line itself if an earlier score counts, else None."""
        mask = self.scored.get(sample, 0)
        if mask >> repeat & 1:
            return line
        superseded = self.errors.pop((sample, repeat), None) if self.errors else None
        if errored:
            self.errors[sample, repeat] = line
        else:
            self.scored[sample] = mask | 1 << repeat
        return superseded
