"""Mixtures of experts: a router chooses a few MLPs for each token. Ranks hold whole experts."""

import torch
from torch import Tensor, nn

from ..ops.experts import experts
from ..ops.layout import Routing
from ..ops.router import route
from .layers import MLP, LayerContext, RMSNorm, WeightSlot

PARTS = ("gate_proj", "up_proj", "down_proj")
"""Names of an expert's matrices in a checkpoint; some models say w1, w3, w2."""


class Router(nn.Module):
    """Chooses experts, in fp32. With `corrected`, a bias per expert affects the choice but not the weights.

    (That is DeepSeek-V3's balancing without auxiliary loss, arXiv 2412.19437, section 2.1.2.)
    """

    def __init__(
        self,
        width: int,
        experts: int,
        routing: Routing,
        context: LayerContext,
        *,
        corrected: bool = False,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.routing = routing
        self.weight = nn.Parameter(torch.empty(experts, width, dtype=dtype or context.dtype))
        self.e_score_correction_bias = nn.Parameter(torch.empty(experts, dtype=torch.float32)) if corrected else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[tokens, width] to weights fp32 and ids int64 of the chosen experts, each [tokens, top_k]."""
        return route(x, self.weight, self.e_score_correction_bias, self.routing)


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
        local = context.shard.divide(count, "experts")
        self.first = context.shard.rank * local
        self.gate_up = nn.Parameter(torch.empty(local, 2 * inner, width, dtype=context.dtype))
        self.down = nn.Parameter(torch.empty(local, width, inner, dtype=context.dtype))

    def weights(self) -> dict[str, WeightSlot]:
        """Checkpoint name (below this module) to its destination, expert by expert."""
        inner, width = self.down.shape[2], self.down.shape[1]
        slots: dict[str, WeightSlot] = {}
        for expert in range(self.count):
            local = expert - self.first
            views: list[Tensor | None] = [None, None, None]
            if 0 <= local < len(self.down):
                views = [*self.gate_up.data[local].chunk(2), self.down.data[local]]
            for part, view, shape in zip(self.parts, views, [(inner, width)] * 2 + [(width, inner)], strict=True):
                slots[f"{expert}.{part}.weight"] = WeightSlot(view, shape)
        return slots

    def stacked(self) -> dict[str, WeightSlot]:
        """`weights` for a checkpoint that holds the experts stacked."""
        part = (slice(self.first, self.first + len(self.down)),)
        tensors = {"gate_up_proj": self.gate_up.data, "down_proj": self.down.data}
        return {name: WeightSlot(tensor, (self.count, *tensor.shape[1:]), part) for name, tensor in tensors.items()}

    def partial(self, x: Tensor, weights: Tensor, ids: Tensor) -> Tensor:
        """This rank's partial sum."""
        return experts(x, self.gate_up, self.down, weights, ids - self.first, foreign=self.shard.size > 1)

    def forward(self, x: Tensor, weights: Tensor, ids: Tensor) -> Tensor:
        """[tokens, width] to the same; weights and ids of the chosen experts [tokens, top_k]."""
        return self.shard.all_reduce(self.partial(x, weights, ids))


class MoE(nn.Module):
    """Router and experts in place of one MLP, with an optional shared expert for every token."""

    def __init__(self, gate: Router, experts: Experts, shared: MLP | None = None) -> None:
        super().__init__()
        self.gate, self.experts, self.shared_experts = gate, experts, shared

    def forward(self, x: Tensor) -> Tensor:
        """[tokens, width] to the same."""
        out = self.experts.partial(x, *self.gate(x))
        if self.shared_experts is not None:
            out += self.shared_experts.partial(x)
        return self.experts.shard.all_reduce(out)

    def forward_after_norm(self, norm: RMSNorm, x: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
        """The output for the normed sum of `x` and `delta`, and that sum."""
        normed, total = norm.add(x, delta)
        return self(normed), total


FeedForward = MLP | MoE
"""The second half of a decoder layer."""
