"""Plugins are single files found by name: `runners/vllm.py`, `scorers/math.py`, `tasks/**/aime24.yaml`.

They are looked for in several folders, first match wins: the user's ($M1EVAL_PATH, then the current folder), those
bundled in the wheel, and the checkout this file sits in. A built-in plugin is `m1eval.plugins.scorers.math` to Python,
one of the user's is in a package of its own folder, `m1eval.plugins.scorers_1a2b3c4d.math`: two files of the same name
never stand in for one another, and a helper `_name.py` serves its own neighbours alone. Both names work in worker
processes too. Nothing else that lies in those folders is imported: no `scorers.py`, no `scorers/__init__.py`.
"""

import hashlib
import importlib
import importlib.util
import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast

from m1eval.errors import UsageError
from m1eval.plugins import foreign

T = TypeVar("T")

_here = Path(__file__).resolve().parent
_checkout = [str(_here.parents[1])] if (_here.parents[1] / "pyproject.toml").is_file() else []
_builtin = [str(_here), *_checkout]


def _user() -> list[str]:
    named = [str(Path(p).resolve()) for p in os.environ.get("M1EVAL_PATH", "").split(os.pathsep) if p]
    return [p for p in dict.fromkeys([*named, str(Path.cwd())]) if p not in _builtin]


_roots = [*_user(), *_builtin]
__path__ = list[str]()  # what is not a plugin is not imported from here

KINDS = ("runners", "scorers", "tasks")


class _Packages:
    """Makes the packages that hold plugins; the map of the user's stands in the environment, for worker processes."""

    @staticmethod
    def known() -> dict[str, str]:
        """The user's packages and their folders."""
        return dict(json.loads(os.environ.get("M1EVAL_FILES") or "{}"))

    @classmethod
    def find_spec(cls, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """A package without code of its own, of one kind of plugins or of one folder of the user's."""
        above, _, last = name.rpartition(".")
        if above != __name__:
            return None
        kind = last.partition("_")[0]
        folders = [os.path.join(root, kind) for root in _builtin] if kind in KINDS else []  # noqa: PTH118
        if last != kind:  # the user's own files first, then ours, of which they may use the helpers
            folder = cls.known().get(name)
            if folder is None:
                return None
            folders = [folder, *folders]
        elif kind in KINDS:  # by this name ours come first, and what only the user has is found too
            folders += [os.path.join(root, kind) for root in _user()]  # noqa: PTH118
        if not folders:
            return None
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = folders
        return spec


sys.meta_path.insert(0, _Packages)


def module_name(kind: str, path: Path) -> str:
    """The name under which a plugin's file is imported, here and in worker processes."""
    folder, name = (path.parent.parent, path.parent.name) if path.name == "__init__.py" else (path.parent, path.stem)
    if any(folder == Path(root, kind) for root in _builtin):
        return f"{__name__}.{kind}.{name}"
    package = f"{__name__}.{kind}_{hashlib.sha256(str(folder).encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
    known = {**_Packages.known(), package: str(folder)}
    os.environ["M1EVAL_FILES"] = json.dumps(known)
    importlib.invalidate_caches()  # the file may have been written just now
    return f"{package}.{name}"


def available(kind: str, pattern: str = "*.py") -> dict[str, Path]:
    """The plugin files of one kind by name; a runner may also be a folder with an `__init__.py`."""
    found: dict[str, Path] = {}
    for root in reversed(_roots):
        folder = Path(root, kind)
        files = [*folder.glob(pattern), *(folder.glob("*/__init__.py") if pattern == "*.py" else ())]
        for file in sorted(files):
            name = file.parent.name if file.name == "__init__.py" else file.stem
            if not name.startswith("_") and file.is_file():
                found[name] = file
    return dict(sorted(found.items()))


def find(kind: str, name: str, pattern: str = "*.py") -> Path:
    """The file of one plugin, by name or by path; a typo is answered with the nearest name."""
    if _is_path(name):
        try:
            path = Path(name).expanduser().resolve()
            found, folder = path.is_file(), path.is_dir()
        except (OSError, RuntimeError, ValueError) as error:  # too long, a loop of links, no such user, a NUL
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise UsageError(f"no file {name[:80]}: {reason}") from None
        if not found:
            suffix = Path(pattern).suffix
            inside = sorted(path.glob(f"*{suffix}")) if folder else []
            hint = f" is a folder; name a file in it, such as {source_path(inside[0])}" if inside else " is a folder"
            raise UsageError(f"{name}{hint}" if folder else f"no file {name}")
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
    return import_file(kind, path, f"{kind.removesuffix('s')} '{name}'")


def import_file(kind: str, path: Path, who: str) -> ModuleType:
    """Import a Python file as a plugin; what it misses or raises is a UsageError that says `who` and where."""
    with foreign.errors_reported(path, who):
        try:
            return importlib.import_module(module_name(kind, path))
        except ModuleNotFoundError as error:
            missing = error.name or __name__
            if missing.startswith(f"{__name__}."):
                place, file = foreign.place_of(error, path), f"{missing.rpartition('.')[2]}.py"
                raise UsageError(f"{place}: there is no file {file} beside it") from error
            if missing.partition(".")[0] == "m1eval":
                raise
            raise missing_package(who, error) from error


def import_part(kind: str, folder: str, name: str, who: str) -> ModuleType:
    """A file of a built-in plugin's folder by itself, without what the plugin as a whole imports (torch, say)."""
    paths = (Path(root, kind, folder, f"{name}.py") for root in _builtin)
    return import_file(kind, next(path for path in paths if path.is_file()), who)


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
    """The built-in file that a user's file of the same name hides, if its content is another; packages too."""
    if any(path.is_relative_to(Path(root, kind)) for root in _builtin):
        return None
    name = path.parent.name if path.name == "__init__.py" else path.stem
    for root in _builtin:
        folder = Path(root, kind)
        for file in [*folder.glob(pattern), folder / name / "__init__.py"]:
            own = file.parent.name if file.name == "__init__.py" else file.stem
            if own == name and file.is_file() and _contents(file) != _contents(path):
                return file
    return None


def notice(kind: str, path: Path, pattern: str = "*.py") -> list[str]:
    """One line if a file of the user's is used in place of a built-in one, else none."""
    hidden = shadowed(kind, path, pattern)
    if hidden is None:
        return []
    name = f"{hidden.parent.name}/" if hidden.name == "__init__.py" else hidden.name
    return [f"{source_path(path)} is used in place of the built-in {kind}/{name}"]


def with_base(made: Any, base: type) -> Any:
    """A plugin's class with the defaults of its base class, also if its author left the base class out."""
    if not inspect.isclass(made) or issubclass(made, base):
        return made
    return type(made.__name__, (made, base), {"__module__": made.__module__, "__doc__": made.__doc__})


def with_base_class(plugin: Any, base: type[T]) -> T:
    """What a plugin's class or factory made, as an instance of the base class; TypeError if it cannot be one."""
    if not isinstance(plugin, base):
        try:
            plugin.__class__ = with_base(type(plugin), base)
        except TypeError:
            name = f"m1eval.{base.__name__}"
            raise TypeError(f"{type(plugin).__name__} is not a {name}; write class {base.__name__}({name})") from None
    return cast("T", plugin)


def builtin_name(path: Path) -> str | None:
    """A built-in file by its kind and place in it, such as `scorers/math/numeric.py`; None for the user's own."""
    root = next((root for root in _builtin for kind in KINDS if path.is_relative_to(Path(root, kind))), None)
    return None if root is None else path.relative_to(root).as_posix()


def source_path(path: Path) -> str:
    """A path as a person would write it here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _contents(file: Path) -> dict[str, bytes]:
    """The code of a plugin: its file, or all files of its folder."""
    if file.name != "__init__.py":
        return {"": file.read_bytes()}
    return {str(each.relative_to(file.parent)): each.read_bytes() for each in sorted(file.parent.rglob("*.py"))}


def unknown(noun: str, name: str, known: Iterable[str]) -> str:
    """The words for a name that is not known, with the nearest one that is."""
    known = sorted(known)
    close = get_close_matches(name, known, 1)
    return f"unknown {noun} '{name}'; " + (f"did you mean '{close[0]}'?" if close else f"there are {', '.join(known)}")


def _is_path(name: str) -> bool:
    return os.sep in name or name.endswith((".py", ".yaml", ".yml"))
