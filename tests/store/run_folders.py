"""The command of a run of the capitals, its folder and the content of its files."""

from pathlib import Path
from typing import Any


def run_command(capitals: Path, out: Path, *more: Any) -> tuple[Any, ...]:
    return ("run", "--tasks", capitals, "--model", "echo:gold", "--out", out, "--display", "none", *more)


def folder_of(out: Path) -> Path:
    """The folder of the run that `run_command` makes."""
    return out / "capitals" / "gold"


def file_contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
