"""Reader of GGUF headers and tensors, memory-mapped; the format is docs/gguf.md in ggml-org/ggml.

The reader of the gguf package makes an array of every string; with today's vocabularies that takes seconds.
"""

import math
import mmap
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import gguf
import numpy as np
import numpy.typing as npt

Item = TypeVar("Item")
Bytes = npt.NDArray[np.uint8]

_FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Value types as struct formats; strings and arrays are the other two."""
_STRING, _ARRAY = 8, 9
_VERSIONS = (2, 3)
_ALIGNMENT = 32
_MAX_ENTRIES = 1 << 24
"""Pairs, tensors, and entries of one array; the largest vocabularies have 260,000."""
_MAX_DIMENSIONS = 4
_MAX_DEPTH = 4
"""Nesting of arrays."""


class StoredTensor(NamedTuple):
    """A tensor in the file; `data`: its bytes [rows, …, bytes of a row], memory-mapped."""

    shape: tuple[int, ...]
    tensor_type: gguf.GGMLQuantizationType
    data: Bytes


def read(file: Path) -> tuple[dict[str, Any], dict[str, StoredTensor]]:
    """Keys and values, and tensors by name; ValueError if the file is malformed or truncated."""
    with file.open("rb") as opened:
        whole = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    cursor = _Cursor(whole)
    magic, version = cursor.take(4), cursor.number("I")
    if magic != b"GGUF" or version not in _VERSIONS:
        raise ValueError(f"it begins with {magic!r}, version {version}")
    count, pairs = cursor.number("Q"), cursor.number("Q")
    for number, what in ((count, "tensors"), (pairs, "keys")):
        if number > min(_MAX_ENTRIES, len(whole) // 12):
            raise ValueError(f"it has {len(whole)} bytes and claims {number} {what}")
    meta = _unique(((cursor.text(), cursor.value(cursor.number("I"))) for _ in range(pairs)), "key")
    tensor_infos = [_read_tensor_info(cursor) for _ in range(count)]
    alignment = meta.get("general.alignment", _ALIGNMENT)
    if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
        raise ValueError(f"general.alignment is {str(alignment)[:40]}, and must be a power of two")
    begin = -(-cursor.at // alignment) * alignment
    data = np.frombuffer(whole, np.uint8)
    return meta, _unique(_map_tensors(tensor_infos, data[begin:]), "tensor")


def _unique(pairs: Iterable[tuple[str, Item]], what: str) -> dict[str, Item]:
    unique: dict[str, Item] = {}
    for name, value in pairs:
        if name in unique:
            raise ValueError(f"duplicate {what} {name[:80]!r}")
        unique[name] = value
    return unique


class _TensorInfo(NamedTuple):
    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int


def _read_tensor_info(cursor: "_Cursor") -> _TensorInfo:
    name, dimensions = cursor.text(), cursor.number("I")
    if not 0 < dimensions <= _MAX_DIMENSIONS:
        raise ValueError(f"{name[:80]!r} has {dimensions} dimensions")
    shape = tuple(cursor.number("Q") for _ in range(dimensions))  # innermost dimension first
    return _TensorInfo(name, shape[::-1], cursor.number("I"), cursor.number("Q"))


def _map_tensors(infos: list[_TensorInfo], data: Bytes) -> Iterator[tuple[str, StoredTensor]]:
    for name, shape, kind, offset in infos:
        if min(shape) < 1:
            raise ValueError(f"{name[:80]!r} has the shape {list(shape)}")
        try:
            type_ = gguf.GGMLQuantizationType(kind)
        except ValueError:
            raise ValueError(f"{name[:80]!r} is of the unknown type {kind}") from None
        rows = gguf.quant_shape_to_byte_shape(shape, type_)
        size = math.prod(rows)
        if offset + size > len(data):
            raise ValueError(f"{name[:80]!r} is beyond its end")
        yield name, StoredTensor(shape, type_, data[offset : offset + size].reshape(rows))


class _Cursor:
    """Sequential reader of a mapped file."""

    def __init__(self, whole: mmap.mmap) -> None:
        self.whole, self.at = whole, 0

    def take(self, size: int) -> bytes:
        if size > len(self.whole) - self.at:
            raise ValueError("it ends within its header")
        self.at += size
        return self.whole[self.at - size : self.at]

    def numbers(self, form: str, count: int) -> tuple[Any, ...]:
        return struct.unpack(f"<{count}{form}", self.take(struct.calcsize(f"<{form}") * count))

    def number(self, form: str) -> int:
        number: int = self.numbers(form, 1)[0]
        return number

    def text(self) -> str:
        return self.take(self.number("Q")).decode("utf-8")

    def value(self, kind: int, depth: int = 0) -> Any:
        if kind in _FORMATS:
            return self.numbers(_FORMATS[kind], 1)[0]
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            raise ValueError(f"a value has the unknown type {kind}")
        item_kind, count = self.number("I"), self.number("Q")
        if count > _MAX_ENTRIES or depth > _MAX_DEPTH:
            raise ValueError(
                f"an array has {count} entries" if count > _MAX_ENTRIES else "arrays are nested too deeply"
            )
        if item_kind in _FORMATS:
            return list(self.numbers(_FORMATS[item_kind], count))
        if item_kind == _STRING:
            return [self.text() for _ in range(count)]
        return [self.value(item_kind, depth + 1) for _ in range(count)]
