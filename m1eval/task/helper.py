"""Functions of Python files next to a task: its generator and its episode."""

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from m1eval import plugins
from m1eval.errors import UsageError
from m1eval.plugins import foreign
from m1eval.protocols import Episode
from m1eval.text import display_path
from m1eval.yaml_file import Key, YamlFile

SIGNATURE = "async def {name}(sample, runner, context) -> Output"


def find_helper(file: YamlFile, task: Path, key: Key, name: str) -> Path:
    """The Python file of `_file.function` next to a task."""
    module, dot, function = name.partition(".")
    if not dot or not function.isidentifier() or not module or "/" in module:
        raise file.error(key, f"'{name}' is not a function; write _file.function, of a Python file next to the task")
    path = task.parent / f"{module}.py"
    if not path.is_file():
        raise file.error(key, f"no file {path.name} next to {task.name}")
    return path


def load_function(file: YamlFile, task: Path, key: Key, name: str) -> Callable[..., Any]:
    """The function `_file.name` of a Python file next to the task, which may import its neighbours."""
    path = find_helper(file, task, key, name)
    try:
        module = plugins.import_file("tasks", path, display_path(path))
    except UsageError as error:
        raise file.error(key, str(error)) from error
    attribute = name.partition(".")[2]
    function: Callable[..., Any] | None = getattr(module, attribute, None)
    if function is None:
        raise file.error(key, f"{path.name} has no function '{attribute}'")
    if not callable(function):
        raise file.error(key, f"'{attribute}' of {path.name} is not a function")
    return function


def load_episode(file: YamlFile, task: Path, name: str) -> Episode:
    """The episode function of a task; UsageError if it has another signature."""
    function: Any = load_function(file, task, ("episode",), name)
    if not foreign.is_async(function) or not foreign.accepts(function, "sample", "runner", "context"):
        signature = SIGNATURE.format(name=name.partition(".")[2])
        raise file.error(("episode",), f"{name} is not an episode; write {signature}")
    return awaitable(function)


def awaitable(function: Callable[..., Any]) -> Callable[..., Any]:
    """A plain or async function as an async one; a SystemExit in it ends only the sample, not the process."""

    @wraps(function)
    async def call(*args: Any) -> Any:
        try:
            result = function(*args)
            return await result if inspect.isawaitable(result) else result
        except SystemExit as error:
            raise RuntimeError(f"SystemExit: {error}") from error

    return call


def parameter_names(function: Any) -> set[str]:
    """The names of a function's parameters; none where it has no signature."""
    try:
        return set(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return set()
