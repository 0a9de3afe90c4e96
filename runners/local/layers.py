"""The parts that architectures share, each of them knowing which slice of its weights one rank of several holds.

All parts see a flat batch: [tokens, width], the tokens of all sequences of one step one after another, no padding.
No part reads files: `weights()` says what a checkpoint holds, how large it is there, and which slice goes where.
(Rotary positions are in rotary.py, experts in moe.py.)
"""

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
import torch
from torch import Tensor, nn

from m1eval import RunnerError

from .ops import gemv, norm
from .ops.gemv import use_gemv
from .parallel import Shard
from .weights.config_keys import WHERE

Fields = TypeVar("Fields", bound=msgspec.Struct)
SILU = ("silu", "swish")
"""Names of the one activation that MLPs have here."""
Size = Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]
"""A dimension or a count in a config; products of four of them cannot pass for something small."""
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 24)]
"""The same where there may be none."""
Layers = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
Positions = Annotated[int, msgspec.Meta(ge=1, le=1 << 40)]
Eps = Annotated[float, msgspec.Meta(ge=0, le=1)]


class LayerContext(NamedTuple):
    """How a model is to be held: in which numbers, and which part of it."""

    dtype: torch.dtype = torch.float32
    shard: Shard = Shard()


class Slot(NamedTuple):
    """Where a tensor of a checkpoint goes: `view` takes the slice `part` of it; without a view other ranks hold it.

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

    def own(self, shard: Shard, what: str) -> slice:
        """Those of one rank; RunnerError if they cannot be divided."""
        units = self.width // self.unit
        if self.replicated and units < shard.size and shard.size % units == 0:
            first, count = shard.rank // (shard.size // units), 1
        else:
            count = shard.part(units, what)
            first = shard.rank * count
        return slice(first * self.unit, (first + count) * self.unit)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x @ weight.T + bias`; x [tokens, in], weight [out, in]."""
    return gemv.linear(x, weight, bias)


def logits(hidden: Tensor, weight: Tensor) -> Tensor:
    """A product in fp32 whatever the weights are, for heads and routers: bf16 logits near 20 would be steps of 1/8."""
    if weight.dtype == torch.float32:
        return linear(hidden.float(), weight)
    return gemv.head(hidden, weight)


class Linear(nn.Linear):
    """nn.Linear with the quick products for few rows; every rank holds all of it."""

    def __init__(self, width: int, out: int, context: LayerContext, *, bias: bool = False) -> None:
        super().__init__(width, out, bias=bias, dtype=context.dtype)

    def reset_parameters(self) -> None:
        """Nothing: weights come from a checkpoint, and drawing random ones takes seconds."""

    def forward(self, x: Tensor) -> Tensor:
        """[tokens, in] to [tokens, out]."""
        return linear(x, self.weight, self.bias)


class Packed(Linear):
    """Several projections of the same input as one matrix, e.g. q, k and v, its outputs divided over the ranks.

    `parts` maps their names in the checkpoint, where they stand beside this module, to their whole outputs.
    """

    def __init__(self, width: int, parts: Mapping[str, Columns], context: LayerContext, *, bias: bool = False) -> None:
        self.own = {name: columns.own(context.shard, f"outputs of {name}") for name, columns in parts.items()}
        self.sizes = [own.stop - own.start for own in self.own.values()]
        super().__init__(width, sum(self.sizes), context, bias=bias)
        self.whole = {name: columns.width for name, columns in parts.items()}

    def weights(self) -> dict[str, Slot]:
        """Checkpoint name (`../` is beside this module) to what it fills."""
        found: dict[str, Slot] = {}
        for kind, tensor in self.named_parameters(recurse=False):
            for (name, own), view in zip(self.own.items(), torch.split(tensor.data, self.sizes), strict=True):
                found[f"../{name}.{kind}"] = Slot(view, (self.whole[name], *tensor.shape[1:]), (own,))
        return found

    def after(self, before: "RMSNorm", x: Tensor, delta: Tensor | None) -> tuple[Tensor, Tensor]:
        """The product of the normed sum of `x` and `delta`, and that sum."""
        if delta is not None and use_gemv(x):
            return gemv.norm_linear(x, delta, before.weight, before.eps, self.weight, self.bias)
        normed, total = before.add(x, delta)
        return self(normed), total


class Row(Linear):
    """A projection whose inputs are divided over the ranks; its outputs are summed over them."""

    def __init__(self, width: int, out: int, context: LayerContext, *, bias: bool = False, unit: int = 1) -> None:
        self.own = Columns(width, unit).own(context.shard, "inputs of a projection")
        super().__init__(self.own.stop - self.own.start, out, context, bias=bias)
        self.whole, self.shard = width, context.shard

    def weights(self) -> dict[str, Slot]:
        """Checkpoint name (below this module) to what it fills."""
        found = {"weight": Slot(self.weight.data, (self.out_features, self.whole), (slice(None), self.own))}
        return found if self.bias is None else found | {"bias": Slot(self.bias.data, (self.out_features,))}

    def partial(self, x: Tensor) -> Tensor:
        """This rank's summand, bias left out."""
        return linear(x, self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """[tokens, own part of in] to [tokens, out]."""
        if self.shard.size == 1:
            return linear(x, self.weight, self.bias)
        out = self.shard.sum(self.partial(x))
        return out if self.bias is None else out.add_(self.bias)


class RMSNorm(nn.Module):
    """Root mean square norm (arXiv 1910.07467), computed in fp32, scaled in the dtype of the input."""

    def __init__(self, width: int, eps: float, context: LayerContext) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, dtype=context.dtype))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """[tokens, width], same dtype out."""
        return norm.rms_norm(x, self.weight, self.eps)

    def add(self, x: Tensor, delta: Tensor | None, alpha: float = 1.0, beta: float = 1.0) -> tuple[Tensor, Tensor]:
        """The normed sum alpha * x + beta * delta, and the sum; without a delta x is the sum."""
        if delta is None:
            return self(x), x
        return norm.add_norm(x, delta, self.weight, self.eps, alpha, beta)


class Embedding(nn.Embedding):
    """nn.Embedding."""

    def __init__(self, vocab: int, width: int, context: LayerContext) -> None:
        super().__init__(vocab, width, dtype=context.dtype)

    def reset_parameters(self) -> None:
        """Nothing, as for Linear."""


class Head(nn.Module):
    """The language-model head, its scores in fp32; it has the weights of `tied`, or its own.

    Token ids from `known` on, where a vocabulary is padded beyond its tokenizer, score -inf.
    """

    known: int | None

    def __init__(self, width: int, vocab: int, context: LayerContext, *, tied: Embedding | None = None) -> None:
        super().__init__()
        self.vocab, self.known = vocab, None
        self._tied = (tied,)  # in a tuple, so that it is no part of this module
        if tied is None:
            self.weight = nn.Parameter(torch.empty(vocab, width, dtype=context.dtype))

    def forward(self, hidden: Tensor) -> Tensor:
        """[rows, width] to fp32 [rows, vocab]."""
        tied = self._tied[0]
        scores = logits(hidden, self.weight if tied is None else tied.weight)
        if self.known is not None:
            scores[:, self.known :] = -torch.inf
        return scores


class MLP(nn.Module):
    """SwiGLU (arXiv 2002.05202), its inner columns divided over the ranks."""

    def __init__(self, width: int, inner: int, context: LayerContext, *, bias: bool = False) -> None:
        super().__init__()
        context.shard.part(inner, "columns of an MLP")
        self.gate_up = Packed(width, {"gate_proj": Columns(inner), "up_proj": Columns(inner)}, context, bias=bias)
        self.down_proj = Row(inner, width, context, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """[tokens, width] to the same."""
        out: Tensor = self.down_proj(norm.silu_mul(self.gate_up(x)))
        return out

    def partial(self, x: Tensor) -> Tensor:
        """This rank's summand, without a bias at the end."""
        return self.down_proj.partial(norm.silu_mul(self.gate_up(x)))

    def after(self, before: RMSNorm, x: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
        """What it makes of the normed sum of `x` and `delta`, and that sum."""
        if use_gemv(x) and self.gate_up.bias is None:
            inner, total = gemv.norm_gate_up(x, delta, before.weight, before.eps, self.gate_up.weight)
            return self.down_proj(inner), total
        normed, total = before.add(x, delta)
        return self(normed), total


def converted(fields: Mapping[str, Any], kind: type[Fields]) -> Fields:
    """The fields of a config as a struct; RunnerError naming the one that does not fit."""
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise RunnerError(f"{WHERE}: {error}") from error


def checked(condition: bool, said: str) -> None:
    """RunnerError about a model's config.json unless the condition holds."""
    if not condition:
        raise RunnerError(f"{WHERE}: {said}")
