"""Jinja2 templates of task files: sandboxed, limited in their work, and an undefined variable is an error."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache, wraps
from typing import Any, NamedTuple

import jinja2
from jinja2 import nodes

from m1eval.sandbox.template import LimitedEnvironment, TemplateLimitError
from m1eval.yaml_file import Key, YamlFile

MOST_PARTS = 100
"""Parts up to which a template is filled in without Jinja."""
_PRINTED = frozenset({str, int, bool})
"""Types of values that Jinja shows as `str` does, and that are always shown."""


_TEXT_FILTERS = (
    *("capitalize", "center", "e", "escape", "forceescape", "format", "indent", "join", "lower", "replace", "string"),
    *("striptags", "title", "trim", "truncate", "upper", "urlize", "wordwrap"),
)
"""Filters that make text of any value, as Python writes it."""


class _Part(NamedTuple):
    """A piece of a template: text as it is, or the name of a column."""

    text: str
    named: bool


class _NotTextError(Exception):
    """A template would show a value as Python writes it, which nobody means."""


class _Environment(LimitedEnvironment):
    """An environment in which nothing is shown as Python writes it; `lists`: but for lists and mappings."""

    def __init__(self, *, lists: bool) -> None:
        super().__init__(undefined=jinja2.StrictUndefined)
        self._lists = lists
        count: Any = self.finalize
        self.finalize = lambda value: count(self._text(value))
        for name in _TEXT_FILTERS:
            self.filters[name] = self._of_text(name, self.filters[name])
        joined: Callable[..., str] = vars(self)["limit_joined"]
        vars(self)["limit_joined"] = lambda *parts: joined(*map(self._text, parts))

    def _text(self, value: Any) -> Any:
        """The value; _NotTextError if it is not to be shown."""
        if fault := _not_text(value, lists=self._lists):
            raise _NotTextError(fault)
        return value

    def _of_text(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A filter that makes text of what it is given: of all it joins or formats, else of its value."""
        at = 1 if hasattr(function, "jinja_pass_arg") else 0

        @wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            given = args[at : at + 1]
            if name == "join" and not isinstance(args[at], str) and len(args) < at + 3 and "attribute" not in kwargs:
                items = list(args[at])
                args = (*args[:at], items, *args[at + 1 :])
                given = tuple(items)
            elif name == "format":
                given = (*args[at:], *kwargs.values())
            for value in given:
                self._text(value)
            return function(*args, **kwargs)

        return checked

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """A call; what `'{}'.format(…)` is given must be text."""
        owner = getattr(getattr(__obj, "__wrapped__", __obj), "__self__", None)
        if isinstance(owner, str) and getattr(__obj, "__name__", "") == "format":
            for value in (*args, *kwargs.values()):
                __self._text(value)
        return super().call(__context, __obj, *args, **kwargs)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """An operator; what `'%s' % …` is given must be text."""
        if operator == "%" and isinstance(left, str) and not isinstance(right, dict):
            for value in right if isinstance(right, tuple) else (right,):
                self._text(value)
        return super().call_binop(context, operator, left, right)


@cache
def environment(*, lists: bool = True) -> LimitedEnvironment:
    """Where templates are compiled; they reach nothing but their variables, and always end.

    `lists`: whether lists and mappings may be shown, as Python writes them.
    """
    return _Environment(lists=lists)


def _not_text(value: Any, *, lists: bool) -> str:
    """Why a value cannot be shown as text; empty if it can."""
    if isinstance(value, str | int):
        return ""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "it shows a value that is null; leave the row out, or write {{ NAME or 'something' }}"
    if callable(value) and not isinstance(value, jinja2.Undefined):
        return f"it shows a function, {getattr(value, '__name__', 'unnamed')}; write parentheses behind its name"
    if isinstance(value, Iterator):
        return "it shows a filter's result that is no text yet; write … | join(', ') behind it"
    if not lists and isinstance(value, list | tuple | dict | set | frozenset | bytes):
        kind = {dict: "a mapping", tuple: "a tuple", bytes: "bytes"}.get(type(value), "a list")
        brief = str(value) if len(str(value)) <= 60 else f"{str(value)[:59]}…"
        remedy = "{{ NAME | tojson }}, {{ NAME[0] }} or {{ NAME | join(', ') }}, as the scorer wants it"
        return f"it shows {kind} as Python writes it, {brief}; write {remedy}"
    return ""


def compiled(source: YamlFile, key: Key, text: str, *, lists: bool = True) -> Callable[[Mapping[str, Any]], str]:
    """A template as a function of a row; errors name the file and line where the template stands.

    `lists`: whether it may show lists and mappings, which a reference or an id may not.
    """
    try:
        template = environment(lists=lists).compiled(text)
    except jinja2.TemplateSyntaxError as error:
        raise source.error(key, f"template error in line {error.lineno} of '{key[-1]}': {error.message}") from None
    except jinja2.TemplateError as error:
        raise source.error(key, f"template error in '{key[-1]}': {error.message}") from None

    parts = _parts(text)

    def render(row: Mapping[str, Any]) -> str:
        if parts and (filled := _filled(parts, row)) is not None:
            return filled
        try:
            return environment(lists=lists).render(template, row)
        except jinja2.UndefinedError as error:
            raise source.error(key, _undefined(str(error), row)) from None
        except _NotTextError as error:
            names = set(columns(text))
            said = str(error).replace("NAME", names.pop()) if len(names) == 1 else str(error)
            raise source.error(key, f"the template of '{key[-1]}' cannot be filled in: {said}") from None
        except TemplateLimitError as error:
            raise source.error(key, f"the template of '{key[-1]}' does not end: {error}") from None
        except Exception as error:  # noqa: BLE001 - whatever the template's own operations raise
            raise source.error(key, f"template error: {type(error).__name__}: {error}") from None

    return render


def columns(text: str) -> list[str]:
    """The columns that a template shows whatever the row holds, as they are or through filters such as `trim`."""
    found = []
    for statement in environment().parse(text).body:
        for shown in statement.nodes if isinstance(statement, nodes.Output) else ():
            node: nodes.Node | None = shown
            while isinstance(node, nodes.Filter) and node.name not in ("default", "d"):
                node = node.node
            if isinstance(node, nodes.Name):
                found.append(node.name)
    return found


def _parts(text: str) -> list[_Part]:
    """The parts of a template that only puts columns into a text, as most do; none of any other."""
    found: list[_Part] = []
    for statement in environment().parse(text).body:
        if not isinstance(statement, nodes.Output) or len(found) + len(statement.nodes) > MOST_PARTS:
            return []
        for node in statement.nodes:
            if isinstance(node, nodes.TemplateData):
                found.append(_Part(node.data, named=False))
            elif isinstance(node, nodes.Name) and node.name != "self":  # which is Jinja's own, whatever the row has
                found.append(_Part(node.name, named=True))
            else:
                return []
    return found


def _filled(parts: Sequence[_Part], row: Mapping[str, Any]) -> str | None:
    """What Jinja makes of these parts, at a tenth of its cost; None where Jinja must decide, or say what is wrong."""
    said = []
    for text, named in parts:
        if not named:
            said.append(text)
            continue
        value = row.get(text, ...)
        if type(value) not in _PRINTED:
            return None
        try:
            said.append(value if type(value) is str else str(value))
        except ValueError:  # a number of too many digits
            return None
    return "".join(said)


def _undefined(text: str, row: Mapping[str, Any]) -> str:
    name = text.split("'")[1] if "'" in text else ""
    close = get_close_matches(name, row, 1)
    hint = f"did you mean '{close[0]}'?" if close else f"the row has {', '.join(row)}"
    return f"template error: {text}; {hint}"
