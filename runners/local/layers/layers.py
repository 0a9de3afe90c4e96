"""Layers that architectures share, each knowing the slice of its weights that one rank of several holds.

All layers see a flat batch: [tokens, width], the tokens of all sequences of a step one after another, no padding.
No layer reads files: `weights()` says what a checkpoint contains, its whole shape, and which slice goes where.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..ops import gemv
from ..ops.gemv import use_gemv
from ..ops.norm import add_norm, rms_norm, silu_mul
from .sharding import Shard


class LayerContext(NamedTuple):
    """Settings for building layers: dtype of the weights, and the rank's shard."""

    dtype: torch.dtype = torch.float32
    shard: Shard = Shard()


class WeightSlot(NamedTuple):
    """Destination of a checkpoint tensor: `view` takes its slice `part`; without a view other ranks hold it.

    `shape` is that of the whole tensor.
    """

    view: Tensor | None
    shape: tuple[int, ...]
    part: tuple[slice, ...] = ()


class Columns(NamedTuple):
    """Outputs of a projection that are divided over ranks in whole units (heads, say).

    `replicated` ones may be fewer than ranks: several ranks then hold the same (keys and values of grouped queries).
    """

    width: int
    unit: int = 1
    replicated: bool = False

    def local_slice(self, shard: Shard, name: str) -> slice:
        """The columns of one rank; RunnerError if they cannot be divided."""
        units = self.width // self.unit
        if self.replicated and units < shard.size and shard.size % units == 0:
            first, count = shard.rank // (shard.size // units), 1
        else:
            count = shard.divide(units, name)
            first = shard.rank * count
        return slice(first * self.unit, (first + count) * self.unit)


def logits(hidden: Tensor, weight: Tensor) -> Tensor:
    """A product in fp32 whatever the weights are, for heads and routers: bf16 logits near 20 would be steps of 1/8."""
    if weight.dtype == torch.float32:
        return gemv.linear(hidden.float(), weight)
    return gemv.head(hidden, weight)


class Linear(nn.Linear):
    """nn.Linear with fast products for few rows; every rank holds all of it."""

    def __init__(self, width: int, out: int, context: LayerContext, *, bias: bool = False) -> None:
        super().__init__(width, out, bias=bias, dtype=context.dtype)

    def reset_parameters(self) -> None:
        """Do nothing: weights come from a checkpoint, and random initialisation takes seconds."""

    def forward(self, x: Tensor) -> Tensor:
        """[tokens, in] to [tokens, out]."""
        return gemv.linear(x, self.weight, self.bias)


class ColumnLinear(Linear):
    """Projections of the same input merged into one matrix, e.g. q, k and v; their outputs are divided over the ranks.

    `parts` maps their names in the checkpoint, where they are siblings of this module, to their whole outputs.
    """

    def __init__(self, width: int, parts: Mapping[str, Columns], context: LayerContext, *, bias: bool = False) -> None:
        self.slices = {
            name: columns.local_slice(context.shard, f"outputs of {name}") for name, columns in parts.items()
        }
        self.sizes = [part.stop - part.start for part in self.slices.values()]
        super().__init__(width, sum(self.sizes), context, bias=bias)
        self.widths = {name: columns.width for name, columns in parts.items()}

    def weights(self) -> dict[str, WeightSlot]:
        """Checkpoint name (`../` is the parent module) to its destination."""
        slots: dict[str, WeightSlot] = {}
        for kind, tensor in self.named_parameters(recurse=False):
            for (name, part), view in zip(self.slices.items(), torch.split(tensor.data, self.sizes), strict=True):
                slots[f"../{name}.{kind}"] = WeightSlot(view, (self.widths[name], *tensor.shape[1:]), (part,))
        return slots

    def forward_after_norm(self, norm: "RMSNorm", x: Tensor, delta: Tensor | None) -> tuple[Tensor, Tensor]:
        """The product of the normed sum of `x` and `delta`, and that sum."""
        if delta is not None and use_gemv(x):
            return gemv.norm_linear(x, delta, norm.weight, norm.eps, self.weight, self.bias)
        normed, total = norm.add(x, delta)
        return self(normed), total


class RowLinear(Linear):
    """A projection whose inputs are divided over the ranks; its outputs are summed over them."""

    def __init__(self, width: int, out: int, context: LayerContext, *, bias: bool = False, unit: int = 1) -> None:
        self.slice = Columns(width, unit).local_slice(context.shard, "inputs of a projection")
        super().__init__(self.slice.stop - self.slice.start, out, context, bias=bias)
        self.width, self.shard = width, context.shard

    def weights(self) -> dict[str, WeightSlot]:
        """Checkpoint name (below this module) to its destination."""
        part = (slice(None), self.slice)
        slots = {"weight": WeightSlot(self.weight.data, (self.out_features, self.width), part)}
        return slots if self.bias is None else slots | {"bias": WeightSlot(self.bias.data, (self.out_features,))}

    def partial(self, x: Tensor) -> Tensor:
        """This rank's partial sum, without the bias."""
        return gemv.linear(x, self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """[tokens, local part of in] to [tokens, out]."""
        if self.shard.size == 1:
            return gemv.linear(x, self.weight, self.bias)
        out = self.shard.all_reduce(self.partial(x))
        return out if self.bias is None else out.add_(self.bias)


class RMSNorm(nn.Module):
    """Root mean square norm (arXiv 1910.07467), computed in fp32, scaled in the dtype of the input."""

    def __init__(self, width: int, eps: float, context: LayerContext) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, dtype=context.dtype))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """[tokens, width], same dtype out."""
        return rms_norm(x, self.weight, self.eps)

    def add(self, x: Tensor, delta: Tensor | None, alpha: float = 1.0, beta: float = 1.0) -> tuple[Tensor, Tensor]:
        """The normed sum alpha * x + beta * delta, and the sum; without a delta x is the sum."""
        if delta is None:
            return self(x), x
        return add_norm(x, delta, self.weight, self.eps, alpha, beta)


class Embedding(nn.Embedding):
    """nn.Embedding without random initialisation."""

    def __init__(self, vocab: int, width: int, context: LayerContext) -> None:
        super().__init__(vocab, width, dtype=context.dtype)

    def reset_parameters(self) -> None:
        """Do nothing, as for Linear."""


class LMHead(nn.Module):
    """Language-model head with fp32 logits; it has the weights of `tied`, or its own.

    Token ids from `num_tokens` on, where a vocabulary is padded beyond its tokenizer, have the logit -inf.
    """

    num_tokens: int | None

    def __init__(self, width: int, vocab: int, context: LayerContext, *, tied: Embedding | None = None) -> None:
        super().__init__()
        self.vocab, self.num_tokens = vocab, None
        self._tied = (tied,)  # in a tuple, so that it is not a submodule
        if tied is None:
            self.weight = nn.Parameter(torch.empty(vocab, width, dtype=context.dtype))

    def forward(self, hidden: Tensor) -> Tensor:
        """[rows, width] to fp32 [rows, vocab]."""
        tied = self._tied[0]
        out = logits(hidden, self.weight if tied is None else tied.weight)
        if self.num_tokens is not None:
            out[:, self.num_tokens :] = -torch.inf
        return out


class MLP(nn.Module):
    """SwiGLU (arXiv 2002.05202), its inner columns divided over the ranks."""

    def __init__(self, width: int, inner: int, context: LayerContext, *, bias: bool = False) -> None:
        super().__init__()
        context.shard.divide(inner, "columns of an MLP")
        parts = {"gate_proj": Columns(inner), "up_proj": Columns(inner)}
        self.gate_up = ColumnLinear(width, parts, context, bias=bias)
        self.down_proj = RowLinear(inner, width, context, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """[tokens, width] to the same."""
        out: Tensor = self.down_proj(silu_mul(self.gate_up(x)))
        return out

    def partial(self, x: Tensor) -> Tensor:
        """This rank's partial sum, without the last bias."""
        return self.down_proj.partial(silu_mul(self.gate_up(x)))

    def forward_after_norm(self, norm: RMSNorm, x: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
        """The output for the normed sum of `x` and `delta`, and that sum."""
        if use_gemv(x) and self.gate_up.bias is None:
            inner, total = gemv.norm_gate_up(x, delta, norm.weight, norm.eps, self.gate_up.weight)
            return self.down_proj(inner), total
        normed, total = norm.add(x, delta)
        return self(normed), total
