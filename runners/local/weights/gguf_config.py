"""The config of a GGUF file: its keys as the fields of config.json, interpreted as llama.cpp does.

Keys of an architecture that would change what is computed, and are not read here, are refused by name.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from m1eval import RunnerError

from ..config.keys import CONFIG, describe_unknown_keys
from ..layers.rotary import GgufRope, mscale

ARCHITECTURES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "qwen3moe": "qwen3_moe"}
_KEYS = {
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "rope_theta": "rope.freq_base",
    "max_position_embeddings": "context_length",
    "sliding_window": "attention.sliding_window",
}
_EXPERTS = {
    "num_experts": "expert_count",
    "num_experts_per_tok": "expert_used_count",
    "moe_intermediate_size": "expert_feed_forward_length",
}
_ROPE = [
    "type",
    "factor",
    "attn_factor",
    "original_context_length",
    "yarn_beta_fast",
    "yarn_beta_slow",
    "yarn_ext_factor",
    "yarn_attn_factor",
]
_READ = frozenset(
    (*_KEYS.values(), *_EXPERTS.values(), *(f"rope.scaling.{name}" for name in _ROPE), "rope.scale_linear")
)
_HARMLESS = frozenset({"vocab_size", "rope.scaling.finetuned", "tensor_data_layout", "pooling_type"})
_ROPE_TYPES = ("none", "linear", "yarn")


def _is_near(*values: float) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int | float) and any(math.isclose(value, v, rel_tol=1e-4) for v in values)


_NEUTRAL: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("logit_scale", "residual_scale", "embedding_scale", "expert_weights_scale"), _is_near(0, 1)),
    **dict.fromkeys(("attn_logit_softcapping", "final_logit_softcapping", "attention.clamp_kqv"), _is_near(0)),
    **dict.fromkeys(("attention.max_alibi_bias", "leading_dense_block_count", "nextn_predict_layers"), _is_near(0)),
    **dict.fromkeys(("expert_shared_count", "expert_shared_feed_forward_length", "expert_group_count"), _is_near(0)),
    **dict.fromkeys(("expert_count", "expert_used_count", "expert_feed_forward_length"), _is_near(0)),
    "expert_weights_norm": lambda value: value is True,
    "expert_gating_func": _is_near(1),  # softmax
    "interleave_moe_layer_step": _is_near(0, 1),
    "use_parallel_residual": lambda value: value is False,
    "attention.causal": lambda value: value is True,
    "attention.group_norm_groups": _is_near(0),
}


def read_config(meta: Mapping[str, Any], tensors: Collection[str], factors: Sequence[float] | None) -> dict[str, Any]:
    """The fields of config.json; `factors` are divisors of rotary frequencies that the file stores as a tensor.

    RunnerError for keys that would change the numbers and are not built in.
    """
    kind = meta.get("general.architecture")
    if not isinstance(kind, str) or kind not in ARCHITECTURES:
        raise RunnerError(
            f"{CONFIG}: architecture {str(kind)[:60]!r}; of GGUF files local reads {', '.join(ARCHITECTURES)}"
        )
    values = {key.removeprefix(f"{kind}."): value for key, value in meta.items() if key.startswith(f"{kind}.")}
    fields = dict(_KEYS) | (_EXPERTS if kind == "qwen3moe" else {})
    config = {ours: values[theirs] for ours, theirs in fields.items() if theirs in values}
    config.setdefault("num_key_value_heads", config.get("num_attention_heads"))
    if not config.get("sliding_window"):
        config["sliding_window"] = None
    elif kind != "llama":  # llama.cpp reads no window for the other architectures
        config["use_sliding_window"], config["max_window_layers"] = True, 0
    dim = _head_dim(config)
    _check_keys(kind, values, dim)
    tokens = meta.get("tokenizer.ggml.tokens", ())
    if not isinstance(tokens, list | tuple):
        raise RunnerError(f"{CONFIG}: tokenizer.ggml.tokens is not an array")
    return config | {
        "model_type": ARCHITECTURES[kind],
        "vocab_size": len(tokens) or values.get("vocab_size", 0),
        "tie_word_embeddings": "output.weight" not in tensors,
        "attention_bias": "blk.0.attn_output.bias" in tensors,
        "mlp_bias": "blk.0.ffn_up.bias" in tensors,
        "rope_parameters": _rope_parameters(kind, values, factors),
        **({"norm_topk_prob": True} if kind == "qwen3moe" else {}),  # llama.cpp always normalises for this architecture
    }


def _head_dim(config: Mapping[str, Any]) -> int:
    width, heads, dim = (config.get(name) for name in ("hidden_size", "num_attention_heads", "head_dim"))
    if type(dim) is int:
        return dim
    return width // heads if type(width) is int and type(heads) is int and heads > 0 else 0


def _check_keys(kind: str, values: Mapping[str, Any], dim: int) -> None:
    known_keys = _READ if kind == "qwen3moe" else _READ - set(_EXPERTS.values())
    expected = {"attention.value_length": _is_near(dim), "rope.dimension_count": _is_near(dim)}
    if dim > 0:
        expected["attention.scale"] = _is_near(0, dim**-0.5)
    tests = {**_NEUTRAL, **expected}
    unknown = {
        f"{kind}.{key}": value
        for key, value in values.items()
        if key not in known_keys and key not in _HARMLESS and not (key in tests and tests[key](value))
    }
    if unknown:
        raise RunnerError(
            f"{CONFIG}: {describe_unknown_keys(unknown).split('; take')[0]}; take another model, or its safetensors"
        )


def _rope_parameters(kind: str, values: Mapping[str, Any], factors: Sequence[float] | None) -> GgufRope:
    """RoPE parameters as in llama.cpp: default type linear; attention factors multiply cos and sin for every type."""
    scaling = {name: values.get(f"rope.scaling.{name}") for name in _ROPE}
    rope_type = scaling["type"] or "linear"
    if rope_type not in _ROPE_TYPES:
        raise RunnerError(
            f"{CONFIG}: {kind}.rope.scaling.type {str(rope_type)[:40]!r} is not built in; there are {_ROPE_TYPES}"
        )
    factor = values.get("rope.scaling.factor", values.get("rope.scale_linear")) or 1.0
    trained = scaling["original_context_length"] or values.get("context_length")
    fields = {"factor": factor, "original_context_length": trained, **{k: v for k, v in scaling.items() if k != "type"}}
    for name, value in fields.items():
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12
        ):
            raise RunnerError(
                f"{CONFIG}: {kind}.rope.scaling.{name} is {str(value)[:40]}, and must be a number above 0"
            )
    scale = float(scaling["attn_factor"] or 1.0) * float(scaling["yarn_attn_factor"] or 1.0)
    if scaling["yarn_ext_factor"] not in (None, 0, 1) or (scaling["yarn_ext_factor"] == 0 and rope_type == "yarn"):
        raise RunnerError(
            f"{CONFIG}: {kind}.rope.scaling.yarn_ext_factor {scaling['yarn_ext_factor']} is not built in, only 1"
        )
    if factors is not None:
        if rope_type != "none" and factor != 1:
            raise RunnerError(f"{CONFIG}: {kind}.rope.scaling.factor {factor} with rope_freqs.weight is not built in")
        return GgufRope(rope_type="factors", factors=list(factors), table_scale=scale)
    if rope_type == "none" or (rope_type == "linear" and factor == 1):
        return GgufRope(rope_type="default", table_scale=scale)
    if rope_type == "linear":
        return GgufRope(rope_type="linear", factor=factor, table_scale=scale)
    if not trained:
        raise RunnerError(f"{CONFIG}: {kind}.rope.scaling.type yarn needs rope.scaling.original_context_length")
    betas = {"beta_fast": scaling["yarn_beta_fast"], "beta_slow": scaling["yarn_beta_slow"]}
    return GgufRope(
        rope_type="yarn",
        factor=factor,
        original_max_position_embeddings=trained,
        attention_factor=mscale(float(factor)),
        table_scale=scale,
        **{name: value for name, value in betas.items() if value},
    )
