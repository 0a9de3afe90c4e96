"""Results as tables: Parquet beside each journal, and one DataFrame over many runs."""

import glob
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from m1eval import metadata
from m1eval.errors import UsageError
from m1eval.journal import Record, records

if TYPE_CHECKING:
    import pandas

NESTED = ("metrics", "tool_calls", "metadata", "verdicts")
_as_json = json.JSONEncoder(ensure_ascii=False).encode
BATCH = 2**20
"""Bytes that are held at once while Parquet is written."""


def write_parquet(found: Iterable[Record], table: Path) -> None:
    """Write records as Parquet, a few megabytes at a time; replaces the file at once, at the end."""
    import pyarrow
    from pyarrow import json as arrow_json
    from pyarrow import parquet

    text, number, whole = pyarrow.string(), pyarrow.float64(), pyarrow.int64()
    kinds = {"value": number, "time": number, "repeat": whole, "retries": whole, "seed": whole, "cost": number}
    names = list(row(Record(id="", repeat=0, outcome="errored")))
    for name in names:
        kinds.setdefault(name, whole if name.endswith("_tokens") else number if name.endswith("_seconds") else text)
    schema = pyarrow.schema([(name, kinds[name]) for name in names])
    parse = arrow_json.ParseOptions(explicit_schema=schema)
    fresh = table.with_suffix(".parquet.new")
    with parquet.ParquetWriter(fresh, schema, compression="zstd") as writer:
        for batch in _batches(found):
            # Through JSON, because arrow's way from Python lists imports pandas, which takes longer than the writing.
            read = arrow_json.ReadOptions(block_size=len(batch))
            writer.write_table(arrow_json.read_json(pyarrow.BufferReader(batch), read, parse))
    fresh.replace(table)


def row(record: Record) -> dict[str, Any]:
    """A record as flat columns."""
    flat = {name: getattr(record, name) for name in record.__struct_fields__ if name not in {"usage", "timing"}}
    if record.verdicts:
        flat["verdicts"] = msgspec.to_builtins(record.verdicts)
    for name in NESTED:
        value = flat[name]
        flat[name] = _as_json(value) if value else "{}" if type(value) is dict else "[]"
    flat |= {f"{name}_tokens": getattr(record.usage, name) for name in ("prompt", "cached", "reasoning", "answer")}
    flat["cost"] = record.usage.cost
    return flat | {f"{name}_seconds": getattr(record.timing, name) for name in record.timing.__struct_fields__}


def read(pattern: str | Path = "results/**") -> "pandas.DataFrame":
    """All samples of the runs in folders that match, one row a (sample, repeat), as a pandas DataFrame.

    Columns: `task`, `model`, `path`, then those of a record; `metrics`, `metadata`, `verdicts` and `tool_calls` stay
    objects.
    UsageError if no run is there.
    """
    import pandas

    folders = sorted(map(Path, glob.glob(str(pattern), recursive=True)))  # noqa: PTH207 - absolute patterns too
    rows = [
        {
            **about,
            **row(record),
            "metrics": record.metrics,
            "metadata": record.metadata,
            "tool_calls": record.tool_calls,
            "verdicts": record.verdicts,
        }
        for folder in folders
        if (folder / "run.json").is_file() and (folder / "samples.jsonl").is_file()
        for about in [_about(folder)]
        for record in records(folder / "samples.jsonl")
    ]
    if not rows:
        raise UsageError(f"no finished samples of a run in {pattern}")
    return pandas.DataFrame(rows)


def _about(folder: Path) -> dict[str, str]:
    meta = metadata.read(folder / "run.json")
    return {"task": meta.get("task", ""), "model": meta.get("model", ""), "path": str(folder)}


def _batches(found: Iterable[Record]) -> Iterator[bytes]:
    """Records as lines of flat JSON, about BATCH bytes at a time."""
    batch: list[bytes] = []
    size = 0
    for record in found:
        batch.append(msgspec.json.encode(row(record)) + b"\n")
        size += len(batch[-1])
        if size > BATCH:
            yield b"".join(batch)
            batch, size = [], 0
    if batch:
        yield b"".join(batch)
