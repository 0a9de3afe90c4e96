"""Datasets of the hub at a commit, loaded by the library `datasets`, with a check that it is that commit.

If the hub cannot be reached, `datasets` uses any commit of the dataset that is in its cache. Here the loaded commit is
compared with the pin, or with that of the branch or tag when the hub was last asked: only that one is taken from the
cache.
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
from m1eval.text import display_path

WAITS = (1.0, 4.0)
"""Seconds before a request is retried after a transient failure."""
RETRY_SECONDS = 40.0
"""Seconds after which nothing is retried; `huggingface_hub` may have spent most of them on its own retries."""
DIGEST_BATCH = 64
"""Rows in memory while their digest is computed; one may be a prompt of a million tokens."""
DATA = {"Json"}
"""Features that are decoded although they are data, not media."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REPOSITORY = re.compile(r"[\w.-]+(/[\w.-]+)?")


class HubSource(NamedTuple):
    """A table of a dataset on the hub."""

    hub: str
    revision: str | None = None
    config: str | None = None
    split: str = "test"
    files: Sequence[str] = ()
    columns: Sequence[str] = ()


class HubTable(NamedTuple):
    """Rows with their commit, or for files by URL, which have none, a digest of the rows."""

    rows: Rows
    commit: str | None
    digest: str | None = None


class OutsideDataset(UsageError):
    """A file that is not inside the dataset."""


def place(hub: str, files: Sequence[str]) -> str:
    """The source of data in messages: the dataset's name, or the host of files that are named by URL."""
    return urlsplit(files[0]).netloc if files and "://" in files[0] else hub


def load_hub(source: HubSource) -> HubTable:
    """The rows of a dataset, memory-mapped; HubError in one line with the reason and a remedy."""
    datasets = _library()
    with _silence_progress():
        if not _is_repository(source.hub):
            rows = _select_columns(_with_retries(lambda: _load_table(source), source), source)
            return HubTable(rows, None, _digest(rows))
        for name in source.files:
            _check_inside(source.hub, name)
        try:
            table = _with_retries(lambda: _load_pinned(source), source)
        except HubError as error:
            # Data at a commit do not change, so the copy that an earlier command prepared is valid.
            commit = _pin(source.revision) or _last_known(source)
            table = _load_prepared(source, commit) if commit else None
            if table is None:
                raise error from error.__cause__
        assert isinstance(table, datasets.Dataset)
        return HubTable(_select_columns(table, source), commit_of(table))


def _library() -> Any:
    """The library `datasets`, which reads its settings when it is imported."""
    if endpoint := os.environ.get("HF_ENDPOINT"):
        os.environ["HF_ENDPOINT"] = endpoint.rstrip("/")  # a second slash makes every address wrong
    try:
        import datasets
    except ModuleNotFoundError:
        raise
    except Exception as error:
        text = f"the library datasets cannot be imported ({type(error).__name__}: {error}): is a variable HF_… wrong?"
        raise HubError(" ".join(text.split())) from error
    return datasets


def commit_of(table: Any) -> str | None:
    """The commit of a table of `datasets`: the last part of its folder in the cache."""
    for file in getattr(table, "cache_files", None) or ():
        name = Path(str(file["filename"])).parent.name
        if _COMMIT.fullmatch(name):
            return name
    return None


def _load_pinned(source: HubSource) -> Any:
    """The table at the pinned commit, or at that of a branch or tag.

    `datasets` checks neither commit nor name when it falls back to its cache. The hub is asked again only if the last
    known commit of the name differs.
    """
    try:
        table = _load_table(source)
    except ValueError as error:
        if "Couldn't find cache for" in str(error):  # raised in place of the hub's own error
            hub_errors.resolve_revision(source.hub, source.revision)
        raise
    loaded, pin = commit_of(table), _pin(source.revision)
    if loaded != (pin or _last_known(source)):
        current = hub_errors.resolve_revision(source.hub, source.revision)
        if loaded != (pin or current):
            raise OtherCommit(f"{str(loaded)[:12]} of it was loaded, not {(pin or current)[:12]}")
    return table


def _check_inside(hub: str, name: str) -> None:
    """OutsideDataset for a file that `datasets` would look for elsewhere, which the commit does not pin."""
    if "://" in name or name.startswith("/") or ".." in name.split("/"):
        raise OutsideDataset(
            f"'{name}' is not a file of {hub}: write its path from the root of the dataset, as data/test.jsonl"
        )


def _digest(table: Any) -> str:
    """The shortened SHA-256 of the rows, the only way to tell whether they are still the same."""
    sha, encode = hashlib.sha256(), msgspec.json.Encoder(enc_hook=str).encode
    for start in range(0, len(table), DIGEST_BATCH):
        for row in table.with_format("arrow")[start : start + DIGEST_BATCH].to_pylist():
            sha.update(encode(row) + b"\n")
    return sha.hexdigest()[:16]


def _load_table(source: HubSource) -> Any:
    import datasets

    # A folder of the dataset's name in the current folder would be loaded in its place.
    elsewhere = _is_repository(source.hub) and Path(source.hub).is_dir()
    path = f"hf://datasets/{source.hub}" if elsewhere else source.hub
    revision = source.revision if _is_repository(source.hub) else None
    files = list(source.files) or None
    keys: dict[str, Any] = {"split": source.split, "revision": revision, "data_files": files}
    if not _is_repository(source.hub):
        # Without this, the cached content of a URL is used for ever.
        keys["download_config"] = datasets.DownloadConfig(use_etag=True)
    # A table in memory, where a variable may put small sets, has no commit.
    return datasets.load_dataset(path, source.config, keep_in_memory=False, **keys)


def _with_retries(load: Callable[[], Any], source: HubSource) -> Any:
    """The result of `load`, with retries after transient failures."""
    start = time.monotonic()
    for wait in (*WAITS, None):
        try:
            return load()
        except Exception as error:  # the hub's errors have no common base
            reason = _explain(error, source)
            if wait is None or not reason.transient or time.monotonic() - start > RETRY_SECONDS:
                where = place(source.hub, source.files)
                raise HubError(f"{where} cannot be loaded: {reason.text}", reason.kind) from error
        time.sleep(wait)
    raise AssertionError


def _explain(error: Exception, source: HubSource) -> hub_errors.Reason:
    if not _is_repository(source.hub) and (reason := hub_errors.explain_url(error)):
        return reason
    return hub_errors.explain(error, source.hub, source.revision)


def _is_repository(hub: str) -> bool:
    """Whether a name is that of a dataset on the hub, not of a folder or a format of `datasets`."""
    from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES as FORMATS

    return bool(_REPOSITORY.fullmatch(hub)) and hub not in FORMATS and not hub.startswith(".")


def _pin(revision: str | None) -> str | None:
    return revision if revision and _COMMIT.fullmatch(revision) else None


def _last_known(source: HubSource) -> str | None:
    """The commit of a branch or tag when the hub was last asked."""
    from huggingface_hub import constants

    folder = "datasets--" + source.hub.replace("/", "--")
    try:
        commit = Path(constants.HF_HUB_CACHE, folder, "refs", source.revision or "main").read_text().strip()
    except (OSError, ValueError):
        return None
    return _pin(commit)


def _load_prepared(source: HubSource, commit: str) -> Any | None:
    """The table of a commit that an earlier command prepared in the cache of `datasets`, if there is one."""
    import datasets
    from datasets.naming import camelcase_to_snakecase
    from datasets.packaged_modules.cache.cache import Cache

    *above, name = source.hub.split("/")
    root = Path(datasets.config.HF_DATASETS_CACHE, "___".join([*above, camelcase_to_snakecase(name)]))
    for folder in sorted(root.glob(f"*/*/{commit}")):
        config, version = folder.parts[-3:-1]
        if config not in _config_names(source, commit, folder):
            continue
        try:
            builder = Cache(repo_id=source.hub, dataset_name=name, config_name=config, version=version, hash=commit)
            return builder.as_dataset(split=source.split)
        except Exception:  # noqa: BLE001 - an unreadable folder is skipped; the hub's error is reported
            continue
    return None


def _config_names(source: HubSource, commit: str, folder: Path) -> list[str]:
    """The possible folder names of the configuration."""
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


def _select_columns(table: Any, source: HubSource) -> Any:
    """The table with the columns that are used, media not decoded: images would need Pillow, and no task uses them."""
    _check_complete(table, source)
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
    """A feature whose media, at any depth, are left encoded."""
    if isinstance(feature, dict):
        return {name: _without_decoding(each) for name, each in feature.items()}
    if isinstance(feature, list):
        return [_without_decoding(each) for each in feature]
    copied = copy.copy(feature)
    if _is_media(feature) and getattr(feature, "feature", None) is None:
        copied.decode = False
    elif getattr(feature, "feature", None) is not None:
        copied.feature = _without_decoding(feature.feature)
    return copied


def _check_complete(table: Any, source: HubSource) -> None:
    """HubError for a table with fewer rows than were prepared: a truncated cache file reads as a shorter table."""
    prepared = (table.info.splits or {}).get(source.split)
    if prepared is not None and prepared.num_examples != len(table):
        folder = next((display_path(Path(file["filename"]).parent) for file in table.cache_files), "its folder")
        text = f"its copy in the cache is damaged: it has {len(table):,} of {prepared.num_examples:,} rows"
        raise HubError(f"{source.hub} cannot be loaded: {text}; delete {folder}")


@contextmanager
def _silence_progress() -> Iterator[None]:
    """Turn off progress bars and warnings of the libraries; errors contain what matters."""
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
