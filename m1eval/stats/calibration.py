"""Calibration: the distance of stated confidence from accuracy."""

import math
from collections.abc import Iterable
from itertools import pairwise


def calibration_error(confidences: Iterable[float], values: Iterable[float], *, bin_size: int = 100) -> float:
    """Root mean square of confidence minus accuracy over bins of equal count (Hendrycks et al. 2022).

    The samples are sorted by confidence; the last bin takes what is left over.
    """
    squares, count = _calibration_bins(confidences, values, bin_size)
    return math.sqrt(math.fsum(squares) / count)


def hle_calibration_error(confidences: Iterable[float], values: Iterable[float]) -> float:
    """The calibration error that HLE's code reports (hle_eval/run_judge_results.py): the last bin counts as 0.

    Its loop leaves out the last of its bins of 100, so that fewer than 200 answers give 0. Answers of the same
    confidence keep their order here; NumPy's, there, is not defined.
    """
    squares, count = _calibration_bins(confidences, values, 100)
    return math.sqrt(math.fsum(squares[:-1]) / count)


def _calibration_bins(confidences: Iterable[float], values: Iterable[float], bin_size: int) -> tuple[list[float], int]:
    """The squared gaps of the bins, each times the samples in it, and the number of samples."""
    pairs = sorted(zip(confidences, values, strict=True), key=lambda pair: pair[0])
    if not pairs:
        raise ValueError("no sample says how sure it is")
    bins = max(1, len(pairs) // bin_size)
    edges = [*(i * bin_size for i in range(bins)), len(pairs)]
    squares = []
    for low, high in pairwise(edges):
        inside = pairs[low:high]
        gap = math.fsum(c for c, _ in inside) / len(inside) - math.fsum(v for _, v in inside) / len(inside)
        squares.append(len(inside) * gap * gap)
    return squares, len(pairs)
