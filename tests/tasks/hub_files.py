"""Files of datasets as the hub has them: Parquet, JSON lines, CSV and the card (README.md)."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from pyarrow import parquet

Rows = Sequence[Mapping[str, Any]]
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
PNG = {"bytes": b"\x89PNG\r\n\x1a\nno picture", "path": "a.png"}


def columns(**types: pa.DataType) -> pa.Schema:
    """A schema, in which an image is marked as `datasets` marks it."""
    features = {name: {"_type": "Image"} for name, type_ in types.items() if type_ is IMAGE}
    schema = pa.schema(list(types.items()))
    if not features:
        return schema
    features = {name: features.get(name, {"dtype": "string", "_type": "Value"}) for name in types}
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def table(rows: Rows, schema: pa.Schema) -> bytes:
    out = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema=schema), out, row_group_size=3)
    return out.getvalue()


def jsonl(rows: Rows) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def comma(rows: Rows) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def card(**configs: Mapping[str, str]) -> bytes:
    """A card that names the files of each configuration's splits."""
    text = "---\nlicense: mit\nconfigs:\n"
    for name, splits in configs.items():
        text += f"- config_name: {name.strip('_')}\n  data_files:\n"
        text += "".join(f"  - split: {split}\n    path: {path}\n" for split, path in splits.items())
    return f"{text}---\n# About\n".encode()
