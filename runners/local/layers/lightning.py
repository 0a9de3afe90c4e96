"""Lightning attention as a layer (MiniMax-01, arXiv 2501.08313)."""

import torch
from torch import Tensor, nn

from ..ops.layout import Rotary
from ..ops.norm import gated_norm
from ..ops.silu import silu_
from .attention_context import AttentionContext
from .layers import ColumnLinear, Columns, LayerContext, RowLinear, WeightSlot

EPS = 1e-6
"""Epsilon of the norm inside lightning attention, whatever rms_norm_eps is: the default of the published code."""


class GatedNorm(nn.Module):
    """RMSNorm over all heads together, times sigmoid(gate); each rank has its own heads."""

    def __init__(self, heads: Columns, context: LayerContext) -> None:
        super().__init__()
        self.slice = heads.local_slice(context.shard, "attention heads")
        self.width, self.shard = heads.width, context.shard
        self.weight = nn.Parameter(torch.empty(self.slice.stop - self.slice.start, dtype=context.dtype))

    def weights(self) -> dict[str, WeightSlot]:
        """Checkpoint name (below this module) to its destination."""
        return {"weight": WeightSlot(self.weight.data, (self.width,), (self.slice,))}

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        """[tokens, local heads * dim] to the same."""
        if self.shard.size == 1:
            return gated_norm(x, gate, self.weight, EPS)
        squares = self.shard.all_reduce(x.float().square().sum(-1, keepdim=True))
        normed = x.float() * torch.rsqrt(squares / self.width + EPS)
        return self.weight * normed.to(x.dtype) * gate.sigmoid()


class LightningAttention(nn.Module):
    """Linear attention without positions, scaling or softmax; its output is normed and gated.

    slopes [heads] fp32, of all ranks: a head decays by e^-slope with every token.
    """

    slopes: Tensor

    def __init__(self, width: int, heads: int, dim: int, layer: int, slopes: Tensor, context: LayerContext) -> None:
        super().__init__()
        self.dim, self.layer = dim, layer
        columns = Columns(heads * dim, dim)
        # The published matrix goes head by head, q, k and v of each, so whole heads are slices of it.
        parts = {"qkv_proj": Columns(3 * columns.width, 3 * dim), "output_gate": columns}
        self.qkv_gate = ColumnLinear(width, parts, context)
        self.norm = GatedNorm(columns, context)
        self.out_proj = RowLinear(columns.width, width, context, unit=dim)
        self.inner = self.out_proj.in_features
        local = slice(self.norm.slice.start // dim, self.norm.slice.stop // dim)
        self.register_buffer("slopes", slopes[local], persistent=False)

    def forward(self, x: Tensor, rotary: Rotary, context: AttentionContext) -> Tensor:
        """[tokens, width] to the same; rotary positions are not used."""
        qkv, gate = self.qkv_gate(x).split((3 * self.inner, self.inner), -1)
        q, k, v = silu_(qkv).view(len(x), -1, 3 * self.dim).chunk(3, -1)
        attended = context.attend_linear(self.layer, q, k, v, self.slopes)
        out: Tensor = self.out_proj(self.norm(attended.reshape(len(x), -1), gate))
        return out
