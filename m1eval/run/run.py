"""A Run: one task, one model and settings, with a folder that a later command can continue.

The stages of a run are classes of their own. `Run` is configured: nothing is read or written. `Run.open()` takes the
folder and gives an OpenRun, whose `plan()` chooses the samples and gives a PlannedRun, which executes. Whatever was
reached is closed.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from m1eval import plugins, secrets
from m1eval.credentials import hide_command
from m1eval.errors import UsageError
from m1eval.model.model import Model
from m1eval.run import resume
from m1eval.run.open_run import OpenRun
from m1eval.store import environment, regrading, run_json
from m1eval.store import folder as folders
from m1eval.store.journal import Journal
from m1eval.store.journal_state import JournalState
from m1eval.task import profiles
from m1eval.task.changes import changed_settings
from m1eval.task.task import Task
from m1eval.text import display_path
from m1eval.version import __version__


class Run:
    """A configured run: what is to be asked of which model, how, and where the answers are kept."""

    def __init__(
        self,
        task: Task,
        model: Model,
        folder: Path,
        *,
        repeats: int | None = None,
        limit: int | None = None,
        ids: Sequence[str] = (),
        seed: int = 0,
        data_dir: Path | None = None,
        judges: list[dict[str, Any]] | None = None,
        until_se: float | None = None,
        judge_files: Sequence[Path] = (),
        profile_file: Path | None = None,
    ) -> None:
        self.task = task
        self.model = model
        self.folder = folder
        self.repeats = repeats or task.definition.repeats
        self.limit = limit
        self.ids = list(ids)
        self.seed = seed
        self.data_dir = data_dir
        self.judges = judges if task.scorer.needs_judge else None
        self.until_se = until_se
        self.judge_files = list(judge_files) if self.judges else []
        self.profile_file = profile_file
        self.notes: list[str] = []
        """Lines for below the table; the later stages of the run add theirs."""

    def config(self) -> dict[str, Any]:
        """Everything that decides what is asked, how it is answered and graded."""
        return {
            **self.task.resolved(self.data_dir),
            **self.model.config(),
            "seed": self.seed,
            "repeats": self.repeats,
            "limit": self.limit,
            "ids": self.ids,
            **({"judges": self.judges} if self.judges else {}),
        }

    def shown_config(self) -> dict[str, Any]:
        """The config as run.json gives it back: plain data, tuples as lists, without secrets."""
        plain = msgspec.json.decode(msgspec.json.encode(self.config(), enc_hook=str), type=dict[str, Any])
        config: dict[str, Any] = secrets.redact_tree(plain)
        return config

    def read_state(self, *, redo: bool = False, any_size: bool = False) -> JournalState:
        """Journal state of the folder, which is not touched; UsageError if it holds another run, unless for `redo`.

        `any_size`: it may hold more samples and repeats than this run.
        """
        if redo:
            resume.read_folder(self)
            return JournalState(self.folder / "nothing")
        previous = resume.check_resumable(self, self.shown_config(), any_size=any_size)
        return JournalState(self.folder / folders.JOURNAL, committed=regrading.committed(previous.meta))

    def continues(self) -> bool:
        """Whether the folder holds this very run, or nothing."""
        try:
            self.read_state()
        except UsageError:
            return False
        return True

    def open(self, *, redo: bool = False, regrade: bool = False) -> OpenRun:
        """Take the folder: refuse another run's, continue this one's, or begin; the journal knows what is done.

        `regrade`: continue one that has another scorer or other judges.
        """
        config = self.shown_config()
        self._recover_folder()
        if redo:
            resume.read_folder(self)
        else:
            resume.check_resumable(self, config, regrade=regrade)
        journal = Journal(self.folder, redo=redo)
        try:  # once more, as another command may have ended in between
            earlier = resume.read_folder(self) if redo else resume.check_resumable(self, config, regrade=regrade)
            self.notes += journal.notes
            fresh = redo or not journal.tally.finished
            meta = {} if fresh else earlier.meta
            if (version := meta.get("m1eval", __version__)) != __version__:
                meta["earlier_versions"] = [*meta.get("earlier_versions", ()), version]
            if versions := meta.get("earlier_versions"):
                note = f"continued by m1eval {__version__}; its first answers were graded by {versions[0]}"
                self.notes.append(note)
            meta |= self._describe(config, created=meta.get("created", run_json.timestamp()))
            if earlier.damaged and not redo:
                self.notes.append(resume.set_damaged_aside(self.folder))
                if journal.grading:
                    meta["gradings"] = [regrading.entry(journal.grading, meta, None, None)]
            if not redo and (fresh or earlier.damaged):
                run_json.write(self.folder / run_json.NAME, meta)
        except UsageError:
            journal.release()
            raise
        return OpenRun(self, journal, meta)

    def shadowing(self) -> list[str]:
        """The user's files that hide built-in ones of the same name, a line each."""
        files = [("tasks", self.task.path, "**/*.yaml"), ("scorers", self.task.scorer_file, "*.py")]
        files += [("runners", file, "*.py") for file in (self.model.file, *self.judge_files)]
        if self.profile_file:
            files.append((profiles.KIND, self.profile_file, "*.yaml"))
        if self.task.baselines and (file := plugins.available(plugins.BASELINES, "*.yaml").get(self.task.baselines[0])):
            files.append((plugins.BASELINES, file, "*.yaml"))
        return list(dict.fromkeys(line for each in files for line in plugins.notice(*each)))

    def _describe(self, config: dict[str, Any], *, created: str) -> dict[str, Any]:
        """Content of run.json before the first request."""
        files = {"task": str(self.task.path), "scorer": str(self.task.scorer_file), "runner": str(self.model.file)}
        return {
            "m1eval": __version__,
            "task": self.task.name,
            "model": self.model.spec,
            "protocol": self.task.protocol,
            "config": config,
            "builtin_digests": sorted(self.task.builtin_digests()),
            "baselines": self.task.baselines,
            "effective_length": msgspec.to_builtins(self.task.definition.effective_length),
            "changed": secrets.redact_tree(changed_settings(self.task, self.data_dir)),
            "created": created,
            "command": hide_command(sys.argv),
            "files": {**files, **({"judges": list(map(str, self.judge_files))} if self.judge_files else {})},
            "shadowing": self.shadowing(),
            "versions": environment.versions(),
            "git": environment.git(),
            "hardware": environment.hardware(),
        }

    def _recover_folder(self) -> None:
        """Put an earlier run back that a killed `--redo` has moved aside."""
        try:
            folders.refuse_links(self.folder)
            if line := folders.recover(self.folder):
                self.notes.append(line)
        except OSError as error:
            raise UsageError(f"{display_path(self.folder)} cannot be written: {error.strerror}") from None
