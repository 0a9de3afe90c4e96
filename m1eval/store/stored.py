"""A run in its folder, as tables, comparisons, data frames and exports read it."""

from collections.abc import Iterator, Mapping, Set
from functools import cached_property
from pathlib import Path
from typing import Any

from m1eval.errors import UsageError
from m1eval.store import metadata, regrading
from m1eval.store.description import RunDescription, describe
from m1eval.store.folder import JOURNAL
from m1eval.store.journal_state import JournalState, deduplicated
from m1eval.store.prompts import Damaged, read_prompts
from m1eval.store.record import Record
from m1eval.store.tally import Tally
from m1eval.text import display_path, format_score

UNFINISHED = "grading again is not finished; the earlier grades count"


class StoredRun:
    """A run on disk: `run.json`, and the journal, whose lines are counted once, when the counts are first needed.

    `path` may also be a journal file alone, with an empty `meta`. A copy of it reads the files again.
    """

    def __init__(self, path: Path, meta: Mapping[str, Any], state: JournalState | None = None) -> None:
        """`state`: the counts, where they are in memory already."""
        self.path = path
        # Whatever becomes the current folder, here or where a copy is used.
        self._place = path.absolute() if state is None else state.path.parent
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

    def has_folder(self) -> bool:
        """Whether its folder is there."""
        return self._place.is_dir()

    @property
    def journal(self) -> Path:
        """The file with the records."""
        return self._place / JOURNAL if self.has_folder() else self._place

    @cached_property
    def state(self) -> JournalState:
        """The counts of the journal; UsageError if it cannot be read."""
        self._check_journal()
        return JournalState(self.journal, self.unknown_ids, regrading.committed(self.meta))

    @property
    def tally(self) -> Tally:
        """The outcomes and the score."""
        return self.state.tally

    @cached_property
    def description(self) -> RunDescription:
        """Identity, settings and results of the run."""
        description = describe(self.meta, self.state, self.path)
        if regrading.is_unfinished(self._place, regrading.committed(self.meta)):
            description.notes.append(UNFINISHED)
        return description

    @property
    def summary(self) -> dict[str, Any]:
        """The description as plain data, as `--json` prints it."""
        return self.description.built()

    def records(self) -> Iterator[Record]:
        """One record of each (sample, repeat), those that errored last; UsageError if there is no journal."""
        self._check_journal()
        return deduplicated(self.journal, self.unknown_ids, regrading.committed(self.meta))

    def prompts(self) -> Iterator[dict[str, Any]]:
        """The prompts, see `store.prompts.read_prompts`; UsageError if their file is damaged."""
        path = self._place / "prompts.zst"
        try:
            yield from read_prompts(path)
        except (Damaged, OSError) as error:
            raise UsageError(f"{display_path(path)} cannot be read: {error}") from None

    def __repr__(self) -> str:
        summary = self.meta.get("summary") or {}
        score = f"score {format_score(summary['score'])}, " if "score" in summary else ""
        return f"<StoredRun {self.task} of {self.model}: {score}{display_path(self.path)}>"

    def __getstate__(self) -> dict[str, Any]:
        """All but the counts, which may be those of a journal that is still open."""
        return {name: value for name, value in self.__dict__.items() if name != "state"}

    def _check_journal(self) -> None:
        """UsageError if the journal is not there, or may not be read."""
        folder = display_path(self.path)
        if not self._place.exists():
            raise UsageError(f"{folder} is not a run: there is no such folder; was it moved or deleted?")
        if not self.journal.is_file():
            raise UsageError(f"{folder} is not a run: there is no file {JOURNAL} in it")
        try:
            self.journal.open("rb").close()
        except OSError as error:
            raise UsageError(f"{display_path(self.journal)} cannot be read: {error.strerror}") from None
