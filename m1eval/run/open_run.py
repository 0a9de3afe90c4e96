"""A run whose folder is taken: the journal is locked and read, the samples are not chosen yet."""

from typing import TYPE_CHECKING, Any

import msgspec

from m1eval.errors import UsageError
from m1eval.protocols import Runner, Tokenizer
from m1eval.run.planned_run import PlannedRun
from m1eval.run.planning import plan_samples
from m1eval.run.resume import refuse_if_different
from m1eval.store import folder as folders
from m1eval.store import metadata, run_json
from m1eval.store.journal import Journal
from m1eval.types import Usage
from m1eval.validation import total_usage

if TYPE_CHECKING:
    from m1eval.run.run import Run


class OpenRun:
    """A run with its folder locked; `meta` is what run.json says, or is going to."""

    def __init__(self, run: "Run", journal: Journal, meta: dict[str, Any]) -> None:
        self.run = run
        self.journal = journal
        self.meta = meta
        self.notes = run.notes
        self._is_closed = False

    @property
    def runner_description(self) -> dict[str, Any]:
        """The runner's description of itself when it last worked on this run."""
        return dict(self.meta.get("runner") or {})

    @property
    def previous_usage(self) -> Usage:
        """Tokens and dollars of all answers so far, replaced ones included."""
        journal = self.journal
        replaced = journal.superseded(judges=False), run_json.superseded(self.meta)
        return total_usage((journal.tally.usage, Usage(cost=journal.cost), *replaced))

    def plan(self, tokenizer: Tokenizer) -> PlannedRun:
        """Choose the samples; UsageError if two have the same id.

        ContextWindowUnknown if the samples depend on the model's window and it has not started.
        """
        plan, unlike = plan_samples(self.run, self.journal, tokenizer, self.meta)
        return PlannedRun(self, plan, unlike=unlike)

    def check_runner(self, runner: Runner) -> None:
        """UsageError if the runner, now that it has started, would answer otherwise than it did before.

        Only what it describes as `pinned` counts; that goes into run.json immediately, also for a killed run.
        """
        description = self.run.model.describe(runner)
        if pinned := self.meta.get("runner", {}).get("pinned"):
            refuse_if_different(self.run.folder, {"runner": pinned}, {"runner": description.get("pinned", {})})
        self.meta["runner"] = description

    def save(self) -> None:
        """Write run.json; UsageError if it cannot be written."""
        run_json.write(self.journal.folder / run_json.NAME, self.meta)

    def close(self, planned: PlannedRun | None = None) -> None:
        """Write the summary and release the folder; a second time it does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        journal, is_untouched = self.journal, self.journal.untouched
        if is_untouched:
            self._keep_cost_of_redo(journal.attempted())
            journal.close()
        elif journal.empty:
            # Nothing was finished: leave no trace that a corrected command would stumble on.
            journal.discard()
            return
        else:
            is_summed_up = False
            try:
                is_summed_up = planned is not None and planned.sum_up()
            finally:
                if not is_summed_up:  # what replaced lines cost is said by them alone
                    journal.keep_superseded()
                journal.close()
        self.notes += journal.late_notes
        if planned is not None and not is_untouched:
            planned.write_parquet()

    def _keep_cost_of_redo(self, usage: Usage) -> None:
        """Keep what a `--redo` without a result cost, in the run.json of the earlier run, which is put back."""
        path = folders.aside_path(self.journal.folder) / run_json.NAME
        if usage == Usage() or not path.exists():
            return
        try:
            self.meta = metadata.read(path)
            self.meta["superseded"] = msgspec.to_builtins(total_usage((usage, run_json.superseded(self.meta))))
            run_json.write(path, self.meta)
        except UsageError as error:  # the earlier run comes back as it was
            self.notes.append(f"what the new answers cost is not recorded: {error}")
