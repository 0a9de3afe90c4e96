"""Rotary positions (arXiv 2104.09864) and their scaling to longer contexts."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from m1eval import RunnerError

from ..config.keys import CONFIG, describe_unknown_keys
from ..ops.layout import Rotary
from ..ops.rope import cos_sin

KINDS = ("default", "linear", "dynamic", "yarn", "llama3")
_FROM_ORIGINAL = ("yarn", "llama3", "longrope")
"""Types that scale from original_max_position_embeddings."""
_NUMBERS = [
    "rope_theta",
    "factor",
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "low_freq_factor",
    "high_freq_factor",
    "mscale",
    "mscale_all_dim",
    "original_max_position_embeddings",
    "partial_rotary_factor",
]
_KEYS = frozenset(
    (
        *_NUMBERS,
        "rope_type",
        "type",
        "truncate",
        "short_factor",
        "long_factor",
        "mrope_section",
        "attn_factor",
        "finetuned",
    )
)
"""Keys that transformers supports, each type reading its own; and two in published configs that it ignores."""
_LIMIT = 1e12


class GgufRope(dict[str, Any]):
    """Rotary scaling of a GGUF file, complete and checked; also `factors`, and a `table_scale` of cos and sin."""


def rope_parameters(config: Mapping[str, Any], theta: float = 10000.0) -> dict[str, Any]:
    """The rotary scaling of a config.json, `rope_theta` included; `theta` is the architecture's default.

    As in transformers 5: `rope_scaling` replaces `rope_parameters` as a whole, its base too; keys inside either take
    precedence over the same key next to it, except original_max_position_embeddings. RunnerError for unknown keys and
    for invalid numbers.
    """
    name = "rope_scaling" if config.get("rope_scaling") else "rope_parameters"
    scaling = config.get(name) or {}
    if isinstance(scaling, GgufRope):
        return {"rope_theta": config.get("rope_theta", theta), **scaling}
    if not isinstance(scaling, Mapping):
        raise RunnerError(f"{CONFIG}: {name} is not an object")
    if nested := [key for key, value in scaling.items() if isinstance(value, Mapping)]:
        raise RunnerError(f"{CONFIG}: {name} differs by layer ({nested[0][:40]}), which is not built in")
    if unknown := {f"{name}.{key}": value for key, value in scaling.items() if key not in _KEYS and value is not None}:
        raise RunnerError(f"{CONFIG}: {describe_unknown_keys(unknown)}")
    rope = {key: value for key, value in scaling.items() if value is not None or key in ("factor", "truncate")}
    rope.setdefault("rope_theta", _first(config.get("rope_theta"), theta))
    kind = rope["rope_type"] = rope.get("rope_type", rope.pop("type", None))
    if kind is None and rope.get("factor") is not None:
        raise RunnerError(f"{CONFIG}: {name} has a factor and no rope_type: add the type, one of {', '.join(KINDS)}")
    kind = rope["rope_type"] = "default" if kind is None else kind
    if kind in _FROM_ORIGINAL and config.get("original_max_position_embeddings") is not None:
        rope["original_max_position_embeddings"] = config["original_max_position_embeddings"]
    if kind == "yarn" and "factor" in rope and rope["factor"] is None:
        trained = _number(f"{name}.original_max_position_embeddings", rope.get("original_max_position_embeddings", 0))
        rope["factor"] = _number("max_position_embeddings", config.get("max_position_embeddings", 2048)) / trained
    if rope.get("factor", 0) is None:
        del rope["factor"]
    return rope | {key: _number(f"{name}.{key}", rope[key]) for key in _NUMBERS if key in rope}


def check_whole_heads(config: Mapping[str, Any], rope: Mapping[str, Any], dim: int) -> None:
    """RunnerError unless whole heads of `dim` dimensions are rotated, as in every architecture except MiniMax."""
    share = _first(rope.get("partial_rotary_factor"), config.get("partial_rotary_factor"), 1.0)
    if _number("partial_rotary_factor", share) != 1:
        raise RunnerError(f"{CONFIG}: partial_rotary_factor {share} is not built in for this architecture, only 1")
    if dim % 2:
        raise RunnerError(f"{CONFIG}: heads have {dim} dimensions to rotate, which must be an even number")


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)


def _number(name: str, value: Any) -> float:
    """A positive number, also from a string."""
    try:
        number = math.nan if isinstance(value, bool | bytes) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if name.endswith((".mscale", ".mscale_all_dim")) and number == 0:
        return 0.0
    if not 0 < number < _LIMIT:
        raise RunnerError(f"{CONFIG}: {name} is {str(value)[:40]}, and must be a number above 0")
    return int(number) if number == int(number) else number


class Rope(nn.Module):
    """Angles of rotary positions, in fp32, for the first `dim` dimensions of each head.

    `scaling` is the config's scaling of the base `theta`: rope_type default, linear, dynamic, yarn, llama3, or factors
    (one divisor per frequency, as in GGUF files). `window` is max_position_embeddings, the length from which dynamic
    scaling applies. RunnerError for other types and for missing fields.
    """

    frequencies: Tensor
    scale: float
    """YaRN's attention factor; cos and sin include it."""

    def __init__(self, dim: int, theta: float, scaling: Mapping[str, Any], *, window: int = 0) -> None:
        super().__init__()
        kind = scaling.get("rope_type", scaling.get("type", "default"))
        if dim < 2 or dim % 2 or (kind == "dynamic" and dim < 4):
            raise RunnerError(f"{CONFIG}: rotary positions cannot be given to heads of {dim} dimensions")
        try:
            with torch.device("cpu"):  # real values even while the model is built on the meta device
                self.dynamic = (theta, float(scaling["factor"]), window) if kind == "dynamic" else None
                self.register_buffer("frequencies", _frequencies(kind, dim, theta, scaling), persistent=False)
        except KeyError as error:
            raise RunnerError(f"{CONFIG}: rope_type '{kind}' needs {error.args[0]}") from error
        self.scale = (_attention_factor(scaling) if kind == "yarn" else 1.0) * scaling.get("table_scale", 1.0)

    def forward(self, positions: Tensor) -> Rotary:
        """cos and sin, each [tokens, dim / 2]; computed once per step for all layers."""
        if self.dynamic is None:
            return cos_sin(positions, self.frequencies, self.scale)
        return cos_sin.reference(positions, self._dynamic_frequencies(positions, *self.dynamic), self.scale)

    def _dynamic_frequencies(self, positions: Tensor, theta: float, factor: float, window: int) -> Tensor:
        """The frequencies of dynamic NTK, which change with the length of a sequence: [tokens, dim / 2].

        A token's length is the number of tokens up to itself, as when transformers generates token by token with a
        cache: so chunks of a prompt make no difference.
        """
        dim = 2 * len(self.frequencies)
        stretch = (factor * (positions + 1).clamp(min=window) / window - (factor - 1)) ** (dim / (dim - 2))
        exponents = torch.arange(0, dim, 2, device=positions.device, dtype=torch.float32) / dim
        return (theta * stretch.float())[:, None] ** -exponents


def rotate(x: Tensor, rotary: Rotary, interleaved: bool = False) -> Tensor:
    """x [tokens, heads, dim] rotated to its positions, in fp32; same dtype out.

    Pairs of dimensions are the two halves, or neighbours (0, 1), (2, 3), … if interleaved.
    """
    cos, sin = rotary.cos[:, None], rotary.sin[:, None]
    if interleaved:
        first, second = x[..., ::2].float(), x[..., 1::2].float()
        return torch.stack((first * cos - second * sin, second * cos + first * sin), -1).flatten(-2).to(x.dtype)
    first, second = x.float().chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1).to(x.dtype)


def mscale(factor: float, weight: float = 1.0) -> float:
    """YaRN's correction of attention for a context stretched by `factor` (arXiv 2309.00071, section 3.4)."""
    return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0


def stretched(window: int, scaling: Mapping[str, Any]) -> int:
    """The window of a model in tokens: max_position_embeddings, extended by YaRN and dynamic NTK."""
    kind, factor = scaling.get("rope_type", scaling.get("type", "default")), float(scaling.get("factor") or 1)
    if kind in ("dynamic", "yarn") and factor * window >= _LIMIT:
        raise RunnerError(f"{CONFIG}: a context of {window} tokens stretched by {factor:g} is more than can be")
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
            if len(scaling["factors"]) != len(plain):
                raise RunnerError(f"{CONFIG}: {len(scaling['factors'])} factors for {len(plain)} rotary frequencies")
            return plain / torch.tensor(scaling["factors"])
        case "llama3":
            return _llama3(plain, scaling)
        case "yarn":
            return _yarn(plain, theta, scaling)
    raise RunnerError(f"{CONFIG}: rope_type '{str(kind)[:40]}' is not built in; there are {', '.join(KINDS)}")


def _llama3(plain: Tensor, scaling: Mapping[str, Any]) -> Tensor:
    """Llama 3.1: long wavelengths are slowed by `factor`, short ones unchanged, those between interpolated."""
    turns = float(scaling["original_max_position_embeddings"]) * plain / (2 * math.pi)
    low, high = float(scaling["low_freq_factor"]), float(scaling["high_freq_factor"])
    if high <= low:
        raise RunnerError(f"{CONFIG}: high_freq_factor {high} must be more than low_freq_factor {low}")
    share = ((turns - low) / (high - low)).clamp(0, 1)
    return plain * (share + (1 - share) / float(scaling["factor"]))


def _yarn(plain: Tensor, theta: float, scaling: Mapping[str, Any]) -> Tensor:
    """YaRN: a ramp over the dimensions, from beta_fast rotations in the original context to beta_slow."""
    dim, old = 2 * len(plain), float(scaling["original_max_position_embeddings"])
    if theta == 1:
        raise RunnerError(f"{CONFIG}: rope_theta is 1, from which YaRN cannot be computed")
    ends = [float(scaling.get(name) or usual) for name, usual in (("beta_fast", 32), ("beta_slow", 1))]
    low, high = (dim * math.log(old / (turns * 2 * math.pi)) / (2 * math.log(theta)) for turns in ends)
    if scaling.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    slowed = ((torch.arange(len(plain)) - low) / (high - low or 0.001)).clamp(0, 1)
    return plain * (1 - slowed) + plain / float(scaling["factor"]) * slowed


def _attention_factor(scaling: Mapping[str, Any]) -> float:
    attention_factor = scaling.get("attention_factor")
    if attention_factor is not None:
        return float(attention_factor)
    factor, over, under = float(scaling["factor"]), scaling.get("mscale"), scaling.get("mscale_all_dim")
    return mscale(factor, over) / mscale(factor, under) if over and under else mscale(factor)
