"""`m1eval tasks`: what there is, by file name; one broken file does not hide the others."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from m1eval import plugins, terminal
from m1eval.errors import UsageError
from m1eval.task.definition import parse
from m1eval.text import display_path, plural, unknown_name
from m1eval.yaml_file import YamlFile


def show(names: Sequence[str], tags: Sequence[str] = (), *, as_json: bool) -> int:
    """Print a line for each task, or all that the named ones say; 1 if a file is broken."""
    files = {name: plugins.find("tasks", name, "**/*.yaml") for name in names} or plugins.available(
        "tasks", "**/*.yaml"
    )
    broken = 0
    rows: list[dict[str, Any]] = []
    for name, path in files.items():
        try:
            definition = parse(YamlFile.read(path))
        except UsageError as error:
            terminal.line(f"Error: {error}", err=True)
            broken = 1
            continue
        rows.append({"task": name, "file": display_path(path), **msgspec.to_builtins(definition)})
    if tags:
        rows = _tagged(rows, tags)
    if as_json:
        terminal.json(rows)
    elif names:
        for row in rows:
            _print_task(row)
    else:
        _print_table(rows)
    return broken


def _tagged(rows: list[dict[str, Any]], tags: Sequence[str]) -> list[dict[str, Any]]:
    """The rows with one of the tags; UsageError for a tag that none has."""
    tags_in_use = {tag for row in rows for tag in row.get("tags", [])}
    for tag in tags:
        if tag not in tags_in_use:
            raise UsageError(f"--tag: {unknown_name('tag', tag, tags_in_use or ['none'])}")
    return [row for row in rows if set(tags) & set(row.get("tags", []))]


def _print_table(rows: list[dict[str, Any]]) -> None:
    """The table: a header, a line for each task, and how many there are."""
    cells: list[tuple[str, ...]] = [("task", "graded by", "samples", "title", "tags")]
    cells += [tuple(map(terminal.cell, (r["task"], _graded_by(r), _samples(r), r["title"], _tags(r)))) for r in rows]
    widths = [max(len(cell[i]) for cell in cells) for i in range(4)]
    for cell in cells:
        padded = [cell[i].rjust(width) if i == 2 else cell[i].ljust(width) for i, width in enumerate(widths)]
        terminal.line("  ".join([*padded, cell[4]]).rstrip())
    groups = sum("tasks" in row for row in rows)
    terminal.line()
    terminal.line(f"{plural(len(rows) - groups, 'task')}, {plural(groups, 'group')}")


def _samples(row: dict[str, Any]) -> str:
    """The number of samples, as far as the task file says it; the members of a group."""
    if "tasks" in row:
        return plural(len(row["tasks"]), "task")
    rows = row.get("dataset", {}).get("rows", "")
    if "samples" in row.get("options", {}):  # made of the rows, in any number
        return "generated"
    return f"{rows:,}" if isinstance(rows, int) else "generated" if "generate" in row.get("dataset", {}) else "–"


def _tags(row: dict[str, Any]) -> str:
    """The tags, and whether the data are only for those who accepted their terms."""
    gated = row.get("dataset", {}).get("gated")
    return ", ".join([*row.get("tags", []), *(["gated (HF_TOKEN)"] if gated else [])])


def _graded_by(row: dict[str, Any]) -> str:
    """The scorer of a task, or a note that it is a group."""
    scorer = row.get("scorer", "")
    return "group" if "tasks" in row else scorer if isinstance(scorer, str) else next(iter(scorer))


def _print_task(row: dict[str, Any]) -> None:
    """Print every key of a task, long texts on lines of their own."""
    for key, value in row.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if "\n" in text:
            text = "\n" + "\n".join(f"    {line}" for line in text.rstrip().split("\n"))
        terminal.block(f"{key}: {text}")
    terminal.line()
