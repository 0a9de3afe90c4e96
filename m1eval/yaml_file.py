"""YAML files that remember where each value stands, so that every error can name its line."""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec
import yaml

from m1eval.errors import UsageError
from m1eval.plugins import unknown

T = TypeVar("T")
Key = tuple[str | int, ...]

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

LARGEST = 16 * 2**20
"""Bytes of one file; data belong into a file of their own."""
MOST_VALUES = 200_000
"""Keys and values of one file, those that aliases repeat counted each time."""
DEEPEST = 100
"""Mappings and lists within one another; the loader in C would run out of its stack at some ten thousand."""
MOST_INCLUDED = 100
"""Files that one file includes, by way of others too."""
LONGEST_NUMBER = 400
"""Characters of a number or a date."""


class YamlFile:
    """The data of a YAML file and the line of each of its keys; `include:` is merged in, deeply, local keys win."""

    def __init__(self, path: Path, data: dict[str, Any], lines: dict[Key, tuple[Path, int]]) -> None:
        self.path = path
        self.data = data
        self.lines = lines
        self.protocol = "default"
        """The protocol that was laid upon a task's keys."""

    @classmethod
    def read(cls, path: Path, including: tuple[Path, ...] = (), count: Iterator[int] | None = None) -> "YamlFile":
        """Read a file and what it includes; UsageError with `file:line` for whatever is wrong in them."""
        count = count or itertools.count(1)
        lines: dict[Key, tuple[Path, int]] = {}
        data = _parse(path, lines)
        if not isinstance(data, dict):
            raise UsageError(f"{display_path(path)}:1: a mapping of keys is wanted here, not {_kind(data)}")
        included = data.pop("include", [])
        included = [included] if isinstance(included, str) else [] if included is None else included
        if not isinstance(included, list) or not all(isinstance(name, str) and name for name in included):
            where = f"{display_path(path)}:{lines[('include',)][1]}"
            raise UsageError(f"{where}: include: write the name of a file beside this one, or a list of such")
        base = cls(path, {}, {})
        for name in included:
            where = f"{display_path(path)}:{lines[('include',)][1]}"
            try:
                file = (path.parent / name).resolve()
                found = file.is_file()
            except (OSError, RuntimeError, ValueError):
                raise UsageError(f"{where}: no file {name[:80]} to include beside {path.name}") from None
            if file in (*including, path):
                raise UsageError(f"{where}: {name} includes itself")
            if not found:
                raise UsageError(f"{where}: no file {name} to include beside {path.name}")
            if next(count) > MOST_INCLUDED:
                raise UsageError(f"{where}: more than {MOST_INCLUDED} files are included, some of them again and again")
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
            return self.error((*key, name), unknown("key", name, _fields(type_, key)))
        if text.startswith("Invalid enum value") and (known := _choices(type_, key)):
            given = text.partition("'")[2].rpartition("'")[0]
            return self.error(key, f"{'.'.join(map(str, key))}: {unknown('value', given, known)}")
        if text.startswith("Object missing required field"):
            return self.error(key, f"the key '{text.split('`')[1]}' is missing")
        return self.error(key, f"{'.'.join(map(str, key)) or 'the file'}: {text[0].lower()}{text[1:]}")


def deep_merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` upon `base`: mappings are merged key by key, anything else replaces; null takes a key away."""
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


def display_path(path: Path) -> str:
    """A path as a person would write it here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def as_number(value: object) -> float | None:
    """A finite number, given as one or as text; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def parse_value(text: str) -> Any:
    """What a YAML scalar or flow value on the command line means."""
    try:
        if _depth(text) > DEEPEST:
            return text
        return yaml.load(text, _Loader)  # the safe loader, in C where there is one
    except (yaml.YAMLError, *_UNREADABLE):
        return text


_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What the loader's constructors raise besides their own errors, on dates such as 2001-99-99 for one."""


def _parse(path: Path, lines: dict[Key, tuple[Path, int]]) -> Any:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)  # a device or a pipe has no size, and may have no end
        if len(data) > LARGEST:
            raise UsageError(
                f"{display_path(path)}:1: longer than {LARGEST >> 20} MiB; data belong into a file of their own"
            )
        if _depth(data) > DEEPEST:
            raise UsageError(f"{display_path(path)}:{_deep_line(data)}: nested deeper than {DEEPEST} levels")
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
            problem = "merge keys (<<) are not read here; use include: FILE"
        problem = f"{error.context}, {problem}" if problem == "second occurrence" else problem
        raise UsageError(f"{display_path(path)}:{line}: not valid YAML: {problem}{_quote_hint(data, line)}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = str(error).splitlines()[0]
        hint = "; save the file as UTF-8" if "UTF-8" in problem or isinstance(error, UnicodeDecodeError) else ""
        raise UsageError(f"{display_path(path)}:1: not valid YAML: {problem}{hint}") from None


def _quote_hint(data: bytes, line: int) -> str:
    """The remedy where YAML reads a template, or a text with a colon, as something else."""
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
    """How deep mappings and lists stand within one another, or a bound where that is certain to be small."""
    marks = ("[", "{", "- ", "-\t", "? ", "\n", "\r")
    text = data if isinstance(data, str) else data.decode("latin-1")
    bound = sum(text.count(mark) for mark in marks)
    if bound <= DEEPEST * 20:  # so shallow that the loader reads it, and `_Building` finds what is too deep
        return 0
    return max((depth for depth, _ in _levels(data)), default=0)


def _deep_line(data: bytes) -> int:
    return next(line for depth, line in _levels(data) if depth > DEEPEST)


def _levels(data: bytes | str) -> Iterator[tuple[int, int]]:
    """The depth at each beginning of a mapping or list, and its line, up to the first that is too deep."""
    depth = 0
    try:
        for event in yaml.parse(data, _Loader):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                yield depth, event.start_mark.line + 1 if event.start_mark else 1
                if depth > DEEPEST:
                    return
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
    except yaml.YAMLError:
        return  # told by whoever reads it


_COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


class _Builder:
    """Makes data of nodes, within limits, as aliases may repeat a node exponentially often or hold itself."""

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
        if self._values > MOST_VALUES:
            raise self._error(line, f"more than {MOST_VALUES:,} values; aliases repeat what they name")
        if len(at) > DEEPEST:
            raise self._error(line, f"nested deeper than {DEEPEST} levels, or an alias within what it names")
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
                raise self._error(
                    line, f"the key '{key}' stands twice; the first is at line {self._lines[(*at, key)][1]}"
                )
            self._lines[(*at, key)] = (self._path, line)
            result[key] = self.build(value_node, (*at, key))
        return result

    def _scalar(self, node: yaml.Node) -> Any:
        line, text = node.start_mark.line + 1, node.value
        if isinstance(text, str) and len(text) > LONGEST_NUMBER and not node.tag.endswith((":str", ":binary")):
            raise self._error(line, f"a value of {len(text):,} characters that is no text; write it in quotes")
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
    """The texts that a key may have, where they are listed."""
    *above, last = [name for name in key if isinstance(name, str)] or [""]
    struct = _struct_at(type_, tuple(above))
    inner = [f.type for f in msgspec.structs.fields(struct) if f.encode_name == last] if struct else []
    return [text for type_ in inner for text in _parts(type_) if isinstance(text, str)]


def _fields(type_: Any, key: Key) -> list[str]:
    """The names that a struct nested at `key` knows."""
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
    """The types that a union, list or mapping is made of."""
    arguments = get_args(type_)
    yield from (part for argument in arguments for part in _parts(argument)) if arguments else (type_,)


def _kind(data: Any) -> str:
    return {dict: "a mapping", list: "a list", str: "text", type(None): "nothing"}.get(type(data), type(data).__name__)
