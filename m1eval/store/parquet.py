"""The records of a run as Parquet next to its journal."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from m1eval.store.record import Record
from m1eval.validation import COUNTS

NESTED = ("metrics", "tool_calls", "transcript", "metadata", "verdicts")
_as_json = json.JSONEncoder(ensure_ascii=False).encode
BATCH = 2**20
"""Bytes of JSON converted at a time."""
_DIGEST = b"m1eval.journal"


def journal_digest(table: Path) -> str:
    """The digest of the journal that a Parquet file was written from; empty if it has none or cannot be read."""
    import pyarrow
    from pyarrow import parquet

    try:
        return ((parquet.read_schema(table).metadata or {}).get(_DIGEST) or b"").decode()
    except (OSError, ValueError, pyarrow.ArrowException):
        return ""


def write_parquet(records: Iterable[Record], table: Path, digest: str = "") -> None:
    """Write records as Parquet, a few megabytes at a time; replaces the file atomically at the end.

    `digest`: that of the journal, by which it is known later whether the file is up to date.
    """
    import pyarrow
    from pyarrow import json as arrow_json
    from pyarrow import parquet

    text, real, integer = pyarrow.string(), pyarrow.float64(), pyarrow.int64()
    types = {"value": real, "time": real, "repeat": integer, "retries": integer, "seed": integer, "cost": real}
    types |= {"graded": integer, "logprobs": pyarrow.list_(real)}
    names = list(flat_record(Record(id="", repeat=0, outcome="errored")))
    for name in names:
        types.setdefault(name, integer if name.endswith("_tokens") else real if name.endswith("_seconds") else text)
    schema = pyarrow.schema([(name, types[name]) for name in names], metadata={_DIGEST: digest})
    parse = arrow_json.ParseOptions(explicit_schema=schema)
    fresh = table.with_suffix(".parquet.new")
    with parquet.ParquetWriter(fresh, schema, compression="zstd") as writer:
        for batch in _batches(records):
            # Through JSON, because arrow's conversion of Python lists imports pandas, which takes longer than writing.
            options = arrow_json.ReadOptions(block_size=len(batch))
            writer.write_table(arrow_json.read_json(pyarrow.BufferReader(batch), options, parse))
    fresh.replace(table)


def flat_record(record: Record) -> dict[str, Any]:
    """A record as flat columns."""
    flat = {
        name: getattr(record, name)
        for name in record.__struct_fields__
        if name not in {"usage", "timing", "judge_replies"}
    }
    if record.verdicts:
        flat["verdicts"] = msgspec.to_builtins(record.verdicts)
    for name in NESTED:
        value = flat[name]
        flat[name] = _as_json(value) if value else "{}" if type(value) is dict else "[]"
    flat |= {f"{name}_tokens": getattr(record.usage, name) for name in COUNTS}
    flat["cost"] = record.usage.cost
    return flat | {f"{name}_seconds": getattr(record.timing, name) for name in record.timing.__struct_fields__}


def _batches(records: Iterable[Record]) -> Iterator[bytes]:
    """Records as lines of flat JSON, about BATCH bytes at a time."""
    batch: list[bytes] = []
    size = 0
    for record in records:
        batch.append(msgspec.json.encode(flat_record(record)) + b"\n")
        size += len(batch[-1])
        if size > BATCH:
            yield b"".join(batch)
            batch, size = [], 0
    if batch:
        yield b"".join(batch)
