"""Plugin folders, and the packages under which Python imports them."""

import hashlib
import importlib
import json
import os
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

PACKAGE = __package__ or "m1eval.plugins"
KINDS = ("runners", "scorers", "tasks")
BASELINES = "results/baselines"
"""The folder of published scores below the roots."""

_here = Path(__file__).resolve().parent
_checkout = [str(_here.parents[1])] if (_here.parents[1] / "pyproject.toml").is_file() else []
BUILTIN = [str(_here), *_checkout]
"""The folders of built-in plugins: the wheel's and the checkout's."""


def roots() -> list[str]:
    """The folders that hold `runners/`, `scorers/` and `tasks/` at the moment; the first match wins."""
    return [*_user_roots(), *BUILTIN]


def _user_roots() -> list[str]:
    named = [str(Path(p).resolve()) for p in os.environ.get("M1EVAL_PATH", "").split(os.pathsep) if p]
    return [p for p in dict.fromkeys([*named, str(Path.cwd())]) if p not in BUILTIN]


class PackageFinder:
    """Import hook for packages without code: a kind of plugins, a user's folder, an area of tasks.

    The map of user packages to folders is kept in the environment, for worker processes.
    """

    @staticmethod
    def user_packages() -> dict[str, str]:
        """The user's packages and their folders."""
        return dict(json.loads(os.environ.get("M1EVAL_FILES") or "{}"))

    @classmethod
    def find_spec(cls, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """The spec of such a package; None for all else."""
        if not name.startswith(f"{PACKAGE}."):
            return None
        first, *areas = name[len(PACKAGE) + 1 :].split(".")
        folders = cls._folders(first)
        if areas:
            folders = _area_folders(folders, areas) if first.partition("_")[0] == "tasks" else []
        if not folders:
            return None
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = folders
        return spec

    @classmethod
    def _folders(cls, package: str) -> list[str]:
        kind = package.partition("_")[0]
        if kind not in KINDS:
            return []
        if package == kind:
            return [str(folder) for folder in package_folders(kind)]
        folder = cls.user_packages().get(f"{PACKAGE}.{package}")
        # The user's files come first; they may use built-in helpers.
        return [folder, *map(str, package_folders(kind, user=False))] if folder else []


def package_folders(kind: str, *, user: bool = True) -> tuple[Path, ...]:
    """The folders of the package of one kind: built-in ones first, then the user's, for what only the user has."""
    return tuple(Path(root, kind) for root in [*BUILTIN, *(_user_roots() if user else ())])


def _area_folders(folders: list[str], areas: list[str]) -> list[str]:
    """The folders of an area of tasks, such as `long_context`, whose `__init__.py`, if any, is not run."""
    if areas[-1].startswith("_"):  # a helper, which may be a package with code
        return []
    paths = [os.path.join(folder, *areas) for folder in folders]  # noqa: PTH118
    return [path for path in paths if os.path.isdir(path)]  # noqa: PTH112


sys.meta_path.insert(0, PackageFinder)


def module_name(kind: str, path: Path) -> str:
    """The name under which a plugin or a task's helper is imported, in worker processes too.

    A built-in helper is `m1eval.plugins.tasks.long_context._needle`, one of the user's is in a package of their
    `tasks` folder, `m1eval.plugins.tasks_1a2b3c4d.long_context._needle`, so that equal names do not collide.
    """
    folder = plugin_folder(path)
    top = import_root(kind, folder)
    parts = [*folder.relative_to(top).parts, plugin_name(path)]
    if any(top == Path(root, kind) for root in BUILTIN):
        return ".".join([PACKAGE, kind, *parts])
    return ".".join([user_package(kind, top), *parts])


def plugin_name(file: Path) -> str:
    """The name of a plugin's file: its own, or that of its folder."""
    return file.parent.name if file.name == "__init__.py" else file.stem


def plugin_folder(file: Path) -> Path:
    """The folder that a plugin is in: a file, or a folder with an `__init__.py`."""
    return file.parent.parent if file.name == "__init__.py" else file.parent


def user_package(kind: str, folder: Path) -> str:
    """Package name of one plugin folder, known to worker processes from now on."""
    package = f"{PACKAGE}.{kind}_{hashlib.sha256(str(folder).encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
    os.environ["M1EVAL_FILES"] = json.dumps({**PackageFinder.user_packages(), package: str(folder)})
    importlib.invalidate_caches()  # the file may have been written just now
    return package


def import_root(kind: str, folder: Path) -> Path:
    """The folder of the top-level package of a folder's files: `tasks/`, or the folder itself."""
    for root in roots():
        top = Path(root, kind)
        if folder == top or (
            kind == "tasks" and folder.is_relative_to(top) and not any("." in p for p in folder.relative_to(top).parts)
        ):
            return top
    return folder


def builtin_name(path: Path) -> str | None:
    """A built-in file by its kind and place in it, such as `scorers/math/numeric.py`; None for the user's own."""
    root = next((root for root in BUILTIN for kind in KINDS if path.is_relative_to(Path(root, kind))), None)
    return None if root is None else path.relative_to(root).as_posix()
