"""Finding a plugin's file by name or path."""

import os
from difflib import get_close_matches
from pathlib import Path

from m1eval.errors import UsageError
from m1eval.plugins.paths import plugin_name, roots
from m1eval.text import display_path


def available(kind: str, pattern: str = "*.py") -> dict[str, Path]:
    """The plugin files of one kind by name; a plugin may also be a folder with an `__init__.py`."""
    files: dict[str, Path] = {}
    for root in reversed(roots()):
        folder = Path(root, kind)
        packages = folder.glob("*/__init__.py") if pattern == "*.py" else ()
        for file in sorted([*folder.glob(pattern), *packages]):
            name = plugin_name(file)
            if not name.startswith("_") and file.is_file():
                files[name] = file
    return dict(sorted(files.items()))


def find(kind: str, name: str, pattern: str = "*.py") -> Path:
    """The file of one plugin, by name or by path; UsageError with the nearest name for a typo."""
    if is_path(name):
        return _find_path(name, Path(pattern).suffix)
    files = available(kind, pattern)
    if name in files:
        return files[name]
    here = Path(f"{name}{Path(pattern).suffix}")
    if os.path.isfile(here):  # noqa: PTH113 - False also for what is too long to be a name
        hint = f"there is a file {here} here: name it ./{here}, or put it into ./{kind}/"
    elif close := get_close_matches(name, files, 1):
        hint = f"did you mean {close[0]}?"
    else:
        hint = f"there are {', '.join(files)}"
    raise UsageError(f"no {kind.removesuffix('s')} '{name}'; {hint}")


def _find_path(name: str, suffix: str) -> Path:
    try:
        path = Path(name).expanduser().resolve()
        is_file, is_folder = path.is_file(), path.is_dir()
    except (OSError, RuntimeError, ValueError) as error:  # too long, a loop of links, no such user, a NUL
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"no file {name[:80]}: {reason}") from None
    if is_file:
        return path
    if not is_folder:
        raise UsageError(f"no file {name}")
    inside = sorted(path.glob(f"*{suffix}"))
    raise UsageError(
        f"{name} is a folder" + (f"; name a file in it, such as {display_path(inside[0])}" if inside else "")
    )


def is_path(name: str) -> bool:
    """Whether a plugin is named by path."""
    return os.sep in name or name.endswith((".py", ".yaml", ".yml"))
