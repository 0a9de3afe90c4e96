"""Qwen3-MoE (arXiv 2505.09388): Qwen3 whose MLPs are mixtures of experts, without a shared one.

Parameter names are those of `Qwen3MoeForCausalLM` in Hugging Face transformers, against which it is tested.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from ..config.fields import Count, Size, check
from ..layers.layers import LayerContext
from ..layers.moe import Experts, FeedForward, MoE, Router
from ..ops.layout import Routing
from . import llama, qwen3

KEYS = qwen3.KEYS | frozenset(
    [
        "num_experts",
        "num_local_experts",
        "num_experts_per_tok",
        "moe_intermediate_size",
        "norm_topk_prob",
        "decoder_sparse_step",
        "mlp_only_layers",
    ]
)


class Config(qwen3.Config, kw_only=True, frozen=True):
    """The fields of config.json that matter; layers in mlp_only_layers, or between sparse steps, are dense."""

    num_experts: Count
    num_experts_per_tok: Size
    moe_intermediate_size: Size
    head_dim: Count = 0
    norm_topk_prob: bool = False
    decoder_sparse_step: Size = 1
    mlp_only_layers: list[int] = []  # noqa: RUF012  msgspec copies defaults

    KEYS: ClassVar[frozenset[str]] = KEYS
    PER_LAYER: ClassVar[bool] = False  # a sliding window holds for all layers here

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Self:
        """Config from config.json, also as newer transformers write it (num_local_experts); RunnerError if unfit."""
        counts = [config[key] for key in ("num_experts", "num_local_experts") if config.get(key) is not None]
        check(len(set(map(str, counts))) < 2, f"num_experts is {counts[:1]}, and num_local_experts {counts[1:]}")
        checked = super().read({**config, "num_experts": counts[0] if counts else None})
        experts, top_k = checked.num_experts, checked.num_experts_per_tok
        check(not experts or top_k <= experts, f"{top_k} experts for each token, of {experts}")
        return checked


class Model(llama.Model):
    """Qwen3-MoE with its language-model head."""

    def __init__(self, config: Config, context: LayerContext) -> None:
        super().__init__(config, context, mlp)


def mlp(config: Config, layer: int, context: LayerContext) -> FeedForward:
    """The experts of one layer, or its MLP."""
    if layer in config.mlp_only_layers or (layer + 1) % config.decoder_sparse_step or not config.num_experts:
        return llama.dense(config, layer, context)
    width, inner, count = config.hidden_size, config.moe_intermediate_size, config.num_experts
    routing = Routing(config.num_experts_per_tok, renormalise=config.norm_topk_prob)
    return MoE(Router(width, count, routing, context), Experts(width, inner, count, context))
