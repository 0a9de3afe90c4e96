"""Split GGUF files, `NAME-00001-of-00003.gguf` and so on, read as one."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from m1eval import RunnerError

from . import gguf_header
from .gguf_header import StoredTensor

_PART = re.compile(r"(?P<name>.+)-(?P<no>\d{5})-of-(?P<count>\d{5})\.gguf")
_MAX_PARTS = 4096


def without_extra_parts(files: Sequence[Path]) -> list[Path]:
    """GGUF files with each split file represented by its first existing part."""
    first_parts: dict[str, Path] = {}
    for file in sorted(files):
        match = _PART.fullmatch(file.name)
        first_parts.setdefault(f"{match['name']}-of-{match['count']}" if match else file.name, file)
    return list(first_parts.values())


def parts(file: Path) -> list[Path]:
    """All parts of the split GGUF file that a file belongs to; RunnerError naming missing ones."""
    match = _PART.fullmatch(file.name)
    if not match:
        return [file]
    count = int(match["count"])
    if not 1 <= int(match["no"]) <= count <= _MAX_PARTS:
        raise RunnerError(f"{file}: part {int(match['no'])} of {count} cannot be")
    names = [f"{match['name']}-{no:05}-of-{count:05}.gguf" for no in range(1, count + 1)]
    missing = [name for name in names if not (file.parent / name).is_file()]
    if missing:
        raise RunnerError(f"{file.parent} lacks {len(missing)} of {count} parts, e.g. {missing[0]}: download them")
    return [file.parent / name for name in names]


def read(file: Path) -> tuple[dict[str, Any], dict[str, StoredTensor]]:
    """Keys and values of the first part, and the tensors of all; ValueError if the parts disagree or one is damaged."""
    files = parts(file)
    meta, stored = gguf_header.read(files[0])
    count = meta.get("split.count", 1)
    if count != len(files) and not (count == 0 and len(files) == 1):
        raise ValueError(f"it claims to be one of {count} parts, but the names say {len(files)}")
    for no, part in enumerate(files):
        part_meta, tensors = (meta, stored) if no == 0 else gguf_header.read(part)
        if len(files) > 1 and part_meta.get("split.no") != no:
            raise ValueError(f"{part.name} claims to be part {part_meta.get('split.no', 0) + 1}")
        if no and (duplicates := sorted(stored.keys() & tensors.keys())):
            raise ValueError(f"{part.name} repeats {duplicates[0]}")
        stored |= tensors
    num_tensors = meta.get("split.tensors.count", len(stored))
    if num_tensors != len(stored):
        raise ValueError(f"its parts have {len(stored)} tensors instead of {num_tensors}")
    return meta, stored
