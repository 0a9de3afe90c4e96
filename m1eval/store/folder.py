"""The folder of a run: which files in it are ours, and how an earlier run is kept until `--redo` has its first answer.

`FOLDER.before-redo` holds the files of the earlier run. Its journal is moved there last, comes back first and is
removed last, so that after a kill at any moment it is plain which of the two runs each file belongs to.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from m1eval.errors import UsageError
from m1eval.option_names import option
from m1eval.store.files import locked
from m1eval.text import display_path

JOURNAL = "samples.jsonl"
GRADING = "samples.jsonl.grading"
"""New grades of the answers in the journal, until all are there."""
FILES = (JOURNAL, "run.json", "prompts.zst", "samples.parquet", "heatmap.svg", GRADING)
"""The files that a run writes, the journal first."""
ASIDE = ".before-redo"
"""Suffix of the folder in which an earlier run is kept."""


def make(folder: Path) -> list[Path]:
    """Make a folder and those above it that are missing; the folders that were made, the innermost first.

    OSError if one of them cannot be made; none is left behind then.
    """
    missing = []
    for each in (folder, *folder.parents):
        if each.exists():
            break
        missing.append(each)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        remove_empty(missing)
        raise
    return missing


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove those of the folders, the innermost first, that are there and empty."""
    for each in folders:
        with suppress(OSError):
            each.rmdir()


def refuse_links(folder: Path) -> None:
    """UsageError if one of a run's files is a symbolic link: what it points to is not ours to change."""
    for name in FILES:
        for path in (folder / name, folder / f"{name}.new"):
            if path.is_symlink():
                raise UsageError(
                    f"{display_path(path)} is a symbolic link; remove it, or choose another folder with {option('out')}"
                )


def refuse_foreign(folder: Path) -> None:
    """UsageError if the folder has no run.json, but other files that a run would overwrite."""
    if (folder / "run.json").exists():
        return
    for name in FILES:
        path = folder / name
        if path.is_dir() or (path.exists() and path.stat().st_size):
            raise UsageError(
                f"{display_path(folder)} holds {name} without run.json; choose another folder with {option('out')}"
            )


def aside_path(folder: Path) -> Path:
    """Path of the earlier run while `--redo` has no answer yet."""
    place = Path(os.path.realpath(folder))  # Path.resolve raises RuntimeError where links go round in circles
    return place.with_name(f"{place.name}{ASIDE}")


def move_aside(folder: Path) -> None:
    """Keep the files of the earlier run; its journal must be locked, and moves last."""
    aside = aside_path(folder)
    aside.mkdir(exist_ok=True)
    for name in reversed(FILES):
        with suppress(FileNotFoundError):
            (folder / name).rename(aside / name)


def put_back(folder: Path) -> None:
    """Put the earlier run back in place of what is in the folder; its journal must be locked, and comes back first."""
    aside = aside_path(folder)
    if (aside / JOURNAL).exists():
        for name in FILES[1:]:
            if not (aside / name).exists():
                (folder / name).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        with suppress(FileNotFoundError):
            (aside / name).replace(folder / name)
    with suppress(OSError):  # somebody else's files in there are not ours to remove
        aside.rmdir()


def drop_aside(folder: Path) -> None:
    """Remove the earlier run, its journal last."""
    aside = aside_path(folder)
    for name in reversed(FILES):
        (aside / name).unlink(missing_ok=True)
    with suppress(OSError):
        aside.rmdir()


def recover(folder: Path) -> str:
    """Finish what a killed `--redo` has begun; a line that says how, empty if there was nothing to do.

    The earlier run comes back if no new answer was written, else it goes. While its journal is among the files that
    were moved aside, all files in the folder are the new run's; else what was moved aside belongs to the folder's.
    """
    aside = aside_path(folder)
    if not aside.is_dir() or aside.is_symlink():
        return ""
    (aside / "run.json.new").unlink(missing_ok=True)  # of a kill while what the new answers took was being kept
    if {each.name for each in aside.iterdir()} - set(FILES):
        return ""
    if not (aside / JOURNAL).exists():
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / JOURNAL):
            put_back(folder)
        return ""
    with locked(aside / JOURNAL):
        journal = folder / JOURNAL
        if journal.exists():
            locked(journal).close()
            if _answered(journal):
                drop_aside(folder)
                return ""
        put_back(folder)
    stopped = f"{option('redo', True)} was stopped before its first answer"
    return f"{display_path(folder)}: {stopped}; the earlier run is back in place"


class _Line(Struct):
    outcome: str


def _answered(journal: Path) -> bool:
    """Whether an answer is in a journal, and not only errors."""
    decode = msgspec.json.Decoder(_Line).decode
    with journal.open("rb") as file:
        for raw in file:
            with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                if raw.endswith(b"\n") and decode(raw).outcome != "errored":
                    return True
    return False
