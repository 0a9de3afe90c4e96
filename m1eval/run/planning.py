"""Choosing a run's samples, and checking that their data are those of the answers that are already there."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from m1eval.errors import UsageError
from m1eval.model.runner_tokenizer import RunnerTokenizer
from m1eval.protocols import Tokenizer
from m1eval.run.overlength import Overlength
from m1eval.run.plan import Plan
from m1eval.run.resume import check_resumable, refuse_if_different
from m1eval.store.journal_state import JournalState
from m1eval.task import selection
from m1eval.task.samples import Samples

if TYPE_CHECKING:
    from m1eval.run.run import Run

PROBES = 8
"""Prompts that are built to estimate the mean length."""


def plan_samples(run: "Run", state: JournalState, tokenizer: Tokenizer, meta: dict[str, Any]) -> tuple[Plan, list[str]]:
    """The chosen samples, and the columns in which they are not as the whole set is.

    `meta`: what run.json says; gets the commits of the data. UsageError if two samples have the same id, or the data
    are not those of before.
    """
    samples = run.task.samples(tokenizer, run.seed, run.data_dir)
    even = "data" not in meta or meta["data"].get("choice") == "even"  # runs begun before that was done do not
    _check_data(run, samples, meta, even=even)
    numbers = samples.select(limit=run.limit, ids=run.ids, seed=run.seed, even=even)
    ids = set[str]() if samples.has_generated_ids else samples.check_ids(numbers)
    samples.check_rows(numbers)
    if unknown_ids := samples.unknown_ids(state.sample_ids(), ids):
        run.notes.append(state.leave_out(unknown_ids))
    definition = run.task.definition
    overlength = Overlength(definition.overlength, tokenizer, definition.generation.max_tokens, meta.get("overlength"))
    plan = Plan(run.task, samples, numbers, run.repeats, run.seed, state, overlength)
    if extra := {name: n for name, (_, n) in state.tally.counts.items() if n > run.repeats}:
        chosen = {samples.id(number) for number in numbers}
        plan.extra_repeats = {name: n for name, n in extra.items() if name in chosen}
    return plan, _unlike(run, samples, numbers)


def preview(run: "Run", tokenizer: RunnerTokenizer, *, redo: bool) -> dict[str, Any]:
    """Preview of a run: its requests, how much is done and the tokens it may take; nothing is asked or written."""
    plan, _ = plan_samples(run, run.read_state(redo=redo, any_size=True), tokenizer, {})
    probes = [plan.samples.sample(n) for n in plan.numbers[:: max(1, len(plan.numbers) // PROBES)][:PROBES]]
    lengths = [tokenizer.count(sample.messages) for sample in probes]
    pending = sum(len(repeats) for _, repeats in plan.pending())
    max_tokens = run.task.definition.generation.max_tokens
    return {
        "task": run.task.name,
        "model": run.model.spec,
        "path": str(run.folder),
        "protocol": run.task.protocol,
        "protocols": ["default", *run.task.definition.protocols],
        "samples": len(plan.numbers),
        "repeats": run.repeats,
        "done": plan.total - pending,
        "owed": pending,
        "prompt_tokens": round(pending * sum(lengths) / len(lengths)),
        "approximate": tokenizer.approximate,
        "most_output_tokens": None if max_tokens is None else pending * max_tokens,
        "config": run.shown_config(),
        "first_prompt": probes[0].messages,
        "note": "" if redo else _refusal(run),
    }


def _refusal(run: "Run") -> str:
    """Why the run would be refused, as its folder holds more samples or repeats; empty if it would not be."""
    try:
        check_resumable(run, run.shown_config())
    except UsageError as error:
        return str(error)
    return ""


def _unlike(run: "Run", samples: Samples, numbers: Sequence[int]) -> list[str]:
    """Columns in which the chosen samples are not as the set is, so that their score does not estimate its score."""
    if len(numbers) == len(samples):
        return []
    if run.ids:
        return ["ids"]
    return [
        name
        for name in selection.unlike_columns(samples.stratified_columns, numbers)
        if name != run.task.definition.average
    ]


def _check_data(run: "Run", samples: Samples, meta: dict[str, Any], *, even: bool) -> None:
    """Record the commits of the data; UsageError if the answers that are there were given to other data."""
    data = {"tables": samples.about.tables, "notes": samples.about.notes}
    if even:
        data["choice"] = "even"
    earlier: list[dict[str, Any]] = meta.get("data", {}).get("tables", [])
    both = (earlier, samples.about.tables)
    for key in ("commit", "digest"):
        old, new = ([(table.get("hub"), table[key]) for table in tables if table.get(key)] for tables in both)
        if old:
            refuse_if_different(run.folder, {key: _by_name(old)}, {key: _by_name(new)})
    meta["data"] = data
    run.notes += samples.about.notes


def _by_name(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, str]:
    """Values by name, several of one name joined by commas."""
    values: dict[Any, list[str]] = {}
    for name, value in pairs:
        if value not in values.setdefault(name, []):
            values[name].append(str(value))
    return {name: ", ".join(texts) for name, texts in values.items()}
