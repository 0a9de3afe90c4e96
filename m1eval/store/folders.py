"""Folders of runs: `results/<task>/<org>--<model>/`, or the same below `--out`, whatever the number of tasks."""

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

from m1eval import secrets
from m1eval.errors import UsageError
from m1eval.option_names import option
from m1eval.store.folder import ASIDE, JOURNAL, aside_path
from m1eval.text import display_path

RESULTS = Path("results")
MAX_NAME = 100
"""Characters of a folder name; file systems allow 255 bytes."""


class RunFolder(NamedTuple):
    """The folder of a run; `earlier` is one where an earlier version would have put it, if it holds this model's."""

    folder: Path
    note: str = ""
    earlier: Path | None = None


def label(name: str, fallback: str) -> str:
    """A model's name as a folder name: `Qwen/Qwen3-8B` is `qwen--qwen3-8b`, `/models/a/b` is `a--b`.

    In small letters, so that it is one folder on every file system. Long names are cut and end in a digest.
    """
    parts = [_plain(part) for part in re.split(r"[/\\]+", name) if part.strip(". ~")]
    text = "--".join([part for part in parts if part][-2:]) or _plain(fallback) or "model"
    return text if len(text) <= MAX_NAME else f"{text[:MAX_NAME]}-{_digest(name)}"


def earlier_label(name: str, fallback: str) -> str:
    """The folder name that earlier versions gave: the last part of the name alone."""
    return _plain(name.rstrip("/").rpartition("/")[2] or fallback) or "model"


def choose_folder(out: Path | None, task: str, spec: str, names: tuple[str, str], *, alone: bool) -> RunFolder:
    """The folder for a task and a model (`spec`, with its label and earlier label).

    `alone`: this is the only task of the command. UsageError if `out` is itself the folder of another run. A folder
    that another model's run holds already (names that differ in case or signs alone) is left to it.
    """
    label, earlier = names
    if out and (run_folder := _run_in_out(out, task, spec, alone=alone)):
        return run_folder
    base = (out or RESULTS) / task
    first, second = base / label, base / f"{label}-{_digest(spec)}"
    own_folder = next((folder for folder in (second, first) if owner(folder) == (task, _shown(spec))), None)
    if own_folder:
        return RunFolder(own_folder)
    before = base if out else base / earlier
    folder = second if (holder := owner(first)) and holder != (task, _shown(spec)) else first
    if before != folder and owner(before) == (task, _shown(spec)):
        return RunFolder(folder, earlier=before)
    return RunFolder(folder)


def find_runs(folder: Path) -> list[Path]:
    """The run that a folder is, or else the runs in the folders below it, in order; empty if there are none.

    Earlier runs that `--redo` keeps for as long as the new one has no answer are not among them.
    """
    if _is_run(folder):
        return [folder]
    folders = sorted(file.parent for file in folder.glob("**/run.json") if _is_run(file.parent))
    return [each for each in folders if not each.name.endswith(ASIDE)]


def missing_file(folder: Path) -> str:
    """A note, in brackets, on the file that a folder lacks to be a run; empty if it has neither, or both."""
    names = [name for name in ("run.json", JOURNAL) if os.path.isfile(folder / name)]  # noqa: PTH113
    missing = {"run.json": JOURNAL, JOURNAL: "run.json"}
    return f" (there is a {names[0]}, but no {missing[names[0]]})" if len(names) == 1 else ""


def _is_run(folder: Path) -> bool:
    return (folder / "run.json").is_file() and (folder / JOURNAL).is_file()


def owner(folder: Path) -> tuple[str, str] | None:
    """Task and model of the run in a folder; None if there is none, or it is unknown.

    A run that a killed `--redo` has moved aside is still the folder's.
    """
    meta = _meta(folder) or _meta(aside_path(folder))
    if not {"m1eval", "config"} <= set(meta):
        return None
    match meta.get("task"), meta.get("model"):
        case str(task), str(model):
            return task, model
    return None  # what it is instead, the run says when it reads it


def _run_in_out(out: Path, task: str, spec: str, *, alone: bool) -> RunFolder | None:
    """The folder itself, if it is that of this very run, or of one whose run.json is damaged."""
    holder = owner(out)
    if holder is None:
        return (
            RunFolder(out) if alone and all((out / name).exists() for name in ("run.json", "samples.jsonl")) else None
        )
    if alone and holder == (task, _shown(spec)):
        return RunFolder(out, f"{display_path(out)} is the folder of this run already; it continues there")
    run = f"{holder[0]} with {holder[1]}"
    raise UsageError(
        f"{option('out', display_path(out))} is itself the folder of a run ({run}); name a folder that holds runs"
    )


def _meta(folder: Path) -> dict[str, Any]:
    try:
        meta = json.loads((folder / "run.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return meta if isinstance(meta, dict) else {}


def _plain(text: str) -> str:
    return re.sub(r"-{2,}", "-", re.sub(r"[^a-z0-9._]+", "-", text.lower())).strip("-.")


def _shown(spec: str) -> str:
    """A model as run.json names it, where secrets are masked."""
    return str(secrets.redact_tree(spec))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:6]
