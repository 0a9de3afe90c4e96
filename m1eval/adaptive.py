"""`--until-se`: more answers to those samples whose answers vary most, until the score is known well enough.

Repeats reduce one part of a score's error: that of sampling answers to these very samples. Its square is the mean over
the n samples of their variance over their number of answers, over n. The next answer goes where it takes most off that
(Neyman 1934). The other part, that there are only so many samples, no repeat reduces; it stays in the ± of the table.
"""

import heapq
import math
from collections.abc import Mapping

MOST = 16
"""Times the task's repeats: no sample gets more answers."""

Counts = Mapping[str, tuple[float, int]]
"""Sample -> the sum of its values and their number."""


def error(counts: Counts) -> float:
    """The standard error that comes from sampling answers; infinite while a sample has none."""
    if not counts or any(n == 0 for _, n in counts.values()):
        return math.inf
    return math.sqrt(math.fsum(_variance(*count) / count[1] for count in counts.values())) / len(counts)


def more(counts: Counts, target: float, most: int, batch: int) -> dict[str, int]:
    """How many answers each sample should have next: at most `batch` new ones, none beyond `most` of a sample."""
    wanted = {sample: n for sample, (_, n) in counts.items()}
    variances = {sample: _variance(total, n) for sample, (total, n) in counts.items()}
    left = (target * len(counts)) ** 2
    square = math.fsum(variances[sample] / n for sample, n in wanted.items() if n)
    heap = [(-_gain(variances[sample], n), sample) for sample, n in wanted.items() if 0 < n < most]
    heapq.heapify(heap)
    while heap and batch > 0 and square > left:
        gain, sample = heapq.heappop(heap)
        wanted[sample] += 1
        square += gain
        batch -= 1
        if wanted[sample] < most:
            heapq.heappush(heap, (-_gain(variances[sample], wanted[sample]), sample))
    return {sample: n for sample, n in wanted.items() if n > counts[sample][1]}


def _gain(variance: float, n: int) -> float:
    """What one more answer takes off variance / n."""
    return variance / n - variance / (n + 1)


def _variance(total: float, n: int) -> float:
    """Of one answer, as of right and wrong; one of each is added, so that two alike do not prove it to be 0."""
    share = (total + 1) / (n + 2)
    return share * (1 - share)
