"""The tasks that `--tasks` selects: by name, group, file, pattern such as `aime*`, or `tag:NAME`."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from m1eval import plugins
from m1eval.errors import UsageError
from m1eval.text import unknown_name

TAG = "tag:"


def expand(names: Iterable[str]) -> list[str]:
    """The names with patterns and tags replaced by the tasks that match; UsageError if none matches."""
    tasks: dict[str, None] = {}
    for name in names:
        if name.startswith(TAG):
            tasks |= dict.fromkeys(tasks_with_tags([name.removeprefix(TAG)]))
        elif any(sign in name for sign in "*?[") and not name.endswith((".yaml", ".yml")):
            tasks |= dict.fromkeys(_matching(name))
        else:
            tasks[name] = None
    return list(tasks)


def tasks_with_tags(tags: Iterable[str]) -> list[str]:
    """The tasks with one of the tags, without groups; UsageError for a tag that no task has."""
    by_tag: dict[str, list[str]] = {}
    for name, data in _read_tasks().items():
        for tag in data.get("tags") or [] if "tasks" not in data else []:
            by_tag.setdefault(str(tag), []).append(name)
    names: dict[str, None] = {}
    for tag in tags:
        if tag not in by_tag:
            raise UsageError(unknown_name("tag", tag, by_tag))
        names |= dict.fromkeys(by_tag[tag])
    return sorted(names)


def _matching(pattern: str) -> list[str]:
    names = [name for name in plugins.available("tasks", "**/*.yaml") if fnmatchcase(name, pattern)]
    if not names:
        raise UsageError(f"no task matches '{pattern}'; `m1eval tasks` lists them")
    return names


def _read_tasks() -> dict[str, dict[str, Any]]:
    """The data of all task files; a broken file is skipped."""
    from m1eval.yaml_file import YamlFile

    tasks = {}
    for name, path in plugins.available("tasks", "**/*.yaml").items():
        try:
            tasks[name] = YamlFile.read(path).data
        except UsageError:
            continue
    return tasks
