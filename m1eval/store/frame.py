"""Results as tables: Parquet beside each journal, and one DataFrame over many runs."""

import glob
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from m1eval.errors import UsageError
from m1eval.store import metadata
from m1eval.store.folders import find_runs
from m1eval.store.journal_state import deduplicated
from m1eval.store.record import Record
from m1eval.validation import COUNTS

if TYPE_CHECKING:
    import pandas

NESTED = ("metrics", "tool_calls", "transcript", "metadata", "verdicts")
_as_json = json.JSONEncoder(ensure_ascii=False).encode
BATCH = 2**20
"""Bytes that are held at once while Parquet is written."""


_MADE_OF = b"m1eval.journal"


def made_of(table: Path) -> str:
    """The digest of the journal that a Parquet file was made of; empty if it does not say or cannot be read."""
    import pyarrow
    from pyarrow import parquet

    try:
        return ((parquet.read_schema(table).metadata or {}).get(_MADE_OF) or b"").decode()
    except (OSError, ValueError, pyarrow.ArrowException):
        return ""


def write_parquet(found: Iterable[Record], table: Path, digest: str = "") -> None:
    """Write records as Parquet, a few megabytes at a time; replaces the file at once, at the end.

    `digest`: that of the journal, by which the file tells later whether it is up to date.
    """
    import pyarrow
    from pyarrow import json as arrow_json
    from pyarrow import parquet

    text, number, whole = pyarrow.string(), pyarrow.float64(), pyarrow.int64()
    kinds = {"value": number, "time": number, "repeat": whole, "retries": whole, "seed": whole, "cost": number}
    kinds["logprobs"] = pyarrow.list_(number)
    names = list(row(Record(id="", repeat=0, outcome="errored")))
    for name in names:
        kinds.setdefault(name, whole if name.endswith("_tokens") else number if name.endswith("_seconds") else text)
    schema = pyarrow.schema([(name, kinds[name]) for name in names], metadata={_MADE_OF: digest})
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


def read(pattern: str | Path = "results/**") -> "pandas.DataFrame":
    """All answers of the runs in folders that match, one row a (sample, repeat), as a pandas DataFrame.

    Columns: `task`, `model`, `path`, then those of a record; `metrics`, `metadata`, `verdicts` and `tool_calls` stay
    objects. `value` is null where an answer errored, which is neither right nor wrong.
    UsageError if no run is there.
    """
    import pandas

    rows = [
        {
            **about,
            **row(record),
            "metrics": record.metrics,
            "metadata": record.metadata,
            "tool_calls": record.tool_calls,
            "transcript": record.transcript,
            "verdicts": record.verdicts,
        }
        for about, _, found in _runs(pattern)
        for record in found
    ]
    if not rows:
        raise UsageError(f"no finished samples of a run in {pattern}")
    frame = pandas.DataFrame(rows)
    frame["value"] = frame["value"].astype(float)  # a column of nulls alone would hold objects
    return frame


def read_results(pattern: str | Path = "results/**") -> "pandas.DataFrame":
    """All samples of the runs in folders that match, one row a sample, as a pandas DataFrame.

    Columns: `task`, `model`, `path`, `id`, `group` (the value of the column that the task averages over, else empty),
    `score` (the mean of the sample's scored answers; null if there is none), `answers` (their number), `errored` (how
    many errored besides) and `tokens` (the mean of new tokens of its scored answers). The mean of `score` within each
    group, and of these means, is the score of the run, whatever the numbers of answers. UsageError if no run is there.
    """
    import pandas

    rows = [{**about, **sample} for about, average, found in _runs(pattern) for sample in _samples(found, average)]
    if not rows:
        raise UsageError(f"no finished samples of a run in {pattern}")
    frame = pandas.DataFrame(rows)
    for name in ("score", "tokens"):
        frame[name] = frame[name].astype(float)
    return frame


def _samples(records: Iterable[Record], average: str) -> Iterator[dict[str, Any]]:
    """One row a sample, in the order of their first answers."""
    sums: dict[str, dict[str, Any]] = {}
    for record in records:
        known = sums.setdefault(
            record.id, {"id": record.id, "group": "", "score": 0.0, "answers": 0, "errored": 0, "tokens": 0}
        )
        known["group"] = record.group or str(record.metadata.get(average, ""))
        if record.value is None:
            known["errored"] += 1
            continue
        known["answers"] += 1
        known["score"] += record.value
        known["tokens"] += record.usage.output
    for known in sums.values():
        for name in ("score", "tokens"):
            known[name] = known[name] / known["answers"] if known["answers"] else None
        yield known


def _runs(pattern: str | Path) -> Iterator[tuple[dict[str, str], str, Iterator[Record]]]:
    """Task, model and path of each run that matches, the column that it averages over, and its records."""
    for folder in _folders(str(pattern)):
        meta = metadata.read(folder / "run.json")
        average = str(meta.get("config", {}).get("task", {}).get("average") or "")
        about = {"task": meta.get("task", ""), "model": meta.get("model", ""), "path": str(folder)}
        yield about, average, deduplicated(folder / "samples.jsonl", set(meta.get("strangers", ())))


def _folders(pattern: str) -> list[Path]:
    """The folders of runs that match, and those below a folder that matches and is none itself."""
    found = [Path(pattern)] if Path(pattern).is_dir() else map(Path, glob.glob(pattern, recursive=True))  # noqa: PTH207 - absolute patterns too
    return sorted({run for folder in found for run in find_runs(folder)})


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
