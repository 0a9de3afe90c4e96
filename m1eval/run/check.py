"""`m1eval check`: whether tasks are sound. No model is needed: gold answers must score 1 and empty ones 0."""

from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import NamedTuple

from m1eval import plugins
from m1eval.errors import M1evalError, NoJudge
from m1eval.model.runner_tokenizer import CharacterTokenizer
from m1eval.plugins import foreign
from m1eval.protocols import Scorer
from m1eval.run.context import Resources
from m1eval.run.grading import grade
from m1eval.task import hub
from m1eval.task.dataset import has_data_file
from m1eval.task.load import UnknownProtocol, load_tasks
from m1eval.task.samples import Samples
from m1eval.task.task import Task
from m1eval.text import plural
from m1eval.types import Output, Sample

SAMPLES = 5
"""Number of samples of a task that are graded, chosen at random."""


class Result(NamedTuple):
    """The result for one task: `passed`, `failed`, or `skipped` with the reason."""

    task: str
    verdict: str
    text: str


async def check_all(
    names: Sequence[str], data_dir: Path | None, overrides: Sequence[str] = (), protocol: str | None = None
) -> list[Result]:
    """Check the named tasks; without names all, except for data that need the network.

    `protocol`: of those tasks that have it; the result names the protocol that was checked.
    """
    resources = Resources()
    results = []
    try:
        for name, tasks in _load_all(
            [*names] or [*plugins.available("tasks", "**/*.yaml")], overrides, protocol
        ).items():
            if isinstance(tasks, M1evalError):
                results.append(Result(name, "failed", str(tasks)))
                continue
            for task in tasks:
                if task.name not in {result.task for result in results}:
                    result = await _check(task, data_dir, resources, fetch=bool(names), named=task.name in names)
                    results.append(result._replace(text=result.text + _protocol(task)))
    finally:
        await resources.aclose()
    return results


def _load_all(
    names: Sequence[str], overrides: Sequence[str], protocol: str | None
) -> dict[str, list[Task] | M1evalError]:
    """The tasks of each name, or the error in it; a protocol is unknown only if none of the names has it."""
    loaded: dict[str, list[Task] | M1evalError] = {}
    for name in names:
        try:
            loaded[name] = load_tasks([name], overrides, protocol=protocol)
        except M1evalError as error:
            loaded[name] = error
    if any(task.protocol == protocol for tasks in loaded.values() if isinstance(tasks, list) for task in tasks):
        for name, tasks in loaded.items():
            if isinstance(tasks, UnknownProtocol):
                loaded[name] = load_tasks([name], overrides)
    return loaded


def _protocol(task: Task) -> str:
    """The protocol that was checked, if it is not the default."""
    return "" if task.protocol == "default" else f" (protocol {task.protocol})"


async def _check(task: Task, data_dir: Path | None, resources: Resources, *, fetch: bool, named: bool) -> Result:
    try:
        task.check()
        for name in task.definition.protocols:  # which are merged, and so read, only where they are asked for
            load_tasks([str(task.path)], protocol=name)
        if task.needs_network and not data_dir and not fetch:
            dataset = task.definition.dataset
            place = hub.place(dataset.hub or "", dataset.files) if dataset else None
            access = f"; {task.gated}" if task.gated else ""
            text = f"needs the network for {place} (or --data-dir); the file itself is sound{access}"
            return Result(task.name, "skipped", text)
        if data_dir and task.needs_network and not named and not has_data_file(data_dir, task.name):
            return Result(task.name, "skipped", f"no data in {data_dir}; the file itself is sound")
        samples = task.samples(CharacterTokenizer(), 0, data_dir)
        if not samples.has_generated_ids:
            samples.check_ids(range(len(samples)))
        samples.check_rows(range(len(samples)))
        if fault := await _gold_fault(task, samples, resources) or await _first_fault(task, samples, resources):
            return Result(task.name, "failed", fault)
    except M1evalError as error:
        return Result(task.name, "failed", str(error))
    except Exception as error:  # noqa: BLE001 - whatever a generator raises is what is wrong with the task
        place = foreign.place_of(error, task.path)
        return Result(task.name, "failed", f"a sample cannot be made: {foreign.error_line(error)} ({place})")
    tried = f"{plural(len(samples), 'sample')}; {min(SAMPLES, len(samples))} rendered"
    text = f"{tried}, gold scores 1, empty scores 0"
    if task.scorer.needs_judge:
        text = f"{tried} with their rubric, empty scores 0; what a judge says is not checked"
    return Result(task.name, "passed", "; ".join([text, *samples.about.notes]))


async def _gold_fault(task: Task, samples: Samples, resources: Resources) -> str | None:
    """The first row whose gold answer the scorer cannot grade against; all rows are checked."""
    if type(task.scorer).gold_fault is Scorer.gold_fault:
        return None
    for number in range(len(samples)):
        sample = samples.sample(number)
        async with aclosing(resources.context(sample)) as context:
            fault = task.scorer.gold_fault(context.sample) or await task.scorer.gold_hazard(context.sample, context)
        if fault:
            return f"{sample.id}: the gold answer {(sample.target or '')[:60]!r} cannot be graded: {fault}"
    return None


async def _first_fault(task: Task, samples: Samples, resources: Resources) -> str | None:
    for number in samples.select(limit=SAMPLES, ids=None, seed=0):
        if fault := await _sample_fault(task, samples.sample(number), resources):
            return fault
    return None


async def _sample_fault(task: Task, sample: Sample, resources: Resources) -> str | None:
    if not any(str(message.get("content") or "").strip() for message in sample.messages):
        return f"{sample.id}: the prompt is empty"
    for noun, text, expected in (("gold", sample.gold or "", 1.0), ("empty", "", 0.0)):
        try:
            async with aclosing(resources.context(sample)) as context:
                score, _ = await grade(task, Output(text=text), context)
        except NoJudge:
            continue  # what a judge would say is the judge's; that the rubric can be filled in was seen
        except M1evalError as error:
            return str(error)
        except (Exception, SystemExit, GeneratorExit) as error:  # noqa: BLE001 - what is wrong with the task
            place = foreign.place_of(error, task.scorer_file)
            return f"{sample.id}: the scorer fails on the {noun} answer: {foreign.error_line(error)} ({place})"
        if abs(score.value - expected) > 1e-9:
            answer = f"the {noun} answer {text[:60]!r}"
            return f"{sample.id}: {answer} scores {score.value:g}, not {expected:g} ({score.explanation})"
    return None
