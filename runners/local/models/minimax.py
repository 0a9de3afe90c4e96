"""MiniMax-Text-01 and M1 as Hugging Face transformers has them (`MiniMaxForCausalLM`): other fields, the same weights.

transformers stacks the experts in memory, but writes them under the published names. It turns whole heads whatever
`rotary_dim` says, which is wrong for the published weights (they turn 64 of 128 dimensions). So a `rotary_dim`, or a
`partial_rotary_factor`, is followed where a config has one; without one whole heads turn, as in transformers.
"""

from collections.abc import Mapping
from typing import Any

from m1eval import RunnerError

from ..layers import Setting
from . import minimax_m1

KINDS = {"linear_attention": 0, "full_attention": 1}
NAMES = {
    "full_attn_alpha_factor": "layernorm_full_attention_alpha",
    "full_attn_beta_factor": "layernorm_full_attention_beta",
    "linear_attn_alpha_factor": "layernorm_linear_attention_alpha",
    "linear_attn_beta_factor": "layernorm_linear_attention_beta",
    "mlp_alpha_factor": "layernorm_mlp_alpha",
    "mlp_beta_factor": "layernorm_mlp_beta",
}
"""Fields here to what M1 calls them."""


class Config(minimax_m1.Config, kw_only=True, frozen=True):
    """M1's fields, read from those of transformers."""

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> minimax_m1.Config:
        """From config.json; RunnerError naming what does not fit. Sums always run over the normed stream here."""
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        fields = {NAMES.get(key, key): value for key, value in config.items()}
        return minimax_m1.made(
            {
                **fields,
                "attn_type_list": _kinds(config),
                "rope": rope,
                "rope_theta": rope.get("rope_theta", config.get("rope_theta", 1e6)),
                "rotary_dim": _rotary(config, rope),
                "postnorm": True,
                "slopes": "transformers",
            }
        )


def _kinds(config: Mapping[str, Any]) -> list[int]:
    count = int(config.get("num_hidden_layers") or 0)
    named = config.get("layer_types") or ["full_attention", "linear_attention"] * (count // 2 + 1)
    if unknown := set(named) - KINDS.keys():
        raise RunnerError(f"config.json of the model: layer_types '{min(unknown)}'; there are {', '.join(KINDS)}")
    return [KINDS[name] for name in named[:count]]


def _rotary(config: Mapping[str, Any], rope: Mapping[str, Any]) -> int | None:
    given = config.get("rotary_dim")
    factor = rope.get("partial_rotary_factor", config.get("partial_rotary_factor"))
    if given is not None or factor is None:
        return given
    dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    return int(dim * factor)


class Model(minimax_m1.Model):
    """MiniMax-M1; transformers stores its decay tables too, which are computed here."""

    def __init__(self, config: minimax_m1.Config, how: Setting) -> None:
        super().__init__(config, how)
        self.ignored = (*self.ignored, r"self_attn\.(slope_rate|query_decay|key_decay|diagonal_decay)$")
