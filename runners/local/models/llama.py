"""Llama (arXiv 2302.13971, 2407.21783) and similar models, e.g. SmolLM2: pre-norm, RoPE, grouped queries, SwiGLU.

Parameter names are those of `LlamaForCausalLM` in Hugging Face transformers, against which it is tested.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import msgspec
from torch import Tensor, nn

from ..config.fields import SILU, Count, Eps, Layers, Positions, Size, check, convert
from ..layers.attention_context import AttentionContext
from ..layers.cache_spec import KVSpec
from ..layers.layers import MLP, ColumnLinear, Columns, Embedding, LayerContext, LMHead, RMSNorm, RowLinear
from ..layers.moe import FeedForward
from ..layers.rotary import Rope, check_whole_heads, rope_parameters, stretched
from ..layers.sliding_window import SlidingWindow, sliding_window
from ..ops.layout import NO_NORM, QKNorm, Rotary

KEYS = frozenset(
    [
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "vocab_size",
        "num_key_value_heads",
        "head_dim",
        "rms_norm_eps",
        "max_position_embeddings",
        "tie_word_embeddings",
        "attention_bias",
        "mlp_bias",
        "hidden_act",
        "rope_theta",
        "rope_scaling",
        "rope_parameters",
        "original_max_position_embeddings",
        "partial_rotary_factor",
        "use_sliding_window",
        "sliding_window",
        "layer_types",
        "quantization_config",
    ]
)
"""Keys of config.json that are read here or, for the storage of weights, by the loader."""


class Config(msgspec.Struct, kw_only=True, frozen=True):
    """The fields of config.json that matter; `qkv_bias` and `qk_norm` are set by the architectures that have them."""

    hidden_size: Size
    intermediate_size: Size
    num_hidden_layers: Layers
    num_attention_heads: Size
    vocab_size: Size
    num_key_value_heads: Count = 0
    head_dim: Count = 0
    rms_norm_eps: Eps = 1e-6
    max_position_embeddings: Positions = 2048
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    qkv_bias: bool = False
    qk_norm: bool = False
    hidden_act: str = "silu"
    rope: dict[str, Any] = {}
    sliding: SlidingWindow | None = None

    KEYS: ClassVar[frozenset[str]] = KEYS
    WINDOW: ClassVar[int | None] = None
    """Default of sliding_window where a config switches one on; None: it is on wherever a config has the key."""
    PER_LAYER: ClassVar[bool] = True
    """Whether layer_types and max_window_layers select the sliding layers."""

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Self:
        """Config from config.json, old (rope_theta, rope_scaling) or new (rope_parameters); RunnerError if unfit."""
        fields = {key: value for key, value in config.items() if value is not None and key in cls.KEYS}
        fields["rope"] = rope_parameters(config)
        fields["sliding"] = sliding_window(config, default=cls.WINDOW, per_layer=cls.PER_LAYER)
        fields.setdefault("num_key_value_heads", fields.get("num_attention_heads"))
        checked = convert(fields, cls)
        check(checked.hidden_act in SILU, f"hidden_act '{checked.hidden_act}' is not built in, only silu")
        heads, kv_heads = checked.num_attention_heads, checked.num_key_value_heads
        divides = kv_heads > 0 and heads % kv_heads == 0
        check(divides, f"{heads} attention heads cannot share {kv_heads} key and value heads")
        if not checked.head_dim:
            checked = msgspec.structs.replace(checked, head_dim=_head_dim(checked))
        check_whole_heads(config, checked.rope, checked.head_dim)
        return checked

    @property
    def rope_theta(self) -> float:
        """The base of rotary positions."""
        return float(self.rope["rope_theta"])

    @property
    def window(self) -> int:
        """The longest sequence in tokens."""
        return stretched(self.max_position_embeddings, self.rope)


def _head_dim(config: Config) -> int:
    width, heads = config.hidden_size, config.num_attention_heads
    check(width % heads == 0, f"hidden_size {width} is not a multiple of {heads} attention heads, and no head_dim")
    return width // heads


class Attention(nn.Module):
    """Causal attention with fewer key and value heads than query heads; the heads are divided over the ranks."""

    def __init__(self, config: Config, layer: int, context: LayerContext) -> None:
        super().__init__()
        self.layer, self.dim, self.eps = layer, config.head_dim, config.rms_norm_eps
        self.heads = context.shard.divide(config.num_attention_heads, "attention heads")
        queries, keys = config.num_attention_heads * self.dim, config.num_key_value_heads * self.dim
        kv_columns = Columns(keys, self.dim, replicated=True)
        local = kv_columns.local_slice(context.shard, "key and value heads")
        self.cache_spec = KVSpec((local.stop - local.start) // self.dim, self.dim)
        parts = {"q_proj": Columns(queries, self.dim), "k_proj": kv_columns, "v_proj": kv_columns}
        self.qkv = ColumnLinear(config.hidden_size, parts, context, bias=config.attention_bias or config.qkv_bias)
        self.o_proj = RowLinear(queries, config.hidden_size, context, bias=config.attention_bias, unit=self.dim)
        self.q_norm = RMSNorm(self.dim, self.eps, context) if config.qk_norm else None
        self.k_norm = RMSNorm(self.dim, self.eps, context) if config.qk_norm else None

    def forward_after_norm(
        self, norm: RMSNorm, x: Tensor, delta: Tensor | None, rotary: Rotary, context: AttentionContext
    ) -> tuple[Tensor, Tensor]:
        """The output for the normed sum of `x` and `delta`, each [tokens, width], and that sum."""
        qkv, total = self.qkv.forward_after_norm(norm, x, delta)
        qk_norm = NO_NORM
        if self.q_norm is not None and self.k_norm is not None:
            qk_norm = QKNorm(self.q_norm.weight, self.k_norm.weight, self.eps)
        queries = context.write_kv(self.layer, qkv, self.heads, rotary, qk_norm)
        attended = context.attend(self.layer, queries, scale=self.dim**-0.5)
        return self.o_proj(attended.flatten(1)), total


class Layer(nn.Module):
    """A decoder layer: attention and MLP, each on the normed residual stream."""

    def __init__(self, config: Config, layer: int, context: LayerContext, mlp: FeedForward) -> None:
        super().__init__()
        self.self_attn = Attention(config, layer, context)
        self.mlp = mlp
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps, context)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps, context)

    def forward(
        self, x: Tensor, delta: Tensor | None, rotary: Rotary, context: AttentionContext
    ) -> tuple[Tensor, Tensor]:
        """The residual stream and the pending addend, to the same: the sum is fused with the next norm."""
        attended, x = self.self_attn.forward_after_norm(self.input_layernorm, x, delta, rotary, context)
        delta, x = self.mlp.forward_after_norm(self.post_attention_layernorm, x, attended)
        return x, delta


class Decoder(nn.Module):
    """Embedding and decoder layers."""

    def __init__(self, config: Config, context: LayerContext, mlps: Sequence[FeedForward]) -> None:
        super().__init__()
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size, context)
        layers = [Layer(config, i, context, mlp) for i, mlp in enumerate(mlps)]
        self.cache_specs = [layer.self_attn.cache_spec for layer in layers]
        self.layers = nn.ModuleList(layers)
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps, context)
        self.rope = Rope(config.head_dim, config.rope_theta, config.rope, window=config.max_position_embeddings)

    def forward(self, ids: Tensor, context: AttentionContext) -> Tensor:
        """Token ids [tokens] to hidden states [tokens, width], before the last norm."""
        x: Tensor = self.embed_tokens(ids)
        delta: Tensor | None = None
        rotary = self.rope(context.positions)
        for layer in self.layers:
            x, delta = layer(x, delta, rotary, context)
        return x if delta is None else x + delta


def dense(config: Config, layer: int, context: LayerContext) -> FeedForward:
    """The MLP of one layer."""
    return MLP(config.hidden_size, config.intermediate_size, context, bias=config.mlp_bias)


class Model(nn.Module):
    """Llama with its language-model head; architectures that differ in their MLPs bring their own `mlp`."""

    def __init__(
        self, config: Config, context: LayerContext, mlp: Callable[[Any, int, LayerContext], FeedForward] = dense
    ) -> None:
        super().__init__()
        self.window, self.vocab_size, self.sliding = config.window, config.vocab_size, config.sliding
        mlps = [mlp(config, layer, context) for layer in range(config.num_hidden_layers)]
        self.model = Decoder(config, context, mlps)
        self.cache_specs = self.model.cache_specs
        tied = config.tie_word_embeddings
        embedding = self.model.embed_tokens if tied else None
        self.lm_head = LMHead(config.hidden_size, config.vocab_size, context, tied=embedding)
        self.ignored: Sequence[str] = (r"rotary_emb\.inv_freq$", *([r"^lm_head\.weight$"] if tied else []))

    def forward(self, ids: Tensor, context: AttentionContext) -> Tensor:
        """Token ids [tokens] of one step to hidden states [tokens, width]."""
        out: Tensor = self.model(ids, context)
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states [rows, width] to fp32 logits [rows, vocab]."""
        logits: Tensor = self.lm_head(self.model.norm(hidden))
        return logits
