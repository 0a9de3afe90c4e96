"""MiniMax-Text-01 and M1 as Hugging Face transformers has them (`MiniMaxForCausalLM`): other fields, the same weights.

transformers stacks the experts in memory, but writes them under the published names. It rotates whole heads whatever
`rotary_dim` says, which is wrong for the published weights (they rotate 64 of 128 dimensions). So a `rotary_dim`, or
a `partial_rotary_factor`, is used where a config has one; without one whole heads are rotated, as in transformers.
"""

from collections.abc import Mapping
from typing import Any

from m1eval import RunnerError

from ..config.fields import check
from ..config.keys import CONFIG
from ..layers.layers import LayerContext
from ..layers.rotary import rope_parameters
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
"""Field names here to those of M1."""


KEYS = minimax_m1.KEYS - {"attn_type_list", "postnorm", *NAMES.values()} | {
    *NAMES,
    "layer_types",
    "num_experts",
    "block_size",
    "rope_scaling",
    "original_max_position_embeddings",
}
"""block_size affects how lightning attention is computed, not its result."""


class Config(minimax_m1.Config, kw_only=True, frozen=True):
    """M1's fields, read from those of transformers."""

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> minimax_m1.Config:
        """Config from config.json; RunnerError naming what does not fit. Sums always use the normed stream here."""
        fields = {NAMES.get(key, key): value for key, value in config.items() if key in KEYS}
        if config.get("num_local_experts") is None:
            fields["num_local_experts"] = config.get("num_experts")
        return minimax_m1.complete(
            {
                **fields,
                "attn_type_list": _kinds(config),
                "rope": rope_parameters(config, minimax_m1.THETA),
                "postnorm": True,
                "slopes": "transformers",
            }
        )


def _kinds(config: Mapping[str, Any]) -> list[int]:
    count, names = config.get("num_hidden_layers"), config.get("layer_types")
    if names is None:
        layers = count if type(count) is int and 0 < count <= 10_000 else 0
        return [KINDS["full_attention" if i % 2 == 0 else "linear_attention"] for i in range(layers)]
    check(
        isinstance(names, list) and all(isinstance(name, str) for name in names), "layer_types is not a list of names"
    )
    if unknown := sorted(set(names) - KINDS.keys()):
        raise RunnerError(f"{CONFIG}: layer_types '{unknown[0][:40]}' is not built in; there are {', '.join(KINDS)}")
    return [KINDS[name] for name in names]


class Model(minimax_m1.Model):
    """MiniMax-M1; transformers stores its decay tables too, which are computed here."""

    def __init__(self, config: minimax_m1.Config, context: LayerContext) -> None:
        super().__init__(config, context)
        self.ignored = (*self.ignored, r"self_attn\.(slope_rate|query_decay|key_decay|diagonal_decay)$")
