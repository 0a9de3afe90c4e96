"""What stands on disk: a model's config and named tensors, from safetensors or GGUF; never from pickle."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from m1eval import RunnerError

from .fp8 import SCALES, block_size, dequantise

CPU = torch.device("cpu")
Part = tuple[slice, ...]
"""A slice of a tensor, as far as dimensions are named; empty for all of it."""


class Checkpoint(Protocol):
    """Tensors under the names of Hugging Face transformers."""

    config: Mapping[str, Any]
    """What config.json says, or would say."""

    def shapes(self) -> Mapping[str, Sequence[int]]:
        """The tensors there are."""

    def tensor(self, name: str, part: Part = (), device: torch.device = CPU) -> Tensor:
        """One of them, or a part of it; `device` is where it is wanted, and where to compute if reading takes that."""


class Safetensors:
    """A folder with config.json and model.safetensors, or shards with their index; the files are memory-mapped.

    Weights in fp8 with scales (see fp8.py) are dequantised as they are read.
    """

    def __init__(self, folder: Path) -> None:
        self.config: Mapping[str, Any] = _config(folder)
        quantised = self.config.get("quantization_config") or {}
        self.block = block_size(quantised) if quantised.get("quant_method") else None
        self.files = {file: _opened(file) for file in _files(folder)}
        self.where = {name: file for file, handle in self.files.items() for name in handle.keys()}  # noqa: SIM118

    def shapes(self) -> Mapping[str, Sequence[int]]:
        """The tensors there are."""
        named = {name: file for name, file in self.where.items() if not (self.block and name.endswith(SCALES))}
        return {name: self.files[file].get_slice(name).get_shape() for name, file in named.items()}

    def tensor(self, name: str, part: Part = (), device: torch.device = CPU) -> Tensor:
        """One of them, in the dtype it is stored in; reads only the bytes of the part."""
        found = self._stored(name, part)
        if found.dtype != torch.float8_e4m3fn:
            return found
        if self.block is None or found.dim() != 2 or name + SCALES not in self.where:
            raise RunnerError(f"{self.where[name]}: {name} is in fp8 without scales of blocks, which local cannot read")
        origin = [piece.start or 0 for piece in part] + [0] * (2 - len(part))
        scales = self._stored(name + SCALES).to(device)
        return dequantise(found.to(device), scales, self.block, origin=(origin[0], origin[1]))

    def _stored(self, name: str, part: Part = ()) -> Tensor:
        handle = self.files[self.where[name]]
        found: Tensor = handle.get_slice(name)[part] if part else handle.get_tensor(name)
        return found


def _config(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    if not file.is_file():
        raise RunnerError(f"{folder} has no config.json: name the folder that save_pretrained wrote")
    return _json(file)


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunnerError(f"{file} is not JSON ({error}): download it again") from error
    if not isinstance(found, dict):
        raise RunnerError(f"{file} holds no JSON object: download it again")
    return found


def _files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        if (whole := folder / "model.safetensors").is_file():
            return [whole]
        if files := sorted(folder.glob("*.safetensors")):
            return files
        if pickled := sorted(file.name for end in ("bin", "pt", "pth") for file in folder.glob(f"*.{end}")):
            raise RunnerError(
                f"{folder} has pickled weights only ({pickled[0]}), which can run code: convert them to safetensors"
            )
        raise RunnerError(f"{folder} has no *.safetensors")
    names = sorted(set(_json(index).get("weight_map", {}).values()))
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise RunnerError(f"{folder} lacks {len(missing)} of {len(names)} shards, e.g. {missing[0]}: download it again")
    return [folder / name for name in names]


def _opened(file: Path) -> Any:
    try:
        return safe_open(file, framework="pt")
    except SafetensorError as error:
        raise RunnerError(f"{file} is torn ({error}): download it again") from error
