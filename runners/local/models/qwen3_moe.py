"""Qwen3-MoE (arXiv 2505.09388): Qwen3 whose MLPs are mixtures of experts, without a shared one.

Parameter names are those of `Qwen3MoeForCausalLM` in Hugging Face transformers, against which it is tested.
"""

from collections.abc import Mapping
from typing import Any, Self

from ..layers import Setting
from ..moe import Choice, Experts, FeedForward, MoE, Router
from . import llama, qwen3


class Config(qwen3.Config, kw_only=True, frozen=True):
    """The fields of config.json that matter; layers in mlp_only_layers, or between sparse steps, are dense."""

    num_experts: int
    num_experts_per_tok: int
    moe_intermediate_size: int
    norm_topk_prob: bool = False
    decoder_sparse_step: int = 1
    mlp_only_layers: list[int] = []  # noqa: RUF012  msgspec copies defaults

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Self:
        """From config.json, also as newer transformers write it (num_local_experts); RunnerError if unfit."""
        count = config.get("num_experts", config.get("num_local_experts"))
        # A sliding window would hold for all layers here, whatever max_window_layers says.
        return super().read({**config, "num_experts": count, "max_window_layers": 0})


class Model(llama.Model):
    """Qwen3-MoE with its language-model head."""

    def __init__(self, config: Config, how: Setting) -> None:
        super().__init__(config, how, mlp)


def mlp(config: Config, layer: int, how: Setting) -> FeedForward:
    """The experts of one layer, or its MLP."""
    if layer in config.mlp_only_layers or (layer + 1) % config.decoder_sparse_step or not config.num_experts:
        return llama.dense(config, layer, how)
    width, inner, count = config.hidden_size, config.moe_intermediate_size, config.num_experts
    choice = Choice(config.num_experts_per_tok, renormalise=config.norm_topk_prob)
    return MoE(Router(width, count, choice, how), Experts(width, inner, count, how))
