"""GGUF files of llama.cpp as checkpoints: names, shapes and config as transformers has them, weights dequantised."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import torch
from torch import Tensor

from m1eval import RunnerError

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
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
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
}
_PERMUTED = {"llama": ("attn_q", "attn_k")}
"""Architectures whose converter interleaves the two halves of each head's rotary dimensions."""


class Gguf:
    """One GGUF file; `meta` are its keys and values, tokenizer included."""

    def __init__(self, file: Path) -> None:
        try:
            reader = gguf.GGUFReader(file)
        except (ValueError, IndexError, OSError) as error:
            raise RunnerError(f"{file} is no GGUF file, or torn ({error}): download it again") from error
        self.file = file
        self.meta: dict[str, Any] = {name: field.contents() for name, field in reader.fields.items()}
        self.stored = {tensor.name: tensor for tensor in reader.tensors}
        self.config: Mapping[str, Any] = self._config()
        self.names = {self._name(name): name for name in self.stored if name != _FACTORS}

    def shapes(self) -> Mapping[str, Sequence[int]]:
        """The tensors there are; GGUF counts dimensions from the last."""
        return {name: self.stored[stored].shape[::-1].tolist() for name, stored in self.names.items()}

    def tensor(self, name: str) -> Tensor:
        """One of them, dequantised to fp32."""
        found = self._read(self.names[name])
        part = self.names[name].split(".")[-2]
        heads = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}
        if part in _PERMUTED.get(self.config["model_type"], ()):
            return _unpermuted(found, self.config[heads[part]])
        return found

    def _read(self, stored: str) -> Tensor:
        tensor = self.stored[stored]
        try:
            return torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).copy())
        except NotImplementedError as error:
            raise RunnerError(
                f"{self.file}: {stored} is quantised as {tensor.tensor_type.name}, not readable"
            ) from error

    def _config(self) -> dict[str, Any]:
        kind = self.meta.get("general.architecture")
        found = {ours: self.meta.get(f"{kind}.{theirs}") for ours, theirs in _KEYS.items()}
        config: dict[str, Any] = {key: value for key, value in found.items() if value is not None}
        rope: dict[str, Any] = {}
        if _FACTORS in self.stored:
            rope = {"rope_type": "factors", "factors": self._read(_FACTORS).tolist()}
        elif scaling := self.meta.get(f"{kind}.rope.scaling.type"):
            rope = {"rope_type": scaling, "factor": self.meta.get(f"{kind}.rope.scaling.factor")}
            rope = {} if scaling == "none" else rope
        return config | {
            "model_type": kind,
            "vocab_size": len(self.meta["tokenizer.ggml.tokens"]),
            "tie_word_embeddings": "output.weight" not in self.stored,
            "attention_bias": "blk.0.attn_q.bias" in self.stored,
            "mlp_bias": "blk.0.ffn_up.bias" in self.stored,
            "rope_parameters": rope,
        }

    @staticmethod
    def _name(stored: str) -> str:
        layer = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", stored)
        if layer and layer[2] in _NAMES:
            return f"model.layers.{layer[1]}.{_NAMES[layer[2]]}.{layer[3]}"
        part, _, end = stored.rpartition(".")
        return f"{_NAMES[part]}.{end}" if part in _NAMES else stored


def _unpermuted(tensor: Tensor, heads: int) -> Tensor:
    """Undo llama.cpp's order of rotary dimensions: pairs side by side back to two halves."""
    pairs = tensor.reshape(heads, -1, 2, *tensor.shape[1:])
    return pairs.transpose(1, 2).reshape(tensor.shape)
