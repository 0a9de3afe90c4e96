"""YAML files with the line of each value, so that every error can name it."""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec
import yaml

from m1eval.errors import UsageError
from m1eval.text import display_path, unknown_name

T = TypeVar("T")
Key = tuple[str | int, ...]

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MAX_BYTES = 16 * 2**20
"""Bytes of one file; data have a file of their own."""
MAX_VALUES = 200_000
"""Keys and values of one file; aliases count each time."""
MAX_DEPTH = 100
"""Levels of nested mappings and lists; the loader in C overflows its stack at about ten thousand."""
MAX_INCLUDED = 100
"""Files that one file includes, directly and through others."""
MAX_NUMBER_LENGTH = 400
"""Characters of a number or a date."""


class YamlFile:
    """The data of a YAML file and the line of each of its keys; `include:` is merged in, deeply, local keys win."""

    def __init__(self, path: Path, data: dict[str, Any], lines: dict[Key, tuple[Path, int]]) -> None:
        self.path = path
        self.data = data
        self.lines = lines
        self.protocol = "default"
        """The protocol that was applied to a task's keys."""

    @classmethod
    def read(cls, path: Path, including: tuple[Path, ...] = (), count: Iterator[int] | None = None) -> "YamlFile":
        """Read a file and the files that it includes; UsageError with `file:line` for any mistake in them."""
        count = count or itertools.count(1)
        lines: dict[Key, tuple[Path, int]] = {}
        data = _parse(path, lines)
        if not isinstance(data, dict):
            raise UsageError(f"{display_path(path)}:1: expected a mapping of keys, not {_kind(data)}")
        included = data.pop("include", [])
        included = [included] if isinstance(included, str) else [] if included is None else included
        if not isinstance(included, list) or not all(isinstance(name, str) and name for name in included):
            where = f"{display_path(path)}:{lines[('include',)][1]}"
            raise UsageError(f"{where}: include: write the name of a file next to this one, or a list of names")
        base = cls(path, {}, {})
        for name in included:
            where = f"{display_path(path)}:{lines[('include',)][1]}"
            try:
                file = (path.parent / name).resolve()
                is_file = file.is_file()
            except (OSError, RuntimeError, ValueError):
                raise UsageError(f"{where}: no file {name[:80]} to include next to {path.name}") from None
            if file in (*including, path):
                raise UsageError(f"{where}: {name} includes itself")
            if not is_file:
                raise UsageError(f"{where}: no file {name} to include next to {path.name}")
            if next(count) > MAX_INCLUDED:
                raise UsageError(f"{where}: more than {MAX_INCLUDED} files are included, repeats counted")
            base._merge(cls.read(file, (*including, path), count))
        base._merge(cls(path, data, lines))
        return base

    def _merge(self, other: "YamlFile") -> None:
        self.data = deep_merge(self.data, other.data)
        self.lines |= other.lines

    def where(self, key: Key = ()) -> str:
        """`file:line` of a key, or of the nearest one above it."""
        while key and key not in self.lines:
            key = key[:-1]
        path, line = self.lines.get(key, (self.path, 1))
        return f"{display_path(path)}:{line}" if line else str(path)

    def error(self, key: Key, text: str) -> UsageError:
        """An error at a key."""
        return UsageError(f"{self.where(key)}: {text}")

    def convert(self, type_: type[T]) -> T:
        """The data as a msgspec type; a wrong or unknown key is an error at its line."""
        try:
            return msgspec.convert(self.data, type_)
        except msgspec.ValidationError as error:
            raise self._explain(str(error), type_) from None

    def _explain(self, text: str, type_: type) -> UsageError:
        text, _, path = text.partition(" - at `")
        key = _key(path.rstrip("`"))
        if text.startswith("Object contains unknown field"):
            name = text.split("`")[1]
            return self.error((*key, name), unknown_name("key", name, _fields(type_, key)))
        if text.startswith("Invalid enum value") and (known := _choices(type_, key)):
            value = text.partition("'")[2].rpartition("'")[0]
            return self.error(key, f"{'.'.join(map(str, key))}: {unknown_name('value', value, known)}")
        if text.startswith("Object missing required field"):
            return self.error(key, f"the key '{text.split('`')[1]}' is missing")
        return self.error(key, f"{'.'.join(map(str, key)) or 'the file'}: {text[0].lower()}{text[1:]}")


def deep_merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` overridden by `over`: mappings are merged key by key, anything else replaces; null removes a key."""
    result = dict(base)
    for key, value in over.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = deep_merge(result[key], value)
        else:
            result[key] = value
    return result


def expand_user(path: str | Path) -> Path:
    """A path with ~ as the home folder; UsageError for the home of a user that does not exist."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UsageError(f"{path}: there is no such user") from None


def number_or_none(value: object) -> float | None:
    """A finite number from a number or text; None for all else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def parse_value(text: str) -> Any:
    """The value of a YAML scalar or flow collection on the command line."""
    try:
        if _depth(text) > MAX_DEPTH:
            return text
        return yaml.load(text, _Loader)  # the safe loader, in C where there is one
    except (yaml.YAMLError, *_UNREADABLE):
        return text


_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""Errors that the loader's constructors raise besides their own, for example on the date 2001-99-99."""


def _parse(path: Path, lines: dict[Key, tuple[Path, int]]) -> Any:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)  # a device or a pipe has no size, and may have no end
        if len(data) > MAX_BYTES:
            raise UsageError(
                f"{display_path(path)}:1: longer than {MAX_BYTES >> 20} MiB; put data into a file of their own"
            )
        if _depth(data) > MAX_DEPTH:
            raise UsageError(f"{display_path(path)}:{_deep_line(data)}: nested deeper than {MAX_DEPTH} levels")
        loader = _Loader(data)
        node = loader.get_single_node()
        return _Builder(loader, path, lines).build(node, ()) if node else None
    except OSError as error:
        raise UsageError(f"{display_path(path)}: cannot be read: {error.strerror}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        problem = error.problem or error.context
        if str(problem).endswith("'tag:yaml.org,2002:merge'"):
            problem = "merge keys (<<) are not supported; use include: FILE"
        problem = f"{error.context}, {problem}" if problem == "second occurrence" else problem
        raise UsageError(f"{display_path(path)}:{line}: not valid YAML: {problem}{_quote_hint(data, line)}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = str(error).splitlines()[0]
        hint = "; save the file as UTF-8" if "UTF-8" in problem or isinstance(error, UnicodeDecodeError) else ""
        raise UsageError(f"{display_path(path)}:1: not valid YAML: {problem}{hint}") from None


def _quote_hint(data: bytes, line: int) -> str:
    """A remedy where YAML takes a template, or a text with a colon, for something else."""
    rows = data.decode("utf-8", "replace").splitlines()
    text = rows[line - 1] if line <= len(rows) else ""
    key, colon, rest = text.partition(":")
    if "\t" in text[: len(text) - len(text.lstrip())]:
        return "; indent with spaces, not tabs"
    if not colon or rest.strip()[:1] in ("'", '"', "|", ">", ""):
        return ""
    if rest.strip().startswith(("{{", "{%", "@", "`", "%", "*", "&", "!")) or ": " in rest:
        return f"; quote the text: {key.strip()}: '…'"
    return ""


def _depth(data: bytes | str) -> int:
    """The depth of nested mappings and lists, or 0 where it is certain to be small."""
    marks = ("[", "{", "- ", "-\t", "? ", "\n", "\r")
    text = data if isinstance(data, str) else data.decode("latin-1")
    bound = sum(text.count(mark) for mark in marks)
    if bound <= MAX_DEPTH * 20:  # safe for the loader; `_Builder` finds what is too deep
        return 0
    return max((depth for depth, _ in _levels(data)), default=0)


def _deep_line(data: bytes) -> int:
    return next(line for depth, line in _levels(data) if depth > MAX_DEPTH)


def _levels(data: bytes | str) -> Iterator[tuple[int, int]]:
    """The depth and line at each start of a mapping or list, up to the first that is too deep."""
    depth = 0
    try:
        for event in yaml.parse(data, _Loader):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                yield depth, event.start_mark.line + 1 if event.start_mark else 1
                if depth > MAX_DEPTH:
                    return
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
    except yaml.YAMLError:
        return  # reported when the file is loaded


_COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


class _Builder:
    """Builds data from nodes, within limits: aliases may repeat a node exponentially often, or contain it."""

    def __init__(self, loader: Any, path: Path, lines: dict[Key, tuple[Path, int]]) -> None:
        self._loader = loader
        self._path = path
        self._lines = lines
        self._values = 0

    def build(self, node: yaml.Node, at: Key) -> Any:
        """The data of a node at a key."""
        line = node.start_mark.line + 1
        self._lines.setdefault(at, (self._path, line))
        self._values += 1
        if self._values > MAX_VALUES:
            raise self._error(line, f"more than {MAX_VALUES:,} values; aliases count each time")
        if len(at) > MAX_DEPTH:
            raise self._error(line, f"nested deeper than {MAX_DEPTH} levels, or an alias that contains itself")
        if isinstance(node, yaml.CollectionNode) and node.tag not in _COLLECTIONS:
            raise self._error(line, f"not valid YAML: could not determine a constructor for the tag '{node.tag[:80]}'")
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*at, i)) for i, item in enumerate(node.value)]
        if not isinstance(node, yaml.MappingNode):
            return self._scalar(node)
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if isinstance(key_node, yaml.MappingNode):
                name = at[-1] if at else "key"
                remedy = f'; quote a template: {name}: "{{{{ … }}}}"' if isinstance(name, str) else ""
                raise self._error(key_node.start_mark.line + 1, f"a key must be text, not a mapping{remedy}")
            key = self._scalar(key_node)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                raise self._error(line, f"a key must be text, not {_kind(key)}")
            if key in result:
                raise self._error(line, f"duplicate key '{key}'; the first is at line {self._lines[(*at, key)][1]}")
            self._lines[(*at, key)] = (self._path, line)
            result[key] = self.build(value_node, (*at, key))
        return result

    def _scalar(self, node: yaml.Node) -> Any:
        line, text = node.start_mark.line + 1, node.value
        if isinstance(text, str) and len(text) > MAX_NUMBER_LENGTH and not node.tag.endswith((":str", ":binary")):
            raise self._error(line, f"a value of {len(text):,} characters that is not text; write it in quotes")
        try:
            return self._loader.construct_object(node)
        except _UNREADABLE as error:
            kind = node.tag.rpartition(":")[2]
            raise self._error(line, f"not a YAML {kind}: {str(text)[:40]!r} ({error}); write text in quotes") from None

    def _error(self, line: int, text: str) -> UsageError:
        return UsageError(f"{display_path(self._path)}:{line}: {text}")


def _key(path: str) -> Key:
    """msgspec's `$.a[0].b` or `$.a[...]` as a key."""
    parts = path.removeprefix("$").replace("[", ".[").split(".")
    return tuple(int(p[1:-1]) if p[1:-1].isdigit() else p for p in parts if p and p != "[" and "..." not in p)


def _choices(type_: Any, key: Key) -> list[str]:
    """The values that a key accepts, where they are listed."""
    *above, last = [name for name in key if isinstance(name, str)] or [""]
    struct = _struct_at(type_, tuple(above))
    inner = [f.type for f in msgspec.structs.fields(struct) if f.encode_name == last] if struct else []
    return [text for type_ in inner for text in _parts(type_) if isinstance(text, str)]


def _fields(type_: Any, key: Key) -> list[str]:
    """The field names of the struct nested at `key`."""
    struct = _struct_at(type_, key)
    return [field.encode_name for field in msgspec.structs.fields(struct)] if struct else []


def _struct_at(type_: Any, key: Key) -> Any:
    """The struct nested at `key`; None if there is none."""
    for name in (name for name in key if isinstance(name, str)):
        inner = [f.type for f in msgspec.structs.fields(type_) if f.encode_name == name]
        if not inner:
            return None
        structs = [t for t in _parts(inner[0]) if isinstance(t, type) and issubclass(t, msgspec.Struct)]
        if not structs:
            return None
        type_ = structs[0]
    return type_


def _parts(type_: Any) -> Iterator[Any]:
    """The types that a union, list or mapping consists of."""
    arguments = get_args(type_)
    yield from (part for argument in arguments for part in _parts(argument)) if arguments else (type_,)


def _kind(data: Any) -> str:
    return {dict: "a mapping", list: "a list", str: "text", type(None): "nothing"}.get(type(data), type(data).__name__)
