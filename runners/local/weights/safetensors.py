"""Checkpoints in safetensors: a folder with config.json and one file or shards; never pickle."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from m1eval import RunnerError

from ..config.keys import CONFIG
from .checkpoint import CPU, TensorSlice, first_line
from .config_json import read_json
from .fp8 import SCALE_SUFFIX, block_size, dequantize

INDEX = "model.safetensors.index.json"
_FLOATS = ("F64", "F32", "F16", "BF16")
_FP8 = "F8_E4M3"


class Safetensors:
    """A folder with config.json and model.safetensors, or shards with their index; the files are memory-mapped.

    Weights in fp8 with scales (see fp8.py) are dequantised as they are read.
    """

    def __init__(self, folder: Path) -> None:
        self.config_file = folder / "config.json"
        self.config: Mapping[str, Any] = _read_config(self.config_file)
        self.block = _scale_block_size(self.config.get("quantization_config"))
        self.files = {file: _open(file) for file in _find_files(folder)}
        self.file_of: dict[str, Path] = {}
        for file, handle in self.files.items():
            for name in handle.keys():  # noqa: SIM118
                if (other := self.file_of.setdefault(name, file)) != file:
                    raise RunnerError(f"{name[:120]} is in two files, {other} and {file.name}: remove the stale one")

    def shapes(self) -> Mapping[str, Sequence[int]]:
        """Shapes of all tensors, by name; without fp8 scales."""
        named = {name: file for name, file in self.file_of.items() if not (self.block and name.endswith(SCALE_SUFFIX))}
        return {name: self.files[file].get_slice(name).get_shape() for name, file in named.items()}

    def tensor(self, name: str, part: TensorSlice = (), device: torch.device = CPU) -> Tensor:
        """A tensor in its stored dtype, fp8 dequantised; reads only the bytes of the part."""
        stored = self._read(name, part)
        if stored.dtype != torch.float8_e4m3fn:
            return stored
        self._check_fp8(name)
        assert self.block is not None
        origin = [piece.start or 0 for piece in part] + [0] * (2 - len(part))
        scales = self._read(name + SCALE_SUFFIX).to(device)
        return dequantize(stored.to(device), scales, self.block, origin=(origin[0], origin[1]))

    def check(self, names: Collection[str]) -> None:
        """RunnerError if one of these tensors has an unsupported number format."""
        for name in names:
            kind = self.files[self.file_of[name]].get_slice(name).get_dtype()
            if kind not in _FLOATS and kind != _FP8:
                raise RunnerError(
                    f"{self.file_of[name]}: {name} is stored as {kind}, of which local reads {', '.join(_FLOATS)} and "
                    "fp8 with scales: take weights that are not quantised"
                )
            if kind == _FP8:
                self._check_fp8(name)

    def _check_fp8(self, name: str) -> None:
        handle = self.files[self.file_of[name]].get_slice(name)
        if self.block is None or len(handle.get_shape()) != 2 or name + SCALE_SUFFIX not in self.file_of:
            raise RunnerError(f"{self.file_of[name]}: {name} is in fp8 without block scales, which local cannot read")

    def _read(self, name: str, part: TensorSlice = ()) -> Tensor:
        handle = self.files[self.file_of[name]]
        stored: Tensor = handle.get_slice(name)[part] if part else handle.get_tensor(name)
        return stored


def _read_config(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise RunnerError(f"{file.parent} has no {file.name}: name the folder that save_pretrained wrote")
    return read_json(file)


def _scale_block_size(quantization: Any) -> tuple[int, int] | None:
    if not quantization:
        return None
    if not isinstance(quantization, Mapping):
        raise RunnerError(f"{CONFIG}: quantization_config is not an object")
    return block_size(quantization)


def _find_files(folder: Path) -> list[Path]:
    index = folder / INDEX
    shards = _shards_from_index(folder, index) if index.exists() else []
    if (whole := folder / "model.safetensors").is_file():
        return [whole]  # also next to an index, as in transformers
    if shards:
        return shards
    files = sorted(file for file in folder.glob("*.safetensors") if file.is_file())
    if numbered := [file for file in files if _NUMBERED.fullmatch(file.name)]:
        return _check_complete(folder, numbered)
    if files:
        return files
    if pickled := sorted(file.name for end in ("bin", "pt", "pth") for file in folder.glob(f"*.{end}")):
        raise RunnerError(
            f"{folder} has pickled weights only ({pickled[0]}), which can run code: convert them to safetensors"
        )
    raise RunnerError(f"{folder} has no *.safetensors")


_MAX_SHARDS, _MAX_NAME_LENGTH = 10_000, 256
_NUMBERED = re.compile(r"model-0*(\d{1,6})-of-0*(\d{1,6})\.safetensors")


def _check_complete(folder: Path, shards: list[Path]) -> list[Path]:
    """Numbered shards without an index, all present; a consolidated.safetensors next to them is a copy."""
    numbers = [tuple(map(int, match.groups())) for file in shards if (match := _NUMBERED.fullmatch(file.name))]
    count = max(total for _, total in numbers)
    if len(shards) != count or {number for number, _ in numbers} != set(range(1, len(shards) + 1)):
        raise RunnerError(f"{folder} has {len(shards)} of {count} shards and no {INDEX}: download it again")
    return shards


def _shards_from_index(folder: Path, index: Path) -> list[Path]:
    """The files that an index names, all of them inside the folder. (Its total_size is often wrong, and not needed.)"""
    mapping = read_json(index).get("weight_map")
    if not isinstance(mapping, dict) or not mapping:
        raise RunnerError(f"{index} names no files, weight_map is missing or empty: download it again")
    if invalid := [name for name in mapping.values() if not isinstance(name, str)]:
        raise RunnerError(f"{index}: weight_map has {str(invalid[0])[:60]} for a file: download it again")
    names = sorted(set(mapping.values()))
    if len(names) > _MAX_SHARDS:
        raise RunnerError(f"{index} names {len(names)} files: download it again")
    for name in names:
        _check_inside(folder, index, name)
    if missing := [name for name in names if not (folder / name).is_file()]:
        if (folder / "model.safetensors").is_file():
            return []
        raise RunnerError(f"{folder} lacks {len(missing)} of {len(names)} shards, e.g. {missing[0]}: download it again")
    return [folder / name for name in names]


def _check_inside(folder: Path, index: Path, name: str) -> None:
    """RunnerError if a file is outside; the cache of the hub, whose files link to ../../blobs, is allowed."""
    plain = (
        len(name) < _MAX_NAME_LENGTH
        and name.isprintable()
        and "\\" not in name
        and not Path(name).is_absolute()
        and ".." not in Path(name).parts
    )
    if plain:
        try:
            real, homes = (folder / name).resolve(), [folder.resolve(), index.resolve().parent]
        except (OSError, RuntimeError, ValueError):
            real, homes = Path("/"), []
        if homes and homes[0].parent.name == "snapshots":
            homes.append(homes[0].parent.parent / "blobs")
        if any(real.is_relative_to(home) for home in homes):
            if name.endswith(".safetensors"):
                return
            raise RunnerError(f"{index} names {name[:100]!r}, which is not a .safetensors file: download it again")
    raise RunnerError(
        f"{index} names a file outside of its folder, {name[:100]!r}: take the checkpoint from where you trust it, or "
        "copy its files into one folder"
    )


def _open(file: Path) -> Any:
    try:
        return safe_open(file, framework="pt")
    except MemoryError as error:
        raise RunnerError(f"{file} cannot be mapped into memory: raise its limit (ulimit -v)") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise RunnerError(f"{file} is damaged ({first_line(error)}): download it again") from error
