"""MiniMax-M1 (arXiv 2506.13585; layers as in MiniMax-01, arXiv 2501.08313): lightning and softmax attention, experts.

Seven of eight layers are lightning attention, which caches one matrix per head instead of keys and values. Sums use
the normed stream: alpha * n + beta * f(n), n = RMSNorm(x). Fields and parameter names are those of the published
checkpoints (config.json and remote code of MiniMaxAI/MiniMax-M1-80k), against whose logits it is tested.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import torch
from torch import Tensor, nn

from ..config.fields import SILU, Count, Eps, Layers, Positions, Size, check, convert
from ..layers.attention_context import AttentionContext
from ..layers.cache_spec import CacheSpec, KVSpec, LinearStateSpec
from ..layers.layers import (
    MLP,
    ColumnLinear,
    Columns,
    Embedding,
    LayerContext,
    Linear,
    LMHead,
    RMSNorm,
    RowLinear,
    logits,
)
from ..layers.lightning import LightningAttention
from ..layers.moe import Experts, MoE, Router
from ..layers.rotary import Rope, rope_parameters, stretched
from ..layers.sliding_window import SlidingWindow
from ..ops.layout import Rotary, Routing

PADDED = {200064: 200032}
"""Published vocabularies: rows of the embedding matrix to token ids of the tokenizer."""
THETA = 1e6
"""Base of rotary positions where a config has none (the default of the published code)."""


KEYS = frozenset(
    [
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "vocab_size",
        "attn_type_list",
        "num_local_experts",
        "num_experts_per_tok",
        "head_dim",
        "rotary_dim",
        "partial_rotary_factor",
        "rms_norm_eps",
        "max_position_embeddings",
        "rope_theta",
        "rope_parameters",
        "tie_word_embeddings",
        "hidden_act",
        "sliding_window",
        "postnorm",
        "layernorm_full_attention_alpha",
        "layernorm_full_attention_beta",
        "layernorm_linear_attention_alpha",
        "layernorm_linear_attention_beta",
        "layernorm_mlp_alpha",
        "layernorm_mlp_beta",
        "shared_intermediate_size",
        "shared_moe_mode",
        "quantization_config",
    ]
)


class Config(msgspec.Struct, kw_only=True, frozen=True):
    """The fields of config.json that matter."""

    hidden_size: Size
    intermediate_size: Size
    num_hidden_layers: Layers
    num_attention_heads: Size
    num_key_value_heads: Size
    vocab_size: Size
    attn_type_list: list[Literal[0, 1]]
    num_local_experts: Size
    num_experts_per_tok: Size
    rope: dict[str, Any]
    head_dim: Count = 0
    rotary_dim: Count = 0
    rms_norm_eps: Eps = 1e-5
    max_position_embeddings: Positions = 131072
    tie_word_embeddings: bool = False
    hidden_act: str = "silu"
    sliding_window: Size | None = None
    postnorm: bool = False
    layernorm_full_attention_alpha: float = 1.0
    layernorm_full_attention_beta: float = 1.0
    layernorm_linear_attention_alpha: float = 1.0
    layernorm_linear_attention_beta: float = 1.0
    layernorm_mlp_alpha: float = 1.0
    layernorm_mlp_beta: float = 1.0
    shared_intermediate_size: Count = 0
    shared_moe_mode: str = "sigmoid"
    slopes: Literal["published", "transformers"] = "published"

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> "Config":
        """Config from config.json; RunnerError naming what does not fit."""
        rope = rope_parameters(config, THETA)
        check(rope["rope_type"] == "default", f"rope_type '{rope['rope_type']}' is not built in for this architecture")
        return complete({**{key: value for key, value in config.items() if key in KEYS}, "rope": rope})

    @property
    def rope_theta(self) -> float:
        """The base of rotary positions."""
        return float(self.rope["rope_theta"])

    @property
    def sliding(self) -> SlidingWindow | None:
        """Sliding window of the softmax layers."""
        softmax = tuple(i for i, kind in enumerate(self.attn_type_list) if kind)
        return SlidingWindow(self.sliding_window, softmax) if self.sliding_window and softmax else None

    @property
    def mlp_sum(self) -> tuple[float, float]:
        """alpha and beta of the sum after experts."""
        return self.layernorm_mlp_alpha, self.layernorm_mlp_beta

    def attention_sum(self, layer: int) -> tuple[float, float]:
        """alpha and beta of the sum after a layer's attention."""
        if self.attn_type_list[layer]:
            return self.layernorm_full_attention_alpha, self.layernorm_full_attention_beta
        return self.layernorm_linear_attention_alpha, self.layernorm_linear_attention_beta


def complete(fields: Mapping[str, Any]) -> Config:
    """A Config with missing dimensions filled in; RunnerError for what is not supported."""
    present = {key: value for key, value in fields.items() if value is not None}
    present.setdefault("num_key_value_heads", present.get("num_attention_heads"))
    config = convert(present, Config)
    layers, kinds = config.num_hidden_layers, len(config.attn_type_list)
    check(kinds == layers, f"{layers} layers, but {kinds} entries in the list of their attention types")
    config = msgspec.structs.replace(config, head_dim=_head_dim(config))
    config = msgspec.structs.replace(config, rotary_dim=_rotary_dim(config, present))
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    check(heads % kv_heads == 0, f"{heads} attention heads cannot share {kv_heads} key and value heads")
    top_k, experts = config.num_experts_per_tok, config.num_local_experts
    check(top_k <= experts, f"{top_k} experts for each token, of {experts}")
    check(config.hidden_act in SILU, f"hidden_act '{config.hidden_act}' is not built in, only silu")
    supported = not config.shared_intermediate_size or config.shared_moe_mode == "sigmoid"
    check(supported, f"shared_moe_mode '{config.shared_moe_mode}' is not built in, only sigmoid")
    return config


def _head_dim(config: Config) -> int:
    width, heads = config.hidden_size, config.num_attention_heads
    check(
        bool(config.head_dim) or width % heads == 0,
        f"hidden_size {width} is not a multiple of {heads} attention heads, and no head_dim",
    )
    return config.head_dim or width // heads


def _rotary_dim(config: Config, fields: Mapping[str, Any]) -> int:
    """Number of rotated dimensions of a head: `rotary_dim`, or a share of them, or all."""
    dim, rotary_dim = config.head_dim, config.rotary_dim
    share = config.rope.get("partial_rotary_factor", fields.get("partial_rotary_factor"))
    if share is not None:
        check(isinstance(share, int | float) and 0 < share <= 1, f"partial_rotary_factor {share} is not above 0, to 1")
        check(
            rotary_dim in (0, int(dim * share)),
            f"rotary_dim {rotary_dim} contradicts partial_rotary_factor {share} of {dim}",
        )
        rotary_dim = int(dim * share)
    rotary_dim = rotary_dim or dim
    valid = 0 < rotary_dim <= dim and rotary_dim % 2 == 0
    check(valid, f"rotary_dim {rotary_dim} is odd, or more than head_dim {dim}")
    return rotary_dim


def slopes(config: Config, layer: int) -> Tensor:
    """Decay slopes of lightning attention, [heads] fp32: a head decays by e^-slope with every token.

    Both formulas count all layers, softmax ones too, and agree for powers of two. The published code uses ALiBi's
    slopes (arXiv 2108.12409), which extend to other head counts by every second slope of the next power; transformers
    uses one geometric series for any count, and a slightly different last layer.
    """
    heads, last = config.num_attention_heads, config.num_hidden_layers - 1
    if config.slopes == "transformers":
        series, depth = _geometric(heads), layer / (last + 1e-5)
    else:
        series, depth = _alibi(heads), layer / last if last else 0.0
    return torch.tensor(series, dtype=torch.float32, device="cpu") * (1 - depth + 1e-5)


def _geometric(heads: int) -> list[float]:
    return [2 ** (-8 * (head + 1) / heads) for head in range(heads)]


def _alibi(heads: int) -> list[float]:
    power = 1 << (heads.bit_length() - 1)
    return _geometric(power) + _geometric(2 * power)[::2][: heads - power]


class Attention(nn.Module):
    """Causal softmax attention with grouped queries, rotating the first `rotary_dim` dimensions of each head."""

    def __init__(self, config: Config, layer: int, context: LayerContext) -> None:
        super().__init__()
        self.layer, self.dim = layer, config.head_dim
        queries = Columns(config.num_attention_heads * self.dim, self.dim)
        keys = Columns(config.num_key_value_heads * self.dim, self.dim, replicated=True)
        self.qkv = ColumnLinear(config.hidden_size, {"q_proj": queries, "k_proj": keys, "v_proj": keys}, context)
        self.o_proj = RowLinear(queries.width, config.hidden_size, context, unit=self.dim)
        self.heads, self.kv_heads = (size // self.dim for size in self.qkv.sizes[:2])

    def forward(self, x: Tensor, rotary: Rotary, context: AttentionContext) -> Tensor:
        """[tokens, width] to the same."""
        queries = context.write_kv(self.layer, self.qkv(x), self.heads, rotary)
        attended = context.attend(self.layer, queries, scale=self.dim**-0.5)
        out: Tensor = self.o_proj(attended.reshape(len(x), -1))
        return out


class Layer(nn.Module):
    """A decoder layer: attention of either kind, then experts."""

    def __init__(self, config: Config, layer: int, context: LayerContext) -> None:
        super().__init__()
        width, inner, exact = config.hidden_size, config.intermediate_size, context._replace(dtype=torch.float32)
        self.postnorm, self.input_sum, self.attention_sum = config.postnorm, config.mlp_sum, config.attention_sum(layer)
        self.self_attn = _attention(config, layer, context)
        routing = Routing(config.num_experts_per_tok)
        gate = Router(width, config.num_local_experts, routing, context, dtype=exact.dtype)
        experts = Experts(width, inner, config.num_local_experts, context, parts=("w1", "w3", "w2"))
        self.block_sparse_moe = MoE(gate, experts)
        shared = config.shared_intermediate_size
        self.shared_mlp = MLP(width, shared, context) if shared else None
        self.coefficient = Linear(width, 1, exact) if shared else None
        self.input_layernorm = RMSNorm(width, config.rms_norm_eps, context)
        self.post_attention_layernorm = RMSNorm(width, config.rms_norm_eps, context)

    def forward(
        self, x: Tensor, delta: Tensor | None, rotary: Rotary, context: AttentionContext
    ) -> tuple[Tensor, Tensor]:
        """The two summands of the residual stream, each [tokens, width], to those of the next layer."""
        normed, x = self.input_layernorm.add(x, delta, *self.input_sum)
        attended = self.self_attn(normed, rotary, context)
        normed, x = self.post_attention_layernorm.add(normed if self.postnorm else x, attended, *self.attention_sum)
        return normed if self.postnorm else x, self.feed_forward(normed)

    def feed_forward(self, x: Tensor) -> Tensor:
        """The experts' output; a shared one has the weight sigmoid(coefficient x) (MiniMax-Text-01's code)."""
        out: Tensor = self.block_sparse_moe(x)
        if self.shared_mlp is not None and self.coefficient is not None:
            share = logits(x, self.coefficient.weight).sigmoid().to(x.dtype)
            out = out * (1 - share) + self.shared_mlp(x) * share
        return out


def _attention(config: Config, layer: int, context: LayerContext) -> Attention | LightningAttention:
    if config.attn_type_list[layer]:
        return Attention(config, layer, context)
    width, heads, dim = config.hidden_size, config.num_attention_heads, config.head_dim
    return LightningAttention(width, heads, dim, layer, slopes(config, layer), context)


class Decoder(nn.Module):
    """Embedding and decoder layers; the last norm belongs to the head."""

    def __init__(self, config: Config, context: LayerContext) -> None:
        super().__init__()
        self.sum = config.mlp_sum
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size, context)
        self.layers = nn.ModuleList(Layer(config, i, context) for i in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps, context)
        self.rope = Rope(config.rotary_dim, config.rope_theta, config.rope, window=config.max_position_embeddings)

    def forward(self, ids: Tensor, context: AttentionContext) -> Tensor:
        """Token ids [tokens] to hidden states [tokens, width], before the last norm."""
        x: Tensor = self.embed_tokens(ids)
        delta: Tensor | None = None
        rotary = self.rope(context.positions)
        for layer in self.layers:
            x, delta = layer(x, delta, rotary, context)
        alpha, beta = self.sum
        return x if delta is None else (alpha * x.float() + beta * delta.float()).to(x.dtype)


class Model(nn.Module):
    """MiniMax-M1 with its language-model head."""

    def __init__(self, config: Config, context: LayerContext) -> None:
        super().__init__()
        self.window, self.vocab_size = stretched(config.max_position_embeddings, config.rope), config.vocab_size
        self.sliding = config.sliding
        self.model = Decoder(config, context)
        tied = self.model.embed_tokens if config.tie_word_embeddings else None
        self.lm_head = LMHead(config.hidden_size, config.vocab_size, context, tied=tied)
        self.lm_head.num_tokens = PADDED.get(config.vocab_size)
        self.cache_specs = [_cache_spec(layer.self_attn) for layer in self.model.layers]
        self.ignored: Sequence[str] = (r"rotary_emb\.inv_freq$", *([r"^lm_head\.weight$"] if tied else []))

    def forward(self, ids: Tensor, context: AttentionContext) -> Tensor:
        """Token ids [tokens] of one step to hidden states [tokens, width]."""
        out: Tensor = self.model(ids, context)
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states [rows, width] to fp32 logits [rows, vocab]."""
        out: Tensor = self.lm_head(self.model.norm(hidden))
        return out


def _cache_spec(attention: Any) -> CacheSpec:
    if isinstance(attention, LightningAttention):
        return LinearStateSpec(len(attention.slopes), attention.dim)
    return KVSpec(attention.kv_heads, attention.dim)
