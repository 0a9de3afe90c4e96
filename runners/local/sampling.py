"""How the tokens of one sequence are drawn; the drawing itself is in ops/sample.py."""

from typing import NamedTuple

from m1eval import Sampling

COLD = 1e-5
"""Below this temperature the likeliest token is taken: scores over temperature would overflow."""
SEEDS = 2**63


class Draw(NamedTuple):
    """`top_k` 0, `top_p` 1 and `min_p` 0 are off; `seed` in [0, 2^63)."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    seed: int

    @classmethod
    def of(cls, sampling: Sampling, seed: int) -> "Draw":
        """From a request's settings, unset ones off and temperature unset greedy; ValueError for impossible ones."""
        top_k = min(max(sampling.top_k or 0, 0), 2**31 - 1)
        draw = cls(sampling.temperature or 0.0, 1.0, top_k, sampling.min_p or 0.0, seed % SEEDS)
        if sampling.top_p is not None:
            draw = draw._replace(top_p=sampling.top_p)
        if draw.temperature < 0 or not 0 < draw.top_p <= 1 or not 0 <= draw.min_p <= 1:
            raise ValueError(
                f"sampling wants temperature >= 0, 0 < top_p <= 1 and 0 <= min_p <= 1, not temperature "
                f"{draw.temperature}, top_p {draw.top_p}, min_p {draw.min_p}"
            )
        return draw

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature < COLD or self.top_k == 1
