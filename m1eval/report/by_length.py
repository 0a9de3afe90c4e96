"""The report by prompt length: after a run that has lengths, and for any run by `m1eval lengths`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from m1eval import metadata, terminal
from m1eval.errors import UsageError
from m1eval.report import heatmap, lengths
from m1eval.source import show as show_path


def after_run(folder: Path, name: str) -> None:
    """Print what a run over lengths has to say, and draw its heat map; nothing for other runs."""
    journal = folder / "samples.jsonl"
    first = next(lengths.entries(folder), None) if journal.is_file() else None
    if first is None or not isinstance(first.metadata.get("length"), int):
        return
    found = list(lengths.entries(folder))
    terminal.block(f"\n{_text(folder, name, found, (), lengths.THRESHOLD, None)}\n")


def show(
    folder: Path, *, edges: Sequence[int], threshold: float, by: str | None, svg: Path | None, as_json: bool
) -> None:
    """Print the scores of a run by prompt length, as text or JSON; UsageError if it is no run or has no lengths."""
    found = list(lengths.entries(folder))
    if not any(entry.length for entry in found):
        raise UsageError(f"{show_path(folder)}: no sample says how long its prompt was")
    name = _name(folder)
    if svg and (grid := lengths.grid(found, by, edges)):
        svg.write_text(heatmap.svg(grid, name), encoding="utf-8")
    if as_json:
        terminal.json(_data(name, found, edges, threshold, by))
    else:
        terminal.block(_text(folder, name, found, edges, threshold, by))


def _text(
    folder: Path,
    name: str,
    found: Sequence[lengths.Entry],
    edges: Sequence[int],
    threshold: float,
    by: str | None,
) -> str:
    from m1eval.report.table import markdown

    bands = lengths.bands(found, edges)
    parts = [markdown(*lengths.rows(bands))]
    grid = lengths.grid(found, by, edges)
    if grid and len(grid.rows) * len(grid.columns) > 1:
        parts += ["", heatmap.blocks(grid, name), ""]
        if folder.is_dir():
            (folder / "heatmap.svg").write_text(heatmap.svg(grid, name), encoding="utf-8")
    parts.append(f"{terminal.cell(name)}: {lengths.verdict(bands, threshold)}")
    return "\n".join(parts)


def _data(
    name: str, found: Sequence[lengths.Entry], edges: Sequence[int], threshold: float, by: str | None
) -> dict[str, Any]:
    bands = lengths.bands(found, edges)
    grid = lengths.grid(found, by, edges)
    return {
        "task": name,
        "lengths": [
            {
                "longest": band.longest,
                "score": band.tally.score,
                "stderr": band.tally.stderr,
                "interval": lengths.interval(band.tally),
                "samples": band.tally.samples,
                "outcomes": dict(band.tally.outcomes),
            }
            for band in bands
        ],
        "threshold": threshold,
        "effective": lengths.effective(bands, threshold),
        "grid": grid
        and {
            "by": grid.name,
            "cells": [
                {"row": row, "column": column, "score": tally.score, "samples": tally.samples}
                for (row, column), tally in grid.cells.items()
            ],
        },
    }


def _name(folder: Path) -> str:
    try:
        return str(metadata.read(folder / "run.json")["task"])
    except (UsageError, KeyError):
        return folder.name
