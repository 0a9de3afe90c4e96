"""Rows of a listing from task files; one broken file does not hide the others."""

from collections.abc import Sequence
from typing import Any

import msgspec

from m1eval import plugins
from m1eval.errors import UsageError
from m1eval.task.definition import parse
from m1eval.text import display_path, unknown_name
from m1eval.yaml_file import YamlFile

Row = dict[str, Any]
"""The keys of a task file, its name in `task` and its path in `file`."""


def read(names: Sequence[str]) -> tuple[list[Row], list[UsageError]]:
    """The named tasks, or all of them, and an error for each file that is broken."""
    files = {name: plugins.find("tasks", name, "**/*.yaml") for name in names}
    rows: list[Row] = []
    errors: list[UsageError] = []
    for name, path in (files or plugins.available("tasks", "**/*.yaml")).items():
        try:
            definition = parse(YamlFile.read(path))
        except UsageError as error:
            errors.append(error)
            continue
        rows.append({"task": name, "file": display_path(path), **msgspec.to_builtins(definition)})
    return rows, errors


def with_tags(rows: Sequence[Row], tags: Sequence[str]) -> list[Row]:
    """The rows with one of the tags; UsageError for a tag that none has."""
    tags_in_use = {tag for row in rows for tag in row.get("tags", [])}
    for tag in tags:
        if tag not in tags_in_use:
            raise UsageError(f"--tag: {unknown_name('tag', tag, tags_in_use or ['none'])}")
    return [row for row in rows if set(tags) & set(row.get("tags", []))]
