"""Which experts a token goes through, and with which weights: scores, the best of them, their shares. All in fp32."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from . import gemv, kernels

MOST, PICKED = 256, 8
"""Experts, and chosen ones of a token, up to which the kernels go."""


class Choice(NamedTuple):
    """How a router makes weights of its scores: for each token `chosen` experts.

    `scoring` over all experts; `groups` of which the best `kept` may be chosen from (a group is as good as its two best
    experts); `renormalise` the weights of the chosen to sum 1, `floor` added to their sum; times `scaling` at the end.
    """

    chosen: int
    scoring: Literal["softmax", "sigmoid"] = "softmax"
    renormalise: bool = True
    groups: int = 1
    kept: int = 1
    scaling: float = 1.0
    floor: float = 0.0


def route(x: Tensor, weight: Tensor, correction: Tensor | None, choice: Choice) -> tuple[Tensor, Tensor]:
    """Weights fp32 and ids int64 of the chosen experts, each [tokens, chosen], the best first.

    x [tokens, width], weight [experts, width], correction [experts] fp32 or None. Of equal scores any may win: the
    kernel takes the lower id, torch.topk does not say.
    """
    plain = correction is None and choice.groups == 1 and choice.chosen <= PICKED
    if plain and _quick(x, weight):
        from ..kernels import router

        return router.route(
            x, weight, choice.chosen, sigmoid=choice.scoring == "sigmoid", renormalise=choice.renormalise,
            floor=choice.floor, scaling=choice.scaling,
        )  # fmt: skip
    scores = logits(x, weight)
    scores = scores.sigmoid() if choice.scoring == "sigmoid" else scores.softmax(-1)
    return choose(scores, correction, choice)


def logits(x: Tensor, weight: Tensor) -> Tensor:
    """`x @ weight.T` in fp32, whatever both are: [tokens, experts]."""
    if _quick(x, weight):
        from ..kernels import router

        return router.logits(x, weight)
    return gemv.head(x, weight)


def _quick(x: Tensor, weight: Tensor) -> bool:
    known = x.dtype == torch.bfloat16 and weight.dtype in {torch.bfloat16, torch.float32}
    return known and len(weight) <= MOST and kernels(x)


def choose(scores: Tensor, correction: Tensor | None, choice: Choice) -> tuple[Tensor, Tensor]:
    """Weights and ids of the chosen experts, from scores [tokens, experts] in fp32.

    With a correction, a bias per expert decides the choice, but not the weights.
    """
    ranked = scores if correction is None else scores + correction
    if choice.groups > 1:
        ranked = _within_groups(ranked, choice)
    ids = ranked.topk(choice.chosen, -1).indices
    weights = scores.gather(-1, ids)
    if choice.renormalise:
        weights = weights / (weights.sum(-1, keepdim=True) + choice.floor)
    return weights * choice.scaling, ids


def _within_groups(ranked: Tensor, choice: Choice) -> Tensor:
    grouped = ranked.view(len(ranked), choice.groups, -1)
    best = grouped.topk(2, -1).values.sum(-1).topk(choice.kept, -1).indices
    closed = torch.ones_like(grouped[..., 0], dtype=torch.bool).scatter_(-1, best, False)
    return grouped.masked_fill(closed[..., None], -torch.inf).view_as(ranked)
