"""`m1eval tasks`: a line for each task, or every key of the named ones."""

import json
from collections.abc import Sequence
from typing import Any

from m1eval import terminal
from m1eval.text import plural


def show(rows: Sequence[dict[str, Any]], *, as_json: bool, in_full: bool) -> None:
    """Print the rows of `m1eval.task.listing`; `in_full`: all that they say instead of a table."""
    if as_json:
        terminal.json(list(rows))
    elif in_full:
        for row in rows:
            _print_task(row)
    else:
        _print_table(rows)


def _print_table(rows: Sequence[dict[str, Any]]) -> None:
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
