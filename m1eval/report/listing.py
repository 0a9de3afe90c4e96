"""`m1eval tasks`: what there is, by file name; one broken file does not hide the others."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from m1eval import plugins, terminal
from m1eval.definition import Definition
from m1eval.errors import UsageError
from m1eval.source import Source
from m1eval.source import show as show_path


def show(names: Sequence[str], *, as_json: bool) -> int:
    """Print a line for each task, or all that the named ones say; 1 if a file is broken."""
    known = {name: plugins.find("tasks", name, "**/*.yaml") for name in names} or plugins.available(
        "tasks", "**/*.yaml"
    )
    broken = 0
    rows: list[dict[str, Any]] = []
    for name, path in known.items():
        try:
            definition = Source.read(path).convert(Definition)
        except UsageError as error:
            terminal.line(f"Error: {error}", err=True)
            broken = 1
            continue
        rows.append({"task": name, "file": show_path(path), **msgspec.to_builtins(definition)})
    if as_json:
        terminal.json(rows)
    elif names:
        for row in rows:
            _whole(row)
    else:
        _lines(rows)
    return broken


def _lines(rows: list[dict[str, Any]]) -> None:
    cells = [tuple(map(terminal.cell, (row["task"], _kind(row), row["title"], _tags(row)))) for row in rows]
    widths = [max((len(cell[i]) for cell in cells), default=0) for i in range(3)]
    for cell in cells:
        terminal.line(
            "  ".join([*(text.ljust(width) for text, width in zip(cell, widths, strict=False)), cell[3]]).rstrip()
        )


def _tags(row: dict[str, Any]) -> str:
    """The tags, and whether the data are for those alone who accepted terms."""
    gated = row.get("dataset", {}).get("gated")
    return ", ".join([*row.get("tags", []), *(["gated (HF_TOKEN)"] if gated else [])])


def _kind(row: dict[str, Any]) -> str:
    """What grades it, or that it is a group."""
    scorer = row.get("scorer", "")
    return "group" if "tasks" in row else scorer if isinstance(scorer, str) else next(iter(scorer))


def _whole(row: dict[str, Any]) -> None:
    """Every key of a task, long texts on lines of their own."""
    for key, value in row.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if "\n" in text:
            text = "\n" + "\n".join(f"    {line}" for line in text.rstrip().split("\n"))
        terminal.block(f"{key}: {text}")
    terminal.line()
