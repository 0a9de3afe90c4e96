"""A Run: one task, one model, one way of asking, in a folder that a later command can continue.

`run.json` says what was run, with what, and how it came out; it is written before the first request, so that a folder
always knows whose it is. A command that asks for something else is refused with the names of what differs; only more
of the same (repeats, limit) may be added.
"""

import json
import os
import sys
import time
from collections.abc import Collection, Iterable, Sequence, Set
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

import m1eval
from m1eval import plugins, secrets, yaml_file
from m1eval.analysis import baselines
from m1eval.credentials import hide_command
from m1eval.errors import UsageError
from m1eval.model.model import Model
from m1eval.plugins import foreign
from m1eval.protocols import Runner, Tokenizer
from m1eval.run import adaptive, loop
from m1eval.run.generation import Session, seed_of
from m1eval.run.overlength import Overlength
from m1eval.run.plan import Plan
from m1eval.store import environment, folder, metadata
from m1eval.store import metrics as repeats_
from m1eval.store.config import difference, ignored_digests
from m1eval.store.description import RunDescription, describe
from m1eval.store.journal import Journal
from m1eval.store.journal_state import JournalState
from m1eval.store.record import encode_json
from m1eval.store.tally import Tally
from m1eval.task import profiles, selection
from m1eval.task.changes import changed_settings
from m1eval.task.samples import Samples
from m1eval.task.task import Task
from m1eval.text import plural
from m1eval.types import Usage
from m1eval.validation import as_metrics, total_usage


class Run:
    """A run and its folder."""

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
        self._pilot: dict[str, adaptive.Sums] | None = None
        self.judge_files = list(judge_files) if self.judges else []
        self.profile_file = profile_file
        self.work: Plan | None = None
        self.notes: list[str] = []
        self.seconds = 0.0
        self._journal: Journal | None = None
        self.figures: dict[str, float | None] = {}
        """What the scorer says of the whole run, and what the judges cost; known at the end."""
        self.repeat_figures: list[repeats_.RepeatMetric] = []
        """Those of several answers a sample among them, with their intervals."""
        self._answers: repeats_.AnswersBySample | None = None
        self._meta: dict[str, Any] = {}
        self._damaged = False
        self._described: RunDescription | None = None
        self.partial = bool(limit or ids)
        self._unlike: list[str] = []

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
        """The config as it is written and shown: plain data, without secrets."""
        config: dict[str, Any] = secrets.redact_tree(_as_stored(self.config()))
        return config

    def open(self, *, redo: bool = False) -> Journal:
        """Take the folder: refuse another run's, continue the own, or begin; the journal knows what is done."""
        config = self.shown_config()
        self._recover_folder()
        if redo:
            self._refuse_foreign()
        else:
            self._read_previous(config)
        self._journal = Journal(self.folder, redo=redo)
        try:  # once more, as another command may have ended in between
            before = {} if redo else self._read_previous(config)
        except UsageError:
            self._journal.release()
            raise
        self.notes += self._journal.notes
        fresh = not self._journal.tally.finished
        self._meta = {} if fresh else before
        if (earlier := self._meta.get("m1eval", m1eval.__version__)) != m1eval.__version__:
            self._meta["earlier_versions"] = [*self._meta.get("earlier_versions", ()), earlier]
        if versions := self._meta.get("earlier_versions"):
            self.notes.append(
                f"continued by m1eval {m1eval.__version__}; its first answers were graded by {versions[0]}"
            )
        self._meta |= {
            "m1eval": m1eval.__version__,
            "task": self.task.name,
            "model": self.model.spec,
            "protocol": self.task.protocol,
            "config": config,
            "builtin_digests": sorted(self.task.builtin_digests()),
            "baselines": self.task.baselines,
            "effective_length": msgspec.to_builtins(self.task.definition.effective_length),
            "changed": secrets.redact_tree(changed_settings(self.task, self.data_dir)),
            "created": self._meta.get("created", _now()),
            "command": hide_command(sys.argv),
            "files": {
                **{"task": str(self.task.path), "scorer": str(self.task.scorer_file), "runner": str(self.model.file)},
                **({"judges": list(map(str, self.judge_files))} if self.judge_files else {}),
            },
            "shadowing": self.shadowing(),
            "versions": environment.versions(),
            "git": environment.git(),
            "hardware": environment.hardware(),
        }
        if self._damaged and not redo:
            self._set_damaged_aside()
        if (fresh and not redo) or self._damaged:
            self._save()
        return self._journal

    def _recover_folder(self) -> None:
        """Put an earlier run back that a killed `--redo` has moved aside."""
        try:
            folder.refuse_links(self.folder)
            if line := folder.recover(self.folder):
                self.notes.append(line)
        except OSError as error:
            raise UsageError(f"{yaml_file.display_path(self.folder)} cannot be written: {error.strerror}") from None

    @property
    def described(self) -> dict[str, Any]:
        """What the runner said of itself when it last worked on this run."""
        return dict(self._meta.get("runner") or {})

    @property
    def spent_before(self) -> Usage:
        """Tokens and dollars of all answers so far, those that later ones have replaced among them."""
        done = self._journal
        if done is None:
            return Usage()
        parts = (done.tally.usage, Usage(cost=done.cost), done.superseded(judges=False), self._superseded())
        return total_usage(parts)

    def _superseded(self) -> Usage:
        """What answers took that are no longer in the journal."""
        try:
            return msgspec.convert(self._meta.get("superseded") or {}, Usage)
        except msgspec.ValidationError:
            return Usage()

    def read_state(self, *, redo: bool = False) -> JournalState:
        """What is done in the folder, without touching it; UsageError if it is another run's, unless that goes."""
        if redo:
            self._refuse_foreign()
            return JournalState(self.folder / "nothing")
        self._read_previous(self.shown_config())
        return JournalState(self.folder / "samples.jsonl")

    def _read_previous(self, config: dict[str, Any]) -> dict[str, Any]:
        """What run.json says of the run that the folder holds; UsageError if that is another one.

        A folder in which nothing was finished belongs to nobody, whatever its run.json says.
        """
        journal = self.folder / "samples.jsonl"
        folder.refuse_links(self.folder)
        meta = self._refuse_foreign()
        if meta is None:
            return {}
        try:  # two tasks of equal content are two all the same: the ids of their samples differ
            self._refuse_if_other({"task": meta["task"]}, {"task": self.task.name})
            ignored = ignored_digests(meta, self.task.builtin_digests(), m1eval.__version__)
            self._refuse_if_other(meta.get("config", {}), config, ignored)
        except UsageError as error:
            if again := _again(JournalState(journal)):  # asked only now, as it reads the whole journal
                raise UsageError(f"{error}, which {again}") from None
            return {}
        return meta

    def _refuse_foreign(self) -> dict[str, Any] | None:
        """What run.json says, None if there is none to go by; UsageError if the folder's files are not a run's."""
        folder.refuse_foreign(self.folder)
        known = self.folder / "run.json"
        self._damaged = False
        if not known.exists():
            return None
        try:
            meta = metadata.read(known, "; put it right, or choose another folder with --out")
        except UsageError:
            if not metadata.damaged(known):
                raise
            self._damaged = True
            self._refuse_other_seed()
            return None
        if not {"m1eval", "task", "config"} <= set(meta):
            raise UsageError(
                f"{yaml_file.display_path(known)} was not written by m1eval; choose another folder with --out"
            )
        return meta

    def _refuse_other_seed(self) -> None:
        """UsageError if answers were asked for with another seed than this command's, where run.json cannot say so."""
        for record in JournalState(self.folder / "samples.jsonl").records():
            if record.seed is None:
                continue
            seeds = (seed_of(self.seed, record.id, n) for n in range(record.repeat, -1, -1))
            if record.seed not in seeds:  # answers that came in one request have the seed of the first
                where = yaml_file.display_path(self.folder)
                raise UsageError(f"{where}: run.json is damaged, and the answers were made with another --seed")

    def _set_damaged_aside(self) -> None:
        known = self.folder / "run.json"
        try:
            known.replace(known.with_name("run.json.damaged"))
        except OSError as error:
            raise UsageError(f"{yaml_file.display_path(known)} cannot be set aside: {error.strerror}") from None
        where = yaml_file.display_path(known)
        self.notes.append(
            f"{where} was damaged, is set aside as run.json.damaged and rebuilt from the journal and this command; "
            "make sure that this is the command that made the run"
        )

    def _refuse_if_other(self, old: dict[str, Any], new: dict[str, Any], ignored: Collection[str] = ()) -> None:
        if found := difference(old, new, ignored):
            raise UsageError(f"{yaml_file.display_path(self.folder)} {found}.  --out elsewhere, or --redo")

    def shadowing(self) -> list[str]:
        """The user's files that hide built-in ones of the same name, a line each."""
        used = [("tasks", self.task.path, "**/*.yaml"), ("scorers", self.task.scorer_file, "*.py")]
        used += [("runners", file, "*.py") for file in (self.model.file, *self.judge_files)]
        if self.profile_file:
            used.append((profiles.KIND, self.profile_file, "*.yaml"))
        if self.task.baselines and (figures := plugins.available(baselines.KIND, "*.yaml").get(self.task.baselines[0])):
            used.append((baselines.KIND, figures, "*.yaml"))
        return list(dict.fromkeys(line for each in used for line in plugins.notice(*each)))

    def plan(self, tokenizer: Tokenizer, done: JournalState) -> Plan:
        """Choose the samples; UsageError if two have the same id."""
        samples = self.task.samples(tokenizer, self.seed, self.data_dir)
        even = self._chooses_evenly
        self._note_data(samples, even=even)
        numbers = samples.select(limit=self.limit, ids=self.ids, seed=self.seed, even=even)
        seen = set[str]() if samples.has_generated_ids else samples.check_ids(numbers)
        samples.check_rows(numbers)
        if strangers := samples.unknown_ids(done.sample_ids(), seen):
            self.notes.append(done.leave_out(strangers))
        self.partial = len(numbers) < len(samples)
        self._unlike = self._differences(samples, numbers)
        definition = self.task.definition
        met = Overlength(
            definition.overlength, tokenizer, definition.generation.max_tokens, self._meta.get("overlength")
        )
        self.work = Plan(self.task, samples, numbers, self.repeats, self.seed, done, met)
        if more := {name: n for name, (_, n) in done.tally.counts.items() if n > self.repeats}:
            names = {samples.id(number) for number in numbers}
            self.work.extra_repeats = {name: n for name, n in more.items() if name in names}
        return self.work

    def _differences(self, samples: Samples, numbers: Sequence[int]) -> list[str]:
        """In what the chosen samples are not as the set is, so that their score does not estimate that of the set."""
        if not self.partial:
            return []
        if self.ids:
            return ["ids"]
        return [
            name for name in selection.unlike_columns(samples.even, numbers) if name != self.task.definition.average
        ]

    @property
    def _chooses_evenly(self) -> bool:
        """Whether a limit takes as many of each length, depth and subtask; runs begun before that was done do not."""
        return "data" not in self._meta or self._meta["data"].get("choice") == "even"

    def _note_data(self, samples: Samples, *, even: bool) -> None:
        """Keep of which commits the data are; UsageError if the answers that there are were given to others."""
        data = {"tables": samples.about.tables, "notes": samples.about.notes}
        if even:
            data["choice"] = "even"
        was: list[dict[str, Any]] = self._meta.get("data", {}).get("tables", [])
        both = (was, samples.about.tables)
        for key in ("commit", "digest"):
            old, new = ([(table.get("hub"), table[key]) for table in each if table.get(key)] for each in both)
            if old:
                self._refuse_if_other({key: _by_name(old)}, {key: _by_name(new)})
        self._meta["data"] = data
        self.notes += samples.about.notes

    @property
    def is_pending(self) -> bool:
        """Whether a (sample, repeat) has no score yet, or the score is not known as well as `until_se` asks."""
        return self.work is not None and (
            self.work.done.tally.scored < self.work.total  # which is quick, and mostly so
            or any(self.work.pending())
            or bool(self._extra_repeats(self.work))
        )

    def check_runner(self, runner: Runner) -> None:
        """UsageError if the runner, now that it has started, would answer otherwise than the answers there are.

        Only what it describes as `pinned` counts; that goes into run.json at once, so that a killed run says it too.
        """
        about = dict(runner.describe())
        if was := self._meta.get("runner", {}).get("pinned"):
            self._refuse_if_other({"runner": was}, {"runner": about.get("pinned", {})})
        self._meta["runner"] = about

    async def execute(self, asking: Session) -> None:
        """Do what is owed and write it down."""
        assert self.work is not None
        assert self._journal is not None
        self._journal.begin()
        begin = time.monotonic()
        for name in ("summary", "finished"):
            self._meta.pop(name, None)
        self._meta["plan"] = self._planned(self.work)
        self._save()
        try:
            await loop.run(self.work, self._journal, asking)
            while not asking.stop.is_set() and not any(
                self.work.pending()
            ):  # what errored comes first, in a next command
                if not (more := self._extra_repeats(self.work)):
                    break
                self.work.extra_repeats |= more
                self._meta["plan"] = self._planned(self.work)
                await loop.run(self.work, self._journal, asking)
        finally:
            await self._journal.flush()
            self.seconds = time.monotonic() - begin
            policy = self.task.definition.overlength
            if policy != "fail" and not asking.runner.context_window:
                self.notes.append(f"overlength: {policy} is not applied, the model's window is not known (-o window=N)")
            self._meta["overlength"] = self.work.overlength.saved()
            self._meta["runner"] = dict(asking.runner.describe())
            self._meta["seconds"] = self._meta.get("seconds", 0.0) + self.seconds
        await self.compare_answers(asking)

    def _extra_repeats(self, work: Plan) -> dict[str, int]:
        """The samples that `until_se` wants more answers to, with the number of answers each should have."""
        if not self.until_se:
            return {}
        names = [work.samples.id(number) for number in work.numbers]
        names = [name for name in names if name not in work.overlength.skipped]
        first = adaptive.pilot(self.repeats)
        every = (1 << first) - 1
        wanted = dict.fromkeys(names, first)
        if all(work.done.completed_mask(name) & every == every for name in names):
            self._pilot = self._pilot or self._first_answers(work, set(names), first)
            wanted = adaptive.allocate(self._pilot, self.until_se, self.repeats)
        return {name: n for name, n in wanted.items() if n > work.extra_repeats.get(name, self.repeats)}

    def _first_answers(self, work: Plan, names: Set[str], repeats: int) -> dict[str, adaptive.Sums]:
        """What the first answers to each sample were worth."""
        found = {name: adaptive.Sums() for name in names}
        for record in work.done.records():
            if record.repeat < repeats and record.outcome != "errored" and record.id in found:
                found[record.id].add(record.score)
                found[record.id].group = record.group
        return found

    async def compare_answers(self, asking: Session) -> None:
        """Find out which of several answers to a sample are the same, for the votes of a majority."""
        if self.work is None or self.repeats < 2 or not repeats_.compares_votes(self.task.scorer):
            return
        collected = repeats_.collect(self.work.done.records(), self.task.scorer)
        await repeats_.compare(collected, self.repeats, self.task.scorer, asking.tools, asking.stop.is_set)
        self._answers = collected

    @property
    def _known_figures(self) -> dict[str, float | None] | None:
        """The figures that an earlier command has written, if nothing was added since."""
        known: dict[str, float | None] | None = self._meta.get("summary", {}).get("figures")
        return known if not self.seconds and self._answers is None else None

    @property
    def compares(self) -> bool:
        """Whether answers may still have to be compared for the figures of the run."""
        known = self._meta.get("summary", {}).get("figures") or {}
        return self.repeats > 1 and self._answers is None and f"maj@{self.repeats}" not in known

    def close(self) -> None:
        """Write the summary and let go of the folder."""
        journal, self._journal = self._journal, None
        if journal is None:
            return
        if journal.untouched:
            self._add_attempted(journal.attempted())
            journal.close()
            self.notes += journal.late_notes
            return
        if journal.empty:
            # Nothing came of it: leave no trace that a mended command would stumble on.
            journal.discard()
            return
        written = False
        try:
            written = self._sum_up(journal)
        finally:
            if not written:  # what superseded lines took is said by them alone
                journal.keep_superseded()
            journal.close()
            self.notes += journal.late_notes
        if self.work is not None:
            self._parquet(self.work.done)

    def _add_attempted(self, gone: Usage) -> None:
        """Keep what a `--redo` took that came to nothing, in the run.json of the earlier run, which is put back."""
        before = folder.aside_path(self.folder) / "run.json"
        if gone == Usage() or not before.exists():
            return
        try:
            self._meta = metadata.read(before)
            self._meta["superseded"] = msgspec.to_builtins(total_usage((gone, self._superseded())))
            self._save(before)
        except UsageError as error:  # the earlier run comes back as it was
            self.notes.append(f"what the new answers took is not kept: {error}")

    def _sum_up(self, journal: Journal) -> bool:
        """Write the summary into run.json; whether all is there that it is to say."""
        if self.work is None:
            return False
        known = self._known_figures
        self.figures = self._figures() if known is None else known
        if known is not None:
            self.repeat_figures = repeats_.from_plain(known, self._meta["summary"].get("figure_intervals"))
        gone = journal.prepare()
        if gone != Usage():
            self._meta["superseded"] = msgspec.to_builtins(total_usage((gone, self._superseded())))
        if self.seconds:
            self._meta["summary"] = self.summary()
            if not self._meta["summary"]["owed"]:
                self._meta["finished"] = _now()
        if self.seconds or gone != Usage():
            try:
                self._save()
            except UsageError as error:  # the answers are on disk, and their table can be shown
                self.notes.append(f"{error}; run.json is out of date, and the journal has every answer")
                return False
        return True

    @property
    def tally(self) -> Tally:
        """The counts so far."""
        return self.work.done.tally if self.work else Tally()

    @property
    def cost(self) -> float:
        """US dollars so far; 0 where no price is known."""
        return self.work.done.cost if self.work else 0.0

    @property
    def seconds_total(self) -> float:
        """Wall time of all commands that worked on this run."""
        return float(self._meta.get("seconds", 0.0))

    @property
    def meta(self) -> dict[str, Any]:
        """What run.json says, or is going to."""
        return self._meta

    def description(self) -> RunDescription:
        """What the run is, and how it stands now."""
        if self.work is None:  # stopped before it was known which samples there are
            about = {"task": self.task.name, "model": self.model.spec, **self._meta}
            return describe(about, JournalState(self.folder / "samples.jsonl"), self.folder)
        if self._described is None or self._journal is not None:
            self._meta["plan"] = self._planned(self.work)
            self._described = describe(self._meta, self.work.done, self.folder)
        notes = list(dict.fromkeys(self.notes))
        return msgspec.structs.replace(
            self._described,
            figures=self.figures,
            figure_intervals=repeats_.to_plain(self.repeat_figures),
            notes=notes,
        )

    def summary(self) -> dict[str, Any]:
        """The description as `--json` prints it."""
        return self.description().built()

    def _planned(self, work: Plan) -> dict[str, Any]:
        """What is to be done, for those who read the folder later."""
        if work.done.strangers:
            self._meta["strangers"] = sorted(work.done.strangers)
        return {
            "samples": len(work.numbers),
            "in_set": len(work.samples),
            "skipped": work.skipped,
            "truncated_prompts": len(work.overlength.cut),
            "repeats": self.repeats,
            "answers": work.total,
            "unlike": self._unlike,
            "until_se": self.until_se,
            "wants_more": bool(self._extra_repeats(work)),
        }

    def _figures(self) -> dict[str, float | None]:
        """What several answers a sample say, the scorer's own figures of the run, and the tokens of its judges."""
        assert self.work is not None
        done = self.work.done
        found: dict[str, float | None] = {}
        if self.repeats > 1:
            collected = self._answers or repeats_.collect(done.records(), self.task.scorer)
            if self._answers is None and repeats_.compares_votes(self.task.scorer):
                collected.votes = False
            planned = len(self.work.numbers) - self.work.skipped
            self.repeat_figures = repeats_.metrics(collected, self.repeats, planned)
            found = {figure.name: figure.value for figure in self.repeat_figures}
        try:
            with foreign.errors_reported(self.task.scorer_file, "the scorer's aggregate is left out"):
                scored = (record for record in done.records() if record.outcome != "errored")
                found |= as_metrics(self.task.scorer.aggregate(scored))
        except UsageError as error:  # the answers and their scores stand
            self.notes.append(str(error))
        if not self.judges:
            return found
        usage = {
            reply.key: reply.usage for record in done.records() for reply in (*record.verdicts, *record.judge_replies)
        }
        if usage:  # a reply that decides on several equal answers was paid for once
            found["judge prompt tokens"] = sum(each.sent for each in usage.values())
            found["judge output tokens"] = sum(each.output for each in usage.values())
        return found

    def _save(self, path: Path | None = None) -> None:
        path = path or self.folder / "run.json"
        fresh = path.with_name("run.json.new")
        try:
            # Through JSON, as Python would write numbers that are not finite in a way that cannot be read back.
            meta = secrets.redact_tree(msgspec.json.decode(encode_json(self._meta)))
            fresh.unlink(missing_ok=True)
            with fresh.open("x", encoding="utf-8", errors="backslashreplace") as file:
                file.write(json.dumps(meta, indent=1, ensure_ascii=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        except OSError as error:
            with suppress(OSError):
                fresh.unlink()
            raise UsageError(f"{yaml_file.display_path(fresh)} cannot be written: {error.strerror}") from None

    def _parquet(self, done: JournalState) -> None:
        """Write the table, unless the one that is there was made of the same journal."""
        from m1eval.store.frame import made_of, write_parquet

        table, fresh = self.folder / "samples.parquet", self.folder / "samples.parquet.new"
        try:
            digest = folder.digest(done.path)
            if table.exists() and made_of(table) == digest:
                return
            fresh.unlink(missing_ok=True)
            write_parquet(done.records(), table, digest)
        except ModuleNotFoundError as error:
            self.notes.append(f"samples.parquet is not written, which needs {plugins.remedy(str(error.name))}")
        except (OSError, ValueError) as error:  # pyarrow's own errors are of these
            reason = getattr(error, "strerror", None) or error
            self.notes.append(f"samples.parquet is not written ({reason}); the journal has everything")
        finally:
            with suppress(OSError):
                fresh.unlink(missing_ok=True)


def _again(done: JournalState) -> str:
    """What it costs to ask again for what is done; empty if nothing is."""
    if not done.tally.finished:
        return ""
    tokens = done.tally.usage.total
    dollars = f", ${done.cost:.2f}" if done.cost else ""
    return f"asks again for {plural(done.tally.finished, 'answer')} ({plural(tokens, 'token')}{dollars} so far)"


def _as_stored(config: dict[str, Any]) -> dict[str, Any]:
    """The settings as run.json gives them back, where a tuple is a list."""
    return msgspec.json.decode(msgspec.json.encode(config, enc_hook=str), type=dict[str, Any])


def _nothing() -> dict[str, Any]:
    return {}


def _by_name(found: Iterable[tuple[Any, Any]]) -> dict[Any, str]:
    """Values by name; several of a name one after another."""
    values: dict[Any, list[str]] = {}
    for name, value in found:
        if value not in values.setdefault(name, []):
            values[name].append(str(value))
    return {name: ", ".join(each) for name, each in values.items()}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
