"""Drawing the next token. Every filter keeps a head of the tokens in order of probability, so one sorted head does.

A draw is the inverse of the cumulative distribution at one number, which depends on the seed and the index of the token
alone: the same request and seed give the same tokens whatever else is in the batch, up to the rounding of its logits.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

import torch
from torch import Tensor

from m1eval import Sampling

HEAD = 256
COLD = 1e-5


class Draw(NamedTuple):
    """How the tokens of one sequence are drawn; `top_k` 0, `top_p` 1 and `min_p` 0 are off."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    seed: int

    @classmethod
    def of(cls, sampling: Sampling, seed: int) -> "Draw":
        """From a request's settings, unset ones off and temperature unset greedy; ValueError for impossible ones."""
        draw = cls(sampling.temperature or 0.0, 1.0, max(sampling.top_k or 0, 0), sampling.min_p or 0.0, seed)
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
        """Whether the likeliest token is always taken; below COLD, scores over temperature would overflow."""
        return self.temperature < COLD or self.top_k == 1


def number(seed: int, index: int) -> float:
    """The random number in [0, 1) for token `index` of a sequence; the same on every machine and device."""
    return int.from_bytes(blake2b(f"{seed}/{index}".encode(), digest_size=7).digest()) / 2**56


def choose(scores: Tensor, draws: Sequence[Draw], indices: Sequence[int]) -> list[int]:
    """One token for each row of fp32 scores [rows, vocab]; -1 for a row with NaN or without a finite maximum."""
    best, tokens = scores.max(-1)
    rows = [i for i, draw in enumerate(draws) if not draw.greedy]
    if rows:
        numbers = [number(draws[i].seed, indices[i]) for i in rows]
        tokens[rows] = draw_rows(scores[rows], [draws[i] for i in rows], numbers)
    return tokens.masked_fill_(~best.isfinite(), -1).tolist()


def draw_rows(scores: Tensor, draws: Sequence[Draw], numbers: Sequence[float]) -> Tensor:
    """Tokens [rows] at the given numbers of each row's filtered distribution.

    The filters in their usual order, as in transformers and vLLM: temperature, then top_k, then top_p of what is left
    (the shortest head that reaches it), then min_p (a share of the greatest probability).
    """
    vocab = scores.shape[-1]
    temperature = _column(scores, [draw.temperature for draw in draws])
    top_k = _column(scores, [draw.top_k or vocab for draw in draws])
    top_p = _column(scores, [draw.top_p for draw in draws])
    min_p = _column(scores, [draw.min_p for draw in draws])
    goal = _column(scores, numbers)
    scaled = scores / temperature.to(scores.dtype)
    whole = scaled.logsumexp(-1, keepdim=True)
    out = torch.empty(len(scores), dtype=torch.long, device=scores.device)
    open_rows = torch.arange(len(scores), device=scores.device)
    width = max(HEAD, *(draw.top_k for draw in draws))
    while True:
        width = min(width, vocab)
        head, order = scaled[open_rows].topk(width)
        settings = (values[open_rows] for values in (top_k, top_p, min_p, goal))
        index, sure = _position((head - whole[open_rows]).double().exp(), *settings, complete=width == vocab)
        out[open_rows] = order.gather(-1, index).squeeze(-1)
        open_rows = open_rows[~sure.squeeze(-1)]
        if not len(open_rows):
            return out
        width *= 16


def _position(
    head: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor, goal: Tensor, *, complete: bool
) -> tuple[Tensor, Tensor]:
    """Where in the sorted head the goal falls, and whether that is sure without seeing more of the tokens."""
    mass = head.cumsum(-1)
    width = head.shape[-1]
    within = torch.arange(width, device=head.device) < top_k
    allowed = torch.where(top_k <= width, (head * within).sum(-1, keepdim=True), 1.0)
    kept = within & (mass - head < top_p * allowed) & (head >= min_p * head[:, :1])
    kept[:, 0] = True
    count = kept.sum(-1, keepdim=True)
    ended = (count < width) | complete
    unfiltered = (top_p >= 1) & (min_p <= 0) & (top_k > width)
    total = torch.where(unfiltered & (not complete), 1.0, mass.gather(-1, count - 1))
    index = (mass <= goal * total).sum(-1, keepdim=True)
    sure = ended | (top_k <= width) | (unfiltered & (index < width))
    return torch.minimum(index, count - 1), sure


def _column(like: Tensor, values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, device=like.device)[:, None]
