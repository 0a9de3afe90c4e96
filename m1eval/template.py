"""Jinja2 templates of task files: sandboxed, limited in their work, and an undefined variable is an error."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any

import jinja2

from m1eval.limited_template import LimitedEnvironment, TemplateLimitError
from m1eval.source import Key, Source


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

    def render(row: Mapping[str, Any]) -> str:
        try:
            return environment().render(template, row)
        except jinja2.UndefinedError as error:
            raise source.error(key, _undefined(str(error), row)) from None
        except TemplateLimitError as error:
            raise source.error(key, f"the template of '{key[-1]}' does not end: {error}") from None
        except Exception as error:  # noqa: BLE001 - whatever the template's own operations raise
            raise source.error(key, f"template error: {type(error).__name__}: {error}") from None

    return render


def _undefined(text: str, row: Mapping[str, Any]) -> str:
    name = text.split("'")[1] if "'" in text else ""
    close = get_close_matches(name, row, 1)
    hint = f"did you mean '{close[0]}'?" if close else f"the row has {', '.join(row)}"
    return f"template error: {text}; {hint}"
