"""Plugin code, which may raise anything: its errors as one line with the place, and checks of its functions."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from m1eval.errors import M1evalError, UsageError
from m1eval.option_names import traceback_hint
from m1eval.plugins.paths import KINDS, PACKAGE, builtin_name
from m1eval.text import display_path
from m1eval.types import Output
from m1eval.validation import as_output

LONGEST = 300
"""Characters of an error's own text that are shown."""


@contextmanager
def errors_reported(file: Path, doing: str, where: str = "") -> Iterator[None]:
    """Turn errors of plugin code into a UsageError with the line of the file that raised them.

    `doing`: what was done, such as the name of the function. `where`: the place that asked for it, `task.yaml:3`.
    Errors of m1eval itself and Ctrl-C pass; a SystemExit does not, as a plugin must not end the command.
    """
    try:
        yield
    except (M1evalError, KeyboardInterrupt):
        raise
    except BaseException as error:
        prefix, place = f"{where}: " if where else "", place_of(error, file)
        raise UsageError(f"{prefix}{doing}: {error_line(error)} ({place}){traceback_hint()}") from error


def error_line(error: BaseException) -> str:
    """An error's type and text on one line of a message, shortened."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    text = " ".join(text.split())
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def place_of(error: BaseException, file: Path) -> str:
    """`file:line` of the innermost frame inside the file's folder, or the file itself."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).is_absolute():
        return f"{display_path(Path(error.filename))}:{error.lineno or 1}"
    places = [f"{display_path(path)}:{line}" for path, line, _ in _frames(error) if file.parent in path.parents]
    return places[-1] if places else display_path(file)


def innermost_place(error: BaseException) -> str:
    """`file:line` of the innermost frame of plugin code that an error went through; empty if there is none.

    Empty also for errors whose class is our own or a built-in plugin's: they are messages, not faults in its code.
    """
    if f"{type(error).__module__}.".startswith(_OWN_MODULES) and not _is_users(type(error).__module__):
        return ""
    places = [_place(path, line) for path, line, module in _frames(error) if module.startswith(_PLUGIN_MODULES)]
    return places[-1] if places else ""


def _frames(error: BaseException) -> Iterator[tuple[Path, int, str]]:
    """File, line and module of each frame that an error went through, the innermost last."""
    traceback = error.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        yield Path(frame.f_code.co_filename), traceback.tb_lineno, str(frame.f_globals.get("__name__"))
        traceback = traceback.tb_next


_PLUGIN_MODULES = tuple(f"{PACKAGE}.{kind}" for kind in KINDS)
_OWN_MODULES = f"{PACKAGE.partition('.')[0]}."


def _is_users(module: str) -> bool:
    return module.startswith(tuple(f"{name}_" for name in _PLUGIN_MODULES))


def definition_place(function: Callable[..., Any]) -> str:
    """`file:line` of a function of a plugin; empty for one that is not written in Python."""
    code = getattr(inspect.unwrap(getattr(function, "__func__", function)), "__code__", None)
    return _place(Path(code.co_filename), code.co_firstlineno) if code else ""


def checked_output(output: Any, function: Callable[..., Any]) -> Output:
    """The output that a function of a runner or an episode returned; an error names the function's place."""
    try:
        return as_output(output)
    except (TypeError, ValueError) as error:
        kind, place = TypeError if isinstance(error, TypeError) else ValueError, definition_place(function)
        raise kind(f"{error} ({place})" if place else str(error)) from None


def _place(path: Path, line: int | None) -> str:
    return f"{builtin_name(path) or display_path(path)}:{line or 1}"


def accepts(function: Callable[..., Any], *arguments: str) -> bool:
    """Whether a function can be called with these positional arguments; True where it has no signature."""
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def is_async(function: Any) -> bool:
    """Whether a call returns a coroutine: an `async def`, also behind functools.partial or `__call__`."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def check_methods(plugin: object, base: type, file: Path, *, either: frozenset[str] = frozenset()) -> None:
    """UsageError, with the line, for a method that is async though that of the base class is not, or the reverse.

    `either`: names of methods that may be both. No method may be a generator.
    """
    for name, method in inspect.getmembers_static(base):
        reference, own = getattr(base, name), getattr(plugin, name)
        if name.startswith("_") or not inspect.isroutine(reference) or getattr(own, "__func__", own) is method:
            continue
        function = inspect.unwrap(own) if callable(own) else own
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            fault = "must not be a generator (there is a yield in it)"
        elif name in either or inspect.iscoroutinefunction(reference) == (is_async(own) or is_async(function)):
            continue
        else:
            fault = "must be async def" if inspect.iscoroutinefunction(reference) else "must be def, not async def"
        raise UsageError(f"{definition_place(function) or display_path(file)}: {name} {fault}")
