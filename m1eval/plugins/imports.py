"""The files that a plugin's code imports, read from the source so that nothing is executed.

Imports inside functions count, and `importlib.import_module("._words", __package__)`. Data files that the code opens
are not code and are not found.
"""

import ast
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from m1eval.plugins.paths import KINDS, PACKAGE, import_root, package_folders, plugin_folder

_parsing = threading.Lock()


def parse(source: str | bytes) -> ast.Module:
    """The syntax tree of Python source, one thread at a time.

    Python 3.11 counts the depth of all trees in one place. Where a garbage collection lets another thread make one
    meanwhile, it raises SystemError: AST constructor recursion depth mismatch.
    """
    with _parsing:
        return ast.parse(source)


class _Code(NamedTuple):
    """A Python file and the folders of its top-level package, in the order of search."""

    file: Path
    folders: tuple[Path, ...]


def imported_files(kind: str, file: Path) -> dict[str, Path]:
    """The plugin files that a Python file imports, directly and through one another, without the file itself.

    Each by its name; where several have the same name, by its path from `tasks/`, `scorers/` or `runners/`. A file that
    is not Python imports none.
    """
    code: dict[Path, Path] = {}
    pending = [_Code(file, (import_root(kind, plugin_folder(file)), *package_folders(kind, user=False)))]
    while pending:
        for item in _imports(pending.pop()):
            if item.file not in code and item.file != file:
                code[item.file] = item.file.relative_to(item.folders[0])
                pending.append(item)
    names = [path.name for path in code]
    return {
        path.name if names.count(path.name) == 1 else code[path].as_posix(): path for path in sorted(code)
    }  # fmt: skip


def _imports(code: _Code) -> Iterator[_Code]:
    try:
        tree = parse(code.file.read_bytes())
    except (SyntaxError, ValueError, OSError, RecursionError, MemoryError):
        return
    package = code.file.parent.relative_to(code.folders[0]).parts
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            if node.level <= len(package) + 1:
                module = [*package[: len(package) + 1 - node.level], *(node.module or "").split(".")]
                yield from _module_files(code.folders, module, node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from _absolute_import(node.module or "", node.names)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield from _absolute_import(alias.name, [])
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("._"):
            yield from _module_files(code.folders, [*package, node.value[1:]], [])


def _absolute_import(module: str, names: list[ast.alias]) -> Iterator[_Code]:
    """The files of `from m1eval.plugins.tasks.math._minerva import rows`."""
    kind, *parts = module.removeprefix(f"{PACKAGE}.").split(".")
    if module.startswith(f"{PACKAGE}.") and kind in KINDS:
        yield from _module_files(package_folders(kind), parts, names)


def _module_files(folders: tuple[Path, ...], module: list[str], names: list[ast.alias]) -> Iterator[_Code]:
    """The files that importing names from a module runs: those of the packages around it too."""
    parts = [part for part in module if part]
    for end in range(1, len(parts) + 1):
        yield from _files(folders, parts[:end])
    for name in names:
        yield from _files(folders, [*parts, name.name])


def _files(folders: tuple[Path, ...], module: list[str]) -> Iterator[_Code]:
    """The file of a module, or of a package of this name, in the first folder that has one."""
    for number, folder in enumerate(folders):
        base = folder.joinpath(*module)
        for path in (base / "__init__.py", base.with_name(f"{base.name}.py")):
            if path.is_file():
                yield _Code(path, folders[number:])
                return
