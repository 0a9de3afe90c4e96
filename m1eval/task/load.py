"""Loading tasks: names and groups, then a protocol, a profile and `--set`, each overriding the one before."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from m1eval import plugins, yaml_file
from m1eval.errors import UsageError
from m1eval.option_names import override
from m1eval.task.definition import Definition
from m1eval.task.profiles import Profile
from m1eval.task.task import Task
from m1eval.text import display_path, unknown_name
from m1eval.yaml_file import Key, YamlFile


class UnknownProtocol(UsageError):
    """A requested protocol that no task has."""


def load_tasks(
    names: Sequence[str],
    overrides: Sequence[str] = (),
    *,
    protocol: str | None = None,
    profile: Profile | None = None,
) -> list[Task]:
    """The tasks of names, paths and groups, each once, with a protocol, a profile and `key=value` overrides applied."""
    files = list(_expand_groups(names, ()))
    if protocol == "default":  # what a task is run by without the option
        protocol = None
    if protocol is not None:
        _check_protocol(files, protocol)
    for _, _, file in files:
        if protocol is not None:
            _apply_protocol(file, protocol)
        if profile:
            profile.apply(file)
    first: dict[str, Path] = {}
    for name, path, _ in files:
        if first.setdefault(name, path) != path:
            places = " and ".join(map(display_path, (first[name], path)))
            raise UsageError(f"two tasks are named '{name}': {places}")
    pairs = [_parse_override(text) for text in overrides]
    for key, _, text in pairs:
        if not any(_override_target(file, key) for _, _, file in files):
            known = {*_names(Definition), *(o for _, _, f in files for o in f.data.get("options", {}))}
            raise UsageError(f"{override(text)}: {unknown_name('key', str(key[0]), known)}")
    tasks = []
    for name, path, file in files:
        for key, value, text in pairs:
            if place := _override_target(file, key):
                apply_override(file, place, value, text)
        tasks.append(Task(name, path, file))
    return tasks


def _check_protocol(files: Sequence[tuple[str, Path, YamlFile]], protocol: str) -> None:
    """UnknownProtocol if no task has this protocol; tasks without protocols accept any that another task has."""
    known = {name: _protocols(file) for name, _, file in files}
    if any(protocol in protocols for protocols in known.values()):
        return
    if task := next((name for name, protocols in known.items() if protocols), None):
        raise UnknownProtocol(f"task {task}: {unknown_name('protocol', protocol, known[task])}")
    if protocol not in (others := _protocols_of_all()):
        where = f"task {files[0][0]}" if len(files) == 1 else "these tasks"
        raise UnknownProtocol(f"{where}: {unknown_name('protocol', protocol, ['default', *others])}")


def _protocols_of_all() -> set[str]:
    """The protocols of all available tasks."""
    names = set[str]()
    for path in plugins.available("tasks", "**/*.yaml").values():
        with suppress(UsageError):  # a mistake in the file of a task that is not run
            names |= set(_protocols(YamlFile.read(path)))
    return names


def _protocols(file: YamlFile) -> dict[str, Any]:
    """The protocols of a task file; UsageError if they are not mappings."""
    protocols = file.data.get("protocols") or {}
    if not isinstance(protocols, dict) or not all(isinstance(keys, dict) for keys in protocols.values()):
        file.convert(Definition)  # raises the error
    return dict(protocols)


def _apply_protocol(file: YamlFile, protocol: str) -> None:
    """Override a task's keys by one of its protocols; a task without it stays as it is."""
    known = _protocols(file)
    if protocol in known:
        file.protocol = protocol
        file.data = yaml_file.deep_merge(file.data, known[protocol])
        file.lines |= {
            key[2:]: line for key, line in file.lines.items() if len(key) > 2 and key[:2] == ("protocols", protocol)
        }


def _names(struct: type[Struct]) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(struct)]


def _parse_override(text: str) -> tuple[Key, Any, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"{override(text)}: write key=value, for example {override('generation.temperature=0.6')}")
    return tuple(name.split(".")), yaml_file.parse_value(value), text


def _override_target(file: YamlFile, key: Key) -> Key | None:
    """The key that an override sets: one of the task file, or an option of its generator by its bare name."""
    if key[0] in _names(Definition):
        return key
    return ("options", *key) if key[0] in file.data.get("options", {}) else None


def apply_override(file: YamlFile, key: Key, value: Any, text: str) -> None:
    """Merge a value into a task file; errors at its key name `--set` with the text."""
    if key[0] == "options" and len(key) > 1 and key[1] not in (known := file.data.get("options", {})):
        raise UsageError(f"{override(text)}: {unknown_name('option', str(key[1]), known)}")
    nested: Any = value
    for name in reversed(key):
        nested = {name: nested}
    file.data = yaml_file.deep_merge(file.data, nested)
    place = (Path(override(text)), 0)
    for length in range(1, len(key)):
        file.lines.setdefault(key[:length], place)
    file.lines[key] = place


def _expand_groups(names: Sequence[str], within: tuple[Path, ...]) -> Iterator[tuple[str, Path, YamlFile]]:
    seen: set[Path] = set()
    for name in names:
        path = plugins.find("tasks", name, "**/*.yaml")
        if path in within:
            raise UsageError(f"{display_path(path)}: the group contains itself")
        if path in seen:
            continue
        seen.add(path)
        file = YamlFile.read(path)
        members = file.data.get("tasks")
        if members is None:
            yield path.stem, path, file
            continue
        group = file.convert(Definition)
        if not group.tasks:
            raise file.error(("tasks",), "the group has no members; write tasks: [NAME, NAME]")
        if extra := set(file.data) - {"title", "description", "tags", "tasks"}:
            raise file.error((min(extra),), f"a group has title, description, tags and tasks, not '{min(extra)}'")
        for i, member in enumerate(group.tasks):
            inner = str(path.parent / member) if member.endswith(".yaml") else member
            try:
                plugins.find("tasks", inner, "**/*.yaml")
            except UsageError as error:
                raise file.error(("tasks", i), str(error)) from None
            for item in _expand_groups([inner], (*within, path)):
                if item[1] not in seen:
                    seen.add(item[1])
                    yield item
