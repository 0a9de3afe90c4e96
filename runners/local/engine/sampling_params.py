"""Sampling parameters of one sequence; ops/sample.py samples."""

from typing import NamedTuple

from m1eval import Sampling

GREEDY_BELOW = 1e-5
"""Below this temperature sampling is greedy: logits over temperature would overflow."""
NUM_SEEDS = 2**63


class SamplingParams(NamedTuple):
    """`top_k` 0, `top_p` 1 and `min_p` 0 are off; `seed` in [0, 2^63)."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    seed: int

    @classmethod
    def from_sampling(cls, sampling: Sampling, seed: int) -> "SamplingParams":
        """Parameters from a request's settings: unset ones are off, no temperature is greedy; ValueError if invalid."""
        top_k = min(max(sampling.top_k or 0, 0), 2**31 - 1)
        params = cls(sampling.temperature or 0.0, 1.0, top_k, sampling.min_p or 0.0, seed % NUM_SEEDS)
        if sampling.top_p is not None:
            params = params._replace(top_p=sampling.top_p)
        if params.temperature < 0 or not 0 < params.top_p <= 1 or not 0 <= params.min_p <= 1:
            raise ValueError(
                f"sampling requires temperature >= 0, 0 < top_p <= 1 and 0 <= min_p <= 1, not temperature "
                f"{params.temperature}, top_p {params.top_p}, min_p {params.min_p}"
            )
        return params

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is always taken."""
        return self.temperature < GREEDY_BELOW or self.top_k == 1
