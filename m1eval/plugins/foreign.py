"""Code of tasks, scorers and runners, which may raise anything: an error in it is one line with its place."""

import ast
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from m1eval.errors import M1evalError, UsageError

LONGEST = 300
"""Characters of an error's own text that are shown."""


@contextmanager
def errors_reported(file: Path, doing: str, where: str = "") -> Iterator[None]:
    """Raise whatever goes wrong inside as a UsageError with the line of the file that it comes from.

    `doing`: what was done, such as the name of the function. `where`: the place that asked for it, `task.yaml:3`.
    Errors of m1eval itself and Ctrl-C pass; a SystemExit does not, as the code has no business ending the command.
    """
    try:
        yield
    except (M1evalError, KeyboardInterrupt):
        raise
    except BaseException as error:
        place = place_of(error, file)
        said = f"{where}: " if where else ""
        raise UsageError(f"{said}{doing}: {describe_error(error)} ({place}); --debug shows the traceback") from error


def describe_error(error: BaseException) -> str:
    """An error's type and text on one line."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    text = " ".join(text.split())
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def place_of(error: BaseException, file: Path) -> str:
    """`file:line` of the last step inside the file's folder, or of the file itself."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).is_absolute():
        return f"{shown(Path(error.filename))}:{error.lineno or 1}"
    place, step = None, error.__traceback__
    while step is not None:
        path = Path(step.tb_frame.f_code.co_filename)
        if path.parent == file.parent or file.parent in path.parents:
            place = f"{shown(path)}:{step.tb_lineno}"
        step = step.tb_next
    return place or shown(file)


def shown(path: Path) -> str:
    """A path as a person would write it here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def accepts(function: Callable[..., Any], *arguments: str) -> bool:
    """Whether a function can be called with so many positional arguments; True where it does not say."""
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def is_async(function: Any) -> bool:
    """Whether calling it makes a coroutine: an `async def`, also behind functools.partial or `__call__`."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def imported_files(file: Path) -> list[Path]:
    """The neighbours that a Python file imports, directly and through one another, without the file itself.

    Read from the source, so that nothing is executed; imports inside functions count. A file that is not Python has
    none.
    """
    top = file.parent.parent if file.name == "__init__.py" else file.parent
    found: dict[Path, None] = {}
    todo = [file]
    while todo:
        for path in _imports(todo.pop(), top):
            if path not in found and path != file:
                found[path] = None
                todo.append(path)
    return sorted(found)


def _imports(file: Path, top: Path) -> Iterator[Path]:
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            folder = file.parent
            for _ in range(node.level - 1):
                folder = folder.parent
            if top not in (folder, *folder.parents):
                continue
            base = folder
            for part in (node.module or "").split("."):  # importing a module runs the packages around it too
                base = base.joinpath(part)
                yield from _files(base)
            for name in node.names:
                yield from _files(base / name.name)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("._"):
            yield from _files(file.parent / node.value[1:])  # importlib.import_module("._words", __package__)


def _files(base: Path) -> Iterator[Path]:
    """The file of a module, or of a package of this name."""
    for path in (base.with_name(f"{base.name}.py"), base / "__init__.py"):
        if path.is_file():
            yield path
