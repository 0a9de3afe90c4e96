"""Results for Python and notebooks: the runs of an evaluation and comparisons of runs, shown as tables."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    import pandas

    from m1eval.analysis.compare import Comparison, Skipped
    from m1eval.store.stored import StoredRun


class Results(Sequence["StoredRun"]):
    """The runs of one evaluation, shown as the table that the command line prints.

    `results[0]` and `results["aime24"]` are runs; `results.samples` is a pandas DataFrame with one row per sample.
    """

    def __init__(self, runs: Sequence["StoredRun"], *, finished: bool = True, notes: Sequence[str] = ()) -> None:
        self.runs = list(runs)
        self.finished = finished
        """Whether everything was asked; if not, the same call continues."""
        self.notes = list(notes)

    @property
    def scores(self) -> dict[str, float | None]:
        """The score of each task, in [0, 1]; None if nothing was scored."""
        return {run.task: run.description.score for run in self.runs}

    @property
    def samples(self) -> "pandas.DataFrame":
        """One row per sample, as `m1eval.read_results` gives it; UsageError if nothing was finished."""
        from m1eval.analysis import frame

        return frame.samples_frame(self.runs, "these results")

    @property
    def answers(self) -> "pandas.DataFrame":
        """One row per (sample, repeat), as `m1eval.read` gives it; UsageError if nothing was finished."""
        from m1eval.analysis import frame

        return frame.answers_frame(self.runs, "these results")

    def to_dict(self) -> dict[str, Any]:
        """The JSON document that `m1eval run --json` prints."""
        import msgspec

        from m1eval.report.table import to_json

        data: dict[str, Any] = msgspec.json.decode(msgspec.json.encode({"runs": to_json(self.runs)}))
        return data

    @overload
    def __getitem__(self, key: int | str) -> "StoredRun": ...
    @overload
    def __getitem__(self, key: slice) -> list["StoredRun"]: ...
    def __getitem__(self, key: int | str | slice) -> "StoredRun | list[StoredRun]":
        if not isinstance(key, str):
            return self.runs[key]
        for run in self.runs:
            if run.task == key:
                return run
        raise KeyError(f"{key}; there are {', '.join(run.task for run in self.runs)}")

    def __len__(self) -> int:
        return len(self.runs)

    def __repr__(self) -> str:
        from m1eval.report.results import as_text

        return as_text(self.runs, self._notes())

    def _repr_html_(self) -> str:
        from m1eval.report.results import as_html

        return as_html(self.runs, self._notes())

    def _notes(self) -> list[str]:
        return [*self.notes, *([] if self.finished else ["not finished; the same call continues"])]


class Comparisons(Sequence["Comparison"]):
    """Paired comparisons of runs, task by task, shown as `m1eval compare` prints them."""

    def __init__(self, pairs: Sequence["Comparison"], skipped: Sequence["Skipped"]) -> None:
        self.pairs = list(pairs)
        self.skipped = list(skipped)
        """Tasks that both have and that cannot be compared, with the reason."""

    @overload
    def __getitem__(self, key: int) -> "Comparison": ...
    @overload
    def __getitem__(self, key: slice) -> list["Comparison"]: ...
    def __getitem__(self, key: int | slice) -> "Comparison | list[Comparison]":
        return self.pairs[key]

    def __len__(self) -> int:
        return len(self.pairs)

    def __repr__(self) -> str:
        from m1eval.report.results import comparisons_as_text

        return comparisons_as_text(self.pairs, self.skipped)

    def _repr_html_(self) -> str:
        from m1eval.report.results import comparisons_as_html

        return comparisons_as_html(self.pairs, self.skipped)
