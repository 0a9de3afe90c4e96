"""Rotary positions (arXiv 2104.09864), and the ways in which models are stretched to longer contexts by them."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from m1eval import RunnerError

from .ops.rope import plain_table, table

KINDS = ("default", "linear", "dynamic", "yarn", "llama3")


class Rope(nn.Module):
    """Angles of rotary positions, in fp32, for the first `dim` dimensions of each head.

    `scaling` is what config.json holds beside the base `theta`: rope_type default, linear, dynamic, yarn, llama3, or
    factors (one divisor per frequency, as GGUF files store them). `window` is max_position_embeddings, the length that
    dynamic scaling starts from. RunnerError for other types and for missing fields.
    """

    frequencies: Tensor
    scale: float
    """YaRN's attention factor; cos and sin are multiplied by it already."""

    def __init__(self, dim: int, theta: float, scaling: Mapping[str, Any], *, window: int = 0) -> None:
        super().__init__()
        kind = scaling.get("rope_type", scaling.get("type", "default"))
        self.dynamic = (theta, float(scaling.get("factor", 1)), window) if kind == "dynamic" else None
        try:
            with torch.device("cpu"):  # real values even while the model is built on the meta device
                self.register_buffer("frequencies", _frequencies(kind, dim, theta, scaling), persistent=False)
        except KeyError as error:
            raise RunnerError(f"config.json of the model: rope_type '{kind}' needs {error.args[0]}") from error
        self.scale = _attention_factor(scaling) if kind == "yarn" else 1.0

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin, each [tokens, dim / 2]; computed once a step for all layers."""
        if self.dynamic is None:
            return table(positions, self.frequencies, self.scale)
        return plain_table(positions, self._stretched(positions, *self.dynamic), self.scale)

    def _stretched(self, positions: Tensor, theta: float, factor: float, window: int) -> Tensor:
        """The frequencies of dynamic NTK, which change with the length of a sequence: [tokens, dim / 2].

        Here a token's length is that up to itself, as when transformers generates token by token with a cache: so the
        way in which a prompt is cut does not matter.
        """
        dim = 2 * len(self.frequencies)
        stretch = (factor * (positions + 1).clamp(min=window) / window - (factor - 1)) ** (dim / (dim - 2))
        exponents = torch.arange(0, dim, 2, device=positions.device, dtype=torch.float32) / dim
        return (theta * stretch.float())[:, None] ** -exponents


def rotate(x: Tensor, table: tuple[Tensor, Tensor], interleaved: bool = False) -> Tensor:
    """Turn x [tokens, heads, dim] to its positions, in fp32; same dtype out.

    The pairs that turn are the two halves of the dimensions, or neighbours (0, 1), (2, 3), … if interleaved.
    """
    cos, sin = table[0][:, None], table[1][:, None]
    if interleaved:
        first, second = x[..., ::2].float(), x[..., 1::2].float()
        return torch.stack((first * cos - second * sin, second * cos + first * sin), -1).flatten(-2).to(x.dtype)
    first, second = x.float().chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1).to(x.dtype)


def mscale(factor: float, weight: float = 1.0) -> float:
    """YaRN's correction of attention for a context stretched by `factor` (arXiv 2309.00071, section 3.4)."""
    return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0


def stretched(window: int, scaling: Mapping[str, Any]) -> int:
    """The window of a model in tokens, from max_position_embeddings; YaRN and dynamic NTK may reach beyond that."""
    kind, factor = scaling.get("rope_type", scaling.get("type", "default")), float(scaling.get("factor") or 1)
    if kind == "dynamic":
        return int(window * factor)
    if kind == "yarn":
        return max(window, int(scaling.get("original_max_position_embeddings", window) * factor))
    return window


def _frequencies(kind: str, dim: int, theta: float, scaling: Mapping[str, Any]) -> Tensor:
    plain = theta ** -(torch.arange(0, dim, 2, dtype=torch.float32) / dim)
    match kind:
        case "default" | "dynamic":
            return plain
        case "linear":
            return plain / float(scaling["factor"])
        case "factors":
            return plain / torch.tensor(scaling["factors"])
        case "llama3":
            return _llama3(plain, scaling)
        case "yarn":
            return _yarn(plain, theta, scaling)
    raise RunnerError(f"rope_type '{kind}' is not built in; there are {', '.join(KINDS)}")


def _llama3(plain: Tensor, scaling: Mapping[str, Any]) -> Tensor:
    """Llama 3.1: long wavelengths are slowed by `factor`, short ones kept, those between blended."""
    turns = float(scaling["original_max_position_embeddings"]) * plain / (2 * math.pi)
    low, high = float(scaling["low_freq_factor"]), float(scaling["high_freq_factor"])
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return plain * (kept + (1 - kept) / float(scaling["factor"]))


def _yarn(plain: Tensor, theta: float, scaling: Mapping[str, Any]) -> Tensor:
    """YaRN: a ramp over the dimensions, from those that turn beta_fast times in the old context to beta_slow times."""
    dim, old = 2 * len(plain), float(scaling["original_max_position_embeddings"])
    ends = [float(scaling.get(name) or usual) for name, usual in (("beta_fast", 32), ("beta_slow", 1))]
    low, high = (dim * math.log(old / (turns * 2 * math.pi)) / (2 * math.log(theta)) for turns in ends)
    if scaling.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    slowed = ((torch.arange(len(plain)) - low) / max(high - low, 0.001)).clamp(0, 1)
    return plain * (1 - slowed) + plain / float(scaling["factor"]) * slowed


def _attention_factor(scaling: Mapping[str, Any]) -> float:
    given = scaling.get("attention_factor")
    if given is not None:
        return float(given)
    factor, over, under = float(scaling["factor"]), scaling.get("mscale"), scaling.get("mscale_all_dim")
    return mscale(factor, over) / mscale(factor, under) if over and under else mscale(factor)
