"""What a GGUF file says of itself, and where its tensors lie: the format of ggml (docs/gguf.md in ggml-org/ggml).

The reader of the gguf package makes an array of every string; with the vocabularies of today that takes seconds.
"""

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gguf
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

_FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Types of values as struct writes them; beside these there are strings and arrays."""
_STRING, _ARRAY = 8, 9
_VERSIONS = (2, 3)
_ALIGNMENT = 32


class Stored(NamedTuple):
    """A tensor as it lies in the file: `data` its bytes, [rows, …, bytes of a row], read as they are touched."""

    shape: tuple[int, ...]
    tensor_type: gguf.GGMLQuantizationType
    data: Bytes


def read(file: Path) -> tuple[dict[str, Any], dict[str, Stored]]:
    """Keys and values, and tensors by name; ValueError if the file is something else, or ends too early."""
    with file.open("rb") as opened:
        whole = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    cursor = _Cursor(whole)
    magic, version = cursor.take(4), cursor.number("I")
    if magic != b"GGUF" or version not in _VERSIONS:
        raise ValueError(f"it begins with {magic!r}, version {version}")
    count, pairs = cursor.number("Q"), cursor.number("Q")
    meta = {cursor.text(): cursor.value(cursor.number("I")) for _ in range(pairs)}
    places = [_place(cursor) for _ in range(count)]
    alignment = int(meta.get("general.alignment", _ALIGNMENT))
    begin = -(-cursor.at // alignment) * alignment
    data = np.frombuffer(whole, np.uint8)
    return meta, dict(_stored(places, data[begin:]))


class _Place(NamedTuple):
    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int


def _place(cursor: "_Cursor") -> _Place:
    name, dimensions = cursor.text(), cursor.number("I")
    shape = tuple(cursor.number("Q") for _ in range(dimensions))  # counted from the last one
    return _Place(name, shape[::-1], cursor.number("I"), cursor.number("Q"))


def _stored(places: list[_Place], data: Bytes) -> Iterator[tuple[str, Stored]]:
    for name, shape, kind, offset in places:
        type_ = gguf.GGMLQuantizationType(kind)
        rows = gguf.quant_shape_to_byte_shape(shape, type_)
        size = int(np.prod(rows, dtype=np.int64))
        if offset + size > len(data):
            raise ValueError(f"{name} lies beyond its end")
        yield name, Stored(shape, type_, data[offset : offset + size].reshape(rows))


class _Cursor:
    """Reads one value after another."""

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
        found: int = self.numbers(form, 1)[0]
        return found

    def text(self) -> str:
        return self.take(self.number("Q")).decode("utf-8")

    def value(self, kind: int) -> Any:
        if kind in _FORMATS:
            return self.numbers(_FORMATS[kind], 1)[0]
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            raise ValueError(f"a value has the unknown type {kind}")
        each, count = self.number("I"), self.number("Q")
        if each in _FORMATS:
            return list(self.numbers(_FORMATS[each], count))
        return [self.value(each) for _ in range(count)]
