"""Llama (arXiv 2302.13971, 2407.21783) and its like, e.g. SmolLM2: pre-norm, rotary positions, grouped queries, SwiGLU.

Parameter names are those of `LlamaForCausalLM` in Hugging Face transformers, against which it is tested.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import msgspec
from torch import Tensor, nn

from ..cache import KV
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
from ..moe import FeedForward
from ..rotary import Rope, rope_parameters, rotated, stretched
from ..sliding_window import SlidingWindow, sliding_window
from ..step import Step, Table

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
"""Of config.json, what is read here or, for the way in which weights are stored, by the loader."""


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
    """sliding_window where a config switches one on and does not say it; None: it is on wherever it is said."""
    PER_LAYER: ClassVar[bool] = True
    """Whether layer_types and max_window_layers say which layers slide."""

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Self:
        """From config.json, of old (rope_theta, rope_scaling) and new (rope_parameters) kind; RunnerError if unfit."""
        fields = {key: value for key, value in config.items() if value is not None and key in cls.KEYS}
        fields["rope"] = rope_parameters(config)
        fields["sliding"] = sliding_window(config, default=cls.WINDOW, per_layer=cls.PER_LAYER)
        fields.setdefault("num_key_value_heads", fields.get("num_attention_heads"))
        made = converted(fields, cls)
        checked(made.hidden_act in SILU, f"hidden_act '{made.hidden_act}' is not built in, only silu")
        heads, kept = made.num_attention_heads, made.num_key_value_heads
        checked(kept > 0 and heads % kept == 0, f"{heads} attention heads cannot share {kept} key and value heads")
        made = made if made.head_dim else msgspec.structs.replace(made, head_dim=_head_dim(made))
        rotated(config, made.rope, made.head_dim)
        return made

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
    checked(width % heads == 0, f"hidden_size {width} is not a multiple of {heads} attention heads, and no head_dim")
    return width // heads


class Attention(nn.Module):
    """Causal attention with fewer key and value heads than query heads; the heads are divided over the ranks."""

    def __init__(self, config: Config, layer: int, context: LayerContext) -> None:
        super().__init__()
        self.layer, self.dim, self.eps = layer, config.head_dim, config.rms_norm_eps
        self.heads = context.shard.part(config.num_attention_heads, "attention heads")
        queries, keys = config.num_attention_heads * self.dim, config.num_key_value_heads * self.dim
        kept = Columns(keys, self.dim, replicated=True)
        own = kept.own(context.shard, "key and value heads")
        self.kept = KV((own.stop - own.start) // self.dim, self.dim)
        parts = {"q_proj": Columns(queries, self.dim), "k_proj": kept, "v_proj": kept}
        self.qkv = Packed(config.hidden_size, parts, context, bias=config.attention_bias or config.qkv_bias)
        self.o_proj = Row(queries, config.hidden_size, context, bias=config.attention_bias, unit=self.dim)
        self.q_norm = RMSNorm(self.dim, self.eps, context) if config.qk_norm else None
        self.k_norm = RMSNorm(self.dim, self.eps, context) if config.qk_norm else None

    def after(
        self, before: RMSNorm, x: Tensor, delta: Tensor | None, table: Table, step: Step
    ) -> tuple[Tensor, Tensor]:
        """What it makes of the normed sum of `x` and `delta`, each [tokens, width], and that sum."""
        qkv, total = self.qkv.after(before, x, delta)
        q_norm, k_norm = (None if norm is None else norm.weight for norm in (self.q_norm, self.k_norm))
        queries = step.remember(self.layer, qkv, self.heads, table, q_norm, k_norm, self.eps)
        seen = step.attend(self.layer, queries, scale=self.dim**-0.5)
        return self.o_proj(seen.flatten(1)), total


class Layer(nn.Module):
    """One block: attention and MLP, each on the normed stream."""

    def __init__(self, config: Config, layer: int, context: LayerContext, mlp: FeedForward) -> None:
        super().__init__()
        self.self_attn = Attention(config, layer, context)
        self.mlp = mlp
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps, context)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps, context)

    def forward(self, x: Tensor, delta: Tensor | None, table: Table, step: Step) -> tuple[Tensor, Tensor]:
        """The stream and what is still to be added to it, to the same: a sum is one operation with the next norm."""
        seen, x = self.self_attn.after(self.input_layernorm, x, delta, table, step)
        delta, x = self.mlp.after(self.post_attention_layernorm, x, seen)
        return x, delta


class Trunk(nn.Module):
    """Everything but the head."""

    def __init__(self, config: Config, context: LayerContext, mlps: Sequence[FeedForward]) -> None:
        super().__init__()
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size, context)
        layers = [Layer(config, i, context, mlp) for i, mlp in enumerate(mlps)]
        self.memory = [layer.self_attn.kept for layer in layers]
        self.layers = nn.ModuleList(layers)
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps, context)
        self.rope = Rope(config.head_dim, config.rope_theta, config.rope, window=config.max_position_embeddings)

    def forward(self, ids: Tensor, step: Step) -> Tensor:
        """Token ids [tokens] to hidden states [tokens, width], before the last norm."""
        x: Tensor = self.embed_tokens(ids)
        delta: Tensor | None = None
        table = self.rope(step.positions)
        for layer in self.layers:
            x, delta = layer(x, delta, table, step)
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
        self.model = Trunk(config, context, [mlp(config, layer, context) for layer in range(config.num_hidden_layers)])
        self.memory = self.model.memory
        tied = config.tie_word_embeddings
        embedding = self.model.embed_tokens if tied else None
        self.lm_head = Head(config.hidden_size, config.vocab_size, context, tied=embedding)
        self.ignored: Sequence[str] = (r"rotary_emb\.inv_freq$", *([r"^lm_head\.weight$"] if tied else []))

    def forward(self, ids: Tensor, step: Step) -> Tensor:
        """Token ids [tokens] of one step to hidden states [tokens, width]."""
        out: Tensor = self.model(ids, step)
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states [rows, width] to fp32 scores [rows, vocab]."""
        scores: Tensor = self.lm_head(self.model.norm(hidden))
        return scores
