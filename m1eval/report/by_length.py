"""The report by prompt length: after a run that has lengths, and for any run by `m1eval lengths`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from m1eval import terminal
from m1eval.analysis import by_length
from m1eval.analysis.by_length import Band, RunLengths
from m1eval.analysis.effective_length import effective
from m1eval.errors import UsageError
from m1eval.report import heatmap
from m1eval.report.markdown import table
from m1eval.store.folders import find_runs
from m1eval.store.stored import StoredRun
from m1eval.text import display_path, format_interval, format_score, format_tokens, plural
from m1eval.types import EffectiveLengthRule


def after_runs(runs: Sequence[StoredRun]) -> None:
    """Print the results of runs over lengths and draw their heat maps; then the means over tasks of one benchmark.

    Nothing for other runs.
    """
    over_lengths = list(filter(None, map(by_length.read_if_requested, runs)))
    benchmarks = by_length.benchmarks(over_lengths)
    for run in over_lengths:
        alone = not any(run in parts for parts in benchmarks)
        terminal.block(f"\n{_text(run, (), None, alone=alone)}\n")
    for parts in benchmarks:
        terminal.block(f"\n{_mean(parts, ())}\n")


def show(
    folders: Sequence[Path],
    *,
    edges: Sequence[int],
    threshold: float | None,
    by: str | None,
    svg: Path | None,
    as_json: bool,
) -> None:
    """Print the scores of runs by prompt length, as text or JSON, and the means over tasks of one benchmark.

    `folders`: runs, or folders that hold runs; of the latter, runs without lengths are left out with a note.
    `threshold`: of the effective length; None: the task's own, else 0.85. `svg`: where the heat map of a single run
    goes. UsageError if a folder is not a run or has no lengths.
    """
    runs = [run for folder in folders for run in _read(folder, threshold)]
    if svg and len(runs) > 1:
        raise UsageError(f"--svg goes with one run, and these are {len(runs)}")
    if svg and (grid := by_length.grid(runs[0].entries, by, edges)):
        svg.write_text(heatmap.svg(grid, runs[0].task), encoding="utf-8")
    benchmarks = by_length.benchmarks(runs)
    if as_json:
        for run in runs:
            terminal.json(_data(run, edges, by))
        for parts in benchmarks:
            terminal.json(_data(by_length.joined(parts), edges, by) | {"tasks": [part.task for part in parts]})
        return
    for number, run in enumerate(runs):
        if len(runs) > 1:
            terminal.block(("\n" if number else "") + f"{_title(run)}:\n")
        terminal.block(_text(run, edges, by, alone=not any(run in parts for parts in benchmarks)))
    for parts in benchmarks:
        terminal.block(f"\n{_mean(parts, edges)}")


def _title(run: RunLengths) -> str:
    return terminal.cell(f"{run.task}, {run.model} ({display_path(run.path)})")


def _read(folder: Path, threshold: float | None) -> list[RunLengths]:
    """The run in a folder, or those below it whose samples have lengths."""
    paths = find_runs(folder)
    if not paths or paths == [folder]:
        return [by_length.read(_open(folder), threshold)]
    runs, without = [], []
    for path in paths:
        try:
            runs.append(by_length.read(_open(path), threshold))
        except by_length.NoLengths:
            without.append(path)
    if not runs:
        raise UsageError(
            f"{display_path(folder)}: no sample of the {plural(len(paths), 'run')} says how long its prompt was"
        )
    for path in without:
        terminal.line(f"note: {display_path(path)} is left out: no sample says how long its prompt was", err=True)
    return runs


def _open(path: Path) -> StoredRun:
    """A run; without metadata if its run.json cannot be read, as the journal alone has scores by length."""
    try:
        return StoredRun.open(path)
    except UsageError:
        return StoredRun(path, {})


def _mean(parts: Sequence[RunLengths], edges: Sequence[int]) -> str:
    """The table and the verdict of several tasks' mean by length."""
    joined = by_length.joined(parts)
    bands = by_length.bands(joined.entries, edges)
    title = terminal.cell(f"{joined.task}, mean over {plural(max(len(band.parts) for band in bands), 'subtask')}")
    verdicts = [f"{title}: {line}" for line in _verdict_lines(bands, joined.rule, titled=True)]
    return "\n".join([f"{title}:", "", table(*table_cells(bands)), "", *verdicts])


def _text(run: RunLengths, edges: Sequence[int], by: str | None, *, alone: bool) -> str:
    """The table by length, the heat map, and unless the run is a part of a benchmark's mean the verdict."""
    bands = by_length.bands(run.entries, edges)
    parts = [table(*table_cells(bands))]
    grid = by_length.grid(run.entries, by, edges)
    parts.append("")
    if grid and len(grid.rows) * len(grid.columns) > 1:
        parts += [heatmap.blocks(grid, run.task), ""]
        if run.path.is_dir():
            (run.path / "heatmap.svg").write_text(heatmap.svg(grid, run.task), encoding="utf-8")
    if alone:
        parts += [f"{terminal.cell(run.task)}: {line}" for line in _verdict_lines(bands, run.rule)]
    return "\n".join(parts)


def _verdict_lines(bands: Sequence[Band], rule: EffectiveLengthRule, *, titled: bool = False) -> list[str]:
    """The effective length, and what a reader must know of the means it rests on, unless a title says so."""
    bands_with_length = [band for band in bands if band.longest]
    lines = [effective_line(bands_with_length, rule)]
    if (n_subtasks := max(len(band.parts) for band in bands)) > 1 and not titled:
        lines.append(f"scores by length are means over {n_subtasks} subtasks, equally weighted")
    return lines + list(filter(None, [caution(bands_with_length, rule)]))


def _data(run: RunLengths, edges: Sequence[int], by: str | None) -> dict[str, Any]:
    bands, rule = by_length.bands(run.entries, edges), run.rule
    grid = by_length.grid(run.entries, by, edges)
    result = effective([band for band in bands if band.longest], rule.threshold)
    standings = dict(zip((band.longest for band in bands if band.longest), result.standings, strict=True))
    return {
        "task": run.task,
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
        "caution": caution([band for band in bands if band.longest], rule) or None,
        "grid": grid
        and {
            "by": grid.name,
            "cells": [
                {"row": row, "column": column, "score": tally.score, "samples": tally.samples, "answers": tally.scored}
                for (row, column), tally in grid.cells.items()
            ],
        },
    }


def table_cells(bands: Sequence[Band]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table by length; `n` counts samples, what follows it answers."""
    several = any(band.tally.scored > band.samples for band in bands)
    head = ["prompt tokens", "score", "95% interval", "n", *(["answers"] if several else []), "truncated", "refused"]
    rows = []
    for band in bands:
        counts = [band.samples, *([band.tally.scored] if several else [])]
        counts += [band.tally.outcomes["truncated"], band.tally.outcomes["refused_context"]]
        rows.append([band.label, format_score(band.score), format_interval(band.bounds()), *map(str, counts)])
    return head, rows


def effective_line(bands: Sequence[Band], rule: EffectiveLengthRule) -> str:
    """The effective length in a line, with the lengths that are missed and those that are not decided."""
    length = effective(bands, rule.threshold)
    named = f"score ≥ {rule.threshold:g}" + (f", the threshold of {rule.name}" if rule.name else "")
    labels: dict[str, list[str]] = {"reached": [], "missed": [], "undecided": []}
    for band, how in zip(bands, length.standings, strict=True):
        if how != "reached" or (length.longest is None or band.longest > length.longest):
            labels[how].append(band.label)
    if length.longest is not None:
        parts = [f"at least {format_tokens(length.longest)} ({named})"]
    elif length.standings and length.standings[0] == "missed":
        parts = [f"none ({named}), not even {format_tokens(bands[0].longest)}"]
        labels["missed"] = labels["missed"][1:]
    else:
        parts = [f"not known ({named})"]
    if labels["missed"]:
        parts.append(f"not {', '.join(labels['missed'])}")
    if labels["undecided"]:
        few = [band for band, is_few in zip(bands, length.too_few, strict=True) if is_few]
        why = f" ({_size(min(few, key=lambda band: band.samples))} is too few to tell)" if few else ""
        parts.append(f"undecided at {', '.join(labels['undecided'])}{why}")
    if labels["reached"]:
        parts.append(f"reached at {', '.join(labels['reached'])}, but not at every shorter length")
    return "effective context length: " + "; ".join(parts)


def _size(band: Band) -> str:
    texts = band.tally.clusters
    return f"n = {band.samples}" + (f" on {texts} texts" if 1 < texts < band.samples else "")


def caution(bands: Sequence[Band], rule: EffectiveLengthRule) -> str:
    """Note on how the mean differs from the rule of the benchmark; empty if it does not."""
    n = max((len(band.parts) for band in bands), default=0)
    if not rule.subtasks or all(len(band.parts) == rule.subtasks for band in bands):
        return ""
    number = f"{n} of {rule.subtasks} subtasks" if n < rule.subtasks else "some of the subtasks at some lengths"
    return f"a mean of {number}, which is not {rule.name}'s rule" + (f"; {rule.without}" if rule.without else "")
