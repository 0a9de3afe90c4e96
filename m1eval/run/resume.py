"""Contents of a folder before a run uses it: its own earlier answers, another run's, or someone else's files."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from m1eval.errors import UsageError
from m1eval.run.generation import seed_of
from m1eval.store import folder as folders
from m1eval.store import metadata, run_json
from m1eval.store.config import difference, ignored_digests, with_grader_of
from m1eval.store.journal_state import JournalState
from m1eval.text import display_path, plural
from m1eval.version import __version__

if TYPE_CHECKING:
    from m1eval.run.run import Run


class Previous(NamedTuple):
    """The contents of a run's folder from an earlier command."""

    meta: dict[str, Any]
    """Content of run.json; empty if there is none, or if nothing was finished."""
    damaged: bool = False
    """run.json cannot be read; the journal can."""


def check_resumable(run: "Run", config: dict[str, Any], *, regrade: bool = False) -> Previous:
    """Earlier state of this run in its folder; UsageError if it holds another run or other files.

    A folder in which nothing was finished belongs to no run, whatever its run.json says. `regrade`: the scorer and the
    judges may be others.
    """
    folders.refuse_links(run.folder)
    previous = read_folder(run)
    if not previous.meta:
        return previous
    try:  # tasks of equal content are different tasks all the same: the ids of their samples differ
        refuse_if_different(run.folder, {"task": previous.meta["task"]}, {"task": run.task.name})
        ignored = ignored_digests(previous.meta, run.task.builtin_digests(), __version__)
        earlier = previous.meta.get("config", {})
        refuse_if_different(run.folder, with_grader_of(earlier, config) if regrade else earlier, config, ignored)
    except UsageError as error:
        if cost := _cost_of_redoing(JournalState(run.folder / folders.JOURNAL)):  # only now: it reads the whole journal
            raise UsageError(f"{error}, which {cost}") from None
        return Previous({})
    return previous


def read_folder(run: "Run") -> Previous:
    """Contents of the folder, be it of this run or another; UsageError if its files are not a run's."""
    folders.refuse_foreign(run.folder)
    path = run.folder / run_json.NAME
    if not path.exists():
        return Previous({})
    try:
        meta = metadata.read(path, "; put it right, or choose another folder with --out")
    except UsageError:
        if not metadata.damaged(path):
            raise
        _refuse_other_seed(run)
        return Previous({}, damaged=True)
    if not {"m1eval", "task", "config"} <= set(meta):
        raise UsageError(f"{display_path(path)} was not written by m1eval; choose another folder with --out")
    return Previous(meta)


def refuse_if_different(folder: Path, old: dict[str, Any], new: dict[str, Any], ignored: Collection[str] = ()) -> None:
    """UsageError that names the settings in which a command differs from the run in the folder."""
    if different := difference(old, new, ignored):
        raise UsageError(f"{display_path(folder)} {different}.  --out elsewhere, or --redo")


def set_damaged_aside(folder: Path) -> str:
    """Rename a run.json that cannot be read; a note that says so."""
    path = folder / run_json.NAME
    try:
        path.replace(path.with_name(f"{run_json.NAME}.damaged"))
    except OSError as error:
        raise UsageError(f"{display_path(path)} cannot be set aside: {error.strerror}") from None
    return (
        f"{display_path(path)} was damaged, is set aside as run.json.damaged and rebuilt from the journal and this "
        "command; make sure that this is the command that made the run"
    )


def _refuse_other_seed(run: "Run") -> None:
    """UsageError if answers were generated with another seed than this command's, where run.json cannot say so."""
    for record in JournalState(run.folder / folders.JOURNAL).records():
        if record.seed is None:
            continue
        seeds = (seed_of(run.seed, record.id, n) for n in range(record.repeat, -1, -1))
        if record.seed not in seeds:  # answers that came in one request have the seed of the first
            where = display_path(run.folder)
            raise UsageError(f"{where}: run.json is damaged, and the answers were made with another --seed")


def _cost_of_redoing(state: JournalState) -> str:
    """Text on the cost of generating the existing answers again; empty if there are none."""
    if not state.tally.finished:
        return ""
    tokens = state.tally.usage.total
    dollars = f", ${state.cost:.2f}" if state.cost else ""
    return f"asks again for {plural(state.tally.finished, 'answer')} ({plural(tokens, 'token')}{dollars} so far)"
