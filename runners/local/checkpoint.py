"""What stands on disk: a model's config and named tensors, from safetensors or GGUF; never from pickle."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError, safe_open
from torch import Tensor

from m1eval import RunnerError


class Checkpoint(Protocol):
    """Tensors under the names of Hugging Face transformers."""

    config: Mapping[str, Any]
    """What config.json says, or would say."""

    def shapes(self) -> Mapping[str, Sequence[int]]:
        """The tensors there are."""

    def tensor(self, name: str) -> Tensor:
        """One of them, on the CPU."""


class Safetensors:
    """A folder with config.json and model.safetensors, or shards with their index; the files are memory-mapped."""

    def __init__(self, folder: Path) -> None:
        self.config: Mapping[str, Any] = _config(folder)
        self.files = {file: _opened(file) for file in _files(folder)}
        self.where = {name: file for file, handle in self.files.items() for name in handle.keys()}  # noqa: SIM118

    def shapes(self) -> Mapping[str, Sequence[int]]:
        """The tensors there are."""
        return {name: self.files[file].get_slice(name).get_shape() for name, file in self.where.items()}

    def tensor(self, name: str) -> Tensor:
        """One of them, in the dtype it is stored in; reads only its own bytes."""
        found: Tensor = self.files[self.where[name]].get_tensor(name)
        return found


def _config(folder: Path) -> Mapping[str, Any]:
    file = folder / "config.json"
    if not file.is_file():
        raise RunnerError(f"{folder} has no config.json: name the folder that save_pretrained wrote")
    config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if method := (config.get("quantization_config") or {}).get("quant_method"):
        raise RunnerError(f"{file}: the weights are quantised ({method}), which local does not read; take bf16 weights")
    return config


def _files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        if files := sorted(folder.glob("*.safetensors")):
            return files
        if pickled := sorted(file.name for end in ("bin", "pt", "pth") for file in folder.glob(f"*.{end}")):
            raise RunnerError(
                f"{folder} has pickled weights only ({pickled[0]}), which can run code: convert them to safetensors"
            )
        raise RunnerError(f"{folder} has no *.safetensors")
    names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise RunnerError(f"{folder} lacks {len(missing)} of {len(names)} shards, e.g. {missing[0]}: download it again")
    return [folder / name for name in names]


def _opened(file: Path) -> Any:
    try:
        return safe_open(file, framework="pt")
    except SafetensorError as error:
        raise RunnerError(f"{file} is torn ({error}): download it again") from error
