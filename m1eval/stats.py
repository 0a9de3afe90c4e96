"""Numbers with their uncertainty, without anything heavier than the standard library."""

import math
from collections import Counter
from typing import get_args

from m1eval.nouns import Outcome, Usage

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


class Tally:
    """Running counts of a run: one value a (sample, repeat), `errored` ones counted apart.

    The score is the mean over samples of the mean over their repeats; its standard error treats the repeats of a sample
    as one cluster (Miller 2024, "Adding Error Bars to Evals", section 2.2), so that more repeats of few problems do not
    look like more problems.
    """

    def __init__(self) -> None:
        self.outcomes: Counter[Outcome] = Counter()
        self.usage = Usage()
        self.seconds = 0.0
        self._samples: dict[str, tuple[float, int]] = {}

    def add(self, sample: str, outcome: Outcome, value: float, usage: Usage, seconds: float = 0.0) -> None:
        """Count one finished (sample, repeat)."""
        self.outcomes[outcome] += 1
        self.usage.prompt += usage.prompt
        self.usage.cached += usage.cached
        self.usage.reasoning += usage.reasoning
        self.usage.answer += usage.answer
        self.seconds += seconds
        if outcome != "errored":
            total, n = self._samples.get(sample, (0.0, 0))
            self._samples[sample] = (total + value, n + 1)

    def drop_error(self, usage: Usage, seconds: float = 0.0) -> None:
        """Forget an errored (sample, repeat) that was tried again."""
        self.outcomes["errored"] -= 1
        self.usage.prompt -= usage.prompt
        self.usage.cached -= usage.cached
        self.usage.reasoning -= usage.reasoning
        self.usage.answer -= usage.answer
        self.seconds -= seconds

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
        return len(self._samples)

    @property
    def score(self) -> float | None:
        """Mean of the samples' means in [0, 1]; None if nothing was scored."""
        return math.fsum(self._means()) / self.samples if self._samples else None

    @property
    def score_with_errors(self) -> float | None:
        """The score if every errored (sample, repeat) counted as 0."""
        return self.score * self.scored / self.finished if self.score is not None else None

    @property
    def stderr(self) -> float | None:
        """Standard error of the score over samples as clusters; None for fewer than two samples."""
        if self.samples < 2 or self.score is None:
            return None
        score = self.score  # once: it goes through all samples
        squares = math.fsum((mean - score) ** 2 for mean in self._means())
        return math.sqrt(squares / (self.samples - 1) / self.samples)

    def _means(self) -> list[float]:
        return [total / n for total, n in self._samples.values()]
