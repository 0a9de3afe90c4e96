"""YAML files that remember where each value stands, so that every error can name its line."""

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


class Source:
    """The data of a YAML file and the line of each of its keys; `include:` is merged in, deeply, local keys win."""

    def __init__(self, path: Path, data: dict[str, Any], lines: dict[Key, tuple[Path, int]]) -> None:
        self.path = path
        self.data = data
        self.lines = lines

    @classmethod
    def read(cls, path: Path, including: tuple[Path, ...] = ()) -> "Source":
        """Read a file and what it includes; UsageError with `file:line` for whatever is wrong in them."""
        lines: dict[Key, tuple[Path, int]] = {}
        data = _parse(path, lines)
        if not isinstance(data, dict):
            raise UsageError(f"{show(path)}:1: a mapping of keys is wanted here, not {_kind(data)}")
        included = data.pop("include", [])
        base = cls(path, {}, {})
        for name in [included] if isinstance(included, str) else included:
            file = (path.parent / str(name)).resolve()
            where = f"{show(path)}:{lines[('include',)][1]}"
            if file in (*including, path):
                raise UsageError(f"{where}: {name} includes itself")
            if not file.is_file():
                raise UsageError(f"{where}: no file {name} to include beside {path.name}")
            base._merge(cls.read(file, (*including, path)))
        base._merge(cls(path, data, lines))
        return base

    def _merge(self, other: "Source") -> None:
        self.data = merged(self.data, other.data)
        self.lines |= other.lines

    def where(self, key: Key = ()) -> str:
        """`file:line` of a key, or of the nearest one above it."""
        while key and key not in self.lines:
            key = key[:-1]
        path, line = self.lines.get(key, (self.path, 1))
        return f"{show(path)}:{line}" if line else str(path)

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
        if text.startswith("Object missing required field"):
            return self.error(key, f"the key '{text.split('`')[1]}' is missing")
        return self.error(key, f"{'.'.join(map(str, key)) or 'the file'}: {text[0].lower()}{text[1:]}")


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` upon `base`: mappings are merged key by key, anything else replaces; null takes a key away."""
    result = dict(base)
    for key, value in over.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


def show(path: Path) -> str:
    """A path as a person would write it here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def value(text: str) -> Any:
    """What a YAML scalar or flow value on the command line means."""
    try:
        return yaml.load(text, _Loader)  # the safe loader, in C where there is one
    except yaml.YAMLError:
        return text


def _parse(path: Path, lines: dict[Key, tuple[Path, int]]) -> Any:
    try:
        loader = _Loader(path.read_bytes())
        node = loader.get_single_node()
        return _build(loader, node, (), path, lines) if node else None
    except OSError as error:
        raise UsageError(f"{show(path)}: cannot be read: {error.strerror}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise UsageError(f"{show(path)}:{line}: not valid YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{show(path)}:1: not valid YAML: {str(error).splitlines()[0]}") from None


def _build(loader: Any, node: yaml.Node, at: Key, path: Path, lines: dict[Key, tuple[Path, int]]) -> Any:
    lines.setdefault(at, (path, node.start_mark.line + 1))
    if isinstance(node, yaml.SequenceNode):
        return [_build(loader, item, (*at, i), path, lines) for i, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return loader.construct_object(node)
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node)
        line = key_node.start_mark.line + 1
        if not isinstance(key, str):
            raise UsageError(f"{show(path)}:{line}: a key must be text, not {_kind(key)}")
        if key in result:
            raise UsageError(
                f"{show(path)}:{line}: the key '{key}' stands twice; the first is at line {lines[(*at, key)][1]}"
            )
        lines[(*at, key)] = (path, line)
        result[key] = _build(loader, value_node, (*at, key), path, lines)
    return result


def _key(path: str) -> Key:
    """msgspec's `$.a[0].b` or `$.a[...]` as a key."""
    parts = path.removeprefix("$").replace("[", ".[").split(".")
    return tuple(int(p[1:-1]) if p[1:-1].isdigit() else p for p in parts if p and p != "[" and "..." not in p)


def _fields(type_: Any, key: Key) -> list[str]:
    """The names that a struct nested at `key` knows."""
    for name in (name for name in key if isinstance(name, str)):
        inner = [f.type for f in msgspec.structs.fields(type_) if f.encode_name == name]
        if not inner:
            return []
        structs = [t for t in _parts(inner[0]) if isinstance(t, type) and issubclass(t, msgspec.Struct)]
        if not structs:
            return []
        type_ = structs[0]
    return [field.encode_name for field in msgspec.structs.fields(type_)]


def _parts(type_: Any) -> Iterator[Any]:
    """The types that a union, list or mapping is made of."""
    arguments = get_args(type_)
    yield from (part for argument in arguments for part in _parts(argument)) if arguments else (type_,)


def _kind(data: Any) -> str:
    return {dict: "a mapping", list: "a list", str: "text", type(None): "nothing"}.get(type(data), type(data).__name__)
