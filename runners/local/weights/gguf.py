"""GGUF files of llama.cpp as checkpoints: names, shapes and config as transformers has them, weights dequantised."""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import gguf
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from m1eval import RunnerError

from ..config.keys import CONFIG
from . import gguf_config, gguf_split
from .checkpoint import CPU, TensorSlice, first_line
from .gguf_header import Bytes

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
"""Stacked in the file; transformers has one tensor per expert."""
_FACTORS = "rope_freqs.weight"
_MAX_EXPERTS = 1 << 14
_PLAIN = (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16)
_PERMUTED = {"llama": {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}}
"""Architectures whose converter interleaves the halves of a head's rotary dimensions; tensor → field with its heads."""
_CHUNK = 1 << 22
"""Bytes that one thread dequantises at a time."""


class Origin(NamedTuple):
    """A tensor of the file, or one expert of a stack of them."""

    name: str
    expert: int | None = None


class Gguf:
    """A GGUF file, whole or split; `meta` holds its keys and values, tokenizer included."""

    def __init__(self, file: Path) -> None:
        self.file = self.config_file = file
        try:
            self.meta, self.stored = gguf_split.read(file)
            self.config: Mapping[str, Any] = gguf_config.read_config(self.meta, self.stored, self._rope_factors())
            self.names = self._map_names()
        except (ValueError, OSError) as error:
            raise RunnerError(
                f"{file} is not a GGUF file, or is damaged ({first_line(error)}): download it again"
            ) from error
        except RunnerError as error:
            raise RunnerError(str(error).replace(CONFIG, str(file), 1)) from error

    def shapes(self) -> Mapping[str, Sequence[int]]:
        """Shapes of all tensors, by name."""
        whole = {name: (self.stored[origin.name].shape, origin) for name, origin in self.names.items()}
        return {name: list(shape if origin.expert is None else shape[1:]) for name, (shape, origin) in whole.items()}

    def tensor(self, name: str, part: TensorSlice = (), device: torch.device = CPU) -> Tensor:
        """A tensor, or a part of it, dequantised to fp32."""
        origin = self.names[name]
        permuted = _PERMUTED.get(self.config["model_type"], {})
        if (kind := origin.name.split(".")[-2]) in permuted:
            return _unpermute(self._read(origin), self.config[permuted[kind]])[part]
        return self._read(origin, *part[:1])[(slice(None), *part[1:])]

    def _read(self, origin: Origin, rows: slice = slice(None)) -> Tensor:
        tensor = self.stored[origin.name]
        data = tensor.data if origin.expert is None else tensor.data[origin.expert]
        try:
            if data.ndim == 1:  # bytes, which cannot be sliced by element
                return torch.from_numpy(_dequantize(data[None], tensor.tensor_type)[0])[rows]
            return torch.from_numpy(_dequantize(data[rows], tensor.tensor_type))
        except NotImplementedError as error:
            raise self._unreadable(origin.name, tensor.tensor_type) from error

    def _rope_factors(self) -> list[float] | None:
        if _FACTORS not in self.stored:
            return None
        factors: list[float] = self._read(Origin(_FACTORS)).flatten().tolist()
        if not all(0 < factor < np.inf for factor in factors):
            raise ValueError(f"{_FACTORS} holds numbers that are not positive")
        return factors

    def _map_names(self) -> dict[str, Origin]:
        origins: dict[str, Origin] = {}
        for stored in self.stored:
            for ours, origin in self._transformers_names(stored) if stored != _FACTORS else ():
                if ours in origins:
                    raise ValueError(f"{stored[:80]!r} and {origins[ours].name[:80]!r} are the same tensor")
                origins[ours] = origin
        return origins

    def check(self, names: Collection[str]) -> None:
        """RunnerError if one of these tensors has an unsupported quantisation."""
        for kind, name in {self.stored[self.names[name].name].tensor_type: name for name in names}.items():
            if kind not in _PLAIN and kind not in gguf.quants._type_traits:
                raise self._unreadable(self.names[name].name, kind)

    def _unreadable(self, stored: str, kind: gguf.GGMLQuantizationType) -> RunnerError:
        return RunnerError(f"{self.file}: {stored} is quantised as {kind.name}, not readable")

    def _transformers_names(self, stored: str) -> list[tuple[str, Origin]]:
        """The transformers names of a tensor of the file, several for stacked experts."""
        layer = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", stored)
        if layer and layer[2] in _EXPERTS:
            shape = self.stored[stored].shape
            if len(shape) != 3 or shape[0] > _MAX_EXPERTS:
                raise ValueError(f"{stored} has the shape {list(shape)}, which is not a stack of experts")
            count = shape[0]
            begin, end = f"model.layers.{layer[1]}.mlp.experts", f"{_EXPERTS[layer[2]]}.{layer[3]}"
            return [(f"{begin}.{expert}.{end}", Origin(stored, expert)) for expert in range(count)]
        if layer and layer[2] in _NAMES:
            return [(f"model.layers.{layer[1]}.{_NAMES[layer[2]]}.{layer[3]}", Origin(stored))]
        part, _, end = stored.rpartition(".")
        return [(f"{_NAMES[part]}.{end}" if part in _NAMES else stored, Origin(stored))]


def _dequantize(data: Bytes, kind: gguf.GGMLQuantizationType) -> npt.NDArray[np.float32]:
    """Rows of a tensor as fp32, in a new array; large tensors use several threads."""
    rows = max(1, _CHUNK // max(1, data[:1].nbytes))
    pieces = [data[begin : begin + rows] for begin in range(0, len(data), rows)]
    if len(pieces) < 2:
        array: npt.NDArray[np.float32] = gguf.quants.dequantize(data, kind)
        return array if array.flags.writeable else array.copy()
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 16)) as threads:
        return np.concatenate(list(threads.map(lambda piece: gguf.quants.dequantize(piece, kind), pieces)))


def _unpermute(tensor: Tensor, heads: int) -> Tensor:
    """Undo llama.cpp's order of rotary dimensions: from adjacent pairs back to two halves."""
    pairs = tensor.reshape(heads, -1, 2, *tensor.shape[1:])
    return pairs.transpose(1, 2).reshape(tensor.shape)
