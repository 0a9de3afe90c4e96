"""Keys of config.json: which may be ignored because they do not change what a model computes.

Each architecture lists the keys that it reads (its `KEYS`). Every other key must be known not to matter, or have a
value that means "not used"; otherwise the model would be computed differently from how it was trained.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from m1eval import RunnerError, UsageError

CONFIG = "config.json of the model"
"""The start of every error about a config; the loader adds the path."""

_BOOKKEEPING = """
    model_type architectures auto_map transformers_version torch_dtype dtype name_or_path tokenizer_class prefix
    finetuning_task task_specific_params license bos_token_id eos_token_id pad_token_id sep_token_id cls_token_id
    mask_token_id unk_token_id decoder_start_token_id bos_token eos_token pad_token id2label label2id num_labels
    problem_type return_dict use_return_dict torchscript use_bfloat16 tf_legacy_loss gradient_checkpointing use_cache
    output_attentions output_hidden_states output_router_logits chunk_size_feed_forward model_max_length
    tokenizer_model_max_length max_sequence_length seq_length is_llama_config unsloth_fixed unsloth_version
    transformers.js_config transformers_js_config attn_implementation use_flash_attn use_flash_attention
    use_flash_attention_2 flash_attn fused_mlp use_fused_rms_norm use_cuda_graph tokenizer_config chat_template
    keys_to_ignore_at_inference cache_implementation onnx_config inference_config model_name model_name_or_path

    _name_or_path _commit_hash _attn_implementation _attn_implementation_autoset
    _attn_implementation_internal _experts_implementation _experts_implementation_internal _flash_attn_2_enabled
    _pre_quantization_dtype _from_model_config tie_last_hidden_states
"""
_TRAINING = """
    initializer_range initializer_factor attention_dropout attn_pdrop resid_pdrop embd_pdrop hidden_dropout dropout
    hidden_dropout_prob attention_probs_dropout_prob attention_dropout_prob classifier_dropout router_aux_loss_coef
    router_z_loss_coef router_jitter_noise aux_loss_alpha seq_aux ep_size embed_init_std lm_head_init_std
    summary_first_dropout pretraining_tp
"""
_SAMPLING = """
    max_length min_length max_new_tokens min_new_tokens max_time do_sample early_stopping num_beams num_beam_groups
    diversity_penalty temperature top_k top_p min_p top_h typical_p epsilon_cutoff eta_cutoff repetition_penalty
    encoder_repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids
    force_words_ids num_return_sequences forced_bos_token_id forced_eos_token_id remove_invalid_values
    renormalize_logits exponential_decay_length_penalty suppress_tokens begin_suppress_tokens sequence_bias
    guidance_scale penalty_alpha stop_strings output_scores output_logits return_dict_in_generate generation_config
    assistant_confidence_threshold assistant_lookbehind assistant_early_exit num_assistant_tokens
    num_assistant_tokens_schedule target_lookbehind prompt_lookup_num_tokens max_matching_ngram_size use_mtp
"""
HARMLESS = frozenset((_BOOKKEEPING + _TRAINING + _SAMPLING).split())
"""Bookkeeping, training, sampling defaults. (`pretraining_tp` splits matrices; the sums of the parts are the same.)"""


def _one_of(*values: Any) -> Callable[[Any], bool]:
    return lambda value: any(value is v or (type(value) is not bool and value == v) for v in values)


def _empty(value: Any) -> bool:
    return value is False or value in ("", [], {})


def _all_full_attention(value: Any) -> bool:
    return isinstance(value, list) and all(kind == "full_attention" for kind in value)


_OFF, _ONE, _ZERO = _one_of(False), _one_of(1), _one_of(0, False)
NEUTRAL: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(
        ("logit_scale", "logits_scaling", "embedding_multiplier", "residual_multiplier", "scale_emb"), _ONE
    ),
    **dict.fromkeys(("lm_head_multiplier", "embedding_scale", "residual_scale", "rotary_pct", "rope_ratio"), _ONE),
    **dict.fromkeys(("partial_rotary_factor", "num_codebooks", "moe_layer_freq", "decoder_sparse_step"), _ONE),
    **dict.fromkeys(("attn_logit_softcapping", "final_logit_softcapping", "logit_softcapping", "clip_qkv"), _ZERO),
    **dict.fromkeys(("no_rope_layer_interval", "sliding_window_pattern", "attention_chunk_size", "scale_depth"), _ZERO),
    **dict.fromkeys(("num_nextn_predict_layers", "num_mtp_layers", "n_shared_experts", "num_shared_experts"), _ZERO),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "mtp_num_hidden_layers"), _ZERO),
    **dict.fromkeys(("shared_intermediate_size", "shared_expert_intermediate_size", "first_k_dense_replace"), _ZERO),
    **dict.fromkeys(("no_rope_layers", "mlp_only_layers", "pruned_heads", "layers_block_type", "quantization"), _empty),
    **dict.fromkeys(("use_qk_norm", "qk_norm", "qk_layernorm", "use_alibi", "alibi", "parallel_attn", "bias"), _OFF),
    **dict.fromkeys(("use_parallel_residual", "parallel_residual", "attn_temperature_tuning", "mlp_bias"), _OFF),
    **dict.fromkeys(("rope_interleaved", "rope_interleave", "tie_encoder_decoder", "is_encoder_decoder"), _OFF),
    **dict.fromkeys(("add_cross_attention", "is_decoder", "use_sliding_window", "use_bias", "add_bias_linear"), _OFF),
    **dict.fromkeys(("attention_bias", "qkv_bias", "add_qkv_bias", "use_dual_chunk_attention", "use_mla"), _OFF),
    **dict.fromkeys(("use_logit_softcapping", "sandwich_norm", "scale_attn_weights_by_layer", "use_mrope"), _OFF),
    "layer_types": _all_full_attention,
    "max_window_layers": lambda value: isinstance(value, int),  # says nothing where no layer slides
    "position_embedding_type": _one_of("rope", "rotary", "absolute"),  # absolute: what transformers 4 wrote for all
    "norm_type": _one_of("rms_norm", "rmsnorm", "RMSNorm"),
    "layer_norm_type": _one_of("rms_norm", "rmsnorm", "RMSNorm", "rms"),
    "normalization": _one_of("rms_norm", "rmsnorm", "RMSNorm"),
    "mlp_type": _one_of("swiglu", "gated"),
}
"""Keys that matter, except with these values."""


def parse_ignored_keys(option: str | Sequence[str]) -> tuple[str, ...]:
    """The keys named by the option ignore_config_keys, a list or a text separated by commas."""
    names = option.split(",") if isinstance(option, str) else option
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise UsageError(f"local: ignore_config_keys is {str(option)[:60]!r}: name keys of config.json, as in a,b")
    return tuple(name.strip() for name in names if name.strip())


def remove_keys(config: Mapping[str, Any], ignored: Sequence[str]) -> dict[str, Any]:
    """A config without some keys (`a.b` is b inside a); RunnerError for a missing one."""
    remaining = dict(config)
    for name in ignored:
        outer, _, inner = name.partition(".")
        value = remaining.get(outer)
        if name in remaining:
            del remaining[name]
        elif inner and isinstance(value, Mapping) and inner in value:
            remaining[outer] = {k: v for k, v in value.items() if k != inner}
        else:
            raise RunnerError(f"{CONFIG}: there is no key '{name}', which ignore_config_keys names")
    return remaining


def check_keys(config: Mapping[str, Any], used: Collection[str]) -> None:
    """RunnerError naming every key that is not read and may change what the model computes."""
    unknown = [key for key, value in config.items() if not (key in used or value is None or _is_harmless(key, value))]
    if unknown:
        raise RunnerError(f"{CONFIG}: {describe_unknown_keys({key: config[key] for key in unknown})}")


def _is_harmless(key: str, value: Any) -> bool:
    return key in HARMLESS or (key in NEUTRAL and NEUTRAL[key](value))


def describe_unknown_keys(unknown: Mapping[str, Any]) -> str:
    """The error message about keys that are not read."""
    names = list(unknown)
    listed = ", ".join(f"{_short(name)} = {_short(json.dumps(unknown[name], default=str))}" for name in names[:3])
    others = f" and {len(names) - 3} more" if len(names) > 3 else ""
    remedy = ",".join(_short(name) for name in names[:8])
    return (
        f"{listed}{others}: not known to local, and may change what the model computes; take a model without, or go on "
        f"regardless with -o ignore_config_keys={remedy}"
    )


def _short(text: str) -> str:
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= 60 else f"{text[:57]}..."
