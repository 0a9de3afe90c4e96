"""The budget of one rendering: units of work, in the thread that renders."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jinja2

UNITS = 1_500_000
"""Work that any rendering may do: a unit is a call, an iteration of a small loop body, or CHARACTERS of output."""
CHARACTERS = 16
_VISITED = 20_000
"""Values of the input that its size is measured by, at most."""


class TemplateLimitError(jinja2.TemplateRuntimeError):
    """The template does more work, or writes more, than a prompt can need."""


class _Budget(threading.local):
    left: float = float("inf")
    """Units left; infinite outside of `limited`, where nothing would restore them."""
    variables: Mapping[str, Any] | None = None
    """The input, measured only when the units are used up: there are many rows, and hardly any needs it."""


_budget = _Budget()


def charge(units: int) -> None:
    """Take units from the budget of the rendering in this thread; TemplateLimitError when it is used up."""
    _budget.left -= units
    if _budget.left < 0 and not affords(0):
        raise TemplateLimitError("it loops too often or writes too much: no prompt needs that")


def affords(units: int) -> bool:
    """Whether this many units are left, with those for the size of the input."""
    if _budget.left < units and _budget.variables is not None:
        _budget.left += input_size(_budget.variables)
        _budget.variables = None
    return _budget.left >= units


@contextmanager
def limited(variables: Mapping[str, Any] | None = None) -> Iterator[None]:
    """A budget of UNITS, and of what the input is worth, for what is rendered inside."""
    before = _budget.left, _budget.variables
    _budget.left, _budget.variables = UNITS, variables
    try:
        yield
    finally:
        _budget.left, _budget.variables = before


def input_size(variables: Mapping[str, Any]) -> int:
    """Units that a rendering gets for its input, so that long contexts can be rendered."""
    total, stack, visited = 0, [variables], 0
    while stack and visited < _VISITED:
        value = stack.pop()
        visited += 1
        if isinstance(value, str):
            total += len(value)
        elif isinstance(value, Mapping):
            total += len(value)
            stack.extend(value.values())
        elif isinstance(value, list | tuple):
            total += len(value)
            stack.extend(value[:_VISITED])
    return total
