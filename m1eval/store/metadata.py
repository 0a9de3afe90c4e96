"""Content of `run.json`, with its types checked: it may be damaged, or written by other software."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field

from m1eval.errors import UsageError
from m1eval.text import display_path

_BEGIN = b'{\n "m1eval": '
"""First bytes of every run.json of ours."""
_MAPPINGS = ("runner", "summary")
"""Keys that may be null, which is as good as not there."""


class _Summary(Struct):
    figures: dict[str, float | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class _Plan(Struct):
    samples: Annotated[int, Meta(ge=0)] = 0
    in_set: Annotated[int, Meta(ge=0)] = 0
    skipped: Annotated[int, Meta(ge=0)] = 0
    truncated_prompts: Annotated[int, Meta(ge=0)] = 0
    repeats: Annotated[int, Meta(ge=1)] = 1
    answers: Annotated[int, Meta(ge=0)] = 0
    until_se: float | None = None
    wants_more: bool = False
    unlike: list[str] = field(default_factory=list)


class _Described(Struct):
    pinned: dict[str, Any] | None = None


class _Table(Struct):
    hub: str | None = None
    commit: str | None = None
    digest: str | None = None


class _Data(Struct):
    tables: list[_Table] = field(default_factory=list)


class _Config(Struct):
    task: dict[str, Any] = field(default_factory=dict)
    digests: dict[str, Any] = field(default_factory=dict)
    repeats: Annotated[int, Meta(ge=1)] | None = None


class _Grading(Struct):
    number: Annotated[int, Meta(ge=0)]


class _Shape(Struct):
    """The parts that are read again."""

    task: str = ""
    model: str = ""
    config: _Config = field(default_factory=_Config)
    runner: _Described | None = None
    data: _Data = field(default_factory=_Data)
    overlength: dict[str, list[str]] | None = None
    summary: _Summary | None = None
    plan: _Plan = field(default_factory=_Plan)
    changed: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    strangers: list[str] = field(default_factory=list)
    protocol: str = ""
    gradings: list[_Grading] | None = None
    seconds: Annotated[float, Meta(ge=0)] = 0.0


def read(path: Path, remedy: str = "") -> dict[str, Any]:
    """The content of run.json; UsageError with the remedy if it cannot be what a run has written."""
    try:
        data = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        msgspec.convert(data, _Shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UsageError(f"{display_path(path)} cannot be read: {reason}{remedy}") from None
    return {key: value for key, value in data.items() if value is not None or key not in _MAPPINGS}


def damaged(path: Path) -> bool:
    """Whether a run.json that cannot be read was written by a run and then cut off or damaged: it is not JSON."""
    try:
        content = path.read_bytes()
        msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        begin = content[: len(_BEGIN)].rstrip(b"\0")
        return _BEGIN.startswith(begin) or not content.strip(b"\0 \r\n")
    except (RecursionError, OSError):
        return False
    return False
