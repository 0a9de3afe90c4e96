"""MiniMax-M1 (arXiv 2506.13585; layers as in MiniMax-01, arXiv 2501.08313): lightning and softmax attention, experts.

Seven of eight layers are lightning attention, which keeps one matrix per head instead of keys and values. Sums run over
the normed stream: alpha * n + beta * f(n), n = RMSNorm(x). Fields and parameter names are those of the published
checkpoints (config.json and remote code of MiniMaxAI/MiniMax-M1-80k), against whose logits it is tested.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import torch
from torch import Tensor, nn

from ..cache import KV, CacheSpec, State
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
    Linear,
    Packed,
    Positions,
    RMSNorm,
    Row,
    Size,
    Slot,
    checked,
    converted,
    logits,
)
from ..moe import Choice, Experts, MoE, Router
from ..ops import norm
from ..ops.silu import silu_
from ..rotary import Rope, rope_parameters, stretched
from ..sliding_window import SlidingWindow
from ..step import Step, Table

PADDED = {200064: 200032}
"""The published vocabularies: sizes of their matrices, and how many token ids the tokenizer has."""
THETA = 1e6
"""The base of rotary positions where a config has none (the default of the published code)."""
LIGHTNING_EPS = 1e-6
"""Of the norm inside lightning attention, whatever rms_norm_eps is: the published code leaves it at its default."""


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
        """From config.json; RunnerError naming what does not fit."""
        rope = rope_parameters(config, THETA)
        checked(
            rope["rope_type"] == "default", f"rope_type '{rope['rope_type']}' is not built in for this architecture"
        )
        return made({**{key: value for key, value in config.items() if key in KEYS}, "rope": rope})

    @property
    def rope_theta(self) -> float:
        """The base of rotary positions."""
        return float(self.rope["rope_theta"])

    @property
    def sliding(self) -> SlidingWindow | None:
        """A window of softmax layers."""
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


def made(fields: Mapping[str, Any]) -> Config:
    """A Config, its missing dimensions filled in; RunnerError for what cannot be computed here."""
    given = {key: value for key, value in fields.items() if value is not None}
    given.setdefault("num_key_value_heads", given.get("num_attention_heads"))
    config = converted(given, Config)
    layers, kinds = config.num_hidden_layers, len(config.attn_type_list)
    checked(kinds == layers, f"{layers} layers, but {kinds} entries in the list of their attention types")
    config = msgspec.structs.replace(config, head_dim=_head_dim(config))
    config = msgspec.structs.replace(config, rotary_dim=_rotary_dim(config, given))
    heads, kept = config.num_attention_heads, config.num_key_value_heads
    checked(heads % kept == 0, f"{heads} attention heads cannot share {kept} key and value heads")
    chosen, experts = config.num_experts_per_tok, config.num_local_experts
    checked(chosen <= experts, f"{chosen} experts for each token, of {experts}")
    checked(config.hidden_act in SILU, f"hidden_act '{config.hidden_act}' is not built in, only silu")
    one_way = not config.shared_intermediate_size or config.shared_moe_mode == "sigmoid"
    checked(one_way, f"shared_moe_mode '{config.shared_moe_mode}' is not built in, only sigmoid")
    return config


def _head_dim(config: Config) -> int:
    width, heads = config.hidden_size, config.num_attention_heads
    checked(
        bool(config.head_dim) or width % heads == 0,
        f"hidden_size {width} is not a multiple of {heads} attention heads, and no head_dim",
    )
    return config.head_dim or width // heads


def _rotary_dim(config: Config, fields: Mapping[str, Any]) -> int:
    """How many dimensions of a head turn: `rotary_dim`, or a share of them, or all."""
    dim, given = config.head_dim, config.rotary_dim
    share = config.rope.get("partial_rotary_factor", fields.get("partial_rotary_factor"))
    if share is not None:
        checked(
            isinstance(share, int | float) and 0 < share <= 1, f"partial_rotary_factor {share} is not above 0, to 1"
        )
        checked(
            given in (0, int(dim * share)), f"rotary_dim {given} contradicts partial_rotary_factor {share} of {dim}"
        )
        given = int(dim * share)
    given = given or dim
    checked(0 < given <= dim and given % 2 == 0, f"rotary_dim {given} is odd, or more than head_dim {dim}")
    return given


def slopes(config: Config, layer: int) -> Tensor:
    """What lightning attention decays by, [heads] fp32: a head forgets by e^-slope with every token.

    Both ways count all layers, softmax ones too, and agree for powers of two. The published code takes ALiBi's slopes
    (arXiv 2108.12409), which go on to other head counts by every second slope of the next power; transformers takes one
    geometric series for any count, and a last layer a little off the last.
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


class GatedNorm(nn.Module):
    """RMSNorm over all heads together, times sigmoid(gate); each rank has its own heads."""

    def __init__(self, heads: Columns, context: LayerContext) -> None:
        super().__init__()
        self.own, self.width, self.shard = heads.own(context.shard, "attention heads"), heads.width, context.shard
        self.weight = nn.Parameter(torch.empty(self.own.stop - self.own.start, dtype=context.dtype))

    def weights(self) -> dict[str, Slot]:
        """Checkpoint name (below this module) to what it fills."""
        return {"weight": Slot(self.weight.data, (self.width,), (self.own,))}

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        """[tokens, own heads * dim] to the same."""
        if self.shard.size == 1:
            return norm.gated_norm(x, gate, self.weight, LIGHTNING_EPS)
        squares = self.shard.sum(x.float().square().sum(-1, keepdim=True))
        normed = x.float() * torch.rsqrt(squares / self.width + LIGHTNING_EPS)
        return self.weight * normed.to(x.dtype) * gate.sigmoid()


class Lightning(nn.Module):
    """Lightning attention: linear, without positions, scaling or softmax; its output normed and gated."""

    slopes: Tensor

    def __init__(self, config: Config, layer: int, context: LayerContext) -> None:
        super().__init__()
        width, self.dim, self.layer = config.hidden_size, config.head_dim, layer
        heads = Columns(config.num_attention_heads * self.dim, self.dim)
        # The published matrix goes head by head, q, k and v of each, so whole heads are slices of it.
        parts = {"qkv_proj": Columns(3 * heads.width, 3 * self.dim), "output_gate": heads}
        self.qkv_gate = Packed(width, parts, context)
        self.norm = GatedNorm(heads, context)
        self.out_proj = Row(heads.width, width, context, unit=self.dim)
        self.inner = self.out_proj.in_features
        own = slice(self.norm.own.start // self.dim, self.norm.own.stop // self.dim)
        self.register_buffer("slopes", slopes(config, layer)[own], persistent=False)

    def forward(self, x: Tensor, table: Table, step: Step) -> Tensor:
        """[tokens, width] to the same; the table of positions is not used."""
        qkv, gate = self.qkv_gate(x).split((3 * self.inner, self.inner), -1)
        q, k, v = silu_(qkv).view(len(x), -1, 3 * self.dim).chunk(3, -1)
        seen = step.accumulate(self.layer, q, k, v, self.slopes)
        out: Tensor = self.out_proj(self.norm(seen.reshape(len(x), -1), gate))
        return out


class Attention(nn.Module):
    """Causal softmax attention with grouped queries, of whose heads the first `rotary_dim` dimensions turn."""

    def __init__(self, config: Config, layer: int, context: LayerContext) -> None:
        super().__init__()
        self.layer, self.dim = layer, config.head_dim
        queries = Columns(config.num_attention_heads * self.dim, self.dim)
        keys = Columns(config.num_key_value_heads * self.dim, self.dim, replicated=True)
        self.qkv = Packed(config.hidden_size, {"q_proj": queries, "k_proj": keys, "v_proj": keys}, context)
        self.o_proj = Row(queries.width, config.hidden_size, context, unit=self.dim)
        self.heads, self.kv_heads = (size // self.dim for size in self.qkv.sizes[:2])

    def forward(self, x: Tensor, table: Table, step: Step) -> Tensor:
        """[tokens, width] to the same."""
        queries = step.remember(self.layer, self.qkv(x), self.heads, table)
        seen = step.attend(self.layer, queries, scale=self.dim**-0.5)
        out: Tensor = self.o_proj(seen.reshape(len(x), -1))
        return out


class Layer(nn.Module):
    """One block: attention of either kind, then experts."""

    def __init__(self, config: Config, layer: int, context: LayerContext) -> None:
        super().__init__()
        width, inner, exact = config.hidden_size, config.intermediate_size, context._replace(dtype=torch.float32)
        self.postnorm, self.before, self.between = config.postnorm, config.mlp_sum, config.attention_sum(layer)
        self.self_attn = (Attention if config.attn_type_list[layer] else Lightning)(config, layer, context)
        choice = Choice(config.num_experts_per_tok)
        gate = Router(width, config.num_local_experts, choice, context, dtype=exact.dtype)
        experts = Experts(width, inner, config.num_local_experts, context, parts=("w1", "w3", "w2"))
        self.block_sparse_moe = MoE(gate, experts)
        shared = config.shared_intermediate_size
        self.shared_mlp = MLP(width, shared, context) if shared else None
        self.coefficient = Linear(width, 1, exact) if shared else None
        self.input_layernorm = RMSNorm(width, config.rms_norm_eps, context)
        self.post_attention_layernorm = RMSNorm(width, config.rms_norm_eps, context)

    def forward(self, x: Tensor, delta: Tensor | None, table: Table, step: Step) -> tuple[Tensor, Tensor]:
        """The two summands of the stream, each [tokens, width], to those of the next block's."""
        normed, x = self.input_layernorm.add(x, delta, *self.before)
        seen = self.self_attn(normed, table, step)
        normed, x = self.post_attention_layernorm.add(normed if self.postnorm else x, seen, *self.between)
        return normed if self.postnorm else x, self.mixed(normed)

    def mixed(self, x: Tensor) -> Tensor:
        """What the experts make of x; a shared one has the share sigmoid(coefficient x) (MiniMax-Text-01's code)."""
        out: Tensor = self.block_sparse_moe(x)
        if self.shared_mlp is not None and self.coefficient is not None:
            share = logits(x, self.coefficient.weight).sigmoid().to(x.dtype)
            out = out * (1 - share) + self.shared_mlp(x) * share
        return out


class Trunk(nn.Module):
    """Everything but the head; the last norm is left to it."""

    def __init__(self, config: Config, context: LayerContext) -> None:
        super().__init__()
        self.sum = config.mlp_sum
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size, context)
        self.layers = nn.ModuleList(Layer(config, i, context) for i in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps, context)
        self.rope = Rope(config.rotary_dim, config.rope_theta, config.rope, window=config.max_position_embeddings)

    def forward(self, ids: Tensor, step: Step) -> Tensor:
        """Token ids [tokens] to hidden states [tokens, width], before the last norm."""
        x: Tensor = self.embed_tokens(ids)
        delta: Tensor | None = None
        table = self.rope(step.positions)
        for layer in self.layers:
            x, delta = layer(x, delta, table, step)
        alpha, beta = self.sum
        return x if delta is None else (alpha * x.float() + beta * delta.float()).to(x.dtype)


class Model(nn.Module):
    """MiniMax-M1 with its language-model head."""

    def __init__(self, config: Config, context: LayerContext) -> None:
        super().__init__()
        self.window, self.vocab_size = stretched(config.max_position_embeddings, config.rope), config.vocab_size
        self.sliding = config.sliding
        self.model = Trunk(config, context)
        tied = self.model.embed_tokens if config.tie_word_embeddings else None
        self.lm_head = Head(config.hidden_size, config.vocab_size, context, tied=tied)
        self.lm_head.known = PADDED.get(config.vocab_size)
        self.memory = [_memory(layer.self_attn) for layer in self.model.layers]
        self.ignored: Sequence[str] = (r"rotary_emb\.inv_freq$", *([r"^lm_head\.weight$"] if tied else []))

    def forward(self, ids: Tensor, step: Step) -> Tensor:
        """Token ids [tokens] of one step to hidden states [tokens, width]."""
        out: Tensor = self.model(ids, step)
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states [rows, width] to fp32 scores [rows, vocab]."""
        scores: Tensor = self.lm_head(self.model.norm(hidden))
        return scores


def _memory(attention: Any) -> CacheSpec:
    if isinstance(attention, Lightning):
        return State(len(attention.slopes), attention.dim)
    return KV(attention.kv_heads, attention.dim)
