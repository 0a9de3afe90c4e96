"""Which tasks `--tasks` means: names, groups, files, patterns such as `aime*`, and `tag:NAME`."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from m1eval import plugins
from m1eval.errors import UsageError

TAG = "tag:"


def expanded(names: Iterable[str]) -> list[str]:
    """The names with patterns and tags replaced by the tasks they stand for; UsageError if one stands for none."""
    found: dict[str, None] = {}
    for name in names:
        if name.startswith(TAG):
            found |= dict.fromkeys(tagged([name.removeprefix(TAG)]))
        elif any(sign in name for sign in "*?[") and not name.endswith((".yaml", ".yml")):
            found |= dict.fromkeys(_matching(name))
        else:
            found[name] = None
    return list(found)


def tagged(tags: Iterable[str]) -> list[str]:
    """The tasks with one of the tags, without groups; UsageError for a tag that no task has."""
    by_tag: dict[str, list[str]] = {}
    for name, data in _read().items():
        for tag in data.get("tags") or [] if "tasks" not in data else []:
            by_tag.setdefault(str(tag), []).append(name)
    found: dict[str, None] = {}
    for tag in tags:
        if tag not in by_tag:
            raise UsageError(plugins.unknown("tag", tag, by_tag))
        found |= dict.fromkeys(by_tag[tag])
    return sorted(found)


def _matching(pattern: str) -> list[str]:
    found = [name for name in plugins.available("tasks", "**/*.yaml") if fnmatchcase(name, pattern)]
    if not found:
        raise UsageError(f"no task matches '{pattern}'; `m1eval tasks` lists them")
    return found


def _read() -> dict[str, dict[str, Any]]:
    """What the files of all tasks say; a broken file hides none of the others."""
    from m1eval.yaml_file import YamlFile

    found = {}
    for name, path in plugins.available("tasks", "**/*.yaml").items():
        try:
            found[name] = YamlFile.read(path).data
        except UsageError:
            continue
    return found
