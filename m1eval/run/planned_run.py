"""A run whose samples are chosen: asked, graded and recorded, then summed up."""

import time
from collections.abc import Set
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from m1eval import plugins
from m1eval.errors import M1evalError, UsageError
from m1eval.option_names import runner_option
from m1eval.plugins import foreign
from m1eval.run import adaptive, loop
from m1eval.run.generation import Session
from m1eval.run.plan import Plan
from m1eval.store import files, metrics, run_json
from m1eval.store.description import RunDescription, describe
from m1eval.store.stored import StoredRun
from m1eval.store.tally import SampleTotals, Tally
from m1eval.types import Usage
from m1eval.validation import as_metrics, total_usage

if TYPE_CHECKING:
    from m1eval.run.open_run import OpenRun


class PlannedRun:
    """A run that knows its samples and what of them is done."""

    def __init__(self, opened: "OpenRun", plan: Plan, *, unlike: list[str]) -> None:
        self.run = opened.run
        self.plan = plan
        self.notes = opened.notes
        self.seconds = 0.0
        """Wall time of this command's work on the run."""
        self._opened = opened
        self._journal = opened.journal
        self._unlike = unlike
        self._pilot: dict[str, SampleTotals] | None = None
        self._answers: metrics.AnswersBySample | None = None
        self._metrics: dict[str, float | None] = {}
        self._repeat_metrics: list[metrics.RepeatMetric] = []

    @property
    def meta(self) -> dict[str, Any]:
        """The contents of run.json."""
        return self._opened.meta

    @property
    def tally(self) -> Tally:
        """The counts so far."""
        return self._journal.tally

    @property
    def is_pending(self) -> bool:
        """Whether a (sample, repeat) has no score yet, or the score is not known as well as `until_se` asks."""
        return (
            self.tally.scored < self.plan.total  # which is quick, and mostly so
            or any(self.plan.pending())
            or bool(self._extra_repeats())
        )

    async def execute(self, session: Session) -> None:
        """Generate, grade and record what is pending."""
        self._journal.begin()
        begin = time.monotonic()
        for name in ("summary", "finished"):
            self.meta.pop(name, None)
        self.meta["plan"] = self._plan_counts()
        self._opened.save()
        try:
            await loop.run(self.plan, self._journal, session)
            # Errored answers come first, and in a next command.
            while not session.stop.is_set() and not any(self.plan.pending()):
                if not (extra := self._extra_repeats()):
                    break
                self.plan.extra_repeats |= extra
                self.meta["plan"] = self._plan_counts()
                await loop.run(self.plan, self._journal, session)
        finally:
            await self._journal.flush()
            self.seconds = time.monotonic() - begin
            policy = self.run.task.definition.overlength
            if policy != "fail" and not session.runner.context_window:
                remedy = runner_option("window", "N")
                self.notes.append(f"overlength: {policy} is not applied, the model's window is not known ({remedy})")
            self.meta["overlength"] = self.plan.overlength.to_config()
            try:
                self.meta["runner"] = self.run.model.describe(session.runner)
            except M1evalError as error:  # the answers stay, and what it said at the start
                self.notes.append(str(error))
            self.meta["seconds"] = self.meta.get("seconds", 0.0) + self.seconds
        await self.compare_answers(session)

    async def compare_answers(self, session: Session) -> None:
        """Find which answers to a sample are the same though written differently, for majority votes."""
        scorer = self.run.task.scorer
        if self.run.repeats < 2 or not metrics.compares_votes(scorer):
            return
        answers = metrics.collect(self._journal.records(), scorer)
        context = session.resources.context()
        await metrics.compare(answers, self.run.repeats, scorer, context, session.stop.is_set)
        self._answers = answers

    @property
    def compares_answers(self) -> bool:
        """Whether answers may still have to be compared, as no earlier command has got that far."""
        stored = self.meta.get("summary", {}).get("figures") or {}
        return self.run.repeats > 1 and self._answers is None and f"maj@{self.run.repeats}" not in stored

    def stored(self) -> StoredRun:
        """The run for tables, with the counts and the notes of this command, which need not be on disk."""
        stored = StoredRun(self.run.folder, self.meta, self._journal)
        stored.description = self.description()
        return stored

    def description(self) -> RunDescription:
        """The run's description and current state."""
        self.meta["plan"] = self._plan_counts()
        return msgspec.structs.replace(
            describe(self.meta, self._journal, self.run.folder),
            figures=self._metrics,
            figure_intervals=metrics.to_plain(self._repeat_metrics),
            notes=list(dict.fromkeys(self.notes)),
        )

    def sum_up(self) -> bool:
        """Write the summary into run.json; whether all is there that it is to say."""
        meta = self.meta
        stored: dict[str, float | None] | None = meta.get("summary", {}).get("figures")
        if stored is not None and not self.seconds and self._answers is None:  # nothing was added since
            self._metrics = stored
            self._repeat_metrics = metrics.from_plain(stored, meta["summary"].get("figure_intervals"))
        else:
            self._metrics = self._aggregate()
        replaced = self._journal.prepare()
        if replaced != Usage():
            meta["superseded"] = msgspec.to_builtins(total_usage((replaced, run_json.superseded(meta))))
        # A command that was killed before it had summed up leaves that to the next one, which may have nothing to ask.
        is_new = bool(self.seconds) or not meta.get("summary")
        if is_new:
            meta["summary"] = self.description().built()
            if not meta["summary"]["owed"]:
                meta["finished"] = run_json.timestamp()
            if (gradings := meta.get("gradings")) and gradings[-1].get("score") is None:
                gradings[-1]["score"] = self.tally.score
        if is_new or replaced != Usage():
            try:
                self._opened.save()
            except UsageError as error:  # the answers are on disk, and their table can be shown
                self.notes.append(f"{error}; run.json is out of date, and the journal has every answer")
                return False
        return True

    def write_parquet(self) -> None:
        """Write the table of answers, unless it was made from the same journal."""
        from m1eval.store.parquet import journal_digest, write_parquet

        table = self._journal.folder / "samples.parquet"
        new_table = table.with_name("samples.parquet.new")
        try:
            digest = files.digest(self._journal.path)
            if table.exists() and journal_digest(table) == digest:
                return
            new_table.unlink(missing_ok=True)
            write_parquet(self._journal.records(), table, digest)
        except ModuleNotFoundError as error:
            self.notes.append(f"samples.parquet is not written, which needs {plugins.remedy(str(error.name))}")
        except (OSError, ValueError) as error:  # pyarrow's own errors are of these
            reason = getattr(error, "strerror", None) or error
            self.notes.append(f"samples.parquet is not written ({reason}); the journal has everything")
        finally:
            with suppress(OSError):
                new_table.unlink(missing_ok=True)

    def _extra_repeats(self) -> dict[str, int]:
        """The samples that need more answers for `until_se`, with the number of answers each should have."""
        if not self.run.until_se:
            return {}
        plan = self.plan
        names = [plan.samples.id(number) for number in plan.numbers]
        names = [name for name in names if name not in plan.overlength.skipped]
        pilot = adaptive.pilot(self.run.repeats)
        pilot_mask = (1 << pilot) - 1
        repeats = dict.fromkeys(names, pilot)
        if all(plan.done.completed_mask(name) & pilot_mask == pilot_mask for name in names):
            self._pilot = self._pilot or self._pilot_scores(set(names), pilot)
            repeats = adaptive.allocate(self._pilot, self.run.until_se, self.run.repeats)
        return {name: n for name, n in repeats.items() if n > plan.extra_repeats.get(name, self.run.repeats)}

    def _pilot_scores(self, names: Set[str], repeats: int) -> dict[str, SampleTotals]:
        """The scores of the first answers to each sample."""
        sums = {name: SampleTotals() for name in names}
        for record in self._journal.records():
            if record.repeat < repeats and record.outcome != "errored" and record.id in sums:
                sums[record.id] = sums[record.id].add(record.score)._replace(group=record.group)
        return sums

    def _plan_counts(self) -> dict[str, Any]:
        """Counts of the plan, for those who read the folder later."""
        plan = self.plan
        if plan.done.unknown_ids:
            self.meta["strangers"] = sorted(plan.done.unknown_ids)
        return {
            "samples": len(plan.numbers),
            "in_set": len(plan.samples),
            "skipped": plan.skipped,
            "truncated_prompts": len(plan.overlength.truncated),
            "repeats": self.run.repeats,
            "answers": plan.total,
            "unlike": self._unlike,
            "until_se": self.run.until_se,
            "wants_more": bool(self._extra_repeats()),
        }

    def _aggregate(self) -> dict[str, float | None]:
        """Metrics of several answers a sample, the scorer's own aggregate, and the tokens of the judges."""
        run, journal = self.run, self._journal
        values: dict[str, float | None] = {}
        if run.repeats > 1:
            answers = self._answers or metrics.collect(journal.records(), run.task.scorer)
            if self._answers is None and metrics.compares_votes(run.task.scorer):
                answers.votes = False
            samples = len(self.plan.numbers) - self.plan.skipped
            self._repeat_metrics = metrics.metrics(answers, run.repeats, samples)
            values = {metric.name: metric.value for metric in self._repeat_metrics}
        try:
            with foreign.errors_reported(run.task.scorer_file, "the scorer's aggregate is left out"):
                scored = (record for record in journal.records() if record.outcome != "errored")
                values |= as_metrics(run.task.scorer.aggregate(scored))
        except UsageError as error:  # the answers and their scores stay
            self.notes.append(str(error))
        if not run.judges:
            return values
        usage = {
            reply.key: reply.usage
            for record in journal.records()
            for reply in (*record.verdicts, *record.judge_replies)
        }
        if usage:  # a reply that decides on several equal answers was paid for once
            values["judge prompt tokens"] = sum(each.sent for each in usage.values())
            values["judge output tokens"] = sum(each.output for each in usage.values())
        return values
