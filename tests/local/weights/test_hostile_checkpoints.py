"""Checkpoints that are broken, or made to do harm: one line each, before anything is allocated; never a hang."""

import json
import os
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from m1eval import NullProgress, RunnerError, load

local = load("runners", "local")
loader = local.weights.loader
layers = import_module(f"{local.__name__}.layers.layers")

ROOT = Path(__file__).resolve().parents[3]
HOSTILE = Path(__file__).with_name("load_hostile.py")
MOST_MB = 400
"""By which a refusal may let memory grow."""

Break = Callable[[Path], object]


def run(cases: Mapping[str, Break], good: Path, tmp_path: Path, capitals: Path) -> list[str]:
    """Break copies of a folder or file, load all in a process of its own; what is wrong with the answers."""
    models: dict[str, list[str]] = {}
    for i, (name, change) in enumerate(cases.items()):
        place = tmp_path / f"case-{i}"
        if good.is_dir():
            shutil.copytree(good, place, symlinks=True)
        else:
            place = place.with_suffix(good.suffix)
            shutil.copy(good, place)
        changed = change(place)
        models[name] = ["--model", f"local:{changed if isinstance(changed, Path) else place}", "-o", "device=cpu"]
    done = subprocess.run(
        [sys.executable, str(HOSTILE), str(capitals), str(tmp_path / "out")],
        input=json.dumps(models),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    results = {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}
    wrong = [
        f"{name}: the process ended ({done.returncode}, {done.stderr[-300:]})" for name in cases if name not in results
    ]
    for name, result in results.items():
        lines = result["said"].strip().splitlines()
        fine = (
            result["code"] in (2, 4)
            and len(lines) == 1
            and result["said"].isascii() | result["said"].strip().isprintable()
        )
        if not fine or result["grown"] > MOST_MB or "Traceback" in result["said"]:
            wrong.append(f"{name}: {result}")
        elif len(lines[0]) > 700:
            wrong.append(f"{name}: {len(lines[0])} characters")
    return wrong


def config(**change: Any) -> Break:
    def edit(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | change))

    return edit


def text(content: str | bytes, name: str = "config.json") -> Break:
    def edit(folder: Path) -> None:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return edit


def number(key: str, literal: str) -> Break:
    def edit(folder: Path) -> None:
        file = folder / "config.json"
        content = {name: value for name, value in json.loads(file.read_text()).items() if name != key}
        file.write_text(json.dumps(content)[:-1] + f', "{key}": {literal}}}')

    return edit


def replaced(name: str, make: Callable[[Path], object]) -> Break:
    def edit(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return edit


SIZES = [
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
    "head_dim",
    "max_position_embeddings",
]
CONFIGS: dict[str, Break] = {
    **{f"{key} {value}": number(key, value) for key in SIZES for value in ("-1", "4611686018427387904", "1e400")},
    **{f"{key} 0": config(**{key: 0}) for key in SIZES if key not in ("num_key_value_heads", "head_dim")},
    **{
        f"{key} as {value!r}": config(**{key: value})
        for key in SIZES[:4]
        for value in ("48", True, [48], 48.5, {"a": 1})
    },
    "a billion layers": config(num_hidden_layers=10**9),
    "ten thousand layers": config(num_hidden_layers=10_000),
    "a number of 5000 digits": number("num_hidden_layers", "9" * 5000),
    "NaN": number("rms_norm_eps", "NaN"),
    "Infinity": number("rms_norm_eps", "Infinity"),
    "NaN where it does not matter": number("initializer_range", "NaN"),
    "eps as text": config(rms_norm_eps="small"),
    "theta 0": config(rope_parameters=None, rope_theta=0),
    "theta 1e400": number("rope_theta", "1e400"),
    "scaling by 1e300": config(rope_scaling={"type": "yarn", "factor": 1e300, "original_max_position_embeddings": 64}),
    "scaling a list": config(rope_scaling=[4]),
    "scaling of a nested type": config(rope_scaling={"type": {"type": 3}, "factor": 2}),
    "heads that do not divide": config(num_attention_heads=7, head_dim=None),
    "another vocabulary": config(vocab_size=300),
    "a vocabulary of 2^24": config(vocab_size=1 << 24),
    "another width": config(hidden_size=96),
    "tied to text": config(tie_word_embeddings="yes"),
    "layer types of 10^6": config(layer_types=["full_attention"] * 10**6),
    "a list": text("[]"),
    "a string": text('"llama"'),
    "null": text("null"),
    "empty": text(""),
    "cut": text('{"model_type": "llama"'),
    "a key twice": text('{"model_type": "llama", "model_type": "qwen2"}'),
    "invalid UTF-8": text(b'{"model_type": "\xff\xfe"}'),
    "UTF-16": text('{"model_type": "llama"}'.encode("utf-16")),
    "nested 10^5 deep": text('{"a": ' + "[" * 10**5 + "]" * 10**5 + "}"),
    "huge": lambda folder: os.truncate(folder / "config.json", 1 << 40),
    "a directory": replaced("config.json", Path.mkdir),
    "a pipe": replaced("config.json", os.mkfifo),
    "a link to itself": replaced("config.json", lambda file: file.symlink_to(file)),
    "a link to nothing": replaced("config.json", lambda file: file.symlink_to("/nowhere")),
    "a link to a device": replaced("config.json", lambda file: file.symlink_to("/dev/zero")),
    **{
        f"architecture {kind!r}": config(model_type=kind)
        for kind in (
            "../../x",
            "__init__",
            "__main__",
            "llama.x",
            "",
            None,
            3,
            ["llama"],
            {"a": 1},
            "a" * 10**5,
            "\x1b[2J",
        )
    },
}


@pytest.fixture(scope="session")
def small(tiny: Callable[..., Any]) -> Path:
    folder: Path = tiny(num_hidden_layers=2).folder
    return folder


def parts(items: Mapping[str, Break]) -> list[dict[str, Break]]:
    """Four parts, each for a process of its own."""
    names = list(items)
    return [{name: items[name] for name in names[i::4]} for i in range(4)]


@pytest.mark.parametrize("cases", parts(CONFIGS), ids=range(4))
def test_broken_configs_are_refused_in_one_line(
    cases: dict[str, Break], small: Path, tmp_path: Path, capitals: Path
) -> None:
    assert run(cases, small, tmp_path, capitals) == []


def header(edit: Callable[[dict[str, Any]], object]) -> Break:
    """Change the header of model.safetensors."""

    def change(folder: Path) -> None:
        content = (folder / "model.safetensors").read_bytes()
        size = struct.unpack("<Q", content[:8])[0]
        entries = json.loads(content[8 : 8 + size])
        edited = edit(entries)
        raw = (edited if isinstance(edited, str) else json.dumps(entries)).encode()
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw + content[8 + size :])

    return change


def length(size: int) -> Break:
    def change(folder: Path) -> None:
        content = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", size) + content[8:])

    return change


def cut(kept: int) -> Break:
    return lambda folder: os.truncate(folder / "model.safetensors", kept)


def index(weight_map: Any, **more: Any) -> Break:
    """Shards by an index in place of one file."""

    def change(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "a.safetensors")
        content = {"weight_map": weight_map(folder) if callable(weight_map) else weight_map, **more}
        (folder / "model.safetensors.index.json").write_text(json.dumps(content))

    return change


def linked(target: str) -> Break:
    def change(folder: Path) -> None:
        index({"model.norm.weight": "b.safetensors"})(folder)
        (folder / "b.safetensors").symlink_to(target)

    return change


def outside(folder: Path) -> dict[str, str]:
    shutil.copy(folder / "a.safetensors", folder.parent / "outside.safetensors")
    return {"model.norm.weight": "../outside.safetensors"}


def twice(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({"model.norm.weight": weights["model.norm.weight"] + 1}, folder / "model-00002-of-00002.safetensors")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")


def dtype(kind: torch.dtype) -> Break:
    def change(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        weights["model.norm.weight"] = weights["model.norm.weight"].to(kind)
        save_file(weights, folder / "model.safetensors")

    return change


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.gguf")
    return folder / "pipe.gguf"


NORM, OTHER = "model.norm.weight", "model.layers.0.input_layernorm.weight"
WEIGHTS: dict[str, Break] = {
    **{f"a header of {size}": length(size) for size in (0, 1, 2**31, 2**63, 2**64 - 1)},
    "longer than memory": cut(200 << 30),
    **{f"cut to {kept}": cut(kept) for kept in (0, 4, 8, 100, 3000)},
    "header no JSON": header(lambda entries: "{]"),
    "header a list": header(lambda entries: "[]"),
    "header nested": header(lambda entries: '{"a":' * 10_000 + "1" + "}" * 10_000),
    "a name twice": header(lambda entries: json.dumps(entries)[:-1] + f', "{NORM}": {json.dumps(entries[OTHER])}}}'),
    "offsets beyond the file": header(lambda entries: entries[NORM].update(data_offsets=[0, 10**12])),
    "offsets backwards": header(lambda entries: entries[NORM].update(data_offsets=[192, 0])),
    "offsets negative": header(lambda entries: entries[NORM].update(data_offsets=[-192, 0])),
    "offsets that overlap": header(lambda entries: entries[NORM].update(data_offsets=[0, 192])),
    "a negative shape": header(lambda entries: entries[NORM].update(shape=[-48])),
    "a shape that overflows": header(lambda entries: entries[NORM].update(shape=[2**62, 2**62])),
    "an empty shape": header(lambda entries: entries[NORM].update(shape=[])),
    "a size of zero": header(lambda entries: entries[NORM].update(shape=[0])),
    "another dtype": header(lambda entries: entries[NORM].update(dtype="F16")),
    "an unknown dtype": header(lambda entries: entries[NORM].update(dtype="F128")),
    "whole numbers": dtype(torch.int32),
    "bytes": dtype(torch.uint8),
    "booleans": dtype(torch.bool),
    "fp8 without scales": dtype(torch.float8_e4m3fn),
    "another fp8": dtype(torch.float8_e5m2),
    "a folder": replaced("model.safetensors", Path.mkdir),
    "a pipe": replaced("model.safetensors", os.mkfifo),
    "a pipe of another name": replaced("model.safetensors", lambda file: os.mkfifo(file.with_name("x.safetensors"))),
    "a model that is a pipe": pipe,
    "index above the folder": index({NORM: "../../etc/passwd"}),
    "index to a sibling": index(outside),
    "index absolute": index({NORM: "/etc/passwd"}),
    "index absolute, of weights": index(lambda folder: {NORM: str(folder / "a.safetensors")}),
    "index with a line break": index({NORM: "a\n.safetensors"}),
    "index with a zero byte": index({NORM: "a\0.safetensors"}),
    "index to a folder": index({NORM: "."}),
    "index to nothing": index({NORM: ""}),
    "index of numbers": index({NORM: 3}),
    "index of lists": index({NORM: ["a.safetensors"]}),
    "index a list": index([NORM]),
    "index empty": index({}),
    "index to a missing shard": index({NORM: "b.safetensors"}),
    "index of a long name": index({NORM: "a" * 5000 + ".safetensors"}),
    "index that is no JSON": lambda folder: (index({})(folder), text("{", "model.safetensors.index.json")(folder)),
    "index to a link outside": linked("/etc/passwd"),
    "index to a link to itself": linked("b.safetensors"),
    "a tensor in two shards": twice,
    "a shard of two missing": lambda folder: str(
        (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    ),
}


@pytest.mark.parametrize("cases", parts(WEIGHTS), ids=range(4))
def test_broken_weights_are_refused_in_one_line(
    cases: dict[str, Break], small: Path, tmp_path: Path, capitals: Path
) -> None:
    assert run(cases, small, tmp_path, capitals) == []


def flipped(content: bytes, within: int, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 5))):
        at = chance.randrange(within)
        changed[at] = chance.choice((changed[at] ^ 1 << chance.randrange(8), 0, 255, chance.randrange(256)))
    return bytes(changed)


def load_model(source: Path) -> None:
    loader.load(source, dtype=torch.float32, device=torch.device("cpu"), progress=NullProgress())


def works_or_is_refused(source: Path, read: Callable[[Path], None] = load_model) -> bool:
    """Whether a checkpoint loads; any exception but RunnerError, or more than one line, is a failure."""
    message = None
    try:
        read(source)
    except RunnerError as error:
        message = str(error)
    assert message is None or "\n" not in message
    return message is None


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_flipped_bytes_of_a_folder(name: str, small: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "model"))
    chance, content, loaded = random.Random(1), (folder / name).read_bytes(), 0
    size = len(content) if name == "config.json" else 8 + struct.unpack("<Q", content[:8])[0]
    for _ in range(150):
        (folder / name).write_bytes(flipped(content, size, chance))
        loaded += works_or_is_refused(folder)
    assert loaded < 150


def test_a_snapshot_of_the_hub_is_links_into_its_blobs(tiny: Callable[..., Any], tmp_path: Path) -> None:
    folder = tiny(shard="60KB").folder
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "0123", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for i, file in enumerate(folder.iterdir()):
        shutil.copy(file, blobs / str(i))
        (snapshot / file.name).symlink_to(f"../../blobs/{i}")
    assert works_or_is_refused(snapshot)
    moved = tmp_path / "linked"
    moved.symlink_to(snapshot)
    assert works_or_is_refused(moved)
    farm = tmp_path / "farm"
    farm.mkdir()
    for file in folder.iterdir():
        (farm / file.name).symlink_to(file)
    assert works_or_is_refused(farm)


def test_unrelated_files_are_ignored(small: Path, tiny: Callable[..., Any], tmp_path: Path) -> None:
    """A wrong total_size, old weights of other kinds, and an index of a time when there were shards."""
    folder = Path(shutil.copytree(tiny(shard="60KB").folder, tmp_path / "shards"))
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    (folder / "consolidated.safetensors").write_bytes(b"stale")
    file = folder / "model.safetensors.index.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "metadata": {"total_size": 3}}))
    assert works_or_is_refused(folder)
    file.unlink()
    assert works_or_is_refused(folder), "shards by their names"
    whole = Path(shutil.copytree(small, tmp_path / "whole"))
    file = whole / "model.safetensors.index.json"
    file.write_text(json.dumps({"weight_map": {NORM: "model-00001-of-00002.safetensors"}}))
    assert works_or_is_refused(whole)
