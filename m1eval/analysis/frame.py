"""Stored runs as pandas data frames."""

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m1eval.errors import UsageError
from m1eval.plugins import missing_package
from m1eval.store.folders import find_runs, missing_file
from m1eval.store.parquet import flat_record
from m1eval.store.stored import StoredRun

if TYPE_CHECKING:
    import pandas


Patterns = str | Path | Iterable[str | Path]


def read(pattern: Patterns = "results/**") -> "pandas.DataFrame":
    """All answers of the runs in folders that match, one row per (sample, repeat), as a pandas DataFrame.

    Columns: `task`, `model`, `path`, then those of a record; `metrics`, `metadata`, `verdicts` and `tool_calls` stay
    objects. `value` is null where an answer errored, which is neither right nor wrong.
    UsageError if no run is there.
    """
    return answers_frame(map(StoredRun.open, _folders(pattern)), _shown(pattern))


def answers_frame(runs: Iterable[StoredRun], source: object) -> "pandas.DataFrame":
    """All answers of some runs, as `read` gives them; `source` names them in the error."""
    rows = [
        {
            **_run_columns(run),
            **flat_record(record),
            "metrics": record.metrics,
            "metadata": record.metadata,
            "tool_calls": record.tool_calls,
            "transcript": record.transcript,
            "verdicts": record.verdicts,
        }
        for run in runs
        if _has_answers(run)
        for record in run.records()
    ]
    if not rows:
        raise UsageError(_nothing_in(source))
    frame = _frame(rows)
    frame["value"] = frame["value"].astype(float)  # a column of nulls alone would hold objects
    return frame


def read_results(pattern: Patterns = "results/**") -> "pandas.DataFrame":
    """All samples of the runs in folders that match, one row per sample, as a pandas DataFrame.

    Columns: `task`, `model`, `path`, `id`, `group` (the value of the column that the task averages over, else empty),
    `score` (the mean of the sample's scored answers; null if there is none), `answers` (their number), `errored` (how
    many errored besides) and `tokens` (the mean of new tokens of its scored answers). The mean of `score` within each
    group, and of these means, is the score of the run, whatever the numbers of answers. UsageError if no run is there.
    """
    return samples_frame(map(StoredRun.open, _folders(pattern)), _shown(pattern))


def samples_frame(runs: Iterable[StoredRun], source: object) -> "pandas.DataFrame":
    """All samples of some runs, as `read_results` gives them; `source` names them in the error."""
    rows = [{**_run_columns(run), **sample} for run in runs if _has_answers(run) for sample in _samples(run)]
    if not rows:
        raise UsageError(_nothing_in(source))
    frame = _frame(rows)
    for name in ("score", "tokens"):
        frame[name] = frame[name].astype(float)
    return frame


def _frame(rows: list[dict[str, Any]]) -> "pandas.DataFrame":
    """A data frame of these rows; UsageError that says how to install pandas."""
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise missing_package("a data frame", error) from None
    return pandas.DataFrame(rows)


def _has_answers(run: StoredRun) -> bool:
    """Whether there are answers to read; none where nothing was finished, as the run has left no folder then."""
    return run.journal.is_file() or bool(run.tally.finished)


def _nothing_in(source: object) -> str:
    return f"no finished samples of a run in {source}{missing_file(Path(str(source)))}"


def _shown(patterns: Patterns) -> str:
    return str(patterns) if isinstance(patterns, str | Path) else ", ".join(map(str, patterns))


def _samples(run: StoredRun) -> Iterator[dict[str, Any]]:
    """One row per sample."""
    average = str(run.config.get("task", {}).get("average") or "")
    samples: dict[str, dict[str, Any]] = {}
    for record in run.records():
        sample = samples.setdefault(
            record.id, {"id": record.id, "group": "", "score": 0.0, "answers": 0, "errored": 0, "tokens": 0}
        )
        sample["group"] = record.group or str(record.metadata.get(average, ""))
        if record.value is None:
            sample["errored"] += 1
            continue
        sample["answers"] += 1
        sample["score"] += record.value
        sample["tokens"] += record.usage.output
    for sample in samples.values():
        for name in ("score", "tokens"):
            sample[name] = sample[name] / sample["answers"] if sample["answers"] else None
        yield sample


def _run_columns(run: StoredRun) -> dict[str, str]:
    """The columns that say which run a row is from."""
    return {"task": run.task, "model": run.model, "path": str(run.path)}


def _folders(patterns: Patterns) -> list[Path]:
    """The folders of runs that match, and those below other folders that match, each once.

    UsageError if one of several has none.
    """
    if isinstance(patterns, str | Path):
        return sorted({run for folder in _matching(str(patterns)) for run in find_runs(folder)})
    if not isinstance(patterns, Iterable) or not (each := list(patterns)):
        raise UsageError(f"{patterns!r:.80} is not a folder, a pattern of folders or a list of them")
    runs = dict[Path, Path]()
    for pattern in each:
        if not isinstance(pattern, str | Path):
            raise UsageError(f"{pattern!r:.80} is not a folder or a pattern of folders")
        if not (folders := _folders(pattern)):
            raise UsageError(_nothing_in(pattern))
        for folder in folders:
            runs.setdefault(folder.resolve(), folder)
    return list(runs.values())


def _matching(pattern: str) -> Iterable[Path]:
    return [Path(pattern)] if os.path.isdir(pattern) else map(Path, glob.glob(pattern, recursive=True))  # noqa: PTH112, PTH207 - absolute patterns, and what cannot be a name
