"""Llama (arXiv 2302.13971, 2407.21783) and its like, e.g. SmolLM2: pre-norm, rotary positions, grouped queries, SwiGLU.

Parameter names are those of `LlamaForCausalLM` in Hugging Face transformers, against which it is tested.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from m1eval import RunnerError

from ..cache import KV, Step
from ..layers import Embedding, Linear, Packed, RMSNorm, Rope, logits, rotate


class Config(msgspec.Struct, kw_only=True, frozen=True):
    """The fields of config.json that matter."""

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
    hidden_act: str = "silu"
    rope_theta: float = 10000.0
    rope: dict[str, Any] = {}

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> "Config":
        """From config.json, of old (rope_theta, rope_scaling) and new (rope_parameters) kind; RunnerError if unfit."""
        fields = {key: value for key, value in config.items() if value is not None}
        rope = fields.get("rope_parameters") or fields.get("rope_scaling") or {}
        fields |= {"rope": rope, "rope_theta": rope.get("rope_theta", fields.get("rope_theta", 10000.0))}
        fields.setdefault("num_key_value_heads", fields.get("num_attention_heads"))
        try:
            made = msgspec.convert(fields, cls)
        except msgspec.ValidationError as error:
            raise RunnerError(f"config.json of the model: {error}") from error
        if made.hidden_act != "silu":
            raise RunnerError(f"config.json of the model: hidden_act '{made.hidden_act}' is not built in, only silu")
        return made if made.head_dim else msgspec.structs.replace(made, head_dim=_head_dim(made))


def _head_dim(config: Config) -> int:
    return config.hidden_size // config.num_attention_heads


class Attention(nn.Module):
    """Causal attention with fewer key and value heads than query heads."""

    def __init__(self, config: Config, layer: int, *, dtype: torch.dtype) -> None:
        super().__init__()
        self.layer, self.dim = layer, config.head_dim
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        queries, keys = self.heads * self.dim, self.kv_heads * self.dim
        parts = {"q_proj": queries, "k_proj": keys, "v_proj": keys}
        self.qkv = Packed(config.hidden_size, parts, bias=config.attention_bias, dtype=dtype)
        self.o_proj = Linear(queries, config.hidden_size, bias=config.attention_bias, dtype=dtype)

    def forward(self, x: Tensor, table: tuple[Tensor, Tensor], step: Step) -> Tensor:
        """[tokens, width] to the same."""
        heads = self.qkv(x).view(len(x), -1, self.dim)
        turned, values = torch.split(heads, [self.heads + self.kv_heads, self.kv_heads], 1)
        queries, keys = torch.split(rotate(turned, table), [self.heads, self.kv_heads], 1)
        seen = step.attend(self.layer, queries, keys, values, scale=self.dim**-0.5)
        out: Tensor = self.o_proj(seen.reshape(len(x), -1))
        return out


class MLP(nn.Module):
    """SwiGLU (arXiv 2002.05202)."""

    def __init__(self, config: Config, *, dtype: torch.dtype) -> None:
        super().__init__()
        width = config.intermediate_size
        parts = {"gate_proj": width, "up_proj": width}
        self.gate_up = Packed(config.hidden_size, parts, bias=config.mlp_bias, dtype=dtype)
        self.down_proj = Linear(width, config.hidden_size, bias=config.mlp_bias, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """[tokens, width] to the same."""
        gate, up = self.gate_up(x).chunk(2, -1)
        out: Tensor = self.down_proj(functional.silu(gate).mul_(up))
        return out


class Layer(nn.Module):
    """One block: attention and MLP, each on the normed stream."""

    def __init__(self, config: Config, layer: int, *, dtype: torch.dtype) -> None:
        super().__init__()
        self.self_attn = Attention(config, layer, dtype=dtype)
        self.mlp = MLP(config, dtype=dtype)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps, dtype=dtype)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps, dtype=dtype)

    def forward(self, x: Tensor, table: tuple[Tensor, Tensor], step: Step) -> Tensor:
        """[tokens, width] to the same."""
        x = x + self.self_attn(self.input_layernorm(x), table, step)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Trunk(nn.Module):
    """Everything but the head."""

    def __init__(self, config: Config, *, dtype: torch.dtype) -> None:
        super().__init__()
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size, dtype=dtype)
        self.layers = nn.ModuleList(Layer(config, i, dtype=dtype) for i in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps, dtype=dtype)
        self.rope = Rope(config.head_dim, config.rope_theta, config.rope)

    def forward(self, ids: Tensor, step: Step) -> Tensor:
        """Token ids [tokens] to hidden states [tokens, width], before the last norm."""
        x: Tensor = self.embed_tokens(ids)
        table = self.rope(step.positions)
        for layer in self.layers:
            x = layer(x, table, step)
        return x


class Model(nn.Module):
    """Llama with its language-model head."""

    def __init__(self, config: Config, *, dtype: torch.dtype) -> None:
        super().__init__()
        self.window, self.vocab_size = config.max_position_embeddings, config.vocab_size
        self.memory = [KV(config.num_key_value_heads, config.head_dim)] * config.num_hidden_layers
        self.model = Trunk(config, dtype=dtype)
        tied = config.tie_word_embeddings
        self.lm_head = None if tied else Linear(config.hidden_size, config.vocab_size, bias=False, dtype=dtype)
        self.ignored: Sequence[str] = (r"rotary_emb\.inv_freq$", *([r"^lm_head\.weight$"] if tied else []))

    def forward(self, ids: Tensor, step: Step) -> Tensor:
        """Token ids [tokens] of one step to hidden states [tokens, width]."""
        out: Tensor = self.model(ids, step)
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states [rows, width] to fp32 scores [rows, vocab]."""
        head = self.lm_head or self.model.embed_tokens
        return logits(self.model.norm(hidden), head.weight)
