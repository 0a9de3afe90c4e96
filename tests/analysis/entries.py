"""Answers by length for the tests of analysis and report."""

from m1eval.analysis import by_length
from m1eval.analysis.by_length import Band, Entry


def entry(number: int, value: float, **metadata: object) -> Entry:
    return Entry(id=str(number), outcome="right" if value else "wrong", value=value, metadata=metadata)


def sweep(rights: dict[int, int], n: int) -> list[Band]:
    """Bands of lengths with a number of right answers among n."""
    return by_length.bands(
        entry(length + i, float(i < right), length=length) for length, right in rights.items() for i in range(n)
    )
