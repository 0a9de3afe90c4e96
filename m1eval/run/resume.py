"""Contents of a folder before a run uses it: its own earlier answers, another run's, or someone else's files."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from m1eval.errors import UsageError
from m1eval.option_names import alternative, option
from m1eval.run import remedies
from m1eval.run.generation import seed_of
from m1eval.store import folder as folders
from m1eval.store import metadata, run_json
from m1eval.store.config import difference, ignored_digests, with_grader_of
from m1eval.store.journal_state import JournalState
from m1eval.text import display_path
from m1eval.version import __version__

if TYPE_CHECKING:
    from m1eval.run.run import Run

NOT_GRADABLE = "its answers are to these, and cannot be graded as if they were to others"


class Previous(NamedTuple):
    """The contents of a run's folder from an earlier command."""

    meta: dict[str, Any]
    """Content of run.json; empty if there is none, or if nothing was finished."""
    damaged: bool = False
    """run.json cannot be read; the journal can."""


def check_resumable(run: "Run", config: dict[str, Any], *, regrade: bool = False, any_size: bool = False) -> Previous:
    """Earlier state of this run in its folder; UsageError if it holds another run or other files.

    A folder in which nothing was finished belongs to no run, whatever its run.json says. `regrade`: the scorer and the
    judges may be others. `any_size`: it may hold more samples and repeats.
    """
    folders.refuse_links(run.folder)
    previous = read_folder(run)
    if not previous.meta:
        return previous
    ignored = ignored_digests(previous.meta, run.task.builtin_digests(), __version__)
    earlier = previous.meta.get("config", {})
    compared = with_grader_of(earlier, config) if regrade else earlier
    compared = remedies.with_size_of(compared, config) if any_size else compared
    # Tasks of equal content are different tasks all the same: the ids of their samples differ.
    other_task = difference({"task": previous.meta["task"]}, {"task": run.task.name})
    if not (different := other_task or difference(compared, config, ignored)):
        return previous
    state = JournalState(run.folder / folders.JOURNAL)  # only now: it reads the whole journal
    if not state.tally.finished:
        return Previous({})
    earlier = {} if other_task else earlier
    remedy = NOT_GRADABLE if regrade else remedies.remedy(run, earlier, config, ignored, state)
    raise UsageError(f"{display_path(run.folder)} was made with other settings ({different}); {remedy}")


def read_folder(run: "Run") -> Previous:
    """Contents of the folder, be it of this run or another; UsageError if its files are not a run's."""
    folders.refuse_foreign(run.folder)
    path = run.folder / run_json.NAME
    if not path.exists():
        return Previous({})
    try:
        meta = metadata.read(path, f"; put it right, or choose another folder with {option('out')}")
    except UsageError:
        if not metadata.damaged(path):
            raise
        _refuse_other_seed(run)
        return Previous({}, damaged=True)
    if not {"m1eval", "task", "config"} <= set(meta):
        raise UsageError(f"{display_path(path)} was not written by m1eval; choose another folder with {option('out')}")
    return Previous(meta)


def refuse_if_different(folder: Path, old: dict[str, Any], new: dict[str, Any], ignored: Collection[str] = ()) -> None:
    """UsageError that names the settings in which a command differs from the run in the folder."""
    if different := difference(old, new, ignored):
        where = display_path(folder)
        remedy = alternative("out", f"elsewhere, or {option('redo', True)}", before="") or NOT_GRADABLE
        raise UsageError(f"{where} was made with other settings ({different}); {remedy}")


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
            raise UsageError(f"{where}: run.json is damaged, and the answers were made with another {option('seed')}")
