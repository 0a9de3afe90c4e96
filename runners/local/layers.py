"""The parts that architectures share. No part reads files: `weights()` and parameter names say what a checkpoint holds.

All parts see a flat batch: [tokens, width], the tokens of all sequences of one step one after another, no padding.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from m1eval import RunnerError

FEW = 4


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x @ weight.T + bias`; x [tokens, in], weight [out, in].

    For one to four rows on a CPU the product is taken as weight @ x.T: MKL's sgemm then reads the weight once, at up to
    three times the speed (AMD Zen 4, one thread), and its sgemv is so slow that one row pays to be made two.
    """
    rows = x.shape[0]
    if rows > FEW or x.device.type != "cpu" or x.dtype != torch.float32:
        return functional.linear(x, weight, bias)
    wide = x.expand(2, -1).contiguous() if rows == 1 else x
    out = (weight @ wide.t()).t()[:rows].contiguous()
    return out if bias is None else out.add_(bias)


def logits(hidden: Tensor, weight: Tensor) -> Tensor:
    """The language-model head in fp32 whatever the weights are: bf16 logits near 20 would be steps of 1/8."""
    if weight.dtype == torch.float32:
        return linear(hidden.float(), weight)
    if hidden.is_cuda:
        return torch.mm(hidden, weight.t(), out_dtype=torch.float32)
    return functional.linear(hidden.float(), weight.float())


class Linear(nn.Linear):
    """nn.Linear with the quick product for few rows."""

    def reset_parameters(self) -> None:
        """Nothing: weights come from a checkpoint, and drawing random ones takes seconds."""

    def forward(self, x: Tensor) -> Tensor:
        """[tokens, in] to [tokens, out]."""
        return linear(x, self.weight, self.bias)


class Embedding(nn.Embedding):
    """nn.Embedding."""

    def reset_parameters(self) -> None:
        """Nothing, as for Linear."""


class Packed(Linear):
    """Several projections of the same input as one matrix, e.g. q, k and v.

    `parts` maps their names in the checkpoint, where they stand beside this module, to their output widths.
    """

    def __init__(self, width: int, parts: Mapping[str, int], *, bias: bool, dtype: torch.dtype) -> None:
        super().__init__(width, sum(parts.values()), bias=bias, dtype=dtype)
        self.parts = dict(parts)

    def weights(self) -> dict[str, Tensor]:
        """Checkpoint name (beside this module) to the view that it fills."""
        found: dict[str, Tensor] = {}
        for kind, tensor in self.named_parameters(recurse=False):
            views = torch.split(tensor.data, list(self.parts.values()))
            found |= {f"{part}.{kind}": view for part, view in zip(self.parts, views, strict=True)}
        return found


class RMSNorm(nn.Module):
    """Root mean square norm (arXiv 1910.07467), computed in fp32, scaled in the dtype of the input."""

    def __init__(self, width: int, eps: float, *, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, dtype=dtype))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """[..., width], same dtype out."""
        shape = self.weight.shape
        if x.dtype == torch.float32:
            return functional.rms_norm(x, shape, self.weight, self.eps)
        return self.weight * functional.rms_norm(x.float(), shape, None, self.eps).to(x.dtype)


class Rope(nn.Module):
    """Rotary positions (arXiv 2104.09864) in the rotate-half layout, in fp32.

    `scaling` is what config.json holds beside the base: rope_type default, linear, llama3, or factors (one divisor
    per frequency, as GGUF files store them). RunnerError for others.
    """

    frequencies: Tensor

    def __init__(self, dim: int, theta: float, scaling: Mapping[str, Any]) -> None:
        super().__init__()
        with torch.device("cpu"):  # real values even while the model is built on the meta device
            plain = theta ** -(torch.arange(0, dim, 2, dtype=torch.float32) / dim)
            self.register_buffer("frequencies", _scaled(plain, scaling), persistent=False)

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """cos and signed sin, each [tokens, 1, dim], for `rotate`; computed once a step for all layers."""
        angles = torch.outer(positions.float(), self.frequencies)
        cos, sin = angles.cos(), angles.sin()
        return torch.cat((cos, cos), -1)[:, None], torch.cat((-sin, sin), -1)[:, None]


def rotate(x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """Turn x [tokens, heads, dim] to its positions; same dtype out."""
    cos, sin = table
    swapped = x.roll(x.shape[-1] // 2, -1)
    return torch.addcmul(x * cos, swapped.to(sin.dtype), sin).to(x.dtype)


def _scaled(plain: Tensor, scaling: Mapping[str, Any]) -> Tensor:
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "default":
        return plain
    if kind == "linear":
        return plain / float(scaling["factor"])
    if kind == "factors":
        return plain / torch.tensor(scaling["factors"])
    if kind == "llama3":
        return _llama3(plain, scaling)
    raise RunnerError(f"rope_type '{kind}' is not built in; there are default, linear, llama3")


def _llama3(plain: Tensor, scaling: Mapping[str, Any]) -> Tensor:
    """Llama 3.1: long wavelengths are slowed by `factor`, short ones kept, those between blended."""
    turns = float(scaling["original_max_position_embeddings"]) * plain / (2 * math.pi)
    low, high = float(scaling["low_freq_factor"]), float(scaling["high_freq_factor"])
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return plain * (kept + (1 - kept) / float(scaling["factor"]))
