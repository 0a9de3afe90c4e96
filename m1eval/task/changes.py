"""Settings that differ from the task's file, changed by --set, --protocol, --profile, --system or --data-dir."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from m1eval.task.load import load_tasks
from m1eval.task.task import DESCRIPTIVE, Task
from m1eval.text import display_path

HIDDEN_SETTINGS = {*DESCRIPTIVE, "id", "gold", "prefix"}
"""Keys that change neither prompts nor grades, or that are reported elsewhere."""
LONGEST = 60


def changed_settings(task: Task, data_dir: Path | None = None) -> dict[str, tuple[Any, Any]]:
    """Dotted key to the value in the task's file and the value of this run; long texts are shortened."""
    unchanged = load_tasks([str(task.path)])[0]
    before, now = (dict(_leaves(msgspec.to_builtins(t.definition))) for t in (unchanged, task))
    changes = {
        key: (_short(before.get(key)), _short(now.get(key)))
        for key in dict.fromkeys([*before, *now])
        if before.get(key) != now.get(key)
    }
    data = task.definition.dataset
    if data_dir is not None and data is not None and (data.hub or data.file or not data.generate):
        changes["data"] = (data.hub or data.file, display_path(data_dir))
    return changes


def _leaves(data: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if not above and key in HIDDEN_SETTINGS:
            continue
        if isinstance(value, Mapping) and (above or key != "scorer"):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _short(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
