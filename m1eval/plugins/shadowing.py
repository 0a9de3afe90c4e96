"""Files of the user that are used in place of built-in ones of the same name."""

from pathlib import Path

from m1eval.plugins.paths import BUILTIN, plugin_name
from m1eval.text import display_path


def notice(kind: str, path: Path, pattern: str = "*.py") -> list[str]:
    """One line if a file of the user's is used in place of a built-in one, else none."""
    hidden = _shadowed(kind, path, pattern)
    if hidden is None:
        return []
    name = f"{hidden.parent.name}/" if hidden.name == "__init__.py" else hidden.name
    return [f"{display_path(path)} is used in place of the built-in {kind}/{name}"]


def _shadowed(kind: str, path: Path, pattern: str) -> Path | None:
    """The built-in file or package that a user's file hides, if its content differs."""
    if any(path.is_relative_to(Path(root, kind)) for root in BUILTIN):
        return None
    name = plugin_name(path)
    for root in BUILTIN:
        folder = Path(root, kind)
        for file in [*folder.glob(pattern), folder / name / "__init__.py"]:
            if plugin_name(file) == name and file.is_file() and _contents(file) != _contents(path):
                return file
    return None


def _contents(file: Path) -> dict[str, bytes]:
    """The code of a plugin: its file, or all files of its folder."""
    if file.name != "__init__.py":
        return {"": file.read_bytes()}
    return {str(path.relative_to(file.parent)): path.read_bytes() for path in sorted(file.parent.rglob("*.py"))}
