"""Importing a plugin's file and checking what is in it; errors are UsageErrors that say who and where."""

import importlib
import inspect
import re
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast

from m1eval.errors import UsageError
from m1eval.plugins import foreign
from m1eval.plugins.lookup import find, is_path
from m1eval.plugins.paths import BUILTIN, PACKAGE, module_name, user_package
from m1eval.text import unknown_name

T = TypeVar("T")


def load(kind: str, name: str) -> ModuleType:
    """Import `kind/name.py`, or a file by path; a missing dependency is reported by its own name, with its extra."""
    path = find(kind, name)
    if is_path(name):
        name = path.stem
    return import_file(kind, path, f"{kind.removesuffix('s')} '{name}'")


def import_file(kind: str, path: Path, who: str) -> ModuleType:
    """Import a Python file as a plugin; UsageError with `who` and the line for what it lacks or raises."""
    return _import_module(module_name(kind, path), path, who)


def import_part(kind: str, folder: str, name: str, who: str) -> ModuleType:
    """A file of a built-in plugin's folder by itself, without what the plugin as a whole imports (torch, say)."""
    paths = (Path(root, kind, folder, f"{name}.py") for root in BUILTIN)
    path = next(path for path in paths if path.is_file())
    return _import_module(f"{user_package(kind, path.parent)}.{name}", path, who)


def _import_module(module: str, path: Path, who: str) -> ModuleType:
    with foreign.errors_reported(path, who):
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError as error:
            missing = error.name or PACKAGE
            if missing.startswith(f"{PACKAGE}."):
                where, file = foreign.place_of(error, path), f"{missing.rpartition('.')[2]}.py"
                raise UsageError(f"{where}: there is no file {file} next to it") from error
            if missing.partition(".")[0] == "m1eval":
                raise
            raise missing_package(who, error) from error


def check_options(
    function: Callable[..., Any], options: Mapping[str, Any], noun: str, where: Callable[[str], str] | None = None
) -> None:
    """UsageError for an option that a plugin's class or function has no keyword argument for."""
    parameters = inspect.signature(function).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    known = [name for name, p in parameters.items() if p.kind is not p.POSITIONAL_ONLY]
    for name in options:
        if name not in known:
            prefix = f"{where(name)}: " if where else ""
            raise UsageError(f"{prefix}{noun}: {unknown_name('option', name, known or ['none'])}")


def with_base(plugin: Any, base: type) -> Any:
    """A plugin's class with the defaults of its base class, also if its author left the base class out.

    UsageError for a class that cannot have another base, such as an enumeration.
    """
    if not inspect.isclass(plugin) or issubclass(plugin, base):
        return plugin
    attributes = {"__module__": plugin.__module__, "__doc__": plugin.__doc__}
    try:
        return types.new_class(
            plugin.__name__, (plugin, base), exec_body=lambda namespace: namespace.update(attributes)
        )
    except TypeError as error:
        name = f"m1eval.{base.__name__}"
        raise UsageError(f"class {plugin.__name__} cannot get the defaults of {name} ({error}); derive it") from error


def with_base_class(plugin: Any, base: type[T]) -> T:
    """The object that a plugin's class or factory returned, as an instance of the base; TypeError if it cannot be."""
    if not isinstance(plugin, base):
        try:
            plugin.__class__ = with_base(type(plugin), base)
        except (TypeError, UsageError):
            name = f"m1eval.{base.__name__}"
            raise TypeError(f"{type(plugin).__name__} is not a {name}; write class {base.__name__}({name})") from None
    return cast("T", plugin)


def missing_package(who: str, error: ModuleNotFoundError) -> UsageError:
    """The error for a package that is not installed, with the extra that has it."""
    return UsageError(f"{who} needs a package that is not installed: {remedy((error.name or '').partition('.')[0])}")


def remedy(module: str) -> str:
    """Install hint for a missing module: its name, and the pip command with our extra that has it."""
    from importlib.metadata import PackageNotFoundError, requires  # a fifth of the time that a listing takes

    try:
        lines = requires("m1eval") or []
    except PackageNotFoundError:
        lines = []
    for line in lines:
        name = re.split(r"[\s<>=!~;\[]", line, maxsplit=1)[0].lower().replace("-", "_")
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        if extra and extra[1] != "all" and name == module.lower():
            return f"{module}.  pip install 'm1eval[{extra[1]}]'"
    return f"{module}.  pip install {module}"
