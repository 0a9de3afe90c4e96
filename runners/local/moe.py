"""Mixtures of experts: a router chooses a few MLPs for each token. Experts are divided over the ranks as wholes."""

import torch
from torch import Tensor, nn

from .layers import MLP, LayerContext, RMSNorm, Slot
from .ops.experts import experts
from .ops.router import Choice, choose, route

__all__ = ["PARTS", "Choice", "Experts", "FeedForward", "MoE", "Router", "choose"]

PARTS = ("gate_proj", "up_proj", "down_proj")
"""The matrices of an expert by their names in a checkpoint; some models say w1, w3, w2."""


class Router(nn.Module):
    """Chooses experts, in fp32. With `corrected`, a bias per expert decides the choice, but not the weights.

    (That is DeepSeek-V3's balancing without auxiliary loss, arXiv 2412.19437, section 2.1.2.)
    """

    def __init__(
        self,
        width: int,
        experts: int,
        choice: Choice,
        context: LayerContext,
        *,
        corrected: bool = False,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.choice = choice
        self.weight = nn.Parameter(torch.empty(experts, width, dtype=dtype or context.dtype))
        self.e_score_correction_bias = nn.Parameter(torch.empty(experts, dtype=torch.float32)) if corrected else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[tokens, width] to weights fp32 and ids int64 of the chosen, each [tokens, chosen]."""
        return route(x, self.weight, self.e_score_correction_bias, self.choice)


class Experts(nn.Module):
    """SwiGLU experts as stacked matrices; each rank has its own experts and computes them for all tokens.

    A checkpoint holds them one by one (`3.gate_proj.weight`, or other names by `parts`), or stacked as here
    (`gate_up_proj`, `down_proj`).
    """

    def __init__(
        self, width: int, inner: int, count: int, context: LayerContext, *, parts: tuple[str, str, str] = PARTS
    ) -> None:
        super().__init__()
        self.count, self.parts, self.shard = count, parts, context.shard
        own = context.shard.part(count, "experts")
        self.first = context.shard.rank * own
        self.gate_up = nn.Parameter(torch.empty(own, 2 * inner, width, dtype=context.dtype))
        self.down = nn.Parameter(torch.empty(own, width, inner, dtype=context.dtype))

    def weights(self) -> dict[str, Slot]:
        """Checkpoint name (below this module) to what it fills, expert by expert."""
        inner, width = self.down.shape[2], self.down.shape[1]
        found: dict[str, Slot] = {}
        for expert in range(self.count):
            own = expert - self.first
            views: list[Tensor | None] = [None, None, None]
            if 0 <= own < len(self.down):
                views = [*self.gate_up.data[own].chunk(2), self.down.data[own]]
            for part, view, shape in zip(self.parts, views, [(inner, width)] * 2 + [(width, inner)], strict=True):
                found[f"{expert}.{part}.weight"] = Slot(view, shape)
        return found

    def stacked(self) -> dict[str, Slot]:
        """The same for a checkpoint that holds them stacked."""
        own = (slice(self.first, self.first + len(self.down)),)
        named = {"gate_up_proj": self.gate_up.data, "down_proj": self.down.data}
        return {name: Slot(tensor, (self.count, *tensor.shape[1:]), own) for name, tensor in named.items()}

    def partial(self, x: Tensor, weights: Tensor, ids: Tensor) -> Tensor:
        """This rank's summand."""
        return experts(x, self.gate_up, self.down, weights, ids - self.first, foreign=self.shard.size > 1)

    def forward(self, x: Tensor, weights: Tensor, ids: Tensor) -> Tensor:
        """[tokens, width] to the same; weights and ids of the chosen experts [tokens, chosen]."""
        return self.shard.sum(self.partial(x, weights, ids))


class MoE(nn.Module):
    """Router and experts in place of one MLP, and beside them maybe a shared expert for every token."""

    def __init__(self, gate: Router, experts: Experts, shared: MLP | None = None) -> None:
        super().__init__()
        self.gate, self.experts, self.shared_experts = gate, experts, shared

    def forward(self, x: Tensor) -> Tensor:
        """[tokens, width] to the same."""
        out = self.experts.partial(x, *self.gate(x))
        if self.shared_experts is not None:
            out += self.shared_experts.partial(x)
        return self.experts.shard.sum(out)

    def after(self, before: RMSNorm, x: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
        """What it makes of the normed sum of `x` and `delta`, and that sum."""
        normed, total = before.add(x, delta)
        return self(normed), total


FeedForward = MLP | MoE
"""What follows attention in a block."""
