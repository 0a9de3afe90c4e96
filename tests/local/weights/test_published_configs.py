"""The forms of config.json that published checkpoints have: each is accepted, and has as many parameters as said."""

import json
import math
from importlib import import_module
from typing import Any

import pytest
import torch

from m1eval import load
from tests.local.weights.config_parts import (
    ALPHA,
    LLAMA,
    LLAMA31,
    M1,
    QWEN3,
    QWEN3_8B,
    QWEN3_30B,
    QWEN3_MOE,
    QWEN25_7B,
    SIZE_7B,
    SIZE_8B,
    V3,
)

local = load("runners", "local")
layers = import_module(f"{local.__name__}.layers.layers")

PUBLISHED: dict[str, tuple[dict[str, Any], float, int]] = {
    "Llama-1-7B, as converted first": (
        {
            **LLAMA,
            **SIZE_7B,
            "vocab_size": 32000,
            "rms_norm_eps": 1e-6,
            "max_sequence_length": 2048,
            "pad_token_id": -1,
        },
        6.738e9,
        2048,
    ),
    "Llama-2-7b": (
        {
            **LLAMA,
            **SIZE_7B,
            "_name_or_path": "meta-llama/Llama-2-7b-hf",
            "num_key_value_heads": 32,
            "vocab_size": 32000,
            "rms_norm_eps": 1e-5,
            "rope_scaling": None,
            "max_position_embeddings": 4096,
            "tie_word_embeddings": False,
        },
        6.738e9,
        4096,
    ),
    "Llama-2-13b, with slices": (
        {
            **LLAMA,
            "hidden_size": 5120,
            "intermediate_size": 13824,
            "num_attention_heads": 40,
            "num_hidden_layers": 40,
            "vocab_size": 32000,
            "pretraining_tp": 2,
            "max_position_embeddings": 4096,
        },
        13.016e9,
        4096,
    ),
    "Llama-2 stretched": (
        {
            **LLAMA,
            **SIZE_7B,
            "vocab_size": 32000,
            "max_position_embeddings": 4096,
            "rope_scaling": {
                "factor": 16.0,
                "original_max_position_embeddings": 4096,
                "type": "yarn",
                "finetuned": True,
            },
        },
        6.738e9,
        65536,
    ),
    "Llama-3.1-8B-Instruct": (
        {
            **LLAMA,
            **SIZE_8B,
            "attention_bias": False,
            "mlp_bias": False,
            "eos_token_id": [128001, 128008, 128009],
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5,
            "rope_scaling": LLAMA31,
            "rope_theta": 500000.0,
            "tie_word_embeddings": False,
        },
        8.030e9,
        131072,
    ),
    "Llama-3.2-1B, from a repository of finetuners": (
        {
            **LLAMA,
            "head_dim": 64,
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_attention_heads": 32,
            "num_hidden_layers": 16,
            "num_key_value_heads": 8,
            "vocab_size": 128256,
            "max_position_embeddings": 131072,
            "rope_scaling": {**LLAMA31, "factor": 32.0},
            "rope_theta": 500000.0,
            "tie_word_embeddings": True,
            "pad_token_id": 128004,
            "unsloth_fixed": True,
            "unsloth_version": "2024.12.4",
        },
        1.236e9,
        131072,
    ),
    "DeepSeek-R1-Distill-Llama-8B": (
        {
            **LLAMA,
            **SIZE_8B,
            "attention_bias": False,
            "mlp_bias": False,
            "max_position_embeddings": 131072,
            "rope_scaling": LLAMA31,
            "rope_theta": 500000.0,
            "tie_word_embeddings": False,
        },
        8.030e9,
        131072,
    ),
    "SmolLM2-135M-Instruct": (
        {
            **LLAMA,
            "attention_bias": False,
            "hidden_size": 576,
            "initializer_range": 0.041666666666666664,
            "intermediate_size": 1536,
            "is_llama_config": True,
            "max_position_embeddings": 8192,
            "mlp_bias": False,
            "num_attention_heads": 9,
            "num_hidden_layers": 30,
            "num_key_value_heads": 3,
            "pad_token_id": 2,
            "rms_norm_eps": 1e-05,
            "rope_interleaved": False,
            "rope_scaling": None,
            "rope_theta": 100000,
            "tie_word_embeddings": True,
            "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16", "fp16": "float16"}},
            "vocab_size": 49152,
        },
        134.5e6,
        8192,
    ),
    "Mistral-7B as a Llama": (
        {**LLAMA, **SIZE_8B, "vocab_size": 32768, "max_position_embeddings": 32768, "sliding_window": None},
        7.248e9,
        32768,
    ),
    "Qwen2-7B-Instruct": ({**QWEN25_7B}, 7.616e9, 32768),
    "Qwen2.5-7B-Instruct with the card's YaRN": (
        {
            **QWEN25_7B,
            "rope_scaling": {"factor": 4.0, "original_max_position_embeddings": 32768, "type": "yarn"},
        },
        7.616e9,
        131072,
    ),
    "DeepSeek-R1-Distill-Qwen-7B": (
        {
            **QWEN25_7B,
            "max_position_embeddings": 131072,
            "sliding_window": 4096,
            "use_mrope": False,
            "rope_theta": 10000,
        },
        7.616e9,
        131072,
    ),
    "Qwen3-8B": (QWEN3_8B, 8.191e9, 40960),
    "Qwen3-8B with the card's YaRN": (
        {**QWEN3_8B, "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}},
        8.191e9,
        131072,
    ),
    "Qwen3-8B, saved by transformers 5": (
        {
            **{k: v for k, v in QWEN3_8B.items() if k not in ("rope_theta", "rope_scaling", "torch_dtype")},
            "dtype": "bfloat16",
            "layer_types": ["full_attention"] * 36,
            "rope_parameters": {"rope_theta": 1000000, "rope_type": "default"},
            "pad_token_id": None,
            "transformers_version": "5.0.0",
        },
        8.191e9,
        40960,
    ),
    "DeepSeek-R1-0528-Qwen3-8B": (
        {
            **QWEN3_8B,
            "max_position_embeddings": 131072,
            "rope_scaling": {
                "rope_type": "yarn",
                "factor": 4.0,
                "original_max_position_embeddings": 32768,
                "attn_factor": 0.8782488562869419,
            },
        },
        8.191e9,
        131072,
    ),
    "Qwen3-0.6B": (
        {
            **QWEN3,
            "hidden_size": 1024,
            "intermediate_size": 3072,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "num_hidden_layers": 28,
            "max_window_layers": 28,
            "tie_word_embeddings": True,
        },
        596e6,
        40960,
    ),
    "Qwen3-30B-A3B": (QWEN3_30B, 30.53e9, 40960),
    "Qwen3-30B-A3B, saved by transformers 5": (
        {
            **{k: v for k, v in QWEN3_30B.items() if k not in ("num_experts", "rope_theta", "rope_scaling")},
            "num_local_experts": 128,
            "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"},
        },
        30.53e9,
        40960,
    ),
    "Qwen3-235B-A22B": (
        {
            **QWEN3_MOE,
            "hidden_size": 4096,
            "intermediate_size": 12288,
            "moe_intermediate_size": 1536,
            "num_attention_heads": 64,
            "num_hidden_layers": 94,
            "max_window_layers": 94,
        },
        235.09e9,
        40960,
    ),
    "MiniMax-M1-80k": (M1, 456.09e9, 10240000),
    "MiniMax-Text-01": (
        {**M1, "architectures": ["MiniMaxText01ForCausalLM"], "model_type": "minimax_text_01"},
        456.09e9,
        10240000,
    ),
    "MiniMax-Text-01-hf": (
        {
            **{
                k: v
                for k, v in M1.items()
                if not k.startswith(("layernorm", "shared", "attn_type", "postnorm", "auto"))
            },
            "architectures": ["MiniMaxForCausalLM"],
            "model_type": "minimax",
            "block_size": 256,
            "layer_types": ["full_attention" if i % 8 == 7 else "linear_attention" for i in range(80)],
            "full_attn_alpha_factor": ALPHA,
            "full_attn_beta_factor": 1.0,
            "linear_attn_alpha_factor": ALPHA,
            "linear_attn_beta_factor": 1.0,
            "mlp_alpha_factor": ALPHA,
            "mlp_beta_factor": 1.0,
        },
        456.09e9,
        10240000,
    ),
    "DeepSeek-V3": (V3, 671.03e9, 163840),
    "DeepSeek-V3 in bf16": ({k: v for k, v in V3.items() if k != "quantization_config"}, 671.03e9, 163840),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_config_is_accepted(name: str) -> None:
    config, parameters, window = PUBLISHED[name]
    config = json.loads(json.dumps(config))
    model: Any = local.models.build(config, layers.LayerContext(torch.bfloat16))
    count = sum(math.prod(slot.shape) for slot in local.weights.loader.weight_slots(model).values())
    assert count == pytest.approx(parameters, rel=1e-3)
    assert model.window == window
