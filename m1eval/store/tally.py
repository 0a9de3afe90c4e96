"""Running counts of a run, and its score with the error of it."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple, get_args

from m1eval.stats.estimate import Estimate, Interval, Unit, against_published, average, both_targets, these_problems
from m1eval.types import Outcome, Usage

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


class SampleTotals(NamedTuple):
    """Sums over the answers to one sample."""

    total: float = 0.0
    n: int = 0
    """Answers that have a score."""
    squares: float = 0.0
    errored: int = 0
    cluster: str = ""
    group: str = ""

    def add(self, value: float) -> "SampleTotals":
        """The sums with one more scored answer."""
        return self._replace(total=self.total + value, n=self.n + 1, squares=self.squares + value * value)

    @property
    def variance(self) -> float:
        """Variance of one answer, estimated from two at least."""
        return max(0.0, self.squares - self.total * (self.total / self.n)) / (self.n - 1)

    def unit(self) -> Unit:
        """The mean of the answers, with its noise where there are several."""
        mean = self.total / self.n
        if self.n < 2:
            return Unit(mean, cluster=self.cluster)
        return Unit(mean, self.variance / self.n, self.n, self.n - 1, self.cluster)


class Tally:
    """Running counts of a run: one value a (sample, repeat), `errored` ones counted apart.

    The score is the mean over samples of the mean over their repeats, or, where samples have groups, the mean over
    groups of that.
    """

    def __init__(self) -> None:
        self.outcomes: Counter[Outcome] = Counter()
        self.usage = Usage()
        self.seconds = 0.0
        self._samples: dict[str, SampleTotals] = {}

    def add(
        self,
        sample: str,
        outcome: Outcome,
        value: float,
        usage: Usage,
        seconds: float = 0.0,
        *,
        cluster: str = "",
        group: str = "",
    ) -> None:
        """Count one finished (sample, repeat)."""
        self.outcomes[outcome] += 1
        self.usage.prompt += usage.prompt
        self.usage.shared += usage.shared
        self.usage.cached += usage.cached
        self.usage.reasoning += usage.reasoning
        self.usage.answer += usage.answer
        self.seconds += seconds
        total, n, squares, errored, *labels = self._samples.get(sample) or _NOTHING
        # An answer that could not be asked for does not say what it belongs to.
        cluster, group = cluster or labels[0], group or labels[1]
        if outcome == "errored":
            errored += 1
        else:
            total, n, squares = total + value, n + 1, squares + value * value
        self._samples[sample] = SampleTotals(total, n, squares, errored, cluster, group)

    def drop_error(self, sample: str, usage: Usage, seconds: float = 0.0) -> None:
        """Forget an errored (sample, repeat) that was tried again."""
        self.outcomes["errored"] -= 1
        self.usage.prompt -= usage.prompt
        self.usage.shared -= usage.shared
        self.usage.cached -= usage.cached
        self.usage.reasoning -= usage.reasoning
        self.usage.answer -= usage.answer
        self.seconds -= seconds
        sums = self._samples[sample]
        self._samples[sample] = sums._replace(errored=sums.errored - 1)

    @property
    def finished(self) -> int:
        """(sample, repeat)s that came to an end, errored ones too."""
        return self.outcomes.total()

    @property
    def scored(self) -> int:
        """(sample, repeat)s that have a score."""
        return self.finished - self.outcomes["errored"]

    @property
    def samples(self) -> int:
        """Samples with at least one score."""
        return sum(1 for _ in self._scored())

    @property
    def answers(self) -> tuple[int, int]:
        """The fewest and the most scored answers of a sample that has one; (0, 0) if none has."""
        numbers = [sums.n for sums in self._scored()]
        return (min(numbers), max(numbers)) if numbers else (0, 0)

    @property
    def counts(self) -> dict[str, tuple[float, int]]:
        """The sum of each scored sample's values and their number."""
        return {name: (sums.total, sums.n) for name, sums in self._samples.items() if sums.n}

    @property
    def clusters(self) -> int:
        """Number of texts that the scored samples are about, a sample that shares none counted by itself."""
        shared = {sums.cluster for sums in self._scored() if sums.cluster}
        return len(shared) + sum(not sums.cluster for sums in self._scored())

    @property
    def score(self) -> float | None:
        """The score in [0, 1]; None if nothing was scored."""
        scored = [(sums.total / sums.n, sums.group) for sums in self._scored()]
        return mean_over_groups(scored) if scored else None

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The score if every errored (sample, repeat) were wrong, and if it were right; None if nothing finished."""
        finished = [sums for sums in self._samples.values() if sums.n + sums.errored]
        if not finished:
            return None
        low, high = (
            mean_over_groups(
                (
                    (sums.total + worth * sums.errored) / (sums.n + sums.errored),
                    sums.group if sums.n else sums.group or None,
                )
                for sums in finished
            )
            for worth in (0, 1)
        )
        return low, high

    @property
    def stderr(self) -> float | None:
        """The standard error of the score over problems; None for fewer than two samples."""
        estimate = self.problems_like_these
        return estimate.stderr if estimate else None

    @property
    def interval(self) -> Interval | None:
        """The 95% interval of the score over problems; None if nothing was scored."""
        estimate = self.problems_like_these
        return estimate.interval() if estimate else None

    @property
    def problems_like_these(self) -> Estimate | None:
        """The score with the error of choosing problems and of sampling answers; None if nothing was scored."""
        groups = self._units()
        if not groups:
            return None
        return both_targets(groups)[0]

    def these_problems(self, population: int | None = None) -> Estimate | None:
        """The score with these problems fixed, with the error of sampling answers; None if nothing was scored.

        `population`: the problems that the scored ones were chosen from at random, if there are more.
        """
        groups = self._units()
        if not groups:
            return None
        # Groups are sampled alike; what is not scored of them is spread in proportion.
        scale = population / self.samples if population else 1
        estimate = average([these_problems(units, population=round(len(units) * scale)) for units in groups])
        like_these = self.problems_like_these
        # These problems are known at least as well as others, whatever chance has made of the two variances.
        return like_these if population and like_these and estimate.effective() < like_these.effective() else estimate

    def against_published(
        self, published: float, *, repeats: int | None = None, population: int | None = None, same_problems: bool = True
    ) -> Estimate | None:
        """The score less a published one, with the sampling error of both; see `stats.against_published`."""
        groups = self._units()
        if not groups:
            return None
        scale = population / self.samples if population else 1
        parts = [
            against_published(
                *(units, published),
                repeats=repeats,
                population=round(len(units) * scale),
                same_problems=same_problems,
            )
            for units in groups
        ]
        return average(parts)

    def all_right(self) -> "Tally":
        """The same samples with the same numbers of answers, all of them right."""
        tally = Tally()
        tally._samples = {
            name: sums._replace(total=float(sums.n), squares=float(sums.n)) for name, sums in self._samples.items()
        }
        return tally

    def _scored(self) -> Iterator[SampleTotals]:
        return (sums for sums in self._samples.values() if sums.n)

    def _units(self) -> list[list[Unit]]:
        groups: dict[str, list[Unit]] = {}
        for sums in self._scored():
            groups.setdefault(sums.group, []).append(sums.unit())
        return list(groups.values())


_NOTHING = SampleTotals()


def mean_over_groups(values: Iterable[tuple[float, str | None]]) -> float:
    """The mean over groups of the means of their values.

    Values whose group is not known (None) count with the weight that one value has in the mean of all.
    """
    groups: dict[str | None, list[float]] = {}
    for value, group in values:
        groups.setdefault(group, []).append(value)
    unknown = groups.pop(None, [])
    if not groups:
        return math.fsum(unknown) / len(unknown)
    mean = math.fsum(math.fsum(each) / len(each) for each in groups.values()) / len(groups)
    n_grouped = sum(map(len, groups.values()))
    return (mean * n_grouped + math.fsum(unknown)) / (n_grouped + len(unknown)) if unknown else mean
