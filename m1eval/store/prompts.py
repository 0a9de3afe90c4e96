"""The prompts of a run, each once: `prompts.zst`, one zstandard frame of one JSON line each."""

import hashlib
import itertools
import mmap
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import zstandard
from msgspec import Struct

MAX_PROMPT = 64 * 1024
"""Characters of JSON up to which a prompt is kept; of a longer one the hash, as its recipe builds it again."""


TAIL = 2 * 2**20
"""Bytes at the end of the prompts that are looked through when a run goes on."""

# Made once, as its making costs more than a prompt.
_COMPRESS, _DECOMPRESS = zstandard.ZstdCompressor(), zstandard.ZstdDecompressor()


MAX_FRAME = 64 * 2**20
"""Bytes that one frame may become; a prompt that is kept is far shorter, whatever its sample is called."""


class Damaged(ValueError):
    """A frame that m1eval did not write: its bytes were changed, or it would exhaust memory."""


class _Named(Struct):
    id: str


_decode_id = msgspec.json.Decoder(_Named).decode


def encode_frame(sample: str, prompt: bytes) -> bytes:
    """A sample's prompt as a frame: the JSON itself, or its hash if it is long."""
    row: dict[str, Any] = {"id": sample, "bytes": len(prompt), "sha256": hashlib.sha256(prompt).hexdigest()}
    if len(prompt) <= MAX_PROMPT:
        row["messages"] = msgspec.Raw(prompt)
    return _COMPRESS.compress(msgspec.json.encode(row) + b"\n")


def read_prompts(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of `prompts.zst`: id, bytes and sha256 of each prompt, and its messages unless they were too long.

    Raises Damaged at a frame that m1eval did not write.
    """
    for frame in _frames(path)[0]:
        try:
            yield msgspec.json.decode(frame)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Damaged(str(error)) from None


def recover(path: Path) -> tuple[set[str], int]:
    """The samples whose prompts are at the end of the file, and where the last whole frame ends.

    Raises Damaged at a frame that m1eval did not write.
    """
    whole, end = _frames(path, TAIL)
    try:
        return {_decode_id(one).id for one in whole}, end
    except (msgspec.DecodeError, RecursionError) as error:
        raise Damaged(str(error)) from None


def _frames(path: Path, tail: int | None = None) -> tuple[Iterator[bytes], int]:
    """The whole frames of a file, or those in its last `tail` bytes, and where the last of them ends."""
    size = path.stat().st_size if path.exists() else 0
    if not size:
        return iter(()), 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = data.find(zstandard.FRAME_HEADER, max(0, size - tail)) if tail else 0
        bounds = _bounds(data, max(0, at))
        while at > 0 and not _is_intact(data, bounds):  # what looks like the beginning of a frame may lie inside of one
            at = data.find(zstandard.FRAME_HEADER, at + 1)
            bounds = _bounds(data, max(0, at))
    return _read_frames(path, bounds), bounds[-1]


def _read_frames(path: Path, bounds: "array[int]") -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(bounds[0])
        for start, end in itertools.pairwise(bounds):
            yield _decompress(file.read(end - start))


def _decompress(frame: bytes) -> bytes:
    """The content of a frame; Damaged if its size is too large or missing, or it is not a frame."""
    try:
        if zstandard.frame_content_size(frame) not in range(MAX_FRAME):
            raise Damaged("a frame says that it holds more than a prompt")
        return _DECOMPRESS.decompress(frame)
    except (zstandard.ZstdError, MemoryError) as error:
        raise Damaged(str(error)) from None


def _is_intact(data: mmap.mmap, bounds: "array[int]") -> bool:
    """Whether the first frame is one."""
    try:
        return len(bounds) > 1 and bool(_decode_id(_decompress(data[bounds[0] : bounds[1]])))
    except (Damaged, msgspec.DecodeError, RecursionError):
        return False


def _bounds(data: mmap.mmap, at: int) -> "array[int]":
    """Offsets of frames from `at` on, by their headers alone; what comes after the last is torn.

    A frame is a header, blocks with a size in three bytes each, and perhaps a checksum (RFC 8878, section 3.1.1).
    """
    size, ends = len(data), array("Q", [at])
    while at + 9 < size and data[at : at + 4] == zstandard.FRAME_HEADER:
        head = data[at : at + 18]
        at += zstandard.frame_header_size(head)
        last = False
        while not last and at + 3 <= size:
            block = int.from_bytes(data[at : at + 3], "little")
            last = bool(block & 1)
            at += 3 + (1 if block >> 1 & 3 == 1 else block >> 3)
        at += 4 * (head[4] >> 2 & 1)
        if not last or at > size:
            break
        ends.append(at)
    return ends
