"""Prompts that a benchmark's authors publish, read at run time from where they publish them and never shipped here.

A task names each under `texts`: a URL at a commit, the SHA-256 of the file, and for a Python file the constant that
holds the text. The file is read from `--data-dir`, else downloaded as data sets are and kept in `$M1EVAL_CACHE` (else
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

from m1eval.task.definition import PublishedText
from m1eval.yaml_file import YamlFile, display_path

CHANGING = {
    "append",
    "extend",
    "insert",
    "update",
    "setdefault",
    "pop",
    "popitem",
    "remove",
    "clear",
    "sort",
    "reverse",
}
"""Methods that change a list or a dict in place."""
STRIPS = {"strip": str.strip, "rstrip": str.rstrip, "lstrip": str.lstrip}


class PublishedTexts:
    """The published texts of a task by name; empty until `load` has read them."""

    def __init__(self, task: str, file: YamlFile, wanted: Mapping[str, PublishedText]) -> None:
        self._task, self._file, self._wanted = task, file, dict(wanted)
        self._loaded: dict[str, Any] = {}

    def load(self, folder: Path | None) -> dict[str, Any]:
        """Read all texts, each once; UsageError if a file cannot be had or is not the one that was pinned."""
        for name, text in self._wanted.items():
            if name not in self._loaded:
                self._loaded[name] = self._read(name, text, folder)
        return self._loaded

    def variables(self) -> dict[str, Any]:
        """What templates see: `texts` with all texts, if the task has any."""
        return {"texts": self.load(None)} if self._wanted else {}

    def _read(self, name: str, text: PublishedText, folder: Path | None) -> Any:
        key = ("texts", name)
        data = self._bytes(name, text, folder)
        digest = hashlib.sha256(data).hexdigest()
        if digest != text.sha256:
            raise self._file.error(
                (*key, "sha256"), f"{_base(text)} has the SHA-256 {digest}, not {text.sha256}: it is another version"
            )
        _keep(digest, data)
        try:
            source = data.decode("utf-8")
            return constant(source, text.constant) if text.constant else source
        except (SyntaxError, ValueError, TypeError, LookupError, RecursionError, MemoryError) as error:
            place = (*key, "constant") if text.constant else key
            raise self._file.error(place, f"{_base(text)}: {str(error) or 'nested too deep to be read'}") from None

    def _bytes(self, name: str, text: PublishedText, folder: Path | None) -> bytes:
        given = folder / _base(text) if folder else None
        try:
            if given and given.is_file():
                return given.read_bytes()
            if (data := _read_kept(text.sha256)) is not None:
                return data
            data = _downloaded(text.url).read_bytes()
            whole = hashlib.sha256(data).hexdigest() == text.sha256
            return data if whole else _downloaded(text.url, again=True).read_bytes()
        except ModuleNotFoundError as error:
            from m1eval import plugins

            raise plugins.missing_package(f"task '{self._task}'", error) from error
        except Exception as error:  # noqa: BLE001 - download errors have no common base
            said = _said(error, text.url)
            raise self._file.error(
                ("texts", name),
                f"'{name}' is a text of the benchmark's authors, read from {text.url}, which cannot be had: {said}; "
                f"without a network, put the file {_base(text)} into a folder and give it with --data-dir "
                f"{display_path(folder) if folder else 'DIR'}",
            ) from None


def constant(source: str, name: str) -> Any:
    """The value of a module-level constant of a Python file, made of literals: added ones, perhaps with `.strip()`.

    Of a function, the literal that its first `return` returns. The file is parsed and not executed. LookupError if
    there is no such name, ValueError if its value is no literal, or if something else than that changes it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about escapes in their strings
        tree = ast.parse(source)
    found: list[Any] = []
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == name:
            found = [_returned(statement, name)]
        elif not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found = _after(statement, name, found)
    if not found:
        raise LookupError(f"no constant {name}")
    return found[0]


def _after(statement: ast.stmt, name: str, found: list[Any]) -> list[Any]:
    """What a constant is behind a statement, in a list; nothing where it has no value yet."""
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    if any(isinstance(target, ast.Name) and target.id == name for target in targets):
        if isinstance(statement, ast.Assign):
            return [_literal(statement.value, name)]
        if isinstance(statement, ast.AnnAssign):
            return [_literal(statement.value, name)] if statement.value else found
        if isinstance(statement, ast.AugAssign) and isinstance(statement.op, ast.Add) and found:
            return [_sum(found[0], _literal(statement.value, name), name)]
    if any(_changes(node, name) for node in ast.walk(statement)):
        raise ValueError(f"{name} is changed in line {statement.lineno} in a way that is not read without executing it")
    return found


def _changes(node: ast.AST, name: str) -> bool:
    """Whether a part of a statement gives a name, or something inside of its value, another value."""
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
        raise ValueError(f"{name} is no literal")
    try:
        return ast.literal_eval(value)
    except ValueError:
        raise ValueError(f"{name} is no literal: line {value.lineno} would have to be executed") from None


def _sum(first: Any, second: Any, name: str) -> Any:
    if type(first) is type(second) and isinstance(first, str | list | tuple | int | float):
        return first + second
    raise ValueError(f"{name} is no literal")


def _base(text: PublishedText) -> str:
    return Path(urlsplit(text.url).path).name


def _kept(digest: str) -> Path:
    """Where a file is kept between runs."""
    own = os.environ.get("M1EVAL_CACHE")
    cache = Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "m1eval"
    return cache.expanduser() / "texts" / digest


def _read_kept(digest: str) -> bytes | None:
    """A file that was kept; None if there is none, or if it is not what was kept, as after a crash of the machine."""
    try:
        data = _kept(digest).read_bytes()
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == digest else None


def _said(error: BaseException, url: str) -> str:
    """What went wrong: `datasets` may say no more than the address, and its cause the rest."""
    while str(error).strip() in ("", url) and (inner := error.__cause__ or error.__context__):
        error = inner
    return " ".join(str(error).split()) or type(error).__name__


def _keep(digest: str, data: bytes) -> None:
    """Keep a file, whole or not at all; without a place to keep things, nothing is kept."""
    path = _kept(digest)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with suppress(OSError):
        if _read_kept(digest) is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_bytes(data)
            fresh.replace(path)


def _downloaded(url: str, *, again: bool = False) -> Path:
    """A file by way of `datasets`, which knows about proxies and offline mode; `again`: whatever its cache has."""
    import datasets

    datasets.disable_progress_bars()
    config = datasets.DownloadConfig(force_download=again)
    return Path(str(datasets.DownloadManager(download_config=config).download(url)))
