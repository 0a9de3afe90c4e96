"""DeepSeek-V3 and R1 (arXiv 2412.19437): multi-head latent attention, and experts chosen by sigmoids within groups.

Attention caches one latent vector per token for all heads (arXiv 2405.04434). Parameter names are those of
`DeepseekV3ForCausalLM` in Hugging Face transformers, against which it is tested; the extra layer of the published
checkpoints, which predicts a second token, is not used.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
import torch
from torch import Tensor, nn

from ..config.fields import SILU, Count, Eps, Layers, Positions, Size, check, convert
from ..layers.attention_context import AttentionContext
from ..layers.cache_spec import MLASpec
from ..layers.layers import MLP, ColumnLinear, Columns, Embedding, LayerContext, LMHead, RMSNorm, RowLinear
from ..layers.moe import Experts, FeedForward, MoE, Router
from ..layers.rotary import Rope, check_whole_heads, mscale, rope_parameters, rotate, stretched
from ..ops.layout import Rotary, Routing

LATENT_EPS = 1e-6
"""Epsilon of the latents' norms, whatever rms_norm_eps is: both published implementations leave it at their default."""


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
"""Names in newer transformers."""
_NULLS: dict[str, Any] = {"q_lora_rank": None, "norm_topk_prob": False, "rope_interleave": False, "n_shared_experts": 0}
"""Meaning of null where that differs from an absent key."""


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
        """Config from config.json, old (rope_theta, rope_scaling) or new (rope_parameters); RunnerError if unfit."""
        config = {**{new: config[old] for old, new in _ALIASES.items() if old in config}, **config}
        fields = {key: config[key] for key in KEYS - _ALIASES.keys() if config.get(key) is not None}
        fields |= {key: value for key, value in _NULLS.items() if key in config and config[key] is None}
        checked = convert({**fields, "rope": rope_parameters(config)}, cls)
        for name, only in (("scoring_func", "sigmoid"), ("topk_method", "noaux_tc")):
            value = getattr(checked, name)
            check(value == only, f"{name} '{value}' is not built in for deepseek_v3, only {only}")
        check(checked.hidden_act in SILU, f"hidden_act '{checked.hidden_act}' is not built in, only silu")
        check(checked.moe_layer_freq == 1, f"moe_layer_freq {checked.moe_layer_freq} is not built in, only 1")
        dim = config.get("head_dim")
        rope_dim = checked.qk_rope_head_dim
        check(dim in (None, rope_dim), f"head_dim {dim} is not qk_rope_head_dim {rope_dim}")
        check(checked.q_lora_rank is not None or not checked.attention_bias, "attention_bias needs a q_lora_rank")
        _check_groups(checked)
        check_whole_heads(config, checked.rope, rope_dim)
        return checked

    @property
    def rope_theta(self) -> float:
        """The base of rotary positions."""
        return float(self.rope["rope_theta"])

    @property
    def scale(self) -> float:
        """Scale of attention scores: 1 / sqrt(dim) times YaRN's correction squared, at every length as there."""
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
    experts, groups, top_groups = config.n_routed_experts, config.n_group, config.topk_group
    check(experts % groups == 0, f"{experts} experts cannot be divided into {groups} groups")
    check(experts >= 2 * groups, f"a group needs two experts, and {groups} have {experts}")
    check(top_groups <= groups, f"topk_group {top_groups} is more than n_group {groups}")
    available, top_k = top_groups * experts // groups, config.num_experts_per_tok
    check(top_k <= available, f"{top_k} experts for each token, of {available} in the chosen groups")


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
        parts = {"q_proj": queries} if low is None else {"q_a_proj": _replicated(low)}
        parts |= {"kv_a_proj_with_mqa": _replicated(self.rank + self.rope)}
        self.down = ColumnLinear(width, parts, context, bias=bias)
        self.q_a_layernorm = None if low is None else RMSNorm(low, LATENT_EPS, context)
        self.q_up = None if low is None else ColumnLinear(low, {"q_b_proj": queries}, context)
        self.kv_a_layernorm = RMSNorm(self.rank, LATENT_EPS, context)
        up_dim = self.nope + self.value
        self.kv_up = ColumnLinear(self.rank, {"kv_b_proj": Columns(heads * up_dim, up_dim)}, context)
        self.o_proj = RowLinear(heads * self.value, width, context, bias=bias, unit=self.value)

    def forward(self, x: Tensor, rotary: Rotary, context: AttentionContext) -> Tensor:
        """[tokens, width] to the same."""
        queries, latent, shared = self.down(x).split((self.down.sizes[0], self.rank, self.rope), -1)
        if self.q_up is not None and self.q_a_layernorm is not None:
            queries = self.q_up(self.q_a_layernorm(queries))
        q_nope, q_rope = queries.view(len(x), -1, self.nope + self.rope).split((self.nope, self.rope), -1)
        rotated = rotate(shared[:, None], rotary, self.interleaved)[:, 0]
        latent = torch.cat((self.kv_a_layernorm(latent), rotated), -1)
        q_rope = rotate(q_rope, rotary, self.interleaved)
        up = self.kv_up.weight.view(-1, self.nope + self.value, self.rank)
        attended = context.attend_latent(self.layer, q_nope, q_rope, latent, up, scale=self.scale)
        out: Tensor = self.o_proj(attended.reshape(len(x), -1))
        return out


def _replicated(width: int) -> Columns:
    """Outputs that every rank computes."""
    return Columns(width, width, replicated=True)


def _mlp(config: Config, layer: int, context: LayerContext) -> FeedForward:
    width, inner, count = config.hidden_size, config.moe_intermediate_size, config.n_routed_experts
    if layer < config.first_k_dense_replace:
        return MLP(width, config.intermediate_size, context)
    routing = Routing(
        config.num_experts_per_tok,
        scoring="sigmoid",
        renormalise=config.norm_topk_prob,
        groups=config.n_group,
        top_groups=config.topk_group,
        scaling=config.routed_scaling_factor,
        eps=1e-20,
    )
    shared = MLP(width, inner * config.n_shared_experts, context) if config.n_shared_experts else None
    return MoE(Router(width, count, routing, context, corrected=True), Experts(width, inner, count, context), shared)


class Layer(nn.Module):
    """A decoder layer: attention, then an MLP or experts."""

    def __init__(self, config: Config, layer: int, context: LayerContext) -> None:
        super().__init__()
        self.self_attn = Attention(config, layer, context)
        self.mlp = _mlp(config, layer, context)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps, context)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps, context)

    def forward(
        self, x: Tensor, delta: Tensor | None, rotary: Rotary, context: AttentionContext
    ) -> tuple[Tensor, Tensor]:
        """The residual stream [tokens, width] and the pending addend, to the same."""
        normed, x = self.input_layernorm.add(x, delta)
        attended = self.self_attn(normed, rotary, context)
        delta, x = self.mlp.forward_after_norm(self.post_attention_layernorm, x, attended)
        return x, delta


class Decoder(nn.Module):
    """Embedding and decoder layers; the last norm belongs to the head."""

    def __init__(self, config: Config, context: LayerContext) -> None:
        super().__init__()
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size, context)
        self.layers = nn.ModuleList(Layer(config, i, context) for i in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps, context)
        self.rope = Rope(config.qk_rope_head_dim, config.rope_theta, config.rope, window=config.max_position_embeddings)

    def forward(self, ids: Tensor, context: AttentionContext) -> Tensor:
        """Token ids [tokens] to hidden states [tokens, width], before the last norm."""
        x: Tensor = self.embed_tokens(ids)
        delta: Tensor | None = None
        rotary = self.rope(context.positions)
        for layer in self.layers:
            x, delta = layer(x, delta, rotary, context)
        return x if delta is None else x + delta


class Model(nn.Module):
    """DeepSeek-V3 with its language-model head."""

    def __init__(self, config: Config, context: LayerContext) -> None:
        super().__init__()
        layers = config.num_hidden_layers
        self.window, self.vocab_size = stretched(config.max_position_embeddings, config.rope), config.vocab_size
        self.cache_specs = [MLASpec(config.kv_lora_rank + config.qk_rope_head_dim, config.kv_lora_rank)] * layers
        self.model = Decoder(config, context)
        tied = self.model.embed_tokens if config.tie_word_embeddings else None
        self.lm_head = LMHead(config.hidden_size, config.vocab_size, context, tied=tied)
        mtp_layers = [rf"^model\.layers\.{layers + i}\." for i in range(config.num_nextn_predict_layers)]
        self.ignored: Sequence[str] = (r"rotary_emb\.inv_freq$", *mtp_layers, *([r"^lm_head\.weight$"] if tied else []))

    def forward(self, ids: Tensor, context: AttentionContext) -> Tensor:
        """Token ids [tokens] of one step to hidden states [tokens, width]."""
        out: Tensor = self.model(ids, context)
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states [rows, width] to fp32 logits [rows, vocab]."""
        logits: Tensor = self.lm_head(self.model.norm(hidden))
        return logits
