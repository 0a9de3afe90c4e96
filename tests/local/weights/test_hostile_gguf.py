"""GGUF files that are broken, or made to do harm: one line each, before anything is allocated; never a hang."""

import os
import random
import struct
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from m1eval import NullProgress, load
from tests.local.weights.test_gguf import write_gguf
from tests.local.weights.test_hostile_checkpoints import Break, flipped, parts, run, works_or_is_refused

local = load("runners", "local")
loader = local.weights.loader
layers = import_module(f"{local.__name__}.layers.layers")


STRING, ARRAY, UINT32, FLOAT32 = 8, 9, 4, 6


def word(content: str | bytes, size: int | None = None) -> bytes:
    raw = content.encode() if isinstance(content, str) else content
    return struct.pack("<Q", len(raw) if size is None else size) + raw


def pair(key: str, kind: int, value: bytes) -> bytes:
    return word(key) + struct.pack("<I", kind) + value


def uint(value: int) -> bytes:
    return struct.pack("<I", value)


def tensor(name: str, shape: tuple[int, ...], kind: int = 0, offset: int = 0, dimensions: int | None = None) -> bytes:
    count = len(shape) if dimensions is None else dimensions
    return word(name) + struct.pack(f"<I{len(shape)}QIQ", count, *shape, kind, offset)


def build(
    pairs: list[bytes] | None = None,
    tensors: list[bytes] | None = None,
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    counts: tuple[int, int] | None = None,
    data: bytes = bytes(1024),
) -> Break:
    """A GGUF file out of its parts."""
    pairs = [pair("general.architecture", STRING, word("llama"))] if pairs is None else pairs
    tensors = tensors or []
    count = counts or (len(tensors), len(pairs))
    begin = magic + struct.pack("<IQQ", version, *count) + b"".join(pairs) + b"".join(tensors)
    content = begin + bytes(-len(begin) % 32) + data
    return lambda file: Path(file).write_bytes(content)


def nested(depth: int) -> bytes:
    return struct.pack("<IQ", ARRAY, 1) * depth + struct.pack("<IQI", UINT32, 1, 7)


LLAMA = pair("general.architecture", STRING, word("llama"))
GGUFS: dict[str, Break] = {
    "wrong magic": build(magic=b"GGML"),
    "version 1": build(version=1),
    "version 4": build(version=4),
    "another byte order": build(version=3 << 24),
    "empty": lambda file: os.truncate(file, 0),
    "longer than memory": lambda file: os.truncate(file, 200 << 30),
    "three bytes": lambda file: os.truncate(file, 3),
    "2^63 keys": build(counts=(0, 2**63)),
    "2^64 - 1 keys": build(counts=(0, 2**64 - 1)),
    "2^63 tensors": build(counts=(2**63, 1)),
    "a key of 2^40 bytes": build([word("a", 2**40)]),
    "a string of 2^40": build([pair("a", STRING, word("b", 2**40))]),
    "a string of 2^64 - 1": build([pair("a", STRING, word("b", 2**64 - 1))]),
    "an array of 2^63 numbers": build([pair("a", ARRAY, struct.pack("<IQ", UINT32, 2**63))]),
    "an array of 2^63 strings": build([pair("a", ARRAY, struct.pack("<IQ", STRING, 2**63))]),
    "an array of 2^40 arrays": build([pair("a", ARRAY, struct.pack("<IQ", ARRAY, 2**40))]),
    "arrays 10^5 deep": build([pair("a", ARRAY, nested(10**5))]),
    "an unknown kind of value": build([pair("a", 99, b"")]),
    "an unknown kind in an array": build([pair("a", ARRAY, struct.pack("<IQ", 99, 3))]),
    "a key that is not UTF-8": build([pair("a", STRING, word(b"\xff\xfe"))]),
    "a key twice": build([LLAMA, LLAMA]),
    **{
        f"alignment {said}": build([LLAMA, pair("general.alignment", UINT32, uint(said))]) for said in (0, 3, 2**32 - 1)
    },
    "alignment as text": build([LLAMA, pair("general.alignment", STRING, word("32"))]),
    "alignment as a list": build([LLAMA, pair("general.alignment", ARRAY, struct.pack("<IQI", UINT32, 1, 32))]),
    "offset beyond the file": build(tensors=[tensor("a.weight", (8,), offset=2**40)]),
    "offset 2^64 - 1": build(tensors=[tensor("a.weight", (8,), offset=2**64 - 1)]),
    "a tensor longer than the file": build(tensors=[tensor("a.weight", (2**20,))]),
    "dimensions that overflow": build(tensors=[tensor("a.weight", (2**62, 2**62))]),
    "dimensions that overflow to 0": build(tensors=[tensor("a.weight", (2**32, 2**32, 4))]),
    "a dimension of 0": build(tensors=[tensor("blk.0.ffn_up_exps.weight", (0, 8, 2**40))]),
    "no dimensions": build(tensors=[tensor("a.weight", ())]),
    "2^32 - 1 dimensions": build(tensors=[tensor("a.weight", (8,), dimensions=2**32 - 1)]),
    "an unknown type of tensor": build(tensors=[tensor("a.weight", (8,), kind=200)]),
    "half a block": build(tensors=[tensor("a.weight", (33,), kind=8)]),
    "a tensor twice": build(tensors=[tensor("a.weight", (8,)), tensor("a.weight", (8,))]),
    "a tensor under two names": build(tensors=[tensor("output_norm.weight", (8,)), tensor("model.norm.weight", (8,))]),
    "experts that are no stack": build(tensors=[tensor("blk.0.ffn_up_exps.weight", (8,))]),
    "10^6 experts": build(tensors=[tensor("blk.0.ffn_up_exps.weight", (1, 1, 10**6))], data=bytes(4 * 10**6)),
    "no architecture": build([pair("a", UINT32, uint(1))]),
    "an architecture as a number": build([pair("general.architecture", UINT32, uint(1))]),
    "an architecture as a path": build([pair("general.architecture", STRING, word("../../x"))]),
    "an architecture with an escape": build([pair("general.architecture", STRING, word("\x1b[2J"))]),
    "nothing but an architecture": build(),
    "tokens as a number": build([LLAMA, pair("tokenizer.ggml.tokens", UINT32, uint(3))]),
    "a billion layers": build([LLAMA, pair("llama.block_count", UINT32, uint(10**9))]),
    "heads as text": build([LLAMA, pair("llama.attention.head_count", STRING, word("many"))]),
    "heads by layer": build([LLAMA, pair("llama.attention.head_count", ARRAY, struct.pack("<IQII", UINT32, 2, 4, 4))]),
    "factors of another length": build(tensors=[tensor("rope_freqs.weight", (3,))], data=struct.pack("<3f", 1, 1, 1)),
    "factors of 0": build(tensors=[tensor("rope_freqs.weight", (4,))]),
    "a factor of infinity": build([LLAMA, pair("llama.rope.scaling.factor", FLOAT32, struct.pack("<f", float("inf")))]),
    "a factor that is no number": build(
        [LLAMA, pair("llama.rope.scaling.factor", FLOAT32, struct.pack("<f", float("nan")))]
    ),
}


@pytest.fixture(scope="session")
def gguf_model(tiny: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    import gguf

    folder, reference = tiny(num_hidden_layers=2)
    file = tmp_path_factory.mktemp("gguf") / "small.gguf"
    write_gguf(file, reference, folder, gguf.GGMLQuantizationType.F32)
    return file


@pytest.mark.parametrize("cases", parts(GGUFS), ids=range(4))
def test_broken_gguf_files_are_refused_in_one_line(
    cases: dict[str, Break], gguf_model: Path, tmp_path: Path, capitals: Path
) -> None:
    assert run(cases, gguf_model, tmp_path, capitals) == []


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bytes_of_a_gguf_header(seed: int, gguf_model: Path, tmp_path: Path) -> None:
    chance, content, loaded = random.Random(seed), gguf_model.read_bytes(), 0
    size = content.index(b"blk.1.attn_output.weight") + 64
    file = tmp_path / "flipped.gguf"
    for _ in range(150):
        file.write_bytes(flipped(content, size, chance))
        loaded += works_or_is_refused(file, load_weights)
    assert 0 < loaded < 150


def load_weights(file: Path) -> None:
    """A GGUF file without its tokenizer."""
    checkpoint = loader.Gguf(file)
    loader.check_sizes(checkpoint.config, checkpoint.shapes())
    model = local.models.build(checkpoint.config, layers.LayerContext())
    loader.fill(model, checkpoint, device=torch.device("cpu"), progress=NullProgress(), where=str(file))
