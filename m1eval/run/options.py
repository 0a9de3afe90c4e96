"""The options of a run, by the names that the command line has them: `--max-tokens 32k` is `max_tokens="32k"`."""

import math
import operator
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from m1eval.errors import UsageError
from m1eval.run.ranges import RANGES, Range
from m1eval.text import parse_tokens, unknown_name
from m1eval.validation import as_number
from m1eval.yaml_file import expand_user

COMMAND_ONLY = ("dry_run", "json", "fail_under")
"""Options of `m1eval run` that Python code does not have."""
MAX_PART = 255
"""Bytes of a file name."""


class RunOptions(Struct, kw_only=True):
    """Options of a command or of `m1eval.evaluate` besides tasks and model; None leaves a setting to the task."""

    profile: str | None = None
    protocol: str | None = None
    data_dir: Path | None = None
    ids: tuple[str, ...] = ()
    tokenizer: str | None = None
    base_url: str | None = None
    option: dict[str, Any] = {}
    """Options of the runner."""
    max_tokens_total: int | None = None
    max_cost: float | None = None
    prices: Path | None = None
    until_se: float | None = None
    think: int | None = None
    max_tokens: int | None = None
    lengths: tuple[str, ...] = ()
    limit: int | None = None
    repeats: int | None = None
    judge: tuple[str, ...] = ()
    concurrency: int | None = None
    seed: int = 0
    set: tuple[str, ...] = ()
    """`key=value` overrides of the tasks; they have the last word."""
    system: str | None = None
    temperature: float | None = None
    redo: bool = False
    out: Path | None = None

    @classmethod
    def of(cls, keywords: Mapping[str, Any]) -> "RunOptions":
        """The options that Python code gives by keyword; UsageError that names one that is unknown or unsound.

        Token counts may be text such as "32k", names a list or text with commas, `set` and `option` mappings.
        """
        options = cls()
        for name, value in keywords.items():
            if name in COMMAND_ONLY:
                raise UsageError(f"{name} is an option of the command line only")
            if name not in _CONVERTERS:
                raise UsageError(unknown_name("option", name, [*_CONVERTERS, "display"]))
            if value is None:
                continue
            try:
                setattr(options, name, _CONVERTERS[name](value))
            except (TypeError, ValueError) as error:
                colon = "" if str(error).startswith("must be ") else ":"
                raise UsageError(f"{name}{colon} {error}") from None
        return options


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.80} is not text")
    if not value.strip() or "\0" in value:
        raise ValueError("the text is empty or holds a NUL character")
    return value


def _tokens(bounds: Range) -> Callable[[Any], int]:
    return lambda value: parse_tokens(value, minimum=bounds.minimum)


def _integer(bounds: Range) -> Callable[[Any], int]:
    minimum, maximum, _ = bounds

    def convert(value: Any) -> int:
        number = None if isinstance(value, bool) or not hasattr(value, "__index__") else operator.index(value)
        if number is None or number < minimum or (maximum is not None and number > maximum):
            raise ValueError(f"must be {bounds.describe('a whole number')}, not {value!r:.80}")
        return number

    return convert


def _number(bounds: Range) -> Callable[[Any], float]:
    minimum, is_open = bounds.minimum, bounds.is_open
    maximum = math.inf if bounds.maximum is None else bounds.maximum

    def convert(value: Any) -> float:
        try:
            number = math.nan if isinstance(value, bool) else as_number(value)
        except (TypeError, ValueError):
            number = math.nan
        if not minimum <= number <= maximum or number == math.inf or (is_open and number == minimum):
            raise ValueError(f"must be {bounds.describe('a number')}, not {value!r:.80}")
        return number

    return convert


def _path(value: Any) -> Path:
    if not isinstance(value, str | Path) or "\0" in str(value) or not str(value):
        raise TypeError(f"{value!r:.80} is not a path")
    if any(len(os.fsencode(part)) > MAX_PART for part in Path(value).parts):
        raise ValueError(f"{str(value)!r:.80} is too long for a path")
    return expand_user(value)


def _file(value: Any) -> Path:
    path = _path(value)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    return path


def _names(value: Any) -> tuple[str, ...]:
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, Iterable) or isinstance(names, Mapping | bytes):
        raise TypeError(f"{value!r:.80} is not a name or a list of names")
    return tuple(dict.fromkeys(_text(name if isinstance(name, str) else str(name)).strip() for name in names))


def _some_names(value: Any) -> tuple[str, ...]:
    if not (names := _names(value)):
        raise ValueError("no name given; leave the option out for all")  # a list whose filter let nothing pass
    return names


def _judges(value: Any) -> tuple[str, ...]:
    return _names([value] if isinstance(value, str) else value)  # a judge's options have commas of their own


def _overrides(value: Any) -> tuple[str, ...]:
    """`{"generation.top_p": 0.9}`, or texts `generation.top_p=0.9`."""
    if isinstance(value, Mapping):
        import json

        return tuple(f"{_text(key)}={json.dumps(each)}" for key, each in value.items())
    return (_text(value),) if isinstance(value, str) else tuple(map(_text, value))


def _options(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{value!r:.80} is not a mapping of the runner's options")
    return {_text(key): each for key, each in value.items()}


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r:.80} is not True or False")
    return value


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("profile", "protocol", "tokenizer", "base_url", "system"), _text),
    **dict.fromkeys(("data_dir", "out"), _path),
    **dict.fromkeys(("ids", "lengths"), _some_names),
    **{name: _tokens(RANGES[name]) for name in ("max_tokens_total", "think", "max_tokens")},
    **{name: _number(RANGES[name]) for name in ("max_cost", "temperature", "until_se")},
    **{name: _integer(RANGES[name]) for name in ("limit", "repeats", "concurrency", "seed")},
    "prices": _file,
    "judge": _judges,
    "set": _overrides,
    "option": _options,
    "redo": _flag,
}
