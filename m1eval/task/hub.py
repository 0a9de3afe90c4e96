"""Datasets of the hub at one commit, loaded by the library `datasets`; what is loaded is the commit that was asked for.

Where the hub cannot be reached, `datasets` takes whatever commit of the dataset it has in its cache. Here the commit of
what was loaded is compared with the pin, or with what a branch or tag was when the hub was last asked: that one is
looked for in the cache, and no other takes its place.
"""

import copy
import hashlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from m1eval.errors import UsageError
from m1eval.task import hub_errors
from m1eval.task.dataset import Rows
from m1eval.task.hub_errors import HubError, OtherCommit
from m1eval.yaml_file import display_path

WAITS = (1.0, 4.0)
"""Seconds before a request that failed for a passing reason is made again."""
PATIENCE = 40.0
"""Seconds after which nothing is tried again: `huggingface_hub` may have waited for most of them itself."""
ROWS_AT_ONCE = 64
"""Rows that are held while their digest is made; one may be a prompt of a million tokens."""
DATA = {"Json"}
"""Features that are decoded and hold data all the same, no images or the like."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REPOSITORY = re.compile(r"[\w.-]+(/[\w.-]+)?")


class HubSource(NamedTuple):
    """What is asked of the hub."""

    hub: str
    revision: str | None = None
    config: str | None = None
    split: str = "test"
    files: Sequence[str] = ()
    columns: Sequence[str] = ()


class HubTable(NamedTuple):
    """Rows, and the commit that they are of; where there is none, as of files by their URLs, a digest of the rows."""

    rows: Rows
    commit: str | None
    digest: str | None = None


class NotInside(UsageError):
    """A file that is asked of a dataset and is none of its own."""


def place(hub: str, files: Sequence[str]) -> str:
    """Where data are, for the eyes of a user: the dataset's name, or the host of files that are named by their URLs."""
    return urlsplit(files[0]).netloc if files and "://" in files[0] else hub


def load_hub(source: HubSource) -> HubTable:
    """The rows of a dataset, memory-mapped; HubError in one line with the reason and what to do."""
    datasets = _library()
    with _silence_progress():
        if not _is_repository(source.hub):
            rows = _plain(_with_retries(lambda: _table(source), source), source)
            return HubTable(rows, None, _digest(rows))
        for name in source.files:
            _check_inside(source.hub, name)
        try:
            table = _with_retries(lambda: _load_pinned(source), source)
        except HubError as error:
            # At that commit the data do not change, so what an earlier command prepared is as good.
            commit = _pin(source.revision) or _last_known(source)
            table = _prepared(source, commit) if commit else None
            if table is None:
                raise error from error.__cause__
        assert isinstance(table, datasets.Dataset)
        return HubTable(_plain(table, source), commit_of(table))


def _library() -> Any:
    """The library `datasets`, which reads its settings when it is imported."""
    if endpoint := os.environ.get("HF_ENDPOINT"):
        os.environ["HF_ENDPOINT"] = endpoint.rstrip("/")  # else each address has two of them, and names nothing
    try:
        import datasets
    except ModuleNotFoundError:
        raise
    except Exception as error:
        text = f"the library datasets cannot be imported ({type(error).__name__}: {error}): is a variable HF_… wrong?"
        raise HubError(" ".join(text.split())) from error
    return datasets


def commit_of(table: Any) -> str | None:
    """The commit that a table of `datasets` was made of: the last part of its folder in the cache."""
    for file in getattr(table, "cache_files", None) or ():
        name = Path(str(file["filename"])).parent.name
        if _COMMIT.fullmatch(name):
            return name
    return None


def _load_pinned(source: HubSource) -> Any:
    """The table, whose commit is the pinned one, or the one that a branch or tag names.

    `datasets` asks for no commit and no name where it falls back to its cache. The hub is asked again only where what
    is known of the name does not say the same.
    """
    try:
        table = _table(source)
    except ValueError as error:
        if "Couldn't find cache for" in str(error):  # said in place of why the hub was of no use
            hub_errors.ask(source.hub, source.revision)
        raise
    loaded, pin = commit_of(table), _pin(source.revision)
    if loaded != (pin or _last_known(source)):
        wanted = hub_errors.ask(source.hub, source.revision)
        if loaded != (pin or wanted):
            raise OtherCommit(f"{str(loaded)[:12]} of it was loaded, not {(pin or wanted)[:12]}")
    return table


def _check_inside(hub: str, name: str) -> None:
    """NotInside for what `datasets` would look for elsewhere, where the commit of the dataset says nothing of it."""
    if "://" in name or name.startswith("/") or ".." in name.split("/"):
        raise NotInside(
            f"'{name}' is no file of {hub}: write its path from the root of the dataset, as data/test.jsonl"
        )


def _digest(table: Any) -> str:
    """The SHA-256 of the rows, short: whether they are still the same can be told by nothing else."""
    sha, encode = hashlib.sha256(), msgspec.json.Encoder(enc_hook=str).encode
    for start in range(0, len(table), ROWS_AT_ONCE):
        for row in table.with_format("arrow")[start : start + ROWS_AT_ONCE].to_pylist():
            sha.update(encode(row) + b"\n")
    return sha.hexdigest()[:16]


def _table(source: HubSource) -> Any:
    import datasets

    # A folder here that is called as the dataset would be loaded in its place.
    elsewhere = _is_repository(source.hub) and Path(source.hub).is_dir()
    path = f"hf://datasets/{source.hub}" if elsewhere else source.hub
    revision = source.revision if _is_repository(source.hub) else None
    files = list(source.files) or None
    keys: dict[str, Any] = {"split": source.split, "revision": revision, "data_files": files}
    if not _is_repository(source.hub):
        # Else what a URL has given once is taken for what it gives now.
        keys["download_config"] = datasets.DownloadConfig(use_etag=True)
    # In memory, where a variable would have small sets, a table does not say of which commit it is.
    return datasets.load_dataset(path, source.config, keep_in_memory=False, **keys)


def _with_retries(load: Callable[[], Any], source: HubSource) -> Any:
    """What `load` returns; what fails for a passing reason is tried again."""
    start = time.monotonic()
    for wait in (*WAITS, None):
        try:
            return load()
        except Exception as error:  # the hub's errors have no common base
            known = _explain(error, source)
            if wait is None or not known.passing or time.monotonic() - start > PATIENCE:
                where = place(source.hub, source.files)
                raise HubError(f"{where} cannot be loaded: {known.text}", known.kind) from error
        time.sleep(wait)
    raise AssertionError


def _explain(error: Exception, source: HubSource) -> hub_errors.Reason:
    if not _is_repository(source.hub) and (found := hub_errors.of_address(error)):
        return found
    return hub_errors.explained(error, source.hub, source.revision)


def _is_repository(hub: str) -> bool:
    """Whether a name is that of a dataset of the hub, and not a folder or one of the formats of `datasets`."""
    from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES as FORMATS

    return bool(_REPOSITORY.fullmatch(hub)) and hub not in FORMATS and not hub.startswith(".")


def _pin(revision: str | None) -> str | None:
    return revision if revision and _COMMIT.fullmatch(revision) else None


def _last_known(source: HubSource) -> str | None:
    """The commit that a branch or tag had when the hub was last asked."""
    from huggingface_hub import constants

    folder = "datasets--" + source.hub.replace("/", "--")
    try:
        commit = Path(constants.HF_HUB_CACHE, folder, "refs", source.revision or "main").read_text().strip()
    except (OSError, ValueError):
        return None
    return _pin(commit)


def _prepared(source: HubSource, commit: str) -> Any | None:
    """The table of a commit that an earlier command has prepared in the cache of `datasets`, if there is one."""
    import datasets
    from datasets.naming import camelcase_to_snakecase
    from datasets.packaged_modules.cache.cache import Cache

    *above, name = source.hub.split("/")
    root = Path(datasets.config.HF_DATASETS_CACHE, "___".join([*above, camelcase_to_snakecase(name)]))
    for folder in sorted(root.glob(f"*/*/{commit}")):
        config, version = folder.parts[-3:-1]
        if config not in _configs(source, commit, folder):
            continue
        try:
            builder = Cache(repo_id=source.hub, dataset_name=name, config_name=config, version=version, hash=commit)
            return builder.as_dataset(split=source.split)
        except Exception:  # noqa: BLE001 - a folder that cannot be read is as none; the hub's own error is told
            continue
    return None


def _configs(source: HubSource, commit: str, folder: Path) -> list[str]:
    """What the folder of the wanted configuration may be called."""
    import datasets
    from datasets.data_files import DataFilesDict, DataFilesList

    if source.files:
        files = [f"hf://datasets/{source.hub}@{commit}/{name}" for name in source.files]
        data = DataFilesDict({"train": DataFilesList(files, [(source.hub, commit)] * len(files))})
        config = datasets.BuilderConfig(source.config or "default", data_files=data)
        return [str(config.create_config_id({"data_files": data}))]
    if source.config:
        return [source.config]
    names = sorted(each.name for each in folder.parents[2].iterdir() if any(each.glob(f"*/{commit}")))
    whole = [name for name in names if not re.fullmatch(r".*-[0-9a-f]{16}", name)]
    return ["default"] if "default" in whole else whole if len(whole) == 1 else []


def _plain(table: Any, source: HubSource) -> Any:
    """The columns that are used, none of them decoded: images would need Pillow, and no task looks at them."""
    _check_whole(table, source)
    have = list(table.column_names)
    if missing := [name for name in source.columns if name not in have]:
        raise UsageError(
            f"{source.hub} at {str(source.revision)[:12]} has no column '{missing[0]}'; there are {', '.join(have)}"
        )
    media = [name for name, feature in table.features.items() if _is_media(feature)]
    table = table.remove_columns([name for name in media if name not in source.columns])
    for name in (name for name in media if name in source.columns):
        table = table.cast_column(name, _without_decoding(table.features[name]))
    return table.select_columns(list(source.columns)) if source.columns else table


def _is_media(feature: Any) -> bool:
    if isinstance(feature, dict):
        return any(map(_is_media, feature.values()))
    if isinstance(feature, list):
        return any(map(_is_media, feature))
    inner = getattr(feature, "feature", None)
    if inner is not None:
        return _is_media(inner)
    return hasattr(feature, "decode_example") and type(feature).__name__ not in DATA


def _without_decoding(feature: Any) -> Any:
    """A feature whose images and the like, at any depth, are left as they are stored."""
    if isinstance(feature, dict):
        return {name: _without_decoding(each) for name, each in feature.items()}
    if isinstance(feature, list):
        return [_without_decoding(each) for each in feature]
    made = copy.copy(feature)
    if _is_media(feature) and getattr(feature, "feature", None) is None:
        made.decode = False
    elif getattr(feature, "feature", None) is not None:
        made.feature = _without_decoding(feature.feature)
    return made


def _check_whole(table: Any, source: HubSource) -> None:
    """HubError for a table with fewer rows than were prepared: a cut file of the cache reads as a shorter one."""
    prepared = (table.info.splits or {}).get(source.split)
    if prepared is not None and prepared.num_examples != len(table):
        folder = next((display_path(Path(file["filename"]).parent) for file in table.cache_files), "its folder")
        text = f"its copy in the cache is damaged: it has {len(table):,} of {prepared.num_examples:,} rows"
        raise HubError(f"{source.hub} cannot be loaded: {text}; delete {folder}")


@contextmanager
def _silence_progress() -> Iterator[None]:
    """Without progress bars and warnings of the libraries: what matters of them is in the errors."""
    import datasets
    import huggingface_hub.utils as hub_utils

    datasets.disable_progress_bars()
    hub_utils.disable_progress_bars()  # type: ignore[attr-defined]
    loggers = [logging.getLogger(name) for name in ("datasets", "huggingface_hub", "httpx", "httpx2")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
