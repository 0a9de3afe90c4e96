"""A run's `run.json`: its configuration, what it was made with, and the summary of its results."""

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from m1eval import secrets
from m1eval.errors import UsageError
from m1eval.store.record import encode_json
from m1eval.text import display_path
from m1eval.types import Usage

NAME = "run.json"


def write(path: Path, meta: dict[str, Any]) -> None:
    """Replace a run.json atomically, secrets redacted; UsageError if it cannot be written, and the old file stays."""
    new_path = path.with_name(f"{NAME}.new")
    try:
        # Through JSON, as Python would write numbers that are not finite in a way that cannot be read back.
        redacted = secrets.redact_tree(msgspec.json.decode(encode_json(meta)))
        new_path.unlink(missing_ok=True)
        with new_path.open("x", encoding="utf-8", errors="backslashreplace") as file:
            file.write(json.dumps(redacted, indent=1, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        new_path.replace(path)
    except OSError as error:
        with suppress(OSError):
            new_path.unlink()
        raise UsageError(f"{display_path(new_path)} cannot be written: {error.strerror}") from None


def superseded(meta: dict[str, Any]) -> Usage:
    """Usage of answers that later ones have replaced in the journal."""
    try:
        return msgspec.convert(meta.get("superseded") or {}, Usage)
    except msgspec.ValidationError:
        return Usage()


def timestamp() -> str:
    """The time now, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
