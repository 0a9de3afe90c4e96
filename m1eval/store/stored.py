"""A run in its folder, as tables, comparisons, data frames and exports read it."""

from collections.abc import Iterator, Mapping, Set
from functools import cached_property
from pathlib import Path
from typing import Any

from m1eval.store import metadata
from m1eval.store.description import RunDescription, describe
from m1eval.store.folder import JOURNAL
from m1eval.store.journal_state import JournalState, deduplicated
from m1eval.store.prompts import read_prompts
from m1eval.store.record import Record
from m1eval.store.tally import Tally


class StoredRun:
    """A run on disk: `run.json`, and the journal, whose lines are counted once, when the counts are first needed.

    `path` may also be a journal file alone, with an empty `meta`.
    """

    def __init__(self, path: Path, meta: Mapping[str, Any], state: JournalState | None = None) -> None:
        """`state`: the counts, where they are in memory already."""
        self.path = path
        self.meta = meta
        if state is not None:
            self.state = state

    @classmethod
    def open(cls, path: str | Path) -> "StoredRun":
        """The run in a folder; UsageError if its run.json cannot be read."""
        return cls(Path(path), metadata.read(Path(path) / "run.json"))

    @property
    def task(self) -> str:
        """The name of its task."""
        return str(self.meta.get("task") or "")

    @property
    def model(self) -> str:
        """The model as `RUNNER:NAME`."""
        return str(self.meta.get("model") or "")

    @property
    def config(self) -> dict[str, Any]:
        """Everything that decides what is asked, how it is answered and graded."""
        config: dict[str, Any] = self.meta.get("config", {})
        return config

    @property
    def unknown_ids(self) -> Set[str]:
        """Ids of lines that belong to no sample of the task and do not count."""
        return set(self.meta.get("strangers") or ())

    @property
    def journal(self) -> Path:
        """The file with the records."""
        return self.path / JOURNAL if self.path.is_dir() else self.path

    @cached_property
    def state(self) -> JournalState:
        """The counts of the journal."""
        return JournalState(self.journal, self.unknown_ids)

    @property
    def tally(self) -> Tally:
        """The outcomes and the score."""
        return self.state.tally

    @cached_property
    def description(self) -> RunDescription:
        """Identity, settings and results of the run."""
        return describe(self.meta, self.state, self.path)

    @property
    def summary(self) -> dict[str, Any]:
        """The description as plain data, as `--json` prints it."""
        return self.description.built()

    def records(self) -> Iterator[Record]:
        """One record of each (sample, repeat), those that errored last; OSError if there is no journal."""
        return deduplicated(self.journal, self.unknown_ids)

    def prompts(self) -> Iterator[dict[str, Any]]:
        """The prompts, see `store.prompts.read_prompts`."""
        return read_prompts(self.path / "prompts.zst")
