"""Routing of tokens to experts: scores, the best experts and their weights. All in fp32."""

from typing import Any

import torch
from torch import Tensor

from . import accelerated, gemv, use_kernels
from .layout import Routing

MAX_EXPERTS, MAX_TOP_K = 256, 8
"""Limits of the kernels."""


def _scores_on_kernel(x: Tensor, weight: Tensor, *_: Any) -> bool:
    supported = x.dtype == torch.bfloat16 and weight.dtype in {torch.bfloat16, torch.float32}
    return supported and len(weight) <= MAX_EXPERTS and use_kernels(x)


def _routes_on_kernel(x: Tensor, weight: Tensor, correction: Tensor | None, routing: Routing) -> bool:
    supported = correction is None and routing.groups == 1 and routing.top_k <= MAX_TOP_K
    return supported and _scores_on_kernel(x, weight)


@accelerated(when=_routes_on_kernel)
def route(x: Tensor, weight: Tensor, correction: Tensor | None, routing: Routing) -> tuple[Tensor, Tensor]:
    """Weights fp32 and ids int64 of the chosen experts, each [tokens, top_k], the best first.

    x [tokens, width], weight [experts, width], correction [experts] fp32 or None. Of equal scores any may win: the
    kernel takes the lower id, torch.topk does not say.
    """
    scores = logits(x, weight)
    scores = scores.sigmoid() if routing.scoring == "sigmoid" else scores.softmax(-1)
    return choose(scores, correction, routing)


@accelerated(when=_scores_on_kernel)
def logits(x: Tensor, weight: Tensor) -> Tensor:
    """`x @ weight.T` in fp32, whatever dtype both have: [tokens, experts]."""
    return gemv.head(x, weight)


def choose(scores: Tensor, correction: Tensor | None, routing: Routing) -> tuple[Tensor, Tensor]:
    """Weights and ids of the chosen experts, from scores [tokens, experts] in fp32.

    The correction, a bias per expert, affects the choice but not the weights.
    """
    ranked = scores if correction is None else scores + correction
    if routing.groups > 1:
        ranked = _within_groups(ranked, routing)
    ids = ranked.topk(routing.top_k, -1).indices
    weights = scores.gather(-1, ids)
    if routing.renormalise:
        weights = weights / (weights.sum(-1, keepdim=True) + routing.eps)
    return weights * routing.scaling, ids


def _within_groups(ranked: Tensor, routing: Routing) -> Tensor:
    """Scores with -inf outside the best groups."""
    grouped = ranked.view(len(ranked), routing.groups, -1)
    best = grouped.topk(2, -1).values.sum(-1).topk(routing.top_groups, -1).indices
    excluded = torch.ones_like(grouped[..., 0], dtype=torch.bool).scatter_(-1, best, False)
    return grouped.masked_fill(excluded[..., None], -torch.inf).view_as(ranked)
