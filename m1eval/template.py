"""Jinja2 templates of task files: sandboxed, limited in their work, and an undefined variable is an error."""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any, NamedTuple

import jinja2
from jinja2 import nodes

from m1eval.limited_template import LimitedEnvironment, TemplateLimitError
from m1eval.source import Key, Source

MOST_PARTS = 100
"""Parts up to which a template is filled in without Jinja."""
_PRINTED = frozenset({str, int, float, bool, type(None)})
"""Types of values that Jinja shows as `str` does."""


class _Part(NamedTuple):
    """A piece of a template: text as it is, or the name of a column."""

    text: str
    named: bool


@cache
def environment() -> LimitedEnvironment:
    """Where templates are compiled; they reach nothing but their variables, and always end."""
    return LimitedEnvironment(undefined=jinja2.StrictUndefined)


def compiled(source: Source, key: Key, text: str) -> Callable[[Mapping[str, Any]], str]:
    """A template as a function of a row; errors name the file and line where the template stands."""
    try:
        template = environment().compiled(text)
    except jinja2.TemplateSyntaxError as error:
        raise source.error(key, f"template error in line {error.lineno} of '{key[-1]}': {error.message}") from None
    except jinja2.TemplateError as error:
        raise source.error(key, f"template error in '{key[-1]}': {error.message}") from None

    parts = _parts(text)

    def render(row: Mapping[str, Any]) -> str:
        if parts and (filled := _filled(parts, row)) is not None:
            return filled
        try:
            return environment().render(template, row)
        except jinja2.UndefinedError as error:
            raise source.error(key, _undefined(str(error), row)) from None
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
