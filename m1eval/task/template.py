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

MAX_PARTS = 100
"""Maximum number of parts of a template that is filled in without Jinja."""
_PRINTED = frozenset({str, int, bool})
"""Types of values that Jinja outputs as `str` does."""


_TEXT_FILTERS = (
    *("capitalize", "center", "e", "escape", "forceescape", "format", "indent", "join", "lower", "replace", "string"),
    *("striptags", "title", "trim", "truncate", "upper", "urlize", "wordwrap"),
)
"""Filters that convert any value to text, as Python writes it."""


class _Part(NamedTuple):
    """A part of a template: literal text, or the name of a column."""

    text: str
    named: bool


class _NotTextError(Exception):
    """A template would output a value in Python's notation, which is never intended."""


class _Environment(LimitedEnvironment):
    """An environment without output in Python's notation; `lists`: except lists and mappings."""

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
        """The value; _NotTextError if it must not be output."""
        if fault := _not_text(value, lists=self._lists):
            raise _NotTextError(fault)
        return value

    def _of_text(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A filter with its text arguments checked: all that it joins or formats, else its value."""
        at = 1 if hasattr(function, "jinja_pass_arg") else 0

        @wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            values = args[at : at + 1]
            if name == "join" and not isinstance(args[at], str) and len(args) < at + 3 and "attribute" not in kwargs:
                items = list(args[at])
                args = (*args[:at], items, *args[at + 1 :])
                values = tuple(items)
            elif name == "format":
                values = (*args[at:], *kwargs.values())
            for value in values:
                self._text(value)
            return function(*args, **kwargs)

        return checked

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """A call; the arguments of `'{}'.format(…)` must be text."""
        owner = getattr(getattr(__obj, "__wrapped__", __obj), "__self__", None)
        if isinstance(owner, str) and getattr(__obj, "__name__", "") == "format":
            for value in (*args, *kwargs.values()):
                __self._text(value)
        return super().call(__context, __obj, *args, **kwargs)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """An operator; the arguments of `'%s' % …` must be text."""
        if operator == "%" and isinstance(left, str) and not isinstance(right, dict):
            for value in right if isinstance(right, tuple) else (right,):
                self._text(value)
        return super().call_binop(context, operator, left, right)


@cache
def environment(*, lists: bool = True) -> LimitedEnvironment:
    """The environment that compiles templates; they reach nothing but their variables, and always end.

    `lists`: whether lists and mappings may be output, in Python's notation.
    """
    return _Environment(lists=lists)


def _not_text(value: Any, *, lists: bool) -> str:
    """The reason why a value cannot be output as text; empty if it can."""
    if isinstance(value, str | int):
        return ""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "it shows a value that is null; leave the row out, or write {{ NAME or 'something' }}"
    if callable(value) and not isinstance(value, jinja2.Undefined):
        return f"it shows a function, {getattr(value, '__name__', 'unnamed')}; add parentheses after its name"
    if isinstance(value, Iterator):
        return "it shows a filter's result that is not text; add | join(', ')"
    if not lists and isinstance(value, list | tuple | dict | set | frozenset | bytes):
        kind = {dict: "a mapping", tuple: "a tuple", bytes: "bytes"}.get(type(value), "a list")
        brief = str(value) if len(str(value)) <= 60 else f"{str(value)[:59]}…"
        remedy = "{{ NAME | tojson }}, {{ NAME[0] }} or {{ NAME | join(', ') }}, as the scorer expects it"
        return f"it shows {kind} as Python writes it, {brief}; write {remedy}"
    return ""


def compile_template(
    source: YamlFile, key: Key, text: str, *, lists: bool = True
) -> Callable[[Mapping[str, Any]], str]:
    """A template as a function of a row; errors name the file and line of the template.

    `lists`: whether it may output lists and mappings, which a reference or an id may not.
    """
    try:
        template = environment(lists=lists).compiled(text)
    except jinja2.TemplateSyntaxError as error:
        raise source.error(key, f"template error in line {error.lineno} of '{key[-1]}': {error.message}") from None
    except jinja2.TemplateError as error:
        raise source.error(key, f"template error in '{key[-1]}': {error.message}") from None

    parts = _parts(text)

    def render(row: Mapping[str, Any]) -> str:
        if parts and (filled := _fill(parts, row)) is not None:
            return filled
        try:
            return environment(lists=lists).render(template, row)
        except jinja2.UndefinedError as error:
            raise source.error(key, _undefined(str(error), row)) from None
        except _NotTextError as error:
            names = set(columns(text))
            problem = str(error).replace("NAME", names.pop()) if len(names) == 1 else str(error)
            raise source.error(key, f"the template of '{key[-1]}' cannot be filled in: {problem}") from None
        except TemplateLimitError as error:
            raise source.error(key, f"the template of '{key[-1]}' does not end: {error}") from None
        except Exception as error:  # noqa: BLE001 - whatever the template's own operations raise
            raise source.error(key, f"template error: {type(error).__name__}: {error}") from None

    return render


def columns(text: str) -> list[str]:
    """The columns that a template always outputs, as they are or through filters such as `trim`."""
    names = []
    for statement in environment().parse(text).body:
        for shown in statement.nodes if isinstance(statement, nodes.Output) else ():
            node: nodes.Node | None = shown
            while isinstance(node, nodes.Filter) and node.name not in ("default", "d"):
                node = node.node
            if isinstance(node, nodes.Name):
                names.append(node.name)
    return names


def _parts(text: str) -> list[_Part]:
    """The parts of a template that only inserts columns into a text, as most do; none for others."""
    parts: list[_Part] = []
    for statement in environment().parse(text).body:
        if not isinstance(statement, nodes.Output) or len(parts) + len(statement.nodes) > MAX_PARTS:
            return []
        for node in statement.nodes:
            if isinstance(node, nodes.TemplateData):
                parts.append(_Part(node.data, named=False))
            elif isinstance(node, nodes.Name) and node.name != "self":  # which is Jinja's own, whatever the row has
                parts.append(_Part(node.name, named=True))
            else:
                return []
    return parts


def _fill(parts: Sequence[_Part], row: Mapping[str, Any]) -> str | None:
    """The output of Jinja for these parts, at a tenth of the cost; None where Jinja must render or report an error."""
    texts = []
    for text, named in parts:
        if not named:
            texts.append(text)
            continue
        value = row.get(text, ...)
        if type(value) not in _PRINTED:
            return None
        try:
            texts.append(value if type(value) is str else str(value))
        except ValueError:  # a number of too many digits
            return None
    return "".join(texts)


def _undefined(text: str, row: Mapping[str, Any]) -> str:
    name = text.split("'")[1] if "'" in text else ""
    close = get_close_matches(name, row, 1)
    hint = f"did you mean '{close[0]}'?" if close else f"the row has {', '.join(row)}"
    return f"template error: {text}; {hint}"
