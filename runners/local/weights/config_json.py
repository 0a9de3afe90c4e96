"""JSON files of a checkpoint, read within limits."""

import json
import math
from pathlib import Path
from typing import Any, NoReturn

from m1eval import RunnerError

MAX_BYTES = 64 << 20
"""The index of a published model takes up to 10 MB, its config a few KB."""


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file; RunnerError if it is not a plain file of JSON with finite numbers.

    A duplicate key with different values is an error as well: parsers differ in which one they take.
    """
    try:
        if not file.is_file():
            raise RunnerError(f"{file} is not a file: download it again")
        if (size := file.stat().st_size) > MAX_BYTES:
            raise RunnerError(f"{file} has {size:,} bytes, more than any config: download it again")
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise RunnerError(f"{file} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise RunnerError(f"{file} is not JSON (invalid UTF-8 at byte {error.start}): download it again") from error
    try:
        tree = json.loads(
            text, parse_constant=_reject_constant, parse_float=_parse_finite, object_pairs_hook=_reject_duplicates
        )
    except ValueError as error:
        raise RunnerError(f"{file} is not JSON ({error}): download it again") from error
    except RecursionError as error:
        raise RunnerError(f"{file} is not the JSON of a model (nested too deeply): download it again") from error
    if not isinstance(tree, dict):
        raise RunnerError(f"{file} does not hold a JSON object: download it again")
    return tree


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _parse_finite(text: str) -> float:
    if math.isfinite(number := float(text)):
        return number
    raise ValueError(f"{text[:40]} is too large for a number")


def _reject_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values and values[key] != value:
            raise ValueError(f"duplicate key {key[:80]!r} with different values")
        values[key] = value
    return values
