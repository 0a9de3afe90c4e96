"""Llama (arXiv 2302.13971, 2407.21783) and its like, e.g. SmolLM2: pre-norm, rotary positions, grouped queries, SwiGLU.

Parameter names are those of `LlamaForCausalLM` in Hugging Face transformers, against which it is tested.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import msgspec
from torch import Tensor, nn

from m1eval import RunnerError

from ..cache import KV
from ..layers import MLP, Columns, Embedding, Head, Packed, RMSNorm, Row, Setting, checked
from ..moe import FeedForward
from ..rotary import Rope, stretched
from ..step import Step, Table


class Config(msgspec.Struct, kw_only=True, frozen=True):
    """The fields of config.json that matter; `qkv_bias` and `qk_norm` are set by the architectures that have them."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    vocab_size: int
    num_key_value_heads: int = 0
    head_dim: int = 0
    rms_norm_eps: float = 1e-6
    max_position_embeddings: int = 2048
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    qkv_bias: bool = False
    qk_norm: bool = False
    hidden_act: str = "silu"
    rope_theta: float = 10000.0
    rope: dict[str, Any] = {}
    use_sliding_window: bool = False
    sliding_window: int = 0
    max_window_layers: int = 0

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Self:
        """From config.json, of old (rope_theta, rope_scaling) and new (rope_parameters) kind; RunnerError if unfit."""
        fields = {key: value for key, value in config.items() if value is not None}
        rope = fields.get("rope_parameters") or fields.get("rope_scaling") or {}
        fields |= {"rope": rope, "rope_theta": rope.get("rope_theta", fields.get("rope_theta", 10000.0))}
        fields.setdefault("num_key_value_heads", fields.get("num_attention_heads"))
        try:
            made = msgspec.convert(fields, cls)
        except msgspec.ValidationError as error:
            raise RunnerError(f"config.json of the model: {error}") from error
        checked(made.hidden_act == "silu", f"hidden_act '{made.hidden_act}' is not built in, only silu")
        slides = made.use_sliding_window and 0 < made.sliding_window < made.window
        checked(
            not slides or made.max_window_layers >= made.num_hidden_layers,
            f"a sliding window of {made.sliding_window} tokens is not built in, only full attention",
        )
        return made if made.head_dim else msgspec.structs.replace(made, head_dim=_head_dim(made))

    @property
    def window(self) -> int:
        """The longest sequence in tokens."""
        return stretched(self.max_position_embeddings, self.rope)


def _head_dim(config: Config) -> int:
    return config.hidden_size // config.num_attention_heads


class Attention(nn.Module):
    """Causal attention with fewer key and value heads than query heads; the heads are divided over the ranks."""

    def __init__(self, config: Config, layer: int, how: Setting) -> None:
        super().__init__()
        self.layer, self.dim, self.eps = layer, config.head_dim, config.rms_norm_eps
        self.heads = how.shard.part(config.num_attention_heads, "attention heads")
        queries, keys = config.num_attention_heads * self.dim, config.num_key_value_heads * self.dim
        kept = Columns(keys, self.dim, replicated=True)
        own = kept.own(how.shard, "key and value heads")
        self.kept = KV((own.stop - own.start) // self.dim, self.dim)
        parts = {"q_proj": Columns(queries, self.dim), "k_proj": kept, "v_proj": kept}
        self.qkv = Packed(config.hidden_size, parts, how, bias=config.attention_bias or config.qkv_bias)
        self.o_proj = Row(queries, config.hidden_size, how, bias=config.attention_bias, unit=self.dim)
        self.q_norm = RMSNorm(self.dim, self.eps, how) if config.qk_norm else None
        self.k_norm = RMSNorm(self.dim, self.eps, how) if config.qk_norm else None

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

    def __init__(self, config: Config, layer: int, how: Setting, mlp: FeedForward) -> None:
        super().__init__()
        self.self_attn = Attention(config, layer, how)
        self.mlp = mlp
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps, how)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps, how)

    def forward(self, x: Tensor, delta: Tensor | None, table: Table, step: Step) -> tuple[Tensor, Tensor]:
        """The stream and what is still to be added to it, to the same: a sum is one operation with the next norm."""
        seen, x = self.self_attn.after(self.input_layernorm, x, delta, table, step)
        delta, x = self.mlp.after(self.post_attention_layernorm, x, seen)
        return x, delta


class Trunk(nn.Module):
    """Everything but the head."""

    def __init__(self, config: Config, how: Setting, mlps: Sequence[FeedForward]) -> None:
        super().__init__()
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size, how)
        layers = [Layer(config, i, how, mlp) for i, mlp in enumerate(mlps)]
        self.memory = [layer.self_attn.kept for layer in layers]
        self.layers = nn.ModuleList(layers)
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps, how)
        self.rope = Rope(config.head_dim, config.rope_theta, config.rope, window=config.max_position_embeddings)

    def forward(self, ids: Tensor, step: Step) -> Tensor:
        """Token ids [tokens] to hidden states [tokens, width], before the last norm."""
        x: Tensor = self.embed_tokens(ids)
        delta: Tensor | None = None
        table = self.rope(step.positions)
        for layer in self.layers:
            x, delta = layer(x, delta, table, step)
        return x if delta is None else x + delta


def dense(config: Config, layer: int, how: Setting) -> FeedForward:
    """The MLP of one layer."""
    return MLP(config.hidden_size, config.intermediate_size, how, bias=config.mlp_bias)


class Model(nn.Module):
    """Llama with its language-model head; architectures that differ in their MLPs bring their own `mlp`."""

    def __init__(self, config: Config, how: Setting, mlp: Callable[[Any, int, Setting], FeedForward] = dense) -> None:
        super().__init__()
        self.window, self.vocab_size = config.window, config.vocab_size
        self.model = Trunk(config, how, [mlp(config, layer, how) for layer in range(config.num_hidden_layers)])
        self.memory = self.model.memory
        tied = config.tie_word_embeddings
        embedding = self.model.embed_tokens if tied else None
        self.lm_head = Head(config.hidden_size, config.vocab_size, how, tied=embedding)
        self.ignored: Sequence[str] = (r"rotary_emb\.inv_freq$", *([r"^lm_head\.weight$"] if tied else []))

    def forward(self, ids: Tensor, step: Step) -> Tensor:
        """Token ids [tokens] of one step to hidden states [tokens, width]."""
        out: Tensor = self.model(ids, step)
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states [rows, width] to fp32 scores [rows, vocab]."""
        scores: Tensor = self.lm_head(self.model.norm(hidden))
        return scores
