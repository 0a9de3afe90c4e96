"""Checkpoints in safetensors: a folder with config.json and one file or shards; never pickle."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from m1eval import RunnerError

from ..config.keys import WHERE
from .checkpoint import CPU, Part, first_line
from .config_json import read_json
from .fp8 import SCALES, block_size, dequantise

INDEX = "model.safetensors.index.json"
_FLOATS = ("F64", "F32", "F16", "BF16")
_FP8 = "F8_E4M3"


class Safetensors:
    """A folder with config.json and model.safetensors, or shards with their index; the files are memory-mapped.

    Weights in fp8 with scales (see fp8.py) are dequantised as they are read.
    """

    def __init__(self, folder: Path) -> None:
        self.about = folder / "config.json"
        self.config: Mapping[str, Any] = _config(self.about)
        self.block = _block(self.config.get("quantization_config"))
        self.files = {file: _opened(file) for file in _files(folder)}
        self.where: dict[str, Path] = {}
        for file, handle in self.files.items():
            for name in handle.keys():  # noqa: SIM118
                if (other := self.where.setdefault(name, file)) != file:
                    raise RunnerError(f"{name[:120]} is in two files, {other} and {file.name}: remove the stale one")

    def shapes(self) -> Mapping[str, Sequence[int]]:
        """The tensors there are."""
        named = {name: file for name, file in self.where.items() if not (self.block and name.endswith(SCALES))}
        return {name: self.files[file].get_slice(name).get_shape() for name, file in named.items()}

    def tensor(self, name: str, part: Part = (), device: torch.device = CPU) -> Tensor:
        """One of them, in the dtype it is stored in; reads only the bytes of the part."""
        found = self._stored(name, part)
        if found.dtype != torch.float8_e4m3fn:
            return found
        self._check_fp8(name)
        assert self.block is not None
        origin = [piece.start or 0 for piece in part] + [0] * (2 - len(part))
        scales = self._stored(name + SCALES).to(device)
        return dequantise(found.to(device), scales, self.block, origin=(origin[0], origin[1]))

    def check(self, names: Collection[str]) -> None:
        """RunnerError if one of them is stored in numbers that cannot be read."""
        for name in names:
            kind = self.files[self.where[name]].get_slice(name).get_dtype()
            if kind not in _FLOATS and kind != _FP8:
                raise RunnerError(
                    f"{self.where[name]}: {name} is stored as {kind}, of which local reads {', '.join(_FLOATS)} and "
                    "fp8 with scales: take weights that are not quantised"
                )
            if kind == _FP8:
                self._check_fp8(name)

    def _check_fp8(self, name: str) -> None:
        handle = self.files[self.where[name]].get_slice(name)
        if self.block is None or len(handle.get_shape()) != 2 or name + SCALES not in self.where:
            raise RunnerError(f"{self.where[name]}: {name} is in fp8 without scales of blocks, which local cannot read")

    def _stored(self, name: str, part: Part = ()) -> Tensor:
        handle = self.files[self.where[name]]
        found: Tensor = handle.get_slice(name)[part] if part else handle.get_tensor(name)
        return found


def _config(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise RunnerError(f"{file.parent} has no {file.name}: name the folder that save_pretrained wrote")
    return read_json(file)


def _block(quantization: Any) -> tuple[int, int] | None:
    if not quantization:
        return None
    if not isinstance(quantization, Mapping):
        raise RunnerError(f"{WHERE}: quantization_config is not an object")
    return block_size(quantization)


def _files(folder: Path) -> list[Path]:
    index = folder / INDEX
    shards = _shards(folder, index) if index.exists() else []
    if (whole := folder / "model.safetensors").is_file():
        return [whole]  # also beside an index, as in transformers
    if shards:
        return shards
    found = sorted(file for file in folder.glob("*.safetensors") if file.is_file())
    if numbered := [file for file in found if _NUMBERED.fullmatch(file.name)]:
        return _complete(folder, numbered)
    if found:
        return found
    if pickled := sorted(file.name for end in ("bin", "pt", "pth") for file in folder.glob(f"*.{end}")):
        raise RunnerError(
            f"{folder} has pickled weights only ({pickled[0]}), which can run code: convert them to safetensors"
        )
    raise RunnerError(f"{folder} has no *.safetensors")


_MOST_SHARDS, _LONGEST = 10_000, 256
_NUMBERED = re.compile(r"model-0*(\d{1,6})-of-0*(\d{1,6})\.safetensors")


def _complete(folder: Path, shards: list[Path]) -> list[Path]:
    """Shards without an index, by their names; a consolidated.safetensors beside them is the same once more."""
    numbers = [tuple(map(int, match.groups())) for file in shards if (match := _NUMBERED.fullmatch(file.name))]
    count = max(total for _, total in numbers)
    if len(shards) != count or {number for number, _ in numbers} != set(range(1, len(shards) + 1)):
        raise RunnerError(f"{folder} has {len(shards)} of {count} shards and no {INDEX}: download it again")
    return shards


def _shards(folder: Path, index: Path) -> list[Path]:
    """The files that an index names, all of them inside the folder. (Its total_size is often wrong, and not needed.)"""
    mapping = read_json(index).get("weight_map")
    if not isinstance(mapping, dict) or not mapping:
        raise RunnerError(f"{index} names no files, weight_map is missing or empty: download it again")
    if wrong := [name for name in mapping.values() if not isinstance(name, str)]:
        raise RunnerError(f"{index}: weight_map has {str(wrong[0])[:60]} for a file: download it again")
    names = sorted(set(mapping.values()))
    if len(names) > _MOST_SHARDS:
        raise RunnerError(f"{index} names {len(names)} files: download it again")
    for name in names:
        _check_inside(folder, index, name)
    if missing := [name for name in names if not (folder / name).is_file()]:
        if (folder / "model.safetensors").is_file():
            return []
        raise RunnerError(f"{folder} lacks {len(missing)} of {len(names)} shards, e.g. {missing[0]}: download it again")
    return [folder / name for name in names]


def _check_inside(folder: Path, index: Path, name: str) -> None:
    """RunnerError if a file is elsewhere; the cache of the hub, whose files are links to ../../blobs, is all right."""
    plain = (
        len(name) < _LONGEST
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


def _opened(file: Path) -> Any:
    try:
        return safe_open(file, framework="pt")
    except MemoryError as error:
        raise RunnerError(f"{file} cannot be mapped into memory: raise the limit of it (ulimit -v)") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise RunnerError(f"{file} is torn ({first_line(error)}): download it again") from error
