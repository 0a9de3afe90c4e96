"""Results as tables: Parquet beside each journal, and one DataFrame over many runs."""

import glob
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m1eval.errors import UsageError
from m1eval.journal import Record, records

if TYPE_CHECKING:
    import pandas

NESTED = ("metrics", "tool_calls", "metadata")
BATCH = 64 * 2**20
"""Characters of text that are held at once while Parquet is written."""


def write_parquet(journal: Path, table: Path) -> None:
    """Write a journal as Parquet, a few megabytes at a time; replaces the file at once, at the end."""
    import pyarrow
    from pyarrow import parquet

    text, number, whole = pyarrow.string(), pyarrow.float64(), pyarrow.int64()
    types = {"value": number, "repeat": whole, "retries": whole, "seed": whole, "time": number}
    empty = row(Record(id="", repeat=0, outcome="errored"))
    kinds = {
        name: types.get(name, whole if "tokens" in name else number if "seconds" in name else text) for name in empty
    }
    schema = pyarrow.schema(list(kinds.items()))
    fresh = table.with_suffix(".parquet.new")
    with parquet.ParquetWriter(fresh, schema, compression="zstd") as writer:
        for batch in _batches(journal):
            writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
    fresh.replace(table)


def row(record: Record) -> dict[str, Any]:
    """A record as flat columns."""
    flat = {name: getattr(record, name) for name in record.__struct_fields__ if name not in {"usage", "timing"}}
    for name in NESTED:
        flat[name] = json.dumps(flat[name], ensure_ascii=False)
    flat |= {f"{name}_tokens": getattr(record.usage, name) for name in ("prompt", "cached", "reasoning", "answer")}
    return flat | {f"{name}_seconds": getattr(record.timing, name) for name in ("queue", "first_token", "total")}


def read(pattern: str | Path = "results/**") -> "pandas.DataFrame":
    """All samples of the runs in folders that match, one row a (sample, repeat), as a pandas DataFrame.

    Columns: `task`, `model`, `path`, then those of a record; `metrics`, `metadata` and `tool_calls` stay objects.
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
    meta = json.loads((folder / "run.json").read_text())
    return {"task": meta["task"], "model": meta["model"], "path": str(folder)}


def _batches(journal: Path) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    size = 0
    for record in records(journal):
        batch.append(row(record))
        size += len(record.text) + len(record.reasoning) + 1024
        if size > BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
