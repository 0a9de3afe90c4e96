"""Ranges of the numeric options of a run, for the command line and for Python."""

from typing import NamedTuple

from m1eval.types import MAX_REPEATS

MAX_SEED = 2**63 - 1


class Range(NamedTuple):
    """The values that an option may have; `is_open` leaves out the minimum itself."""

    minimum: int
    maximum: int | None = None
    is_open: bool = False

    def describe(self, noun: str) -> str:
        """The range in words, as in `a whole number of at least 1`."""
        least = f"above {self.minimum}" if self.is_open else f"of at least {self.minimum}"
        return f"{noun} {least}" + ("" if self.maximum is None else f" and at most {self.maximum}")


RANGES = {
    "max_tokens_total": Range(0),
    "max_cost": Range(0),
    "until_se": Range(0, 1, is_open=True),
    "think": Range(0),
    "max_tokens": Range(1),
    "limit": Range(1),
    "repeats": Range(1, MAX_REPEATS),
    "concurrency": Range(1, 1_000_000),
    "seed": Range(-MAX_SEED, MAX_SEED),
    "temperature": Range(0),
}
