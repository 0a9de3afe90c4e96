"""The rows that a task's generator makes, as samples to be built later."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from m1eval import plugins
from m1eval.plugins import foreign
from m1eval.task.helper import find_helper, parameter_names
from m1eval.task.selection import COLUMNS
from m1eval.types import LazySample
from m1eval.yaml_file import Key, YamlFile


class Generator(NamedTuple):
    """A function that makes rows, with its name in the task file and its options."""

    name: str
    function: Callable[..., Iterable[Any]]
    options: Mapping[str, Any]


def generate(
    file: YamlFile, name: str, task: Path, generator: Generator, arguments: Mapping[str, Any]
) -> list[LazySample]:
    """The rows that a generator makes; UsageError for whatever it raises, and for results of other types.

    `arguments` by name: the generator gets those that it has parameters for.
    """
    key: Key = ("dataset", "generate")
    function, options = generator.function, generator.options
    plugins.check_options(function, options, generator.name, lambda option: file.where(("options", option)))
    names = parameter_names(function)
    place = file.where(("options",) if options else key)
    code = find_helper(file, task, key, generator.name)
    with foreign.errors_reported(code, generator.name, place):
        rows = function(**{k: v for k, v in arguments.items() if k in names}, **options)
        if not isinstance(rows, Iterable) or isinstance(rows, str | bytes | Mapping):
            if inspect.iscoroutine(rows):
                rows.close()
            raise file.error(
                key, f"{generator.name} returns {_kind(rows)}; it must return or yield mappings or LazySamples"
            )
        items = list(rows)
    width = len(str(len(items)))
    return list(_lazy_samples(file, name, generator.name, items, width))


def _lazy_samples(file: YamlFile, name: str, generator: str, items: list[Any], width: int) -> Iterator[LazySample]:
    for number, item in enumerate(items, 1):
        if isinstance(item, LazySample):
            problem = _sample_problem(item)
        elif not isinstance(item, Mapping):
            problem = f"is {_kind(item)}, not a mapping of columns or a LazySample"
        else:
            column = next((key for key in item if not isinstance(key, str)), None)
            problem = "" if column is None else f"has the column {column!r}, whose name is not text"
        if problem:
            raise file.error(("dataset", "generate"), f"{generator}: row {number} {problem}")
        if isinstance(item, LazySample):
            yield item
        else:
            columns = {column: item[column] for column in COLUMNS if column in item}
            yield LazySample(id=f"{name}-{number:0{width}}", build=partial(dict, item), columns=columns)


def _sample_problem(sample: LazySample) -> str:
    if not isinstance(sample.id, str) or not sample.id:
        return f"has the id {sample.id!r}, which is not text"
    for name in ("prefix_key", "cluster"):
        if not isinstance(value := getattr(sample, name), str):
            return f"({sample.id}) has the {name} {value!r}, which is not text"
    if not isinstance(sample.columns, Mapping):
        return f"({sample.id}) has the columns {sample.columns!r}, which are not a mapping"
    if not callable(sample.build_repeat or sample.build):
        return f"({sample.id}) has a build that is not a function"
    return ""


def _kind(value: Any) -> str:
    """The type of a value, and a short one itself, for messages."""
    kinds = {str: "text", type(None): "nothing (None)", dict: "a mapping", list: "a list", tuple: "a tuple"}
    text = repr(value)
    brief = f", {text[:40]}{'…' if len(text) > 40 else ''}" if isinstance(value, str | int | float | list) else ""
    return f"{kinds.get(type(value), f'a {type(value).__name__}')}{brief}"
