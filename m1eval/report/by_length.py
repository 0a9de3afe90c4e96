"""The report by prompt length: after a run that has lengths, and for any run by `m1eval lengths`."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from m1eval import metadata, terminal
from m1eval.definition import Rule
from m1eval.errors import UsageError
from m1eval.journal import records
from m1eval.report import heatmap, lengths
from m1eval.report.effective import caution, effective, verdict
from m1eval.report.markdown import markdown
from m1eval.run import Run
from m1eval.source import show as show_path


def after_runs(runs: Sequence[Run]) -> None:
    """Print what runs over lengths have to say and draw their heat maps; then the means over tasks of one benchmark.

    Nothing for other runs.
    """
    found = [(run, entries) for run in runs if (entries := _over_lengths(run))]
    rules = {run: run.task.definition.effective_length or Rule(lengths.THRESHOLD) for run, _ in found}
    names = Counter(rule.name for rule in rules.values() if rule.name)
    for run, entries in found:
        rule = rules[run]
        alone = names[rule.name] < 2
        terminal.block(f"\n{_text(run.folder, run.task.name, entries, (), rule if alone else None, None)}\n")
    for name in (name for name, number in names.items() if number > 1):
        every = [entry for run, entries in found for entry in entries if rules[run].name == name]
        bands, rule = lengths.bands(every), next(rule for rule in rules.values() if rule.name == name)
        title = f"{name}, mean over {max(len(band.parts) for band in bands)} subtasks"
        verdicts = [f"{title}: {line}" for line in _verdict(bands, rule)]
        terminal.block("\n".join(["", f"{title}:", "", markdown(*lengths.rows(bands)), *verdicts, ""]))


def _over_lengths(run: Run) -> list[lengths.Entry]:
    """The records of a run if its samples have lengths that were asked for."""
    journal = run.folder / "samples.jsonl"
    first = next(records(journal), None) if journal.is_file() else None
    if first is None or run.work is None or not isinstance(first.metadata.get("length"), int):
        return []
    return list(lengths.entries(run.folder, run.work.done.strangers))


def show(folder: Path, *, edges: Sequence[int], rule: Rule, by: str | None, svg: Path | None, as_json: bool) -> None:
    """Print the scores of a run by prompt length, as text or JSON; UsageError if it is no run or has no lengths."""
    found = list(lengths.entries(folder))
    if not any(entry.length for entry in found):
        raise UsageError(f"{show_path(folder)}: no sample says how long its prompt was")
    name = _name(folder)
    if svg and (grid := lengths.grid(found, by, edges)):
        svg.write_text(heatmap.svg(grid, name), encoding="utf-8")
    if as_json:
        terminal.json(_data(name, found, edges, rule, by))
    else:
        terminal.block(_text(folder, name, found, edges, rule, by))


def _text(
    folder: Path,
    name: str,
    found: Sequence[lengths.Entry],
    edges: Sequence[int],
    rule: Rule | None,
    by: str | None,
) -> str:
    bands = lengths.bands(found, edges)
    parts = [markdown(*lengths.rows(bands))]
    grid = lengths.grid(found, by, edges)
    if grid and len(grid.rows) * len(grid.columns) > 1:
        parts += ["", heatmap.blocks(grid, name), ""]
        if folder.is_dir():
            (folder / "heatmap.svg").write_text(heatmap.svg(grid, name), encoding="utf-8")
    if rule is not None:
        parts += [f"{terminal.cell(name)}: {line}" for line in _verdict(bands, rule)]
    return "\n".join(parts)


def _verdict(bands: Sequence[lengths.Band], rule: Rule) -> list[str]:
    """The effective length, and what a reader must know of the means it rests on."""
    known = [band for band in bands if band.longest]
    lines = [verdict(known, rule)]
    if (most := max(len(band.parts) for band in bands)) > 1:
        lines.append(f"scores by length are means over {most} subtasks, which weigh the same")
    return lines + list(filter(None, [caution(known, rule)]))


def _data(
    name: str, found: Sequence[lengths.Entry], edges: Sequence[int], rule: Rule, by: str | None
) -> dict[str, Any]:
    bands = lengths.bands(found, edges)
    grid = lengths.grid(found, by, edges)
    result = effective([band for band in bands if band.longest], rule.threshold)
    standings = dict(zip((band.longest for band in bands if band.longest), result.standings, strict=True))
    return {
        "task": name,
        "lengths": [
            {
                "longest": band.longest,
                "score": band.score,
                "stderr": band.stderr,
                "interval": band.bounds(),
                "standing": standings.get(band.longest),
                "samples": band.samples,
                "subtasks": len(band.parts),
                "outcomes": dict(band.tally.outcomes),
            }
            for band in bands
        ],
        "threshold": rule.threshold,
        "effective": result.longest,
        "grid": grid
        and {
            "by": grid.name,
            "cells": [
                {"row": row, "column": column, "score": tally.score, "samples": tally.samples, "answers": tally.scored}
                for (row, column), tally in grid.cells.items()
            ],
        },
    }


def _name(folder: Path) -> str:
    try:
        return str(metadata.read(folder / "run.json")["task"])
    except (UsageError, KeyError):
        return folder.name
