"""GGUF files that were split into parts, `NAME-00001-of-00003.gguf` and so on, read as one."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from m1eval import RunnerError

from . import gguf_header
from .gguf_header import Stored

_PART = re.compile(r"(?P<name>.+)-(?P<no>\d{5})-of-(?P<count>\d{5})\.gguf")
_MOST = 4096


def whole_files(files: Sequence[Path]) -> list[Path]:
    """GGUF files without repeating the parts of one: each by its first part that is there."""
    found: dict[str, Path] = {}
    for file in sorted(files):
        match = _PART.fullmatch(file.name)
        found.setdefault(f"{match['name']}-of-{match['count']}" if match else file.name, file)
    return list(found.values())


def parts(file: Path) -> list[Path]:
    """All parts of a GGUF file of which one is given; RunnerError naming those that are missing."""
    match = _PART.fullmatch(file.name)
    if not match:
        return [file]
    count = int(match["count"])
    if not 1 <= int(match["no"]) <= count <= _MOST:
        raise RunnerError(f"{file}: part {int(match['no'])} of {count} cannot be")
    names = [f"{match['name']}-{no:05}-of-{count:05}.gguf" for no in range(1, count + 1)]
    missing = [name for name in names if not (file.parent / name).is_file()]
    if missing:
        raise RunnerError(f"{file.parent} lacks {len(missing)} of {count} parts, e.g. {missing[0]}: download them")
    return [file.parent / name for name in names]


def read(file: Path) -> tuple[dict[str, Any], dict[str, Stored]]:
    """Keys and values of the first part, and the tensors of all; ValueError if the parts disagree or one is torn."""
    files = parts(file)
    meta, stored = gguf_header.read(files[0])
    count = meta.get("split.count", 1)
    if count != len(files) and not (count == 0 and len(files) == 1):
        raise ValueError(f"it says that it is one of {count} parts, by their names there are {len(files)}")
    for no, part in enumerate(files):
        own, tensors = (meta, stored) if no == 0 else gguf_header.read(part)
        if len(files) > 1 and own.get("split.no") != no:
            raise ValueError(f"{part.name} says that it is part {own.get('split.no', 0) + 1}")
        if no and (twice := sorted(stored.keys() & tensors.keys())):
            raise ValueError(f"{part.name} has {twice[0]} a second time")
        stored |= tensors
    wanted = meta.get("split.tensors.count", len(stored))
    if wanted != len(stored):
        raise ValueError(f"its parts have {len(stored)} tensors, and should have {wanted}")
    return meta, stored
