"""DeepSeek-V3 and R1 (arXiv 2412.19437): multi-head latent attention, and experts chosen by sigmoids within groups.

Attention keeps one latent vector of a token for all heads (arXiv 2405.04434). Parameter names are those of
`DeepseekV3ForCausalLM` in Hugging Face transformers, against which it is tested; the extra layer of the published
checkpoints, which predicts a second token, is not used.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
import torch
from torch import Tensor, nn

from ..cache import Latent
from ..layers import (
    MLP,
    SILU,
    Columns,
    Count,
    Embedding,
    Eps,
    Head,
    LayerContext,
    Layers,
    Packed,
    Positions,
    RMSNorm,
    Row,
    Size,
    checked,
    converted,
)
from ..moe import Choice, Experts, FeedForward, MoE, Router
from ..rotary import Rope, mscale, rope_parameters, rotate, rotated, stretched
from ..step import Step, Table

LATENT_EPS = 1e-6
"""Of the norms of latents, whatever rms_norm_eps is: both published implementations leave it at their default."""


KEYS = frozenset(
    [
        "hidden_size",
        "intermediate_size",
        "moe_intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "vocab_size",
        "kv_lora_rank",
        "qk_rope_head_dim",
        "qk_nope_head_dim",
        "v_head_dim",
        "n_routed_experts",
        "num_local_experts",
        "num_experts_per_tok",
        "q_lora_rank",
        "n_shared_experts",
        "n_group",
        "topk_group",
        "norm_topk_prob",
        "routed_scaling_factor",
        "scoring_func",
        "topk_method",
        "first_k_dense_replace",
        "moe_layer_freq",
        "num_nextn_predict_layers",
        "num_mtp_layers",
        "rms_norm_eps",
        "max_position_embeddings",
        "tie_word_embeddings",
        "attention_bias",
        "hidden_act",
        "rope_theta",
        "rope_scaling",
        "rope_parameters",
        "original_max_position_embeddings",
        "partial_rotary_factor",
        "rope_interleave",
        "quantization_config",
        "head_dim",
        "qk_head_dim",
    ]
)
"""qk_head_dim follows from others here, and all heads share one latent, whatever num_key_value_heads is."""
_ALIASES = {"num_local_experts": "n_routed_experts", "num_mtp_layers": "num_nextn_predict_layers"}
"""Names that newer transformers give."""
_NULLS: dict[str, Any] = {"q_lora_rank": None, "norm_topk_prob": False, "rope_interleave": False, "n_shared_experts": 0}
"""What null means where that is not the same as saying nothing."""


class Config(msgspec.Struct, kw_only=True, frozen=True):
    """The fields of config.json that matter, with the defaults of transformers."""

    hidden_size: Size
    intermediate_size: Size
    moe_intermediate_size: Size
    num_hidden_layers: Layers
    num_attention_heads: Size
    vocab_size: Size
    kv_lora_rank: Size
    qk_rope_head_dim: Size
    qk_nope_head_dim: Size
    v_head_dim: Size
    n_routed_experts: Size
    num_experts_per_tok: Size
    q_lora_rank: Size | None = 1536
    n_shared_experts: Count = 1
    n_group: Size = 8
    topk_group: Size = 4
    norm_topk_prob: bool = True
    routed_scaling_factor: float = 2.5
    scoring_func: str = "sigmoid"
    topk_method: str = "noaux_tc"
    first_k_dense_replace: Count = 3
    moe_layer_freq: int = 1
    num_nextn_predict_layers: Annotated[int, msgspec.Meta(ge=0, le=64)] = 1
    rms_norm_eps: Eps = 1e-6
    max_position_embeddings: Positions = 4096
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    hidden_act: str = "silu"
    rope_interleave: bool = True
    rope: dict[str, Any] = {}

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> "Config":
        """From config.json, of old (rope_theta, rope_scaling) and new (rope_parameters) kind; RunnerError if unfit."""
        config = {**{new: config[old] for old, new in _ALIASES.items() if old in config}, **config}
        fields = {key: config[key] for key in KEYS - _ALIASES.keys() if config.get(key) is not None}
        fields |= {key: value for key, value in _NULLS.items() if key in config and config[key] is None}
        made = converted({**fields, "rope": rope_parameters(config)}, cls)
        for name, only in (("scoring_func", "sigmoid"), ("topk_method", "noaux_tc")):
            given = getattr(made, name)
            checked(given == only, f"{name} '{given}' is not built in for deepseek_v3, only {only}")
        checked(made.hidden_act in SILU, f"hidden_act '{made.hidden_act}' is not built in, only silu")
        checked(made.moe_layer_freq == 1, f"moe_layer_freq {made.moe_layer_freq} is not built in, only 1")
        dim = config.get("head_dim")
        checked(dim in (None, made.qk_rope_head_dim), f"head_dim {dim} is not qk_rope_head_dim {made.qk_rope_head_dim}")
        checked(made.q_lora_rank is not None or not made.attention_bias, "attention_bias needs a q_lora_rank")
        _check_groups(made)
        rotated(config, made.rope, made.qk_rope_head_dim)
        return made

    @property
    def rope_theta(self) -> float:
        """The base of rotary positions."""
        return float(self.rope["rope_theta"])

    @property
    def scale(self) -> float:
        """Of attention's scores: 1 / sqrt(dim), and YaRN's correction squared, at every length as in transformers."""
        scale: float = (self.qk_nope_head_dim + self.qk_rope_head_dim) ** -0.5
        over = self.rope.get("mscale_all_dim") or 0.0
        kind = self.rope.get("rope_type", self.rope.get("type", "default"))
        if over and kind != "default" and "factor" in self.rope:
            scale *= mscale(float(self.rope["factor"]), over) ** 2
        return scale


def _check_groups(config: Config) -> None:
    """RunnerError unless experts can be chosen as the config says."""
    if config.first_k_dense_replace >= config.num_hidden_layers:
        return
    experts, groups, kept = config.n_routed_experts, config.n_group, config.topk_group
    checked(experts % groups == 0, f"{experts} experts cannot be divided into {groups} groups")
    checked(experts >= 2 * groups, f"a group needs two experts, and {groups} have {experts}")
    checked(kept <= groups, f"topk_group {kept} is more than n_group {groups}")
    most, chosen = kept * experts // groups, config.num_experts_per_tok
    checked(chosen <= most, f"{chosen} experts for each token, of {most} in the chosen groups")


class Attention(nn.Module):
    """Multi-head latent attention; each rank has its own heads and the latents of all tokens."""

    def __init__(self, config: Config, layer: int, context: LayerContext) -> None:
        super().__init__()
        self.layer, self.scale, self.interleaved = layer, config.scale, config.rope_interleave
        self.rank, self.rope = config.kv_lora_rank, config.qk_rope_head_dim
        self.nope, self.value = config.qk_nope_head_dim, config.v_head_dim
        width, heads, low = config.hidden_size, config.num_attention_heads, config.q_lora_rank
        bias, dim = config.attention_bias, self.nope + self.rope
        queries = Columns(heads * dim, dim)
        first = {"q_proj": queries} if low is None else {"q_a_proj": _everywhere(low)}
        self.down = Packed(
            width, {**first, "kv_a_proj_with_mqa": _everywhere(self.rank + self.rope)}, context, bias=bias
        )
        self.q_a_layernorm = None if low is None else RMSNorm(low, LATENT_EPS, context)
        self.q_up = None if low is None else Packed(low, {"q_b_proj": queries}, context)
        self.kv_a_layernorm = RMSNorm(self.rank, LATENT_EPS, context)
        each = self.nope + self.value
        self.kv_up = Packed(self.rank, {"kv_b_proj": Columns(heads * each, each)}, context)
        self.o_proj = Row(heads * self.value, width, context, bias=bias, unit=self.value)

    def forward(self, x: Tensor, table: Table, step: Step) -> Tensor:
        """[tokens, width] to the same."""
        first, latent, shared = self.down(x).split((self.down.sizes[0], self.rank, self.rope), -1)
        if self.q_up is not None and self.q_a_layernorm is not None:
            first = self.q_up(self.q_a_layernorm(first))
        q_nope, q_rope = first.view(len(x), -1, self.nope + self.rope).split((self.nope, self.rope), -1)
        turned = rotate(shared[:, None], table, self.interleaved)[:, 0]
        latent = torch.cat((self.kv_a_layernorm(latent), turned), -1)
        q_rope = rotate(q_rope, table, self.interleaved)
        up = self.kv_up.weight.view(-1, self.nope + self.value, self.rank)
        seen = step.attend_latent(self.layer, q_nope, q_rope, latent, up, scale=self.scale)
        out: Tensor = self.o_proj(seen.reshape(len(x), -1))
        return out


def _everywhere(width: int) -> Columns:
    """Outputs that every rank has."""
    return Columns(width, width, replicated=True)


def _mlp(config: Config, layer: int, context: LayerContext) -> FeedForward:
    width, inner, count = config.hidden_size, config.moe_intermediate_size, config.n_routed_experts
    if layer < config.first_k_dense_replace:
        return MLP(width, config.intermediate_size, context)
    choice = Choice(
        config.num_experts_per_tok,
        scoring="sigmoid",
        renormalise=config.norm_topk_prob,
        groups=config.n_group,
        kept=config.topk_group,
        scaling=config.routed_scaling_factor,
        floor=1e-20,
    )
    shared = MLP(width, inner * config.n_shared_experts, context) if config.n_shared_experts else None
    return MoE(Router(width, count, choice, context, corrected=True), Experts(width, inner, count, context), shared)


class Layer(nn.Module):
    """One block: attention, then one MLP or many."""

    def __init__(self, config: Config, layer: int, context: LayerContext) -> None:
        super().__init__()
        self.self_attn = Attention(config, layer, context)
        self.mlp = _mlp(config, layer, context)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps, context)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps, context)

    def forward(self, x: Tensor, delta: Tensor | None, table: Table, step: Step) -> tuple[Tensor, Tensor]:
        """The stream [tokens, width] and what is still to be added to it, to the same."""
        normed, x = self.input_layernorm.add(x, delta)
        seen = self.self_attn(normed, table, step)
        delta, x = self.mlp.after(self.post_attention_layernorm, x, seen)
        return x, delta


class Trunk(nn.Module):
    """Everything but the head; the last norm is left to it."""

    def __init__(self, config: Config, context: LayerContext) -> None:
        super().__init__()
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size, context)
        self.layers = nn.ModuleList(Layer(config, i, context) for i in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps, context)
        self.rope = Rope(config.qk_rope_head_dim, config.rope_theta, config.rope, window=config.max_position_embeddings)

    def forward(self, ids: Tensor, step: Step) -> Tensor:
        """Token ids [tokens] to hidden states [tokens, width], before the last norm."""
        x: Tensor = self.embed_tokens(ids)
        delta: Tensor | None = None
        table = self.rope(step.positions)
        for layer in self.layers:
            x, delta = layer(x, delta, table, step)
        return x if delta is None else x + delta


class Model(nn.Module):
    """DeepSeek-V3 with its language-model head."""

    def __init__(self, config: Config, context: LayerContext) -> None:
        super().__init__()
        layers = config.num_hidden_layers
        self.window, self.vocab_size = stretched(config.max_position_embeddings, config.rope), config.vocab_size
        self.memory = [Latent(config.kv_lora_rank + config.qk_rope_head_dim, config.kv_lora_rank)] * layers
        self.model = Trunk(config, context)
        tied = self.model.embed_tokens if config.tie_word_embeddings else None
        self.lm_head = Head(config.hidden_size, config.vocab_size, context, tied=tied)
        further = [rf"^model\.layers\.{layers + i}\." for i in range(config.num_nextn_predict_layers)]
        self.ignored: Sequence[str] = (r"rotary_emb\.inv_freq$", *further, *([r"^lm_head\.weight$"] if tied else []))

    def forward(self, ids: Tensor, step: Step) -> Tensor:
        """Token ids [tokens] of one step to hidden states [tokens, width]."""
        out: Tensor = self.model(ids, step)
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states [rows, width] to fp32 scores [rows, vocab]."""
        scores: Tensor = self.lm_head(self.model.norm(hidden))
        return scores
