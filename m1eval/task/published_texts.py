"""Prompts that a benchmark's authors publish, read from there at run time and never shipped here.

A task names each under `texts`: a URL at a commit, the SHA-256 of the file, and for a Python file the constant that
holds the text. The file is read from `--data-dir`, else downloaded like datasets and cached in `$M1EVAL_CACHE` (else
the user's cache folder) under its digest. It is parsed, never executed.
"""

import ast
import hashlib
import os
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from m1eval.option_names import option
from m1eval.plugins import imports
from m1eval.task.definition import PublishedText
from m1eval.text import display_path
from m1eval.yaml_file import YamlFile

CHANGING = {
    *("append", "extend", "insert", "update", "setdefault", "pop", "popitem", "remove", "clear", "sort", "reverse")
}
"""Methods that change a list or a dict in place."""
STRIPS = {"strip": str.strip, "rstrip": str.rstrip, "lstrip": str.lstrip}


class PublishedTexts:
    """The published texts of a task by name; empty until `load` has read them."""

    def __init__(self, task: str, file: YamlFile, texts: Mapping[str, PublishedText]) -> None:
        self._task, self._file, self._texts = task, file, dict(texts)
        self._loaded: dict[str, Any] = {}

    def load(self, folder: Path | None) -> dict[str, Any]:
        """Read all texts, each once; UsageError if a file cannot be read or is not the pinned one."""
        for name, text in self._texts.items():
            if name not in self._loaded:
                self._loaded[name] = self._read(name, text, folder)
        return self._loaded

    def variables(self) -> dict[str, Any]:
        """The variable of templates: `texts` with all texts, if the task has any."""
        return {"texts": self.load(None)} if self._texts else {}

    def _read(self, name: str, text: PublishedText, folder: Path | None) -> Any:
        key = ("texts", name)
        data = self._bytes(name, text, folder)
        digest = hashlib.sha256(data).hexdigest()
        if digest != text.sha256:
            raise self._file.error(
                (*key, "sha256"),
                f"{_file_name(text)} has the SHA-256 {digest}, not {text.sha256}: it is another version",
            )
        _cache(digest, data)
        try:
            source = data.decode("utf-8")
            return constant(source, text.constant) if text.constant else source
        except (SyntaxError, ValueError, TypeError, LookupError, RecursionError, MemoryError) as error:
            place = (*key, "constant") if text.constant else key
            raise self._file.error(
                place, f"{_file_name(text)}: {str(error) or 'nested too deeply to be read'}"
            ) from None

    def _bytes(self, name: str, text: PublishedText, folder: Path | None) -> bytes:
        local = folder / _file_name(text) if folder else None
        try:
            if local and local.is_file():
                return local.read_bytes()
            if (data := _read_cached(text.sha256)) is not None:
                return data
            data = _download(text.url).read_bytes()
            whole = hashlib.sha256(data).hexdigest() == text.sha256
            return data if whole else _download(text.url, again=True).read_bytes()
        except ModuleNotFoundError as error:
            from m1eval import plugins

            raise plugins.missing_package(f"task '{self._task}'", error) from error
        except Exception as error:  # noqa: BLE001 - download errors have no common base
            reason = _reason(error, text.url)
            raise self._file.error(
                ("texts", name),
                f"'{name}' is a text of the benchmark's authors, read from {text.url}, which cannot be read: {reason}; "
                f"without a network, put the file {_file_name(text)} into a folder and give it with "
                f"{option('data_dir', display_path(folder) if folder else 'DIR')}",
            ) from None


def constant(source: str, name: str) -> Any:
    """The value of a module-level constant of a Python file: literals, sums of them, `.strip()` of them.

    For a function, the literal of its first `return`. The file is parsed and not executed. LookupError for an unknown
    name, ValueError if its value is not a literal, or is changed in any other way.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about escapes in their strings
        tree = imports.parse(source)
    values: list[Any] = []
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == name:
            values = [_returned(statement, name)]
        elif not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            values = _values_after(statement, name, values)
    if not values:
        raise LookupError(f"no constant {name}")
    return values[0]


def _values_after(statement: ast.stmt, name: str, values: list[Any]) -> list[Any]:
    """The value of a constant after a statement, in a list; empty where it has no value yet."""
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    if any(isinstance(target, ast.Name) and target.id == name for target in targets):
        if isinstance(statement, ast.Assign):
            return [_literal(statement.value, name)]
        if isinstance(statement, ast.AnnAssign):
            return [_literal(statement.value, name)] if statement.value else values
        if isinstance(statement, ast.AugAssign) and isinstance(statement.op, ast.Add) and values:
            return [_sum(values[0], _literal(statement.value, name), name)]
    if any(_changes(node, name) for node in ast.walk(statement)):
        raise ValueError(f"{name} is changed in line {statement.lineno} in a way that is not read without executing it")
    return values


def _changes(node: ast.AST, name: str) -> bool:
    """Whether a part of a statement assigns to a name, or changes its value in place."""
    if isinstance(node, ast.Name):
        return node.id == name and not isinstance(node.ctx, ast.Load)
    if isinstance(node, ast.Call):
        inner: ast.AST | None = node.func if isinstance(node.func, ast.Attribute) else None
        called = isinstance(inner, ast.Attribute) and inner.attr in CHANGING
    else:
        inner = node if isinstance(node, ast.Attribute | ast.Subscript) else None
        called = inner is not None and not isinstance(inner.ctx, ast.Load)
    while isinstance(inner, ast.Attribute | ast.Subscript):
        inner = inner.value
    return called and isinstance(inner, ast.Name) and inner.id == name


def _returned(function: ast.FunctionDef, name: str) -> Any:
    returns = [node for node in ast.walk(function) if isinstance(node, ast.Return)]
    value = min(returns, key=lambda node: node.lineno).value if returns else None
    if value is None:
        raise LookupError(f"no constant {name}")
    return _literal(value, name)


def _literal(value: ast.expr, name: str) -> Any:
    """The value of an expression of literals."""
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
        return _sum(_literal(value.left, name), _literal(value.right, name), name)
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and not value.args and not value.keywords:
        strip, inner = STRIPS.get(value.func.attr), _literal(value.func.value, name)
        if strip and isinstance(inner, str):
            return strip(inner)
        raise ValueError(f"{name} is not a literal")
    try:
        return ast.literal_eval(value)
    except ValueError:
        raise ValueError(f"{name} is not a literal: line {value.lineno} would have to be executed") from None


def _sum(first: Any, second: Any, name: str) -> Any:
    if type(first) is type(second) and isinstance(first, str | list | tuple | int | float):
        return first + second
    raise ValueError(f"{name} is not a literal")


def _file_name(text: PublishedText) -> str:
    return Path(urlsplit(text.url).path).name


def _cache_path(digest: str) -> Path:
    """The path of a file in the cache."""
    folder = os.environ.get("M1EVAL_CACHE")
    cache = Path(folder) if folder else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "m1eval"
    return cache.expanduser() / "texts" / digest


def _read_cached(digest: str) -> bytes | None:
    """A cached file; None if there is none, or if it is damaged, as after a crash of the machine."""
    try:
        data = _cache_path(digest).read_bytes()
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == digest else None


def _reason(error: BaseException, url: str) -> str:
    """The message of an error, or of its cause where `datasets` gives only the address."""
    while str(error).strip() in ("", url) and (inner := error.__cause__ or error.__context__):
        error = inner
    return " ".join(str(error).split()) or type(error).__name__


def _cache(digest: str, data: bytes) -> None:
    """Write a file to the cache atomically; without a writable cache, nothing is written."""
    path = _cache_path(digest)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with suppress(OSError):
        if _read_cached(digest) is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_bytes(data)
            fresh.replace(path)


def _download(url: str, *, again: bool = False) -> Path:
    """Download a file by `datasets`, which supports proxies and offline mode; `again`: even if it is in its cache."""
    import datasets

    datasets.disable_progress_bars()
    config = datasets.DownloadConfig(force_download=again)
    return Path(str(datasets.DownloadManager(download_config=config).download(url)))
