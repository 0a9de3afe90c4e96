"""The report by prompt length: after a run that has lengths, and for any run by `m1eval lengths`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from m1eval import terminal
from m1eval.analysis import by_length
from m1eval.analysis.effective_length import caution, effective, verdict
from m1eval.errors import UsageError
from m1eval.report import heatmap
from m1eval.report.markdown import table
from m1eval.run.planned_run import PlannedRun
from m1eval.store import metadata
from m1eval.store.folders import find_runs
from m1eval.store.journal_state import records
from m1eval.task.definition import EffectiveLengthRule
from m1eval.text import plural
from m1eval.yaml_file import display_path as show_path


class NoLengths(UsageError):
    """No sample of a run says how long its prompt was."""


class RunLengths(NamedTuple):
    """What is needed here of a run."""

    folder: Path
    task: str
    model: str
    rule: EffectiveLengthRule
    entries: list[by_length.Entry]


def after_runs(runs: Sequence[PlannedRun]) -> None:
    """Print what runs over lengths have to say and draw their heat maps; then the means over tasks of one benchmark.

    Nothing for other runs.
    """
    found = []
    for run in runs:
        if entries := _over_lengths(run):
            rule = run.run.task.definition.effective_length or EffectiveLengthRule(by_length.THRESHOLD)
            found.append(RunLengths(run.run.folder, run.run.task.name, run.run.model.spec, rule, entries))
    together = _together(found)
    for each in found:
        alone = not any(each in parts for parts in together)
        terminal.block(f"\n{_text(each, (), None, alone=alone)}\n")
    for parts in together:
        terminal.block(f"\n{_mean(parts, ())}\n")


def _over_lengths(run: PlannedRun) -> list[by_length.Entry]:
    """The records of a run if its samples have lengths that were asked for."""
    journal = run.run.folder / "samples.jsonl"
    scored = (record for record in records(journal) if record.outcome != "errored")
    first = next(scored, None) if journal.is_file() else None
    if first is None or not isinstance(first.metadata.get("length"), int):
        return []
    return list(by_length.entries(run.run.folder, run.plan.done.strangers))


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
    goes. UsageError if a folder is no run or has no lengths.
    """
    found = [each for folder in folders for each in _found(folder, threshold)]
    if svg and len(found) > 1:
        raise UsageError(f"--svg goes with one run, and these are {len(found)}")
    if svg and (grid := by_length.grid(found[0].entries, by, edges)):
        svg.write_text(heatmap.svg(grid, found[0].task), encoding="utf-8")
    together = _together(found)
    if as_json:
        for each in found:
            terminal.json(_data(each, edges, by))
        for parts in together:
            terminal.json(_data(_joined(parts), edges, by) | {"tasks": [each.task for each in parts]})
        return
    for number, each in enumerate(found):
        if len(found) > 1:
            terminal.block(("\n" if number else "") + f"{_title(each)}:\n")
        terminal.block(_text(each, edges, by, alone=not any(each in parts for parts in together)))
    for parts in together:
        terminal.block(f"\n{_mean(parts, edges)}")


def _title(run: RunLengths) -> str:
    return terminal.cell(f"{run.task}, {run.model} ({show_path(run.folder)})")


def _found(folder: Path, threshold: float | None) -> list[RunLengths]:
    """The run in a folder, or those below it whose samples have lengths."""
    runs = find_runs(folder)
    if not runs or runs == [folder]:
        return [_stored(folder, threshold)]
    found, without = [], []
    for run in runs:
        try:
            found.append(_stored(run, threshold))
        except NoLengths:
            without.append(run)
    if not found:
        raise UsageError(
            f"{show_path(folder)}: no sample of the {plural(len(runs), 'run')} says how long its prompt was"
        )
    for run in without:
        terminal.line(f"note: {show_path(run)} is left out: no sample says how long its prompt was", err=True)
    return found


def _stored(folder: Path, threshold: float | None) -> RunLengths:
    """A run as it is on disk."""
    about = _about(folder)
    found = list(by_length.entries(folder, set(about.get("strangers") or ())))
    if not any(entry.length for entry in found):
        raise NoLengths(f"{show_path(folder)}: no sample says how long its prompt was")
    own = _rule(about)
    if threshold is None:
        rule = own or EffectiveLengthRule(by_length.THRESHOLD)
    elif threshold == by_length.RULER:
        rule = own if own and own.threshold == threshold else EffectiveLengthRule(threshold, "RULER", 13)
    else:
        rule = EffectiveLengthRule(threshold, own.name) if own else EffectiveLengthRule(threshold)
    return RunLengths(folder, str(about.get("task") or folder.name), str(about.get("model", "")), rule, found)


def _together(found: Sequence[RunLengths]) -> list[list[RunLengths]]:
    """The runs of one model on tasks of one benchmark, where there are several."""
    groups: dict[tuple[str, str], dict[str, RunLengths]] = {}
    for each in found:
        if each.rule.name:
            groups.setdefault((each.rule.name, each.model), {}).setdefault(each.task, each)
    return [list(parts.values()) for parts in groups.values() if len(parts) > 1]


def _joined(parts: Sequence[RunLengths]) -> RunLengths:
    """Several tasks as one; samples of two tasks never have the same id."""
    entries = [
        msgspec.structs.replace(entry, id=f"{each.task}\0{entry.id}") for each in parts for entry in each.entries
    ]
    first = parts[0]
    return first._replace(task=first.rule.name, entries=entries)


def _mean(parts: Sequence[RunLengths], edges: Sequence[int]) -> str:
    """The table and the verdict of several tasks' mean by length."""
    joined = _joined(parts)
    bands = by_length.bands(joined.entries, edges)
    title = terminal.cell(f"{joined.task}, mean over {plural(max(len(band.parts) for band in bands), 'subtask')}")
    verdicts = [f"{title}: {line}" for line in _verdict(bands, joined.rule, titled=True)]
    return "\n".join([f"{title}:", "", table(*by_length.rows(bands)), "", *verdicts])


def _text(run: RunLengths, edges: Sequence[int], by: str | None, *, alone: bool) -> str:
    """The table by length, the heat map, and unless the run is a part of a benchmark's mean the verdict."""
    bands = by_length.bands(run.entries, edges)
    parts = [table(*by_length.rows(bands))]
    grid = by_length.grid(run.entries, by, edges)
    parts.append("")
    if grid and len(grid.rows) * len(grid.columns) > 1:
        parts += [heatmap.blocks(grid, run.task), ""]
        if run.folder.is_dir():
            (run.folder / "heatmap.svg").write_text(heatmap.svg(grid, run.task), encoding="utf-8")
    if alone:
        parts += [f"{terminal.cell(run.task)}: {line}" for line in _verdict(bands, run.rule)]
    return "\n".join(parts)


def _verdict(bands: Sequence[by_length.Band], rule: EffectiveLengthRule, *, titled: bool = False) -> list[str]:
    """The effective length, and what a reader must know of the means it rests on, unless a title says so."""
    known = [band for band in bands if band.longest]
    lines = [verdict(known, rule)]
    if (most := max(len(band.parts) for band in bands)) > 1 and not titled:
        lines.append(f"scores by length are means over {most} subtasks, which weigh the same")
    return lines + list(filter(None, [caution(known, rule)]))


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


def _about(folder: Path) -> dict[str, Any]:
    """What run.json says; nothing if there is none that can be read."""
    try:
        return metadata.read(folder / "run.json")
    except UsageError:
        return {}


def _rule(about: dict[str, Any]) -> EffectiveLengthRule | None:
    """The task's rule, as the run has written it."""
    try:
        return msgspec.convert(about["effective_length"], EffectiveLengthRule)
    except (KeyError, msgspec.ValidationError):
        return None
