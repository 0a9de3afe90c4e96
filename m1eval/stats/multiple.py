"""p values of several simultaneous tests."""

from collections.abc import Sequence


def benjamini_hochberg(ps: Sequence[float]) -> list[float]:
    """p values adjusted for many comparisons: below q, a share of q of them is false (Benjamini, Hochberg 1995)."""
    order = sorted(range(len(ps)), key=lambda i: ps[i], reverse=True)
    adjusted, smallest = [1.0] * len(ps), 1.0
    for place, i in enumerate(order):
        smallest = min(smallest, ps[i] * len(ps) / (len(ps) - place))
        adjusted[i] = smallest
    return adjusted


def holm(ps: Sequence[float]) -> list[float]:
    """p values adjusted for their number: the chance of any false finding stays below the level (Holm 1979)."""
    adjusted, largest = [1.0] * len(ps), 0.0
    for place, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        largest = max(largest, min(1.0, ps[i] * (len(ps) - place)))
        adjusted[i] = largest
    return adjusted
