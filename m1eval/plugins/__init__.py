"""Plugins are single files found by name: `runners/vllm.py`, `scorers/math.py`, `tasks/**/aime24.yaml`.

This package is one import path over several folders, first match wins: the user's ($M1EVAL_PATH, then the current
folder), those bundled in the wheel, and the checkout this file sits in. The plugin folders have no `__init__.py`, so
Python itself merges them: `m1eval.plugins.scorers.math` is the same name everywhere, in worker processes too.
"""

import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from m1eval.errors import UsageError

_here = Path(__file__).resolve().parent
_checkout = [str(_here.parents[1])] if (_here.parents[1] / "pyproject.toml").is_file() else []
_builtin = [str(_here), *_checkout]


def _user() -> list[str]:
    named = [str(Path(p).resolve()) for p in os.environ.get("M1EVAL_PATH", "").split(os.pathsep) if p]
    return [p for p in dict.fromkeys([*named, str(Path.cwd())]) if p not in _builtin]


__path__ = [*_user(), *_builtin]


class _Files:
    """Imports plugins given by path; the map stands in the environment, so that worker processes have it too."""

    @staticmethod
    def known() -> dict[str, str]:
        lines = os.environ.get("M1EVAL_FILES", "").splitlines()
        return dict(line.split("=", 1) for line in lines)

    @classmethod
    def find_spec(cls, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        file = cls.known().get(name) if name.startswith(__name__) else None
        return importlib.util.spec_from_file_location(name, file) if file else None


sys.meta_path.append(_Files)


def available(kind: str, pattern: str = "*.py") -> dict[str, Path]:
    """The plugin files of one kind by name; a runner may also be a folder with an `__init__.py`."""
    found: dict[str, Path] = {}
    for root in reversed(__path__):
        folder = Path(root, kind)
        files = [*folder.glob(pattern), *(folder.glob("*/__init__.py") if pattern == "*.py" else ())]
        for file in sorted(files):
            name = file.parent.name if file.name == "__init__.py" else file.stem
            if not name.startswith("_"):
                found[name] = file
    return dict(sorted(found.items()))


def find(kind: str, name: str, pattern: str = "*.py") -> Path:
    """The file of one plugin, by name or by path; a typo is answered with the nearest name."""
    if _is_path(name):
        path = Path(name).expanduser().resolve()
        if not path.is_file():
            raise UsageError(f"no file {name}")
        return path
    known = available(kind, pattern)
    if name in known:
        return known[name]
    noun = kind.removesuffix("s")
    beside = Path(f"{name}{Path(pattern).suffix}")
    if beside.is_file():
        hint = f"there is a file {beside} here: name it ./{beside}, or put it into ./{kind}/"
    elif close := get_close_matches(name, known, 1):
        hint = f"did you mean {close[0]}?"
    else:
        hint = f"there are {', '.join(known)}"
    raise UsageError(f"no {noun} '{name}'; {hint}")


def load(kind: str, name: str) -> ModuleType:
    """Import `kind/name.py`, or a file by path; a dependency it misses is reported as itself, with its extra."""
    path = find(kind, name)
    if _is_path(name):
        name = path.stem
        os.environ["M1EVAL_FILES"] = "\n".join(
            f"{key}={value}" for key, value in {**_Files.known(), f"{__name__}.{kind}.{name}": str(path)}.items()
        )
    try:
        return importlib.import_module(f"{__name__}.{kind}.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "m1eval").partition(".")[0] == "m1eval":
            raise
        raise missing_package(f"{kind.removesuffix('s')} '{name}'", error) from error


def check_options(made: Any, options: Mapping[str, Any], noun: str, where: Callable[[str], str] | None = None) -> None:
    """Refuse an option that `made` (a class or function) has no keyword argument for."""
    parameters = inspect.signature(made).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    known = [name for name, p in parameters.items() if p.kind is not p.POSITIONAL_ONLY]
    for name in options:
        if name not in known:
            place = f"{where(name)}: " if where else ""
            raise UsageError(f"{place}{noun}: {unknown('option', name, known or ['none'])}")


def missing_package(who: str, error: ModuleNotFoundError) -> UsageError:
    """The error of whoever needs a package that is not there, with its extra."""
    return UsageError(f"{who} needs a package that is not installed: {remedy((error.name or '').partition('.')[0])}")


def remedy(module: str) -> str:
    """How to install a missing module: the name, and the extra of ours that holds it."""
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


def shadowed(kind: str, path: Path, pattern: str = "*.py") -> Path | None:
    """The built-in file that a user's file of the same name hides, if its content is another."""
    if any(path.is_relative_to(Path(root, kind)) for root in _builtin):
        return None
    name = path.parent.name if path.name == "__init__.py" else path.stem
    for root in _builtin:
        for file in Path(root, kind).glob(pattern):
            if file.stem == name and file.read_bytes() != path.read_bytes():
                return file
    return None


def unknown(noun: str, name: str, known: Iterable[str]) -> str:
    """The words for a name that is not known, with the nearest one that is."""
    known = sorted(known)
    close = get_close_matches(name, known, 1)
    return f"unknown {noun} '{name}'; " + (f"did you mean '{close[0]}'?" if close else f"there are {', '.join(known)}")


def _is_path(name: str) -> bool:
    return os.sep in name or name.endswith((".py", ".yaml", ".yml"))
