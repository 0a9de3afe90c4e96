"""DeepSeek-V3 and R1 (arXiv 2412.19437): multi-head latent attention, and experts chosen by sigmoids within groups.

Attention keeps one latent vector of a token for all heads (arXiv 2405.04434). Parameter names are those of
`DeepseekV3ForCausalLM` in Hugging Face transformers, against which it is tested; the extra layer of the published
checkpoints, which predicts a second token, is not used.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from m1eval import RunnerError

from ..cache import Latent
from ..layers import MLP, Columns, Embedding, Head, Packed, RMSNorm, Row, Setting, checked
from ..moe import Choice, Experts, FeedForward, MoE, Router
from ..rotary import Rope, mscale, rotate, stretched
from ..step import Step, Table

LATENT_EPS = 1e-6
"""Of the norms of latents, whatever rms_norm_eps is: both published implementations leave it at their default."""


class Config(msgspec.Struct, kw_only=True, frozen=True):
    """The fields of config.json that matter."""

    hidden_size: int
    intermediate_size: int
    moe_intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    vocab_size: int
    kv_lora_rank: int
    qk_rope_head_dim: int
    qk_nope_head_dim: int
    v_head_dim: int
    n_routed_experts: int
    num_experts_per_tok: int
    q_lora_rank: int | None = None
    n_shared_experts: int = 0
    n_group: int = 1
    topk_group: int = 1
    norm_topk_prob: bool = True
    routed_scaling_factor: float = 1.0
    scoring_func: str = "sigmoid"
    topk_method: str = "noaux_tc"
    first_k_dense_replace: int = 0
    moe_layer_freq: int = 1
    num_nextn_predict_layers: int = 1
    rms_norm_eps: float = 1e-6
    max_position_embeddings: int = 4096
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    hidden_act: str = "silu"
    rope_theta: float = 10000.0
    rope_interleave: bool = True
    rope: dict[str, Any] = {}

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> "Config":
        """From config.json, of old (rope_theta, rope_scaling) and new (rope_parameters) kind; RunnerError if unfit."""
        fields = {key: value for key, value in config.items() if value is not None}
        rope = fields.get("rope_parameters") or fields.get("rope_scaling") or {}
        fields |= {"rope": rope, "rope_theta": rope.get("rope_theta", fields.get("rope_theta", 10000.0))}
        try:
            made = msgspec.convert(fields, cls)
        except msgspec.ValidationError as error:
            raise RunnerError(f"config.json of the model: {error}") from error
        for name, only in (("hidden_act", "silu"), ("scoring_func", "sigmoid"), ("topk_method", "noaux_tc")):
            given = getattr(made, name)
            checked(given == only, f"{name} '{given}' is not built in for deepseek_v3, only {only}")
        checked(made.moe_layer_freq == 1, f"moe_layer_freq {made.moe_layer_freq} is not built in, only 1")
        checked(made.q_lora_rank is not None or not made.attention_bias, "attention_bias needs a q_lora_rank")
        return made

    @property
    def scale(self) -> float:
        """Of attention's scores: 1 / sqrt(dim), and YaRN's correction squared, at every length as in transformers."""
        scale: float = (self.qk_nope_head_dim + self.qk_rope_head_dim) ** -0.5
        over = self.rope.get("mscale_all_dim") or 0.0
        kind = self.rope.get("rope_type", self.rope.get("type", "default"))
        if over and kind != "default":
            scale *= mscale(float(self.rope["factor"]), over) ** 2
        return scale


class Attention(nn.Module):
    """Multi-head latent attention; each rank has its own heads and the latents of all tokens."""

    def __init__(self, config: Config, layer: int, how: Setting) -> None:
        super().__init__()
        self.layer, self.scale, self.interleaved = layer, config.scale, config.rope_interleave
        self.rank, self.rope = config.kv_lora_rank, config.qk_rope_head_dim
        self.nope, self.value = config.qk_nope_head_dim, config.v_head_dim
        width, heads, low = config.hidden_size, config.num_attention_heads, config.q_lora_rank
        bias, dim = config.attention_bias, self.nope + self.rope
        queries = Columns(heads * dim, dim)
        first = {"q_proj": queries} if low is None else {"q_a_proj": _everywhere(low)}
        self.down = Packed(width, {**first, "kv_a_proj_with_mqa": _everywhere(self.rank + self.rope)}, how, bias=bias)
        self.q_a_layernorm = None if low is None else RMSNorm(low, LATENT_EPS, how)
        self.q_up = None if low is None else Packed(low, {"q_b_proj": queries}, how)
        self.kv_a_layernorm = RMSNorm(self.rank, LATENT_EPS, how)
        each = self.nope + self.value
        self.kv_up = Packed(self.rank, {"kv_b_proj": Columns(heads * each, each)}, how)
        self.o_proj = Row(heads * self.value, width, how, bias=bias, unit=self.value)

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


def _mlp(config: Config, layer: int, how: Setting) -> FeedForward:
    width, inner, count = config.hidden_size, config.moe_intermediate_size, config.n_routed_experts
    if layer < config.first_k_dense_replace:
        return MLP(width, config.intermediate_size, how)
    choice = Choice(
        config.num_experts_per_tok,
        scoring="sigmoid",
        renormalise=config.norm_topk_prob,
        groups=config.n_group,
        kept=config.topk_group,
        scaling=config.routed_scaling_factor,
        floor=1e-20,
    )
    shared = MLP(width, inner * config.n_shared_experts, how) if config.n_shared_experts else None
    return MoE(Router(width, count, choice, how, corrected=True), Experts(width, inner, count, how), shared)


class Layer(nn.Module):
    """One block: attention, then one MLP or many."""

    def __init__(self, config: Config, layer: int, how: Setting) -> None:
        super().__init__()
        self.self_attn = Attention(config, layer, how)
        self.mlp = _mlp(config, layer, how)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps, how)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps, how)

    def forward(self, x: Tensor, delta: Tensor | None, table: Table, step: Step) -> tuple[Tensor, Tensor]:
        """The stream [tokens, width] and what is still to be added to it, to the same."""
        normed, x = self.input_layernorm.add(x, delta)
        seen = self.self_attn(normed, table, step)
        delta, x = self.mlp.after(self.post_attention_layernorm, x, seen)
        return x, delta


class Trunk(nn.Module):
    """Everything but the head; the last norm is left to it."""

    def __init__(self, config: Config, how: Setting) -> None:
        super().__init__()
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size, how)
        self.layers = nn.ModuleList(Layer(config, i, how) for i in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps, how)
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

    def __init__(self, config: Config, how: Setting) -> None:
        super().__init__()
        layers = config.num_hidden_layers
        self.window, self.vocab_size = stretched(config.max_position_embeddings, config.rope), config.vocab_size
        self.memory = [Latent(config.kv_lora_rank + config.qk_rope_head_dim, config.kv_lora_rank)] * layers
        self.model = Trunk(config, how)
        tied = self.model.embed_tokens if config.tie_word_embeddings else None
        self.lm_head = Head(config.hidden_size, config.vocab_size, how, tied=tied)
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
