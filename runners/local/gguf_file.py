"""GGUF files of llama.cpp as checkpoints: names, shapes and config as transformers has them, weights dequantised."""

import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import gguf
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from m1eval import RunnerError

from . import gguf_split
from .checkpoint import CPU, Part
from .gguf_header import Bytes

_ARCHITECTURES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "qwen3moe": "qwen3_moe"}
_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_gate_inp": "mlp.gate",
}
_EXPERTS = {"ffn_gate_exps": "gate_proj", "ffn_up_exps": "up_proj", "ffn_down_exps": "down_proj"}
"""Stacked in the file, one by one in the names of transformers."""
_FACTORS = "rope_freqs.weight"
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
    "num_experts": "expert_count",
    "num_experts_per_tok": "expert_used_count",
    "moe_intermediate_size": "expert_feed_forward_length",
}
_SCALING = {
    "rope_type": "type",
    "factor": "factor",
    "original_max_position_embeddings": "original_context_length",
    "beta_fast": "yarn_beta_fast",
    "beta_slow": "yarn_beta_slow",
}
_PERMUTED = {"llama": {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}}
"""Architectures whose converter interleaves the two halves of each head's rotary dimensions, and how many heads."""
_CHUNK = 1 << 22
"""Bytes that one thread dequantises at a time."""


class Origin(NamedTuple):
    """A tensor of the file, or one expert of a stack of them."""

    name: str
    expert: int | None = None


class Gguf:
    """One GGUF file; `meta` are its keys and values, tokenizer included."""

    def __init__(self, file: Path) -> None:
        try:
            self.meta, self.stored = gguf_split.read(file)
        except (ValueError, OSError) as error:
            raise RunnerError(f"{file} is no GGUF file, or torn ({error}): download it again") from error
        self.file = file
        self.config: Mapping[str, Any] = self._config()
        self.names = {ours: origin for name in self.stored if name != _FACTORS for ours, origin in self._named(name)}

    def shapes(self) -> Mapping[str, Sequence[int]]:
        """The tensors there are."""
        whole = {name: (self.stored[origin.name].shape, origin) for name, origin in self.names.items()}
        return {name: list(shape if origin.expert is None else shape[1:]) for name, (shape, origin) in whole.items()}

    def tensor(self, name: str, part: Part = (), device: torch.device = CPU) -> Tensor:
        """One of them, or a part of it, dequantised to fp32."""
        origin = self.names[name]
        permuted = _PERMUTED.get(self.config["model_type"], {})
        if (kind := origin.name.split(".")[-2]) in permuted:
            return _unpermuted(self._read(origin), self.config[permuted[kind]])[part]
        return self._read(origin, *part[:1])[(slice(None), *part[1:])]

    def _read(self, origin: Origin, rows: slice = slice(None)) -> Tensor:
        tensor = self.stored[origin.name]
        data = tensor.data if origin.expert is None else tensor.data[origin.expert]
        try:
            if data.ndim == 1:  # bytes, of which a slice would be another one
                return torch.from_numpy(_dequantised(data[None], tensor.tensor_type)[0])[rows]
            return torch.from_numpy(_dequantised(data[rows], tensor.tensor_type))
        except NotImplementedError as error:
            raise RunnerError(
                f"{self.file}: {origin.name} is quantised as {tensor.tensor_type.name}, not readable"
            ) from error

    def _config(self) -> dict[str, Any]:
        kind = self.meta.get("general.architecture")
        found = {ours: self.meta.get(f"{kind}.{theirs}") for ours, theirs in _KEYS.items()}
        config: dict[str, Any] = {key: value for key, value in found.items() if value is not None}
        scaling = {ours: self.meta.get(f"{kind}.rope.scaling.{theirs}") for ours, theirs in _SCALING.items()}
        rope = {key: value for key, value in scaling.items() if value is not None}
        if _FACTORS in self.stored:
            rope = {"rope_type": "factors", "factors": self._read(Origin(_FACTORS)).tolist()}
        elif rope.get("rope_type", "none") == "none":
            rope = {}
        return config | {
            "model_type": _ARCHITECTURES.get(str(kind), kind),
            "vocab_size": len(self.meta.get("tokenizer.ggml.tokens", ())),
            "tie_word_embeddings": "output.weight" not in self.stored,
            "attention_bias": "blk.0.attn_output.bias" in self.stored,
            "mlp_bias": "blk.0.ffn_up.bias" in self.stored,
            "rope_parameters": rope,
            "norm_topk_prob": True,  # llama.cpp always does, for the architectures here
        }

    def _named(self, stored: str) -> list[tuple[str, Origin]]:
        """The names of transformers for a tensor of the file."""
        layer = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", stored)
        if layer and layer[2] in _EXPERTS:
            count = self.stored[stored].shape[0]
            begin, end = f"model.layers.{layer[1]}.mlp.experts", f"{_EXPERTS[layer[2]]}.{layer[3]}"
            return [(f"{begin}.{expert}.{end}", Origin(stored, expert)) for expert in range(count)]
        if layer and layer[2] in _NAMES:
            return [(f"model.layers.{layer[1]}.{_NAMES[layer[2]]}.{layer[3]}", Origin(stored))]
        part, _, end = stored.rpartition(".")
        return [(f"{_NAMES[part]}.{end}" if part in _NAMES else stored, Origin(stored))]


def _dequantised(data: Bytes, kind: gguf.GGMLQuantizationType) -> npt.NDArray[np.float32]:
    """Rows of a tensor as fp32, in an array of its own; large ones by several threads."""
    rows = max(1, _CHUNK // max(1, data[:1].nbytes))
    pieces = [data[begin : begin + rows] for begin in range(0, len(data), rows)]
    if len(pieces) < 2:
        found: npt.NDArray[np.float32] = gguf.quants.dequantize(data, kind)
        return found if found.flags.writeable else found.copy()
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 16)) as threads:
        return np.concatenate(list(threads.map(lambda piece: gguf.quants.dequantize(piece, kind), pieces)))


def _unpermuted(tensor: Tensor, heads: int) -> Tensor:
    """Undo llama.cpp's order of rotary dimensions: pairs side by side back to two halves."""
    pairs = tensor.reshape(heads, -1, 2, *tensor.shape[1:])
    return pairs.transpose(1, 2).reshape(tensor.shape)
