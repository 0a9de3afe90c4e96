"""Metrics over several answers to one problem: pass@k, G-Pass@k, maj@k, computed from counts.

Whole numbers are added before anything is divided, so that a perfect run is exactly 1.
"""

import math
import random
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

DRAWS = 2000
EXACT_WORK = 300_000
"""Answers times k squared up to which a majority vote over all subsets is counted rather than sampled."""


class Ballot(NamedTuple):
    """The answers to one problem: how many are right, how many there are of each wrong one, and how many are none."""

    right: int
    wrong: tuple[int, ...] = ()
    silent: int = 0

    @property
    def answers(self) -> int:
        """All answers, those without a vote too."""
        return self.right + sum(self.wrong) + self.silent


def pass_at_k(n: int, right: int, k: int) -> float:
    """The chance that one of k answers is right, unbiased from n of which `right` are (Chen et al. 2021)."""
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} of {n} answers is not known")
    every = math.comb(n, k)
    return (every - math.comb(n - right, k)) / every


def g_pass_at_k(n: int, right: int, k: int, share: float) -> float:
    """The chance that at least `share` of k answers are right (G-Pass@k, Liu et al. 2024), unbiased."""
    if not 1 <= k <= n:
        raise ValueError(f"G-Pass@{k} of {n} answers is not known")
    minimum = max(1, math.ceil(share * k - 1e-9))
    ways = sum(math.comb(right, j) * math.comb(n - right, k - j) for j in range(minimum, min(right, k) + 1))
    return ways / math.comb(n, k)


def maj_at_k(ballot: Ballot, k: int) -> float:
    """The chance that a majority vote of k of the answers is right; a tie gives each of its answers an equal share.

    The mean over all subsets of k answers, counted exactly; from 2,000 random ones (fixed seed) where that is too much.
    """
    n = ballot.answers
    if not 1 <= k <= n:
        raise ValueError(f"maj@{k} of {n} answers is not known")
    if k == n:
        return _share(ballot.right, ballot.wrong)
    if n * k * k <= EXACT_WORK:
        return _counted(ballot, k)
    return _sampled(ballot, k)


def _share(right: int, wrong: Sequence[int]) -> float:
    """Share of one vote that the right answer gets."""
    if not right or right < max(wrong, default=0):
        return 0.0
    return 1 / (1 + sum(votes == right for votes in wrong))


def _counted(ballot: Ballot, k: int) -> float:
    """Over all subsets: for each number of right answers among the k, the ways in which no wrong one gets more."""
    ways = [0] * (k + 1)  # by how many wrong answers tie with the right one
    for right in range(1, min(ballot.right, k) + 1):
        rest = k - right
        table = [[0] * (rest + 1) for _ in range(rest // right + 1)]  # tied wrong answers, answers chosen
        table[0][: ballot.silent + 1] = [math.comb(ballot.silent, i) for i in range(min(ballot.silent, rest) + 1)]
        for size, same in groupby(sorted(ballot.wrong)):
            for _ in same:
                table = _add_vote(table, size, right)
        for tied, row in enumerate(table):
            ways[tied] += math.comb(ballot.right, right) * row[rest]
    common = math.lcm(*range(1, k + 2))
    total = sum(number * (common // (tied + 1)) for tied, number in enumerate(ways))
    return total / (common * math.comb(ballot.answers, k))


def _add_vote(table: list[list[int]], size: int, max_votes: int) -> list[list[int]]:
    """The ways once a wrong answer that was given `size` times may get up to `max_votes` votes."""
    table_with = [[0] * len(row) for row in table]
    for votes in range(min(size, max_votes) + 1):
        ways, tie = math.comb(size, votes), int(votes == max_votes)
        for tied, row in enumerate(table[: len(table) - tie]):
            target = table_with[tied + tie]
            for chosen in range(len(row) - votes):
                if row[chosen]:
                    target[chosen + votes] += ways * row[chosen]
    return table_with


def _sampled(ballot: Ballot, k: int) -> float:
    chance = random.Random(0)
    answers = [0] * ballot.right + [i for i, votes in enumerate(ballot.wrong, 1) for _ in range(votes)]
    answers += [-1] * ballot.silent
    shares = []
    for _ in range(DRAWS):
        votes = [0] * (len(ballot.wrong) + 1)
        for answer in chance.sample(answers, k):
            if answer >= 0:
                votes[answer] += 1
        shares.append(_share(votes[0], votes[1:]))
    return math.fsum(shares) / DRAWS
