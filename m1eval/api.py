"""m1eval from Python: `evaluate`, `load_task`, `grade`, `compare`, with the names and defaults of the command line.

Everything works in scripts and in notebooks, where an event loop is already running; `evaluate_async` and `grade_async`
are for code that is asynchronous itself.
"""

from collections.abc import Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from m1eval.errors import UsageError
from m1eval.results import Comparisons, Results
from m1eval.types import Outcome, Output, Sample, Score, isolated_output
from m1eval.validation import as_output

if TYPE_CHECKING:
    import asyncio

    import pandas

    from m1eval.store.stored import StoredRun
    from m1eval.task.task import Task

T = TypeVar("T")
Display = Literal["full", "plain", "none"]
TASK_OPTIONS = ("profile", "protocol", "set", "max_tokens", "temperature", "think", "repeats", "lengths", "system")
"""Options that concern a task alone."""


def evaluate(
    tasks: "str | Path | Task | Iterable[str | Path | Task]",
    model: str,
    *,
    display: Display | None = None,
    **options: Any,
) -> Results:
    """Run tasks on a model, like `m1eval run`; the same call again continues where it stopped.

    `tasks`: names, groups, files, patterns such as `aime*`, `tag:NAME`, or loaded tasks; text may hold several with
    commas between. `model`: `RUNNER:NAME`. `options`: those of the command with underscores, such as `limit=20`,
    `max_tokens="32k"`, `set={"generation.top_p": 0.9}`, `judge=`, `out=`; `option={"window": "32k"}` for the runner's.
    Ctrl-C lets what is in flight finish and returns what there is; a second one raises KeyboardInterrupt.
    Raises UsageError for what is wrong with names, options or files, RunnerError if the model cannot be used.
    """
    return _run(lambda stop, signals: _evaluate(tasks, model, display, options, stop, signals=signals))


async def evaluate_async(
    tasks: "str | Path | Task | Iterable[str | Path | Task]",
    model: str,
    *,
    display: Display | None = None,
    stop: "asyncio.Event | None" = None,
    **options: Any,
) -> Results:
    """Run tasks on a model in the running event loop; see `evaluate`.

    No signal handlers are installed; `stop`, when set, lets what is in flight finish and begins nothing new.
    """
    import asyncio

    return await _evaluate(tasks, model, display, options, stop or asyncio.Event(), signals=False)


def load_task(name: str | Path, **options: Any) -> "Task":
    """Load one task by name or file, with options that concern tasks: `set`, `protocol`, `max_tokens`, `lengths`, ….

    UsageError if the name matches several tasks.
    """
    from m1eval.run.configure import load_with_options
    from m1eval.run.options import RunOptions
    from m1eval.task import profiles

    if unknown := [option for option in options if option not in TASK_OPTIONS]:
        raise UsageError(f"load_task has no option '{unknown[0]}'; there are {', '.join(TASK_OPTIONS)}")
    settings = RunOptions.of(options)
    profile = profiles.select(settings.profile, "")
    tasks, notes = load_with_options([_task_name(name)], settings, profile[1] if profile else None)
    if len(tasks) != 1:
        names = ", ".join(task.name for task in tasks)
        raise UsageError(f"{name} is a group of {len(tasks)} tasks ({names}); name one")
    if notes:
        raise UsageError(notes[0].removesuffix(" and uses its own"))
    return tasks[0]


def grade(
    task: "str | Path | Task", sample: Sample | str, output: Output | str, *, judge: str | Sequence[str] = ()
) -> tuple[Score, Outcome]:
    """The score and the outcome of one output, as a run would grade it.

    `sample`: a sample of the task, or just the reference answer. `output`: an Output, or the text of one, from which
    thinking is split off. Raises whatever the scorer raises.
    """
    return _run(lambda stop, signals: grade_async(task, sample, output, judge=judge))


async def grade_async(
    task: "str | Path | Task", sample: Sample | str, output: Output | str, *, judge: str | Sequence[str] = ()
) -> tuple[Score, Outcome]:
    """The score and the outcome of one output, in the running event loop; see `grade`."""
    from contextlib import aclosing

    from m1eval import model
    from m1eval.progress import NullProgress
    from m1eval.run import grading
    from m1eval.run.context import Resources
    from m1eval.run.judges import JudgePanel
    from m1eval.run.options import RunOptions
    from m1eval.task.task import Task

    loaded = task if isinstance(task, Task) else load_task(task)
    if not isinstance(sample, str | Sample):
        raise UsageError(f"sample: {sample!r:.80} is neither a Sample nor the text of a reference answer")
    if not isinstance(output, str | Output):
        raise UsageError(f"output: {output!r:.80} is neither an Output nor text")
    if isinstance(output, Output):
        try:
            output = as_output(isolated_output(output))
        except (TypeError, ValueError) as error:
            raise UsageError(f"output: {error}") from error
    if isinstance(sample, str):
        sample = Sample(id="1", messages=[], target=sample)
    if isinstance(output, str):
        split = model.thinking.split_thinking(output, opened=None, truncated=False)
        output = Output(text=split.text, reasoning=split.reasoning, unfinished_thinking=split.unfinished)
    names = RunOptions.of({"judge": judge}).judge if judge != () else ()
    judges = JudgePanel(names) if names else None
    resources = Resources(judges)
    try:
        if judges is not None:
            await judges.start(NullProgress())
        async with aclosing(resources.context(sample)) as context:
            return await grading.grade(loaded, output, context)
    finally:
        await resources.aclose()


def compare(
    *runs: "str | Path | StoredRun | Results", cluster: str | None = None, margin: float | None = None
) -> Comparisons:
    """Compare the first of some runs with each of the others, paired by problem, like `m1eval compare`.

    `runs`: folders, stored runs or results. `cluster`: a column whose values make clusters. `margin`: how much worse
    the other may be; decides `gate`. UsageError if they share no task, or no problem that both have scored.
    """
    from m1eval.analysis import compare as analysis

    if len(runs) < 2:
        raise UsageError("compare takes two runs or more")
    if margin is not None and not (isinstance(margin, int | float) and 0 <= margin <= 1):
        raise UsageError(f"margin: {margin!r:.80} is not a number from 0 to 1")
    return Comparisons(*analysis.compare(list(map(_side, runs)), cluster=cluster, margin=margin))


def read(pattern: "str | Path | Iterable[str | Path]" = "results/**") -> "pandas.DataFrame":
    """All answers of the runs in folders that match, one row per (sample, repeat); see `m1eval.analysis.frame.read`.

    `pattern`: a folder, a pattern, or several of them.
    """
    from m1eval.analysis import frame

    return frame.read(pattern)


def read_results(pattern: "str | Path | Iterable[str | Path]" = "results/**") -> "pandas.DataFrame":
    """All samples of the runs in folders that match, one row each; see `m1eval.analysis.frame.read_results`.

    `pattern`: a folder, a pattern, or several of them.
    """
    from m1eval.analysis import frame

    return frame.read_results(pattern)


async def _evaluate(
    tasks: "str | Path | Task | Iterable[str | Path | Task]",
    model: str,
    display: Display | None,
    options: dict[str, Any],
    stop: "asyncio.Event",
    *,
    signals: bool,
) -> Results:
    from m1eval.report.live import Terminal
    from m1eval.run.configure import configure
    from m1eval.run.options import RunOptions

    chosen = _task_list(tasks)
    if not isinstance(model, str):
        raise UsageError(
            f"model: {model!r:.80} is not text such as echo:gold; a runner is named by its file, mine.py:x"
        )
    if display not in (None, *get_args(Display)):
        raise UsageError(f"display: {display!r:.80} is not {', '.join(get_args(Display))} or None")
    configured = configure(chosen, model, RunOptions.of(options))
    evaluation = configured.evaluation(Terminal(display))
    finished = await evaluation.execute(stop, signals=signals)
    spending = evaluation.spending
    notes = [
        *configured.notes,
        *filter(None, (spending.reached and f"stopped by {spending.reached}", spending.overrun)),
    ]
    return Results([run.stored() for run in evaluation.planned], finished=finished, notes=notes)


def _side(run: Any) -> "Path | list[StoredRun]":
    """A side of a comparison: a folder, or runs."""
    from m1eval.store.stored import StoredRun

    if isinstance(run, str | Path):
        return Path(run)
    runs = list(run) if isinstance(run, Sequence) else [run]
    if not all(isinstance(each, StoredRun) for each in runs):
        raise UsageError(f"compare takes folders, stored runs or results, not {run!r:.80}")
    return runs


def _task_list(tasks: Any) -> "list[str | Task]":
    """The tasks as a list of names and loaded tasks; UsageError for anything else."""
    from m1eval.task.task import Task

    each = tasks.split(",") if isinstance(tasks, str) else tasks
    names = list(each) if isinstance(each, Iterable) else [each]
    chosen = [name if isinstance(name, Task) else _task_name(name) for name in names if name is not None]
    if not chosen or len(chosen) < len(names):
        raise UsageError("tasks: no name given")
    return chosen


def _task_name(name: Any) -> str:
    if not isinstance(name, str | Path):
        raise UsageError(f"{name!r:.80} is not the name of a task, its file or a loaded task")
    if not (text := str(name).strip()):
        raise UsageError("tasks: no name given")
    return text


def _run(work: "Callable[[asyncio.Event, bool], Coroutine[Any, Any, T]]") -> T:
    """Run a coroutine to its end; in a thread of its own where this thread has a running loop, as in a notebook."""
    import asyncio

    from m1eval.run.interrupts import kept_handlers

    # Not get_running_loop, as whatever goes wrong later would be raised while its RuntimeError is being handled.
    if asyncio._get_running_loop() is not None:
        return _run_in_thread(work)

    async def main() -> T:
        return await work(asyncio.Event(), True)

    try:
        with kept_handlers():
            return asyncio.run(main())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def _run_in_thread(work: "Callable[[asyncio.Event, bool], Coroutine[Any, Any, T]]") -> T:
    """Run a coroutine in another thread; the first KeyboardInterrupt here stops it after what is in flight."""
    import asyncio
    import threading
    from concurrent.futures import Future
    from contextlib import suppress

    from m1eval.run.interrupts import raised_here

    result: Future[T] = Future()
    interrupts: list[Callable[[], object]] = []

    async def main() -> T:
        loop, stop, task = asyncio.get_running_loop(), asyncio.Event(), asyncio.current_task()
        assert task is not None
        interrupts.extend((lambda: loop.call_soon_threadsafe(task.cancel), lambda: loop.call_soon_threadsafe(stop.set)))
        return await work(stop, False)

    def target() -> None:
        try:
            result.set_result(asyncio.run(main()))
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            result.set_exception(error)

    thread = threading.Thread(target=target, name="m1eval", daemon=True)
    thread.start()
    with raised_here():
        while True:
            try:
                return result.result()
            except asyncio.CancelledError:
                raise KeyboardInterrupt from None
            except KeyboardInterrupt:
                if not interrupts:
                    raise
                with suppress(RuntimeError):  # its loop is closed already
                    interrupts.pop()()
